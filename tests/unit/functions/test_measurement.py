"""Observations: the right figures from complete windows, and no figure from any other."""

from __future__ import annotations

import math
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sizing.catalogue.instance import InstanceFacts
from sizing.errors import MetricsIncomplete
from sizing.load_test.locust_result import ClockOffset, LocustStep
from sizing.load_test.measurement import (
    LONGEST_DELAY_SECONDS,
    SHORT_DELAY_SECONDS,
    Measured,
    Metrics,
    longest_tile,
    observe,
)
from sizing.load_test.observation import Latency, Observation, Window
from tests.unit.functions.made_up import facts
from tests.unit.functions.made_up_metrics import (
    PERIOD,
    START,
    STARTS,
    WINDOW,
    CloudWatch,
    a_step,
)

GPU_TYPE = facts("ml.g5.12xlarge", vcpus=48, gpus=4)


def observed(
    cloudwatch: CloudWatch | None = None,
    step: LocustStep | None = None,
    instance_type: InstanceFacts | None = None,
    *,
    instances: int = 8,
    waited_seconds: float = 20,
    window: Window = WINDOW,
    clock: ClockOffset | None = None,
) -> Observation:
    seen = looked_for(cloudwatch, step, instance_type, instances, waited_seconds, window, clock)
    assert seen is not None
    return seen


def looked_for(
    cloudwatch: CloudWatch | None,
    step: LocustStep | None,
    instance_type: InstanceFacts | None,
    instances: int,
    waited_seconds: float,
    window: Window,
    clock: ClockOffset | None = None,
) -> Observation | None:
    chosen = instance_type or facts()
    return observe(
        step or a_step(),
        window,
        Measured(chosen, instances, PERIOD),
        Metrics((cloudwatch or CloudWatch()).data(chosen, window), waited_seconds, clock),
    )


class TestFigures:
    def test_utilization_is_per_vcpu_and_latency_in_milliseconds(self) -> None:
        seen = observed()
        assert seen.utilization_percent == 3000 / 48
        assert seen.utilization_resource == "CPU"
        assert seen.cpu_utilization_raw == 3000
        assert seen.hottest_instance_percent == 3200 / 48
        assert (seen.memory_percent, seen.disk_percent) == (42, 11)
        latency = seen.model_latency_ms
        assert (latency.mean, latency.p50, latency.p90, latency.p99, latency.max) == (
            240,
            230,
            290,
            390,
            500,
        )
        assert seen.overhead_latency_ms.mean == 1.5
        assert (seen.invocations, seen.client_invocations) == (6000, 6000)
        assert (seen.samples, seen.instances_reporting) == (48, 8)
        assert seen.gpu_utilization_raw is None
        assert seen.invalid is None
        assert seen.verdict is None

    def test_locusts_figures_are_taken_as_they_are(self) -> None:
        errors = {"throttled": 30}
        step = a_step(errors=errors, error_percent=0.5, client_limited="no time", invocations=5970)
        seen = observed(CloudWatch(requests=995), step)
        assert (seen.errors, seen.error_percent, seen.client_limited) == (errors, 0.5, "no time")
        assert (seen.client_latency_ms, seen.workers) == (step.client_latency_ms, step.workers)
        assert (seen.offered_tps, seen.achieved_tps, seen.window) == (100, 100, WINDOW)

    def test_the_mean_weighs_periods_by_their_samples(self) -> None:
        # One instance published a moment late: its sample lies in the next period.
        samples = dict.fromkeys(STARTS, 8.0) | {START: 7.0, START + 10: 9.0}
        cpu = dict.fromkeys(STARTS, 3000.0) | {START: 2000.0, START + 10: 4000.0}
        seen = observed(CloudWatch(samples=samples, cpu=cpu))
        assert seen.invalid is None
        assert seen.cpu_utilization_raw == pytest.approx((7 * 2000 + 9 * 4000 + 4 * 8 * 3000) / 48)
        assert seen.instances_reporting == 7

    def test_the_standard_error_is_that_of_the_periods(self) -> None:
        values = [2900.0, 3100.0, 2900.0, 3100.0, 2900.0, 3100.0]
        seen = observed(CloudWatch(cpu=dict(zip(STARTS, values, strict=True))))
        deviation = math.sqrt(6 * 100**2 / 5)
        assert seen.utilization_standard_error == pytest.approx(deviation / math.sqrt(6) / 48)
        latencies = {start: value * 100 for start, value in zip(STARTS, values, strict=True)}
        seen = observed(CloudWatch(p99=latencies))
        expected = deviation / math.sqrt(6) / 10
        assert seen.model_latency_p99_standard_error == pytest.approx(expected)

    def test_two_periods_leave_the_standard_error_unknown(self) -> None:
        window = Window(start=START, end=START + 20)
        step = a_step(answers=2000, invocations=2000)
        assert observed(step=step, window=window).utilization_standard_error is None

    def test_only_periods_inside_the_window_count(self) -> None:
        inside = CloudWatch().data(facts())
        data = {
            query: {START - query.period_seconds: 9.0, **series, WINDOW.end: 9.0}
            for query, series in inside.items()
        }
        seen = observe(a_step(), WINDOW, Measured(facts(), 8, PERIOD), Metrics(data, 20))
        assert seen == observed()

    def test_a_gpu_type_is_as_used_as_its_busier_resource(self) -> None:
        gpu_bound = observed(CloudWatch(gpu=260.0), instance_type=GPU_TYPE)
        assert gpu_bound.utilization_resource == "GPU"
        assert gpu_bound.utilization_percent == 260 / 4
        assert gpu_bound.hottest_instance_percent == 260 / 4
        assert (gpu_bound.gpu_utilization_raw, gpu_bound.gpu_memory_utilization_raw) == (260, 35)
        cpu_bound = observed(CloudWatch(gpu=100.0), instance_type=GPU_TYPE)
        assert (cpu_bound.utilization_resource, cpu_bound.utilization_percent) == ("CPU", 62.5)

    def test_where_the_model_answered_nothing_there_is_no_latency(self) -> None:
        nothing = CloudWatch(requests=0, without=("Invocations", "ModelLatency", "OverheadLatency"))
        step = a_step(achieved_tps=0, invocations=0, errors={"throttled": 6000}, error_percent=100)
        seen = observed(nothing, step)
        assert seen.invalid is None
        assert seen.model_latency_ms.p99 is seen.overhead_latency_ms.mean is None


