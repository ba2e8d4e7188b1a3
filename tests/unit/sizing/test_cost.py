"""What load tests cost and take, by hand calculation."""

from __future__ import annotations

import pytest

from sizing.catalogue import prices
from sizing.load_test import cost
from sizing.load_test.plan import Purpose
from sizing.load_test.verdict import judge
from sizing.search.search import baseline, next_load_test
from tests.unit.sizing.exact_endpoint import TYPE, ExactEndpoint, sizing_for

WORKER_HOUR = prices.FARGATE_VCPU_HOUR_USD + 2 * prices.FARGATE_GIB_HOUR_USD


def record(
    count, started_at, finished_at, *, purpose=Purpose.VERIFY, instance_type=TYPE, workers=3
):
    sizing = sizing_for(1000)
    plan = baseline(sizing, sizing.candidates[0]).model_copy(
        update={
            "instance_type": instance_type,
            "instance_count": count,
            "purpose": purpose,
            "workers": workers,
        }
    )
    made = ExactEndpoint(200).run(plan, started_at)
    return made.model_copy(update={"finished_at": finished_at})


class TestSizingCost:
    def test_an_endpoint_is_paid_at_each_count_until_the_next_and_to_the_end(self):
        sizing = sizing_for(1000, prices={TYPE: 10.0})
        history = [record(1, 0, 600), record(8, 720, 1500)]
        total = cost.sizing_cost(sizing, history, finished_at=3600)
        endpoints = 10 * (1 * 720 + 8 * 2880) / 3600
        fargate = 4 * WORKER_HOUR * (600 + 780) / 3600
        assert total == pytest.approx(endpoints + fargate, abs=0.01)
        assert total > endpoints + fargate

    def test_candidates_side_by_side_are_both_paid(self):
        sizing = sizing_for(1000, prices={"ml.a.x": 10.0, "ml.b.x": 20.0})
        history = [
            record(1, 0, 600, instance_type="ml.a.x"),
            record(1, 0, 600, instance_type="ml.b.x"),
        ]
        total = cost.sizing_cost(sizing, history, finished_at=3600)
        assert total == pytest.approx(30 + 2 * 4 * WORKER_HOUR / 6, abs=0.02)

    def test_a_fleet_that_the_search_turned_away_from_is_paid_as_one_instance(self):
        sizing = sizing_for(1000, prices={"ml.a.x": 10.0, "ml.b.x": 20.0})
        history = [
            record(8, 0, 1000, instance_type="ml.a.x"),  # at an earlier sizing's count
            record(1, 0, 600, instance_type="ml.b.x"),
            record(4, 1800, 3000, instance_type="ml.b.x"),
        ]
        total = cost.sizing_cost(sizing, history, finished_at=3600)
        endpoints = 10 * (8 * 1800 + 1 * 1800) / 3600 + 20 * (1 * 1800 + 4 * 1800) / 3600
        assert total == pytest.approx(endpoints, rel=0.01)

    @pytest.mark.parametrize(
        "error, paid",
        [("LoadTestFailed", True), ("MetricsMissing", True), ("CapacityUnavailable", False)],
    )
    def test_an_endpoint_is_paid_if_it_was_in_service(self, error, paid):
        failed = record(1, 0, 600).model_copy(
            update={"observations": (), "error": error, "cause": "why"}
        )
        sizing = sizing_for(1000, prices={TYPE: 10.0})
        total = cost.sizing_cost(sizing, [failed], finished_at=3600)
        assert total == pytest.approx(10 if paid else 0, abs=0.05)

    def test_nothing_was_run(self):
        total = cost.sizing_cost(sizing_for(1000), [], finished_at=3600)
        assert 0 < total < 0.01

    def test_a_candidate_that_never_started_costs_nothing(self):
        failed = record(1, 0, 600).model_copy(
            update={"observations": (), "error": "EndpointFailed", "cause": "no capacity"}
        )
        sizing = sizing_for(1000, prices={TYPE: 10.0})
        assert cost.sizing_cost(sizing, [failed], finished_at=3600) < 0.01

    def test_an_unknown_price_counts_as_nothing(self):
        total = cost.sizing_cost(sizing_for(1000, prices={TYPE: None}), [record(1, 0, 600)], 3600)
        assert total == pytest.approx(4 * WORKER_HOUR / 6, abs=0.01)


