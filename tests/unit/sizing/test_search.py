"""The search finds the count that arithmetic says, in few load tests, and says why."""

from __future__ import annotations

import math

import pytest

from sizing.errors import InvalidRequest
from sizing.load_test.observation import LoadTestRecord, Verdict
from sizing.load_test.plan import LoadTestPlan, Purpose
from sizing.load_test.verdict import judge
from sizing.search.answer import Answer, CandidateStatus, Status
from sizing.search.search import baseline, check_limits, next_load_test
from tests.unit.sizing.exact_endpoint import TYPE, ExactEndpoint, counts, search, sizing_for


def only(answer: Answer):
    (outcome,) = answer.candidates
    return outcome


@pytest.mark.parametrize(
    "capacity, tps, needed, in_band",
    [
        (200, 1000, 8, True),  # the method's own case: 62.5 %
        (1000 / 15, 300, 7, True),  # 4 vCPUs x 60 ms: 64.3 %
        (100, 66, 1, True),
        (200, 20, 1, False),  # far under the band
        (100, 72, 2, False),  # 1 instance at 72 %, 2 at 36 %
        (100, 139.9, 2, True),
        (50, 450, 13, True),  # 69.2 %
    ],
)
def test_it_finds_the_count_that_arithmetic_says(capacity, tps, needed, in_band):
    answer, plans = search(sizing_for(tps), ExactEndpoint(capacity))
    outcome = only(answer)
    assert answer.status is Status.SIZED
    assert answer.instance_type == TYPE
    assert outcome.status is CandidateStatus.VERIFIED
    assert outcome.instance_count == needed
    assert outcome.in_band is in_band
    assert outcome.observation.offered_tps == tps
    assert outcome.observation.utilization_percent == pytest.approx(
        100 * tps / (capacity * outcome.instance_count)
    )
    assert outcome.hourly_cost_usd == outcome.instance_count
    assert len(plans) <= 3


def test_the_methods_own_case_takes_two_load_tests():
    answer, plans = search(sizing_for(1000), ExactEndpoint(200))
    assert counts(plans) == [1, 8]
    assert only(answer).count_interval == (8, 8)
    assert only(answer).limiting_resource == "CPU"
    assert only(answer).tps_per_instance_at_band_middle == pytest.approx(130, rel=0.01)
    assert "7 instances would be at 71" in only(answer).reason


def test_a_verification_shows_the_neighbours_where_they_are_open():
    _, plans = search(sizing_for(1000), ExactEndpoint(200))
    rates = [step.offered_tps for step in plans[1].steps]
    assert rates == [1000.0, pytest.approx(1000 * 8 / 7)]


def test_close_to_the_edge_the_larger_neighbour_is_shown_too():
    sizing = sizing_for(1000)
    endpoint = ExactEndpoint(1000 / (5 * 0.675))  # 5 instances at 67.5 %
    plan = next_load_test(
        sizing, [judge(sizing, endpoint.run(baseline(sizing, sizing.candidates[0])))]
    )
    rates = [step.offered_tps for step in plan.steps]
    assert plan.instance_count == 5
    assert rates[0] == pytest.approx(1000 * 5 / 6)
    assert rates[1] == 1000.0


def test_a_saving_that_is_not_worth_a_load_test_is_told():
    answer, plans = search(sizing_for(1600), ExactEndpoint(50))
    outcome = only(answer)
    assert counts(plans) == [1, outcome.instance_count]
    assert outcome.instance_count > 46
    assert "46 instances may do, at 69.6 %" in outcome.reason
    assert outcome.count_interval[0] <= 46


def test_where_integers_step_over_the_band_the_reason_says_so():
    answer, _ = search(sizing_for(72), ExactEndpoint(100))
    assert "no count lies in the band 60-70 %, this is the smallest" in answer.reason


