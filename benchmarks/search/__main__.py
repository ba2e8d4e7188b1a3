"""How well the search does: ``python -m benchmarks.search --seed 1``."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[2] / "functions"))

from benchmarks.search import world
from sizing.answer import Answer, CandidateStatus
from sizing.cost import FLEET_START_SECONDS, METRICS_SECONDS, SCALE_SECONDS, load_test_seconds
from sizing.instance import InstanceFacts, Sizing
from sizing.load_test import LoadTestPlan, Purpose, Step
from sizing.observation import LoadTestRecord
from sizing.request import parse_request
from sizing.search import baseline, next_load_test
from sizing.verdict import judge, serves, usable

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


@dataclass
class Score:
    """Figures of one way to search, over all endpoints."""

    right: int = 0
    exact: int = 0
    over: int = 0
    regret: float = 0.0
    surplus: float = 0.0
    load_tests: int = 0
    worst: int = 0
    minutes: float = 0.0
    in_interval: int = 0
    endpoints: int = 0

    def add(self, endpoint: world.Endpoint, needed: int, outcome: Outcome) -> bool:
        """Count one outcome; True if it is right."""
        self.endpoints += 1
        self.load_tests += len(outcome.load_tests)
        self.worst = max(self.worst, len(outcome.load_tests))
        self.minutes += outcome.instance_minutes
        if outcome.answer is None:
            return False
        found = outcome.answer
        utilization = 100 * endpoint.utilization(endpoint.tps / found, found)
        in_band = utilization >= world.LOWER_EDGE and endpoint.feasible(found)
        right = in_band or found == needed
        self.right += right
        self.exact += found == needed
        self.over += utilization > world.UPPER_EDGE + 1
        self.regret += max(found - needed, 0) / needed
        self.surplus += max(found - needed, 0)
        if outcome.interval is not None:
            self.in_interval += outcome.interval[0] <= needed <= outcome.interval[1]
        return right

    def figures(self) -> dict[str, float]:
        """The figures by name."""
        n = self.endpoints
        return {
            "in_band_or_minimal": self.right / n,
            "exact": self.exact / n,
            "over_upper_edge": self.over / n,
            "cost_regret": self.regret / n,
            "instances_above_smallest": self.surplus / n,
            "mean_load_tests": self.load_tests / n,
            "worst_load_tests": self.worst,
            "instance_minutes": self.minutes / n,
            "needed_in_interval": self.in_interval / n,
        }


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark and print its table and its line of JSON."""
    parser = argparse.ArgumentParser(prog="benchmarks.search", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--endpoints", type=int, default=2000)
    parser.add_argument("--verbose", action="store_true", help="show the endpoints done wrong")
    arguments = parser.parse_args(argv)
    ways: dict[str, Callable[[Bench], None]] = {
        "search": search,
        "plain loop": plain_loop,
        "by hand": by_hand,
    }
    scores = {name: Score() for name in (*ways, "with prior", "latency-bound")}
    for index in range(arguments.endpoints):
        endpoint, needed = world.draw(Random(f"{arguments.seed}/{index}"))
        found = None
        for name, way in ways.items():
            bench = Bench(endpoint, Random(f"{arguments.seed}/{index}/{name}"))
            way(bench)
            right = scores[name].add(endpoint, needed, bench.outcome)
            if name == "search":
                found = bench.outcome
                if endpoint.latency_binds(needed):
                    scores["latency-bound"].add(endpoint, needed, bench.outcome)
                if arguments.verbose and (not right or len(bench.outcome.load_tests) > 3):
                    _tell(index, endpoint, needed, bench.outcome, right=right)
        if found is not None and found.answer is not None:
            bench = Bench(endpoint, Random(f"{arguments.seed}/{index}/prior"), prior=found)
            search(bench)
            scores["with prior"].add(endpoint, needed, bench.outcome)
    _table(scores)
    figures = scores["search"].figures()
    plain = scores["plain loop"].figures()
    prior = scores["with prior"].figures()
    line = {
        **{name: round(value, 4) for name, value in figures.items()},
        "instance_minutes_vs_plain_loop": round(
            figures["instance_minutes"] / plain["instance_minutes"], 4
        ),
        "mean_load_tests_with_prior": round(prior["mean_load_tests"], 4),
        "in_band_or_minimal_with_prior": round(prior["in_band_or_minimal"], 4),
        "seed": arguments.seed,
        "endpoints": arguments.endpoints,
    }
    print(json.dumps(line))


def _tell(
    index: int, endpoint: world.Endpoint, needed: int, outcome: Outcome, *, right: bool
) -> None:
    tests = [(plan.instance_count, plan.workers) for plan in outcome.load_tests]
    found = outcome.answer or 1
    truth = 100 * endpoint.utilization(endpoint.tps / found, found)
    best = 100 * endpoint.utilization(endpoint.tps / needed, needed)
    print(
        f"{'slow ' if right else 'WRONG'} #{index} needs {needed} ({best:.2f} %), "
        f"found {outcome.answer} ({truth:.2f} %), "
        f"interval {outcome.interval}, tests {tests}, limit {endpoint.p99_limit_ms}, "
        f"noise {endpoint.sample_noise}, c {endpoint.concurrency}/{endpoint.vcpus}, "
        f"tps {endpoint.tps:.3g}, client {endpoint.client_tps:.3g}"
    )


def _table(scores: dict[str, Score]) -> None:
    names = list(next(iter(scores.values())).figures())
    print(f"{'':28}" + "".join(f"{way:>14}" for way in scores))
    for name in names:
        row = "".join(f"{score.figures()[name]:14.4f}" for score in scores.values())
        print(f"{name:28}{row}")


if __name__ == "__main__":
    main()