def test_a_load_test_is_its_instances_and_workers_for_its_time():
    sizing = sizing_for(1000, prices={TYPE: 10.0})
    expected = 8 * 10 * 900 / 3600 + 4 * WORKER_HOUR * 900 / 3600
    assert cost.load_test_cost(sizing, record(8, 0, 900)) == pytest.approx(expected, abs=0.01)


def test_a_step_is_settling_and_steady_in_whole_periods():
    measurement = sizing_for(1000).request.measurement
    assert cost.step_seconds(measurement) == 90
    odd = measurement.model_copy(update={"settle_seconds": 15, "steady_seconds": 61})
    assert cost.step_seconds(odd) == 90
    minutes = measurement.model_copy(update={"metric_period_seconds": 60})
    assert cost.step_seconds(minutes) == 120


class TestEstimates:
    def test_a_first_load_test_waits_for_its_endpoint(self):
        sizing = sizing_for(1000)
        plan = baseline(sizing, sizing.candidates[0])
        estimate = cost.estimate_load_test(sizing, plan)
        assert estimate.minutes * 60 == pytest.approx(
            cost.load_test_seconds(sizing, plan)
            + cost.CREATE_SECONDS
            + cost.FLEET_START_SECONDS
            + cost.METRICS_SECONDS
        )
        assert estimate.load_tests == 1

    def test_what_was_seen_to_take_longer_is_learnt(self):
        sizing = sizing_for(1000)
        endpoint = ExactEndpoint(200)
        first = judge(sizing, endpoint.run(baseline(sizing, sizing.candidates[0])))
        plan = next_load_test(sizing, [first])
        usual = cost.estimate_load_test(sizing, plan, [first])
        slow = judge(sizing, endpoint.run(plan, 1000.0))
        slow = slow.model_copy(update={"started_at": 1000.0 - 3600})
        learnt = cost.estimate_load_test(sizing, plan, [first, slow])
        assert learnt.minutes > usual.minutes + 45

    def test_other_candidates_endpoints_are_paid_meanwhile(self):
        alone = sizing_for(1000, prices={"ml.a.x": 1.0})
        both = sizing_for(1000, prices={"ml.a.x": 1.0, "ml.b.x": 50.0})
        history = [record(1, 0, 600, instance_type=name) for name in ("ml.a.x", "ml.b.x")]
        plan = baseline(alone, alone.candidates[0])
        dear = cost.estimate_load_test(both, plan, history)
        cheap = cost.estimate_load_test(alone, plan, history[:1])
        assert dear.cost_usd - cheap.cost_usd == pytest.approx(50 * dear.minutes / 60)

    def test_a_whole_sizing_is_estimated_from_above(self):
        sizing = sizing_for(1000, prices={TYPE: 2.765}, limits={"max_instances": 20})
        plans = [baseline(sizing, facts) for facts in sizing.candidates]
        estimate = cost.estimate(sizing, plans)
        assert estimate.load_tests == 3
        assert estimate.minutes == pytest.approx(45, abs=15)
        assert estimate.cost_usd == pytest.approx(2 * 20 * 2.765 * 14.25 / 60, rel=0.2)

    def test_a_limit_of_load_tests_bounds_the_estimate(self):
        sizing = sizing_for(1000, limits={"max_load_tests": 2})
        plans = [baseline(sizing, facts) for facts in sizing.candidates]
        assert cost.estimate(sizing, plans).load_tests == 2
