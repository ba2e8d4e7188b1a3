"""Judges a production endpoint by its own history: too large, too small, idle, or getting slower.

Nothing is load-tested, so a count is suggested only where what was seen tells it: utilization is
fitted against the rate per instance as the search does it (``sizing.fits.utilization``), and the
fit's error at the middle of the band must leave the count within one.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from sizing.catalogue.prices import HOURS_A_MONTH
from sizing.fits.utilization import UtilizationFit, UtilizationPoint, fit_utilization
from sizing.production.traffic import Traffic, percentile_of
from sizing.request.request import Band

#: Period of utilization and latency, seconds.
PERIOD_SECONDS = 300
_BAND = Band()
_MIDDLE = (_BAND.min + _BAND.max) / 2
#: Periods with requests that a judgement needs: two hours.
_FEWEST_PERIODS = 24
#: Utilization is fitted to so many points, each the mean of periods of about the same rate.
_POINTS = 12
#: What a point may be off besides what its periods show, relative.
_LEAST_ERROR = 0.01
#: From there on instances turn requests away, and what one costs is no longer seen, percent.
_SATURATED_PERCENT = 90.0
#: What a container may do without any request, percent of an instance.
_IDLE_PERCENT = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
#: Most that its own work may be of the least utilization that was seen with requests.
_MOST_IDLE_SHARE = 0.9
#: Scatter of the cost of a request over which utilization follows something else, relative.
_MOST_SCATTER = 0.35
#: How far the fit may be wrong at a utilization a full 100 % away from all that was seen, relative:
#: caches, queues and garbage collection are in no fit.
_FAR_ERROR = 0.15
#: Of a normal distribution: 90 % lie within.
_WITHIN = 1.645
#: A count suggested may be off by so many instances.
_CLOSE = 1.0
#: p99 of the last quarter over that of the first at the same load from which latency grows.
_GROWN = 1.25
#: Standard errors that the growth must be beyond.
_SURELY = 4.0
#: Share of failed invocations at the busiest tenth that is worth a word.
_FAILING = 0.01


class Verdict(StrEnum):
    """What is to be said of a variant."""

    IDLE = "idle"
    TOO_SMALL = "too_small"
    LATENCY_GROWING = "latency_growing"
    TOO_LARGE = "too_large"
    RIGHT = "right"
    #: It can't be judged; ``why`` says what keeps it from that.
    UNKNOWN = "unknown"

    @property
    def is_worth_a_sizing(self) -> bool:
        """Whether a load test would tell more: another count fits, or nobody knows which does."""
        return self not in (Verdict.IDLE, Verdict.RIGHT)


@dataclass(frozen=True, slots=True)
class Period:
    """Five minutes of a variant.

    Args:
        start: Epoch seconds.
        tps: Invocations per second, of all instances.
        instances: Instances that reported.
        utilization_percent: Of the busier of CPU and GPU, of an instance, percent.
        p99_ms: ModelLatency's, milliseconds; None if nothing was answered.
        failed: Share of the invocations with a 5xx, 0 to 1.
    """

    start: int
    tps: float
    instances: float
    utilization_percent: float
    p99_ms: float | None = None
    failed: float = 0.0

    @property
    def tps_per_instance(self) -> float:
        """Invocations per second of an instance."""
        return self.tps / self.instances


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a variant's history says."""

    verdict: Verdict
    why: str
    peak_tps: float | None = None
    #: Highest utilization, but for one period of a hundred, percent.
    peak_utilization_percent: float | None = None
    suggested_count: int | None = None


