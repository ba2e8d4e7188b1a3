"""Ways to search for the count, each run against a simulated endpoint: ours and two baselines."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random

from benchmarks.search import world
from sizing.catalogue.instance import InstanceFacts
from sizing.load_test.cost import (
    FLEET_START_SECONDS,
    METRICS_SECONDS,
    SCALE_SECONDS,
    load_test_seconds,
)
from sizing.load_test.observation import LoadTestRecord
from sizing.load_test.plan import LoadTestPlan, Purpose, Step
from sizing.load_test.verdict import judge, serves, usable
from sizing.request.request import parse_request
from sizing.request.sizing import Sizing
from sizing.search.answer import Answer, CandidateStatus
from sizing.search.search import baseline, next_load_test

INSTANCE_TYPE = "ml.m5.xlarge"
MOST_LOAD_TESTS = 20


@dataclass
class Outcome:
    """What became of one endpoint."""

    answer: int | None
    load_tests: list[LoadTestPlan] = field(default_factory=list)
    instance_minutes: float = 0.0
    interval: tuple[int, int] | None = None


def sizing_of(endpoint: world.Endpoint, prior: Outcome | None = None) -> Sizing:
    """The sizing that a user of this endpoint would ask for.

    Args:
        endpoint: The endpoint.
        prior: What an earlier sizing of it found; None if there was none.
    """
    target: dict[str, object] = {"tps": endpoint.tps}
    if endpoint.p99_limit_ms is not None:
        target["model_latency_p99_ms"] = endpoint.p99_limit_ms
    request = parse_request(
        {
            "model": {"model_name": "simulated"},
            "instance_types": [INSTANCE_TYPE],
            "payloads": {"inline": [{"body": "{}"}]},
            "target": target,
            "limits": {"max_instances": 1000, "max_load_tests": MOST_LOAD_TESTS},
        }
    )
    facts = InstanceFacts(
        instance_type=INSTANCE_TYPE, vcpus=endpoint.vcpus, memory_gib=16, hourly_price_usd=1.0
    )
    return Sizing(
        sizing_id="0" * 12,
        started_at=0.0,
        region="us-east-1",
        request=request,
        candidates=(facts,),
        prior_counts={INSTANCE_TYPE: prior.answer} if prior and prior.answer else {},
        prior_workers={INSTANCE_TYPE: prior.load_tests[-1].workers} if prior else {},
    )


class Bench:
    """One endpoint under test: runs load tests and keeps the account."""

    def __init__(
        self, endpoint: world.Endpoint, random: Random, prior: Outcome | None = None
    ) -> None:
        self.sizing = sizing_of(endpoint, prior)
        self.outcome = Outcome(None)
        self._endpoint, self._random = endpoint, random
        self._count = 0
        self._clock = 0.0

    def load_test(self, plan: LoadTestPlan) -> LoadTestRecord:
        """Run a planned load test."""
        record = world.run(
            self._endpoint,
            plan,
            self.sizing.request.measurement,
            self._random,
            self._clock,
        )
        seconds = load_test_seconds(self.sizing, plan) + FLEET_START_SECONDS + METRICS_SECONDS
        minutes = plan.instance_count * seconds / 60
        if self._count not in (0, plan.instance_count):
            minutes += self._count * SCALE_SECONDS / 60
        self._count = plan.instance_count
        self._clock += seconds
        self.outcome.load_tests.append(plan)
        self.outcome.instance_minutes += minutes
        return judge(self.sizing, record)


def search(bench: Bench) -> None:
    """The search that ships."""
    history: list[LoadTestRecord] = []
    step: LoadTestPlan | Answer = baseline(bench.sizing, bench.sizing.candidates[0])
    while isinstance(step, LoadTestPlan):
        history.append(bench.load_test(step))
        step = next_load_test(bench.sizing, history)
    candidate = step.candidates[0]
    if candidate.status is CandidateStatus.VERIFIED:
        bench.outcome.answer = candidate.instance_count
        bench.outcome.interval = candidate.count_interval


def plain_loop(bench: Bench) -> None:
    """One instance more until the target is served under the band's upper edge."""
    count = 0
    while True:
        count += 1
        record = _offer_target(bench, count)
        if all(serves(bench.sizing.request.target, seen) for seen in record.observations):
            bench.outcome.answer = count
            return


def by_hand(bench: Bench) -> None:
    """The method's: the saturation rate of one instance, times the band's middle, divided."""
    plan = baseline(bench.sizing, bench.sizing.candidates[0])
    record = bench.load_test(plan)
    target = bench.sizing.request.target
    saturation = record.saturation_tps or 0.0
    count = math.ceil(target.tps / (saturation * target.utilization_percent.middle / 100))
    _offer_target(bench, count)
    bench.outcome.answer = count


def _offer_target(bench: Bench, count: int) -> LoadTestRecord:
    """A load test of one step at the full target, with as many workers as it takes."""
    workers = 1
    while True:
        plan = LoadTestPlan(
            instance_type=INSTANCE_TYPE,
            instance_count=count,
            purpose=Purpose.VERIFY,
            steps=(Step(offered_tps=bench.sizing.request.target.tps),),
            workers=workers,
            worker_vcpus=1,
            reason="",
        )
        minutes = bench.outcome.instance_minutes
        record = bench.load_test(plan)
        if all(usable(seen) for seen in record.observations):
            return record
        # Not held against the baselines: they are given workers enough.
        bench.outcome.instance_minutes = minutes
        bench.outcome.load_tests.pop()
        workers *= 2
