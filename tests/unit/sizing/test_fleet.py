"""Workers are planned from the rate, from bodies' size, and from what workers have shown."""

from __future__ import annotations

import pytest

from sizing.load_test.fleet import measured_tps_per_vcpu, plan_fleet
from sizing.request.request import Load
from sizing.search.search import baseline
from tests.unit.sizing.exact_endpoint import ExactEndpoint, sizing_for


def planned(peak, driven=None, *, body_bytes=10.0, at_least_vcpus=1, **load):
    return plan_fleet(Load(**load), body_bytes, peak, driven, at_least_vcpus=at_least_vcpus)


@pytest.mark.parametrize("peak, workers", [(1.0, 1), (5000.0, 1), (5001.0, 2), (100_000.0, 20)])
def test_from_the_rate(peak, workers):
    assert planned(peak).workers == workers


@pytest.mark.parametrize(
    "peak, workers, vcpus",
    [(100_000.0, 20, 1), (100_001.0, 11, 2), (1e6, 13, 16), (1e7, 125, 16)],
)
def test_many_workers_are_larger_ones_instead(peak, workers, vcpus):
    fleet = planned(peak)
    assert (fleet.workers, fleet.worker_vcpus) == (workers, vcpus)
    assert (f"on {vcpus} vCPUs each" in fleet.reason) == (vcpus > 1)


def test_their_size_depends_on_the_rate_alone():
    size = planned(150_000.0).worker_vcpus
    assert planned(150_000.0, shown(20_000)).worker_vcpus == size
    assert planned(150_000.0, at_least_vcpus=80).worker_vcpus == size
    assert planned(150_000.0, worker_vcpus=1).worker_vcpus == 1


def test_bigger_workers_are_fewer():
    fleet = planned(40_000.0, worker_vcpus=4)
    assert (fleet.workers, fleet.worker_vcpus) == (2, 4)


def test_the_request_wins():
    fleet = planned(1e6, workers=3, worker_vcpus=2)
    assert (fleet.workers, fleet.worker_vcpus) == (3, 2)
    assert fleet.reason == "as the request says"


@pytest.mark.parametrize("body_bytes, workers", [(300_000, 8), (400_000, 10)])
def test_large_bodies_take_more_workers(body_bytes, workers):
    assert planned(1000.0, body_bytes=body_bytes).workers == workers


def shown(client_tps):
    sizing = sizing_for(1000)
    endpoint = ExactEndpoint(200, client_tps=client_tps)
    return measured_tps_per_vcpu([endpoint.run(baseline(sizing, sizing.candidates[0]))])


def test_what_workers_showed_overrules_what_they_are_trusted_with():
    # 160 TPS took 32 % of one vCPU: 300 TPS take 60 %.
    assert planned(1200.0, shown(500)).workers == 4


def test_a_worker_at_rest_shows_nothing():
    assert planned(6000.0, shown(20_000)).workers == 2


def test_never_fewer_than_were_too_few():
    fleet = planned(100.0, at_least_vcpus=6)
    assert (fleet.workers, fleet.worker_vcpus) == (6, 1)
    assert "too few" in fleet.reason


def test_no_more_than_can_be_started():
    fleet = planned(1e9)
    assert (fleet.workers, fleet.worker_vcpus) == (200, 16)


@pytest.mark.parametrize(
    "driven, at_least_vcpus, workers, vcpus",
    [(15.0, 1, 167, 4), (15.0, 1000, 125, 8), (None, 300, 150, 2)],
)
def test_workers_are_larger_where_there_can_be_no_more(driven, at_least_vcpus, workers, vcpus):
    fleet = planned(10_000.0, driven, at_least_vcpus=at_least_vcpus)
    assert (fleet.workers, fleet.worker_vcpus) == (workers, vcpus)
    asked = planned(10_000.0, driven, at_least_vcpus=at_least_vcpus, worker_vcpus=1)
    assert (asked.workers, asked.worker_vcpus) == (200, 1)
