"""Distributions of answer times, samples of them, and percentiles of samples.

Quantiles are drawn instead of requests where there are many: how many of N requests exceed each of
a fixed set of quantiles is a chain of binomials, which is exact, and sums over periods are as well.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from random import Random
from statistics import NormalDist

#: Values and how many requests took them.
Points = list[tuple[float, float]]

#: Sigma of the lognormal service time of an ordinary endpoint: a coefficient of variation of 0.2.
USUAL_SIGMA = 0.197

#: Shares of requests that take longer, where a distribution is tabulated: close around the p99.
_TAILS = (
    *(0.99, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.16, 0.13, 0.1, 0.08, 0.065, 0.05),
    *(0.04, 0.033, 0.028, 0.024, 0.021, 0.019, 0.017, 0.0155, 0.014, 0.013, 0.012, 0.011, 0.0105),
    *(0.01, 0.0095, 0.009, 0.0085, 0.008, 0.007, 0.006, 0.005, 0.004, 0.003, 0.002, 0.001),
    *(0.0005, 0.0002, 0.0001, 0.00003, 0.00001),
)
_NORMAL = NormalDist()
_Z = tuple(-_NORMAL.inv_cdf(tail) for tail in _TAILS)
_LOG_TAILS = tuple(-math.log(tail) for tail in _TAILS)
#: Bins are cut in this many where they lie beyond the share.
_CUTS, _CUT_BEYOND = 3, 0.05
#: Points of equal probability for sums over the distribution.
_EQUAL = 12
_EQUAL_TAILS = tuple((i + 0.5) / _EQUAL for i in range(_EQUAL - 1, -1, -1))
_EQUAL_Z = tuple(-_NORMAL.inv_cdf(tail) for tail in _EQUAL_TAILS)
#: Steps towards a quantile, and the relative change at which they end.
_NEWTON, _CLOSE = 8, 1e-4
#: In place of a tail of nothing, whose quantile has no bound.
_LEAST_TAIL = 1e-9
#: So few are drawn one by one.
_FEW = 40
#: More than this expected, and a binomial is drawn as a normal variable.
_MANY = 25.0


@dataclass(frozen=True, eq=False)
class Shape:
    """How long answers take, ms: lognormal service and time off the CPU, and waiting in queues.

    A quantile is the sum of its parts' quantiles: who waits long is served long. That is the same
    simplification as in the plain world, and errs on the side of long tails.

    Args:
        service_ms: Mean time of service.
        sigma: Of its logarithm.
        off_cpu_ms: Mean time that a request waits for something that is not the CPU.
        off_cpu_sigma: Of its logarithm.
        queues: Of each queue the share of all requests that wait in it, and their mean wait, ms.
        long_share: Share of requests of a second kind, which are served longest.
        long_factor: How much longer.
    """

    service_ms: float
    sigma: float
    off_cpu_ms: float = 0.0
    off_cpu_sigma: float = 0.0
    queues: tuple[tuple[float, float], ...] = ()
    long_share: float = 0.0
    long_factor: float = 1.0

    def quantile(self, tail: float) -> float:
        """What a share ``tail`` of the requests exceeds, ms."""
        return self._without_queue(-_NORMAL.inv_cdf(tail)) + waited(self.queues, tail)

    def _without_queue(self, z: float) -> float:
        served = self.service_ms
        if self.long_share:
            tail, long = _NORMAL.cdf(-z), self.long_share
            served /= 1 + long * (self.long_factor - 1)
            if tail < long:
                served *= self.long_factor
                z = -_NORMAL.inv_cdf(tail / long)
            else:
                z = -_NORMAL.inv_cdf((tail - long) / (1 - long) or _LEAST_TAIL)
        served *= math.exp(self.sigma * z - self.sigma**2 / 2)
        if not self.off_cpu_ms:
            return served
        off = math.exp(self.off_cpu_sigma * z - self.off_cpu_sigma**2 / 2)
        return served + self.off_cpu_ms * off

    @cached_property
    def _table(self) -> tuple[float, ...]:
        waits = waited_by_tail(self.queues, _TAILS)
        return tuple(self._without_queue(z) + wait for z, wait in zip(_Z, waits, strict=True))

    @cached_property
    def equal(self) -> tuple[float, ...]:
        """Values of equal probability, ms."""
        waits = waited_by_tail(self.queues, _EQUAL_TAILS)
        return tuple(self._without_queue(z) + wait for z, wait in zip(_EQUAL_Z, waits, strict=True))

    @cached_property
    def median_ms(self) -> float:
        """Median time of an answer, ms."""
        return self.quantile(0.5)

    @cached_property
    def mean_ms(self) -> float:
        """Mean time of an answer, ms."""
        wait = sum(share * mean for share, mean in self.queues)
        return self.service_ms + self.off_cpu_ms + wait

    @cached_property
    def spread_seconds(self) -> float:
        """Variance of the number in flight over the rate: the integral of F (1 - F), seconds."""
        values = self.equal
        total = sum(
            later - earlier for i, earlier in enumerate(values) for later in values[i + 1 :]
        )
        return total / len(values) ** 2 / 1000

    def draw(self, random: Random) -> float:
        """Time of one answer, ms."""
        at = -math.log(1 - random.random())
        table, logs = self._table, _LOG_TAILS
        k = bisect_left(logs, at)
        if k == 0:
            return table[0]
        if k == len(logs):
            return table[-1]
        share = (at - logs[k - 1]) / (logs[k] - logs[k - 1])
        return table[k - 1] + share * (table[k] - table[k - 1])

    def expected(self, weight: float, more_ms: float = 0.0) -> Points:
        """The distribution as points, ms: each bin's middle and its share of the weight."""
        counts = [weight, *(weight * tail for tail in _TAILS)]
        return self._binned(counts, more_ms)

    def sample(self, count: int, random: Random, more_ms: float = 0.0) -> Points:
        """Times of many answers, ms, each longer by ``more_ms``."""
        if count <= _FEW:
            return [(self.draw(random) + more_ms, 1) for _ in range(count)]
        counts: list[float] = [count]
        left, before = count, 1.0
        for tail in _TAILS:
            left = binomial(left, tail / before, random) if left else 0
            counts.append(left)
            before = tail
        return self._binned(counts, more_ms)

    def _binned(self, over: Sequence[float], more_ms: float) -> Points:
        points: Points = []
        table = self._table
        edges = (table[0], *table, table[-1])
        for k in range(len(over)):
            count = over[k] - (over[k + 1] if k + 1 < len(over) else 0.0)
            if count <= 0:
                continue
            low, high = edges[k] + more_ms, edges[k + 1] + more_ms
            cuts = _CUTS if k and _TAILS[k - 1] <= _CUT_BEYOND else 1
            width = (high - low) / cuts
            points += [(low + (i + 0.5) * width, count / cuts) for i in range(cuts)]
        return points