class TestPercentiles:
    def test_of_a_window_that_is_a_period_they_are_cloudwatchs(self) -> None:
        assert START % 60 == 0  # the window is one minute: asked for as a whole
        assert observed(CloudWatch(p99={START: 500_000.0})).model_latency_ms.p99 == 500

    LATER = Window(start=START + 30, end=START + 90)

    def p99(self, at_client: float | None, first: float, second: float) -> float | None:
        """Of a window of two tiles; a request spends 20 ms outside the model."""
        assert longest_tile(self.LATER) == 30
        step = a_step(client_latency_ms=Latency(mean=260, p50=250, p90=310, p99=at_client))
        tiles = {START + 30: first * 1000, START + 60: second * 1000}
        seen = observed(CloudWatch(p99=tiles), step, window=self.LATER)
        return seen.model_latency_ms.p99

    def test_of_another_window_they_are_the_clients_less_network_and_overhead(self) -> None:
        assert self.p99(440.0, first=390, second=500) == 420
        assert self.p99(400.0, first=390, second=500) == 390  # not under the lowest of its parts
        assert self.p99(530.0, first=390, second=500) == 500

    def test_where_the_networks_tail_is_in_them_the_tiles_mean_is_taken(self) -> None:
        assert self.p99(900.0, first=390, second=500) == 445
        assert self.p99(None, first=390, second=500) == 445

    @pytest.mark.parametrize(
        "start, length, period",
        [
            (0, 60, 60),
            (30, 60, 30),
            (20, 60, 20),
            (10, 60, 10),
            (60, 120, 60),
            (120, 120, 120),
            (300, 300, 300),
            (360, 300, 60),
            (0, 20, 20),
            (5, 5, 5),
        ],
    )
    def test_examples(self, start: int, length: int, period: int) -> None:
        assert longest_tile(Window(start=start, end=start + length)) == period

    @given(st.integers(0, 10**9), st.integers(1, 3600))
    def test_a_tile_fits_and_cloudwatch_takes_it(self, start: int, length: int) -> None:
        tile = longest_tile(Window(start=start, end=start + length))
        assert start % tile == length % tile == 0
        assert tile in {1, 5, 10, 20, 30} or tile % 60 == 0


