"""CloudWatch's side of a load test, made up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sizing.catalogue.instance import InstanceFacts
from sizing.load_test.locust_result import LocustStep
from sizing.load_test.measurement import (
    INSTANCE_NAMESPACE,
    MetricData,
    MetricQuery,
    queries,
)
from sizing.load_test.observation import Latency, Window, Workers

PERIOD = 10
#: Not on a minute: most windows are not.
START = 1_795_000_020
WINDOW = Window(start=START, end=START + 60)
STARTS = range(WINDOW.start, WINDOW.end, PERIOD)

Series = dict[int, float]


def a_step(**changes: object) -> LocustStep:
    step: dict[str, object] = {
        "offered_tps": 100.0,
        "window": WINDOW,
        "achieved_tps": 100.0,
        "answers": 6000,
        "invocations": 6000,
        "error_percent": 0.0,
        "errors": {},
        "client_latency_ms": Latency(mean=260, p50=250, p90=300, p99=400, max=450),
        "workers": Workers(count=1, cpu_percent_max=20, lag_ms_p99=0.3),
    }
    return LocustStep.model_validate({**step, **changes})


@dataclass
class CloudWatch:
    """What CloudWatch holds of a window; each field a value, or values by period."""

    instances: int = 8
    samples: Mapping[int, float] | None = None
    cpu: float | Mapping[int, float] = 3000.0
    cpu_hottest: float = 3200.0
    gpu: float = 0.0
    gpu_samples: Mapping[int, float] | None = None
    requests: float = 1000.0  # a period
    errors_4xx: float = 0.0
    errors_5xx: float = 0.0
    #: Percentiles by the start of the period they hold for, microseconds.
    p99: Mapping[int, float] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    #: Samples in the periods after the window.
    since: Mapping[int, float] = field(default_factory=dict)

    def data(self, facts: InstanceFacts, window: Window = WINDOW) -> MetricData:
        """Answers to an observation's queries, as the adapter gives them."""
        return {query: self.series(query, window) for query in queries(window, facts, PERIOD)}

    def series(self, query: MetricQuery, window: Window) -> Series:
        if query.metric in self.without:
            return {}
        starts = range(window.start, window.end, query.period_seconds)
        found = {start: self._value(query, start) for start in starts}
        if query.namespace == INSTANCE_NAMESPACE and query.statistic == "SampleCount":
            found |= self.since
        return {start: value for start, value in found.items() if value is not None}

    def _value(self, query: MetricQuery, start: int) -> float | None:
        if query.statistic == "SampleCount":
            return self._sample_count(query, start)
        requests_in = self.requests * query.period_seconds / PERIOD
        cpu = self.cpu if isinstance(self.cpu, float) else self.cpu[start]
        return {
            ("CPUUtilization", "Average"): cpu,
            ("CPUUtilization", "Maximum"): self.cpu_hottest,
            ("MemoryUtilization", "Average"): 40.0,
            ("MemoryUtilization", "Maximum"): 41.0 + (start == START),
            ("DiskUtilization", "Average"): 10.0,
            ("DiskUtilization", "Maximum"): 11.0,
            ("GPUUtilization", "Average"): self.gpu,
            ("GPUUtilization", "Maximum"): self.gpu,
            ("GPUMemoryUtilization", "Average"): 30.0,
            ("GPUMemoryUtilization", "Maximum"): 35.0,
            ("Invocations", "Sum"): requests_in,
            ("Invocation4XXErrors", "Sum"): self.errors_4xx,
            ("Invocation5XXErrors", "Sum"): self.errors_5xx,
            ("ModelLatency", "Average"): 240_000.0,
            ("ModelLatency", "Maximum"): 500_000.0,
            ("ModelLatency", "p50"): 230_000.0,
            ("ModelLatency", "p90"): 290_000.0,
            ("ModelLatency", "p99"): self.p99.get(start, 390_000.0),
            ("OverheadLatency", "Average"): 1500.0,
        }[query.metric, query.statistic]

    def _sample_count(self, query: MetricQuery, start: int) -> float | None:
        if query.metric.endswith("Latency"):
            return self.requests * query.period_seconds / PERIOD
        samples = self.samples
        if query.metric.startswith("GPU"):
            samples = self.gpu_samples
        return float(self.instances) if samples is None else samples.get(start)
