"""The report's plots, as Plotly figures without colours of the page: the page adds those."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from report.timeline import Timeline
from sizing.catalogue.instance import InstanceFacts
from sizing.load_test.observation import LoadTestRecord, Observation
from sizing.load_test.plan import Purpose
from sizing.load_test.verdict import usable
from sizing.request.request import Request
from sizing.result.message import milliseconds, rate
from sizing.result.result import CandidateResult, LoadTestResult, Result
from sizing.search.prediction import Prediction, predict
from sizing.search.seen import see

#: One colour a candidate; told apart on white and on black, and without red and green.
CANDIDATE_COLOURS = (
    "#2f6fde",
    "#e07b00",
    "#009e8e",
    "#9a5be0",
    "#d1477a",
    "#7a8a1c",
    "#3aa3c9",
    "#a0664a",
    "#6b7280",
    "#c9a200",
)
_BAND_FILL = "rgba(30, 160, 90, 0.16)"
_WINDOW_FILL = "rgba(128, 140, 160, 0.20)"
_BURST_FILL = "rgba(128, 140, 160, 0.09)"
_MODEL_SHADES = {"p50": "#9cc0f5", "p90": "#5b93ea", "p99": "#2b66d1"}
_CLIENT = "#e07b00"
_ERRORS = "#d13438"
_OFFERED = "#8a93a3"
_ACHIEVED = "#2f6fde"

_HEIGHT = 430
_FIT_POINTS = 60
_MOST_UTILIZATION = 100.0
#: A logarithmic axis where the largest latency is this many times the smallest.
_LOG_RATIO = 30.0
#: Window labels would overlap beyond this many steps in one plot.
_MOST_LABELS = 12


@dataclass(frozen=True, slots=True)
class Plot:
    """A figure with what stands around it."""

    id: str
    title: str
    #: What it shows in words, for those who can't see it.
    alt: str
    caption: str
    figure: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Point:
    seen: Observation
    load_test: LoadTestResult

    @property
    def tps_per_instance(self) -> float:
        return self.seen.achieved_tps / self.load_test.instance_count


def utilization_plot(result: Result, request: Request | None) -> Plot | None:
    """Utilization against TPS per instance: all observations of all candidates.

    Args:
        result: The result.
        request: Its request, if that is valid; it gives the band.
    """
    band = request.target.utilization_percent if request is not None else None
    figure, described = go.Figure(), []
    for candidate, colour in _coloured(result):
        points = list(_points(candidate))
        if not points:
            continue
        described.append(_described(candidate, points))
        for trace in _utilization_traces(candidate, points, colour, request):
            figure.add_trace(trace)
    if not described:
        return None
    highest = max(
        point.seen.utilization_percent for each in result.candidates for point in _points(each)
    )
    _lay_out(figure, x="requests per second and instance", y="utilization, percent")
    figure.update_yaxes(range=[0, max(_MOST_UTILIZATION, highest * 1.05)], ticksuffix=" %")
    figure.update_xaxes(rangemode="tozero")
    if band is not None:
        figure.add_hrect(
            y0=band.min,
            y1=band.max,
            fillcolor=_BAND_FILL,
            line_width=0,
            layer="below",
            annotation_text=f"band {band.min:g}-{band.max:g} %",
            annotation_position="top left",
        )
    _mark_answer(figure, result)
    band_text = f" The band is {band.min:g} to {band.max:g} %." if band is not None else ""
    return Plot(
        id="utilization",
        title="Utilization against load",
        alt="Scatter plot of utilization against requests per second and instance. "
        + " ".join(described)
        + band_text,
        caption="Open circles are steps on one instance (baseline), filled ones steps on the "
        "scaled-out endpoint (verify), crosses steps whose figures were not used. The line is the "
        "fit that the search predicts with.",
        figure=_plain(figure),
    )


def _utilization_traces(
    candidate: CandidateResult, points: Sequence[_Point], colour: str, request: Request | None
) -> Iterator[Any]:
    name = _label(candidate.instance_type)
    yield go.Scatter(
        x=[point.tps_per_instance for point in points],
        y=[point.seen.utilization_percent for point in points],
        mode="markers",
        name=name,
        legendgroup=name,
        marker={
            "color": colour,
            "size": 11,
            "symbol": [_symbol(point) for point in points],
            "line": {"width": 2, "color": colour},
        },
        text=[_hover(candidate, point) for point in points],
        hovertemplate="%{text}<extra></extra>",
    )
    line = _fit_line(candidate, points, request) if request is not None else None
    if line is not None:
        yield go.Scatter(
            x=line[0],
            y=line[1],
            mode="lines",
            name=f"{name} fit",
            legendgroup=name,
            showlegend=False,
            line={"color": colour, "width": 1.5, "dash": "dot"},
            hoverinfo="skip",
        )


def _symbol(point: _Point) -> str:
    if not usable(point.seen):
        return "x-thin"
    return "circle-open" if point.load_test.purpose is Purpose.BASELINE else "circle"


def _hover(candidate: CandidateResult, point: _Point) -> str:
    seen = point.seen
    return _label(
        f"{point.load_test.instance_count} x {candidate.instance_type}, {point.load_test.purpose}"
    ) + (
        f"<br>{rate(seen.achieved_tps)} of {rate(seen.offered_tps)} requests/s, "
        f"{rate(point.tps_per_instance)} per instance"
        f"<br>{seen.utilization_percent:.1f} % {_label(seen.utilization_resource)}"
        f"<br>p99 {milliseconds(seen.model_latency_ms.p99)} model, "
        f"{milliseconds(seen.client_latency_ms.p99)} client"
        f"<br>{seen.error_percent:.3g} % errors"
        f"<br>{_label(str(seen.verdict or 'no verdict'))}"
    )


def _fit_line(
    candidate: CandidateResult, points: Sequence[_Point], request: Request
) -> tuple[list[float], list[float]] | None:
    """The search's fit of utilization, from no load to a little beyond the last point."""
    predicted = _predicted(candidate, request)
    if predicted is None:
        return None
    fit = predicted.utilization
    instances = max(point.load_test.instance_count for point in points)
    last = max(point.tps_per_instance for point in points) * 1.1
    xs = [last * (i + 1) / _FIT_POINTS for i in range(_FIT_POINTS)]
    ys = [fit.utilization_at(x, instances) for x in xs]
    shown = [(x, y) for x, y in zip(xs, ys, strict=True) if y <= _MOST_UTILIZATION]
    return [x for x, _ in shown], [y for _, y in shown]


