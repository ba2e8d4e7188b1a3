"""A result beside the one before it: whether it differs beyond chance, and by enough to matter.

Two measurements ``m1`` and ``m2`` with relative standard errors ``s1`` and ``s2`` are compared by
the logarithm of their ratio, whose standard error is ``hypot(s1, s2)`` to first order (the delta
method: Casella and Berger, Statistical Inference, 2002, 5.5.4). A difference is one if

    abs(log(m2 / m1)) > max(log(1 + tolerance), t * hypot(s1, s2))

so a difference that matters to nobody is none, however sure, and chance is none, however large.
``t`` is such that of two equal results one in fifty differs at the most, by all comparisons
together (Bonferroni: four of them, two measures and two directions): a quantile of the normal
distribution for the capacity, whose error is a posterior's, and of Student's t with Welch's degrees
of freedom (Biometrika 34, 1947) for the latency, whose error is estimated from few periods.

A count is itself an estimate: two counts differ where their intervals have none in common.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import StrEnum
from statistics import NormalDist
from typing import Final

from pydantic import BaseModel, ConfigDict

from sizing.search.answer import Status

#: Share of pairs of equal results that may be said to differ.
FALSE_ALARMS: Final = 0.02
_COMPARISONS: Final = 4
#: One-sided quantile of the normal distribution that follows.
SURE: Final = NormalDist().inv_cdf(1 - FALSE_ALARMS / _COMPARISONS)
#: What the latencies of two sizings of the same endpoint differ by anyway, relative standard
#: deviation of each: other machines, another hour.
_BETWEEN_SIZINGS: Final = 0.005
#: Fewer periods tell nothing about the error of their mean.
_FEWEST_PERIODS: Final = 3

_ANSWERS: Final = (Status.SIZED, Status.TARGET_NOT_MET)


class Kind(StrEnum):
    """What a result is, beside the one before it."""

    #: There is none before it that answers the same question.
    FIRST = "first"
    UNCHANGED = "unchanged"
    IMPROVED = "improved"
    #: Something is worse, whatever else is better.
    REGRESSED = "regressed"
    #: Another answer that is neither better nor worse by more than the tolerance and chance.
    CHANGED = "changed"


class Effect(StrEnum):
    """What a difference means."""

    BETTER = "better"
    WORSE = "worse"
    OTHER = "other"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class Outcome(_Frozen):
    """What a sizing came to, as far as others are compared with it."""

    sizing_id: str
    status: Status
    #: ISO 8601, UTC.
    finished_at: str
    package_version: int | None = None
    result_uri: str | None = None
    #: Of the recommendation; of one that did not meet the target, the candidate that came closest.
    instance_type: str | None = None
    instance_count: int | None = None
    #: Counts that noise can't tell apart, inclusive.
    least_count: int | None = None
    most_count: int | None = None
    hourly_cost_usd: float | None = None
    #: Under the full target, milliseconds; its standard error, and the metric periods behind it.
    model_latency_p99_ms: float | None = None
    model_latency_p99_standard_error: float | None = None
    periods: int | None = None
    #: Successful answers per second under the full target, and the utilization that they took.
    tps: float | None = None
    utilization_percent: float | None = None
    utilization_standard_error: float | None = None
    #: Requests per second of one instance at the middle of the band, and its standard error.
    tps_per_instance_at_band_middle: float | None = None
    tps_per_instance_standard_error: float | None = None


class Previous(_Frozen):
    """The result that another is compared with, as far as people ask for it."""

    sizing_id: str
    status: Status
    finished_at: str
    package_version: int | None
    result_uri: str | None
    instance_type: str | None
    instance_count: int | None
    hourly_cost_usd: float | None
    model_latency_p99_ms: float | None
    utilization_percent: float | None = None
    tps_per_instance_at_band_middle: float | None


class Difference(_Frozen):
    """One thing that differs."""

    #: Its name in ``Previous``.
    field: str
    effect: Effect
    before: int | float | str | None
    after: int | float | str | None
    #: From before to after; None for what is no number.
    percent: float | None = None
    #: Standard error of ``percent``; None where there is no noise in it.
    standard_error: float | None = None


class Change(_Frozen):
    """A result beside the one before it."""

    kind: Kind
    previous: Previous | None = None
    #: What differs, the most serious first; nothing if ``first`` or ``unchanged``.
    what: tuple[Difference, ...] = ()


def is_answer(status: Status) -> bool:
    """Whether a result of that status is compared at all; others have measured nothing."""
    return status in _ANSWERS


def compare(before: Outcome | None, after: Outcome, tolerance_percent: float) -> Change:
    """What changed from one answer to the next.

    Args:
        before: The last answer to the same question; None if there is none.
        after: The answer now.
        tolerance_percent: How much of capacity, cost or p99 matters to nobody.
    """
    if before is None:
        return Change(kind=Kind.FIRST)
    order = (Effect.WORSE, Effect.BETTER, Effect.OTHER)
    what = sorted(
        _differences(before, after, math.log1p(tolerance_percent / 100)),
        key=lambda each: order.index(each.effect),
    )
    kinds = {
        Effect.WORSE: Kind.REGRESSED,
        Effect.BETTER: Kind.IMPROVED,
        Effect.OTHER: Kind.CHANGED,
    }
    return Change(
        kind=kinds[what[0].effect] if what else Kind.UNCHANGED,
        previous=Previous.model_validate(before.model_dump(include=set(Previous.model_fields))),
        what=tuple(what),
    )


def _differences(before: Outcome, after: Outcome, tolerance: float) -> Iterator[Difference]:
    if before.status is not after.status:
        yield Difference(
            field="status",
            effect=Effect.BETTER if after.status is Status.SIZED else Effect.WORSE,
            before=before.status,
            after=after.status,
        )
    if before.instance_type == after.instance_type:
        yield from _capacity(before, after, tolerance)
        if before.instance_count == after.instance_count:
            yield from _latency(before, after, tolerance)
        else:
            yield _other(before, after, "instance_count")
    elif before.status is after.status:
        yield _other(before, after, "instance_type")
    if before.status is after.status is Status.SIZED and _counts_apart(before, after):
        yield from _cost(before, after, tolerance)


def _capacity(before: Outcome, after: Outcome, tolerance: float) -> Iterator[Difference]:
    """By what an instance does in the band; or, if that is surer, by what the same rate takes.

    A single instance that is far from busy shows little of what it would do in the band.
    """
    in_band = _error(before, after, "tps_per_instance_at_band_middle", "tps_per_instance")
    error = _error(before, after, "utilization_percent", "utilization")
    if before.instance_count == after.instance_count and error is not None:
        error = math.hypot(error, *(_BETWEEN_SIZINGS, _BETWEEN_SIZINGS))
        if in_band is None or error < in_band:
            rates = (after.tps or 1.0) / (before.tps or 1.0)
            field = "utilization_percent"
            yield from _measured(before, after, field, error, SURE * error, tolerance, per=rates)
            return
    if in_band is not None:
        field, chance = "tps_per_instance_at_band_middle", SURE * in_band
        yield from _measured(before, after, field, in_band, chance, tolerance, more_is_better=True)


def _error(before: Outcome, after: Outcome, field: str, name: str) -> float | None:
    """Standard error of the logarithm of two figures' ratio; None if one is unknown."""
    squares = 0.0
    for each in (before, after):
        error = _relative(getattr(each, f"{name}_standard_error"), getattr(each, field))
        if error is None:
            return None
        squares += error**2
    return math.sqrt(squares)


