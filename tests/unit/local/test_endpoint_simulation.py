"""The simulated endpoint obeys queueing arithmetic, on a made-up clock."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from statistics import fmean, pstdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.endpoint.behaviour import DEFAULT_MODELS_FILE, ModelBehaviour, load_models
from local.endpoint.endpoint import EndpointBusyError, EndpointSpec, EndpointStatus, Routing
from local.endpoint.figures import PeriodFigures, latency_bucket, latency_seconds
from local.endpoint.simulation import Outcome, SimulatedEndpoint, Simulation

START = 1_800_000_000.0
PERIOD = 10


class World:
    """A simulation with one endpoint, and a record of everything it did."""

    def __init__(
        self,
        behaviour: ModelBehaviour,
        *,
        vcpus: int = 4,
        instance_count: int = 1,
        routing: Routing = "LEAST_OUTSTANDING_REQUESTS",
        gpus: int = 0,
        at: float = START,
        in_phase: bool = True,
    ) -> None:
        self.periods: list[PeriodFigures] = []
        self.simulation = Simulation(at, self.periods.append)
        self.endpoint: SimulatedEndpoint = self.simulation.create(
            EndpointSpec(
                endpoint_name="e",
                variant_name="AllTraffic",
                instance_type="ml.test",
                vcpus=vcpus,
                gpus=gpus,
                instance_count=instance_count,
                behaviour=behaviour,
                routing=routing,
                metric_period_seconds=PERIOD,
                in_phase=in_phase,
            )
        )
        self.simulation.advance(at)
        #: (arrived, answered, outcome) of each request.
        self.answers: list[tuple[float, float, Outcome]] = []

    def invoke(self, at: float) -> None:
        self.simulation.advance(at)
        self.endpoint.invoke(
            at, lambda outcome: self.answers.append((at, self.simulation.now, outcome))
        )

    def play(self, arrivals: Iterable[float], until: float) -> None:
        """Requests at these times, and everything else as soon as it is due."""
        for arrival in arrivals:
            self.drain(arrival)
            self.invoke(arrival)
        self.drain(until)

    def drain(self, until: float) -> None:
        while (at := self.simulation.next_event_at()) is not None and at <= until:
            self.simulation.advance(at)
        self.simulation.advance(until)

    def offer(self, tps: float, seconds: float, at: float = START) -> None:
        self.play((at + number / tps for number in range(int(tps * seconds))), at + seconds)

    def outcomes(self) -> Counter[Outcome]:
        return Counter(outcome for _, _, outcome in self.answers)

    def cpu(self) -> list[float]:
        """CPUUtilization of every instance in every full period after the first."""
        return [each.cpu_utilization for p in self.periods[1:] for each in p.instances]


def behaviour(**fields: object) -> ModelBehaviour:
    return ModelBehaviour.model_validate({"startup_seconds": 0, **fields})


class TestUtilizationLaw:
    @pytest.mark.parametrize(
        "vcpus, count, tps, cpu_ms, percent_of_slots",
        [
            (48, 8, 1000, 240, 62.5),
            (4, 1, 30, 60, 45.0),
            (2, 3, 100, 4, 6.7),
            (4, 7, 300, 60, 64.3),
        ],
    )
    def test_utilization_is_rate_times_cpu_time_over_slots(
        self, vcpus: int, count: int, tps: float, cpu_ms: float, percent_of_slots: float
    ) -> None:
        world = World(behaviour(cpu_ms=cpu_ms), vcpus=vcpus, instance_count=count)
        world.offer(tps, 40)
        assert fmean(world.cpu()) / vcpus == pytest.approx(percent_of_slots, rel=0.02)
        assert set(world.outcomes()) == {Outcome.SUCCESS}

    def test_one_instance_saturates_at_its_slots_over_the_cpu_time(self) -> None:
        world = World(behaviour(cpu_ms=240, wait_ms=5), vcpus=48)
        world.offer(300, 60)
        steady = [outcome for _, at, outcome in world.answers if at >= START + 20]
        assert steady.count(Outcome.SUCCESS) / 40 == pytest.approx(200, rel=0.01)
        assert steady.count(Outcome.QUEUE_FULL) / 40 == pytest.approx(100, rel=0.02)
        assert world.cpu() == pytest.approx([4800.0] * 5)

    def test_latency_at_saturation_is_the_full_queue_and_the_service(self) -> None:
        # 100 requests ahead at 200/s are 0.5 s; then 0.24 s of work and 5 ms off the CPU.
        world = World(behaviour(cpu_ms=240, queue_size=100), vcpus=48)
        world.offer(300, 30)
        latencies = [
            answered - arrived
            for arrived, answered, outcome in world.answers
            if outcome is Outcome.SUCCESS and arrived > START + 10
        ]
        assert fmean(latencies) == pytest.approx(0.745, rel=0.02)

    def test_service_times_have_the_mean_and_variation_asked_for(self) -> None:
        world = World(behaviour(cpu_ms=100, cpu_ms_cv=0.5, wait_ms=0), vcpus=4)
        world.play((START + number for number in range(20_000)), START + 20_001)
        times = [answered - arrived for arrived, answered, _ in world.answers]
        assert fmean(times) == pytest.approx(0.1, rel=0.02)
        assert pstdev(times) / fmean(times) == pytest.approx(0.5, rel=0.03)

    @pytest.mark.parametrize("contention", [0.3, -0.1])
    def test_contention_makes_requests_dearer_as_utilization_rises(self, contention: float) -> None:
        # u = r c (1 + k u) / v  has the solution  u = a / (1 - k a)  with  a = r c / v.
        world = World(behaviour(cpu_ms=50, contention=contention), vcpus=8, instance_count=2)
        world.offer(160, 60)
        idle = 160 * 0.050 / 16
        expected = 100 * idle / (1 - contention * idle)
        assert fmean(world.cpu()) / 8 == pytest.approx(expected, rel=0.02)

    def test_contention_holds_in_full_at_saturation_even_on_one_vcpu(self) -> None:
        world = World(behaviour(cpu_ms=50, contention=0.5), vcpus=1)
        world.offer(40, 60)
        steady = [o for _, at, o in world.answers if at >= START + 20]
        assert steady.count(Outcome.SUCCESS) / 40 == pytest.approx(1 / 0.075, rel=0.02)

    @pytest.mark.parametrize(
        "model, instance_type, vcpus, gpus, saturation_tps, cpu_percent",
        [
            ("distilbert-base-uncased-finetuned-sst-2-english", "ml.m5.12xlarge", 48, 0, 200, 4800),
            (
                "distilbert-base-uncased-finetuned-sst-2-english",
                "ml.c6i.24xlarge",
                96,
                0,
                533,
                9600,
            ),
            ("slow-summarizer", "ml.m5.xlarge", 4, 0, 2, 400),
            ("fast-ranker", "ml.m5.large", 2, 0, 500, 200),
            ("one-worker-classifier", "ml.m5.xlarge", 4, 0, 16.7, 100),
            ("contended-classifier", "ml.m5.xlarge", 4, 0, 44.4, 400),
            ("image-embedder", "ml.g5.xlarge", 4, 1, 50, 40),
        ],
    )
    def test_examples_behave_as_their_comments_say(
        self,
        model: str,
        instance_type: str,
        vcpus: int,
        gpus: int,
        saturation_tps: float,
        cpu_percent: float,
    ) -> None:
        example = load_models(DEFAULT_MODELS_FILE).behaviour(model, instance_type)
        world = World(example.model_copy(update={"startup_seconds": 0.0}), vcpus=vcpus, gpus=gpus)
        seconds = max(60, 600 / saturation_tps * 2)
        world.offer(saturation_tps * 1.3, seconds)
        steady = [o for _, at, o in world.answers if at >= START + seconds / 2]
        achieved = steady.count(Outcome.SUCCESS) / (seconds / 2)
        assert achieved == pytest.approx(saturation_tps, rel=0.03)
        assert world.cpu()[-1] == pytest.approx(cpu_percent, rel=0.02)


class TestQueue:
    def test_requests_are_served_in_order_then_refused(self) -> None:
        world = World(behaviour(cpu_ms=100, cpu_ms_cv=0, wait_ms=5, queue_size=1), vcpus=1)
        world.play([START, START, START], START + 1)
        assert [(round(at - START, 6), o) for _, at, o in world.answers] == [
            (0.0, Outcome.QUEUE_FULL),
            (0.105, Outcome.SUCCESS),
            (0.205, Outcome.SUCCESS),
        ]

    def test_time_off_the_cpu_holds_no_slot(self) -> None:
        world = World(behaviour(cpu_ms=10, cpu_ms_cv=0, wait_ms=500), vcpus=1)
        world.offer(90, 30)
        assert fmean(world.cpu()) == pytest.approx(90, rel=0.02)

    def test_fewer_workers_than_vcpus_cap_utilization(self) -> None:
        world = World(behaviour(cpu_ms=60, concurrency=2, queue_size=10), vcpus=8)
        world.offer(60, 40)
        assert world.cpu() == pytest.approx([200.0] * 3)
        assert world.outcomes()[Outcome.QUEUE_FULL] > 0

    def test_workers_beyond_the_vcpus_are_more_room_to_wait(self) -> None:
        fields = {"cpu_ms": 100, "cpu_ms_cv": 0, "queue_size": 1}
        world = World(behaviour(**fields, concurrency=5), vcpus=2)
        world.play([START] * 8, START + 5)
        assert world.outcomes() == {Outcome.SUCCESS: 6, Outcome.QUEUE_FULL: 2}

    def test_an_invocation_times_out_and_its_worker_goes_on(self) -> None:
        world = World(behaviour(cpu_ms=40_000, cpu_ms_cv=0, wait_ms=0), vcpus=1)
        world.play([START, START + 1, START + 2], START + 200)
        assert [(at - START, o) for _, at, o in world.answers] == [
            (40.0, Outcome.SUCCESS),
            (61.0, Outcome.TIMED_OUT),  # at work since 40
            (62.0, Outcome.TIMED_OUT),  # still queued
        ]
        # The container knew nothing of it: 120 seconds of work in all.
        busy = sum(i.cpu_utilization for p in world.periods for i in p.instances) / 100 * PERIOD
        assert busy == pytest.approx(120)
        assert sum(p.model_errors for p in world.periods) == 2
        assert sum(p.errors_5xx for p in world.periods) == 0

    def test_a_request_that_arrives_after_a_queue_timed_out_is_watched_as_well(self) -> None:
        world = World(behaviour(cpu_ms=150_000, cpu_ms_cv=0), vcpus=1)
        world.play([START, START + 1, START + 70], START + 400)
        timed_out = [at - START for _, at, o in world.answers if o is Outcome.TIMED_OUT]
        assert timed_out == [60.0, 61.0, 130.0]

    def test_a_body_that_is_not_understood_is_a_4xx_of_the_model(self) -> None:
        world = World(behaviour())
        outcomes: list[Outcome] = []
        world.endpoint.refuse(START, outcomes.append)
        world.drain(START + PERIOD)
        assert outcomes == [Outcome.BAD_INPUT]
        assert (world.periods[0].invocations, world.periods[0].errors_4xx) == (1, 1)

    def test_throttling_lets_the_rate_through_and_is_no_invocation(self) -> None:
        world = World(behaviour(cpu_ms=1, throttle_tps=50))
        world.offer(200, 30)
        outcomes = world.outcomes()
        # 50/s, and a second's worth of tokens saved up at the start.
        assert outcomes[Outcome.SUCCESS] == pytest.approx(30 * 50 + 50, abs=2)
        assert outcomes[Outcome.THROTTLED] == 30 * 200 - outcomes[Outcome.SUCCESS]
        assert sum(p.invocations for p in world.periods) == outcomes[Outcome.SUCCESS]

    def test_a_quiet_endpoint_saves_up_a_second_of_throttled_rate_at_most(self) -> None:
        world = World(behaviour(cpu_ms=1, throttle_tps=10))
        world.play([START + 3600] * 50, START + 3610)
        assert world.outcomes()[Outcome.SUCCESS] == 10

    @settings(max_examples=25, deadline=None)
    @given(
        seed=st.integers(0, 10_000),
        count=st.integers(1, 3),
        step_ms=st.sampled_from([1, 7, 50]),
        wait_ms=st.sampled_from([0, 5]),
    )
    def test_a_caller_that_is_late_changes_no_figure(
        self, seed: int, count: int, step_ms: int, wait_ms: int
    ) -> None:
        """Arrivals are at multiples of the step, which is all a late caller can see of them."""
        draw = random.Random(seed)
        arrivals = sorted(START + draw.randrange(4000) * step_ms / 1000 for _ in range(400))
        until = START + 4 * step_ms + 60
        model = behaviour(cpu_ms=30, queue_size=5, wait_ms=wait_ms)
        punctual, late = (World(model, vcpus=2, instance_count=count) for _ in range(2))
        punctual.play(arrivals, until)
        for arrival in arrivals:
            late.invoke(arrival)
        late.simulation.advance(until)
        assert late.outcomes() == punctual.outcomes()
        assert late.cpu() == pytest.approx(punctual.cpu())
        for one, other in zip(late.periods, punctual.periods, strict=True):
            assert one.model_latency == other.model_latency


class TestRouting:
    def test_least_outstanding_keeps_instances_even(self) -> None:
        world = World(behaviour(cpu_ms=100, cpu_ms_cv=1), vcpus=4, instance_count=5)
        for number in range(2000):
            world.drain(START + number / 150)
            world.invoke(START + number / 150)
            least = min(world.endpoint._outstanding)
            assert least == min(i.outstanding for i in world.endpoint._instances)
        world.drain(START + 60)
        of_instance = _busiest_and_idlest(world)
        assert of_instance[0] / of_instance[1] < 1.1

    def test_least_outstanding_shares_out_evenly_even_when_idle(self) -> None:
        world = World(behaviour(cpu_ms=10, cpu_ms_cv=0), vcpus=4, instance_count=4)
        world.offer(8, 40)
        busiest, idlest = _busiest_and_idlest(world)
        assert busiest == pytest.approx(idlest)

    def test_random_widens_the_gap_between_instances(self) -> None:
        ratios = {}
        routings: tuple[Routing, ...] = ("LEAST_OUTSTANDING_REQUESTS", "RANDOM")
        for routing in routings:
            world = World(behaviour(cpu_ms=100), vcpus=4, instance_count=6, routing=routing)
            world.offer(150, 40)
            busiest, idlest = _busiest_and_idlest(world)
            ratios[routing] = busiest / idlest
        assert ratios["RANDOM"] > 1.2 > 1.08 > ratios["LEAST_OUTSTANDING_REQUESTS"]


def _busiest_and_idlest(world: World) -> tuple[float, float]:
    loads = [each.cpu_utilization for each in world.periods[1].instances]
    return max(loads), min(loads)


class TestLife:
    def test_creating_then_in_service(self) -> None:
        world = World(ModelBehaviour(startup_seconds=3), instance_count=2)
        assert (world.endpoint.status, world.endpoint.instance_count) == ("Creating", 0)
        world.drain(START + 2.99)
        assert world.endpoint.status is EndpointStatus.CREATING
        world.drain(START + 3)
        assert (world.endpoint.status, world.endpoint.instance_count) == ("InService", 2)

    def test_a_start_that_fails(self) -> None:
        world = World(ModelBehaviour(startup_seconds=3, fail_startup="no ping"))
        world.drain(START + 3)
        assert world.endpoint.status is EndpointStatus.FAILED
        assert world.endpoint.failure_reason == "no ping"
        with pytest.raises(EndpointBusyError, match="Failed"):
            world.endpoint.scale(START + 4, 2)

    def test_updating_goes_on_serving_with_the_instances_there_are(self) -> None:
        world = World(ModelBehaviour(startup_seconds=2, cpu_ms=100, cpu_ms_cv=0), vcpus=1)
        world.drain(START + 3)
        world.endpoint.scale(START + 3, 3)
        assert (world.endpoint.status, world.endpoint.instance_count) == ("Updating", 1)
        with pytest.raises(EndpointBusyError, match="Updating"):
            world.endpoint.scale(START + 3, 4)
        world.play([START + 4, START + 4], START + 4.9)
        assert [at - START for _, at, _ in world.answers] == pytest.approx([4.105, 4.205])
        world.drain(START + 5)
        assert (world.endpoint.status, world.endpoint.instance_count) == ("InService", 3)

    def test_instances_scaled_in_answer_what_they_have(self) -> None:
        world = World(behaviour(cpu_ms=1000, cpu_ms_cv=0), vcpus=1, instance_count=3)
        world.play([START] * 9, START + 0.1)
        world.endpoint.scale(START + 0.1, 1)
        world.play([START + 0.2], START + 1.5)
        # The router's view of the one that is left, after all three have answered.
        assert world.endpoint._outstanding == [3]
        world.drain(START + 20)
        assert world.outcomes() == {Outcome.SUCCESS: 10}
        assert world.endpoint._outstanding == [0]

    def test_an_instance_reports_only_periods_it_served_in_full(self) -> None:
        world = World(behaviour(startup_seconds=1), at=START + 3)
        world.drain(START + 12)
        world.endpoint.scale(START + 12, 4)
        world.drain(START + 40)
        assert [(p.start - START, len(p.instances)) for p in world.periods] == [
            (0, 0),
            (10, 1),
            (20, 4),
            (30, 4),
        ]

    def test_instances_publish_on_their_own_phases_and_not_quite_regularly(self) -> None:
        periods, count = 60, 20
        world = World(behaviour(cpu_ms=60), instance_count=count, in_phase=False)
        world.offer(100, PERIOD * periods)
        # An instance that is on the edge of two periods leaves one of them out now and then.
        full = [len(period.instances) for period in world.periods[2:]]
        assert set(full) > {count}
        assert sum(full) == pytest.approx(count * len(full), abs=2)
        moments = [each.at for period in world.periods[2:] for each in period.instances]
        assert moments == sorted(moments)
        assert all(
            period.start <= each.at < period.start + PERIOD
            for period in world.periods
            for each in period.instances
        )
        assert len({round(moment % PERIOD) for moment in moments}) > PERIOD / 2
        # What they publish is what they did all the same.
        assert fmean(world.cpu()) / 4 == pytest.approx(100 * 100 * 0.06 / 4 / count, rel=0.04)

    def test_each_keeps_its_phase(self) -> None:
        world = World(behaviour(), in_phase=False)
        world.drain(START + 100 * PERIOD)
        phases = [each.at % PERIOD for p in world.periods[2:] for each in p.instances]
        assert len(phases) == pytest.approx(98, abs=1)
        assert 0.3 < max(phases) - min(phases) < 0.05 * PERIOD

    def test_deleting_hands_over_what_was_counted_and_then_says_nothing(self) -> None:
        world = World(behaviour(cpu_ms=10, cpu_ms_cv=0))
        world.play([START + 1, START + 2], START + 3)
        world.simulation.delete("e")
        world.simulation.delete("e")
        world.drain(START + 100)
        assert [(p.invocations, p.instances) for p in world.periods] == [(2, [])]
        assert world.simulation.next_event_at() is None

    def test_a_name_can_be_used_once(self) -> None:
        world = World(behaviour())
        with pytest.raises(ValueError, match="exists already"):
            world.simulation.create(world.endpoint.spec)


class TestFigures:
    def test_periods_are_aligned_and_count_what_was_answered_in_them(self) -> None:
        world = World(behaviour(cpu_ms=1000, cpu_ms_cv=0, wait_ms=0), at=START + 7)
        world.play([START + 7, START + 9.5], START + 20)
        assert [(p.start - START, p.invocations) for p in world.periods] == [(0, 1), (10, 1)]

    def test_a_request_counts_for_its_share_of_the_instances(self) -> None:
        world = World(behaviour(cpu_ms=10), instance_count=4)
        world.offer(10, 20)
        assert sum(p.by_instance_count[4] for p in world.periods) == 200

    def test_concurrent_requests_include_those_that_wait(self) -> None:
        world = World(behaviour(cpu_ms=1000, cpu_ms_cv=0), vcpus=2)
        world.play([START + 1] * 7, START + 20)
        first, second = (p.instances[0] for p in world.periods)
        assert (first.concurrent_requests_min, first.concurrent_requests_max) == (0, 7)
        assert (second.concurrent_requests_min, second.concurrent_requests_max) == (0, 0)

    def test_overhead_is_how_late_an_answer_goes_out(self) -> None:
        world = World(behaviour(cpu_ms=100, cpu_ms_cv=0, wait_ms=0))
        world.invoke(START)
        world.simulation.advance(START + 0.102)
        world.drain(START + 10)
        [overhead] = world.periods[0].overhead_latency
        [latency] = world.periods[0].model_latency
        assert latency_seconds(overhead) == pytest.approx(0.002, rel=0.003)
        assert latency_seconds(latency) == pytest.approx(0.1, rel=0.003)

    def test_gpu_work_holds_gpus_and_spends_cpu_time_meanwhile(self) -> None:
        world = World(behaviour(cpu_ms=10, gpu_ms=40), vcpus=16, gpus=2)
        world.offer(25, 40)
        gpu = [p.instances[0].gpu_utilization for p in world.periods[1:]]
        assert fmean(v for v in gpu if v is not None) == pytest.approx(100, rel=0.05)
        assert fmean(world.cpu()) == pytest.approx(25, rel=0.05)
        assert world.periods[0].instances[0].gpu_memory_utilization == 80

    def test_a_gpu_type_reports_idle_gpus_for_cpu_work(self) -> None:
        world = World(behaviour(cpu_ms=10), vcpus=16, gpus=2)
        world.offer(25, 20)
        assert world.periods[1].instances[0].gpu_utilization == 0
        assert fmean(world.cpu()) == pytest.approx(25, rel=0.05)

    def test_live_figures_are_of_the_last_second(self) -> None:
        world = World(behaviour(cpu_ms=50, cpu_ms_cv=0, queue_size=0), vcpus=2, instance_count=2)
        world.offer(20, 5)
        world.offer(120, 5, at=START + 5)
        live = world.endpoint.live(START + 10)
        assert live.arrivals_per_second == pytest.approx(120, rel=0.05)
        assert live.answers_per_second == pytest.approx(80, rel=0.1)
        assert live.errors_per_second == pytest.approx(40, rel=0.2)
        assert live.utilization_percent == pytest.approx(100, rel=0.05)
        assert live.cpu_percent == pytest.approx((200, 200), rel=0.05)
        world.drain(START + 12)
        live = world.endpoint.live(START + 12)
        assert live.answers_per_second == live.utilization_percent == 0

    def test_live_figures_before_anything_happened(self) -> None:
        world = World(ModelBehaviour(startup_seconds=5))
        live = world.endpoint.live(START)
        assert (live.arrivals_per_second, live.utilization_percent, live.cpu_percent) == (0, 0, ())

    @given(st.floats(1e-6, 100))
    def test_latency_buckets_are_at_most_a_quarter_percent_off(self, seconds: float) -> None:
        assert latency_seconds(latency_bucket(seconds)) == pytest.approx(seconds, rel=0.0026)