def test_a_container_that_saturates_first_is_named_and_its_count_serves():
    answer, plans = search(sizing_for(50), ExactEndpoint(1000 / 15, served_share=0.25))
    outcome = only(answer)
    assert answer.status is Status.SIZED
    assert outcome.instance_count == 4
    assert outcome.limiting_resource == "container"
    assert outcome.observation.verdict is Verdict.CONTAINER_LIMITED
    assert any("workers" in each.advice for each in outcome.diagnosis)
    assert not any("smaller instance type" in each.advice for each in outcome.diagnosis)
    assert len(plans) <= 3


def test_a_latency_limit_that_binds_sets_the_count():
    # p99 = 50 * (1 + 0.5 * load / (1 - load)) <= 70 up to load 0.444: 1000 / (200 * 0.444).
    endpoint = ExactEndpoint(200, growth=0.5)
    answer, plans = search(sizing_for(1000, model_latency_p99_ms=70.0), endpoint)
    outcome = only(answer)
    assert answer.status is Status.SIZED
    assert outcome.instance_count == 12
    assert outcome.limiting_resource == "latency"
    assert outcome.observation.verdict is Verdict.LATENCY_LIMITED
    assert not outcome.in_band
    assert outcome.observation.model_latency_ms.p99 <= 70
    assert len(plans) <= 4


def test_a_latency_limit_that_is_broken_in_the_band_alone_is_the_verdict_too():
    # One instance is at 65 % and breaks the limit; two are at 32.5 % and hold it with ease.
    endpoint = ExactEndpoint(200, growth=0.5)
    answer, _ = search(sizing_for(130, model_latency_p99_ms=92.0), endpoint)
    outcome = only(answer)
    assert outcome.instance_count == 2
    assert outcome.limiting_resource == "latency"
    assert outcome.observation.verdict is Verdict.LATENCY_LIMITED


def test_a_latency_limit_under_the_idle_latency_can_not_be_met():
    answer, plans = search(sizing_for(1000, model_latency_p99_ms=30.0), ExactEndpoint(200))
    assert answer.status is Status.TARGET_NOT_MET
    assert only(answer).status is CandidateStatus.TARGET_NOT_MET
    assert "30 ms" in answer.reason
    assert only(answer).limiting_resource == "latency"
    assert len(plans) <= 3


def test_errors_without_load_are_not_answered_with_instances():
    answer, plans = search(sizing_for(1000), ExactEndpoint(200, error_percent=2.0))
    assert answer.status is Status.TARGET_NOT_MET
    assert only(answer).limiting_resource == "errors"
    assert "more instances do not mend that" in answer.reason
    assert counts(plans) == [1]


@pytest.mark.parametrize("power", [1.5, 2.0, 3.0, 6.0, 12.0])
@pytest.mark.parametrize("tps", [400.0, 1000.0])
def test_a_queue_that_refuses_more_the_more_it_has_to_do_is_answered_with_instances(power, tps):
    # Half a percent, and more, of the requests fail at half of what it could serve.
    allowed = 200 * (2 * 0.001) ** (1 / power)
    needed = max(math.ceil(tps / allowed), math.ceil(tps / 140))
    sizing = sizing_for(tps, limits={"max_instances": 1000})
    answer, plans = search(sizing, ExactEndpoint(200, refused_power=power))
    outcome = only(answer)
    assert answer.status is Status.SIZED
    assert needed <= outcome.instance_count <= max(needed + 1, 1.08 * needed)
    assert outcome.limiting_resource == ("container" if needed > tps / 140 + 1 else "CPU")
    assert len(plans) <= 6


@pytest.mark.parametrize(
    "capacity, error_percent, tps, at_most",
    [(1, 5.0, 5, 2), (1, 30.0, 5, 2), (10, 2.0, 60, 2), (200, 0.2, 1000, 2), (50, 0.3, 300, 3)],
)
def test_errors_of_few_requests_are_told_from_a_queues_in_few_load_tests(
    capacity, error_percent, tps, at_most
):
    answer, plans = search(sizing_for(tps), ExactEndpoint(capacity, error_percent=error_percent))
    assert answer.status is Status.TARGET_NOT_MET
    assert "more instances do not mend that" in answer.reason
    assert len(plans) <= at_most


