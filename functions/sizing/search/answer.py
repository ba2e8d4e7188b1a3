"""What the search concludes: the recommendation and what became of every candidate."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from sizing.catalogue.instance import InstanceFacts
from sizing.load_test.observation import Observation, Verdict
from sizing.load_test.verdict import used_up
from sizing.search.diagnosis import Diagnosis, diagnose
from sizing.search.known import Known
from sizing.search.prediction import CONTAINER
from sizing.search.seen import Trial

#: Standard errors that bound the interval of counts which noise can't tell apart (90 %).
INTERVAL = 1.645
#: Standard errors of room at the rate that autoscaling is advised to hold (one-sided 99 %).
SAFE = 2.326
#: Its share of the most that is within all limits; and of the saturation rate, the largest.
SAFE_SHARE = 0.98
SATURATION_SHARE = 0.9


class Status(StrEnum):
    """How a sizing ended."""

    SIZED = "SIZED"
    TARGET_NOT_MET = "TARGET_NOT_MET"
    FAILED = "FAILED"
    DRY_RUN = "DRY_RUN"


class CandidateStatus(StrEnum):
    """What became of a candidate."""

    #: Serves the target, shown by a load test at this count.
    VERIFIED = "VERIFIED"
    #: Was not verified: another candidate is cheaper, or a limit was reached first.
    NOT_VERIFIED = "NOT_VERIFIED"
    #: Was load-tested and can't serve the target within the limits.
    TARGET_NOT_MET = "TARGET_NOT_MET"
    #: Could not be load-tested.
    FAILED = "FAILED"


class CandidateOutcome(BaseModel):
    """A candidate's part of the answer."""

    model_config = ConfigDict(frozen=True)

    instance_type: str
    status: CandidateStatus
    reason: str
    #: Smallest count known, or predicted, to serve the target; None if none is.
    instance_count: int | None = None
    #: Range of counts that the noise can't tell apart, inclusive; equal ends if there is none.
    count_interval: tuple[int, int] | None = None
    #: What was seen at that count under the full target; only of a verified candidate.
    observation: Observation | None = None
    in_band: bool = False
    #: What keeps the count from being smaller, or the target from being met by any count: CPU,
    #: GPU, GPU memory, memory, latency, errors, container; or what all instances share.
    limiting_resource: str | None = None
    #: Requests per second of one instance at the middle of the band, as measured (from the fit).
    tps_per_instance_at_band_middle: float | None = None
    #: Its standard error.
    tps_per_instance_standard_error: float | None = None
    #: Most of one instance within all limits, of latency and of what it can serve at all, with room
    #: for doubt; per second. Autoscaling must not go beyond.
    most_tps_per_instance: float | None = None
    hourly_cost_usd: float | None = None
    diagnosis: tuple[Diagnosis, ...] = ()


class Answer(BaseModel):
    """What the search concludes when no further load test is needed, or none is allowed."""

    model_config = ConfigDict(frozen=True)

    status: Status
    reason: str
    #: The winner's type; None if no candidate meets the target.
    instance_type: str | None = None
    #: Name of the limit that ended the search (``limits.max_instances`` ...), if one did.
    limit: str | None = None
    candidates: tuple[CandidateOutcome, ...]


def verified(known: Known, count: int, reason: str) -> CandidateOutcome:
    """A candidate whose count was seen to serve the full target."""
    trial = known.seen.trials[count]
    band = known.seen.request.target.utilization_percent
    limiting = _limiting_resource(known, count)
    seen = trial.observation
    if limiting == "latency" and seen.verdict is Verdict.UNDERUSED:
        # One instance fewer may be in the band, and break the latency limit there.
        seen = seen.model_copy(update={"verdict": Verdict.LATENCY_LIMITED})
        trial = replace(trial, observation=seen)
    return CandidateOutcome(
        instance_type=known.seen.facts.instance_type,
        status=CandidateStatus.VERIFIED,
        reason=reason,
        instance_count=count,
        count_interval=_interval(known, count),
        observation=seen,
        in_band=band.min <= seen.utilization_percent <= band.max,
        limiting_resource=limiting,
        tps_per_instance_at_band_middle=_tps_at_middle(known, count),
        tps_per_instance_standard_error=_tps_error(known, count),
        most_tps_per_instance=_most_tps(known, count),
        hourly_cost_usd=hourly_cost(known.seen.facts, count),
        diagnosis=diagnose(known, trial),
    )


