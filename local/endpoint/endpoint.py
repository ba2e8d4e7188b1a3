"""An endpoint, whatever its instances are: routing, metric periods, and figures of the moment.

Time is an argument or the timeline's (epoch seconds), never read from a clock of its own.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Generic, Literal, TypeVar

from local.endpoint.behaviour import LocalModel
from local.endpoint.figures import InstanceFigures, LiveFigures, PeriodFigures, latency_bucket
from local.endpoint.timeline import Timeline

Routing = Literal["LEAST_OUTSTANDING_REQUESTS", "RANDOM"]

#: SageMaker gives a model container this long to answer an invocation.
INVOCATION_TIMEOUT_SECONDS: Final = 60.0
#: SageMaker's default of ContainerStartupHealthCheckTimeoutInSeconds: "Custom Inference Code with
#: Hosting Services" (Developer Guide) gives a container 8 minutes to answer its first ping.
CONTAINER_STARTUP_SECONDS: Final = 480

#: DiskUtilization of each instance: nothing that a local model does moves it.
DISK_PERCENT: Final = 10.0

#: Live figures are over at least this long, and at most one sampling interval longer.
_LIVE_SECONDS: Final = 1.0
_SHORTEST_SECONDS: Final = 1e-9
#: How much later than on its phase an instance may publish, as a share of the metric period.
#: SageMaker documents an interval, and neither an alignment nor how exactly it is kept.
_JITTER: Final = 0.05


class EndpointStatus(StrEnum):
    """The statuses of a SageMaker endpoint that a local one passes through."""

    CREATING = "Creating"
    IN_SERVICE = "InService"
    UPDATING = "Updating"
    FAILED = "Failed"


class EndpointBusyError(RuntimeError):
    """The endpoint is being created or updated, or has failed: it can't be changed."""


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """What an endpoint is made of, as its config says."""

    endpoint_name: str
    variant_name: str
    instance_type: str
    vcpus: int
    instance_count: int
    behaviour: LocalModel
    routing: Routing
    metric_period_seconds: int
    gpus: int = 0
    #: Of one instance; 0 for all that this machine has.
    memory_mib: int = 0
    container_startup_seconds: float = CONTAINER_STARTUP_SECONDS
    #: All instances publish at the very end of each metric period, which SageMaker does not
    #: promise: for tests that compute what a period must show.
    in_phase: bool = False


