"""Which load test comes next, or what the sizing concludes: a pure function of what was seen.

One instance's baseline gives the cost of a request; from it follows the count to try. A load test
at that count offers the full target, and where it matters also the rates at which its instances
carry what they would in a fleet one smaller and one larger. So one scale-out mostly decides, and
what a fleet costs more than its parts is seen instead of assumed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sizing.catalogue.instance import InstanceFacts
from sizing.errors import CostLimit, InvalidRequest, TimeLimit
from sizing.load_test import cost
from sizing.load_test.fleet import measured_tps_per_vcpu
from sizing.load_test.observation import LoadTestRecord
from sizing.load_test.plan import LoadTestPlan, Purpose
from sizing.request.sizing import Sizing
from sizing.search.answer import (
    Answer,
    CandidateOutcome,
    CandidateStatus,
    Status,
    hourly_cost,
    instances,
    known_to_serve,
    left_open,
)
from sizing.search.known import Known, know
from sizing.search.next_count import CandidateState, Open, candidate_state
from sizing.search.rates import first_plan


def baseline(sizing: Sizing, candidate: InstanceFacts) -> LoadTestPlan:
    """A candidate's first load test: on one instance, or at the count an earlier sizing found.

    An earlier count is taken for the candidate with the lowest cost there; others start on one
    instance, since the state machine runs all first load tests side by side.
    """
    return first_plan(sizing, _known(sizing, candidate, ()))


def next_load_test(sizing: Sizing, history: Sequence[LoadTestRecord]) -> LoadTestPlan | Answer:
    """Decide what to do after the load tests so far.

    Args:
        sizing: The sizing.
        history: Its load tests in the order they ran, those that could not be run included.
    """
    driven = measured_tps_per_vcpu(history)
    known = {facts.instance_type: _known(sizing, facts, history) for facts in sizing.candidates}
    states = {name: candidate_state(sizing, each, driven) for name, each in known.items()}
    opened = {name: state for name, state in states.items() if isinstance(state, Open)}
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
        return _answer(known, states, best, limit=None)
    chosen = min(opened.values(), key=lambda state: (state.hourly_cost_usd, state.latency_ms))
    limit = _limit_reached(sizing, chosen.plan, history)
    if limit is not None and chosen.otherwise is not None:
        return _answer(known, states, best, limit=None)
    if limit is not None:
        for name, state in states.items():
            if isinstance(state, Open):
                states[name] = known_to_serve(known[name], limit) or state
        best = _best([state for state in states.values() if isinstance(state, CandidateOutcome)])
        return _answer(known, states, best, limit=limit)
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


def _known(sizing: Sizing, facts: InstanceFacts, history: Sequence[LoadTestRecord]) -> Known:
    return know(
        sizing.request_for(facts.instance_type), facts, history, _prior_count(sizing, facts)
    )


def _limit_reached(
    sizing: Sizing, plan: LoadTestPlan, history: Sequence[LoadTestRecord]
) -> str | None:
    """Name of the limit that the next load test would break; None if it would break none."""
    limits = sizing.request.limits
    if cost.load_tests_run(history) >= limits.max_load_tests:
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
    known: Mapping[str, Known],
    states: Mapping[str, CandidateState],
    best: CandidateOutcome | None,
    *,
    limit: str | None,
) -> Answer:
    outcomes = tuple(
        state
        if isinstance(state, CandidateOutcome)
        else state.otherwise
        or left_open(
            known[name],
            state.instance_count,
            _why_left_open(state, best, limit),
        )
        for name, state in states.items()
    )
    if best is not None:
        return Answer(
            status=Status.SIZED,
            reason=f"{instances(best.instance_count or 0)} of {best.instance_type}: {best.reason}",
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


def _why_left_open(state: Open, best: CandidateOutcome | None, limit: str | None) -> str:
    if best is None or limit is not None:
        return f"{limit} was reached before this was done: {state.plan.reason}"
    needed = instances(state.instance_count or 0)
    return f"would need {needed}: not cheaper than {best.instance_type}"


def _prior_count(sizing: Sizing, facts: InstanceFacts) -> int | None:
    """The earlier count to start at, given to the one candidate that is cheapest there."""
    costs = {
        each.instance_type: hourly_cost(each, sizing.prior_counts[each.instance_type])
        for each in sizing.candidates
        if 1
        <= sizing.prior_counts.get(each.instance_type, 0)
        <= sizing.max_instances(each.instance_type)
    }
    if facts.instance_type not in costs:
        return None
    cheapest = min(costs, key=lambda name: math.inf if costs[name] is None else costs[name] or 0.0)
    return sizing.prior_counts[facts.instance_type] if facts.instance_type == cheapest else None
