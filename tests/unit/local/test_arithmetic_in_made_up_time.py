"""examples/arithmetic, sized on the local endpoint's own simulation, on a made-up clock.

Shipped are the search, its verdicts and the result; the local endpoint is the one that ``make
size`` loads. Only the load generator and the clock are missing, so nothing here depends on how busy
the machine is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate, repeat

import pytest

from local.endpoint.behaviour import DEFAULT_MODELS_FILE, ModelBehaviour, load_models
from local.endpoint.endpoint import EndpointSpec
from local.endpoint.figures import PeriodFigures, latency_seconds
from local.endpoint.instance_types import processors
from local.endpoint.simulation import Outcome, Simulation
from sizing.catalogue import instance_prices
from sizing.catalogue.instance import InstanceFacts
from sizing.load_test.observation import Latency, LoadTestRecord, Observation, Window, Workers
from sizing.load_test.plan import LoadTestPlan
from sizing.load_test.verdict import judge
from sizing.request.request import parse_request
from sizing.request.sizing import Sizing
from sizing.result.result import Ending, Execution, Result, build_result
from sizing.search.search import baseline, next_load_test
from tests.local import arithmetic_answers

START = 1_800_000_000
BURST_SECONDS = 10
DRAIN_SECONDS = 10
#: After a step's end an answer comes too late to count as served at its rate.
LATE_SECONDS = 1.0


class LoadTested:
    """An endpoint of a model, under the load that a plan offers."""

    def __init__(self, plan: LoadTestPlan, facts: InstanceFacts, model: ModelBehaviour) -> None:
        self._plan, self._facts, self._n = plan, facts, plan.instance_count
        self._periods: list[PeriodFigures] = []
        self._served: Counter[int] = Counter()
        self._simulation = Simulation(START, self._periods.append)
        self._endpoint = self._simulation.create(
            EndpointSpec(
                endpoint_name="e",
                variant_name="AllTraffic",
                instance_type=facts.instance_type,
                vcpus=facts.vcpus,
                instance_count=self._n,
                behaviour=model,
                routing="LEAST_OUTSTANDING_REQUESTS",
                metric_period_seconds=10,
                in_phase=True,
            )
        )
        self._until(START + model.startup_seconds)
        self.failure_reason = self._endpoint.failure_reason

    def record(self, number: int) -> LoadTestRecord:
        """What the load test shows."""
        saturation = self._burst() if self._plan.burst else None
        begin = math.ceil((self._simulation.now + DRAIN_SECONDS) / 10) * 10
        rates = [
            step.offered_tps or (step.saturation_fraction or 0.0) * (saturation or 0.0)
            for step in self._plan.steps
            if step.offered_tps is None
            or step.saturation_fraction is None
            or step.offered_tps <= step.saturation_fraction * (saturation or 0.0)
        ]
        for step, rate in enumerate(rates):
            for arrival in accumulate(
                repeat(1 / rate, math.floor(10 * rate) - 1), initial=begin + 10.0 * step
            ):
                self._until(arrival)
                self._endpoint.invoke(arrival, self._counted(step, begin + 10 * (step + 1)))
        self._until(begin + 10 * len(rates) + LATE_SECONDS)
        shown = {period.start: period for period in self._periods}
        return LoadTestRecord(
            load_test_id=self._plan.load_test_id(number),
            instance_type=self._facts.instance_type,
            instance_count=self._n,
            purpose=self._plan.purpose,
            saturation_tps=saturation,
            observations=tuple(
                self._seen(rate, self._served[step] / 10, shown[begin + 10 * step])
                for step, rate in enumerate(rates)
            ),
            started_at=START + 1000.0 * number,
            finished_at=START + 1000.0 * number + 500,
        )

    def _counted(self, step: int, end: int) -> Callable[[Outcome], None]:
        """Counts a request of a step as served if it is, without waiting in a queue that grows."""

        def answered(outcome: Outcome) -> None:
            in_time = self._simulation.now < end + LATE_SECONDS
            self._served[step] += outcome is Outcome.SUCCESS and in_time

        return answered

    def _burst(self) -> float:
        """Rate of successful answers while ever as many requests are open, per second."""
        end = self._simulation.now + BURST_SECONDS
        done = 0

        def answered(outcome: Outcome) -> None:
            nonlocal done
            done += outcome is Outcome.SUCCESS
            if self._simulation.now < end:
                self._simulation.schedule(self._simulation.now, again, None)

        def again(at: float, _: object) -> None:
            self._endpoint.invoke(at, answered)

        for _ in range(8 * self._facts.vcpus):
            self._endpoint.invoke(self._simulation.now, answered)
        self._until(end)
        return done / BURST_SECONDS

    def _until(self, at: float) -> None:
        while (due := self._simulation.next_event_at()) is not None and due <= at:
            self._simulation.advance(due)
        self._simulation.advance(at)

    def _seen(self, offered: float, achieved: float, period: PeriodFigures) -> Observation:
        answers = [
            latency_seconds(bucket) * 1000
            for bucket, count in sorted(period.model_latency.items())
            for _ in range(count)
        ]
        latency = Latency(
            mean=sum(answers) / len(answers),
            p50=answers[len(answers) // 2],
            p99=answers[math.ceil(0.99 * len(answers)) - 1],
        )
        raw = sum(each.cpu_utilization for each in period.instances) / len(period.instances)
        return Observation(
            offered_tps=offered,
            # Of a rate that does not go into the window whole, the last request is another's.
            achieved_tps=offered if 10 * (offered - achieved) < 1 else achieved,
            window=Window(start=period.start, end=period.start + 10),
            utilization_percent=raw / self._facts.vcpus,
            cpu_utilization_raw=raw,
            memory_percent=40.0,
            model_latency_ms=latency,
            overhead_latency_ms=Latency(mean=1.0),
            client_latency_ms=latency,
            error_percent=100 * period.errors_5xx / max(period.invocations, 1),
            workers=Workers(count=1, cpu_percent_max=5.0, lag_ms_p99=0.2),
            invocations=period.invocations,
            client_invocations=period.invocations,
            samples=len(period.instances),
            instances_reporting=len(period.instances),
        )


def size(example: str) -> Result:
    """Size an example to its end."""
    document = arithmetic_answers.document(example)
    request = parse_request(document)
    models = load_models(DEFAULT_MODELS_FILE)
    sizing = Sizing(
        sizing_id="0" * 12,
        started_at=float(START),
        region="us-east-1",
        request=request,
        candidates=tuple(
            InstanceFacts(
                instance_type=name,
                vcpus=processors(name).vcpus,
                memory_gib=16,
                hourly_price_usd=instance_prices.bundled(name, "us-east-1", "").usd_per_hour,
            )
            for name in request.instance_types
        ),
    )

    def run(plan: LoadTestPlan, history: Sequence[LoadTestRecord]) -> LoadTestRecord:
        model = models.behaviour(str(request.model.model_name), plan.instance_type)
        endpoint = LoadTested(plan, sizing.facts(plan.instance_type), model)
        if endpoint.failure_reason is None:
            return judge(sizing, endpoint.record(len(history) + 1))
        return LoadTestRecord(
            load_test_id=plan.load_test_id(1),
            instance_type=plan.instance_type,
            instance_count=plan.instance_count,
            purpose=plan.purpose,
            error="EndpointFailed",
            cause=endpoint.failure_reason,
        )

    history: list[LoadTestRecord] = []
    for facts in sizing.candidates:
        history.append(run(baseline(sizing, facts), history))
    while isinstance(step := next_load_test(sizing, history), LoadTestPlan):
        history.append(run(step, history))
    return Result.model_validate(
        build_result(Execution(sizing.sizing_id, START + 10_000.0), Ending(step), sizing, history)
    )


@pytest.mark.parametrize("example", arithmetic_answers.names())
def test_the_answer_is_what_arithmetic_says(example: str) -> None:
    result = size(example)
    arithmetic_answers.check(example, result)
    assert result.sizing.load_tests <= 4