def test_throttling_is_not_answered_with_instances():
    answer, plans = search(sizing_for(1000), ExactEndpoint(200, throttle_tps=700))
    assert answer.status is Status.TARGET_NOT_MET
    assert only(answer).limiting_resource == "errors"
    assert "throttled" in answer.reason
    assert len(plans) == 2


@pytest.mark.parametrize(
    "fields, resource",
    [
        ({"memory_percent": 97.0}, "memory"),
        ({"gpu_memory_utilization_raw": 98.0}, "GPU memory"),
        ({"memory_percent": 90.0}, "container"),
    ],
)
def test_a_container_that_runs_out_of_memory_lacks_memory(fields, resource):
    def change(record: LoadTestRecord) -> LoadTestRecord:
        # Past 15 TPS an instance of 66.7 answers no more, with its memory full.
        steps = tuple(
            each.model_copy(update=fields if each.error_percent else {"memory_percent": 40.0})
            for each in record.observations
        )
        return record.model_copy(update={"observations": steps})

    sizing = sizing_for(50, prior_counts={TYPE: 3})
    answer, _ = search(sizing, ExactEndpoint(1000 / 15, served_share=0.25), change)
    assert only(answer).instance_count == 4
    assert only(answer).limiting_resource == resource


def test_a_gpu_is_the_resource_where_utilization_is_a_gpus():
    def change(record: LoadTestRecord) -> LoadTestRecord:
        steps = tuple(
            each.model_copy(update={"utilization_resource": "GPU"}) for each in record.observations
        )
        return record.model_copy(update={"observations": steps})

    answer, _ = search(sizing_for(1000), ExactEndpoint(200), change)
    assert only(answer).instance_count == 8
    assert only(answer).limiting_resource == "GPU"


def test_workers_that_can_be_no_more_are_not_tried_again():
    """Two hundred of three TPS each, of the size that was asked for, are all there can be."""
    sizing = sizing_for(1000, load={"worker_vcpus": 1})
    answer, plans = search(sizing, ExactEndpoint(200, client_tps=3.0))
    assert answer.status is Status.FAILED
    assert "no more than 200 workers of 1 vCPU(s) are planned" in answer.reason
    assert [plan.workers for plan in plans if plan.instance_count > 1] == [200]


