"""Endpoints without noise, whose right count is arithmetic: what tests of the search size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sizing.catalogue.instance import InstanceFacts
from sizing.load_test.observation import Latency, LoadTestRecord, Observation, Window, Workers
from sizing.load_test.plan import LoadTestPlan
from sizing.load_test.verdict import judge
from sizing.request.request import parse_request
from sizing.request.sizing import Sizing
from sizing.search.answer import Answer
from sizing.search.search import baseline, next_load_test

TYPE = "ml.m5.xlarge"
STEP_SECONDS = 90


@dataclass(frozen=True)
class ExactEndpoint:
    """An endpoint that does exactly what its figures say.

    Args:
        capacity: Requests per second that use one instance's CPU up.
        served_share: Share of the capacity that the container can make use of.
        latency_ms: Latency of a request on an idle instance.
        growth: p99 is ``latency_ms * (1 + growth * load / (1 - load))``.
        error_percent: Errors that have nothing to do with load.
        throttle_tps: The platform throttles above this rate.
        client_tps: Rate that one worker can drive.
        memory_percent: Memory in use.
        refused_power: A share of requests is refused that is half of this power of the load; None
            where none is.
        shared_tps: Requests per second of the whole fleet that something it shares can take; what
            is over waits, longer and longer. None where nothing is shared.
    """

    capacity: float
    served_share: float = 1.0
    latency_ms: float = 50.0
    growth: float = 0.1
    error_percent: float = 0.0
    throttle_tps: float | None = None
    client_tps: float = 20_000.0
    memory_percent: float = 40.0
    refused_power: float | None = None
    shared_tps: float | None = None

    def run(self, plan: LoadTestPlan, started_at: float = 0.0) -> LoadTestRecord:
        """What a load test shows."""
        n = plan.instance_count
        most = n * self.capacity * self.served_share
        saturation = min(most, self.client_tps * plan.workers) if plan.burst else None
        observations = []
        for index, step in enumerate(plan.steps):
            most_offered = (step.saturation_fraction or 0.0) * (saturation or 0.0)
            offered = step.offered_tps or most_offered
            if step.saturation_fraction is not None and offered > most_offered:
                continue
            window = started_at + STEP_SECONDS * index
            observations.append(self._observe(plan, offered, most, round(window)))
        return LoadTestRecord(
            load_test_id=plan.load_test_id(1),
            instance_type=plan.instance_type,
            instance_count=n,
            purpose=plan.purpose,
            saturation_tps=saturation,
            observations=tuple(observations),
            workers=plan.workers,
            worker_vcpus=plan.worker_vcpus,
            started_at=started_at,
            finished_at=started_at + STEP_SECONDS * len(plan.steps) + 60,
        )

    def _observe(self, plan: LoadTestPlan, offered: float, most: float, start: int) -> Observation:
        n = plan.instance_count
        reached = min(offered, self.throttle_tps or offered)
        load = min(reached / most, 0.999)
        served = min(reached, most) * (1 - self.error_percent / 100)
        if self.refused_power is not None:
            served = min(served, reached * (1 - load**self.refused_power / 2))
        utilization = 100 * min(reached, most) / (n * self.capacity)
        throttled = offered - reached
        failed = offered - served - throttled
        waits_ms = 0.0
        if self.shared_tps is not None and served > self.shared_tps:
            utilization *= self.shared_tps / served
            # On average, from half a minute to one and a half after the rate rose.
            waits_ms = 60_000.0 * (1 - self.shared_tps / served)
            served = self.shared_tps
        client_share = offered / (self.client_tps * plan.workers)
        return Observation(
            offered_tps=offered,
            achieved_tps=served,
            window=Window(start=start, end=start + 60),
            utilization_percent=utilization,
            cpu_utilization_raw=utilization * 4,
            memory_percent=self.memory_percent,
            model_latency_ms=Latency(
                mean=self.latency_ms + waits_ms,
                p50=self.latency_ms + waits_ms,
                p99=self.latency_ms * (1 + self.growth * load / (1 - load)) + waits_ms,
            ),
            overhead_latency_ms=Latency(mean=2.0),
            client_latency_ms=Latency(mean=self.latency_ms + 3 + waits_ms),
            error_percent=100 * (throttled + failed) / offered,
            errors={
                kind: round(60 * rate)
                for kind, rate in (("throttled", throttled), ("model_error_500", failed))
                if rate * 60 >= 1
            },
            workers=Workers(
                count=plan.workers, cpu_percent_max=min(100 * client_share, 100), lag_ms_p99=0.2
            ),
            invocations=round(60 * (served + failed)),
            client_invocations=round(60 * (served + failed)),
            samples=6 * n,
            utilization_standard_error=0.0,
            model_latency_p99_standard_error=0.0,
            instances_reporting=n,
            client_limited="a worker's CPU was used up" if client_share > 0.85 else None,
        )


def sizing_for(
    tps: float = 1000.0,
    *,
    prices: Mapping[str, float | None] | None = None,
    limits: Mapping[str, Any] | None = None,
    prior_counts: Mapping[str, int] | None = None,
    load: Mapping[str, Any] | None = None,
    vcpus: int = 4,
    **target: Any,
) -> Sizing:
    """A sizing of that target; other keyword arguments are fields of the target."""
    known = prices or {TYPE: 1.0}
    request = parse_request(
        {
            "model": {"model_name": "m"},
            "instance_types": list(known),
            "payloads": {"inline": [{"body": "{}"}]},
            "target": {"tps": tps, **target},
            "limits": {"max_instances": 200, **(limits or {})},
            "load": dict(load or {}),
        }
    )
    return Sizing(
        sizing_id="0123456789ab",
        started_at=0.0,
        region="us-east-1",
        request=request,
        candidates=tuple(
            InstanceFacts(instance_type=name, vcpus=vcpus, memory_gib=16, hourly_price_usd=price)
            for name, price in known.items()
        ),
        prior_counts=dict(prior_counts or {}),
    )


Change = Callable[[LoadTestRecord], LoadTestRecord]


def search(
    sizing: Sizing,
    endpoints: ExactEndpoint | Mapping[str, ExactEndpoint],
    change: Change = lambda record: record,
) -> tuple[Answer, list[LoadTestPlan]]:
    """Run a search to its end, the candidates' first load tests side by side as on AWS.

    Args:
        sizing: The sizing.
        endpoints: What each type, or every type, behaves like.
        change: What befalls each load test's record before it is judged.

    Returns:
        The answer, and the load tests in order.
    """

    def endpoint(name: str) -> ExactEndpoint:
        return endpoints if isinstance(endpoints, ExactEndpoint) else endpoints[name]

    def run(plan: LoadTestPlan, history: Sequence[LoadTestRecord]) -> LoadTestRecord:
        started_at = max((each.finished_at for each in history), default=0.0)
        record = change(endpoint(plan.instance_type).run(plan, started_at))
        return judge(sizing, record)

    plans = [baseline(sizing, facts) for facts in sizing.candidates]
    history = [run(plan, ()) for plan in plans]
    while isinstance(step := next_load_test(sizing, history), LoadTestPlan):
        plans.append(step)
        history.append(run(step, history))
        assert len(plans) <= 50, "the search does not end"
    return step, plans


def counts(plans: Sequence[LoadTestPlan]) -> list[int]:
    """Instance counts of load tests."""
    return [plan.instance_count for plan in plans]
