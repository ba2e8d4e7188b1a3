"""What load tests showed: Locust's figures and CloudWatch's, over the same steady windows."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from sizing.load_test import Purpose


class Verdict(StrEnum):
    """What an observation means for the instance count it was made at."""

    IN_BAND = "IN_BAND"
    OVERLOADED = "OVERLOADED"
    UNDERUSED = "UNDERUSED"
    LATENCY_LIMITED = "LATENCY_LIMITED"
    CONTAINER_LIMITED = "CONTAINER_LIMITED"
    CLIENT_LIMITED = "CLIENT_LIMITED"
    INVALID = "INVALID"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Window(_Frozen):
    """A steady window, epoch seconds, multiples of the metric period; the end is exclusive."""

    start: int
    end: int


class Latency(_Frozen):
    """Latency of the requests completed in a window, milliseconds; None where not published."""

    mean: float | None = None
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    max: float | None = None


class Workers(_Frozen):
    """How the load generators themselves fared during a step."""

    count: int
    #: CPU of the busiest worker, percent of its task's share.
    cpu_percent_max: float
    #: 99th percentile of how late the scheduler started requests, milliseconds.
    lag_ms_p99: float
    connection_wait_ms_p99: float = 0.0
    #: CPU time of all processes of the load test over the window's length, cores.
    cpu_cores_used: float = 0.0


class Observation(_Frozen):
    """One step of a load test."""

    offered_tps: float
    #: Successful answers per second.
    achieved_tps: float
    window: Window
    #: Mean over instances and periods of the busiest resource, percent of that resource.
    utilization_percent: float
    #: The resource that utilization speaks of: "CPU" or "GPU".
    utilization_resource: str = "CPU"
    #: CPUUtilization as SageMaker reports it: 0 to 100 x vCPUs, mean over instances and periods.
    cpu_utilization_raw: float
    #: The same of GPUUtilization, 0 to 100 x GPUs; None for types without a GPU.
    gpu_utilization_raw: float | None = None
    #: 0 to 100 x GPUs.
    gpu_memory_utilization_raw: float | None = None
    #: Utilization of the hottest single instance, percent.
    hottest_instance_percent: float | None = None
    memory_percent: float | None = None
    disk_percent: float | None = None
    model_latency_ms: Latency
    overhead_latency_ms: Latency
    client_latency_ms: Latency
    error_percent: float
    errors: dict[str, int] = Field(default_factory=dict)
    workers: Workers
    #: Requests that reached the model: CloudWatch's count, and the client's of the same window.
    invocations: int
    client_invocations: int
    #: Samples (one an instance and period) that the utilization rests on.
    samples: int
    #: Standard error of ``utilization_percent`` from the scatter of its periods, percent; None
    #: where fewer than three periods leave it unknown.
    utilization_standard_error: float | None = None
    #: Instances that reported at the least in any period of the window.
    instances_reporting: int
    #: Why the load generator could not keep its schedule; None if it could.
    client_limited: str | None = None
    #: Why the figures must not be used; None if they may be.
    invalid: str | None = None
    #: Given by ``sizing.verdict``.
    verdict: Verdict | None = None


class LoadTestRecord(_Frozen):
    """One load test that was run, or that could not be."""

    load_test_id: str
    instance_type: str
    instance_count: int
    purpose: Purpose
    #: Highest rate of successful answers that the burst saw, per second.
    saturation_tps: float | None = None
    #: One for each step that has a steady window, in the order they ran.
    observations: tuple[Observation, ...] = ()
    workers: int = 1
    worker_vcpus: int = 1
    #: Epoch seconds: from before scaling and starting the tasks to the end of measuring.
    started_at: float = 0.0
    finished_at: float = 0.0
    #: Error name and cause if the endpoint could not be had or the load test broke.
    error: str | None = None
    cause: str | None = None
    #: Where the load test's files are: s3://bucket/prefix.
    files: str = ""
