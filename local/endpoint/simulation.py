"""Endpoints as queues: who waits, who works, and what CloudWatch would be told of it.

Time is an argument everywhere (epoch seconds), so the simulation runs on an event loop's clock as
well as on a made-up one. All endpoints share one heap of events; each event happens at its own
exact time, however late the caller comes to process it, so throughput and utilization do not depend
on how punctual the process is.

An instance is a station of slots (its vCPUs, or GPUs) with one queue: a request holds a slot for
its CPU time, is off the CPU for ``wait_ms``, and is then answered. Without contention, n instances
of v slots serving requests of c seconds at a rate r are r * c / (n * v) utilized (utilization law).
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import heappop, heappush
from typing import Any, Literal

from local.endpoint.behaviour import ModelBehaviour

Routing = Literal["LEAST_OUTSTANDING_REQUESTS", "RANDOM"]

#: SageMaker gives a model container this long to answer an invocation.
INVOCATION_TIMEOUT_SECONDS = 60.0

#: Latencies are counted in geometric buckets, 0.5 % wide: at most 0.25 % off.
LATENCY_BUCKETS_PER_E = 200
_SHORTEST_LATENCY_SECONDS = 1e-6

#: DiskUtilization of each instance: nothing in a model's behaviour moves it.
DISK_PERCENT = 10.0

#: Live figures are over at least this long, and at most one sampling interval longer.
_LIVE_SECONDS = 1.0
_LIVE_SAMPLING_SECONDS = 0.25

#: Contention follows the utilization of about this long.
_CONTENTION_MEMORY_SECONDS = 1.0


class EndpointStatus(StrEnum):
    """The statuses of a SageMaker endpoint that a local one passes through."""

    CREATING = "Creating"
    IN_SERVICE = "InService"
    UPDATING = "Updating"
    FAILED = "Failed"


class Outcome(StrEnum):
    """How an invocation ended."""

    SUCCESS = "success"
    #: The endpoint has reached its ``throttle_tps``; no instance saw the request.
    THROTTLED = "throttled"
    #: The container found the request malformed (4xx).
    BAD_INPUT = "bad_input"
    #: The instance's queue was full (5xx).
    QUEUE_FULL = "queue_full"
    #: The container did not answer in time.
    TIMED_OUT = "timed_out"


Answered = Callable[[Outcome], None]


class EndpointBusyError(RuntimeError):
    """The endpoint is being created or updated, or has failed: it can't be changed."""


@dataclass(frozen=True, slots=True)
class InstanceFigures:
    """One instance over one full metric period; percentages as SageMaker scales them."""

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
    #: The instances that were in service for the whole period.
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


def latency_bucket(seconds: float) -> int:
    """The bucket of a latency."""
    return math.floor(math.log(max(seconds, _SHORTEST_LATENCY_SECONDS)) * LATENCY_BUCKETS_PER_E)


def latency_seconds(bucket: int) -> float:
    """The middle of a bucket."""
    return math.exp((bucket + 0.5) / LATENCY_BUCKETS_PER_E)


@dataclass(frozen=True, slots=True)
class EndpointSpec:
    """What an endpoint is made of, as its config says."""

    endpoint_name: str
    variant_name: str
    instance_type: str
    vcpus: int
    instance_count: int
    behaviour: ModelBehaviour
    routing: Routing
    metric_period_seconds: int
    gpus: int = 0


class _Invocation:
    __slots__ = ("answered", "arrived", "instance", "open")

    def __init__(self, arrived: float, instance: _Instance, answered: Answered) -> None:
        self.arrived = arrived
        self.instance = instance
        self.answered = answered
        self.open = True