def known_to_serve(known: Known, limit: str) -> CandidateOutcome | None:
    """The smallest count that was seen to serve the target; None if none was.

    For where a limit keeps the search from going on: a smaller count, or certainty about this
    one, would have taken another load test. A count in the band goes before one under it.
    """
    band = known.seen.request.target.utilization_percent
    serving = {count: trial for count, trial in known.seen.trials.items() if trial.serves}
    if not serving:
        return None
    in_band = {
        count
        for count, trial in serving.items()
        if trial.observation.utilization_percent >= band.min
    }
    counts = in_band or set(serving)
    count = min(known.accepted & counts, default=max(counts))
    shown = known.seen.trials[count].observation.utilization_percent
    reason = f"{shown:.1f} % at the full target; {limit} kept other counts from being tried"
    return verified(known, count, reason)


def closed(
    known: Known, status: CandidateStatus, reason: str, limiting_resource: str | None = None
) -> CandidateOutcome:
    """A candidate without a count: it failed, or no count of it can serve the target."""
    return CandidateOutcome(
        instance_type=known.seen.facts.instance_type,
        status=status,
        reason=reason,
        limiting_resource=limiting_resource,
        diagnosis=diagnose(known, None),
    )


def too_many(known: Known, predicted: int | None, most: int) -> CandidateOutcome:
    """A candidate that would need more instances than ``limits.max_instances``."""
    needed = "no number of instances" if predicted is None else f"about {instances(predicted)}"
    lowered = ", lowered to the account's quota" if known.seen.facts.max_instances == most else ""
    return CandidateOutcome(
        instance_type=known.seen.facts.instance_type,
        status=CandidateStatus.TARGET_NOT_MET,
        reason=f"{needed} would serve the target; limits.max_instances is {most}{lowered}",
        instance_count=predicted,
        count_interval=None if predicted is None else _interval(known, predicted),
        limiting_resource=_limiting_resource(known, predicted),
        tps_per_instance_at_band_middle=_tps_at_middle(known, predicted or 1),
        tps_per_instance_standard_error=_tps_error(known, predicted or 1),
        hourly_cost_usd=hourly_cost(known.seen.facts, predicted),
        diagnosis=diagnose(known, None),
    )


def left_open(known: Known, count: int | None, reason: str) -> CandidateOutcome:
    """A candidate that no further load test was spent on, with what is known of it.

    Args:
        known: What is known of it.
        count: The count it is expected to need; None before anything was seen.
        reason: Why it was left.
    """
    good = known.least_good
    trial = known.seen.trials[good] if good is not None else None
    return CandidateOutcome(
        instance_type=known.seen.facts.instance_type,
        status=CandidateStatus.NOT_VERIFIED,
        reason=reason,
        instance_count=good or count,
        count_interval=None if count is None else _interval(known, good or count),
        observation=trial.observation if trial else None,
        limiting_resource=_limiting_resource(known, good or count),
        tps_per_instance_at_band_middle=_tps_at_middle(known, good or count or 1),
        tps_per_instance_standard_error=_tps_error(known, good or count or 1),
        hourly_cost_usd=hourly_cost(known.seen.facts, good or count),
        diagnosis=diagnose(known, trial),
    )


