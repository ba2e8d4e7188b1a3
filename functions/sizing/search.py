"""Which load test comes next, or what the sizing concludes: a pure function of what was seen.

One instance's baseline gives the cost of a request; from it follows the count to try. A load test
at that count offers the full target, and where it matters also the rates at which its instances
carry what they would in a fleet one smaller and one larger. So one scale-out mostly decides, and
what a fleet costs more than its parts is seen instead of assumed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sizing import cost
from sizing.answer import Answer, CandidateOutcome, CandidateStatus, Status
from sizing.diagnosis import diagnose
from sizing.errors import CostLimit, InvalidRequest, TimeLimit
from sizing.evidence import CLEARLY, Evidence, Trial, evidence_of
from sizing.fleet import plan_fleet
from sizing.instance import InstanceFacts, Sizing
from sizing.load_test import Burst, LoadTestPlan, Purpose, Step
from sizing.observation import LoadTestRecord
from sizing.verdict import barely_short, mostly_throttled, usable

#: Steps of a baseline, as shares of the saturation rate: around the band, where it matters.
BASELINE_FRACTIONS: tuple[float, ...] = (0.5, 0.65, 0.8)
#: One more where latency has a limit, which may bind far under the band.
_FRACTION_FOR_LATENCY = 0.35
_BURST_STAGE_SECONDS = 3.0
#: Concurrency at which a burst gives up looking for saturation, per vCPU.
_BURST_CONCURRENCY_PER_VCPU = 32
_LEAST_MAX_CONCURRENCY = 128

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
#: Standard errors beyond which the neighbouring count needs no step of its own.
_OUT_OF_QUESTION = 3.0
#: Standard errors that bound the counts among which the answer is likely.
_LIKELY = 1.5
#: Lowest rate per instance that is predicted for, as a share of the lowest that was seen.
_LEAST_SHARE_OF_SEEN = 0.7
#: Largest ratio between the rates of neighbouring steps, but for counts under five.
_WIDEST_STEP = 1.25
#: Standard errors that bound the interval of counts which noise can't tell apart (two-sided 90 %).
_INTERVAL = 1.645
#: How often a load test is repeated for the same reason.
_REPEATS_WHEN_INVALID = 1
_REPEATS_WHEN_CLIENT_LIMITED = 3


@dataclass(frozen=True, slots=True)
class _Open:
    """A candidate that another load test would tell more about."""

    plan: LoadTestPlan
    #: Count it is expected to need; None before anything was seen.
    instance_count: int | None
    hourly_cost_usd: float
    latency_ms: float


_State = _Open | CandidateOutcome


def baseline(sizing: Sizing, candidate: InstanceFacts) -> LoadTestPlan:
    """A candidate's first load test: on one instance, or at the count an earlier sizing found.

    An earlier count is taken for the candidate with the lowest cost there; others start on one
    instance, since the state machine runs all first load tests side by side.
    """
    prior = _prior_count(sizing, candidate)
    if prior is not None:
        return _verification(
            sizing,
            evidence_of(sizing.request, candidate, (), prior),
            prior,
            (),
            (f"an earlier sizing of the same model and payload found {_instances(prior)}"),
        )
    return _baseline(sizing, candidate, (), "what one instance can do")


def next_load_test(sizing: Sizing, history: Sequence[LoadTestRecord]) -> LoadTestPlan | Answer:
    """Decide what to do after the load tests so far.

    Args:
        sizing: The sizing.
        history: Its load tests in the order they ran, those that could not be run included.
    """
    states: dict[str, _State] = {
        facts.instance_type: _state(sizing, facts, history) for facts in sizing.candidates
    }
    opened = {name: state for name, state in states.items() if isinstance(state, _Open)}
    best = _best([state for state in states.values() if isinstance(state, CandidateOutcome)])
    if best is not None and best.hourly_cost_usd is not None:
        opened = {
            name: state
            for name, state in opened.items()
            if state.hourly_cost_usd < best.hourly_cost_usd * (1 - 1e-9)
        }
    elif best is not None:
        opened = {}
    if not opened:
        return _answer(sizing, history, states, best, limit=None)
    chosen = min(opened.values(), key=lambda state: (state.hourly_cost_usd, state.latency_ms))
    limit = _limit_reached(sizing, chosen.plan, history)
    if limit is not None:
        for name, state in states.items():
            if isinstance(state, _Open):
                states[name] = _known_to_serve(_evidence(sizing, name, history), limit) or state
        best = _best([state for state in states.values() if isinstance(state, CandidateOutcome)])
        return _answer(sizing, history, states, best, limit=limit)
    return chosen.plan


def check_limits(sizing: Sizing) -> None:
    """Refuse limits that end a sizing before it could verify anything.

    Raises:
        InvalidRequest, CostLimit, TimeLimit: Names the limit and the least that would do.
    """
    limits = sizing.request.limits
    plans = [baseline(sizing, facts) for facts in sizing.candidates]
    verified_at_once = any(plan.purpose is Purpose.VERIFY for plan in plans)
    least = len(plans) + (0 if verified_at_once else 1)
    if limits.max_load_tests < least:
        raise InvalidRequest(
            "limits.max_load_tests",
            f"must be {least} or more for {len(plans)} instance types, got {limits.max_load_tests}",
        )
    first = [cost.estimate_load_test(sizing, plan) for plan in plans]
    dollars = sum(each.cost_usd for each in first)
    if limits.max_cost_usd is not None and dollars > limits.max_cost_usd:
        raise CostLimit(
            "limits.max_cost_usd",
            f"must be more than the {dollars:.2f} USD of the first load tests, "
            f"got {limits.max_cost_usd:g}",
        )
    minutes = max(each.minutes for each in first)
    if limits.max_minutes is not None and minutes > limits.max_minutes:
        raise TimeLimit(
            "limits.max_minutes",
            f"must be more than the {minutes:.0f} minutes of the first load tests, "
            f"got {limits.max_minutes:g}",
        )


def _state(sizing: Sizing, facts: InstanceFacts, history: Sequence[LoadTestRecord]) -> _State:
    evidence = _evidence(sizing, facts.instance_type, history)
    if evidence.failure is not None and evidence.least_good is None:
        reason = f"{evidence.failure.error}: {evidence.failure.cause or 'no cause given'}"
        return _closed(evidence, CandidateStatus.FAILED, reason)
    if not evidence.records:
        return _open(evidence, baseline(sizing, facts), None)
    repeat = _repeated(sizing, evidence, history)
    if repeat is not None:
        return repeat
    return _searched(sizing, evidence, history)


def _evidence(sizing: Sizing, instance_type: str, history: Sequence[LoadTestRecord]) -> Evidence:
    facts = sizing.facts(instance_type)
    return evidence_of(sizing.request, facts, history, _prior_count(sizing, facts))


def _searched(sizing: Sizing, evidence: Evidence, history: Sequence[LoadTestRecord]) -> _State:
    """The search over counts: predict, verify, move inside the bracket of known bad and good."""
    hopeless = _hopeless(evidence)
    if hopeless is not None:
        return _closed(evidence, CandidateStatus.TARGET_NOT_MET, hopeless)
    bad, good = evidence.most_bad, evidence.least_good
    if good is not None:
        if evidence.failure is not None:
            return _verified(evidence, good, "fewer instances could not be had to try them")
        saving = _worth_trying(evidence, good)
        if saving is None:
            return _verified(evidence, good, _why_not_fewer(evidence, good))
        reason = f"{_instances(saving)} are likely to do as well"
        plan = _verification(sizing, evidence, saving, history, reason)
        return _open(evidence, plan, saving)
    predicted = _likeliest_last(evidence, bad)
    most = sizing.request.limits.max_instances
    possible = evidence.smallest_count(-_OUT_OF_QUESTION, above=bad)
    if possible is None or possible > most:
        known = _known_to_serve(evidence, "limits.max_instances")
        return known or _too_many(evidence, predicted, most)
    predicted = _in_strides(evidence, most if predicted is None else predicted, most)
    reason = (
        f"{evidence.utilization_at(predicted):.1f} % predicted"
        if not bad
        else f"{_instances(bad)} are too few; {evidence.utilization_at(predicted):.1f} % predicted"
    )
    return _open(evidence, _verification(sizing, evidence, predicted, history, reason), predicted)


def _likeliest_last(evidence: Evidence, bad: int) -> int | None:
    """The count over ``bad`` whose load test is likeliest to be the last; None if none serves.

    It is the last if the count serves the target and no smaller one is worth another load test:
    the smallest where no count is in the band, and within a few percent of it elsewhere.
    """
    start = evidence.smallest_count(-_LIKELY, above=bad)
    end = evidence.smallest_count(_OUT_OF_QUESTION, above=bad)
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


def _known_to_serve(evidence: Evidence, limit: str) -> CandidateOutcome | None:
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
    return _verified(evidence, count, reason)


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
    for count in range(good - 1, evidence.most_bad, -1):
        probability = evidence.probability_to_serve(count)
        if probability < chance:
            break
        saving = probability * (good - count) / good
        if saving > worth:
            best, worth = count, saving
    return best


def _hopeless(evidence: Evidence) -> str | None:
    """Why no count of this type can serve the target; None if one may."""
    failing = evidence.failing_at_rest()
    if failing is not None:
        return (
            f"{failing.error_percent:.2f} % errors at {failing.utilization_percent:.0f} % "
            "utilization: more instances do not mend that"
        )
    for trial in evidence.trials.values():
        if not trial.serves and mostly_throttled(trial.observation):
            return (
                f"the platform throttled {trial.observation.error_percent:.1f} % of the requests: "
                "more instances do not mend that"
            )
    limit = evidence.request.target.model_latency_p99_ms
    if limit is not None and evidence.smallest_count(-_OUT_OF_QUESTION) is None:
        return f"model latency p99 stays over {limit:g} ms however little an instance has to do"
    return None


def _repeated(
    sizing: Sizing, evidence: Evidence, history: Sequence[LoadTestRecord]
) -> _State | None:
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
            return _closed(evidence, CandidateStatus.FAILED, reason)
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
        return _closed(evidence, CandidateStatus.FAILED, f"{why}, {len(alike)} times")
    if last.purpose is Purpose.BASELINE:
        plan = _baseline(sizing, evidence.facts, history, f"repeated: {why}", at_least=workers)
        return _open(evidence, plan, None)
    count = last.instance_count
    plan = _verification(sizing, evidence, count, history, f"repeated: {why}", at_least=workers)
    return _open(evidence, plan, count)


def _baseline(
    sizing: Sizing,
    facts: InstanceFacts,
    history: Sequence[LoadTestRecord],
    reason: str,
    *,
    at_least: int = 1,
) -> LoadTestPlan:
    fleet = plan_fleet(sizing.request, sizing.request.target.tps, history, at_least=at_least)
    fractions = BASELINE_FRACTIONS
    if sizing.request.target.model_latency_p99_ms is not None:
        fractions = (_FRACTION_FOR_LATENCY, *fractions)
    most = max(_BURST_CONCURRENCY_PER_VCPU * facts.vcpus, _LEAST_MAX_CONCURRENCY)
    return LoadTestPlan(
        instance_type=facts.instance_type,
        instance_count=1,
        purpose=Purpose.BASELINE,
        burst=Burst(
            start_concurrency=facts.vcpus,
            max_concurrency=most,
            stage_seconds=_BURST_STAGE_SECONDS,
        ),
        steps=tuple(Step(saturation_fraction=fraction) for fraction in fractions),
        workers=fleet.workers,
        worker_vcpus=fleet.worker_vcpus,
        reason=f"{reason}; {fleet.workers} load worker(s): {fleet.reason}",
    )


def _verification(
    sizing: Sizing,
    evidence: Evidence,
    count: int,
    history: Sequence[LoadTestRecord],
    reason: str,
    *,
    at_least: int = 1,
) -> LoadTestPlan:
    """The full target at a count, and what its neighbours would carry where that is open."""
    target = sizing.request.target.tps
    fewer, more = _neighbours(evidence, count)
    held = 1 if evidence.utilization is None else evidence.steps_to_hold(count)
    rates = [target] * held
    if more is not None:
        rates.insert(0, target * count / more)
    if fewer is not None:
        if fewer < count - 1 and evidence.latency_is_open(count):
            # Latency bends: a line to the farther neighbour would miss the nearer one.
            rates.append(target * count / (count - 1))
        rates.append(target * count / fewer)
    if not history:
        at_least = max(at_least, sizing.prior_workers.get(evidence.facts.instance_type, 1))
    fleet = plan_fleet(sizing.request, max(rates), history, at_least=at_least)
    return LoadTestPlan(
        instance_type=evidence.facts.instance_type,
        instance_count=count,
        purpose=Purpose.VERIFY,
        steps=tuple(Step(offered_tps=rate) for rate in rates),
        workers=fleet.workers,
        worker_vcpus=fleet.worker_vcpus,
        reason=f"{reason}; {fleet.workers} load worker(s): {fleet.reason}",
    )


def _neighbours(evidence: Evidence, count: int) -> tuple[int | None, int | None]:
    """A smaller and a larger count whose load a load test at ``count`` should show as well.

    They are the next counts, or the ends of the range in which the answer is expected, so that
    whatever the count shows, the next decision rests on interpolation. A neighbour whose fate
    is beyond question is left out: its step would take time and tell nothing.
    """
    if evidence.utilization is None:
        return (count - 1 if count > 1 else None), count + 1
    more: int | None = None
    if not evidence.predicted_to_serve(count, _OUT_OF_QUESTION):
        likely = evidence.smallest_count(_LIKELY, above=count)
        more = min(likely or count + 1, math.ceil(count * _WIDEST_STEP))
    fewer: int | None = None
    if count - 1 > evidence.most_bad and evidence.predicted_to_serve(count - 1, -_OUT_OF_QUESTION):
        likely = evidence.smallest_count(-_LIKELY)
        fewer = max(min(likely or count, count - 1), math.floor(count / _WIDEST_STEP), 1)
    return fewer, more


def _limit_reached(
    sizing: Sizing, plan: LoadTestPlan, history: Sequence[LoadTestRecord]
) -> str | None:
    """Name of the limit that the next load test would break; None if it would break none."""
    limits = sizing.request.limits
    if sum(1 for each in history if each.observations) >= limits.max_load_tests:
        return "limits.max_load_tests"
    step = cost.estimate_load_test(sizing, plan, history)
    latest = max((each.finished_at for each in history), default=sizing.started_at)
    if limits.max_cost_usd is not None:
        spent = cost.sizing_cost(sizing, history, latest)
        if spent + step.cost_usd > limits.max_cost_usd:
            return "limits.max_cost_usd"
    if limits.max_minutes is not None:
        minutes = cost.minutes_so_far(sizing, history)
        if minutes + step.minutes > limits.max_minutes:
            return "limits.max_minutes"
    return None


def _open(evidence: Evidence, plan: LoadTestPlan, count: int | None) -> _Open:
    latency = None
    if count is not None and evidence.utilization is not None:
        latency = evidence.latency_at(count)
    hourly = _hourly_cost(evidence.facts, count) if count is not None else 0.0
    return _Open(
        plan=plan,
        instance_count=count,
        # What it costs is unknown before the baseline: nothing is cheaper than finding out.
        hourly_cost_usd=math.inf if hourly is None else hourly,
        latency_ms=math.inf if latency is None else latency[0],
    )


def _closed(evidence: Evidence, status: CandidateStatus, reason: str) -> CandidateOutcome:
    return CandidateOutcome(
        instance_type=evidence.facts.instance_type,
        status=status,
        reason=reason,
        diagnosis=diagnose(evidence, None),
    )


def _too_many(evidence: Evidence, predicted: int | None, most: int) -> CandidateOutcome:
    needed = "no number of instances" if predicted is None else f"about {_instances(predicted)}"
    return CandidateOutcome(
        instance_type=evidence.facts.instance_type,
        status=CandidateStatus.TARGET_NOT_MET,
        reason=f"{needed} would serve the target; limits.max_instances is {most}",
        instance_count=predicted,
        count_interval=None if predicted is None else _interval(evidence, predicted),
        limiting_resource=_limiting_resource(evidence, predicted),
        tps_per_instance_at_band_middle=_tps_at_middle(evidence, predicted or 1),
        hourly_cost_usd=_hourly_cost(evidence.facts, predicted),
        diagnosis=diagnose(evidence, None),
    )


def _verified(evidence: Evidence, count: int, reason: str) -> CandidateOutcome:
    trial = evidence.trials[count]
    band = evidence.request.target.utilization_percent
    seen = trial.observation
    return CandidateOutcome(
        instance_type=evidence.facts.instance_type,
        status=CandidateStatus.VERIFIED,
        reason=reason,
        instance_count=count,
        count_interval=_interval(evidence, count),
        observation=seen,
        in_band=band.min <= seen.utilization_percent <= band.max,
        limiting_resource=_limiting_resource(evidence, count),
        tps_per_instance_at_band_middle=_tps_at_middle(evidence, count),
        hourly_cost_usd=_hourly_cost(evidence.facts, count),
        diagnosis=diagnose(evidence, trial),
    )


def _why_not_fewer(evidence: Evidence, count: int) -> str:
    seen = evidence.trials[count].observation
    band = evidence.request.target.utilization_percent
    shown = f"{seen.utilization_percent:.1f} % at the full target"
    if count == 1:
        return f"{shown}; there are no fewer instances than one"
    fewer = count - 1
    if fewer in evidence.trials:
        why = f"{_instances(fewer)} failed with {_described(evidence.trials[fewer])}"
    else:
        possible = evidence.smallest_count(above=evidence.most_bad)
        if possible is not None and possible < count:
            predicted = evidence.utilization_at(possible)
            saved = 100 * (count - possible) / count
            return (
                f"{shown}; {_instances(possible)} may do, at {predicted:.1f} %, a saving of "
                f"{saved:.0f} % that was not worth another load test"
            )
        why = f"{_instances(fewer)} would be at {evidence.utilization_at(fewer):.1f} %"
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
        return "container"
    if count == 1:
        return evidence.resource
    binding = evidence.binding(count - 1) or [evidence.resource]
    return binding[0]


def _tps_at_middle(evidence: Evidence, count: int) -> float | None:
    if evidence.utilization is None:
        return None
    middle = evidence.request.target.utilization_percent.middle
    return evidence.utilization.tps_at(middle, count)


def _hourly_cost(facts: InstanceFacts, count: int | None) -> float | None:
    if count is None or facts.hourly_price_usd is None:
        return None
    return facts.hourly_price_usd * count


def _best(outcomes: Sequence[CandidateOutcome]) -> CandidateOutcome | None:
    """The verified candidate with the lowest cost per hour, ties by latency."""
    verified = [each for each in outcomes if each.status is CandidateStatus.VERIFIED]

    def rank(outcome: CandidateOutcome) -> tuple[float, float]:
        price = outcome.hourly_cost_usd
        latency = outcome.observation.model_latency_ms.p99 if outcome.observation else None
        return (
            math.inf if price is None else price,
            math.inf if latency is None else latency,
        )

    return min(verified, key=rank, default=None)


def _answer(
    sizing: Sizing,
    history: Sequence[LoadTestRecord],
    states: dict[str, _State],
    best: CandidateOutcome | None,
    *,
    limit: str | None,
) -> Answer:
    outcomes = tuple(
        state
        if isinstance(state, CandidateOutcome)
        else _left_open(_evidence(sizing, name, history), state, best, limit)
        for name, state in states.items()
    )
    if best is not None:
        return Answer(
            status=Status.SIZED,
            reason=f"{_instances(best.instance_count or 0)} of {best.instance_type}: {best.reason}",
            instance_type=best.instance_type,
            limit=limit,
            candidates=outcomes,
        )
    if all(each.status is CandidateStatus.FAILED for each in outcomes):
        reason = "; ".join(f"{each.instance_type}: {each.reason}" for each in outcomes)
        return Answer(status=Status.FAILED, reason=reason, candidates=outcomes)
    if limit is None and any("limits.max_instances" in each.reason for each in outcomes):
        limit = "limits.max_instances"
    reason = "; ".join(f"{each.instance_type}: {each.reason}" for each in outcomes)
    return Answer(status=Status.TARGET_NOT_MET, reason=reason, limit=limit, candidates=outcomes)


def _left_open(
    evidence: Evidence,
    state: _Open,
    best: CandidateOutcome | None,
    limit: str | None,
) -> CandidateOutcome:
    """A candidate that no further load test was spent on, with what is known of it."""
    count = state.instance_count
    if best is not None and limit is None:
        reason = f"would need {_instances(count or 0)}: not cheaper than {best.instance_type}"
    else:
        reason = f"{limit} was reached before this was done: {state.plan.reason}"
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
        hourly_cost_usd=_hourly_cost(evidence.facts, good or count),
        diagnosis=diagnose(evidence, trial),
    )


def _prior_count(sizing: Sizing, facts: InstanceFacts) -> int | None:
    """The earlier count to start at, given to the one candidate that is cheapest there."""
    most = sizing.request.limits.max_instances
    costs = {
        each.instance_type: _hourly_cost(each, sizing.prior_counts[each.instance_type])
        for each in sizing.candidates
        if 1 <= sizing.prior_counts.get(each.instance_type, 0) <= most
    }
    if facts.instance_type not in costs:
        return None
    cheapest = min(costs, key=lambda name: math.inf if costs[name] is None else costs[name] or 0.0)
    return sizing.prior_counts[facts.instance_type] if facts.instance_type == cheapest else None


def _instances(count: int) -> str:
    return f"{count} instance" if count == 1 else f"{count} instances"