class _Instance:
    """Slots and a queue. Keeps the integral of busy slots over time."""

    __slots__ = (
        "_busy_seconds",
        "_contention_level",
        "_updated",
        "busy",
        "in_service_since",
        "outstanding",
        "outstanding_max",
        "outstanding_min",
        "period_started_with",
        "position",
        "queue",
        "queue_is_watched",
        "slots",
    )

    def __init__(self, slots: int, now: float) -> None:
        self.slots = slots
        self.busy = 0
        self.queue: deque[_Invocation] = deque()
        self.queue_is_watched = False
        #: Index among the endpoint's instances; -1 once scaled in.
        self.position = -1
        self.in_service_since = now
        self.outstanding = self.outstanding_min = self.outstanding_max = 0
        self.period_started_with = 0.0
        self._busy_seconds = 0.0
        self._updated = now
        self._contention_level = 0.0

    def busy_seconds(self, at: float) -> float:
        """Slot-seconds worked since the instance started."""
        return self._busy_seconds + self.busy * (at - self._updated)

    def set_busy(self, at: float, busy: int) -> None:
        self._busy_seconds += self.busy * (at - self._updated)
        self._updated = at
        self.busy = busy

    def recent_utilization(self, at: float) -> float:
        """Exponentially weighted busy share, 0-1. To be asked before every ``set_busy``."""
        weight = 1.0 - math.exp((self._updated - at) / _CONTENTION_MEMORY_SECONDS)
        self._contention_level += weight * (self.busy / self.slots - self._contention_level)
        return self._contention_level


