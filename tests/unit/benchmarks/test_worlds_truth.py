"""The worlds' truth: what an endpoint can do is what its parts add up to."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from itertools import pairwise
from random import Random

import pytest

from benchmarks.search import world
from benchmarks.search.worlds.drawing import BY_NAME, WORLDS, draw
from benchmarks.search.worlds.truth import Truth
from tests.unit.benchmarks.endpoints import an_endpoint

#: Instances needed, vCPUs, concurrency, CPU milliseconds and target of the first endpoint that the
#: plain world draws from seed 1.
PLAIN = (59, 4, 2, 29.493483833884852, 5645.141850057471)


def of_plain(endpoint: world.Endpoint) -> Truth:
    return Truth(**{each.name: getattr(endpoint, each.name) for each in fields(endpoint)})


@pytest.mark.parametrize("seed", range(8))
def test_without_faults_it_is_the_plain_endpoint(seed: int) -> None:
    endpoint, needed = world.draw(Random(f"plain {seed}"))
    truth = of_plain(endpoint)
    rate = endpoint.tps / needed
    assert truth.busy(rate, needed) == pytest.approx(endpoint.utilization(rate, needed))
    assert truth.latency_ms(rate, needed) == pytest.approx(
        endpoint.latency_ms(rate, needed), rel=0.005
    )
    assert abs(truth.smallest_count() - needed) <= 1


def test_the_plain_world_is_what_it_was() -> None:
    endpoint, needed = world.draw(Random("1/0"))
    assert (needed, endpoint.vcpus, endpoint.concurrency) == PLAIN[:3]
    assert (endpoint.cpu_ms, endpoint.tps) == pytest.approx(PLAIN[3:], rel=1e-12)


def test_a_container_stops_at_its_share() -> None:
    truth = an_endpoint(served_share=0.5, queue=100)
    assert truth.capacity(1) == pytest.approx(100.0)
    assert truth.failing(90.0, 1) < 1e-4
    assert truth.failing(99.9, 1) > 0.001
    assert truth.failing(200.0, 1) == pytest.approx(0.5, abs=0.01)
    assert truth.smallest_count() == 6
    assert 90 < truth.most_within_limits(6) < 100
    assert 100 * truth.busy(500 / 6, 6) == pytest.approx(41.7, abs=0.1)


@pytest.mark.parametrize("second", [0.1, 0.4])
def test_a_second_thread_adds_its_share(second: float) -> None:
    cores, threads = an_endpoint(), an_endpoint(hyper_threads=second)
    assert threads.rate_at(1.0, 1) == pytest.approx(cores.rate_at(1.0, 1) * (1 + second) / 2)
    assert threads.rate_at(0.1, 1) == pytest.approx(cores.rate_at(0.1, 1), rel=0.01)
    rates = [threads.rate_at(i / 50, 1) for i in range(51)]
    gains = [later - earlier for earlier, later in pairwise(rates)]
    assert all(gain > 0 for gain in gains)
    assert all(more >= less - 1e-9 for more, less in pairwise(gains))


def test_gpu_utilization_rises_before_the_rate() -> None:
    truth = an_endpoint(gpus=1, gpu_power=0.5)
    full = truth.capacity(1)
    assert truth.busy(full / 4, 1) == pytest.approx(0.5, abs=1e-6)
    assert truth.busy(full, 1) == pytest.approx(1.0)


def test_one_slow_instance_is_busier_and_slower() -> None:
    even, uneven = an_endpoint(), an_endpoint(slow_instance=1.5)
    assert uneven.busy(100.0, 1) == even.busy(100.0, 1)
    assert uneven.busy(100.0, 4) == pytest.approx(even.busy(100.0, 4) * (3 + 1.5) / 4)
    assert uneven.latency_ms(100.0, 4)[1] > 1.3 * even.latency_ms(100.0, 4)[1]
    balanced = replace(uneven, random_routing=False)
    assert sum(balanced.traffic(balanced.parts(4))) == pytest.approx(1.0)
    assert balanced.busy(100.0, 4) < uneven.busy(100.0, 4)


def test_stray_errors_are_within_the_limit_and_no_load_adds_to_them() -> None:
    truth = an_endpoint(error_rate=9e-4)
    assert truth.failing(1.0, 1) == pytest.approx(9e-4)
    assert truth.failing(150.0, 1) == pytest.approx(9e-4)
    assert truth.smallest_count() == an_endpoint().smallest_count()


def test_heavy_tails_are_the_lognormals() -> None:
    truth = an_endpoint(sigma=1.0)
    p50, p99 = truth.latency_ms(1.0, 1)
    assert p50 == pytest.approx(40 * math.exp(-0.5), rel=1e-3)
    assert p99 == pytest.approx(40 * math.exp(2.3263 - 0.5), rel=1e-3)


def test_what_is_busy_without_requests_leaves_less_for_them() -> None:
    truth, idle = an_endpoint(background=0.2), an_endpoint()
    assert truth.busy(1e-6, 1) == pytest.approx(0.2, abs=1e-3)
    assert truth.busy(80.0, 1) == pytest.approx(0.2 + idle.busy(80.0, 1))
    assert truth.capacity(1) == pytest.approx(0.8 * idle.capacity(1))
    assert truth.latency_ms(1e-3, 1)[0] == pytest.approx(idle.latency_ms(1e-3, 1)[0], rel=0.01)


def test_two_kinds_of_requests_take_as_long_on_average() -> None:
    for share in (0.003, 0.05):
        shape = an_endpoint(long_share=share, long_factor=10.0, sigma=0.1).shape(1.0, 1)
        points = shape.expected(1.0)
        assert sum(value * weight for value, weight in points) == pytest.approx(40.0, rel=0.03)
        usual = 40 / (1 + 9 * share)
        assert shape.quantile(0.5) == pytest.approx(usual, rel=0.02)
        long = shape.quantile(0.01) / usual
        assert (9 < long < 13) if share > 0.01 else (1 < long < 1.5)


def test_a_pause_is_seen_in_a_p99_if_a_hundredth_meet_it() -> None:
    usual = an_endpoint().latency_ms(1.0, 1)[1]
    seldom = an_endpoint(pause_share=0.005, pause_ms=100.0).latency_ms(1.0, 1)[1]
    often = an_endpoint(pause_share=0.05, pause_ms=100.0).latency_ms(1.0, 1)[1]
    assert seldom == pytest.approx(usual)
    assert often == pytest.approx(usual + 100 * math.log(5))


def test_a_short_queue_refuses_long_before_it_stops() -> None:
    truth = an_endpoint(concurrency=4, queue=2)
    assert truth.failing(100.0, 1) > 0.01  # half of its capacity
    assert truth.most_within_limits(1) < 0.4 * truth.capacity(1)
    assert truth.failing(50.0, 1) < truth.failing(60.0, 1) < truth.failing(70.0, 1)


def test_the_limit_sets_what_an_instance_serves() -> None:
    truth = an_endpoint(p99_limit_ms=70.0)
    most = truth.most_within_limits(3)
    assert truth.latency_ms(most, 3)[1] == pytest.approx(70.0, rel=1e-3)
    assert most < truth.capacity(3)


@pytest.mark.parametrize("name", [each.name for each in WORLDS])
def test_a_case_needs_what_it_says(name: str) -> None:
    kind = BY_NAME[name]
    for index in range(6):
        case = draw(Random(f"truth {index}"), kind)
        low, high = kind.candidates
        assert low <= len(case.candidates) <= high
        for each in case.candidates:
            truth = each.truth
            assert truth.feasible(each.needed)
            assert each.needed == 1 or not truth.feasible(each.needed - 1)
            assert (truth.tps, truth.p99_limit_ms) == (
                case.tps,
                case.candidates[0].truth.p99_limit_ms,
            )
            assert each.price > 0
        if kind.tps is not None:
            assert kind.tps[0] <= case.tps <= kind.tps[1]
        if kind.prior is not None:
            assert case.prior_count is not None
            off = case.prior_count / case.candidates[0].needed
            assert 0.4 <= off <= 2.5 or case.candidates[0].needed < 3


@pytest.mark.parametrize("name", ["p99 from 50 TPS", "p99 under 50 TPS"])
def test_at_the_knee_every_limit_binds(name: str) -> None:
    for index in range(10):
        first = draw(Random(f"knee {index}"), BY_NAME[name]).candidates[0]
        free = replace(first.truth, p99_limit_ms=None)
        assert free.most_tps(first.needed) > first.truth.most_tps(first.needed)


def test_drawn_sizes_are_those_that_are_stated() -> None:
    def truths(name: str) -> list[Truth]:
        return [
            draw(Random(f"size {index}"), BY_NAME[name]).candidates[0].truth for index in range(25)
        ]

    assert all(1e-5 <= each.error_rate <= 1e-3 for each in truths("stray errors"))
    assert all(2000 <= each.off_cpu_ms <= 10_000 for each in truths("slow answers"))
    assert all(0.2 <= each.served_share <= 0.95 for each in truths("container"))
    assert all(0.1 <= (each.hyper_threads or 0) <= 0.4 for each in truths("hyper-threads"))
    assert all(0.4 <= each.sigma <= 1.0 for each in truths("heavy tails"))
    assert all(0.5 <= each.capacity(1) <= 5.0 for each in truths("small rates"))