class TestLimits:
    @pytest.mark.parametrize("most, baselines", [(3, 2), (2, 1)])
    def test_too_many_instances_end_it_before_scaling(self, most, baselines):
        """One instance is asked twice where it may have been cold, which costs three times."""
        answer, plans = search(
            sizing_for(300, limits={"max_instances": most}), ExactEndpoint(1000 / 15)
        )
        assert answer.status is Status.TARGET_NOT_MET
        assert answer.limit == "limits.max_instances"
        assert only(answer).instance_count == 7
        assert f"limits.max_instances is {most}" in answer.reason
        assert counts(plans) == [1] * baselines

    def test_a_count_that_just_may_do_is_tried_at_the_limit(self):
        sizing = sizing_for(1000, limits={"max_instances": 7})
        answer, plans = search(sizing, ExactEndpoint(1000 / (7 * 0.695)))
        assert answer.status is Status.SIZED
        assert only(answer).instance_count == 7
        assert max(counts(plans)) == 7

    def test_load_tests(self):
        answer, plans = search(sizing_for(1000, limits={"max_load_tests": 1}), ExactEndpoint(200))
        assert answer.status is Status.TARGET_NOT_MET
        assert answer.limit == "limits.max_load_tests"
        assert only(answer).status is CandidateStatus.NOT_VERIFIED
        assert only(answer).instance_count == 8
        assert len(plans) == 1

    def test_cost_is_checked_before_it_is_spent(self):
        answer, plans = search(sizing_for(1000, limits={"max_cost_usd": 1.0}), ExactEndpoint(200))
        assert answer.status is Status.TARGET_NOT_MET
        assert answer.limit == "limits.max_cost_usd"
        assert counts(plans) == [1]

    def test_time_is_checked_before_it_is_spent(self):
        answer, plans = search(sizing_for(1000, limits={"max_minutes": 12.0}), ExactEndpoint(200))
        assert answer.status is Status.TARGET_NOT_MET
        assert answer.limit == "limits.max_minutes"
        assert counts(plans) == [1]

    def test_a_count_seen_in_the_band_stands_though_a_smaller_one_was_to_be_tried(self):
        # 8 instances at 60.6 %; 7 would do as well, at 69.3 %.
        endpoint = ExactEndpoint(1000 / (8 * 0.606))
        free, more = search(sizing_for(1000, prior_counts={TYPE: 8}), endpoint)
        assert only(free).instance_count == 7
        assert counts(more) == [8, 7]
        sizing = sizing_for(1000, prior_counts={TYPE: 8}, limits={"max_load_tests": 1})
        answer, plans = search(sizing, endpoint)
        assert counts(plans) == [8]
        assert answer.status is Status.SIZED
        assert answer.limit == "limits.max_load_tests"
        assert only(answer).instance_count == 8
        assert "limits.max_load_tests kept other counts" in answer.reason

    def test_a_count_under_the_band_that_serves_is_an_answer_where_no_other_may_be_tried(self):
        sizing = sizing_for(1000, prior_counts={TYPE: 14}, limits={"max_load_tests": 1})
        answer, _ = search(sizing, ExactEndpoint(200))
        assert answer.status is Status.SIZED
        assert answer.limit == "limits.max_load_tests"
        assert only(answer).instance_count == 14
        assert not only(answer).in_band
        assert only(answer).count_interval[0] <= 8
        assert "limits.max_load_tests kept other counts" in only(answer).reason

    def test_a_limit_does_not_take_back_what_was_verified(self):
        prices = {"ml.a.x": 1.0, "ml.b.x": 0.9}
        endpoints = {"ml.a.x": ExactEndpoint(200), "ml.b.x": ExactEndpoint(60)}
        sizing = sizing_for(1000, prices=prices, limits={"max_load_tests": 3})
        answer, plans = search(sizing, endpoints)
        assert answer.status is Status.SIZED
        assert answer.instance_type == "ml.a.x"
        assert len(plans) == 3

    @pytest.mark.parametrize(
        "limits, field",
        [
            ({"max_load_tests": 2}, "limits.max_load_tests"),
            ({"max_cost_usd": 0.01}, "limits.max_cost_usd"),
            ({"max_minutes": 1.0}, "limits.max_minutes"),
        ],
    )
    def test_limits_that_leave_no_room_are_refused_at_once(self, limits, field):
        sizing = sizing_for(1000, prices={"ml.a.x": 1.0, "ml.b.x": 1.0}, limits=limits)
        with pytest.raises(InvalidRequest) as caught:
            check_limits(sizing)
        assert caught.value.field == field

    def test_usual_limits_pass(self):
        check_limits(sizing_for(1000, limits={"max_cost_usd": 50.0, "max_minutes": 120.0}))


PRICES = {"ml.a.x": 1.0, "ml.b.x": 1.5, "ml.c.x": 3.0}
ENDPOINTS = {
    "ml.a.x": ExactEndpoint(100),  # 15 instances: 15 USD
    "ml.b.x": ExactEndpoint(200),  # 8: 12 USD
    "ml.c.x": ExactEndpoint(250),  # 6: 18 USD
}