class SimulatedEndpoint:
    """One endpoint with one variant."""

    def __init__(self, simulation: Simulation, spec: EndpointSpec) -> None:
        now = simulation.now
        behaviour = spec.behaviour
        self.spec = spec
        self.status = EndpointStatus.CREATING
        self.failure_reason: str | None = None
        self.deleted = False
        #: Requests seen, answered with success, and answered otherwise, since creation.
        self.arrivals = self.answers = self.errors = 0
        self._simulation = simulation
        self._random = random.Random(spec.endpoint_name)
        self._instances: list[_Instance] = []
        # Outstanding requests of each instance: a plain list, because min() of it is fast.
        self._outstanding: list[int] = []
        self._next_position = 0
        self._is_random = spec.routing == "RANDOM"

        self._on_gpu = bool(behaviour.gpu_ms and spec.gpus)
        processors = spec.gpus if self._on_gpu else spec.vcpus
        slot_ms = behaviour.gpu_ms if self._on_gpu and behaviour.gpu_ms else behaviour.cpu_ms
        #: CPUs in use for each slot in use.
        self._cpus_per_slot = (
            min(behaviour.cpu_ms / slot_ms, spec.vcpus / processors) if self._on_gpu else 1.0
        )
        workers = behaviour.concurrency or processors
        self._slots = min(workers, processors)
        # Workers beyond the processors wait for one, as requests in the queue do.
        self._waiting_max = behaviour.queue_size + workers - self._slots
        self._wait = behaviour.wait_ms / 1000
        self._contention = behaviour.contention
        # Lognormal with the given mean m and coefficient of variation c:
        # sigma^2 = ln(1 + c^2), mu = ln(m) - sigma^2 / 2.
        variance = math.log1p(behaviour.cpu_ms_cv**2)
        self._mu = math.log(slot_ms / 1000) - variance / 2
        self._sigma = math.sqrt(variance)

        self._tokens = self._tokens_max = max(1.0, behaviour.throttle_tps or 0.0)
        self._tokens_at = now

        self._period = self._new_period(now)
        self._samples: deque[tuple[float, int, int, int, dict[_Instance, float]]] = deque(
            maxlen=math.ceil(_LIVE_SECONDS / _LIVE_SAMPLING_SECONDS) + 1
        )
        simulation.schedule(now + behaviour.startup_seconds, self._started, spec.instance_count)
        simulation.schedule(
            self._period.start + spec.metric_period_seconds, self._period_ended, None
        )
        self._sample(now, None)

    # --- Life of the endpoint ---------------------------------------------------------------

    @property
    def instance_count(self) -> int:
        """Instances in service."""
        return len(self._instances)

    def scale(self, now: float, instance_count: int) -> None:
        """Change the instance count; the instances there are serve on while it lasts.

        Raises:
            EndpointBusyError: The endpoint is not InService.
        """
        if self.status is not EndpointStatus.IN_SERVICE:
            raise EndpointBusyError(f"endpoint {self.spec.endpoint_name} is {self.status}")
        self.status = EndpointStatus.UPDATING
        self._simulation.schedule(
            now + self.spec.behaviour.startup_seconds, self._started, instance_count
        )

    def _started(self, at: float, instance_count: int) -> None:
        if self.deleted:
            return
        if self.spec.behaviour.fail_startup and self.status is EndpointStatus.CREATING:
            self.status = EndpointStatus.FAILED
            self.failure_reason = self.spec.behaviour.fail_startup
            return
        for scaled_in in self._instances[instance_count:]:
            scaled_in.position = -1
        self._instances = self._instances[:instance_count]
        while len(self._instances) < instance_count:
            self._instances.append(_Instance(self._slots, at))
        for position, instance in enumerate(self._instances):
            instance.position = position
        self._outstanding = [instance.outstanding for instance in self._instances]
        self._next_position = 0
        self.status = EndpointStatus.IN_SERVICE

    # --- Invocations ------------------------------------------------------------------------

    def invoke(self, now: float, answered: Answered) -> None:
        """Take a request; ``answered`` is called once, now or by a later ``advance``.

        The endpoint must have instances in service, and ``advance(now)`` been called.
        """
        self.arrivals += 1
        if self.spec.behaviour.throttle_tps and self._is_throttled(now):
            self.errors += 1
            answered(Outcome.THROTTLED)
            return
        instance = self._route()
        invocation = _Invocation(now, instance, answered)
        instance.outstanding += 1
        if instance.outstanding > instance.outstanding_max:
            instance.outstanding_max = instance.outstanding
        self._outstanding[instance.position] = instance.outstanding
        if instance.busy < instance.slots:
            self._start(now, invocation)
        elif len(instance.queue) < self._waiting_max:
            instance.queue.append(invocation)
            if not instance.queue_is_watched:
                instance.queue_is_watched = True
                self._simulation.schedule(
                    now + INVOCATION_TIMEOUT_SECONDS, self._queue_timed_out, instance
                )
        else:
            self._answer(now, invocation, Outcome.QUEUE_FULL)

    def refuse(self, now: float, answered: Answered) -> None:
        """Take a request whose body the container can't read: it answers 4xx at once."""
        self.arrivals += 1
        instance = self._route()
        instance.outstanding += 1
        self._answer(now, _Invocation(now, instance, answered), Outcome.BAD_INPUT)

    def reject(self) -> None:
        """Count a request that the platform answered itself (ValidationError)."""
        self.arrivals += 1
        self.errors += 1

    def _is_throttled(self, now: float) -> bool:
        """Token bucket that holds what one second lets through."""
        rate = self.spec.behaviour.throttle_tps or math.inf
        self._tokens = min(self._tokens_max, self._tokens + (now - self._tokens_at) * rate)
        self._tokens_at = now
        if self._tokens < 1:
            return True
        self._tokens -= 1
        return False

    def _route(self) -> _Instance:
        if self._is_random:
            return self._random.choice(self._instances)
        # Ties go round robin, or the first instance would be the hottest at low load.
        outstanding = self._outstanding
        least = min(outstanding)
        position = self._next_position
        try:
            position = outstanding.index(least, position)
        except ValueError:
            position = outstanding.index(least)
        self._next_position = (position + 1) % len(outstanding)
        return self._instances[position]

    def _start(self, at: float, invocation: _Invocation) -> None:
        instance = invocation.instance
        seconds = self._random.lognormvariate(self._mu, self._sigma)
        if self._contention:
            seconds *= 1 + self._contention * instance.recent_utilization(at)
        instance.set_busy(at, instance.busy + 1)
        self._simulation.schedule(at + seconds, self._left_slot, invocation)
        time_out = invocation.arrived + INVOCATION_TIMEOUT_SECONDS
        if at + seconds + self._wait > time_out > at:
            self._simulation.schedule(time_out, self._timed_out, invocation)

    def _left_slot(self, at: float, invocation: _Invocation) -> None:
        instance = invocation.instance
        if self._contention:
            instance.recent_utilization(at)
        instance.set_busy(at, instance.busy - 1)
        if self._wait:
            self._simulation.schedule(at + self._wait, self._succeeded, invocation)
        else:
            self._succeeded(at, invocation)
        if instance.queue:
            self._start(at, instance.queue.popleft())

    def _succeeded(self, at: float, invocation: _Invocation) -> None:
        self._answer(at, invocation, Outcome.SUCCESS)

    def _timed_out(self, at: float, invocation: _Invocation) -> None:
        self._answer(at, invocation, Outcome.TIMED_OUT)

    def _queue_timed_out(self, at: float, instance: _Instance) -> None:
        """Answer what has waited too long. It stays queued: the container does not know."""
        for invocation in instance.queue:
            time_out = invocation.arrived + INVOCATION_TIMEOUT_SECONDS
            if time_out > at:
                self._simulation.schedule(time_out, self._queue_timed_out, instance)
                return
            self._answer(at, invocation, Outcome.TIMED_OUT)
        instance.queue_is_watched = False

    def _answer(self, at: float, invocation: _Invocation, outcome: Outcome) -> None:
        if not invocation.open:
            return
        invocation.open = False
        instance = invocation.instance
        instance.outstanding -= 1
        if instance.outstanding < instance.outstanding_min:
            instance.outstanding_min = instance.outstanding
        if instance.position >= 0:
            self._outstanding[instance.position] = instance.outstanding

        period = self._period
        period.invocations += 1
        count = len(self._instances)
        period.by_instance_count[count] = period.by_instance_count.get(count, 0) + 1
        bucket = latency_bucket(at - invocation.arrived)
        period.model_latency[bucket] = period.model_latency.get(bucket, 0) + 1
        # The answer is due at `at` and goes out now: all of the difference is our own doing.
        bucket = latency_bucket(self._simulation.now - at)
        period.overhead_latency[bucket] = period.overhead_latency.get(bucket, 0) + 1
        if outcome is Outcome.SUCCESS:
            self.answers += 1
        else:
            self.errors += 1
            period.model_errors += 1
            if outcome is Outcome.BAD_INPUT:
                period.errors_4xx += 1
            elif outcome is Outcome.QUEUE_FULL:
                period.errors_5xx += 1
        invocation.answered(outcome)

    # --- Figures ----------------------------------------------------------------------------

    def _new_period(self, at: float) -> PeriodFigures:
        seconds = self.spec.metric_period_seconds
        return PeriodFigures(
            self.spec.endpoint_name, self.spec.variant_name, math.floor(at / seconds) * seconds
        )

    def _period_ended(self, at: float, _: None) -> None:
        if self.deleted:
            return
        period = self._period
        seconds = self.spec.metric_period_seconds
        for instance in self._instances:
            busy_seconds = instance.busy_seconds(at)
            if instance.in_service_since <= period.start:
                busy_slots = (busy_seconds - instance.period_started_with) / seconds
                period.instances.append(self._instance_figures(instance, busy_slots))
            instance.period_started_with = busy_seconds
            instance.outstanding_min = instance.outstanding_max = instance.outstanding
        self._period = self._new_period(at)
        self._simulation.schedule(at + seconds, self._period_ended, None)
        self._simulation.on_period(period)

    def _instance_figures(self, instance: _Instance, busy_slots: float) -> InstanceFigures:
        spec = self.spec
        gpu_utilization = gpu_memory = None
        if spec.gpus:
            gpu_utilization = 100 * busy_slots if self._on_gpu else 0.0
            gpu_memory = spec.gpus * spec.behaviour.memory_percent
        return InstanceFigures(
            cpu_utilization=100 * busy_slots * self._cpus_per_slot,
            memory_utilization=spec.behaviour.memory_percent,
            disk_utilization=DISK_PERCENT,
            gpu_utilization=gpu_utilization,
            gpu_memory_utilization=gpu_memory,
            concurrent_requests_min=instance.outstanding_min,
            concurrent_requests_max=instance.outstanding_max,
        )

    def delete(self) -> None:
        """Take no more requests; those at work are still answered."""
        self.deleted = True
        period, self._period = self._period, self._new_period(self._simulation.now)
        if period.invocations:
            self._simulation.on_period(period)

    def _sample(self, at: float, _: None) -> None:
        if self.deleted:
            return
        busy = {instance: instance.busy_seconds(at) for instance in self._instances}
        self._samples.append((at, self.arrivals, self.answers, self.errors, busy))
        self._simulation.schedule(at + _LIVE_SAMPLING_SECONDS, self._sample, None)

    def live(self, now: float) -> LiveFigures:
        """Figures since the oldest sample kept: over the last 1 to 1.25 seconds."""
        since, arrivals, answers, errors, busy_before = self._samples[0]
        seconds = max(now - since, 1e-9)
        busy_slots = [
            (instance.busy_seconds(now) - busy_before[instance]) / seconds
            if instance in busy_before
            else instance.busy_seconds(now) / max(now - instance.in_service_since, 1e-9)
            for instance in self._instances
        ]
        processors = (self.spec.gpus if self._on_gpu else self.spec.vcpus) * len(busy_slots)
        return LiveFigures(
            arrivals_per_second=(self.arrivals - arrivals) / seconds,
            answers_per_second=(self.answers - answers) / seconds,
            errors_per_second=(self.errors - errors) / seconds,
            utilization_percent=100 * sum(busy_slots) / processors if processors else 0.0,
            cpu_percent=tuple(100 * self._cpus_per_slot * slots for slots in busy_slots),
        )


