"""What load tests showed: Locust's figures and CloudWatch's, over the same steady windows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from statistics import fmean

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from sizing.errors import innermost
from sizing.load_test.plan import Purpose


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
    #: Requests that were due in the window, where chance decides; None of evenly spaced ones.
    requests_due: int | None = None
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
    #: The same of ``model_latency_ms.p99``, milliseconds, from the percentiles of the periods.
    model_latency_p99_standard_error: float | None = None
    #: Instances that reported at the least in any period of the window.
    instances_reporting: int
    #: How long the step warmed up before its window, seconds, and whether it was steady by then;
    #: None where nobody can tell.
    warm_up_seconds: float | None = None
    steady: bool | None = None
    #: Why the load generator could not keep its schedule; None if it could.
    client_limited: str | None = None
    #: Why the figures must not be used; None if they may be.
    invalid: str | None = None
    #: Given by ``sizing.verdict``.
    verdict: Verdict | None = None

    @property
    def due_tps(self) -> float:
        """Requests due per second: the rate that was offered, or what chance made of it."""
        if self.requests_due is None:
            return self.offered_tps
        return self.requests_due / (self.window.end - self.window.start)


def together(steps: Sequence[Observation]) -> Observation:
    """Steps at the same rate and count as one observation: sums, and means of what is a level.

    Percentiles are averaged as CloudWatch's are over periods. The window reaches from the first
    step's start to the last one's end.

    Args:
        steps: At least one, in the order they ran.
    """
    if len(steps) == 1:
        return steps[0]
    last = steps[-1]
    window = Window(start=steps[0].window.start, end=last.window.end)
    due = fmean(each.due_tps for each in steps) * (window.end - window.start)
    return last.model_copy(
        update={
            "achieved_tps": fmean(each.achieved_tps for each in steps),
            "requests_due": None if last.requests_due is None else round(due),
            "window": window,
            "utilization_percent": fmean(each.utilization_percent for each in steps),
            "cpu_utilization_raw": fmean(each.cpu_utilization_raw for each in steps),
            "gpu_utilization_raw": _mean([each.gpu_utilization_raw for each in steps]),
            "gpu_memory_utilization_raw": _mean(
                [each.gpu_memory_utilization_raw for each in steps]
            ),
            "hottest_instance_percent": _mean([each.hottest_instance_percent for each in steps]),
            "memory_percent": _mean([each.memory_percent for each in steps]),
            "disk_percent": _mean([each.disk_percent for each in steps]),
            "model_latency_ms": _mean_latency([each.model_latency_ms for each in steps]),
            "overhead_latency_ms": _mean_latency([each.overhead_latency_ms for each in steps]),
            "client_latency_ms": _mean_latency([each.client_latency_ms for each in steps]),
            "error_percent": fmean(each.error_percent for each in steps),
            "errors": dict(sum((Counter(each.errors) for each in steps), Counter())),
            "invocations": sum(each.invocations for each in steps),
            "client_invocations": sum(each.client_invocations for each in steps),
            "samples": sum(each.samples for each in steps),
            "utilization_standard_error": _mean_error(
                [each.utilization_standard_error for each in steps]
            ),
            "model_latency_p99_standard_error": _mean_error(
                [each.model_latency_p99_standard_error for each in steps]
            ),
            "instances_reporting": min(each.instances_reporting for each in steps),
        }
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _mean_error(errors: Sequence[float | None]) -> float | None:
    """Standard error of a mean of values with these standard errors."""
    known = [error for error in errors if error is not None]
    return math.hypot(*known) / len(known) if known else None


def _mean_latency(latencies: Sequence[Latency]) -> Latency:
    highest = [each.max for each in latencies if each.max is not None]
    return Latency(
        mean=_mean([each.mean for each in latencies]),
        p50=_mean([each.p50 for each in latencies]),
        p90=_mean([each.p90 for each in latencies]),
        p99=_mean([each.p99 for each in latencies]),
        max=max(highest, default=None),
    )


class LoadTestRecord(_Frozen):
    """One load test that was run, or that could not be."""

    load_test_id: str
    instance_type: str
    instance_count: int
    purpose: Purpose
    #: Highest rate of successful answers that the burst saw, per second.
    saturation_tps: float | None = None
    #: Whether the burst ended at a bound of the load generator's while throughput still grew: then
    #: nothing was saturated.
    saturation_bounded: bool = False
    #: One for each step that has a steady window, in the order they ran.
    observations: tuple[Observation, ...] = ()
    workers: int = 1
    worker_vcpus: int = 1
    #: Why this load test was run, and why with so many workers, as it was planned.
    reason: str = ""
    #: Epoch seconds: from before scaling and starting the tasks to the end of measuring.
    started_at: float = 0.0
    finished_at: float = 0.0
    #: Error name and cause if the endpoint could not be had or the load test broke.
    error: str | None = None
    cause: str | None = None
    #: Where the load test's files are: s3://bucket/prefix.
    files: str = ""
    #: Of the container that SageMaker deployed, ``sha256:...``; None if it does not say.
    image_digest: str | None = None

    @field_validator("cause")
    @classmethod
    def _in_plain_words(cls, cause: str | None, info: ValidationInfo) -> str | None:
        """Without what Lambda and Step Functions put around it."""
        error = info.data.get("error")
        return cause if cause is None or error is None else innermost(error, cause)[1] or error

    @property
    def within_reach(self) -> tuple[Observation, ...]:
        """The observations but those over the rate that the burst found, which tell no more."""
        most = self.saturation_tps
        if self.purpose is Purpose.VERIFY or most is None or self.saturation_bounded:
            return self.observations
        return tuple(
            seen
            for seen in self.observations
            if seen.offered_tps <= most or seen.achieved_tps >= most
        )