def _latency(before: Outcome, after: Outcome, tolerance: float) -> Iterator[Difference]:
    field = "model_latency_p99_ms"
    squares, freedoms = [], []
    for each in (before, after):
        error = _relative(each.model_latency_p99_standard_error, each.model_latency_p99_ms)
        if error is None or each.periods is None or each.periods < _FEWEST_PERIODS:
            return
        squares.append(error**2)
        freedoms.append(each.periods - 1)
    estimated = sum(squares)
    spread = sum(each**2 / freedom for each, freedom in zip(squares, freedoms, strict=True))
    quantile = student(SURE, estimated**2 / spread) if spread else SURE
    error = math.sqrt(estimated + 2 * _BETWEEN_SIZINGS**2)
    yield from _measured(before, after, field, error, quantile * error, tolerance)


def _cost(before: Outcome, after: Outcome, tolerance: float) -> Iterator[Difference]:
    yield from _measured(before, after, "hourly_cost_usd", None, 0.0, tolerance)


def _measured(
    before: Outcome,
    after: Outcome,
    field: str,
    error: float | None,
    chance: float,
    tolerance: float,
    *,
    more_is_better: bool = False,
    per: float = 1.0,
) -> Iterator[Difference]:
    """The difference of two figures, if it is beyond chance and tolerance (both logarithmic).

    ``per`` is by how much the latter is expected to differ anyway, as a factor.
    """
    former, latter = getattr(before, field), getattr(after, field)
    if not former or not latter:
        return
    ratio = math.log(latter / former / per)
    if abs(ratio) > max(tolerance, chance):
        yield Difference(
            field=field,
            effect=Effect.BETTER if (ratio > 0) is more_is_better else Effect.WORSE,
            before=former,
            after=latter,
            percent=100 * (math.exp(ratio) - 1),
            standard_error=None if error is None else 100 * error * math.exp(ratio),
        )


