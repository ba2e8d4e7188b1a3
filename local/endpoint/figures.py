"""What is seen of an endpoint: its metric periods, and the last second."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

#: Latencies are counted in geometric buckets, 0.5 % wide: at most 0.25 % off.
LATENCY_BUCKETS_PER_E = 200
_SHORTEST_LATENCY_SECONDS = 1e-6


@dataclass(frozen=True, slots=True)
class InstanceFigures:
    """One instance over about a metric period; percentages as SageMaker scales them."""

    #: When it was published: the end of what it covers, epoch seconds.
    at: float
    cpu_utilization: float
    memory_utilization: float
    disk_utilization: float
    #: None for types without GPUs.
    gpu_utilization: float | None
    gpu_memory_utilization: float | None
    concurrent_requests_min: int
    concurrent_requests_max: int


@dataclass(slots=True)
class PeriodFigures:
    """What an endpoint did in one metric period. Requests count where they were answered."""

    endpoint_name: str
    variant_name: str
    #: Epoch seconds.
    start: int
    invocations: int = 0
    errors_4xx: int = 0
    errors_5xx: int = 0
    model_errors: int = 0
    #: Invocations by how many instances were in service then.
    by_instance_count: dict[int, int] = field(default_factory=dict)
    #: Requests by latency bucket; ``latency_seconds`` gives a bucket's latency.
    model_latency: dict[int, int] = field(default_factory=dict)
    overhead_latency: dict[int, int] = field(default_factory=dict)
    #: What instances published in it, each on a phase of its own.
    instances: list[InstanceFigures] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class LiveFigures:
    """An endpoint over the last second or so."""

    arrivals_per_second: float
    #: Successful answers.
    answers_per_second: float
    #: Everything else that was answered.
    errors_per_second: float
    #: Busy share of all slots (vCPUs, or GPUs for GPU work), 0-100.
    utilization_percent: float
    #: CPUUtilization as SageMaker reports it, 0 to 100 x vCPUs: one for each instance.
    cpu_percent: tuple[float, ...]
    #: Of the cores that are set apart for model servers, what everything else used, 0-100.
    others_percent: float = 0.0


def latency_bucket(seconds: float) -> int:
    """The bucket of a latency."""
    return math.floor(math.log(max(seconds, _SHORTEST_LATENCY_SECONDS)) * LATENCY_BUCKETS_PER_E)


def latency_seconds(bucket: int) -> float:
    """The middle of a bucket."""
    return math.exp((bucket + 0.5) / LATENCY_BUCKETS_PER_E)