class TestCandidates:
    def test_only_the_cheapest_is_scaled_out(self):
        answer, plans = search(sizing_for(1000, prices=PRICES), ENDPOINTS)
        assert answer.instance_type == "ml.b.x"
        assert [(plan.instance_type, plan.instance_count) for plan in plans[3:]] == [("ml.b.x", 8)]
        statuses = {each.instance_type: each.status for each in answer.candidates}
        assert statuses == {
            "ml.a.x": CandidateStatus.NOT_VERIFIED,
            "ml.b.x": CandidateStatus.VERIFIED,
            "ml.c.x": CandidateStatus.NOT_VERIFIED,
        }
        assert "not cheaper than ml.b.x" in answer.candidates[0].reason

    def test_the_next_is_verified_where_the_cheapest_fails(self):
        def broken(record: LoadTestRecord) -> LoadTestRecord:
            if record.instance_type == "ml.b.x" and record.purpose is Purpose.VERIFY:
                return record.model_copy(
                    update={
                        "observations": (),
                        "error": "CapacityUnavailable",
                        "cause": "none left",
                    }
                )
            return record

        answer, plans = search(sizing_for(1000, prices=PRICES), ENDPOINTS, broken)
        assert answer.instance_type == "ml.a.x"
        assert answer.candidates[1].status is CandidateStatus.FAILED
        assert answer.candidates[1].reason == "CapacityUnavailable: none left"
        assert [plan.instance_type for plan in plans[3:]] == ["ml.b.x", "ml.a.x"]

    def test_one_that_can_not_start_does_not_end_the_others(self):
        def broken(record: LoadTestRecord) -> LoadTestRecord:
            if record.instance_type == "ml.a.x":
                return record.model_copy(
                    update={"observations": (), "error": "EndpointFailed", "cause": "no capacity"}
                )
            return record

        prices = {"ml.a.x": 1.0, "ml.b.x": 1.5}
        answer, _ = search(sizing_for(1000, prices=prices), ENDPOINTS, broken)
        assert answer.status is Status.SIZED
        assert answer.instance_type == "ml.b.x"

    def test_ties_are_broken_by_latency(self):
        endpoints = {
            "ml.a.x": ExactEndpoint(200, latency_ms=80),
            "ml.b.x": ExactEndpoint(200, latency_ms=40),
        }
        prices = {"ml.a.x": 1.0, "ml.b.x": 1.0}
        answer, plans = search(sizing_for(1000, prices=prices), endpoints)
        assert answer.instance_type == "ml.b.x"
        assert [plan.instance_type for plan in plans[2:]] == ["ml.b.x"]
        assert "not cheaper than ml.b.x" in answer.candidates[0].reason

    def test_the_next_is_verified_where_it_can_still_be_cheaper(self):
        # b looks cheapest by its baseline, but its fleet needs 10 where 8 were predicted.
        class Fleet(ExactEndpoint):
            def run(self, plan, started_at=0.0):
                if plan.instance_count == 1:
                    return ExactEndpoint.run(self, plan, started_at)
                return ExactEndpoint(self.capacity * 0.75).run(plan, started_at)

        prices = {"ml.a.x": 1.0, "ml.b.x": 1.0}
        endpoints = {"ml.a.x": ExactEndpoint(180), "ml.b.x": Fleet(200)}  # 8 and 10
        answer, plans = search(sizing_for(1000, prices=prices), endpoints)
        assert answer.instance_type == "ml.a.x"
        assert answer.candidates[0].instance_count == 8
        assert plans[2].instance_type == "ml.b.x"
        assert plans[-1].instance_type == "ml.a.x"

    def test_all_failed_is_failed(self):
        def broken(record: LoadTestRecord) -> LoadTestRecord:
            return record.model_copy(
                update={"observations": (), "error": "EndpointFailed", "cause": "no capacity"}
            )

        answer, plans = search(sizing_for(1000, prices=PRICES), ENDPOINTS, broken)
        assert answer.status is Status.FAILED
        assert answer.reason.count("EndpointFailed: no capacity") == 3
        assert len(plans) == 3

    def test_a_type_without_a_price_ranks_last(self):
        prices = {"ml.a.x": None, "ml.b.x": 1.5}
        answer, plans = search(sizing_for(1000, prices=prices), ENDPOINTS)
        assert answer.instance_type == "ml.b.x"
        assert [plan.instance_type for plan in plans[2:]] == ["ml.b.x"]


