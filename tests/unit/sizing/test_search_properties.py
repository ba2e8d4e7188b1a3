"""What holds for every endpoint: the search ends, stays in its bracket, and is monotone.

The noisy endpoints are those of the benchmark's distribution, from seeds that it does not use.
Whatever befalls their load tests befalls them by a list that hypothesis draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from benchmarks.search import world
from sizing.fits.latency import COMMON_LATENCY_NOISE
from sizing.load_test.observation import LoadTestRecord, Observation
from sizing.load_test.plan import LoadTestPlan, Purpose
from sizing.load_test.verdict import barely_short, judge, serves, usable
from sizing.request.sizing import Sizing
from sizing.search.answer import Answer, CandidateStatus, Status
from sizing.search.search import baseline, next_load_test
from tests.unit.sizing.exact_endpoint import TYPE, ExactEndpoint, search, sizing_for

FEW = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
OTHER = "ml.c5.xlarge"
#: Expected saving that is not worth another load test where the count is in the band.
NOT_WORTH = 0.065


@st.composite
def noisy_endpoints(draw):
    """An endpoint of the benchmark's distribution, by a seed the benchmark does not use."""
    endpoint, _ = world.draw(Random(f"property/{draw(st.integers(0, 10**6))}"))
    return endpoint


#: What befalls a load test. Invalid and client-limited steps look like the best there can be, so
#: that a search that took them for true would answer wrongly.
FAULTS = st.lists(
    st.sampled_from(["none", "none", "invalid", "invalid target", "client", "short", "nothing"]),
    max_size=6,
)
TEMPTING = {"utilization_percent": 65.0, "error_percent": 0.0, "errors": {}}


def befallen(record: LoadTestRecord, fault: str, target_tps: float) -> LoadTestRecord:
    """The record of a load test that something went wrong with."""

    def spoilt(seen: Observation) -> Observation:
        served = {"achieved_tps": seen.offered_tps}
        if fault == "invalid" or (fault == "invalid target" and seen.offered_tps == target_tps):
            return seen.model_copy(update={**TEMPTING, **served, "invalid": "counts disagree"})
        if fault == "client":
            return seen.model_copy(update={**TEMPTING, **served, "client_limited": "late"})
        if fault == "short" and seen.offered_tps == target_tps:
            return seen.model_copy(update={"achieved_tps": 0.97 * seen.achieved_tps})
        return seen

    steps = () if fault == "nothing" else tuple(map(spoilt, record.observations))
    return record.model_copy(update={"observations": steps})


@dataclass(frozen=True)
class Run:
    """A search that has ended."""

    sizing: Sizing
    history: list[LoadTestRecord]
    plans: list[LoadTestPlan]
    answer: Answer

    def full_target(self, record: LoadTestRecord) -> list[Observation]:
        """The usable steps of a load test at the full target."""
        tps = self.sizing.request.target.tps
        return [each for each in record.observations if each.offered_tps == tps and usable(each)]


def run_noisy(
    endpoint: world.Endpoint,
    seed: int,
    *,
    max_load_tests: int = 20,
    max_instances: int = 1000,
    faults: Sequence[str] = (),
    prior: int | None = None,
    types: int = 1,
) -> Run:
    """Search for an endpoint's count, on one instance type or on two that behave alike."""
    limit = endpoint.p99_limit_ms
    sizing = sizing_for(
        endpoint.tps,
        prices={TYPE: 1.0, OTHER: 1.05} if types == 2 else {TYPE: 1.0},
        limits={"max_instances": max_instances, "max_load_tests": max_load_tests},
        prior_counts={TYPE: prior} if prior else {},
        vcpus=endpoint.vcpus,
        **({} if limit is None else {"model_latency_p99_ms": limit}),
    )
    random = Random(seed)
    happens = iter(faults)
    history: list[LoadTestRecord] = []
    plans: list[LoadTestPlan] = []

    def run(plan: LoadTestPlan) -> None:
        started = 1000.0 * len(history)
        record = world.run(endpoint, plan, sizing.request.measurement, random, started)
        record = befallen(record, next(happens, "none"), endpoint.tps)
        plans.append(plan)
        history.append(judge(sizing, record))
        assert len(history) <= max(max_load_tests, types)

    for candidate in sizing.candidates:
        run(baseline(sizing, candidate))
    while isinstance(step := next_load_test(sizing, history), LoadTestPlan):
        run(step)
    return Run(sizing, history, plans, step)


@given(noisy_endpoints(), st.integers(0, 10**6), FAULTS)
@FEW
def test_never_the_same_count_twice_but_to_repeat_what_showed_nothing(endpoint, seed, faults):
    ran = run_noisy(endpoint, seed, faults=faults)
    target = ran.sizing.request.target
    latest: dict[int, LoadTestRecord] = {}
    short: set[int] = set()
    for before, record in zip([None, *ran.history], ran.history, strict=False):
        if record.purpose is not Purpose.VERIFY:
            continue
        assert ran.plans[ran.history.index(record)].steps
        count = record.instance_count
        if count in latest:
            assert latest[count] is before, "a repeat follows at once"
            shown = ran.full_target(before)
            if shown:
                assert all(barely_short(target, each) for each in shown)
                assert count not in short, "and only once for falling short"
                short.add(count)
        latest[count] = record


@given(noisy_endpoints(), st.integers(0, 10**6), st.integers(1, 80), FAULTS)
@FEW
def test_never_outside_the_bracket_of_known_bad_and_known_good(endpoint, seed, most, faults):
    ran = run_noisy(endpoint, seed, max_instances=most, faults=faults)
    target = ran.sizing.request.target
    bad, good = 0, most + 1
    for record in ran.history:
        if record.purpose is not Purpose.VERIFY:
            continue
        full = ran.full_target(record)
        assert bad < record.instance_count < good or not full
        assert record.instance_count <= most
        if full and all(_clearly_fails(target, each) for each in full):
            bad = max(bad, record.instance_count)
        elif full and all(_clearly_serves(target, each) for each in full):
            good = min(good, record.instance_count)


