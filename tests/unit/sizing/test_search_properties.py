"""What holds for every endpoint: the search ends, stays in its bracket, and is monotone."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from benchmarks.search import world
from sizing.answer import Answer, CandidateStatus, Status
from sizing.instance import Sizing
from sizing.load_test import LoadTestPlan, Purpose
from sizing.observation import LoadTestRecord
from sizing.search import baseline, next_load_test
from sizing.verdict import judge, serves, usable
from tests.unit.sizing.exact_endpoint import TYPE, ExactEndpoint, search, sizing_for

FEW = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


@st.composite
def noisy_endpoints(draw):
    """An endpoint of the benchmark's distribution, by a seed the benchmark does not use."""
    endpoint, _ = world.draw(Random(f"property/{draw(st.integers(0, 10**6))}"))
    return endpoint


def run_noisy(
    endpoint: world.Endpoint, seed: int, max_load_tests: int = 20
) -> tuple[Sizing, list[LoadTestRecord], Answer]:
    limit = endpoint.p99_limit_ms
    sizing = sizing_for(
        endpoint.tps,
        limits={"max_instances": 1000, "max_load_tests": max_load_tests},
        vcpus=endpoint.vcpus,
        **({} if limit is None else {"model_latency_p99_ms": limit}),
    )
    random = Random(seed)
    history: list[LoadTestRecord] = []
    step: LoadTestPlan | Answer = baseline(sizing, sizing.candidates[0])
    while isinstance(step, LoadTestPlan):
        record = world.run(
            endpoint, step, sizing.request.measurement, random, 1000.0 * len(history)
        )
        history.append(judge(sizing, record))
        assert len(history) <= max_load_tests
        step = next_load_test(sizing, history)
    return sizing, history, step


@given(noisy_endpoints(), st.integers(0, 10**6))
@FEW
def test_never_the_same_count_twice_but_to_repeat_what_showed_nothing(endpoint, seed):
    sizing, history, _ = run_noisy(endpoint, seed)
    tried = set()
    for record in history:
        if record.purpose is Purpose.VERIFY:
            assert record.instance_count not in tried
            full = [each for each in record.observations if each.offered_tps == endpoint.tps]
            assert full, "a verification offers the full target"
            if any(usable(each) for each in full):
                tried.add(record.instance_count)
    assert sizing.candidates[0].instance_type == TYPE


@given(noisy_endpoints(), st.integers(0, 10**6))
@FEW
def test_never_outside_the_bracket_of_known_bad_and_known_good(endpoint, seed):
    sizing, history, _ = run_noisy(endpoint, seed)
    bad, good = 0, 10**9
    for record in history:
        if record.purpose is not Purpose.VERIFY:
            continue
        full = [
            each
            for each in record.observations
            if each.offered_tps == endpoint.tps and usable(each)
        ]
        assert bad < record.instance_count < good or not full
        if full and all(not serves(sizing.request.target, each) for each in full):
            bad = max(bad, record.instance_count)
        elif full and _clearly_serves(sizing, record, endpoint):
            good = min(good, record.instance_count)


def _clearly_serves(sizing: Sizing, record: LoadTestRecord, endpoint: world.Endpoint) -> bool:
    """Far enough inside every limit that no noise leaves it in doubt."""
    target = sizing.request.target
    for each in record.observations:
        if each.offered_tps != endpoint.tps:
            continue
        if not serves(target, each) or each.utilization_percent > 66:
            return False
        p99 = each.model_latency_ms.p99
        if target.model_latency_p99_ms and (p99 or 0) > 0.93 * target.model_latency_p99_ms:
            return False
    return True


@given(noisy_endpoints(), st.integers(0, 10**6), st.integers(1, 6))
@FEW
def test_it_ends_within_max_load_tests(endpoint, seed, most):
    _, history, answer = run_noisy(endpoint, seed, most)
    assert len(history) <= most
    if answer.status is not Status.SIZED:
        assert answer.limit == "limits.max_load_tests"


@given(noisy_endpoints(), st.integers(0, 10**6))
@FEW
def test_what_is_recommended_was_seen_to_serve_the_full_target(endpoint, seed):
    sizing, history, answer = run_noisy(endpoint, seed)
    (outcome,) = answer.candidates
    assert outcome.status is CandidateStatus.VERIFIED
    assert outcome.observation is not None
    assert outcome.observation.offered_tps == endpoint.tps
    assert serves(sizing.request.target, outcome.observation)
    assert usable(outcome.observation)
    assert outcome.instance_count in {
        each.instance_count for each in history if each.purpose is Purpose.VERIFY
    }
    least, most = outcome.count_interval
    assert least <= outcome.instance_count <= most


@given(
    st.floats(5, 5000),
    st.floats(1, 20_000),
    st.floats(0.3, 1),
)
@FEW
def test_a_lower_target_never_needs_more_instances(capacity, tps, share):
    assume(tps / capacity < 12)
    assert _needed(ExactEndpoint(capacity), share * tps) <= _needed(ExactEndpoint(capacity), tps)


@given(st.floats(5, 5000), st.floats(1, 20_000), st.floats(1, 3))
@FEW
def test_more_cpu_a_request_never_needs_fewer(capacity, tps, factor):
    assume(factor * tps / capacity < 12)
    endpoint = ExactEndpoint(capacity)
    dearer = replace(endpoint, capacity=capacity / factor)
    assert _needed(endpoint, tps) <= _needed(dearer, tps)


@pytest.mark.parametrize("needed", range(1, 13))
def test_every_small_count_is_found_exactly(needed):
    tps = 100 * needed * 0.67
    assert _needed(ExactEndpoint(100), tps) == needed


def _needed(endpoint: ExactEndpoint, tps: float) -> int:
    answer, _ = search(sizing_for(tps, limits={"max_load_tests": 20}), endpoint)
    assert answer.status is Status.SIZED
    count = answer.candidates[0].instance_count
    assert count is not None
    return count
