"""The closed-loop burst that finds how much an endpoint can take: its decisions, without a clock.

A closed loop keeps a number of requests going. Throughput grows with that number until the endpoint
is saturated; from there on only latency grows. So the concurrency is doubled until the throughput
grows no more, or errors appear.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from load_generator.ledger import Second
from load_generator.spec import BurstSpec

#: Growth over the best stage so far that is worth another doubling.
_GROWTH = 1.05
#: Of few answers the growth is chance: standard errors within which it may hide, and the growth of
#: the median latency from which requests do wait for each other. Twice as many at once take twice
#: as long where nothing more is served (Little's law).
_DOUBT = 2.0
_SLOWER = math.sqrt(2)
#: Share of requests that may fail in a stage for the burst to go on, percent.
_ERROR_PERCENT = 0.5
#: Latencies (median) that a stage settles at least, and is measured at least; seconds.
_SETTLE_LATENCIES = 1.5
_SETTLE_LEAST = 0.7
_MEASURED_LATENCIES = 4.0


@dataclass(frozen=True, slots=True)
class Stage:
    """What a stage of the burst showed."""

    concurrency: int
    start: int
    end: int
    figures: Second
    client_limited: str | None

    @property
    def achieved_tps(self) -> float:
        """Successful answers per second."""
        return self.figures.succeeded / (self.end - self.start)


def measured_seconds(burst: BurstSpec, start: float, latency_ms: float | None) -> tuple[int, int]:
    """From when to when a stage that starts at ``start`` is measured, epoch seconds.

    Args:
        burst: The burst asked for; ``stage_seconds`` is about the least that a stage lasts.
        start: When its concurrency began to rise, epoch seconds.
        latency_ms: Median latency seen in this stage or the one before; None if nothing succeeded.
    """
    latency = (latency_ms or 0.0) / 1e3
    settle = max(_SETTLE_LEAST, _SETTLE_LATENCIES * latency)
    measured = max(1, math.ceil(burst.stage_seconds) - 1, math.ceil(_MEASURED_LATENCIES * latency))
    measured_from = math.ceil(start + settle)
    return measured_from, measured_from + measured


def next_concurrency(burst: BurstSpec, stages: list[Stage]) -> int | None:
    """The concurrency of the next stage; None when the saturation rate is known.

    Args:
        burst: The burst asked for.
        stages: What was seen, in order.
    """
    if not stages:
        return burst.start_concurrency
    last = stages[-1]
    if last.concurrency >= burst.max_concurrency or not _still_grows(stages):
        return None
    return min(2 * last.concurrency, burst.max_concurrency)


def bounded(burst: BurstSpec, stages: list[Stage]) -> bool:
    """Whether a burst ended at its own bound: nothing says that the endpoint was saturated."""
    return stages[-1].concurrency >= burst.max_concurrency and _still_grows(stages)


def _still_grows(stages: list[Stage]) -> bool:
    """Whether the last stage served more than those before it, and nearly without errors."""
    last, best = stages[-1], saturation(stages[:-1])
    if last.figures.error_percent > _ERROR_PERCENT or last.achieved_tps <= 0.0:
        return False
    if best is None or last.achieved_tps >= _GROWTH * best.achieved_tps:
        return True
    # Of n answers, as of any count, the relative standard error is 1 / sqrt(n).
    error = math.hypot(last.figures.succeeded**-0.5, best.figures.succeeded**-0.5)
    if last.achieved_tps < (_GROWTH - _DOUBT * error) * best.achieved_tps:
        return False
    before, now = (each.figures.latency.percentile_ms(50) for each in (best, last))
    return before is not None and now is not None and now < _SLOWER * before


def saturation(stages: list[Stage]) -> Stage | None:
    """The stage with the highest rate of successes; None if nothing succeeded."""
    best = max(stages, key=lambda stage: stage.achieved_tps, default=None)
    return best if best is not None and best.achieved_tps > 0 else None