class Audited(BaseModel):
    """A variant of a production endpoint, judged by its own history."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    endpoint: str
    variant: str
    #: Null where it has none of its own.
    instance_type: str | None
    instance_count: int
    #: The rate that 99.9 % of all minutes stay at or under; null where it is not known.
    peak_tps: float | None
    #: Of the busier of CPU and GPU; null where it is not known.
    peak_utilization_percent: float | None
    #: Of all its instances.
    hourly_cost_usd: float | None
    #: idle, too_small, latency_growing, too_large, right or unknown.
    verdict: str
    #: Null where its history does not tell.
    suggested_count: int | None
    #: With the suggested count, or without it where it is idle; null where it is neither too large
    #: nor idle, or its price is not known.
    saving_usd_a_month: float | None
    why: str

    @property
    def monthly_cost_usd(self) -> float | None:
        """Of all its instances."""
        return None if self.hourly_cost_usd is None else self.hourly_cost_usd * HOURS_A_MONTH


def saving_usd_a_month(judgement: Judgement, least: int, price_usd: float | None) -> float | None:
    """What the fewer instances that fit would save at list prices; all of it where it is idle.

    Args:
        judgement: Of the variant.
        least: Instances that it has at the least.
        price_usd: Of one for an hour; None where it is not known.
    """
    if price_usd is None:
        return None
    if judgement.verdict is Verdict.IDLE:
        return least * price_usd * HOURS_A_MONTH
    if judgement.verdict is Verdict.TOO_LARGE and judgement.suggested_count is not None:
        return (least - judgement.suggested_count) * price_usd * HOURS_A_MONTH
    return None


#: What needs somebody first.
_URGENT = (
    Verdict.TOO_SMALL,
    Verdict.LATENCY_GROWING,
    Verdict.TOO_LARGE,
    Verdict.IDLE,
    Verdict.UNKNOWN,
    Verdict.RIGHT,
)


def by_urgency(audited: Sequence[Audited]) -> list[Audited]:
    """The variants in the order in which they need somebody: those that save most come first."""
    return sorted(
        audited,
        key=lambda each: (
            _URGENT.index(Verdict(each.verdict)),
            -(each.saving_usd_a_month or 0.0),
            -(each.hourly_cost_usd or 0.0),
            each.endpoint,
            each.variant,
        ),
    )


def judge(traffic: Traffic, periods: Sequence[Period], counts: tuple[int, int]) -> Judgement:
    """Judge a variant.

    Args:
        traffic: Its invocations.
        periods: Its periods with utilization, in their order.
        counts: Least and most instances that it may have; the same where no policy scales it.
    """
    days = (traffic.end - traffic.start) / 86_400
    if not traffic.total:
        return Judgement(Verdict.IDLE, f"no invocation in {days:.3g} days", peak_tps=0.0)
    peak = traffic.peak_tps()
    busy = [each for each in periods if each.tps > 0 and each.utilization_percent > 0]
    utilization = percentile_of([each.utilization_percent for each in periods], 99)
    seen = Judgement(Verdict.UNKNOWN, "", peak, utilization if periods else None)
    if len(busy) < _FEWEST_PERIODS:
        minutes = len(busy) * PERIOD_SECONDS // 60
        return _said(seen, f"only {minutes} minutes with both requests and utilization")
    unsaturated = [each for each in busy if each.utilization_percent < _SATURATED_PERCENT]
    if len(unsaturated) < _FEWEST_PERIODS:
        return Judgement(
            Verdict.TOO_SMALL,
            "it is saturated whenever it has requests, so what it could not serve is not seen",
            peak,
            utilization,
        )
    points, scatter = _points(unsaturated)
    if scatter > _MOST_SCATTER:
        return _said(
            seen,
            "its utilization does not follow its requests "
            f"({scatter:.0%} scatter at the same rate): something else runs on it",
        )
    suggested, off = _count(points, peak)
    failing = _failing(busy)
    grown = _growth(busy)
    too_small = utilization > _BAND.max
    found = seen if off > _CLOSE else _with_count(seen, suggested)
    why = [f"{peak:.3g} requests per second at the peak, {utilization:.3g} % utilization"]
    if found.suggested_count is None:
        why.append(f"what was seen leaves the count open by {off:.2g}, so none is suggested")
    if failing >= _FAILING:
        why.append(f"{failing:.1%} of the requests failed in its busiest hours")
    if grown is not None:
        why.append(f"p99 grew from {grown[0]:.3g} to {grown[1]:.3g} ms at the same load")
    verdict = Verdict.RIGHT
    if too_small or (found.suggested_count or 0) > counts[1]:
        verdict = Verdict.TOO_SMALL
    elif grown is not None:
        verdict = Verdict.LATENCY_GROWING
    elif found.suggested_count is not None and found.suggested_count < counts[0]:
        verdict = Verdict.TOO_LARGE
    elif found.suggested_count is None:
        verdict = Verdict.UNKNOWN
    return Judgement(
        verdict, "; ".join(why), peak, found.peak_utilization_percent, found.suggested_count
    )


def _said(seen: Judgement, why: str) -> Judgement:
    return Judgement(seen.verdict, why, seen.peak_tps, seen.peak_utilization_percent)


def _with_count(seen: Judgement, count: int) -> Judgement:
    return Judgement(seen.verdict, seen.why, seen.peak_tps, seen.peak_utilization_percent, count)


def _points(periods: Sequence[Period]) -> tuple[list[UtilizationPoint], float]:
    """Utilization against the rate per instance, and the scatter around it, relative."""
    ranked = sorted(periods, key=lambda each: each.tps_per_instance)
    size = math.ceil(len(ranked) / _POINTS)
    points, scatters = [], []
    for number, start in enumerate(range(0, len(ranked), size)):
        alike = ranked[start : start + size]
        costs = [each.utilization_percent / each.tps_per_instance for each in alike]
        cost = statistics.fmean(costs)
        rate = statistics.fmean(each.tps_per_instance for each in alike)
        scatters.append(statistics.stdev(costs) / cost if len(costs) > 1 else _MOST_SCATTER)
        points.append(
            UtilizationPoint(
                tps_per_instance=rate,
                utilization_percent=cost * rate,
                instances=max(round(statistics.fmean(each.instances for each in alike)), 1),
                load_test=number,
                noise=max(scatters[-1] / math.sqrt(len(alike)), _LEAST_ERROR),
            )
        )
    # Of few requests the rate itself is chance: the busier half tells.
    return points, statistics.median(scatters[len(scatters) // 2 :])


def _count(points: Sequence[UtilizationPoint], peak_tps: float) -> tuple[int, float]:
    """The least count that serves the peak in the band, and by how many it may be wrong.

    A container's own work looks like requests that get cheaper with the load. How much of it there
    is, is averaged over, by how probable it makes what was seen.
    """
    counts, errors, evidence = [], [], []
    lowest = min(each.utilization_percent for each in points)
    highest = max(each.utilization_percent for each in points)
    for idle in _IDLE_PERCENT:
        if idle > _MOST_IDLE_SHARE * lowest:
            break
        left = [each.utilization_percent - idle for each in points]
        fit = fit_utilization(
            [
                replace(
                    each,
                    utilization_percent=rest,
                    noise=each.noise * each.utilization_percent / rest,
                )
                for each, rest in zip(points, left, strict=True)
            ]
        )
        counts.append(_least(fit, idle, peak_tps))
        far = _FAR_ERROR * max(_MIDDLE - highest, 0.0) / 100
        errors.append(math.hypot(fit.error_at(_MIDDLE, counts[-1]), far) * counts[-1])
        # The density of what was seen, not of what is left of it.
        evidence.append(fit.log_evidence - math.fsum(map(math.log, left)))
    weights = [math.exp(each - max(evidence)) for each in evidence]
    best = counts[weights.index(max(weights))]
    variance = statistics.fmean(
        [(count - best) ** 2 + error**2 for count, error in zip(counts, errors, strict=True)],
        weights,
    )
    return best, _WITHIN * math.sqrt(variance)


def _least(fit: UtilizationFit, idle: float, peak_tps: float) -> int:
    most, count = _BAND.max - idle, 1
    while fit.utilization_at(peak_tps / count, count) > most:
        count += max(round(count * 0.02), 1)
    while count > 1 and fit.utilization_at(peak_tps / (count - 1), count - 1) <= most:
        count -= 1
    return count


def _failing(periods: Sequence[Period]) -> float:
    """Share of the invocations that failed in the busiest tenth of the periods."""
    busiest = sorted(periods, key=lambda each: each.tps)[-max(len(periods) // 10, 1) :]
    return math.fsum(each.failed * each.tps for each in busiest) / math.fsum(
        each.tps for each in busiest
    )


def _growth(periods: Sequence[Period]) -> tuple[float, float] | None:
    """The median p99 of the first and of the last quarter at usual loads, if it has grown, ms."""
    rates = [each.tps_per_instance for each in periods]
    low, high = percentile_of(rates, 25), percentile_of(rates, 75)
    usual = [each for each in periods if low <= each.tps_per_instance <= high and each.p99_ms]
    quarter = len(usual) // 4
    if quarter < _FEWEST_PERIODS // 2:
        return None
    logs = [math.log(each.p99_ms or 1.0) for each in usual]
    first, last = logs[:quarter], logs[-quarter:]
    error = math.hypot(*(statistics.stdev(each) / math.sqrt(quarter) for each in (first, last)))
    before, after = statistics.median(first), statistics.median(last)
    if after - before < max(math.log(_GROWN), _SURELY * error):
        return None
    return math.exp(before), math.exp(after)