def _predicted(candidate: CandidateResult, request: Request) -> Prediction | None:
    """What the search knew of a candidate."""
    facts = InstanceFacts(
        instance_type=candidate.instance_type,
        vcpus=candidate.vcpus or 1,
        gpus=candidate.gpus or 0,
        memory_gib=candidate.memory_gib or 1,
    )
    records = [
        LoadTestRecord(
            load_test_id=each.load_test_id,
            instance_type=candidate.instance_type,
            instance_count=each.instance_count,
            purpose=each.purpose,
            saturation_tps=each.saturation_tps,
            observations=each.observations,
            error=each.error,
        )
        for each in candidate.load_tests
    ]
    return predict(see(request, facts, records))


def _mark_answer(figure: Any, result: Result) -> None:
    answer = result.recommendation
    if answer is None:
        return
    count = answer.instance_count
    figure.add_annotation(
        x=answer.tps / count,
        y=answer.utilization_percent,
        text=f"<b>{count} instance{'' if count == 1 else 's'}: "
        f"{answer.utilization_percent:.1f} %</b>",
        showarrow=True,
        arrowhead=0,
        standoff=8,
        ax=24,
        ay=58,
    )


def latency_plot(candidate: CandidateResult, *, limit_ms: float | None, number: int) -> Plot | None:
    """Latency of a candidate against TPS per instance: the model's, and the client's."""
    points = sorted(
        (point for point in _points(candidate) if point.seen.invalid is None),
        key=lambda point: point.tps_per_instance,
    )
    if not points:
        return None
    figure = go.Figure()
    values: list[float] = []
    for name, colour, dash, latency in _latency_lines(points):
        values += [value for value in latency if value is not None]
        figure.add_trace(
            go.Scatter(
                x=[point.tps_per_instance for point in points],
                y=latency,
                mode="lines+markers",
                name=name,
                line={"color": colour, "width": 2, "dash": dash},
                marker={
                    "size": 8,
                    "symbol": [_symbol(point) for point in points],
                    "line": {"width": 2, "color": colour},
                },
                text=[_hover(candidate, point) for point in points],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    if not values:
        return None
    _lay_out(figure, x="requests per second and instance", y="latency, milliseconds")
    logarithmic = min(values) > 0 and max(values) / min(values) > _LOG_RATIO
    if logarithmic:
        figure.update_yaxes(type="log", dtick=1)
    else:
        figure.update_yaxes(rangemode="tozero")
    if limit_ms is not None:
        figure.add_hline(
            y=limit_ms,
            line={"color": _ERRORS, "width": 1.5, "dash": "dash"},
            annotation_text=f"limit for the model's p99: {milliseconds(limit_ms)}",
            annotation_position="top left",
        )
    first, last = points[0], points[-1]
    return Plot(
        id=f"latency-{number}",
        title=f"Latency against load, {candidate.instance_type}",
        alt=f"Line plot of latency against requests per second and instance for "
        f"{candidate.instance_type}: the model's 99th percentile goes from "
        f"{milliseconds(first.seen.model_latency_ms.p99)} at {rate(first.tps_per_instance)} to "
        f"{milliseconds(last.seen.model_latency_ms.p99)} at {rate(last.tps_per_instance)}.",
        caption="ModelLatency as CloudWatch reports it, and the client's latency from the moment "
        "a request was due" + (", on a logarithmic scale." if logarithmic else "."),
        figure=_plain(figure),
    )


def _latency_lines(
    points: Sequence[_Point],
) -> Iterator[tuple[str, str, str, list[float | None]]]:
    for name, colour in _MODEL_SHADES.items():
        yield (
            f"model {name}",
            colour,
            "solid",
            [getattr(point.seen.model_latency_ms, name) for point in points],
        )
    for name, dash in (("p50", "dot"), ("p99", "dash")):
        yield (
            f"client {name}",
            _CLIENT,
            dash,
            [getattr(point.seen.client_latency_ms, name) for point in points],
        )


def timeline_plot(
    candidate: CandidateResult, load_test: LoadTestResult, timeline: Timeline, *, number: int
) -> Plot | None:
    """A load test over time: rates above, latency at the client below."""
    seconds = timeline.seconds
    if not seconds:
        return None
    start = seconds[0].t
    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.07, row_heights=[0.58, 0.42]
    )
    xs = [each.t - start for each in seconds]
    rates: tuple[tuple[str, str, str, list[float | None]], ...] = (
        ("achieved", _ACHIEVED, "linear", [each.achieved_tps for each in seconds]),
        ("offered", _OFFERED, "hv", [each.offered_tps for each in seconds]),
        ("errors", _ERRORS, "linear", [each.error_tps for each in seconds]),
    )
    for name, colour, shape, ys in rates:
        if name == "errors" and not any(ys):
            continue
        figure.add_trace(
            go.Scatter(
                x=xs,
                y=ys,
                mode="lines",
                name=name,
                line={
                    "color": colour,
                    "width": 2,
                    "shape": shape,
                    "dash": "dot" if name == "offered" else "solid",
                },
                hovertemplate=f"%{{y:.4~g}}/s {name}<extra></extra>",
            ),
            row=1,
            col=1,
        )
    for name, colour, ys in (
        ("p50", _MODEL_SHADES["p50"], [each.p50_ms for each in seconds]),
        ("p99", _CLIENT, [each.p99_ms for each in seconds]),
    ):
        figure.add_trace(
            go.Scatter(
                x=xs,
                y=ys,
                mode="lines",
                name=f"client {name}",
                line={"color": colour, "width": 2},
                hovertemplate=f"%{{y:.4~g}} ms {name}<extra></extra>",
            ),
            row=2,
            col=1,
        )
    _lay_out(figure, x="seconds from the start", y="requests per second")
    figure.update_layout(hovermode="x unified")
    figure.update_xaxes(title_text="", row=1, col=1)
    figure.update_xaxes(hoverformat=".0f")
    figure.update_yaxes(rangemode="tozero")
    figure.update_yaxes(title_text="milliseconds", row=2, col=1)
    _shade_windows(figure, load_test, timeline, start)
    return Plot(
        id=f"timeline-{number}",
        title=f"{load_test.instance_count} x {candidate.instance_type}, {load_test.purpose}",
        alt=_timeline_alt(load_test, timeline),
        caption="Shaded: the steady windows that the figures are taken from, with the offered "
        "rate. Latency is the client's, from the moment a request was due.",
        figure=_plain(figure),
    )


def _shade_windows(
    figure: Any, load_test: LoadTestResult, timeline: Timeline, start: float
) -> None:
    labels = len(load_test.observations) <= _MOST_LABELS
    for seen in load_test.observations:
        _shade(
            figure,
            (seen.window.start - start, seen.window.end - start),
            _WINDOW_FILL,
            f"{rate(seen.offered_tps)}/s" if labels else None,
        )
    if timeline.burst is not None:
        first, last = timeline.burst
        found = f" {rate(timeline.saturation_tps)}/s" if timeline.saturation_tps else ""
        _shade(figure, (first - start, last - start), _BURST_FILL, f"burst{found}")


def _shade(figure: Any, stretch: tuple[float, float], fill: str, label: str | None) -> None:
    for axis in ("y domain", "y2 domain"):
        figure.add_shape(
            type="rect",
            xref="x",
            yref=axis,
            x0=stretch[0],
            x1=stretch[1],
            y0=0,
            y1=1,
            fillcolor=fill,
            line_width=0,
            layer="below",
        )
    if label is not None:
        figure.add_annotation(
            x=sum(stretch) / 2,
            xref="x",
            y=1,
            yref="y domain",
            yanchor="bottom",
            text=label,
            showarrow=False,
            font={"size": 11},
        )


def _timeline_alt(load_test: LoadTestResult, timeline: Timeline) -> str:
    length = timeline.seconds[-1].t - timeline.seconds[0].t
    steps = "; ".join(
        f"{rate(seen.offered_tps)} per second offered, {rate(seen.achieved_tps)} achieved"
        for seen in load_test.observations
    )
    return (
        f"Line plots of {length:.0f} seconds of load: offered and achieved requests per second, "
        f"and latency. Steps: {steps or 'none with a steady window'}."
    )


def _points(candidate: CandidateResult) -> Iterator[_Point]:
    for load_test in candidate.load_tests:
        for seen in load_test.observations:
            yield _Point(seen, load_test)


def _described(candidate: CandidateResult, points: Sequence[_Point]) -> str:
    low = min(points, key=lambda point: point.tps_per_instance)
    high = max(points, key=lambda point: point.tps_per_instance)
    return (
        f"{candidate.instance_type}: {len(points)} observations, from "
        f"{low.seen.utilization_percent:.1f} % at {rate(low.tps_per_instance)} to "
        f"{high.seen.utilization_percent:.1f} % at {rate(high.tps_per_instance)}."
    )


def _coloured(result: Result) -> Iterator[tuple[CandidateResult, str]]:
    for number, candidate in enumerate(result.candidates):
        yield candidate, CANDIDATE_COLOURS[number % len(CANDIDATE_COLOURS)]


def _lay_out(figure: Any, *, x: str, y: str) -> None:
    figure.update_layout(
        template=None,
        height=_HEIGHT,
        margin={"l": 70, "r": 24, "t": 32, "b": 60},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        showlegend=True,
        legend={"orientation": "h", "y": -0.2, "yanchor": "top", "x": 0},
        hoverlabel={"align": "left"},
        dragmode=False,
    )
    figure.update_xaxes(title_text=x, title_standoff=8, zeroline=False, showline=True)
    figure.update_yaxes(title_text=y, title_standoff=8, zeroline=False, automargin=True)


def _label(text: str) -> str:
    """Text from outside, as Plotly shows it: it takes some tags for its own."""
    return html.escape(text, quote=False)


def _plain(figure: Any) -> dict[str, Any]:
    """The figure as JSON holds it, without Plotly's own default template."""
    plain: Mapping[str, Any] = figure.to_plotly_json()
    layout = {key: value for key, value in plain["layout"].items() if key != "template"}
    return {"data": plain["data"], "layout": layout}