def _clearly_fails(target, seen: Observation) -> bool:
    return not serves(target, seen) and not barely_short(target, seen)


def _clearly_serves(target, seen: Observation) -> bool:
    """Far enough inside every limit that no noise leaves it in doubt."""
    if not serves(target, seen) or seen.utilization_percent > 66:
        return False
    limit, p99 = target.model_latency_p99_ms, seen.model_latency_ms.p99
    return limit is None or (p99 or 0) <= 0.93 * limit


@given(noisy_endpoints(), st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 2), FAULTS)
@FEW
def test_it_ends_within_max_load_tests(endpoint, seed, most, types, faults):
    ran = run_noisy(endpoint, seed, max_load_tests=most, types=types, faults=faults)
    assert len(ran.history) <= most
    if ran.answer.status is Status.TARGET_NOT_MET:
        assert ran.answer.limit == "limits.max_load_tests"


@given(noisy_endpoints(), st.integers(0, 10**6), FAULTS, st.integers(0, 80))
@FEW
def test_what_is_recommended_was_validly_seen_to_serve_the_full_target(
    endpoint, seed, faults, prior
):
    ran = run_noisy(endpoint, seed, faults=faults, prior=prior)
    (outcome,) = ran.answer.candidates
    if outcome.status is CandidateStatus.FAILED:
        assert "invalid" in " ".join(faults) or set(faults) & {"client", "nothing"}
        assert outcome.observation is None
        assert outcome.instance_count is None
        return
    assert outcome.status is CandidateStatus.VERIFIED
    seen, count = outcome.observation, outcome.instance_count
    assert seen.offered_tps == endpoint.tps
    assert serves(ran.sizing.request.target, seen)
    assert usable(seen)
    shown = [
        each
        for record in ran.history
        if record.instance_count == count
        for each in ran.full_target(record)
    ]
    assert seen.window.end in {each.window.end for each in shown}
    # What looked tempting and was not valid would have led far astray.
    assert 100 * endpoint.utilization(endpoint.tps / count, count) < 71.5
    least, most = outcome.count_interval
    assert least <= count <= most


@given(noisy_endpoints(), st.integers(0, 10**6))
@FEW
def test_a_former_answer_that_still_holds_is_found_again_in_one_load_test_mostly(endpoint, seed):
    first = run_noisy(endpoint, seed)
    former = first.answer.candidates[0].instance_count
    again = run_noisy(endpoint, seed + 1, prior=former)
    assert again.plans[0].purpose is Purpose.VERIFY
    assert again.plans[0].instance_count == former
    assert again.answer.status is Status.SIZED
    assert len(again.history) <= 4


#: Of a limit: three times what all that a load test sees may be off by together.
SPARE = 3 * COMMON_LATENCY_NOISE

CAPACITIES, RATES = st.floats(5, 5000), st.floats(1, 20_000)


@given(CAPACITIES, RATES, st.floats(0.3, 1))
@FEW
def test_a_lower_target_never_needs_more_instances(capacity, tps, share):
    assume(tps / capacity < 12)
    assert _needed(ExactEndpoint(capacity), share * tps) <= _needed(ExactEndpoint(capacity), tps)


@given(CAPACITIES, RATES, st.floats(1, 3))
@FEW
def test_more_cpu_a_request_never_needs_fewer(capacity, tps, factor):
    assume(factor * tps / capacity < 12)
    endpoint = ExactEndpoint(capacity)
    dearer = replace(endpoint, capacity=capacity / factor)
    assert _needed(endpoint, tps) <= _needed(dearer, tps)


@given(CAPACITIES, st.floats(0.05, 120), st.floats(0.02, 2), st.floats(1.05, 4))
@settings(FEW, max_examples=25)
def test_without_noise_the_smallest_count_is_found_but_for_what_no_load_test_is_worth(
    capacity, loads, growth, limit
):
    """With it, a lower target and less CPU a request can't need more but for that share.

    A limit that leaves a fleet nearly idle asks for another type, not for a count.
    """
    tps = loads * capacity
    endpoint = ExactEndpoint(capacity, latency_ms=50, growth=growth)

    def smallest(spare: float) -> int:
        # p99 = 50 * (1 + growth * load / (1 - load)) is at its limit at this load of an instance:
        most = limit * (1 - spare) - 1
        return math.ceil(loads / min(most / (growth + most), 0.7 * (1 - spare)) - 1e-9)

    assume(min((limit - 1) / (growth + limit - 1), 0.7) > 0.3)
    assume(limit * (1 - SPARE) > 1 and smallest(SPARE) <= 100)
    found = _needed(endpoint, tps, model_latency_p99_ms=50 * limit)
    assert smallest(0.0) <= found
    # A count with less to spare is not taken for sure.
    sure = smallest(SPARE)
    if 100 * loads / found < 60:
        assert found <= sure
    assert found - sure <= max(NOT_WORTH * found, 1)


@pytest.mark.parametrize("needed", range(1, 13))
def test_every_small_count_is_found_exactly(needed):
    tps = 100 * needed * 0.67
    assert _needed(ExactEndpoint(100), tps) == needed


def _needed(endpoint: ExactEndpoint, tps: float, **target: float) -> int:
    answer, _ = search(sizing_for(tps, limits={"max_load_tests": 20}, **target), endpoint)
    assert answer.status is Status.SIZED, answer.reason
    count = answer.candidates[0].instance_count
    assert count is not None
    return count
