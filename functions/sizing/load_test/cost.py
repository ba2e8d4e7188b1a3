"""What load tests take and cost: estimates before each step, and the bill of a whole sizing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sizing.catalogue import prices
from sizing.catalogue.instance import InstanceFacts
from sizing.load_test.fleet import LEADER_VCPUS, plan_fleet
from sizing.load_test.observation import LoadTestRecord
from sizing.load_test.plan import LoadTestPlan, Purpose
from sizing.load_test.run import measured_by
from sizing.request.request import Measurement
from sizing.request.sizing import Sizing

#: Seconds that AWS takes, where this sizing has not seen it yet: an endpoint from Creating to
#: InService (5 to 10 minutes with a usual container), a change of its count, Fargate tasks from
#: RunTask to connected, metrics from the window's end until complete.
CREATE_SECONDS = 480.0
SCALE_SECONDS = 420.0
FLEET_START_SECONDS = 75.0
METRICS_SECONDS = 90.0
#: A burst doubles its concurrency some eight times before throughput stops growing.
_BURST_STAGES = 8
#: Seconds from the burst's end until its queue has drained, and from the last step to the files.
_DRAIN_SECONDS = 15.0
#: Memory of a Fargate task, GiB for each vCPU: the least that Fargate offers.
GIB_PER_VCPU = 2.0
#: State transitions of a whole sizing, and of each load test with its polling.
TRANSITIONS = 60
_TRANSITIONS_PER_LOAD_TEST = 60
#: Utilization metrics an endpoint publishes (CPU, memory, disk; GPU and its memory) and the
#: queries of one measurement.
_METRICS = 5
_QUERIES_PER_LOAD_TEST = 100
#: Errors of a load test whose endpoint did not come into service, or not at its count.
_NOT_IN_SERVICE = frozenset(
    {
        *("AccessDenied", "EndpointFailed", "EndpointTimedOut", "CapacityUnavailable"),
        "SmokeTestFailed",
    }
)
#: Load tests that the most common sizing takes after its baselines.
_USUAL_VERIFICATIONS = 2


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a sizing, or one of its load tests, is expected to take."""

    cost_usd: float
    minutes: float
    load_tests: int


def step_seconds(measurement: Measurement) -> float:
    """Length of one step, settling included, seconds: whole metric periods follow on another."""
    period = measurement.metric_period_seconds
    settle = math.ceil(measurement.settling_seconds / period) * period
    return settle + math.ceil(measurement.steady_seconds / period) * period


def load_test_seconds(sizing: Sizing, plan: LoadTestPlan) -> float:
    """How long requests are sent in a load test, seconds."""
    measurement = measured_by(plan, sizing.request.measurement)
    seconds = len(plan.steps) * step_seconds(measurement)
    seconds += measurement.metric_period_seconds + _DRAIN_SECONDS
    if plan.burst is not None:
        # The endpoint is warmed up first.
        seconds += measurement.settle_seconds + _BURST_STAGES * plan.burst.stage_seconds
    return seconds


def estimate_load_test(
    sizing: Sizing, plan: LoadTestPlan, history: Sequence[LoadTestRecord] = ()
) -> Estimate:
    """What a planned load test will take, with creating or scaling its endpoint.

    How long starting, scaling and measuring take is learnt from the load tests of this sizing,
    where there are any of the same purpose; AWS's usual durations stand in until then.
    """
    mine = [each for each in history if each.instance_type == plan.instance_type]
    scaled = bool(mine) and _count_after(mine) != plan.instance_count
    overhead = FLEET_START_SECONDS + METRICS_SECONDS
    overhead += SCALE_SECONDS if scaled else 0.0 if mine else CREATE_SECONDS
    seen = [
        each.finished_at - each.started_at - _window_seconds(each)
        for each in history
        if each.error is None and each.purpose is plan.purpose and each.observations
    ]
    if seen and (plan.purpose is Purpose.VERIFY or mine):
        overhead = max(seen)
    seconds = load_test_seconds(sizing, plan) + overhead
    cost = _endpoint_cost(sizing.facts(plan.instance_type), plan.instance_count, seconds)
    cost += fargate_cost(plan.workers, plan.worker_vcpus, seconds)
    cost += load_test_services_cost()
    for instance_type in _still_running(history) - {plan.instance_type}:
        # The fleet of a type that the search turns away from is shrunk to one instance.
        cost += _endpoint_cost(sizing.facts(instance_type), 1, seconds)
    return Estimate(cost, seconds / 60, 1)


def load_test_cost(sizing: Sizing, record: LoadTestRecord) -> float:
    """What one load test that was run has cost, USD."""
    seconds = max(record.finished_at - record.started_at, 0.0)
    return (
        _endpoint_cost(sizing.facts(record.instance_type), record.instance_count, seconds)
        + fargate_cost(record.workers, record.worker_vcpus, seconds)
        + load_test_services_cost()
    )


def load_test_services_cost() -> float:
    """What CloudWatch and Step Functions charge for one load test, USD."""
    return (
        _TRANSITIONS_PER_LOAD_TEST * prices.THOUSAND_TRANSITIONS_USD
        + _QUERIES_PER_LOAD_TEST * prices.CLOUDWATCH_THOUSAND_QUERIES_USD
    ) / 1000


