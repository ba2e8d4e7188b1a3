"""Which count of a candidate is load-tested next, or why none is.

One instance's baseline predicts the count. From then on every load test at the full target says
of its count whether it serves, and the search moves inside the bracket of known bad and known good,
by what all evidence makes likely, until nothing smaller is worth another load test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sizing.load_test.observation import LoadTestRecord, Observation
from sizing.load_test.plan import LoadTestPlan, Purpose
from sizing.load_test.verdict import (
    SURELY_SHORT_SHARE,
    mostly_throttled,
    usable,
    used_up,
)
from sizing.request.request import Target
from sizing.request.sizing import Sizing
from sizing.search.answer import (
    CandidateOutcome,
    CandidateStatus,
    closed,
    hourly_cost,
    instances,
    known_to_serve,
    too_many,
    verified,
    why_not_fewer,
)
from sizing.search.known import CLEARLY, Known, sureness
from sizing.search.prediction import CONTAINER, LIKELY, OUT_OF_QUESTION, ROOM
from sizing.search.rates import (
    baseline_plan,
    first_plan,
    repeated_baseline_plan,
    verification_plan,
)
from sizing.search.seen import is_full_target
from sizing.search.shared import SHARED

#: Expected saving, as a share of the instances, that is worth another load test where the count
#: lies in the band already; where it lies under it, so that the smallest count is the answer; and
#: there, where noise decides between a count and the next.
WORTH_A_LOAD_TEST = 0.065
WORTH_LEAVING_NO_DOUBT = 0.014
WORTH_IN_NOISE = 0.055
#: Power of the probability that no noise would decide, by which the second of them counts: only
#: where that is next to sure.
NO_DOUBT_POWER = 3.0
#: Instances in the band that may be too many, as a share, for a load test less.
EXCHANGE = 0.5
#: Least stride upwards, as a share of the largest count that failed, by how many have failed:
#: where prediction falls short again and again, it is no longer followed.
STRIDES = (0.0, 0.0, 0.06, 0.15, 0.4)
#: Least probability to be accepted at which a smaller count is tried.
LEAST_CHANCE = 0.4
#: Load tests of a candidate after which a count that serves is not bettered any more: where
#: latency hardly depends on the count, one smaller count after the other looks likely. But for an
#: expected saving of so much, as a share of the instances.
ENOUGH_LOAD_TESTS = 6
WORTH_AFTER_ENOUGH = 0.25
#: Lowest rate per instance that is predicted for, as a share of the lowest that was seen.
LEAST_SHARE_OF_SEEN = 0.7
#: The same where a queue refuses requests: their share is a power of the rate, far down.
LEAST_SHARE_IF_REFUSING = 0.3
#: How many times as much a request may cost on a cold instance: no cold start explains more.
MOST_COLD = 3.0
#: Share of the requests that may have failed in a stall or on a cold instance.
DOUBTFUL_ERRORS = 0.25
#: How often a load test is repeated for the same reason.
REPEATS_WHEN_INVALID = 1
#: A burst that ends like this may have met a stall, or an endpoint that was not up yet.
NOTHING_SUCCEEDED = "NothingSucceeded"
REPEATS_WHEN_CLIENT_LIMITED = 3


@dataclass(frozen=True, slots=True)
class Open:
    """A candidate that another load test would tell more about."""

    plan: LoadTestPlan
    #: Count it is expected to need; None before anything was seen.
    instance_count: int | None
    hourly_cost_usd: float
    latency_ms: float
    #: What becomes of it without that load test, where it is the last hope; None elsewhere.
    otherwise: CandidateOutcome | None = None


CandidateState = Open | CandidateOutcome


def candidate_state(sizing: Sizing, known: Known, driven: float | None) -> CandidateState:
    """What to load-test next of a candidate, or what became of it.

    Args:
        sizing: The sizing.
        known: What is known of the candidate.
        driven: Rate that a worker's vCPU was seen to drive, per second; None if none was.
    """
    repeated = _repeated(sizing, known, driven) if known.seen.records else None
    if isinstance(repeated, Open) or (repeated is not None and not _is_last_hope(known)):
        return repeated
    if known.seen.failure is not None and known.least_good is None:
        reason = f"{known.seen.failure.error}: {known.seen.failure.cause or 'no cause given'}"
        return closed(known, CandidateStatus.FAILED, reason)
    if not known.seen.records:
        return _open(known, first_plan(sizing, known), None)
    state = _searched(sizing, known, driven)
    if repeated is not None and isinstance(state, CandidateOutcome):
        reason = f"{state.reason}; asked again: {repeated.reason}"
        return state.model_copy(update={"reason": reason})
    return state


def _open(known: Known, plan: LoadTestPlan, count: int | None) -> Open:
    latency = None
    if count is not None and known.predicted is not None:
        latency = known.prediction.latency_at(count)
    hourly = hourly_cost(known.seen.facts, count) if count is not None else 0.0
    return Open(
        plan=plan,
        instance_count=count,
        # What it costs is unknown before the baseline: nothing is cheaper than finding out.
        hourly_cost_usd=math.inf if hourly is None else hourly,
        latency_ms=math.inf if latency is None else latency[0],
    )


def _repeated(sizing: Sizing, known: Known, driven: float | None) -> CandidateState | None:
    """The latest load test once more, where it did not show what it was for; None if it did."""
    last, target = known.seen.records[-1], sizing.request.target
    needed = _needed(target, last)
    alike = [
        each
        for each in known.seen.records
        if (each.instance_count, each.purpose) == (last.instance_count, last.purpose)
    ]
    useful = any(usable(seen) for seen in needed)
    doubtful = _doubtful(known) if last.purpose is Purpose.VERIFY and len(alike) == 1 else None
    broke = NOTHING_SUCCEEDED in (last.error, (last.cause or "").partition(":")[0])
    if not broke and (last.error is not None or (useful and doubtful is None)):
        return None
    limited = next((seen.client_limited for seen in needed if seen.client_limited), None)
    had = last.workers * last.worker_vcpus
    vcpus, allowed = had, REPEATS_WHEN_INVALID
    if limited is not None:
        why = f"the load generator was the limit ({limited})"
        vcpus, allowed = 2 * had, REPEATS_WHEN_CLIENT_LIMITED
        if sizing.request.load.workers is not None:
            reason = f"{why}; load.workers is set to {last.workers}: raise it or leave it out"
            return closed(known, CandidateStatus.FAILED, reason)
    elif doubtful is not None:
        why = f"{doubtful}: a stall, or too few instances"
    else:
        invalid = next((seen.invalid for seen in needed if seen.invalid), "no step was measured")
        why = f"the measurement was not valid ({last.cause or invalid})"
    in_vain = [each for each in alike if not any(usable(seen) for seen in _needed(target, each))]
    if len(in_vain) > allowed:
        return closed(known, CandidateStatus.FAILED, f"{why}, {len(in_vain)} times")
    reason = f"repeated: {why}"
    facts, count = known.seen.facts, last.instance_count
    if _is_last_hope(known):
        plan = repeated_baseline_plan(sizing, known, driven, reason, at_least_vcpus=vcpus)
    elif last.purpose is Purpose.BASELINE:
        plan = baseline_plan(sizing, facts, driven, reason, at_least_vcpus=vcpus)
    else:
        plan = verification_plan(sizing, known, count, driven, reason, at_least_vcpus=vcpus)
    if limited is not None and plan.workers * plan.worker_vcpus <= had:
        reason = f"{why}, and no more than {last.workers} workers of {last.worker_vcpus} vCPU(s)"
        return closed(known, CandidateStatus.FAILED, f"{reason} are planned")
    return _open(known, plan, None if last.purpose is Purpose.BASELINE else count)


def _needed(target: Target, record: LoadTestRecord) -> list[Observation]:
    """The steps that a load test was for."""
    return [
        seen
        for seen in record.observations
        if record.purpose is Purpose.BASELINE or is_full_target(target, seen)
    ]


def _doubtful(known: Known) -> str | None:
    """What went wrong in the latest load test's steps at the full target, if it may be no sign.

    It may be none where all of them failed a little while the hardware was not used up: one stall
    or cold instance does that as well, and too few instances would do it again.
    """
    target = known.seen.request.target
    if len({step.load_test for step in known.seen.failing_early}) > 1:
        return None  # a stall would not be there each time
    held = [
        step
        for step in known.seen.steps
        if step.load_test == len(known.seen.records) - 1
        and is_full_target(target, step.observation)
    ]
    if not held or not all(step.fails for step in held):
        return None
    for step in held:
        if step.stray is not None:
            continue  # a higher rate was served
        seen, counted = step.observation, step.tally
        lacking = (counted.failed + max(counted.unanswered - counted.late, 0.0)) / counted.due
        failing = counted.breaks_error_limit(target)
        most = DOUBTFUL_ERRORS if failing else 1 - SURELY_SHORT_SHARE
        if lacking > most or used_up(seen) or mostly_throttled(seen):
            return None
        if seen.utilization_percent > target.utilization_percent.max:
            return None
    share = 100 * held[0].observation.achieved_tps / held[0].observation.offered_tps
    how = f"with {held[0].observation.error_percent:.2f} % errors"
    if not held[0].tally.breaks_error_limit(target):
        how = "without errors"
    return f"{share:.1f} % were answered in time, {how}"


def _searched(sizing: Sizing, known: Known, driven: float | None) -> CandidateState:
    """The search over counts: predict, verify, move inside the bracket of known bad and good."""
    hopeless = _hopeless(known)
    if hopeless is not None:
        lost = closed(known, CandidateStatus.TARGET_NOT_MET, *hopeless)
        return _last_hope(sizing, known, driven, lost) if hopeless[1] == "latency" else lost
    bad, good = known.most_bad, known.least_good
    if good is not None:
        if known.seen.failure is not None:
            return verified(known, good, "fewer instances could not be had to try them")
        saving = _worth_trying(known, good)
        if saving is None:
            return verified(known, good, why_not_fewer(known, good))
        reason = f"{instances(saving)} are likely to do as well"
        plan = verification_plan(sizing, known, saving, driven, reason)
        return _open(known, plan, saving)
    predicted = _likeliest_last(known, bad)
    most = sizing.max_instances(known.seen.facts.instance_type)
    possible = known.prediction.smallest_count(-OUT_OF_QUESTION, above=bad)
    if possible is None or possible > most:
        served = known_to_serve(known, "limits.max_instances")
        if served is not None:
            return served
        lost = too_many(known, predicted, most)
        if (
            possible is not None
            and possible > MOST_COLD * most
            and known.prediction.tightest(possible - 1) != "latency"
        ):
            return lost
        return _last_hope(sizing, known, driven, lost)
    predicted = _in_strides(known, most if predicted is None else predicted, most)
    reason = f"{known.prediction.utilization_at(predicted):.1f} % predicted"
    if bad:
        reason = f"{instances(bad)} are too few; {reason}"
    return _open(known, verification_plan(sizing, known, predicted, driven, reason), predicted)


def _hopeless(known: Known) -> tuple[str, str] | None:
    """Why no count of this type can serve the target, and what it lacks; None if one may."""
    failing = known.seen.failing_at_rest()
    if failing is not None:
        return (
            f"{failing.error_percent:.2f} % errors at {failing.utilization_percent:.0f} % "
            "utilization: more instances do not mend that",
            known.seen.exhausted or "errors",
        )
    for trial in known.seen.trials.values():
        if not trial.serves and mostly_throttled(trial.observation):
            return (
                f"the platform throttled {trial.observation.error_percent:.1f} % of the requests: "
                "more instances do not mend that",
                "errors",
            )
    shared, target = known.seen.shared, known.seen.request.target
    if shared is not None and shared.breaks(target):
        return f"{shared.words}: more instances do not mend that", SHARED
    limit = target.model_latency_p99_ms
    if limit is not None and known.prediction.smallest_count(-OUT_OF_QUESTION) is None:
        return (
            f"model latency p99 stays over {limit:g} ms however little an instance has to do",
            "latency",
        )
    return None


def _last_hope(
    sizing: Sizing, known: Known, driven: float | None, lost: CandidateOutcome
) -> CandidateState:
    """The baseline once more, before a type is given up: its instance may have been cold.

    Args:
        sizing: The sizing.
        known: What is known of the candidate.
        driven: Rate that a worker's vCPU was seen to drive, per second; None if none was.
        lost: What becomes of it if that was done, or can't be.
    """
    if _hoped(known):
        return lost
    reason = "one instance again, now that it is warm, and at lower rates, before it is given up"
    plan = repeated_baseline_plan(sizing, known, driven, reason)
    # After all that is known to have a chance.
    return Open(plan, None, math.inf, math.inf, otherwise=lost)


def _hoped(known: Known) -> bool:
    """Whether a baseline was offered since anything was seen: a last hope, in vain or not."""
    first = min((step.load_test for step in known.seen.steps), default=math.inf)
    return any(
        record.purpose is Purpose.BASELINE and index > first
        for index, record in enumerate(known.seen.records)
    )


def _is_last_hope(known: Known) -> bool:
    """Whether the latest load test is that."""
    return known.seen.records[-1].purpose is Purpose.BASELINE and _hoped(known)


def _likeliest_last(known: Known, bad: int, good: int | None = None) -> int | None:
    """The count between ``bad`` and ``good`` whose load test is likeliest to be the last.

    None if none is expected to serve.

    It is the last if the count serves the target and no smaller one is worth another load test:
    the smallest where no count is in the band, and within a few percent of it elsewhere.
    """
    likely = known.prediction.smallest_count(0.0, above=bad)
    if likely is None:
        return None
    start = known.prediction.smallest_count(-LIKELY, above=bad) or likely
    end = known.prediction.smallest_count(OUT_OF_QUESTION, above=bad) or likely
    band = known.seen.request.target.utilization_percent
    best, most, surplus = None, -math.inf, 0.0
    for count in range(start, min(end + 1, good or end + 1)):
        in_band = known.prediction.utilization_at(count) >= band.min
        fewer = count - (math.floor(_worth(known, count, in_band=in_band) * count) + 1)
        smaller = _chance(known, fewer) if fewer > bad else 0.0
        chance = _chance(known, count)
        last = chance - smaller - surplus
        if last > most:
            best, most = count, last
        surplus += chance / count / EXCHANGE if in_band else 0.0
    return best


def _chance(known: Known, count: int) -> float:
    """Probability that a load test at a count lets it be accepted."""
    sure = sureness(known.prediction, count, known.prior_count)
    return known.prediction.probability_to_show(count, sure)


def _worth(known: Known, count: int, *, in_band: bool) -> float:
    """The least expected saving, as a share of a count's instances, that another one is for.

    More where noise would decide between the count and the next; and where the container was seen
    to fail, as much as the room that is asked for anyway. A burst alone may have met a cold one.
    """
    fewer = max(count - 1, 1)
    failed = known.seen.overloaded_tps is not None
    if not in_band and failed and known.prediction.tightest(fewer) == CONTAINER:
        return ROOM - 1
    told = 0.0 if in_band else known.prediction.tells_apart(fewer, count) ** NO_DOUBT_POWER
    return told * WORTH_LEAVING_NO_DOUBT + (1 - told) * (
        WORTH_A_LOAD_TEST if in_band else WORTH_IN_NOISE
    )


def _in_strides(known: Known, predicted: int, most: int) -> int:
    """The predicted count, unless experience speaks against it.

    Far under the rates that were seen a prediction is a guess, so it goes there step by step;
    and where counts failed again and again that were predicted to do, it goes up faster.
    """
    bad = known.most_bad
    least = LEAST_SHARE_IF_REFUSING if known.seen.refusing else LEAST_SHARE_OF_SEEN
    farthest = known.seen.request.target.tps / (least * known.seen.least_rate)
    failed = sum(1 for trial in known.seen.trials.values() if not trial.serves)
    stride = math.ceil(STRIDES[min(failed, len(STRIDES) - 1)] * bad)
    return min(max(min(predicted, math.floor(farthest)), bad + max(stride, 1)), most)


def _worth_trying(known: Known, good: int) -> int | None:
    """A smaller count that is worth another load test; None if none is.

    That takes an expected saving: the share of the instances saved, times the probability that the
    count serves the target, which must not be small: far from what was seen it is a guess.
    """
    seen = known.seen.trials[good].observation
    band = known.seen.request.target.utilization_percent
    in_band = seen.utilization_percent >= band.min * CLEARLY
    worth = _worth(known, good, in_band=in_band)
    if len(known.seen.records) >= ENOUGH_LOAD_TESTS:
        worth = max(worth, WORTH_AFTER_ENOUGH)
    for count in range(good - 1, known.most_bad, -1):
        chance = _chance(known, count)
        if chance < LEAST_CHANCE:
            break
        if chance * (good - count) / good > worth:
            return _likeliest_last(known, known.most_bad, good) or count
    return None