class TestRepeats:
    @staticmethod
    def spoilt(times: int, **fields):
        left = {"verify": times}

        def change(record: LoadTestRecord) -> LoadTestRecord:
            if record.purpose is not Purpose.VERIFY or left["verify"] == 0:
                return record
            left["verify"] -= 1
            steps = [each.model_copy(update=fields) for each in record.observations]
            return record.model_copy(update={"observations": tuple(steps)})

        return change

    def test_an_invalid_load_test_is_repeated_once(self):
        change = self.spoilt(1, invalid="counts disagree by 3 %")
        answer, plans = search(sizing_for(1000), ExactEndpoint(200), change)
        assert counts(plans) == [1, 8, 8]
        assert answer.status is Status.SIZED
        assert "counts disagree by 3 %" in plans[2].reason

    def test_invalid_twice_fails_and_no_number_is_taken_from_it(self):
        change = self.spoilt(9, invalid="counts disagree by 3 %", utilization_percent=65.0)
        answer, plans = search(sizing_for(1000), ExactEndpoint(200), change)
        assert counts(plans) == [1, 8, 8]
        assert answer.status is Status.FAILED
        assert only(answer).observation is None
        assert "counts disagree by 3 %" in answer.reason

    def test_a_limited_client_gets_more_workers(self):
        endpoint = ExactEndpoint(200, client_tps=500)
        answer, plans = search(sizing_for(1000, load={}), endpoint)
        assert answer.status is Status.SIZED
        assert only(answer).instance_count == 8
        assert plans[-1].workers >= 3

    def test_a_client_limited_verification_is_repeated_with_more(self):
        change = self.spoilt(1, client_limited="schedule lag p99 of 30 ms")
        answer, plans = search(sizing_for(1000), ExactEndpoint(200), change)
        assert counts(plans) == [1, 8, 8]
        assert plans[2].workers >= 2 * plans[1].workers
        assert answer.status is Status.SIZED

    def test_workers_that_the_request_fixes_are_not_added_to(self):
        change = self.spoilt(9, client_limited="schedule lag p99 of 30 ms")
        sizing = sizing_for(1000, load={"workers": 2})
        answer, plans = search(sizing, ExactEndpoint(200), change)
        assert counts(plans) == [1, 8]
        assert answer.status is Status.FAILED
        assert "load.workers" in answer.reason

    def test_a_baseline_that_shows_nothing_is_repeated(self):
        done = []

        def change(record: LoadTestRecord) -> LoadTestRecord:
            if done:
                return record
            done.append(record)
            return record.model_copy(update={"observations": ()})

        answer, plans = search(sizing_for(1000), ExactEndpoint(200), change)
        assert counts(plans) == [1, 1, 8]
        assert answer.status is Status.SIZED