def waited(queues: Sequence[tuple[float, float]], tail: float) -> float:
    """The wait that a share ``tail`` of the requests exceeds, ms, over exponential waits."""
    waiting = [(share, scale) for share, scale in queues if share > 0]
    if sum(share for share, _ in waiting) <= tail:
        return 0.0
    if len(waiting) == 1:
        share, scale = waiting[0]
        return scale * math.log(share / tail)
    low, high = 0.0, max(scale for _, scale in waiting) * math.log(1 / tail)
    for _ in range(30):
        middle = (low + high) / 2
        if sum(share * math.exp(-middle / scale) for share, scale in waiting) > tail:
            low = middle
        else:
            high = middle
    return high


def waited_by_tail(queues: Sequence[tuple[float, float]], tails: Sequence[float]) -> list[float]:
    """The waits of several tails that fall, ms: between two queues' by Newton's steps."""
    waiting = [(share, scale) for share, scale in queues if share > 0]
    together = sum(share for share, _ in waiting)
    if len(waiting) < 2:
        return [waited(waiting, tail) for tail in tails]
    waits, at = [], 0.0
    for tail in tails:
        if together <= tail:
            waits.append(0.0)
            continue
        # The tail is convex, so that each step from the left stays on the left.
        for _ in range(_NEWTON):
            parts = [share * math.exp(-at / scale) for share, scale in waiting]
            slope = sum(part / scale for part, (_, scale) in zip(parts, waiting, strict=True))
            over = sum(parts)
            step = math.log(over / tail) * over / slope
            at += step
            if step < _CLOSE * at:
                break
        waits.append(at)
    return waits


def percentile(points: Iterable[tuple[float, float]], percent: float) -> float | None:
    """A percentile of values with their counts, interpolated; None of none."""
    ordered = sorted(points)
    total = sum(count for _, count in ordered)
    if not total:
        return None
    wanted = percent / 100 * total
    # From the upper end, where what is asked for mostly lies.
    over, above = total, None
    for value, count in reversed(ordered):
        at = over - count / 2
        if at <= wanted:
            if above is None:
                return value
            share = (wanted - at) / (above[1] - at)
            return value + share * (above[0] - value)
        over, above = over - count, (value, at)
    return ordered[0][0]


def mean(points: Iterable[tuple[float, float]]) -> float | None:
    """Mean of values with their counts; None of none."""
    total = weight = 0.0
    for value, count in points:
        total += value * count
        weight += count
    return total / weight if weight else None


def binomial(n: int, p: float, random: Random) -> int:
    """How many of ``n`` trials succeed."""
    if n <= 0 or p <= 0:
        return 0
    if p >= 1:
        return n
    if p > 0.5:
        return n - binomial(n, 1 - p, random)
    expected = n * p
    if expected > _MANY:
        drawn = round(random.gauss(expected, math.sqrt(expected * (1 - p))))
        return min(max(drawn, 0), n)
    # Trials from one success to the next are geometric (Devroye, 1986, X.4).
    found, at, log = 0, 0.0, math.log1p(-p)
    while True:
        at += math.floor(math.log(1 - random.random()) / log) + 1
        if at > n:
            return found
        found += 1