class TestIncomplete:
    """Data that are missing are waited for, and then make the observation invalid."""

    MISSING_ONE = dict.fromkeys(STARTS, 8.0) | {START + 50: 7.0}
    ONE_SILENT = dict.fromkeys(STARTS, 7.0)

    @pytest.mark.parametrize(
        "cloudwatch, what",
        [
            (CloudWatch(without=("CPUUtilization",)), "CPUUtilization has 0 of 48 samples"),
            (CloudWatch(samples=ONE_SILENT), "7 of 8 instances reported"),
            (CloudWatch(samples=dict.fromkeys(STARTS[:-1], 8.0)), "has 40 of 48 samples"),
            (CloudWatch(without=("Invocations",)), "Invocations counts 0"),
            (CloudWatch(requests=970), "Invocations counts 5820, the load generator 6000"),
            (CloudWatch(without=("ModelLatency",)), "ModelLatency has 0 of 6000"),
        ],
    )
    def test_missing_data_are_waited_for(self, cloudwatch: CloudWatch, what: str) -> None:
        with pytest.raises(MetricsIncomplete, match=what):
            observed(cloudwatch)
        with pytest.raises(MetricsIncomplete, match=what):
            observed(cloudwatch, waited_seconds=LONGEST_DELAY_SECONDS)

    @pytest.mark.parametrize(
        "cloudwatch, what",
        [
            (CloudWatch(samples=ONE_SILENT), "7 of 8 instances reported"),
            (CloudWatch(samples=dict.fromkeys(STARTS[:4], 8.0)), "has 32 of 48 samples"),
            (CloudWatch(requests=970), "Invocations counts 5820, the load generator 6000"),
            (CloudWatch(without=("ModelLatency",)), "ModelLatency has 0 of 6000"),
        ],
    )
    def test_what_never_comes_makes_the_observation_invalid(
        self, cloudwatch: CloudWatch, what: str
    ) -> None:
        seen = observed(cloudwatch, waited_seconds=LONGEST_DELAY_SECONDS + 1)
        assert what in str(seen.invalid)

    def test_a_sample_that_may_be_late_is_waited_for_a_while_and_then_does_without(self) -> None:
        with pytest.raises(MetricsIncomplete, match="47 of 48 samples"):
            observed(CloudWatch(samples=self.MISSING_ONE), waited_seconds=SHORT_DELAY_SECONDS)
        seen = observed(
            CloudWatch(samples=self.MISSING_ONE), waited_seconds=SHORT_DELAY_SECONDS + 1
        )
        assert (seen.invalid, seen.samples, seen.instances_reporting) == (None, 47, 7)

    def test_what_is_missing_when_all_have_reported_since_is_not_waited_for_as_long(self) -> None:
        cloudwatch = CloudWatch(samples=self.ONE_SILENT, since={WINDOW.end: 8.0})
        with pytest.raises(MetricsIncomplete, match="7 of 8 instances reported"):
            observed(cloudwatch, waited_seconds=SHORT_DELAY_SECONDS)
        seen = observed(cloudwatch, waited_seconds=SHORT_DELAY_SECONDS + 1)
        assert "7 of 8 instances reported" in str(seen.invalid)

    @pytest.mark.parametrize("since", [{}, {WINDOW.end: 7.0}])
    def test_as_long_as_not_all_have_reported_since(self, since: dict[int, float]) -> None:
        cloudwatch = CloudWatch(samples=self.ONE_SILENT, since=since)
        with pytest.raises(MetricsIncomplete):
            observed(cloudwatch, waited_seconds=LONGEST_DELAY_SECONDS)

    def test_a_window_of_one_period_may_lie_between_two_samples_of_its_instance(self) -> None:
        window = Window(start=START, end=START + PERIOD)
        cloudwatch = CloudWatch(instances=1, samples={}, since={window.end: 1.0})
        step = a_step(window=window, answers=1000, invocations=1000)

        def look(waited_seconds: float) -> Observation | None:
            return looked_for(cloudwatch, step, None, 1, waited_seconds, window)

        with pytest.raises(MetricsIncomplete, match="0 of 1 samples"):
            look(SHORT_DELAY_SECONDS)
        assert look(SHORT_DELAY_SECONDS + 1) is None

    @pytest.mark.parametrize("more", [-1, 1])
    def test_instances_may_publish_once_more_or_less_in_a_window(self, more: int) -> None:
        one = dict.fromkeys(STARTS, 1.0) | {START: 1.0 + more}
        step = a_step()
        seen = observed(
            CloudWatch(instances=1, samples=one), step, instances=1, waited_seconds=10_000
        )
        assert (seen.invalid, seen.samples) == (None, 6 + more)

    @pytest.mark.parametrize("periods", [1, 2])
    @pytest.mark.parametrize("instances", [2, 3, 8, 40])
    @pytest.mark.parametrize("more", [-1, 1])
    def test_in_a_window_of_few_periods_those_after_it_tell_who_is_there(
        self, more: int, instances: int, periods: int
    ) -> None:
        starts = STARTS[:periods]
        window = Window(start=START, end=START + periods * PERIOD)
        step = a_step(window=window, answers=periods * 1000, invocations=periods * 1000)

        def look(since: dict[int, float], waited_seconds: float) -> Observation:
            samples = dict.fromkeys(starts, float(instances)) | {START: float(instances + more)}
            cloudwatch = CloudWatch(instances, samples, since=since)
            return observed(
                cloudwatch,
                step,
                instances=instances,
                waited_seconds=waited_seconds,
                window=window,
            )

        there = {window.end: instances - more, window.end + PERIOD: float(instances)}
        seen = look(there, SHORT_DELAY_SECONDS + 1)
        assert (seen.invalid, seen.samples) == (None, periods * instances + more)
        if periods == 1:
            with pytest.raises(MetricsIncomplete):  # the periods after it may still come
                look({}, SHORT_DELAY_SECONDS)

    def test_a_sample_that_came_a_moment_after_the_window_is_not_waited_for(self) -> None:
        window = Window(start=START, end=START + PERIOD)
        step = a_step(window=window, answers=1000, invocations=1000)
        cloudwatch = CloudWatch(samples={START: 7.0}, since={window.end: 9.0})
        seen = observed(cloudwatch, step, waited_seconds=0, window=window)
        assert (seen.invalid, seen.samples) == (None, 7)

    @pytest.mark.parametrize("instances", [2, 8, 20, 60])
    def test_phases_and_jitter_never_make_a_window_of_one_period_invalid(
        self, instances: int
    ) -> None:
        rng = Random(instances)
        window = Window(start=START, end=START + PERIOD)
        step = a_step(window=window, answers=1000, invocations=1000)
        for _ in range(100):
            phases = [rng.random() for _ in range(instances)]
            published = Counter(
                START + PERIOD * math.floor(period + phase + 0.05 * rng.random())
                for phase in phases
                for period in range(-2, 5)
            )
            since = {start: float(published[start]) for start in STARTS[1:3]}
            cloudwatch = CloudWatch(instances, {START: float(published[START])}, since=since)
            seen = observed(
                cloudwatch,
                step,
                instances=instances,
                waited_seconds=LONGEST_DELAY_SECONDS + 1,
                window=window,
            )
            assert seen.invalid is None

    @pytest.mark.parametrize("more", [-1, 1])
    def test_who_is_silent_or_there_besides_is_so_after_a_window_of_one_period(
        self, more: int
    ) -> None:
        window = Window(start=START, end=START + PERIOD)
        step = a_step(window=window, answers=1000, invocations=1000)
        samples = dict.fromkeys(STARTS[:3], 8.0 + more)
        cloudwatch = CloudWatch(samples={START: samples.pop(START)}, since=samples)
        seen = observed(cloudwatch, step, waited_seconds=LONGEST_DELAY_SECONDS + 1, window=window)
        assert seen.invalid is not None

    def test_without_any_utilization_there_is_no_observation_ever(self) -> None:
        with pytest.raises(MetricsIncomplete):
            observed(CloudWatch(without=("CPUUtilization",)), waited_seconds=10_000)

    def test_a_gpu_types_gpu_must_have_reported_too(self) -> None:
        samples = dict.fromkeys(STARTS, 7.0)
        with pytest.raises(MetricsIncomplete, match="GPUUtilization"):
            observed(CloudWatch(gpu_samples=samples), instance_type=GPU_TYPE)


