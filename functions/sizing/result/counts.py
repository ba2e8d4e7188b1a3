"""Instance counts around the answer, side by side: what each was seen or is predicted to do."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp

from pydantic import BaseModel, ConfigDict

from sizing.catalogue.instance import InstanceFacts
from sizing.catalogue.prices import HOURS_A_MONTH
from sizing.load_test.observation import LoadTestRecord
from sizing.request.request import Request
from sizing.search.prediction import Prediction, predict
from sizing.search.seen import Trial, see

#: Counts on either side of the answer.
NEIGHBOURS = 2
#: Standard errors that bound 90 % of a normal distribution.
_NINETY_PERCENT = 1.645
_SECONDS_PER_HOUR = 3600
_ALL_OF_IT = 100.0
#: Rates up to that utilization that are looked at for the most that a count serves, and how often
#: the distance between two of them is halved.
_RATES = 40
_HALVINGS = 12


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class WithoutOne(_Frozen):
    """The full target after the loss of one instance."""

    #: None where it is predicted to need more than there is.
    utilization_percent: float | None
    #: Whether that is within all limits, the band's upper edge among them.
    within_limits: bool


class Count(_Frozen):
    """One instance count under the full target."""

    instance_count: int
    #: Whether a load test offered it the full target; if not, its figures are predicted.
    measured: bool
    #: Whether it serves the target within all limits.
    serves: bool
    #: None where it is predicted to need more than there is.
    utilization_percent: float | None
    #: p99 of ModelLatency, milliseconds; of a prediction, with the bounds of 90 %.
    model_latency_p99_ms: float | None = None
    model_latency_p99_low_ms: float | None = None
    model_latency_p99_high_ms: float | None = None
    #: Highest rate of the whole fleet within all limits, requests per second.
    most_tps: float | None = None
    #: None for a single instance: nothing is left.
    without_one: WithoutOne | None = None
    hourly_cost_usd: float | None = None
    monthly_cost_usd: float | None = None
    cost_per_million_usd: float | None = None


def cost_per_million(hourly_cost_usd: float | None, tps: float) -> float | None:
    """USD for a million requests at a steady rate; None if the hourly cost is unknown."""
    if hourly_cost_usd is None or tps <= 0:
        return None
    return hourly_cost_usd / (tps * _SECONDS_PER_HOUR) * 1e6


def counts_around(
    request: Request,
    facts: InstanceFacts,
    records: Sequence[LoadTestRecord],
    instances: int,
    also: Sequence[int] = (),
) -> tuple[Count, ...]:
    """What counts around one do, by all that a candidate's load tests have shown.

    Args:
        request: What is asked for, of this candidate.
        facts: The candidate.
        records: Its load tests.
        instances: The count in question, shown with ``NEIGHBOURS`` on either side.
        also: Other counts that are worth a row.

    Returns:
        In ascending order; none where nothing was measured.
    """
    seen = see(request, facts, records)
    prediction = predict(seen)
    if prediction is None:
        return ()
    around = {*range(max(instances - NEIGHBOURS, 1), instances + NEIGHBOURS + 1), *also}
    return tuple(_count(prediction, seen.trials.get(each), facts, each) for each in sorted(around))


def _count(
    prediction: Prediction, trial: Trial | None, facts: InstanceFacts, instances: int
) -> Count:
    price = facts.hourly_price_usd
    hourly = None if price is None else price * instances
    p99, low, high = _latency(prediction, trial, instances)
    utilization, serves = _under_target(prediction, trial, instances)
    return Count(
        instance_count=instances,
        measured=trial is not None,
        serves=serves,
        utilization_percent=utilization,
        model_latency_p99_ms=p99,
        model_latency_p99_low_ms=low,
        model_latency_p99_high_ms=high,
        most_tps=_most_tps(prediction, instances),
        without_one=_without_one(prediction, instances - 1) if instances > 1 else None,
        hourly_cost_usd=hourly,
        monthly_cost_usd=None if hourly is None else hourly * HOURS_A_MONTH,
        cost_per_million_usd=cost_per_million(hourly, prediction.seen.request.target.tps),
    )


def _under_target(
    prediction: Prediction, trial: Trial | None, instances: int
) -> tuple[float | None, bool]:
    """Utilization under the full target, and whether that is within all limits."""
    if trial is not None:
        return trial.observation.utilization_percent, trial.serves
    utilization = prediction.utilization_at(instances)
    serves = prediction.predicted_to_serve(instances)
    return (utilization if utilization <= _ALL_OF_IT else None), serves


def _without_one(prediction: Prediction, left: int) -> WithoutOne:
    utilization, serves = _under_target(prediction, prediction.seen.trials.get(left), left)
    return WithoutOne(utilization_percent=utilization, within_limits=serves)


def _latency(
    prediction: Prediction, trial: Trial | None, instances: int
) -> tuple[float | None, float | None, float | None]:
    """p99 of the model's latency, and the bounds of a prediction."""
    if trial is not None and (p99 := trial.observation.model_latency_ms.p99) is not None:
        return p99, None, None
    predicted = prediction.latency_at(instances)
    if predicted is None or prediction.utilization_at(instances) > _ALL_OF_IT:
        return None, None, None  # without a bound, where the queue grows
    p99, error = predicted
    factor = exp(_NINETY_PERCENT * error)
    return p99, p99 / factor, p99 * factor


def _most_tps(prediction: Prediction, instances: int) -> float | None:
    """The fleet's highest rate under which no limit is predicted to break; None if all break one.

    Latency may be longer at a low rate than at a higher one, so rates are looked at from below.
    """

    def within_limits(rate: float) -> bool:
        return min(prediction.room_at(rate, instances).values(), default=0.0) >= 0

    saturated = prediction.utilization.tps_at(_ALL_OF_IT, instances)
    good = 0.0
    for step in range(1, _RATES + 1):
        bad = saturated * step / _RATES
        if within_limits(bad):
            good = bad
        elif good:
            break
    else:
        return good * instances or None
    for _ in range(_HALVINGS):
        middle = (good + bad) / 2
        good, bad = (middle, bad) if within_limits(middle) else (good, middle)
    return good * instances