class TestPrior:
    def test_a_former_count_that_still_holds_takes_one_load_test(self):
        sizing = sizing_for(1000, prior_counts={TYPE: 8})
        answer, plans = search(sizing, ExactEndpoint(200))
        assert counts(plans) == [8]
        assert plans[0].purpose is Purpose.VERIFY
        assert answer.status is Status.SIZED

    @pytest.mark.parametrize("former", [5, 14])
    def test_a_former_count_that_no_longer_holds_is_left(self, former):
        answer, plans = search(sizing_for(1000, prior_counts={TYPE: former}), ExactEndpoint(200))
        assert only(answer).instance_count == 8
        assert len(plans) <= 3

    def test_only_the_cheapest_former_count_is_started_at(self):
        prices = {"ml.a.x": 1.0, "ml.b.x": 1.5}
        sizing = sizing_for(1000, prices=prices, prior_counts={"ml.a.x": 15, "ml.b.x": 8})
        first = [baseline(sizing, facts) for facts in sizing.candidates]
        assert [(plan.purpose, plan.instance_count) for plan in first] == [
            (Purpose.BASELINE, 1),
            (Purpose.VERIFY, 8),
        ]

    def test_a_former_count_over_the_limit_is_not_used(self):
        sizing = sizing_for(1000, prior_counts={TYPE: 8}, limits={"max_instances": 4})
        assert baseline(sizing, sizing.candidates[0]).purpose is Purpose.BASELINE


class TestBaseline:
    def test_it_saturates_one_instance_and_steps_around_the_band(self):
        sizing = sizing_for(1000, vcpus=48)
        plan = baseline(sizing, sizing.candidates[0])
        assert plan.instance_count == 1
        assert plan.burst is not None
        assert plan.burst.start_concurrency == 48
        assert plan.burst.max_concurrency == 1536
        *around, target = plan.steps
        assert [step.saturation_fraction for step in around] == [0.5, 0.65, 0.8, 0.86, 0.92]
        assert (target.offered_tps, target.saturation_fraction) == (1000, 0.92)
        assert plan.workers == 1
        assert "5000 TPS a vCPU" in plan.reason

    def test_a_latency_limit_is_looked_for_under_the_band_too(self):
        sizing = sizing_for(1000, model_latency_p99_ms=100.0)
        plan = baseline(sizing, sizing.candidates[0])
        fractions = [step.saturation_fraction for step in plan.steps[:-1]]
        assert fractions == [0.35, 0.5, 0.65, 0.8, 0.92]


def test_utilization_over_a_hundred_percent_is_never_good():
    def hot(record: LoadTestRecord) -> LoadTestRecord:
        steps = [
            each.model_copy(update={"utilization_percent": 1.7 * each.utilization_percent})
            for each in record.observations
        ]
        return record.model_copy(update={"observations": tuple(steps)})

    sizing = sizing_for(1000, limits={"max_load_tests": 4})
    answer, _ = search(sizing, ExactEndpoint(200), hot)
    outcome = only(answer)
    assert outcome.instance_count is None or outcome.instance_count >= 13
    if outcome.observation is not None:
        assert outcome.observation.utilization_percent <= 70


def test_the_plan_is_the_same_for_the_same_history():
    sizing = sizing_for(1000)
    record = judge(sizing, ExactEndpoint(200).run(baseline(sizing, sizing.candidates[0])))
    first, second = next_load_test(sizing, [record]), next_load_test(sizing, [record])
    assert isinstance(first, LoadTestPlan)
    assert first == second


@pytest.mark.parametrize("tps", [500, 700, 1000, 1300, 1900, 2600])
def test_a_p99_in_a_first_step_that_still_warms_up_costs_no_instance(tps: float):
    def warming_up(record: LoadTestRecord) -> LoadTestRecord:
        first, *others = record.observations
        latency = first.model_latency_ms
        slower = latency.model_copy(update={"p99": 1.02 * (latency.p99 or 0.0)})
        steps = (first.model_copy(update={"model_latency_ms": slower}), *others)
        return record.model_copy(update={"observations": steps})

    endpoint, sizing = ExactEndpoint(200, growth=0.5), sizing_for(tps, model_latency_p99_ms=70.0)
    exactly, _ = search(sizing, endpoint)
    answer, plans = search(sizing, endpoint, warming_up)
    assert only(answer).instance_count == only(exactly).instance_count
    for plan in plans[1:]:
        offered = [step.offered_tps for step in plan.steps]
        assert offered[0] != tps or offered.count(tps) > 1