def _other(before: Outcome, after: Outcome, field: str) -> Difference:
    return Difference(
        field=field,
        effect=Effect.OTHER,
        before=getattr(before, field),
        after=getattr(after, field),
    )


def _counts_apart(before: Outcome, after: Outcome) -> bool:
    """Whether more than noise makes the counts differ, or prices or types make the cost differ."""
    if before.instance_type != after.instance_type or before.instance_count == after.instance_count:
        return True
    (least, most), (least_now, most_now) = map(_interval, (before, after))
    return most < least_now or most_now < least


def _interval(outcome: Outcome) -> tuple[int, int]:
    count = outcome.instance_count or 0
    return outcome.least_count or count, outcome.most_count or count


def _relative(error: float | None, value: float | None) -> float | None:
    return None if error is None or not value else error / value


_IN_WORDS: Final = {
    "tps_per_instance_at_band_middle": "capacity of an instance",
    "utilization_percent": "utilization by the same rate",
    "model_latency_p99_ms": "p99",
    "hourly_cost_usd": "cost per hour",
    "instance_count": "instances",
    "instance_type": "type",
    "status": "status",
}


def sentence(change: Change) -> str:
    """The change in a line: ``regressed since <id> of <time>: capacity of an instance -10.2 %``."""
    if change.previous is None:
        return "the first answer to this question"
    since = f"{change.kind} since {change.previous.sizing_id} of {change.previous.finished_at}"
    return f"{since}: {', '.join(map(_in_words, change.what))}" if change.what else since


def _in_words(difference: Difference) -> str:
    name, before, after = _IN_WORDS[difference.field], difference.before, difference.after
    if difference.percent is None:
        return f"{name} {before}, now {after}"
    error = "" if difference.standard_error is None else f" (+- {difference.standard_error:.2g})"
    return f"{name} {difference.percent:+.1f} %{error}"


def student(normal_quantile: float, freedom: float) -> float:
    """The quantile of Student's t at the probability of a quantile of the normal distribution.

    By its expansion in the degrees of freedom (Abramowitz and Stegun, 26.7.5), which is within 2 %
    from three of them on, for probabilities up to 0.995.
    """
    z, v = normal_quantile, freedom
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4)
    )
