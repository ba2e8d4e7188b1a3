"""What a sample or a percentile may be off by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

#: Noise of one utilization sample (one instance, one metric period), relative, where the
#: observations don't show it themselves, and how many observations that assumption is worth.
SAMPLE_NOISE = 0.02
ASSUMED_WEIGHT = 1.0

#: A p99 of fewer requests is the slowest of them.
FEW_REQUESTS = 100
EULER = 0.5772156649

NORMAL = NormalDist()


def pooled_noise(assumed: float, scatter: Sequence[tuple[float, int]]) -> float:
    """Noise of a single sample, relative, from the scatter of means over many.

    Args:
        assumed: What is usual; counts as much as a few samples of its own.
        scatter: Of each mean, its relative standard error and the samples it rests on.
    """
    weight = ASSUMED_WEIGHT + len(scatter)
    total = ASSUMED_WEIGHT * assumed**2
    total += sum(error**2 * samples for error, samples in scatter)
    return math.sqrt(total / weight)


def p99_noise(p50_ms: float, p99_ms: float, p90_ms: float | None = None) -> float:
    """Standard error of a 99th percentile, relative, times the square root of the latencies' count.

    The error of a quantile q is sqrt(q(1-q)/N) / f (Stuart and Ord, Kendall's Advanced Theory of
    Statistics, 10.10), with the density f at the p99 of a tail through it and through the p90, or
    the p50 where there is none: of an exponential or a lognormal one, whichever is the heavier. The
    p50 alone tells that of tails heavier than an exponential one's only.
    """
    lower, below = (p50_ms, 0.5) if p90_ms is None else (p90_ms, 0.9)
    lower = min(max(lower, 0.0), 0.99 * p99_ms)
    scale = (p99_ms - lower) / math.log((1 - below) / 0.01) / p99_ms
    heavy = p99_ms > 1.01 * lower * math.log(0.01) / math.log(1 - below)
    if lower > 0 and (heavy or p90_ms is not None):
        # Over p99: sigma / density of the standard normal there, times 0.01.
        at = NORMAL.inv_cdf(0.99)
        sigma = math.log(p99_ms / lower) / (at - NORMAL.inv_cdf(below))
        scale = max(scale, 0.01 * sigma / NORMAL.pdf(at))
    return math.sqrt(0.99 / 0.01) * scale


def p99_of_few(p90_ms: float, p99_ms: float, requests: int) -> float:
    """What a p99 of so few requests that it is the slowest of them says of the true one.

    The slowest of N is on average as far up an exponential tail as the harmonic number of N
    (Renyi, On the theory of order statistics, 1953), which is less than a p99 for N up to 56.
    """
    if requests >= FEW_REQUESTS or requests < 2 or p90_ms >= p99_ms:
        return p99_ms
    reached = math.log(requests) + EULER + 0.5 / requests
    p90 = math.log(10)
    return p90_ms + (p99_ms - p90_ms) * (math.log(100) - p90) / max(reached - p90, 0.5)
