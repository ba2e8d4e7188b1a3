"""The report's plots as plain data: what is drawn, not how it looks. ``draw.js`` draws it.

A figure is ``{"x": axis, "panels": [panel, ...], "spans": [...], "together": bool}``. Panels lie
one under the other and share the x axis; spans are stretches of it; ``together`` asks for all that
is at one x when it is pointed at. A colour is a name of ``report.css`` and means one thing in the
whole page: ``type-0`` to ``type-9`` a candidate, ``client`` what the load generator saw, ``errors``
failed requests, ``offered`` what was asked for. A series without an ``x``, ``marks`` or ``text``
of its own has the figure's ``shared`` ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import floor, log10
from typing import Any

from report.timeline import Second, Timeline
from sizing.catalogue.instance import InstanceFacts
from sizing.load_test.observation import LoadTestRecord, Observation
from sizing.load_test.plan import Purpose
from sizing.load_test.verdict import usable
from sizing.request.request import Request
from sizing.result.message import milliseconds, rate
from sizing.result.result import CandidateResult, LoadTestResult, Result
from sizing.search.prediction import Prediction, predict
from sizing.search.seen import see

#: Colours that ``report.css`` has for candidates.
CANDIDATE_COLOURS = 10
_FIT_POINTS = 60
_MOST_UTILIZATION = 100.0
#: A logarithmic axis where the largest latency is this many times the smallest.
_LOG_RATIO = 30.0
#: Room over the highest value of an axis, as a factor.
_HEADROOM = 1.08
#: Window labels would overlap beyond this many steps in one plot.
_MOST_LABELS = 12
_DIGITS = 4

Figure = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plot:
    """A figure with what stands around it."""

    id: str
    title: str
    #: What it shows in words, for those who can't see it.
    alt: str
    caption: str
    figure: Figure


@dataclass(frozen=True, slots=True)
class _Point:
    seen: Observation
    load_test: LoadTestResult

    @property
    def tps_per_instance(self) -> float:
        return self.seen.achieved_tps / self.load_test.instance_count

    @property
    def mark(self) -> str:
        if not usable(self.seen):
            return "cross"
        return "open" if self.load_test.purpose is Purpose.BASELINE else "full"


def colour_of(number: int) -> str:
    """The colour of a candidate, by its place in the request."""
    return f"type-{number % CANDIDATE_COLOURS}"


def utilization_plot(result: Result, request: Request | None) -> Plot | None:
    """Utilization against TPS per instance: all observations of all candidates.

    Args:
        result: The result.
        request: Its request, if that is valid; it gives the band.
    """
    band = request.target.utilization_percent if request is not None else None
    series: list[Figure] = []
    described, highest = [], _MOST_UTILIZATION
    for number, candidate in enumerate(result.candidates):
        points = list(_points(candidate))
        if not points:
            continue
        described.append(_described(candidate, points))
        highest = max(highest, *(point.seen.utilization_percent * 1.05 for point in points))
        series += _utilization_series(candidate, points, colour_of(number), request)
    if not described:
        return None
    drawn = {
        "label": "utilization, percent",
        "unit": " %",
        "min": 0,
        "max": _short(highest),
        "bands": [{"from": band.min, "to": band.max, "label": f"band {band.min:g}-{band.max:g} %"}]
        if band is not None
        else [],
        "series": series,
        "notes": _answer_note(result),
    }
    return Plot(
        id="utilization",
        title="Utilization against load",
        alt="Scatter plot of utilization against requests per second and instance. "
        + " ".join(described)
        + (f" The band is {band.min:g} to {band.max:g} %." if band is not None else ""),
        caption="Open circles are steps on one instance (baseline), filled ones steps on the "
        "scaled-out endpoint (verify), crosses steps whose figures were not used. The line is the "
        "fit that the search predicts with.",
        figure=figure("requests per second and instance", [drawn]),
    )


def _utilization_series(
    candidate: CandidateResult, points: Sequence[_Point], colour: str, request: Request | None
) -> Iterator[Figure]:
    fit = _fit_line(candidate, points, request) if request is not None else None
    named = {"name": candidate.instance_type, "colour": colour}
    if fit is not None:
        xs, ys = fit
        yield {**named, "dash": "dot", "x": shortened(xs), "y": shortened(ys)}
    yield {
        **named,
        "x": shortened(point.tps_per_instance for point in points),
        "y": shortened(point.seen.utilization_percent for point in points),
        "line": False,
        "marks": [point.mark for point in points],
        "text": [_hover(candidate, point) for point in points],
    }


def _hover(candidate: CandidateResult, point: _Point) -> str:
    seen = point.seen
    return "\n".join(
        (
            f"{point.load_test.instance_count} x {candidate.instance_type}, "
            f"{point.load_test.purpose}",
            f"{rate(seen.achieved_tps)} of {rate(seen.offered_tps)} requests/s, "
            f"{rate(point.tps_per_instance)} per instance",
            f"{seen.utilization_percent:.1f} % {seen.utilization_resource}",
            f"p99 {milliseconds(seen.model_latency_ms.p99)} model, "
            f"{milliseconds(seen.client_latency_ms.p99)} client",
            f"{seen.error_percent:.2f} % errors, {seen.verdict or 'no verdict'}",
        )
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


def _answer_note(result: Result) -> list[Figure]:
    answer = result.recommendation
    if answer is None:
        return []
    count = answer.instance_count
    return [
        {
            "x": _short(answer.tps / count),
            "y": _short(answer.utilization_percent),
            "text": f"{count} instance{'' if count == 1 else 's'}: "
            f"{answer.utilization_percent:.1f} %",
        }
    ]


def production_plot(result: Result) -> Plot | None:
    """What production gets by the hour of the day, and the counts that would follow it."""
    production = result.production
    if production is None:
        return None
    hours = list(range(len(production.tps_by_hour)))
    shown = [True] * len(hours)
    panels = [
        panel(
            "requests per second",
            "/s",
            shown,
            [("peak of the hour", "client", None, list(production.tps_by_hour))],
        )
    ]
    if production.plan is not None:
        counts: list[float | None] = list(production.plan.counts)
        planned = panel("instances", "", shown, [("planned", colour_of(0), None, counts)])
        panels.append({**planned, "height": 0.6})
    busiest = max(hours, key=lambda hour: production.tps_by_hour[hour])
    return Plot(
        id="production-hours",
        title="What it gets by the hour",
        alt=f"Line plot of the requests per second of {production.endpoint} by the hour of the "
        f"day, UTC: {rate(production.tps_by_hour[busiest])} at {busiest}:00, the busiest.",
        caption="The busiest minutes of each hour, UTC, over all days that were looked at.",
        figure=figure("hour of the day, UTC", panels, shared={"x": hours}),
    )


def latency_plot(candidate: CandidateResult, *, limit_ms: float | None, number: int) -> Plot | None:
    """Latency of a candidate against TPS per instance: the model's, and the client's.

    Args:
        candidate: The candidate.
        limit_ms: The request's limit of the model's p99.
        number: Its place in the request.
    """
    points = sorted(
        (point for point in _points(candidate) if point.seen.invalid is None),
        key=lambda point: point.tps_per_instance,
    )
    series = list(_latency_series(points, colour_of(number)))
    values = [value for each in series for value in each["y"] if value is not None]
    if not values:
        return None
    logarithmic = min(values) > 0 and max(values) / min(values) > _LOG_RATIO
    values += [limit_ms] if limit_ms is not None else []
    drawn = {
        "label": "latency, milliseconds",
        "unit": " ms",
        "log": logarithmic,
        "min": _short(min(values) / _HEADROOM) if logarithmic else 0,
        "max": _short(max(values) * _HEADROOM),
        "limits": [{"y": limit_ms, "label": f"limit of the model's p99: {milliseconds(limit_ms)}"}]
        if limit_ms is not None
        else [],
        "series": series,
    }
    first, last = points[0], points[-1]
    return Plot(
        id=f"latency-{number}",
        title=f"Latency against load, {candidate.instance_type}",
        alt=f"Line plot of latency against requests per second and instance for "
        f"{candidate.instance_type}: the model's 99th percentile goes from "
        f"{milliseconds(first.seen.model_latency_ms.p99)} at {rate(first.tps_per_instance)} to "
        f"{milliseconds(last.seen.model_latency_ms.p99)} at {rate(last.tps_per_instance)}.",
        caption="ModelLatency as CloudWatch reports it, in the candidate's colour, and the latency "
        "at the client from the moment a request was due"
        + (", on a logarithmic scale." if logarithmic else "."),
        figure=figure(
            "requests per second and instance",
            [drawn],
            from_zero=False,
            shared={
                "x": [_short(point.tps_per_instance) for point in points],
                "marks": [point.mark for point in points],
                "text": [_hover(candidate, point) for point in points],
            },
        ),
    )


def _latency_series(points: Sequence[_Point], colour: str) -> Iterator[Figure]:
    """Percentiles of the model and of the client; the higher one is, the fuller its line."""
    for whose, shade, names in (
        ("model", colour, ("p50", "p90", "p99")),
        ("client", "client", ("p50", "p99")),
    ):
        for name in names:
            latencies = [getattr(point.seen, f"{whose}_latency_ms") for point in points]
            yield {
                "name": f"{whose} {name}",
                "colour": shade,
                "dash": {"p50": "dot", "p90": "dash"}.get(name),
                "y": shortened(getattr(each, name) for each in latencies),
            }


def timeline_plot(
    candidate: CandidateResult,
    load_test: LoadTestResult,
    timeline: Timeline,
    *,
    number: int,
    colour: str,
) -> Plot | None:
    """A load test over time: rates, latency at the client, and failed requests if there were any.

    The axes are those of the steps: a burst, which is there to saturate, would flatten them.
    """
    seconds = timeline.seconds
    if not seconds:
        return None
    start = seconds[0].t
    calm = [not _in_burst(each, timeline) for each in seconds]
    calm = calm if any(calm) else [True] * len(seconds)
    rates = panel(
        "requests per second",
        "/s",
        calm,
        [
            ("offered", "offered", "dash", [each.offered_tps for each in seconds]),
            ("achieved", colour, None, [each.achieved_tps for each in seconds]),
        ],
    )
    latency = panel(
        "client latency, ms",
        " ms",
        calm,
        [
            ("client p50", "client", "dot", [each.p50_ms for each in seconds]),
            ("client p99", "client", None, [each.p99_ms for each in seconds]),
        ],
    )
    panels = [rates, {**latency, "height": 0.7}]
    errors = [each.error_tps for each in seconds]
    if any(errors):
        failed: list[_Line] = [("failed", "errors", None, errors)]
        every = panel("failed per second", "/s", [True] * len(errors), failed)
        panels.append({**every, "height": 0.4})
    return Plot(
        id=f"timeline-{number}",
        title=f"{load_test.instance_count} x {candidate.instance_type}, {load_test.purpose}",
        alt=_timeline_alt(load_test, timeline),
        caption="Shaded: the steady windows that the figures are taken from, with the offered "
        "rate; lighter, warm-ups and the burst, which may leave the axis. Latency is the client's, "
        "from the moment a request was due.",
        figure={
            **figure(
                "seconds from the start",
                panels,
                shared={"x": shortened(each.t - start for each in seconds)},
            ),
            "spans": list(_spans(load_test, timeline, start)),
            "together": True,
        },
    )


_Line = tuple[str, str, str | None, list[float | None]]


def panel(label: str, unit: str, shown: Sequence[bool], lines: Sequence[_Line]) -> Figure:
    """Lines over time; the axis reaches to the highest value of the seconds that are ``shown``."""
    highest = max(
        (
            value
            for _, _, _, ys in lines
            for value, counts in zip(ys, shown, strict=True)
            if counts and value is not None
        ),
        default=0.0,
    )
    return {
        "label": label,
        "unit": unit,
        "min": 0,
        "max": _short(highest * _HEADROOM) or 1,
        "series": [
            {"name": name, "colour": colour, "dash": dash, "y": shortened(ys)}
            for name, colour, dash, ys in lines
        ],
    }


def _in_burst(second: Second, timeline: Timeline) -> bool:
    return timeline.burst is not None and timeline.burst[0] <= second.t <= timeline.burst[1]


def _spans(load_test: LoadTestResult, timeline: Timeline, start: float) -> Iterator[Figure]:
    """Stretches of a load test: where figures were taken, where it warmed up, and the burst."""
    labels = len(load_test.observations) <= _MOST_LABELS

    def span(kind: str, begin: float, end: float, label: str = "") -> Figure:
        return {
            "kind": kind,
            "from": _short(begin - start),
            "to": _short(end - start),
            "label": label,
        }

    for seen in load_test.observations:
        begin, end = seen.window.start, seen.window.end
        yield span("window", begin, end, f"{rate(seen.offered_tps)}/s" if labels else "")
        if seen.warm_up_seconds:
            yield span("warm-up", begin - seen.warm_up_seconds, begin)
    if timeline.burst is not None:
        found = f" {rate(timeline.saturation_tps)}/s" if timeline.saturation_tps else ""
        yield span("burst", *timeline.burst, f"burst{found}")


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


def figure(
    x_label: str,
    panels: Sequence[Figure],
    *,
    from_zero: bool = True,
    shared: Figure | None = None,
) -> Figure:
    """Panels over one x axis.

    Args:
        x_label: What the x axis is.
        panels: One under the other.
        from_zero: Whether the x axis begins at zero; else near the first point.
        shared: What series have that have none of their own.
    """
    shared = shared or {}
    xs = [
        x
        for each in panels
        for series in each["series"]
        for x in series.get("x", shared.get("x", ()))
    ]
    low, high = (0.0 if from_zero else min(xs)), max(xs)
    room = 0.04 * (high - low) or 0.1 * high or 1.0
    return {
        "x": {
            "label": x_label,
            "min": 0 if from_zero else _short(low - room),
            "max": _short(high + room),
        },
        "panels": panels,
        "shared": shared,
    }


def shortened(values: Iterable[float | None]) -> list[float | None]:
    """Numbers of as many digits as are seen."""
    return [None if value is None else _short(value) for value in values]


def _short(value: float) -> float:
    if value == 0:
        return 0
    short = round(value, _DIGITS - 1 - floor(log10(abs(value))))
    return int(short) if short == int(short) else short