class TestInvalid:
    @pytest.mark.parametrize("requests", [985, 1000, 1015])
    def test_counts_within_two_percent_agree(self, requests: float) -> None:
        assert observed(CloudWatch(requests=requests)).invalid is None

    def test_more_invocations_than_the_load_generator_sent(self) -> None:
        seen = observed(CloudWatch(requests=1030))
        assert seen.invalid == "Invocations counts 6180, the load generator 6000"

    def test_a_few_requests_at_the_edges_are_no_disagreement(self) -> None:
        step = a_step(offered_tps=1, achieved_tps=1, answers=60, invocations=60)
        assert observed(CloudWatch(requests=10.5), step).invalid is None

    def test_requests_without_an_answer_may_have_been_counted(self) -> None:
        # A saturated endpoint: 30 % of the offered requests got no answer within the window.
        step = a_step(answers=4200, invocations=4200, errors={"timeout": 300}, achieved_tps=70)
        assert observed(CloudWatch(requests=700), step).invalid is None
        assert observed(CloudWatch(requests=1000), step).invalid is None
        assert observed(CloudWatch(requests=1050), step).invalid is not None

    def test_errors_of_the_model_that_the_load_generator_did_not_see(self) -> None:
        seen = observed(CloudWatch(errors_5xx=100))
        assert seen.invalid == "CloudWatch counts 600 errors of the model, the load generator 0"

    def test_errors_that_both_saw(self) -> None:
        step = a_step(errors={"model_error_500": 590, "model_error_400": 10})
        assert observed(CloudWatch(errors_5xx=98, errors_4xx=2), step).invalid is None

    def test_an_instance_that_joined(self) -> None:
        seen = observed(CloudWatch(samples=dict.fromkeys(STARTS, 9.0)))
        assert str(seen.invalid).startswith("the instance count changed: CPUUtilization has 54")
        half = dict.fromkeys(STARTS, 8.0) | dict.fromkeys(STARTS[3:], 11.0)
        seen = observed(CloudWatch(samples=half))
        assert str(seen.invalid).startswith("the instance count changed: CPUUtilization has 57")

    def test_a_third_instance_is_not_two_that_publish_more_often(self) -> None:
        seen = observed(CloudWatch(instances=2, samples=dict.fromkeys(STARTS, 3.0)), instances=2)
        assert str(seen.invalid).startswith("the instance count changed")

    @pytest.mark.parametrize("change", [-1, 1])
    def test_an_instance_that_comes_or_goes_in_the_window_is_no_matter_of_phases(
        self, change: int
    ) -> None:
        samples = dict.fromkeys(STARTS, 8.0 + change) | {START: 8.0}
        seen = observed(CloudWatch(samples=samples), waited_seconds=10_000)
        assert seen.invalid is not None

    def test_at_a_windows_edge_all_instances_may_be_a_moment_late(self) -> None:
        samples = dict.fromkeys(STARTS, 8.0) | {START: 2.0}
        seen = observed(CloudWatch(samples=samples), waited_seconds=10_000)
        assert (seen.invalid, seen.samples) == (None, 42)

    def test_one_sample_more_of_an_instance_is_its_phase(self) -> None:
        samples = dict.fromkeys(STARTS, 8.0) | {START + 40: 9.0, START + 50: 9.0}
        seen = observed(CloudWatch(samples=samples))
        assert (seen.invalid, seen.samples) == (None, 50)

    def test_a_sample_of_each_gpu_is_not_divided_by_their_number_again(self) -> None:
        each = dict.fromkeys(STARTS, 32.0)
        seen = observed(CloudWatch(gpu=65.0, gpu_samples=each), instance_type=GPU_TYPE)
        assert (seen.utilization_resource, seen.utilization_percent) == ("GPU", 65.0)
        assert seen.invalid is None

    def test_instances_may_publish_more_often_than_the_period(self) -> None:
        twice = dict.fromkeys(STARTS, 16.0)
        seen = observed(CloudWatch(samples=twice))
        assert seen.invalid is None
        assert (seen.samples, seen.instances_reporting) == (96, 8)

    @pytest.mark.parametrize(
        "offset, uncertainty, apart",
        [
            # 2 % of a minute.
            (1.19, 0.0, False),
            (1.21, 0.0, True),
            (-1.21, 0.0, True),
            # A date to the second leaves half of one open: it may be as little as 1.1 s.
            (1.6, 0.5, False),
            (-1.8, 0.5, True),
            (3600.0, 0.5, True),
            (0.0, 30.0, False),
        ],
    )
    def test_clocks_that_are_surely_apart(
        self, offset: float, uncertainty: float, apart: bool
    ) -> None:
        clock = ClockOffset(offset_seconds=offset, uncertainty_seconds=uncertainty)
        seen = observed(clock=clock)
        expected = (
            "the clocks of the load generator and of AWS are apart: "
            f"{offset:+.1f} s, known to {uncertainty:.1f} s"
        )
        assert seen.invalid == (expected if apart else None)

    @pytest.mark.parametrize("offset, apart", [(0.45, False), (0.55, True)])
    def test_of_a_short_window_half_a_second_is_tolerated(self, offset: float, apart: bool) -> None:
        clock = ClockOffset(offset_seconds=offset, uncertainty_seconds=0.0)
        step = a_step(answers=1000, invocations=1000)
        window = Window(start=START, end=START + 10)
        assert (observed(step=step, window=window, clock=clock).invalid is not None) == apart

    def test_every_reason_is_told(self) -> None:
        clock = ClockOffset(offset_seconds=5.0, uncertainty_seconds=0.1)
        seen = observed(CloudWatch(requests=1030), clock=clock)
        assert str(seen.invalid).count("; ") == 1