@dataclass(frozen=True, slots=True)
class Payload:
    """A request for the model, as the platform hands it on to a container."""

    body: bytes
    #: Names and values of the headers that go with it.
    headers: tuple[tuple[str, str], ...]
    content_type: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What a container answered."""

    #: HTTP status; 0 if there was no answer in time.
    status: int
    content_type: str
    body: bytes


#: Instead of a container's answer: the endpoint lets no more through, no instance saw the request.
THROTTLED: Final = Reply(429, "", b"")
TIMED_OUT: Final = Reply(
    0, "", b"Your invocation timed out while waiting for a response from container primary"
)

Replied = Callable[[Reply], None]


class Instance(ABC):
    """One instance of an endpoint, and its requests under way."""

    __slots__ = (
        "in_service_since",
        "outstanding",
        "outstanding_max",
        "outstanding_min",
        "period_started_at",
        "period_started_with",
        "phase",
        "position",
    )

    def __init__(self, now: float) -> None:
        #: Index among the instances that requests are routed to; -1 for none of them.
        self.position = -1
        self.in_service_since = now
        self.outstanding = self.outstanding_min = self.outstanding_max = 0
        #: How far into each metric period of the endpoint it publishes, as a share of the period;
        #: negative before it has done so.
        self.phase = -1.0
        #: When it published last, and its ``busy_seconds`` then.
        self.period_started_at = now
        self.period_started_with = 0.0

    @abstractmethod
    def busy_seconds(self, at: float) -> float:
        """Seconds that its processors have worked in all, summed over them."""


_InstanceT = TypeVar("_InstanceT", bound=Instance)


@dataclass(frozen=True, slots=True)
class Reading(Generic[_InstanceT]):
    """Counters of an endpoint at a time, epoch seconds."""

    at: float
    arrivals: int
    answers: int
    errors: int
    busy_seconds: dict[_InstanceT, float]
    #: Seconds that each instance's processors have worked for anything else, where that is known.
    others_seconds: dict[_InstanceT, float] = field(default_factory=dict)


class Endpoint(ABC, Generic[_InstanceT]):
    """One endpoint with one variant.

    Args:
        timeline: Where its metric periods come to their end.
        spec: What it is made of.
        on_period: Told at the end of each metric period.
        processors: vCPUs (GPUs for work on GPUs) that an instance works with.
        cpus_per_processor: vCPUs in use for each of them in use.
    """

    #: How often the live figures are renewed.
    live_sampling_seconds = 0.25

    def __init__(
        self,
        timeline: Timeline,
        spec: EndpointSpec,
        on_period: Callable[[PeriodFigures], None],
        *,
        processors: int,
        cpus_per_processor: float,
    ) -> None:
        now = timeline.now
        self.spec = spec
        self.status = EndpointStatus.CREATING
        self.failure_reason: str | None = None
        self.deleted = False
        #: Requests seen, answered with success, and answered otherwise, since creation.
        self.arrivals = self.answers = self.errors = 0
        self._timeline = timeline
        self._on_period = on_period
        self._processors = processors
        self._cpus_per_processor = cpus_per_processor
        self._random = random.Random(spec.endpoint_name)
        self._phases = random.Random(f"phases of {spec.endpoint_name}")
        self._instances: list[_InstanceT] = []
        self._routed_to: list[_InstanceT] = []
        # Outstanding requests of each of these: a plain list, because min() of it is fast.
        self._outstanding: list[int] = []
        self._next_position = 0
        self._is_random = spec.routing == "RANDOM"
        self._period = self._new_period(now)
        self._samples: deque[Reading[_InstanceT]] = deque(
            maxlen=math.ceil(_LIVE_SECONDS / self.live_sampling_seconds) + 1
        )
        timeline.schedule(self._period.start + spec.metric_period_seconds, self._period_ended, None)
        self._sample(now, None)

    @property
    def instance_count(self) -> int:
        """Instances in service."""
        return len(self._instances)

    # --- What the kinds of endpoints do each in their own way ---------------------------------

    @abstractmethod
    def scale(self, now: float, instance_count: int) -> None:
        """Change the instance count; the instances there are serve on while it lasts.

        Raises:
            EndpointBusyError: The endpoint is not InService.
        """

    @abstractmethod
    def take(self, now: float, payload: Payload, replied: Replied) -> None:
        """Take a request; ``replied`` is called once, now or later.

        The endpoint must have instances in service.
        """

    @abstractmethod
    def _memory_percent(self, instance: _InstanceT) -> float:
        """MemoryUtilization of an instance."""

    def _observed_at(self, at: float) -> float:
        """When ``busy_seconds`` is really read, in an event due at a time."""
        return at

    # --- Requests -----------------------------------------------------------------------------

    def reject(self) -> None:
        """Count a request that the platform answered itself (ValidationError)."""
        self.arrivals += 1
        self.errors += 1

    def _check_in_service(self) -> None:
        if self.status is not EndpointStatus.IN_SERVICE:
            raise EndpointBusyError(f"endpoint {self.spec.endpoint_name} is {self.status}")

    def _route_to(self, instances: Sequence[_InstanceT]) -> None:
        """From now on, requests go to these instances alone."""
        for former in self._routed_to:
            former.position = -1
        self._routed_to = list(instances)
        for position, instance in enumerate(self._routed_to):
            instance.position = position
        self._outstanding = [instance.outstanding for instance in self._routed_to]
        self._next_position = 0

    def _route(self) -> _InstanceT:
        if self._is_random:
            return self._random.choice(self._routed_to)
        # Ties go round robin, or the first instance would be the hottest at low load.
        outstanding = self._outstanding
        least = min(outstanding)
        position = self._next_position
        try:
            position = outstanding.index(least, position)
        except ValueError:
            position = outstanding.index(least)
        self._next_position = (position + 1) % len(outstanding)
        return self._routed_to[position]

    def _taken(self, instance: _InstanceT) -> None:
        """Count a request that an instance got."""
        instance.outstanding += 1
        if instance.outstanding > instance.outstanding_max:
            instance.outstanding_max = instance.outstanding
        if instance.position >= 0:
            self._outstanding[instance.position] = instance.outstanding

    def _answered(
        self, instance: _InstanceT, status: int, model_seconds: float, overhead_seconds: float
    ) -> None:
        """Count a request that an instance got and that is now answered.

        Args:
            instance: The instance.
            status: Of the container's answer; 0 for none.
            model_seconds: From the router to the container and back.
            overhead_seconds: All else that the platform took.
        """
        instance.outstanding -= 1
        if instance.outstanding < instance.outstanding_min:
            instance.outstanding_min = instance.outstanding
        if instance.position >= 0:
            self._outstanding[instance.position] = instance.outstanding

        period = self._period
        period.invocations += 1
        count = len(self._instances)
        period.by_instance_count[count] = period.by_instance_count.get(count, 0) + 1
        bucket = latency_bucket(model_seconds)
        period.model_latency[bucket] = period.model_latency.get(bucket, 0) + 1
        bucket = latency_bucket(overhead_seconds)
        period.overhead_latency[bucket] = period.overhead_latency.get(bucket, 0) + 1
        if 200 <= status < 300:
            self.answers += 1
            return
        self.errors += 1
        period.model_errors += 1
        if 400 <= status < 500:
            period.errors_4xx += 1
        elif 500 <= status < 600:
            period.errors_5xx += 1

    # --- Figures ------------------------------------------------------------------------------

    def _new_period(self, at: float) -> PeriodFigures:
        seconds = self.spec.metric_period_seconds
        return PeriodFigures(
            self.spec.endpoint_name, self.spec.variant_name, math.floor(at / seconds) * seconds
        )

    def _period_ended(self, at: float, _: None) -> None:
        if self.deleted:
            return
        for instance in self._instances:
            if self.spec.in_phase:
                self._publish(at, instance)
            else:
                self._timeline.schedule(at + self._next_phase(instance), self._publish, instance)
        period, self._period = self._period, self._new_period(at)
        self._timeline.schedule(at + self.spec.metric_period_seconds, self._period_ended, None)
        self._on_period(period)

    def _next_phase(self, instance: _InstanceT) -> float:
        """Seconds from a period's start until an instance publishes: its own phase, and jitter."""
        if instance.phase < 0:
            instance.phase = self._phases.random()
        share = instance.phase + _JITTER * self._phases.random()
        return share * self.spec.metric_period_seconds

    def _publish(self, at: float, instance: _InstanceT) -> None:
        """Add what an instance did since it published last, if it was in service all the time."""
        if self.deleted or instance not in self._instances:
            return
        busy_seconds, observed_at = instance.busy_seconds(at), self._observed_at(at)
        if instance.in_service_since <= at - self.spec.metric_period_seconds:
            worked = busy_seconds - instance.period_started_with
            busy = worked / max(observed_at - instance.period_started_at, _SHORTEST_SECONDS)
            self._period.instances.append(self._instance_figures(at, instance, busy))
        instance.period_started_at = observed_at
        instance.period_started_with = busy_seconds
        instance.outstanding_min = instance.outstanding_max = instance.outstanding

    def _instance_figures(self, at: float, instance: _InstanceT, busy: float) -> InstanceFigures:
        """Figures of an instance of whose processors so many were busy."""
        memory_percent = self._memory_percent(instance)
        gpu_utilization = gpu_memory = None
        if self.spec.gpus:
            gpu_utilization, gpu_memory = self._gpu_figures(busy, memory_percent)
        return InstanceFigures(
            at=at,
            cpu_utilization=100 * busy * self._cpus_per_processor,
            memory_utilization=memory_percent,
            disk_utilization=DISK_PERCENT,
            gpu_utilization=gpu_utilization,
            gpu_memory_utilization=gpu_memory,
            concurrent_requests_min=instance.outstanding_min,
            concurrent_requests_max=instance.outstanding_max,
        )

    def _gpu_figures(self, busy: float, memory_percent: float) -> tuple[float, float]:  # noqa: ARG002 - for those that use GPUs
        """GPUUtilization and GPUMemoryUtilization of an instance."""
        return 0.0, 0.0

    def delete(self) -> None:
        """Take no more requests; those at work are still answered."""
        self.deleted = True
        period, self._period = self._period, self._new_period(self._timeline.now)
        if period.invocations or period.instances:
            self._on_period(period)

    def _sample(self, at: float, _: None) -> None:
        if self.deleted:
            return
        self._samples.append(self._reading(at))
        self._timeline.schedule(at + self.live_sampling_seconds, self._sample, None)

    def _reading(self, at: float) -> Reading[_InstanceT]:
        busy_seconds = {each: each.busy_seconds(at) for each in self._instances}
        observed_at = self._observed_at(at)
        return Reading(observed_at, self.arrivals, self.answers, self.errors, busy_seconds)

    def live(self, now: float) -> LiveFigures:
        """Figures since the oldest sample kept: over the last second, or a sampling more."""
        return self._between(self._samples[0], self._reading(now))

    def _between(self, before: Reading[_InstanceT], now: Reading[_InstanceT]) -> LiveFigures:
        seconds = max(now.at - before.at, _SHORTEST_SECONDS)
        busy = [
            (worked - before.busy_seconds[each]) / seconds
            if each in before.busy_seconds
            else (worked - each.period_started_with)
            / max(now.at - each.period_started_at, _SHORTEST_SECONDS)
            for each, worked in now.busy_seconds.items()
        ]
        others = [
            seconds_of_others - before.others_seconds[each]
            for each, seconds_of_others in now.others_seconds.items()
            if each in before.others_seconds
        ]
        processors = self._processors * len(busy)
        return LiveFigures(
            arrivals_per_second=(now.arrivals - before.arrivals) / seconds,
            answers_per_second=(now.answers - before.answers) / seconds,
            errors_per_second=(now.errors - before.errors) / seconds,
            utilization_percent=100 * sum(busy) / processors if processors else 0.0,
            cpu_percent=tuple(100 * self._cpus_per_processor * each for each in busy),
            others_percent=100 * max(0.0, sum(others)) / (seconds * self._processors * len(others))
            if others
            else 0.0,
        )