class Simulation:
    """All endpoints of one process, on one clock."""

    def __init__(self, now: float, on_period: Callable[[PeriodFigures], None]) -> None:
        """Begin at a time.

        Args:
            now: Epoch seconds.
            on_period: Told at the end of every metric period of every endpoint.
        """
        self.now = now
        self.on_period = on_period
        self.endpoints: dict[str, SimulatedEndpoint] = {}
        self._events: list[tuple[float, int, Callable[[float, Any], None], Any]] = []
        self._scheduled = 0

    def create(self, spec: EndpointSpec) -> SimulatedEndpoint:
        """Create an endpoint, in status Creating.

        Raises:
            ValueError: There is one of that name.
        """
        if spec.endpoint_name in self.endpoints:
            raise ValueError(f"endpoint {spec.endpoint_name} exists already")
        endpoint = self.endpoints[spec.endpoint_name] = SimulatedEndpoint(self, spec)
        return endpoint

    def delete(self, endpoint_name: str) -> None:
        """Delete an endpoint, whatever its status; one that is not there is deleted already."""
        endpoint = self.endpoints.pop(endpoint_name, None)
        if endpoint is not None:
            endpoint.delete()

    def schedule(self, at: float, action: Callable[[float, Any], None], argument: object) -> None:
        """Have ``action(at, argument)`` called when the time has come."""
        self._scheduled += 1
        heappush(self._events, (at, self._scheduled, action, argument))

    def advance(self, now: float) -> None:
        """Let everything happen that is due by now, each at its own time."""
        self.now = now
        events = self._events
        while events and events[0][0] <= now:
            at, _, action, argument = heappop(events)
            action(at, argument)

    def next_event_at(self) -> float | None:
        """When the next thing happens; None if nothing will."""
        return self._events[0][0] if self._events else None
