"""What became of a candidate, and what keeps its count from being smaller."""

from __future__ import annotations

from dataclasses import replace

from sizing.catalogue.instance import InstanceFacts
from sizing.load_test.observation import Verdict
from sizing.search.answer import CandidateOutcome, CandidateStatus
from sizing.search.diagnosis import diagnose
from sizing.search.evidence import Evidence, Trial

#: Standard errors that bound the interval of counts which noise can't tell apart (two-sided 90 %).
_INTERVAL = 1.645


def verified(evidence: Evidence, count: int, reason: str) -> CandidateOutcome:
    """A candidate whose count was seen to serve the full target."""
    trial = evidence.trials[count]
    band = evidence.request.target.utilization_percent
    limiting = _limiting_resource(evidence, count)
    seen = trial.observation
    if limiting == "latency" and seen.verdict is Verdict.UNDERUSED:
        # One instance fewer may be in the band, and break the latency limit there.
        seen = seen.model_copy(update={"verdict": Verdict.LATENCY_LIMITED})
        trial = replace(trial, observation=seen)
    return CandidateOutcome(
        instance_type=evidence.facts.instance_type,
        status=CandidateStatus.VERIFIED,
        reason=reason,
        instance_count=count,
        count_interval=_interval(evidence, count),
        observation=seen,
        in_band=band.min <= seen.utilization_percent <= band.max,
        limiting_resource=limiting,
        tps_per_instance_at_band_middle=_tps_at_middle(evidence, count),
        hourly_cost_usd=hourly_cost(evidence.facts, count),
        diagnosis=diagnose(evidence, trial),
    )


def known_to_serve(evidence: Evidence, limit: str) -> CandidateOutcome | None:
    """The smallest count that was seen to serve the target in the band; None if none was.

    For where a limit keeps the search from going on: a smaller count, or certainty about this
    one, would have taken another load test.
    """
    band = evidence.request.target.utilization_percent
    counts = [
        count
        for count, trial in evidence.trials.items()
        if trial.serves and trial.observation.utilization_percent >= band.min
    ]
    if not counts:
        return None
    count = min(evidence.accepted & set(counts), default=max(counts))
    shown = evidence.trials[count].observation.utilization_percent
    reason = f"{shown:.1f} % at the full target; {limit} kept other counts from being tried"
    return verified(evidence, count, reason)


def closed(
    evidence: Evidence, status: CandidateStatus, reason: str, limiting_resource: str | None = None
) -> CandidateOutcome:
    """A candidate without a count: it failed, or no count of it can serve the target."""
    return CandidateOutcome(
        instance_type=evidence.facts.instance_type,
        status=status,
        reason=reason,
        limiting_resource=limiting_resource,
        diagnosis=diagnose(evidence, None),
    )


def too_many(evidence: Evidence, predicted: int | None, most: int) -> CandidateOutcome:
    """A candidate that would need more instances than ``limits.max_instances``."""
    needed = "no number of instances" if predicted is None else f"about {instances(predicted)}"
    lowered = ", lowered to the account's quota" if evidence.facts.max_instances == most else ""
    return CandidateOutcome(
        instance_type=evidence.facts.instance_type,
        status=CandidateStatus.TARGET_NOT_MET,
        reason=f"{needed} would serve the target; limits.max_instances is {most}{lowered}",
        instance_count=predicted,
        count_interval=None if predicted is None else _interval(evidence, predicted),
        limiting_resource=_limiting_resource(evidence, predicted),
        tps_per_instance_at_band_middle=_tps_at_middle(evidence, predicted or 1),
        hourly_cost_usd=hourly_cost(evidence.facts, predicted),
        diagnosis=diagnose(evidence, None),
    )


