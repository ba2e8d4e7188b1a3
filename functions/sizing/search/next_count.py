"""Which count of a candidate is load-tested next, or why none is.

One instance's baseline predicts the count. From then on every load test at the full target says
of its count whether it serves, and the search moves inside the bracket of known bad and known good,
by what all evidence makes likely, until nothing smaller is worth another load test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sizing.load_test.observation import LoadTestRecord
from sizing.load_test.plan import LoadTestPlan, Purpose
from sizing.load_test.verdict import barely_short, mostly_throttled, usable
from sizing.request.sizing import Sizing
from sizing.search.answer import CandidateOutcome, CandidateStatus
from sizing.search.evidence import CLEARLY, LIKELY, OUT_OF_QUESTION, Evidence
from sizing.search.outcome import (
    closed,
    hourly_cost,
    instances,
    known_to_serve,
    too_many,
    verified,
    why_not_fewer,
)
from sizing.search.rates import baseline_plan, first_plan, verification_plan

#: Expected saving, as a share of the instances, that is worth another load test where the count
#: lies in the band already; and where it lies under it, so that the smallest count is the answer.
_WORTH_A_LOAD_TEST = 0.065
_WORTH_LEAVING_NO_DOUBT = 0.005
#: Least stride upwards, as a share of the largest count that failed, by how many have failed:
#: where prediction falls short again and again, it is no longer followed.
_STRIDES = (0.0, 0.0, 0.06, 0.15, 0.4)
#: Least probability to serve the target at which a smaller count is tried; and where an earlier
#: sizing, which had the choice, found the larger one.
_LEAST_CHANCE = 0.2
_CHANCE_AGAINST_PRIOR = 0.5
#: Load tests of a candidate after which a count that serves is not bettered any more: where
#: latency hardly depends on the count, one smaller count after the other looks likely.
_ENOUGH_LOAD_TESTS = 6
#: Lowest rate per instance that is predicted for, as a share of the lowest that was seen.
_LEAST_SHARE_OF_SEEN = 0.7
#: How often a load test is repeated for the same reason.
_REPEATS_WHEN_INVALID = 1
_REPEATS_WHEN_CLIENT_LIMITED = 3


@dataclass(frozen=True, slots=True)
class Open:
    """A candidate that another load test would tell more about."""

    plan: LoadTestPlan
    #: Count it is expected to need; None before anything was seen.
    instance_count: int | None
    hourly_cost_usd: float
    latency_ms: float


CandidateState = Open | CandidateOutcome


def candidate_state(
    sizing: Sizing, evidence: Evidence, history: Sequence[LoadTestRecord]
) -> CandidateState:
    """What to load-test next of a candidate, or what became of it.

    Args:
        sizing: The sizing.
        evidence: What is known of the candidate.
        history: The load tests of all candidates: they show what a load generator can do.
    """
    if evidence.failure is not None and evidence.least_good is None:
        reason = f"{evidence.failure.error}: {evidence.failure.cause or 'no cause given'}"
        return closed(evidence, CandidateStatus.FAILED, reason)
    if not evidence.records:
        return _open(evidence, first_plan(sizing, evidence), None)
    return _repeated(sizing, evidence, history) or _searched(sizing, evidence, history)


def _open(evidence: Evidence, plan: LoadTestPlan, count: int | None) -> Open:
    latency = None
    if count is not None and evidence.utilization is not None:
        latency = evidence.latency_at(count)
    hourly = hourly_cost(evidence.facts, count) if count is not None else 0.0
    return Open(
        plan=plan,
        instance_count=count,
        # What it costs is unknown before the baseline: nothing is cheaper than finding out.
        hourly_cost_usd=math.inf if hourly is None else hourly,
        latency_ms=math.inf if latency is None else latency[0],
    )


def _repeated(
    sizing: Sizing, evidence: Evidence, history: Sequence[LoadTestRecord]
) -> CandidateState | None:
    """The latest load test once more, where it did not show what it was for; None if it did."""
    last = evidence.records[-1]
    needed = [
        seen
        for seen in last.observations
        if last.purpose is Purpose.BASELINE or evidence.is_full_target(seen)
    ]
    alike = [
        each
        for each in evidence.records
        if (each.instance_count, each.purpose) == (last.instance_count, last.purpose)
    ]
    useful = [seen for seen in needed if usable(seen)]
    short = last.purpose is Purpose.VERIFY and all(
        barely_short(sizing.request.target, seen) for seen in useful
    )
    if last.error is not None or (useful and not (short and len(alike) == 1)):
        return None
    limited = [seen for seen in needed if seen.client_limited is not None]
    if limited:
        why = f"the load generator was the limit ({limited[0].client_limited})"
        allowed = _REPEATS_WHEN_CLIENT_LIMITED
        if sizing.request.load.workers is not None:
            reason = f"{why}; load.workers is set to {last.workers}: raise it or leave it out"
            return closed(evidence, CandidateStatus.FAILED, reason)
        workers = last.workers * 2
    elif useful:
        share = 100 * useful[0].achieved_tps / useful[0].offered_tps
        why = f"{share:.1f} % were answered in time, without errors: a stall, or too few instances"
        allowed = _REPEATS_WHEN_INVALID
        workers = last.workers
    else:
        invalid = next((seen.invalid for seen in needed if seen.invalid), "no step was measured")
        why = f"the measurement was not valid ({invalid})"
        allowed = _REPEATS_WHEN_INVALID
        workers = last.workers
    if len(alike) > allowed:
        return closed(evidence, CandidateStatus.FAILED, f"{why}, {len(alike)} times")
    if last.purpose is Purpose.BASELINE:
        plan = baseline_plan(sizing, evidence.facts, history, f"repeated: {why}", at_least=workers)
        return _open(evidence, plan, None)
    count = last.instance_count
    plan = verification_plan(sizing, evidence, count, history, f"repeated: {why}", at_least=workers)
    return _open(evidence, plan, count)


def _searched(
    sizing: Sizing, evidence: Evidence, history: Sequence[LoadTestRecord]
) -> CandidateState:
    """The search over counts: predict, verify, move inside the bracket of known bad and good."""
    hopeless = _hopeless(evidence)
    if hopeless is not None:
        return closed(evidence, CandidateStatus.TARGET_NOT_MET, *hopeless)
    bad, good = evidence.most_bad, evidence.least_good
    if good is not None:
        if evidence.failure is not None:
            return verified(evidence, good, "fewer instances could not be had to try them")
        saving = _worth_trying(evidence, good)
        if saving is None:
            return verified(evidence, good, why_not_fewer(evidence, good))
        reason = f"{instances(saving)} are likely to do as well"
        plan = verification_plan(sizing, evidence, saving, history, reason)
        return _open(evidence, plan, saving)
    predicted = _likeliest_last(evidence, bad)
    most = sizing.max_instances(evidence.facts.instance_type)
    possible = evidence.smallest_count(-OUT_OF_QUESTION, above=bad)
    if possible is None or possible > most:
        known = known_to_serve(evidence, "limits.max_instances")
        return known or too_many(evidence, predicted, most)
    predicted = _in_strides(evidence, most if predicted is None else predicted, most)
    reason = (
        f"{evidence.utilization_at(predicted):.1f} % predicted"
        if not bad
        else f"{instances(bad)} are too few; {evidence.utilization_at(predicted):.1f} % predicted"
    )
    return _open(
        evidence, verification_plan(sizing, evidence, predicted, history, reason), predicted
    )


def _hopeless(evidence: Evidence) -> tuple[str, str] | None:
    """Why no count of this type can serve the target, and what it lacks; None if one may."""
    failing = evidence.failing_at_rest()
    if failing is not None:
        return (
            f"{failing.error_percent:.2f} % errors at {failing.utilization_percent:.0f} % "
            "utilization: more instances do not mend that",
            evidence.exhausted or "errors",
        )
    for trial in evidence.trials.values():
        if not trial.serves and mostly_throttled(trial.observation):
            return (
                f"the platform throttled {trial.observation.error_percent:.1f} % of the requests: "
                "more instances do not mend that",
                "errors",
            )
    limit = evidence.request.target.model_latency_p99_ms
    if limit is not None and evidence.smallest_count(-OUT_OF_QUESTION) is None:
        return (
            f"model latency p99 stays over {limit:g} ms however little an instance has to do",
            "latency",
        )
    return None


def _likeliest_last(evidence: Evidence, bad: int) -> int | None:
    """The count over ``bad`` whose load test is likeliest to be the last; None if none serves.

    It is the last if the count serves the target and no smaller one is worth another load test:
    the smallest where no count is in the band, and within a few percent of it elsewhere.
    """
    start = evidence.smallest_count(-LIKELY, above=bad)
    end = evidence.smallest_count(OUT_OF_QUESTION, above=bad)
    if start is None or end is None:
        return evidence.smallest_count(0.0, above=bad)
    band = evidence.request.target.utilization_percent

    def chance(count: int) -> float:
        in_band = evidence.utilization_at(count) >= band.min
        worth = _WORTH_A_LOAD_TEST if in_band else _WORTH_LEAVING_NO_DOUBT
        fewer = count - (math.floor(worth * count) + 1)
        smaller = evidence.probability_to_serve(fewer) if fewer > bad else 0.0
        return evidence.probability_to_serve(count) - smaller

    return max(range(start, end + 1), key=chance)


def _in_strides(evidence: Evidence, predicted: int, most: int) -> int:
    """The predicted count, unless experience speaks against it.

    Far under the rates that were seen a prediction is a guess, so it goes there step by step;
    and where counts failed again and again that were predicted to do, it goes up faster.
    """
    bad = evidence.most_bad
    farthest = evidence.request.target.tps / (_LEAST_SHARE_OF_SEEN * evidence.least_rate)
    failed = sum(1 for trial in evidence.trials.values() if not trial.serves)
    stride = math.ceil(_STRIDES[min(failed, len(_STRIDES) - 1)] * bad)
    return min(max(min(predicted, math.floor(farthest)), bad + max(stride, 1)), most)


def _worth_trying(evidence: Evidence, good: int) -> int | None:
    """The smaller count with the largest expected saving; None if none is worth a load test.

    The expected saving is the share of the instances saved, times the probability that the
    count serves the target, which must not be small: far from what was seen it is a guess.
    """
    seen = evidence.trials[good].observation
    band = evidence.request.target.utilization_percent
    in_band = seen.utilization_percent >= band.min * CLEARLY
    worth = _WORTH_A_LOAD_TEST if in_band else _WORTH_LEAVING_NO_DOUBT
    chance = _CHANCE_AGAINST_PRIOR if good == evidence.prior_count else _LEAST_CHANCE
    best = None
    if len(evidence.records) >= _ENOUGH_LOAD_TESTS:
        return None
    for count in range(good - 1, evidence.most_bad, -1):
        probability = evidence.probability_to_serve(count)
        if probability < chance:
            break
        saving = probability * (good - count) / good
        if saving > worth:
            best, worth = count, saving
    return best
