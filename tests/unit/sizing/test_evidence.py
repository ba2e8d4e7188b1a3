"""Evidence that agrees with itself: what is stray does not set a count, and what limits does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sizing.fits.noise import p99_noise
from sizing.load_test.observation import Latency, LoadTestRecord, Observation
from sizing.load_test.plan import LoadTestPlan, Purpose, Step
from sizing.load_test.verdict import (
    fails_to_serve,
    failures_beyond,
    judge,
    late_answers,
    tally,
    trusted_saturation,
)
from sizing.production import autoscaling
from sizing.result.result import Ending, Execution, build_result
from sizing.search.answer import CandidateOutcome, CandidateStatus, Status
from sizing.search.search import baseline, next_load_test
from sizing.search.seen import see
from tests.unit.sizing.exact_endpoint import (
    STEP_SECONDS,
    TYPE,
    ExactEndpoint,
    counts,
    search,
    sizing_for,
)

Change = Callable[[int, Observation], Observation]


def befalls(change: Change, purpose: Purpose | None = None) -> Callable[..., LoadTestRecord]:
    """What befalls the steps of load tests, by their number."""

    def changed(record: LoadTestRecord) -> LoadTestRecord:
        if purpose is not None and record.purpose is not purpose:
            return record
        steps = (change(number, seen) for number, seen in enumerate(record.observations))
        return record.model_copy(update={"observations": tuple(steps)})

    return changed


def failing(seen: Observation, share: float) -> Observation:
    return seen.model_copy(
        update={
            "error_percent": 100 * share,
            "achieved_tps": seen.offered_tps * (1 - share),
            "errors": {"model_error_500": max(round(60 * seen.offered_tps * share), 1)},
        }
    )


def short(seen: Observation, share: float) -> Observation:
    return seen.model_copy(update={"achieved_tps": seen.offered_tps * (1 - share)})


def sized(tps: float, endpoint: ExactEndpoint, change=lambda record: record, **target):
    answer, plans = search(sizing_for(tps, **target), endpoint, change)
    (outcome,) = answer.candidates
    assert answer.status is Status.SIZED, answer.reason
    return outcome, plans


def tracked_tps(outcome: CandidateOutcome, saturation_tps: float | None = None) -> float:
    advice = autoscaling.advise(
        instance_type="ml.m5.xlarge",
        instance_count=outcome.instance_count or 1,
        max_instances=100,
        tps_per_instance=outcome.tps_per_instance_at_band_middle,
        most_tps=outcome.most_tps_per_instance,
        saturation_tps=saturation_tps,
        model_latency_ms=outcome.observation.model_latency_ms.mean if outcome.observation else None,
    )
    assert advice is not None
    assert advice.alternative is not None
    assert advice.alternative.target_value <= 1.001 * advice.target_value / 60 * 0.05
    return advice.target_value / 60


class TestAutoscalingFollowsFromWhatLimits:
    def test_a_container_that_stops_at_half_the_hardware(self):
        outcome, _ = sized(500, ExactEndpoint(200, served_share=0.5))
        assert outcome.instance_count == 6
        assert tracked_tps(outcome) <= 90  # 0.9 of the 100 that one instance serves

    def test_a_p99_limit_under_the_band(self):
        # p99 = 50 * (1 + 0.5 * load / (1 - load)) is 65 ms at a load of 0.375.
        endpoint = ExactEndpoint(100, growth=0.5)
        outcome, _ = sized(500, endpoint, model_latency_p99_ms=65.0)
        assert outcome.instance_count == 14
        assert tracked_tps(outcome) <= 37.5

    def test_a_rate_with_more_errors_than_allowed_is_not_held_though_they_may_be_chance(self):
        # 10.12 of a burst's 11 per second: one request of 607 failed, where one of 1,000 may.
        last = befalls(
            lambda number, seen: failing(seen, 1 / 607) if number == 4 else seen, Purpose.BASELINE
        )
        endpoint = ExactEndpoint(22, served_share=0.5)
        clean, _ = sized(34, endpoint)
        assert tracked_tps(clean) > 9.5
        outcome, _ = sized(34, endpoint, last)
        assert outcome.instance_count == 4
        assert tracked_tps(outcome) <= 0.98 * 9.46  # the step before kept it

    def test_requests_in_flight_are_those_of_the_rate_that_is_held(self):
        """Answers take 50 ms / (1 - load): twice as long at the rate served as at that advised."""
        endpoint, sizing = ExactEndpoint(200, served_share=0.5), sizing_for(560)
        history = []

        def queueing(record: LoadTestRecord) -> LoadTestRecord:
            n = record.instance_count
            steps = []
            for seen in record.observations:
                mean = 50 / (1 - min(seen.offered_tps / n / 100, 0.99))
                latency = seen.model_latency_ms.model_copy(update={"mean": mean})
                steps.append(seen.model_copy(update={"model_latency_ms": latency}))
            history.append(record.model_copy(update={"observations": tuple(steps)}))
            return history[-1]

        answer, _ = search(sizing, endpoint, queueing)
        result = build_result(
            Execution(sizing.sizing_id, 1e4),
            Ending(answer),
            sizing,
            [judge(sizing, each) for each in history],
        )
        found = result["recommendation"]
        assert found["instance_count"] == 6  # of 93 requests per second each
        advice = found["autoscaling"]
        rate = advice["target_value"] / 60
        assert rate <= 90
        assert advice["alternative"]["target_value"] <= 1.001 * rate * 0.05 / (1 - rate / 100)

    def test_never_over_nine_tenths_of_saturation(self):
        outcome, _ = sized(1000, ExactEndpoint(200), utilization_percent={"min": 90, "max": 99})
        assert tracked_tps(outcome, saturation_tps=200) <= 180

    def test_where_second_threads_yield_little_and_a_burst_ended_early(self):
        """Utilization jumps from 46 to 99 % within a third more load, and answers come late."""

        def bent(record: LoadTestRecord) -> LoadTestRecord:
            n = record.instance_count
            steps = []
            for seen in record.observations:
                if record.purpose is Purpose.BASELINE and seen.offered_tps > 95:
                    continue  # the client was behind, and the burst before it as well
                rate = seen.offered_tps / n
                percent = 0.45 * rate if rate < 105 else 99.0
                late = {"achieved_tps": seen.offered_tps, "error_percent": 0.0, "errors": {}}
                steps.append(seen.model_copy(update={"utilization_percent": percent, **late}))
            return record.model_copy(
                update={"observations": tuple(steps), "saturation_bounded": True}
            )

        outcome, plans = sized(413, ExactEndpoint(133), bent)
        assert outcome.instance_count == 4
        assert 3 in counts(plans)
        assert tracked_tps(outcome) <= 0.9 * 413 / 3 * 1.001


class TestOneBadStep:
    @pytest.mark.parametrize("bad", [0, 1, 2])
    @pytest.mark.parametrize(
        "change", [lambda seen: short(seen, 0.02), lambda seen: failing(seen, 0.05)]
    )
    def test_of_a_baseline_does_not_overrule_those_at_higher_rates(self, bad, change):
        befallen = befalls(
            lambda number, seen: change(seen) if number == bad else seen, Purpose.BASELINE
        )
        outcome, plans = sized(500, ExactEndpoint(100), befallen)
        assert outcome.instance_count == 8
        assert outcome.limiting_resource == "CPU"
        assert counts(plans) == [1, 8]
        kinds = [each.finding for each in outcome.diagnosis]
        assert any("cold start" in each or "stall" in each for each in kinds)

    def test_four_of_three_thousand_are_no_more_than_chance(self):
        befallen = befalls(
            lambda number, seen: failing(seen, 4 / 3000) if number == 0 else seen, Purpose.BASELINE
        )
        outcome, _ = sized(500, ExactEndpoint(100), befallen)
        assert outcome.instance_count == 8

    @pytest.mark.parametrize("purpose, requests", [(Purpose.BASELINE, 30), (Purpose.VERIFY, 300)])
    def test_one_request_of_few(self, purpose, requests):
        befallen = befalls(
            lambda number, seen: failing(seen, 1 / requests) if number == 0 else seen, purpose
        )
        outcome, _ = sized(5, ExactEndpoint(1), befallen)
        assert outcome.instance_count == 8

    def test_errors_at_a_lower_rate_where_the_target_was_clean(self):
        def change(_: int, seen: Observation) -> Observation:
            return failing(seen, 40 / 26_000) if 400 < seen.offered_tps < 526 else seen

        answer, _ = search(
            sizing_for(526.84, prior_counts={TYPE: 5}),
            ExactEndpoint(153),
            befalls(change, Purpose.VERIFY),
        )
        assert answer.candidates[0].instance_count == 5

    def test_errors_of_a_cold_container_in_the_first_steps(self):
        befallen = befalls(lambda number, seen: failing(seen, 0.1) if number < 2 else seen)
        outcome, _ = sized(300, ExactEndpoint(100), befallen)
        assert outcome.instance_count == 5

    def test_the_target_that_failed_a_little_once_is_offered_again(self):
        seen_at = []

        def change(record: LoadTestRecord) -> LoadTestRecord:
            seen_at.append(record.instance_count)
            if record.purpose is Purpose.VERIFY and seen_at.count(record.instance_count) == 1:
                return befalls(lambda _, seen: failing(seen, 0.03))(record)
            return record

        outcome, plans = sized(500, ExactEndpoint(100), change)
        assert outcome.instance_count == 8
        assert counts(plans) == [1, 8, 8]
        assert "3.00 % errors" in plans[2].reason


def test_a_burst_that_met_a_cold_instance_is_revised_by_what_was_served():
    class Cold(ExactEndpoint):
        def run(self, plan: LoadTestPlan, started_at: float = 0.0) -> LoadTestRecord:
            if plan.burst is None:
                return super().run(plan, started_at)
            # It finds 50 where 100 are served once warm.
            record = ExactEndpoint(50).run(plan, started_at)
            steps = (
                each.model_copy(
                    update={
                        "utilization_percent": each.offered_tps,
                        "cpu_utilization_raw": 4 * each.offered_tps,
                        "hottest_instance_percent": None,
                    }
                )
                for each in record.observations
            )
            return record.model_copy(update={"observations": tuple(steps)})

    outcome, plans = sized(500, Cold(100))
    assert outcome.instance_count == 8
    assert outcome.limiting_resource == "CPU"
    assert len(plans) <= 3


class TestMinutesToGetWarm:
    """A model whose requests cost 1.8 times as much in the first minutes of each instance."""

    @staticmethod
    def cold_for(seconds: float) -> ExactEndpoint:
        begun: list[float] = []

        class Slow(ExactEndpoint):
            def run(self, plan: LoadTestPlan, started_at: float = 0.0) -> LoadTestRecord:
                n = plan.instance_count
                del begun[n:]
                begun.extend([started_at] * (n - len(begun)))
                warm = super().run(plan, started_at)
                cold = ExactEndpoint(
                    self.capacity / 1.8, latency_ms=1.8 * self.latency_ms, growth=self.growth
                ).run(plan, started_at)
                if plan.burst is not None:
                    # Its steps are shares of what the cold burst found.
                    steps = [
                        step.model_copy(update={"offered_tps": seen.offered_tps})
                        for step, seen in zip(plan.steps, cold.observations, strict=False)
                    ]
                    warm = super().run(plan.model_copy(update={"steps": tuple(steps)}), started_at)
                half = begun[n // 2]
                observations = tuple(
                    late if late.window.start - half >= seconds else early
                    for early, late in zip(cold.observations, warm.observations, strict=True)
                )
                return cold.model_copy(update={"observations": observations})

        return Slow(300.0)

    @pytest.mark.parametrize("seconds", [500, 700, 1200])
    def test_a_count_that_failed_while_cold_has_not_failed(self, seconds):
        outcome, plans = sized(4000, self.cold_for(seconds), model_latency_p99_ms=100.0)
        assert outcome.instance_count == 20  # 200 of 300 TPS each
        assert len(plans) <= 5

    @pytest.mark.parametrize(
        "limits, p99_ms",
        [({"max_instances": 25}, None), ({}, 75.0), ({"max_instances": 25}, 75.0)],
    )
    def test_too_slow_or_too_many_is_said_of_a_warm_instance(self, limits, p99_ms):
        """Cold it takes 90 ms at rest, and 34 instances."""
        sizing = sizing_for(4000, model_latency_p99_ms=p99_ms, limits=limits)
        answer, plans = search(sizing, self.cold_for(500))
        assert answer.status is Status.SIZED
        assert answer.candidates[0].instance_count in (20, 21)
        assert answer.candidates[0].limiting_resource == "CPU"  # whatever the cold bursts found
        assert counts(plans)[:2] == [1, 1]
        assert "before it is given up" in plans[1].reason
        lower = [step.offered_tps for step in plans[1].steps if step.saturation_fraction is None]
        assert len(lower) == 2
        assert max(lower) < plans[0].steps[0].saturation_fraction * 300 / 1.8

    def test_a_verification_after_the_last_hope_is_repeated_as_what_it_is(self):
        sizing = sizing_for(4000, model_latency_p99_ms=75.0)
        runs: list[LoadTestRecord] = []

        def third_unmeasured(record: LoadTestRecord) -> LoadTestRecord:
            runs.append(record)
            if len(runs) != 3:
                return record
            return befalls(lambda _, seen: seen.model_copy(update={"invalid": "no samples"}))(
                record
            )

        answer, plans = search(sizing, self.cold_for(500), third_unmeasured)
        assert answer.status is Status.SIZED
        assert [plan.purpose for plan in plans[:4]] == [Purpose.BASELINE] * 2 + [Purpose.VERIFY] * 2
        assert plans[3].instance_count == plans[2].instance_count
        assert "not valid" in plans[3].reason

    def test_new_instances_get_as_long_as_cold_ones_took(self):
        _, plans = sized(4000, self.cold_for(500), model_latency_p99_ms=75.0)
        verified = next(plan for plan in plans if plan.instance_count > 1)
        at_target = [step for step in verified.steps if step.offered_tps == 4000]
        assert len(at_target) * STEP_SECONDS > 500


class TestFastByChance:
    """Steps at the target whose p99s jump: a second kind of requests does that."""

    @staticmethod
    def serves(p99s, higher=None):
        sizing = sizing_for(1000, model_latency_p99_ms=576.0)
        rates = [1000.0] * len(p99s) + ([] if higher is None else [1080.0])
        plan = LoadTestPlan(
            instance_type=TYPE,
            instance_count=10,
            purpose=Purpose.VERIFY,
            steps=tuple(Step(offered_tps=rate) for rate in rates),
            workers=1,
            worker_vcpus=1,
            reason="",
        )
        record = ExactEndpoint(200).run(plan)
        steps = tuple(
            seen.model_copy(
                update={"model_latency_ms": Latency(mean=60.0, p50=50.0, p90=100.0, p99=p99)}
            )
            for seen, p99 in zip(record.observations, [*p99s, higher], strict=False)
        )
        seen = see(
            sizing.request, sizing.facts(TYPE), [record.model_copy(update={"observations": steps})]
        )
        return seen.trials[10].serves if 10 in seen.trials else None

    def test_one_step_does_not_make_stalls_of_all_that_were_slower(self):
        slow = [630.0, 653.0, 614.0, 641.0, 681.0, 672.0, 663.0]
        assert not self.serves([*slow, 498.0])
        assert not self.serves([*slow, 660.0], higher=400.0)

    def test_a_step_that_alone_was_slow_is_a_stalls(self):
        fast = [430.0, 453.0, 414.0, 441.0, 481.0, 472.0, 463.0]
        assert self.serves([*fast, 5000.0])
        assert self.serves([5000.0], higher=450.0) is None  # it is offered once more


def test_a_type_that_is_too_slow_warm_too_is_given_up():
    sizing = sizing_for(1000, model_latency_p99_ms=5.0)
    answer, plans = search(sizing, ExactEndpoint(200))
    assert answer.status is Status.TARGET_NOT_MET
    assert "stays over 5 ms" in answer.reason
    assert answer.limit is None
    assert counts(plans) == [1, 1]


class TestALastHopeThatIsNotMeasured:
    """One instance is asked again before its type is given up, and the measurement is invalid."""

    @staticmethod
    def searched(*invalid: int):
        class Unmeasured(ExactEndpoint):
            load_tests = 0

            def run(self, plan: LoadTestPlan, started_at: float = 0.0) -> LoadTestRecord:
                record = super().run(plan, started_at)
                self.load_tests += 1
                if self.load_tests not in invalid:
                    return record
                invalid_step = {"invalid": "no samples"}
                steps = (each.model_copy(update=invalid_step) for each in record.observations)
                return record.model_copy(update={"observations": tuple(steps)})

        return search(sizing_for(1000, model_latency_p99_ms=5.0), Unmeasured(200))

    @staticmethod
    def lower(plan):
        return [step for step in plan.steps if step.saturation_fraction is None]

    def test_is_offered_once_more_with_its_lower_rates(self):
        answer, plans = self.searched(2)
        assert counts(plans) == [1, 1, 1]
        assert self.lower(plans[2]) == self.lower(plans[1]) != []
        assert answer.status is Status.TARGET_NOT_MET
        assert "asked again" not in answer.reason

    def test_twice_leaves_what_is_known_and_says_so(self):
        answer, plans = self.searched(2, 3)
        assert counts(plans) == [1, 1, 1]
        assert answer.status is Status.TARGET_NOT_MET
        assert "stays over 5 ms" in answer.reason
        assert "asked again: the measurement was not valid (no samples), 2 times" in answer.reason

    def test_a_baseline_that_was_repeated_since_it_was_invalid_was_no_last_hope(self):
        _, plans = self.searched(1)
        assert counts(plans) == [1, 1, 1]
        assert "before it is given up" in plans[2].reason


def test_a_type_is_asked_again_only_where_no_other_serves():
    sizing = sizing_for(1000, prices={"ml.m5.xlarge": 1.0, "ml.c5.xlarge": 2.0})
    target = sizing.request.target.model_copy(update={"model_latency_p99_ms": 60.0})
    request = sizing.request.model_copy(update={"target": target})
    sizing = sizing.model_copy(update={"request": request})
    endpoints = {
        "ml.m5.xlarge": ExactEndpoint(200, latency_ms=500.0),
        "ml.c5.xlarge": ExactEndpoint(200, latency_ms=50.0),
    }
    answer, plans = search(sizing, endpoints)
    assert answer.instance_type == "ml.c5.xlarge"
    assert [plan.instance_count for plan in plans if plan.instance_type == "ml.m5.xlarge"] == [1]
    (lost,) = (each for each in answer.candidates if each.instance_type == "ml.m5.xlarge")
    assert lost.status is CandidateStatus.TARGET_NOT_MET
    assert lost.limiting_resource == "latency"


def test_load_tests_that_run_out_leave_what_is_known_of_a_type():
    sizing = sizing_for(1000, model_latency_p99_ms=5.0, limits={"max_load_tests": 2})
    limits = sizing.request.limits.model_copy(update={"max_load_tests": 1})
    request = sizing.request.model_copy(update={"limits": limits})
    answer, plans = search(sizing.model_copy(update={"request": request}), ExactEndpoint(200))
    assert counts(plans) == [1]
    assert answer.limit is None
    assert "stays over 5 ms" in answer.reason


def test_a_burst_that_ended_at_our_bound_saturated_nothing():
    sizing = sizing_for(52)
    record = ExactEndpoint(40).run(baseline(sizing, sizing.candidates[0]))
    bounded = record.model_copy(update={"saturation_tps": 20.5, "saturation_bounded": True})
    assert trusted_saturation(bounded) is None

    class Bounded(ExactEndpoint):
        """At 128 requests in flight, each 6.1 s long, 20.5 TPS is all that is seen of 40."""

        def run(self, plan: LoadTestPlan, started_at: float = 0.0) -> LoadTestRecord:
            if plan.burst is None:
                return super().run(plan, started_at)
            seen = ExactEndpoint(20.5, latency_ms=self.latency_ms).run(plan, started_at)
            steps = (
                each.model_copy(
                    update={"utilization_percent": 100 * each.offered_tps / self.capacity}
                )
                for each in seen.observations
            )
            update = {"observations": tuple(steps), "saturation_bounded": True}
            return seen.model_copy(update=update)

    outcome, _ = sized(52, Bounded(40))
    assert outcome.instance_count == 2
    assert outcome.limiting_resource == "CPU"
    assert outcome.observation.utilization_percent == pytest.approx(65)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.62, 0.7])
def test_where_the_container_limits_there_is_room_above_the_target(share):
    capacity = 100 * share
    for loads in (3.02, 7.4, 10.97, 23.5):
        outcome, plans = sized(loads * capacity, ExactEndpoint(100, served_share=share))
        assert loads / outcome.instance_count <= 1 / 1.04 + 1e-9
        assert outcome.instance_count <= loads * 1.08 + 1
        assert len(plans) <= 4


def test_a_count_that_served_is_an_answer_where_the_load_tests_are_used_up():
    endpoint = ExactEndpoint(200, growth=0.5)
    sizing = sizing_for(
        1000, model_latency_p99_ms=70.0, prior_counts={TYPE: 13}, limits={"max_load_tests": 1}
    )
    answer, _ = search(sizing, endpoint)
    assert answer.status is Status.SIZED
    assert answer.candidates[0].instance_count == 13


def test_where_the_target_fits_on_one_instance_one_load_test_is_enough():
    outcome, plans = sized(66, ExactEndpoint(100))
    assert (outcome.instance_count, outcome.observation.offered_tps) == (1, 66)
    assert counts(plans) == [1]


def a_step(offered: float, answered: float, start: int = 0, **fields: object) -> Observation:
    sizing = sizing_for(offered)
    (first, *_) = ExactEndpoint(200).run(baseline(sizing, sizing.candidates[0])).observations
    update = {
        "offered_tps": offered,
        "achieved_tps": answered,
        "window": first.window.model_copy(update={"start": start, "end": start + 60}),
        **fields,
    }
    return first.model_copy(update=update)


class TestSlowAnswers:
    SLOW = Latency(mean=5000.0, p50=4000.0, p99=15_000.0)
    TARGET = sizing_for(6.0).request.target

    def test_what_is_in_flight_fluctuates(self):
        # 21 are in flight at 4.2 per second; at the window's ends their number differs by chance.
        fast = a_step(4.2, 4.2 - 10 / 60)
        slow = a_step(4.2, 4.2 - 10 / 60, client_latency_ms=self.SLOW)
        assert fails_to_serve(self.TARGET, fast)
        assert not fails_to_serve(self.TARGET, slow)
        assert fails_to_serve(self.TARGET, a_step(4.2, 4.2 * 0.85, client_latency_ms=self.SLOW))

    def test_after_a_rise_of_the_rate_answers_come_late(self):
        low = a_step(3.0, 3.0, client_latency_ms=self.SLOW)
        high = a_step(6.0, 5.6, start=62, client_latency_ms=self.SLOW)
        late = late_answers([low, high])
        # Three more a second take 5 s each, of which 2 s were given.
        assert late[1] == pytest.approx(3 * 5 * 0.67, rel=0.01)
        assert not tally(high, late[1]).falls_short
        settled = a_step(6.0, 5.6, start=160, client_latency_ms=self.SLOW)
        assert late_answers([low, settled])[1] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    "failed, requests, limit, errors",
    [
        (1, 30, 0.001, 1.885),  # P(1 or more) = 0.0296
        (2, 30, 0.001, 3.33),
        (4, 3000, 0.001, 0.38),
        (16, 7800, 0.001, 2.46),
        (4000, 1_000_000, 0.001, 71.3),
        (0, 1000, 0.001, float("-inf")),
        (1, 1000, 0.0, float("inf")),
        (900, 1000, 1.0, float("-inf")),
    ],
)
def test_failures_are_weighed_against_their_limit(failed, requests, limit, errors):
    assert failures_beyond(failed, requests, limit) == pytest.approx(errors, rel=0.02)


def test_the_error_of_a_p99_of_a_heavy_tail():
    # Lognormal, sigma 1: its p50 is 1, p90 3.60, p99 10.24; of 3,000 the p99 errs by 6.8 %.
    for p90 in (None, 3.602):
        assert p99_noise(1.0, 10.24, p90) / 3000**0.5 == pytest.approx(0.068, rel=0.02)


def test_one_step_over_the_limit_in_thousands_decides():
    sizing = sizing_for(1000)
    history = [judge(sizing, ExactEndpoint(200).run(baseline(sizing, sizing.candidates[0])))]
    plan = next_load_test(sizing, history)
    assert isinstance(plan, LoadTestPlan)
    spoilt = befalls(lambda _, seen: failing(seen, 0.5))(ExactEndpoint(200).run(plan, 1000.0))
    decided = next_load_test(sizing, [*history, judge(sizing, spoilt)])
    assert isinstance(decided, LoadTestPlan)
    assert decided.instance_count > plan.instance_count


class TestABurstInWhichNothingSucceeded:
    """A stall of a few seconds, or an endpoint that is not up yet, does that."""

    def test_is_run_once_more(self):
        runs = []

        def once(record):
            runs.append(record)
            return broken(record) if len(runs) == 1 else record

        outcome, plans = sized(500, ExactEndpoint(100), once)
        assert counts(plans) == [1, 1, 8]
        assert "no request of the burst succeeded" in plans[1].reason
        assert outcome.instance_count == 8

    def test_twice_fails_the_candidate(self):
        answer, plans = search(sizing_for(500), ExactEndpoint(100), broken)
        assert answer.status is Status.FAILED
        assert counts(plans) == [1, 1]


def broken(record: LoadTestRecord) -> LoadTestRecord:
    cause = "NothingSucceeded: no request of the burst succeeded: timeout"
    return record.model_copy(update={"error": "LoadTestFailed", "cause": cause, "observations": ()})


def in_fleets(change: Callable[[Observation], dict[str, object]]) -> Callable[..., LoadTestRecord]:
    """What fleets show besides what the one instance of the baseline does."""

    def changed(record: LoadTestRecord) -> LoadTestRecord:
        if record.purpose is Purpose.BASELINE:
            return record
        steps = (seen.model_copy(update=change(seen)) for seen in record.observations)
        return record.model_copy(update={"observations": tuple(steps)})

    return changed


def test_a_fleet_that_gets_busier_than_its_parts_sets_what_autoscaling_holds():
    busier = in_fleets(lambda seen: {"utilization_percent": 1.2 * seen.utilization_percent})
    outcome, _ = sized(80, ExactEndpoint(100), busier)
    assert outcome.instance_count == 2
    assert tracked_tps(outcome) <= 40 * 65 / 48 * 1.001


def test_a_fleet_that_is_slower_than_its_parts_sets_it_too():
    def slower(seen: Observation) -> dict[str, object]:
        latency = seen.model_latency_ms
        return {"model_latency_ms": latency.model_copy(update={"p99": 1.2 * (latency.p99 or 0.0)})}

    endpoint = ExactEndpoint(100, growth=0.5)
    alone, _ = sized(80, endpoint, model_latency_p99_ms=100.0)
    assert tracked_tps(alone) > 62  # the band's middle less a little: the limit is far
    outcome, _ = sized(80, endpoint, in_fleets(slower), model_latency_p99_ms=100.0)
    assert outcome.instance_count == 2
    # 1.2 * 50 * (1 + 0.5 * load / (1 - load)) is 100 ms at a load of 0.571.
    assert tracked_tps(outcome) <= 57.1
