"""A model over many nights, as one HTML file: what each sizing came to, and how it went on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from report import figures
from report.figures import Plot
from report.page import file_of_page, source_of, template
from sizing.result.history import Summary
from sizing.result.message import milliseconds, rate, usd

_DAY_SECONDS = 86_400

_Value = Callable[[Summary], float | None]


def render(model_key: str, sizings: Sequence[Summary]) -> str:
    """The page, which needs no network.

    Args:
        model_key: The model.
        sizings: Those of it that have ended, the latest first; at least one.
    """
    plot = _plot(sizings)
    scripts = [file_of_page("draw.js")] if plot is not None else []
    return template("history.html.j2").render(
        model_key=model_key,
        sizings=sizings,
        plot=plot,
        figures={plot.id: plot.figure} if plot is not None else {},
        scripts=scripts,
        style=file_of_page("report.css"),
        script_sources=" ".join(map(source_of, scripts)) or "'none'",
        spent=sum(each.sizing_cost_usd or 0.0 for each in sizings),
    )


def _plot(sizings: Sequence[Summary]) -> Plot | None:
    answers = [each for each in reversed(sizings) if each.instance_type is not None]
    if len(answers) < 2:
        return None
    types = list(dict.fromkeys(each.instance_type for each in answers))
    first = datetime.fromisoformat(answers[0].finished_at)
    days = [
        (datetime.fromisoformat(each.finished_at) - first).total_seconds() / _DAY_SECONDS
        for each in answers
    ]
    measures: tuple[tuple[str, str, float, _Value], ...] = (
        ("requests per second and instance", "/s", 1.0, _capacity),
        ("instances", "", 0.7, lambda each: each.instance_count),
        ("p99 of the model, ms", " ms", 0.7, lambda each: each.model_latency_p99_ms),
        ("USD per hour", " USD", 0.7, lambda each: each.hourly_cost_usd),
    )
    panels = []
    for label, unit, height, value_of in measures:
        lines = [
            (
                str(instance_type),
                figures.colour_of(number),
                None,
                [
                    value_of(each) if each.instance_type == instance_type else None
                    for each in answers
                ],
            )
            for number, instance_type in enumerate(types)
        ]
        if any(value is not None for _, _, _, values in lines for value in values):
            drawn = figures.panel(label, unit, [True] * len(answers), lines)
            panels.append({**drawn, "height": height})
    if not panels:
        return None
    latest = answers[-1]
    return Plot(
        id="history",
        title="From sizing to sizing",
        alt=f"Line plots of {len(answers)} answers over {days[-1]:.0f} days: what an instance "
        "serves, instances, latency and cost. The latest: "
        f"{latest.instance_count or 'no count'} x {latest.instance_type}, "
        f"{rate(_capacity(latest) or 0.0)} requests per second and instance.",
        caption="What one instance serves at the middle of the band tells how the model itself "
        "changes: it moves before the number of instances does.",
        figure=figures.figure(
            f"days since {first:%Y-%m-%d}",
            panels,
            from_zero=False,
            shared={
                "x": figures.shortened(days),
                "marks": ["full" if each.instance_count else "cross" for each in answers],
                "text": [_hover(each) for each in answers],
            },
        ),
    )


def _capacity(sizing: Summary) -> float | None:
    return sizing.tps_per_instance_at_band_middle


def _hover(sizing: Summary) -> str:
    capacity = _capacity(sizing)
    lines = (
        f"{sizing.finished_at:.10} {sizing.status}"
        + (f", version {sizing.package_version}" if sizing.package_version else ""),
        f"{sizing.instance_count or 'no'} x {sizing.instance_type}",
        f"{usd(sizing.hourly_cost_usd)} per hour" if sizing.hourly_cost_usd is not None else "",
        f"{rate(capacity)} requests/s per instance" if capacity is not None else "",
        f"p99 {milliseconds(sizing.model_latency_p99_ms)} model",
        f"{sizing.change}" if sizing.change else "",
    )
    return "\n".join(line for line in lines if line)