def utilization_metrics_cost(seconds: float) -> float:
    """What CloudWatch charges for the metrics of an endpoint that runs so long, USD."""
    hours = seconds / 3600
    return _METRICS * prices.CLOUDWATCH_METRIC_MONTH_USD * hours / prices.HOURS_A_MONTH


def sizing_cost(sizing: Sizing, history: Sequence[LoadTestRecord], finished_at: float) -> float:
    """What a sizing has cost, USD.

    An endpoint is paid from the start of its first load test, at the count of its latest one,
    until the sizing's end, or at one instance while a later load test of another type follows;
    load generators while their load test runs.

    Args:
        sizing: The sizing.
        history: Its load tests.
        finished_at: When its endpoints were removed, or the time to count to, epoch seconds.
    """
    total = TRANSITIONS * prices.THOUSAND_TRANSITIONS_USD / 1000
    for facts in sizing.candidates:
        mine = sorted(
            (each for each in history if each.instance_type == facts.instance_type),
            key=lambda each: each.started_at,
        )
        mine = [each for each in mine if each.error not in _NOT_IN_SERVICE]
        for index, each in enumerate(mine):
            until = mine[index + 1].started_at if index + 1 < len(mine) else finished_at
            turned = min(max(_turned_away_at(each, history), each.started_at), until)
            total += _endpoint_cost(facts, each.instance_count, turned - each.started_at)
            total += _endpoint_cost(facts, 1, until - turned)
            ran = max(each.finished_at - each.started_at, 0.0)
            total += fargate_cost(each.workers, each.worker_vcpus, ran)
            total += load_test_services_cost()
        if mine:
            total += utilization_metrics_cost(max(finished_at - mine[0].started_at, 0.0))
    return total


def load_tests_run(history: Sequence[LoadTestRecord]) -> int:
    """Load tests that ran, as ``limits.max_load_tests`` counts them: what they showed or not."""
    return sum(1 for each in history if each.error is None or each.observations)


def minutes_so_far(sizing: Sizing, history: Sequence[LoadTestRecord]) -> float:
    """Minutes from the sizing's start to the end of its latest load test."""
    latest = max((each.finished_at for each in history), default=sizing.started_at)
    return max(latest - sizing.started_at, 0.0) / 60


def estimate(sizing: Sizing, baselines: Sequence[LoadTestPlan]) -> Estimate:
    """What a sizing will take at the most, if all goes as it usually does.

    Args:
        sizing: The sizing.
        baselines: The first load test of each candidate; they run side by side.

    Returns:
        Cost and minutes with the dearest candidate verified at the most instances allowed.
    """
    limits = sizing.request.limits
    first = [estimate_load_test(sizing, plan) for plan in baselines]
    rest = min(_USUAL_VERIFICATIONS, max(limits.max_load_tests - len(baselines), 0))
    fleet = plan_fleet(sizing.request.load, sizing.body_bytes, sizing.request.target.tps)
    seconds = (
        3 * step_seconds(sizing.request.measurement)
        + SCALE_SECONDS
        + FLEET_START_SECONDS
        + METRICS_SECONDS
    )
    dearest = max(
        _endpoint_cost(
            facts,
            sizing.prior_counts.get(facts.instance_type, sizing.max_instances(facts.instance_type)),
            1,
        )
        for facts in sizing.candidates
    )
    idle = sum(_endpoint_cost(facts, 1, 1) for facts in sizing.candidates)
    verify = (dearest + idle) * seconds
    verify += fargate_cost(fleet.workers, fleet.worker_vcpus, seconds) + load_test_services_cost()
    return Estimate(
        cost_usd=sum(each.cost_usd for each in first) + rest * verify,
        minutes=max(each.minutes for each in first) + rest * seconds / 60,
        load_tests=len(baselines) + rest,
    )


def _endpoint_cost(facts: InstanceFacts, count: int, seconds: float) -> float:
    return (facts.hourly_price_usd or 0.0) * count * seconds / 3600


def fargate_cost(workers: int, worker_vcpus: int, seconds: float) -> float:
    """What workers and leader cost in so many seconds, USD."""
    vcpus = workers * worker_vcpus + LEADER_VCPUS
    hourly = prices.FARGATE_VCPU_HOUR_USD + GIB_PER_VCPU * prices.FARGATE_GIB_HOUR_USD
    return vcpus * hourly * seconds / 3600


def _count_after(mine: Sequence[LoadTestRecord]) -> int:
    return max(mine, key=lambda each: each.started_at).instance_count


def _still_running(history: Sequence[LoadTestRecord]) -> set[str]:
    """The types whose endpoints run after these load tests."""
    return {each.instance_type for each in history if each.error not in _NOT_IN_SERVICE}


def _turned_away_at(record: LoadTestRecord, history: Sequence[LoadTestRecord]) -> float:
    """When the first load test of another type followed, epoch seconds; never if none did."""
    return min(
        (
            each.started_at
            for each in history
            if each.instance_type != record.instance_type and each.started_at >= record.finished_at
        ),
        default=math.inf,
    )


def _window_seconds(record: LoadTestRecord) -> float:
    starts = [seen.window.start for seen in record.observations]
    ends = [seen.window.end for seen in record.observations]
    return float(max(ends) - min(starts))
