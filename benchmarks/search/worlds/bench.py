"""The search that ships, run on a case as the state machine runs it."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from benchmarks.search.worlds.cloudwatch import Recording
from benchmarks.search.worlds.drawing import Case
from benchmarks.search.worlds.fleet import Site
from benchmarks.search.worlds.load_generator import NothingSucceededError, run
from sizing.catalogue.instance import InstanceFacts
from sizing.errors import MetricsIncomplete
from sizing.load_test.cost import (
    CREATE_SECONDS,
    FLEET_START_SECONDS,
    METRICS_SECONDS,
    SCALE_SECONDS,
)
from sizing.load_test.locust_result import LocustResult
from sizing.load_test.measurement import (
    LONGEST_DELAY_SECONDS,
    Measured,
    Metrics,
    observe,
    queries,
)
from sizing.load_test.observation import LoadTestRecord, Observation
from sizing.load_test.plan import LoadTestPlan
from sizing.load_test.verdict import judge
from sizing.request.request import parse_request
from sizing.request.sizing import Sizing
from sizing.result.result import Ending, Execution, build_result
from sizing.search.answer import Answer
from sizing.search.search import baseline, next_load_test

SIZING_ID = "0" * 12
MOST_INSTANCES = 1000
#: The request's default, and for more than one candidate so many for each.
_MOST_LOAD_TESTS, _LOAD_TESTS_EACH = 8, 4
#: After this many a search is taken to run on for ever.
_ENDLESS = 60
#: Not on a minute, as most load tests; each starts later by a part of an hour.
_EPOCH = 1_795_000_000


@dataclass
class Outcome:
    """What the search made of a case."""

    sizing: Sizing
    history: tuple[LoadTestRecord, ...] = ()
    answer: Answer | None = None
    #: ``result.json``, as it is recorded.
    result: dict[str, Any] | None = None
    #: What the search raised, if it did.
    crash: str | None = None

    @property
    def recommendation(self) -> dict[str, Any] | None:
        """The recommendation; None if no count is recommended."""
        return self.result.get("recommendation") if self.result is not None else None


def search(case: Case, random: Random) -> Outcome:
    """Size a case. What the search raises is noted, so that the others are still sized."""
    outcome = Outcome(sizing_of(case))
    try:
        _search(case, random, outcome)
    except Exception as error:  # noqa: BLE001 - a crash is a result of the benchmark
        outcome.crash = f"{type(error).__name__}: {error}"
    return outcome


def instance_type(index: int) -> str:
    """The name of a candidate."""
    return f"ml.w{index + 1}.xlarge"


def sizing_of(case: Case) -> Sizing:
    """The sizing that a user would ask for."""
    first = case.candidates[0].truth
    types = [instance_type(index) for index in range(len(case.candidates))]
    target: dict[str, object] = {"tps": first.tps}
    if first.p99_limit_ms is not None:
        target["model_latency_p99_ms"] = first.p99_limit_ms
    request = parse_request(
        {
            "model": {"model_name": "simulated"},
            "instance_types": types,
            "payloads": {"inline": [{"body": "{}"}]},
            "target": target,
            "limits": {
                "max_instances": MOST_INSTANCES,
                "max_load_tests": max(_MOST_LOAD_TESTS, _LOAD_TESTS_EACH * len(types)),
            },
        }
    )
    facts = [
        InstanceFacts(
            instance_type=name,
            vcpus=each.truth.vcpus,
            gpus=each.truth.gpus,
            memory_gib=16,
            hourly_price_usd=each.price,
        )
        for name, each in zip(types, case.candidates, strict=True)
    ]
    return Sizing(
        sizing_id=SIZING_ID,
        started_at=_EPOCH,
        region="us-east-1",
        request=request,
        candidates=tuple(facts),
        prior_counts={} if case.prior_count is None else {types[0]: case.prior_count},
        prior_workers={} if case.prior_count is None else {types[0]: 1},
    )


def _search(case: Case, random: Random, outcome: Outcome) -> None:
    sizing = outcome.sizing
    sites = {
        facts.instance_type: Site(candidate)
        for facts, candidate in zip(sizing.candidates, case.candidates, strict=True)
    }
    clock = _EPOCH + random.random() * 3600 + CREATE_SECONDS
    history: list[LoadTestRecord] = []
    for facts in sizing.candidates:
        plan = baseline(sizing, facts)
        history.append(load_test(sizing, plan, sites[facts.instance_type], clock, random))
    step = next_load_test(sizing, history)
    while isinstance(step, LoadTestPlan):
        if len(history) > _ENDLESS:
            raise RecursionError(f"no end after {len(history)} load tests: {step.reason}")
        clock = max(each.finished_at for each in history)
        site = sites[step.instance_type]
        if len(site.ages) != step.instance_count:
            clock += SCALE_SECONDS
        history.append(load_test(sizing, step, site, clock, random))
        step = next_load_test(sizing, history)
    outcome.history, outcome.answer = tuple(history), step
    outcome.result = build_result(
        Execution(SIZING_ID, history[-1].finished_at), Ending(step), sizing, history
    )


def load_test(
    sizing: Sizing, plan: LoadTestPlan, site: Site, started_at: float, random: Random
) -> LoadTestRecord:
    """Run a load test and measure it, as the measuring function does."""
    record = LoadTestRecord(
        load_test_id=plan.load_test_id(1),
        instance_type=plan.instance_type,
        instance_count=plan.instance_count,
        purpose=plan.purpose,
        workers=plan.workers,
        worker_vcpus=plan.worker_vcpus,
        reason=plan.reason,
        started_at=started_at,
        finished_at=started_at + FLEET_START_SECONDS + METRICS_SECONDS,
    )
    try:
        result, recording = run(site, sizing, plan, started_at + FLEET_START_SECONDS, random)
        seen = _observations(sizing, plan, result, recording)
    except (NothingSucceededError, MetricsIncomplete) as error:
        return record.model_copy(
            update={"error": type(error).__name__.removesuffix("Error"), "cause": str(error)}
        )
    measured = {
        "saturation_tps": result.saturation and result.saturation.tps,
        "saturation_bounded": result.saturation is not None and result.saturation.bounded,
        "observations": seen,
        "finished_at": result.finished_at + METRICS_SECONDS,
    }
    return judge(sizing, record.model_copy(update=measured))


def _observations(
    sizing: Sizing, plan: LoadTestPlan, result: LocustResult, recording: Recording
) -> tuple[Observation, ...]:
    facts = sizing.facts(plan.instance_type)
    period = recording.period_seconds
    measured = Measured(facts, plan.instance_count, period)
    observations = []
    for step in result.steps:
        window = step.window
        if window is None or window.start >= window.end:
            continue
        data = recording.answers(queries(window, facts, period), window)
        try:
            seen = observe(step, window, measured, Metrics(data, 0.0, result.clock))
        except MetricsIncomplete:
            # What is missing never comes; it is asked for until it is taken as lost.
            late = Metrics(data, LONGEST_DELAY_SECONDS + 1.0, result.clock)
            seen = observe(step, window, measured, late)
        if seen is not None:
            observations.append(seen)
    return tuple(observations)