def left_open(evidence: Evidence, count: int | None, reason: str) -> CandidateOutcome:
    """A candidate that no further load test was spent on, with what is known of it.

    Args:
        evidence: What is known of it.
        count: The count it is expected to need; None before anything was seen.
        reason: Why it was left.
    """
    good = evidence.least_good
    trial = evidence.trials[good] if good is not None else None
    return CandidateOutcome(
        instance_type=evidence.facts.instance_type,
        status=CandidateStatus.NOT_VERIFIED,
        reason=reason,
        instance_count=good or count,
        count_interval=None if count is None else _interval(evidence, good or count),
        observation=trial.observation if trial else None,
        limiting_resource=_limiting_resource(evidence, good or count),
        tps_per_instance_at_band_middle=_tps_at_middle(evidence, good or count or 1),
        hourly_cost_usd=hourly_cost(evidence.facts, good or count),
        diagnosis=diagnose(evidence, trial),
    )


def why_not_fewer(evidence: Evidence, count: int) -> str:
    """Why no smaller count was, or needs to be, tried."""
    seen = evidence.trials[count].observation
    band = evidence.request.target.utilization_percent
    shown = f"{seen.utilization_percent:.1f} % at the full target"
    if count == 1:
        return f"{shown}; there are no fewer instances than one"
    fewer = count - 1
    if fewer in evidence.trials:
        why = f"{instances(fewer)} failed with {_described(evidence.trials[fewer])}"
    else:
        possible = evidence.smallest_count(above=evidence.most_bad)
        if possible is not None and possible < count:
            predicted = evidence.utilization_at(possible)
            saved = 100 * (count - possible) / count
            return (
                f"{shown}; {instances(possible)} may do, at {predicted:.1f} %, a saving of "
                f"{saved:.0f} % that was not worth another load test"
            )
        why = f"{instances(fewer)} would be at {evidence.utilization_at(fewer):.1f} %"
        others = [each for each in evidence.binding(fewer) if each != evidence.resource]
        why += f", held up by {', '.join(others)}" if others else ""
    if seen.utilization_percent < band.min:
        why += f": no count lies in the band {band.min:g}-{band.max:g} %, this is the smallest"
    return f"{shown}; {why}"


def _described(trial: Trial) -> str:
    seen = trial.observation
    return f"{seen.verdict} ({seen.utilization_percent:.1f} %, {seen.error_percent:.2f} % errors)"


def _interval(evidence: Evidence, count: int) -> tuple[int, int]:
    """Counts that the noise can't tell apart from the one found, inclusive."""
    if evidence.utilization is None:
        return count, count
    bad = evidence.most_bad if evidence.trials else 0
    least = evidence.smallest_count(-_INTERVAL, above=min(bad, count - 1))
    most = evidence.smallest_count(_INTERVAL, above=min(bad, count - 1))
    return min(least or count, count), max(most or count, count)


def _limiting_resource(evidence: Evidence, count: int | None) -> str | None:
    """What keeps the count from being smaller."""
    if count is None or evidence.utilization is None:
        return None
    if evidence.container_bound:
        return evidence.exhausted or "container"
    if count == 1:
        return evidence.resource
    binding = evidence.binding(count - 1)
    if binding:
        return binding[0]
    # The count is larger than it need be. What would bind first, if it were smaller?
    idle = evidence.utilization_at(count) < evidence.request.target.utilization_percent.min
    return "latency" if evidence.latency_bound and idle else evidence.resource


def _tps_at_middle(evidence: Evidence, count: int) -> float | None:
    if evidence.utilization is None:
        return None
    middle = evidence.request.target.utilization_percent.middle
    return evidence.utilization.tps_at(middle, count)


def hourly_cost(facts: InstanceFacts, count: int | None) -> float | None:
    """USD per hour of that many instances; None where the price or the count is unknown."""
    if count is None or facts.hourly_price_usd is None:
        return None
    return facts.hourly_price_usd * count


def instances(count: int) -> str:
    """A count in words: "1 instance", "8 instances"."""
    return f"{count} instance" if count == 1 else f"{count} instances"