def why_not_fewer(known: Known, count: int) -> str:
    """Why no smaller count was, or needs to be, tried."""
    seen = known.seen.trials[count].observation
    band = known.seen.request.target.utilization_percent
    shown = f"{seen.utilization_percent:.1f} % at the full target"
    if count == 1:
        return f"{shown}; there are no fewer instances than one"
    fewer = count - 1
    if fewer in known.seen.trials:
        why = f"{instances(fewer)} failed with {_described(known.seen.trials[fewer])}"
    else:
        possible = known.prediction.smallest_count(above=known.most_bad)
        if possible is not None and possible < count:
            predicted = known.prediction.utilization_at(possible)
            saved, load_tests = 100 * (count - possible) / count, len(known.seen.records)
            return (
                f"{shown}; {instances(possible)} may do, at {predicted:.1f} %, a saving of "
                f"{saved:.0f} % that was not worth another load test after {load_tests}"
            )
        why = f"{instances(fewer)} would be at {known.prediction.utilization_at(fewer):.1f} %"
        others = [each for each in known.prediction.binding(fewer) if each != known.seen.resource]
        why += f", held up by {', '.join(others)}" if others else ""
    if seen.utilization_percent < band.min:
        why += f": no count lies in the band {band.min:g}-{band.max:g} %, this is the smallest"
    return f"{shown}; {why}"


def _described(trial: Trial) -> str:
    seen = trial.observation
    return f"{seen.verdict} ({seen.utilization_percent:.1f} %, {seen.error_percent:.2f} % errors)"


def _interval(known: Known, count: int) -> tuple[int, int]:
    """Counts that the noise can't tell apart from the one found, inclusive."""
    if known.predicted is None:
        return count, count
    least = known.prediction.smallest_that_may_do(-INTERVAL)
    most = known.prediction.smallest_count(INTERVAL)
    return min(least or count, count), max(most or count, count)


def _limiting_resource(known: Known, count: int | None) -> str | None:
    """What keeps the count from being smaller."""
    if count is None or known.predicted is None:
        return None
    if known.seen.container_bound:
        return known.seen.exhausted or CONTAINER
    if count == 1:
        return known.seen.resource
    binding = known.prediction.binding(count - 1)
    if binding:
        return binding[0]
    # The count is larger than it need be. What would bind first, if it were smaller?
    idle = (
        known.prediction.utilization_at(count) < known.seen.request.target.utilization_percent.min
    )
    return "latency" if known.seen.latency_bound and idle else known.seen.resource


def _tps_at_middle(known: Known, count: int) -> float | None:
    if known.predicted is None:
        return None
    middle = known.seen.request.target.utilization_percent.middle
    return known.prediction.utilization.tps_at(middle, count)


def _tps_error(known: Known, count: int) -> float | None:
    """Standard error of the same, requests per second."""
    tps = _tps_at_middle(known, count)
    if known.predicted is None or tps is None:
        return None
    middle = known.seen.request.target.utilization_percent.middle
    return tps * known.prediction.utilization.error_at(middle, count)


def _most_tps(known: Known, count: int) -> float | None:
    """What one instance of so many serves within all limits, per second."""
    predicted = known.predicted
    if predicted is None:
        return None
    # Farther than what was seen within all limits a prediction is a guess.
    slower = predicted.as_slow_as(count)
    most = min(slower.most_within_limits(count, SAFE), known.seen.within_limits_tps)
    trial = known.seen.trials.get(count)
    if trial is not None:
        # Nor is it likely that a fleet with an odd instance gets busier more slowly than its load.
        middle = known.seen.request.target.utilization_percent.middle
        busy = max(trial.observation.utilization_percent, 1.0)
        most = min(most, trial.observation.offered_tps / count * middle / busy / SAFE_SHARE)
    # What failed or used all of the hardware up, whatever a burst or the fit says, is no less than
    # what one serves.
    seen = known.seen
    ends = [rate for rate in (seen.saturation_tps, seen.overloaded_tps) if rate is not None]
    ends += [step.offered_per_instance for step in seen.steps if used_up(step.observation)]
    return min([SAFE_SHARE * most, *(SATURATION_SHARE * rate for rate in ends)])


def hourly_cost(facts: InstanceFacts, count: int | None) -> float | None:
    """USD per hour of that many instances; None where the price or the count is unknown."""
    if count is None or facts.hourly_price_usd is None:
        return None
    return facts.hourly_price_usd * count


def instances(count: int) -> str:
    """A count in words: "1 instance", "8 instances"."""
    return f"{count} instance" if count == 1 else f"{count} instances"
