"""A load test second by second, read from its ``load_test.json``.

The file is written by the load generator, possibly by one that broke: whatever is missing or odd
in it is left out, and what is left is drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, isfinite

#: Points drawn of one load test; a longer one is thinned, keeping each stretch's worst latency.
MOST_POINTS = 900


@dataclass(frozen=True, slots=True)
class Second:
    """What happened in one second, or in a stretch of them; None where nothing is known."""

    #: Epoch seconds.
    t: float
    #: Requests per second.
    offered_tps: float | None
    achieved_tps: float | None
    error_tps: float | None
    #: Latency at the client, milliseconds.
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """A load test over time."""

    seconds: tuple[Second, ...]
    #: Start and end of the closed-loop burst, epoch seconds, and the rate it found.
    burst: tuple[float, float] | None = None
    saturation_tps: float | None = None
    #: Why the load test broke, if it did.
    error: str | None = None

    def thinned(self, most: int) -> Timeline:
        """The same of so many points at the most, with each stretch's worst latency kept."""
        stretch = ceil(len(self.seconds) / most)
        if stretch <= 1:
            return self
        starts = range(0, len(self.seconds), stretch)
        return replace(
            self, seconds=tuple(_together(self.seconds[at : at + stretch]) for at in starts)
        )


def read_timeline(load_test: object) -> Timeline:
    """The timeline in a decoded ``load_test.json``; empty if it holds none."""
    if not isinstance(load_test, Mapping):
        return Timeline(())
    seconds = sorted(_seconds(load_test.get("timeline")), key=lambda each: each.t)
    saturation = load_test.get("saturation")
    saturation = saturation if isinstance(saturation, Mapping) else {}
    read = Timeline(
        seconds=tuple(seconds),
        burst=_burst(saturation),
        saturation_tps=_number(saturation.get("tps")),
        error=_error(load_test.get("error")),
    )
    return read.thinned(MOST_POINTS)


def _seconds(timeline: object) -> Iterable[Second]:
    for each in timeline if isinstance(timeline, list) else ():
        if not isinstance(each, Mapping):
            continue
        t = _number(each.get("t"))
        if t is not None:
            yield Second(
                t=t,
                offered_tps=_number(each.get("offered_tps")),
                achieved_tps=_number(each.get("achieved_tps")),
                error_tps=_number(each.get("error_tps")),
                p50_ms=_number(each.get("p50_ms")),
                p99_ms=_number(each.get("p99_ms")),
            )


def _burst(saturation: Mapping[object, object]) -> tuple[float, float] | None:
    times = []
    stages = saturation.get("stages")
    for stage in stages if isinstance(stages, list) else ():
        window = stage.get("window") if isinstance(stage, Mapping) else None
        if isinstance(window, Mapping):
            times += [_number(window.get("start")), _number(window.get("end"))]
    known = [each for each in times if each is not None]
    return (min(known), max(known)) if known else None


def _error(error: object) -> str | None:
    if not isinstance(error, Mapping):
        return None
    return ": ".join(str(error[key]) for key in ("name", "message") if error.get(key)) or None


def _together(seconds: Sequence[Second]) -> Second:
    """One point for several: mean rates and median, worst tail."""
    return Second(
        t=seconds[0].t,
        offered_tps=_mean(each.offered_tps for each in seconds),
        achieved_tps=_mean(each.achieved_tps for each in seconds),
        error_tps=_mean(each.error_tps for each in seconds),
        p50_ms=_mean(each.p50_ms for each in seconds),
        p99_ms=max((each.p99_ms for each in seconds if each.p99_ms is not None), default=None),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) else None
