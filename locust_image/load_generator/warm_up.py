"""When an endpoint has warmed up: the rule MSER-5, on what it has answered since a load began.

A container that has just started is slower than it is going to be: caches are empty, code is
compiled, memory grows. MSER (marginal standard error rule) cuts off so much of a series' beginning
that the standard error of the mean of what remains is least; MSER-5 does so on batches of five. If
more than half would have to go, the series is too short to tell, and more of it is needed. From
White, "An effective truncation heuristic for bias reduction in simulation output", Simulation 69
(1997), and White, Cobb and Spratt, "A comparison of five steady-state truncation heuristics for
simulation", Winter Simulation Conference (2000).

Two series are looked at: the rate of successes and the latency. A batch is the answers of one
second, or of as many seconds as it takes to have five. Of its latencies the median counts, which a
stall of a moment does not move.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from load_generator.ledger import Second, total

#: Answers of a batch at least: the 5 of MSER-5.
_BATCH = 5
#: Batches without which nothing can be said, and how many of the last ones are not for MSER to
#: keep alone: a few that happen to be alike would have hardly any error.
_LEAST_BATCHES = 10
_LAST_BATCHES = 5
#: By how much the end of a series must differ from what came before it to count as moving,
#: relative and in standard errors.
_MOVED, _MOVED_ERRORS = 0.05, 2.0
#: Latencies that a load goes on at least: before that, what was started has not been answered.
_LEAST_LATENCIES = 1.5
#: A warm-up goes on for so many times ``settle_seconds`` at the most, while things improve.
MOST = 8.0


@dataclass(frozen=True, slots=True)
class WarmUp:
    """How a step, or a burst, came to its steady state."""

    #: From the start of its load to the start of what is measured.
    seconds: float
    #: Whether it did; None where it was too short to tell.
    steady: bool | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a load so far says."""

    #: None where it is too short to tell.
    steady: bool | None
    #: It still warms up, so that waiting helps.
    wait: bool = False


def judge(seconds: Sequence[Second]) -> Judgement:
    """Judge a load of constant rate, or of constant concurrency.

    Args:
        seconds: What happened in each second since it began.
    """
    whole = total(seconds)
    latency = (whole.latency.percentile_ms(50) or 0.0) / 1e3
    unanswered = whole.sent > 0 and not whole.succeeded + whole.failed
    if unanswered or len(seconds) < _LEAST_LATENCIES * latency:
        return Judgement(steady=None, wait=True)
    rates, latencies = _batches(seconds)
    if len(rates) < _LEAST_BATCHES:
        return Judgement(steady=None)
    faster, slower = _drift(rates), _drift(latencies)
    if faster == slower == 0.0:
        return Judgement(steady=True)
    # A queue that grows answers later and later, and no faster: waiting does not help.
    return Judgement(steady=False, wait=faster > 0 or (faster == 0 and slower < 0))


def _batches(seconds: Sequence[Second]) -> tuple[list[float], list[float]]:
    """Rates (per second) and median latencies (ms) of batches, in order."""
    rates, latencies = [], []
    batch, length = Second(), 0
    for second in seconds:
        batch.merge(second)
        length += 1
        if batch.succeeded >= _BATCH:
            rates.append(batch.succeeded / length)
            latencies.append(batch.latency.percentile_ms(50) or 0.0)
            batch, length = Second(), 0
    return rates, latencies


def _drift(series: Sequence[float]) -> float:
    """By how much the end of a series still moves, relative to what came before; 0 if steady."""
    half = len(series) // 2
    cut = truncation(series)
    if cut <= half and cut < len(series) - _LAST_BATCHES:
        return 0.0
    # Of what is nearest: what lies further back may be warm-up that is over.
    length = max(_LAST_BATCHES, len(series) // 6)
    before, after = series[-2 * length : -length], series[-length:]
    drift = fmean(after) - fmean(before)
    error = math.sqrt(sum(variance(each) / len(each) for each in (before, after)))
    if abs(drift) <= max(_MOVED * fmean(before), _MOVED_ERRORS * error):
        return 0.0
    return drift / fmean(before)


def truncation(series: Sequence[float]) -> int:
    """How many values of the beginning MSER cuts off; all but the last five at the most.

    Args:
        series: Of batches; more than five.
    """

    # From the end on (Welford's algorithm), as each cut adds one value to what remains.
    mean, squares = 0.0, 0.0
    least, best = math.inf, 0
    for count, value in enumerate(reversed(series), start=1):
        off = value - mean
        mean += off / count
        squares += off * (value - mean)
        if count >= _LAST_BATCHES and squares / count**2 <= least:
            least, best = squares / count**2, len(series) - count
    return best
