"""Simulated endpoints as queues: who waits, who works, and what CloudWatch would be told of it.

Time is an argument everywhere (epoch seconds), so the simulation runs on an event loop's clock as
well as on a made-up one. All endpoints share one timeline; each event happens at its own exact
time, however late the caller comes to process it, so throughput and utilization do not depend on
how punctual the process is.

An instance is a station of slots (its vCPUs, or GPUs) with one queue: a request holds a slot for
its CPU time, is off the CPU for ``wait_ms``, and is then answered. Without contention, n instances
of v slots serving requests of c seconds at a rate r are r * c / (n * v) utilized (utilization law).
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, TypeVar

from local.endpoint.behaviour import ModelBehaviour
from local.endpoint.endpoint import (
    INVOCATION_TIMEOUT_SECONDS,
    THROTTLED,
    TIMED_OUT,
    Endpoint,
    EndpointSpec,
    EndpointStatus,
    Instance,
    Payload,
    Replied,
    Reply,
)
from local.endpoint.figures import PeriodFigures
from local.endpoint.timeline import Timeline

#: Contention follows the utilization of about this long.
_CONTENTION_MEMORY_SECONDS = 1.0

_JSON: Final = "application/json"
_SUCCESS: Final = Reply(200, _JSON, b'[{"label":"POSITIVE","score":0.9998}]')
#: Bodies up to this size are remembered as valid JSON or not; a load test sends few different ones.
_REMEMBERED_BODY_BYTES: Final = 4096


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


def _error(status: int, kind: str, message: str) -> Reply:
    document = {"code": status, "type": kind, "message": message}
    return Reply(status, _JSON, json.dumps(document).encode())


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True


_is_json_remembered = lru_cache(maxsize=4096)(_is_json)


def _accepted(payload: Payload) -> bool:
    """Whether the model's container can read the body: what is called JSON has to be JSON."""
    if not payload.content_type.startswith(_JSON):
        return True
    body = payload.body
    return _is_json_remembered(body) if len(body) <= _REMEMBERED_BODY_BYTES else _is_json(body)


class _Invocation:
    __slots__ = ("answered", "arrived", "instance", "open")

    def __init__(self, arrived: float, instance: _Instance, answered: Answered) -> None:
        self.arrived = arrived
        self.instance = instance
        self.answered = answered
        self.open = True


class _Instance(Instance):
    """Slots and a queue. Keeps the integral of busy slots over time."""

    __slots__ = (
        "_busy_seconds",
        "_contention_level",
        "_updated",
        "busy",
        "queue",
        "queue_is_watched",
        "slots",
    )

    def __init__(self, slots: int, now: float) -> None:
        super().__init__(now)
        self.slots = slots
        self.busy = 0
        self.queue: deque[_Invocation] = deque()
        self.queue_is_watched = False
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


class SimulatedEndpoint(Endpoint[_Instance]):
    """One endpoint whose instances are queues."""

    def __init__(
        self,
        timeline: Timeline,
        spec: EndpointSpec,
        on_period: Callable[[PeriodFigures], None],
    ) -> None:
        behaviour = spec.behaviour
        assert isinstance(behaviour, ModelBehaviour)
        self._on_gpu = bool(behaviour.gpu_ms and spec.gpus)
        processors = spec.gpus if self._on_gpu else spec.vcpus
        slot_ms = behaviour.gpu_ms if self._on_gpu and behaviour.gpu_ms else behaviour.cpu_ms
        super().__init__(
            timeline,
            spec,
            on_period,
            processors=processors,
            cpus_per_processor=min(behaviour.cpu_ms / slot_ms, spec.vcpus / processors)
            if self._on_gpu
            else 1.0,
        )
        self._behaviour = behaviour
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
        message = f"queue is full: {behaviour.queue_size} requests are waiting for a worker"
        self._replies = {
            Outcome.SUCCESS: _SUCCESS,
            Outcome.THROTTLED: THROTTLED,
            Outcome.BAD_INPUT: _error(400, "InvalidInput", "body is not JSON"),
            Outcome.QUEUE_FULL: _error(503, "ServiceUnavailable", message),
            Outcome.TIMED_OUT: TIMED_OUT,
        }

        self._tokens = self._tokens_max = max(1.0, behaviour.throttle_tps or 0.0)
        self._tokens_at = timeline.now
        timeline.schedule(
            timeline.now + behaviour.startup_seconds, self._started, spec.instance_count
        )

    # --- Life of the endpoint ---------------------------------------------------------------

    def scale(self, now: float, instance_count: int) -> None:
        """See ``Endpoint.scale``."""
        self._check_in_service()
        self.status = EndpointStatus.UPDATING
        self._timeline.schedule(
            now + self._behaviour.startup_seconds, self._started, instance_count
        )

    def _started(self, at: float, instance_count: int) -> None:
        if self.deleted:
            return
        if self._behaviour.fail_startup and self.status is EndpointStatus.CREATING:
            self.status = EndpointStatus.FAILED
            self.failure_reason = self._behaviour.fail_startup
            return
        self._instances = self._instances[:instance_count]
        while len(self._instances) < instance_count:
            self._instances.append(_Instance(self._slots, at))
        self._route_to(self._instances)
        self.status = EndpointStatus.IN_SERVICE

    # --- Invocations ------------------------------------------------------------------------

    def take(self, now: float, payload: Payload, replied: Replied) -> None:
        """See ``Endpoint.take``."""

        def answered(outcome: Outcome) -> None:
            replied(self._replies[outcome])

        if _accepted(payload):
            self.invoke(now, answered)
        else:
            self.refuse(now, answered)

    def invoke(self, now: float, answered: Answered) -> None:
        """Take a request; ``answered`` is called once, now or by a later ``advance``.

        The endpoint must have instances in service, and ``advance(now)`` been called.
        """
        self.arrivals += 1
        if self._behaviour.throttle_tps and self._is_throttled(now):
            self.errors += 1
            answered(Outcome.THROTTLED)
            return
        instance = self._route()
        invocation = _Invocation(now, instance, answered)
        self._taken(instance)
        if instance.busy < instance.slots:
            self._start(now, invocation)
        elif len(instance.queue) < self._waiting_max:
            instance.queue.append(invocation)
            if not instance.queue_is_watched:
                instance.queue_is_watched = True
                self._timeline.schedule(
                    now + INVOCATION_TIMEOUT_SECONDS, self._queue_timed_out, instance
                )
        else:
            self._answer(now, invocation, Outcome.QUEUE_FULL)

    def refuse(self, now: float, answered: Answered) -> None:
        """Take a request whose body the container can't read: it answers 4xx at once."""
        self.arrivals += 1
        instance = self._route()
        self._taken(instance)
        self._answer(now, _Invocation(now, instance, answered), Outcome.BAD_INPUT)

    def _is_throttled(self, now: float) -> bool:
        """Token bucket that holds what one second lets through."""
        rate = self._behaviour.throttle_tps or math.inf
        self._tokens = min(self._tokens_max, self._tokens + (now - self._tokens_at) * rate)
        self._tokens_at = now
        if self._tokens < 1:
            return True
        self._tokens -= 1
        return False

    def _start(self, at: float, invocation: _Invocation) -> None:
        instance = invocation.instance
        seconds = self._random.lognormvariate(self._mu, self._sigma)
        if self._contention:
            seconds *= 1 + self._contention * instance.recent_utilization(at)
        instance.set_busy(at, instance.busy + 1)
        self._timeline.schedule(at + seconds, self._left_slot, invocation)
        time_out = invocation.arrived + INVOCATION_TIMEOUT_SECONDS
        if at + seconds + self._wait > time_out > at:
            self._timeline.schedule(time_out, self._timed_out, invocation)

    def _left_slot(self, at: float, invocation: _Invocation) -> None:
        instance = invocation.instance
        if self._contention:
            instance.recent_utilization(at)
        instance.set_busy(at, instance.busy - 1)
        if self._wait:
            self._timeline.schedule(at + self._wait, self._succeeded, invocation)
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
                self._timeline.schedule(time_out, self._queue_timed_out, instance)
                return
            self._answer(at, invocation, Outcome.TIMED_OUT)
        instance.queue_is_watched = False

    def _answer(self, at: float, invocation: _Invocation, outcome: Outcome) -> None:
        if not invocation.open:
            return
        invocation.open = False
        # The answer is due at `at` and goes out now: all of the difference is our own doing.
        self._answered(
            invocation.instance,
            self._replies[outcome].status,
            at - invocation.arrived,
            self._timeline.now - at,
        )
        invocation.answered(outcome)

    # --- Figures ----------------------------------------------------------------------------

    def _memory_percent(self, _: _Instance) -> float:
        return self._behaviour.memory_percent

    def _gpu_figures(self, busy: float, memory_percent: float) -> tuple[float, float]:
        return 100 * busy if self._on_gpu else 0.0, self.spec.gpus * memory_percent


_EndpointT = TypeVar("_EndpointT", bound=Endpoint[Any])


class Simulation(Timeline):
    """All endpoints of one process, on one clock."""

    def __init__(self, now: float, on_period: Callable[[PeriodFigures], None]) -> None:
        """Begin at a time.

        Args:
            now: Epoch seconds.
            on_period: Told at the end of every metric period of every endpoint.
        """
        super().__init__(now)
        self.on_period = on_period
        self.endpoints: dict[str, Endpoint[Any]] = {}

    def create(self, spec: EndpointSpec) -> SimulatedEndpoint:
        """Create a simulated endpoint, in status Creating.

        Raises:
            ValueError: There is one of that name.
        """
        return self.add(spec.endpoint_name, lambda: SimulatedEndpoint(self, spec, self.on_period))

    def add(self, endpoint_name: str, make: Callable[[], _EndpointT]) -> _EndpointT:
        """Add an endpoint of whatever kind, made only if there is none of that name.

        Raises:
            ValueError: There is one.
        """
        if endpoint_name in self.endpoints:
            raise ValueError(f"endpoint {endpoint_name} exists already")
        endpoint = self.endpoints[endpoint_name] = make()
        return endpoint

    def delete(self, endpoint_name: str) -> None:
        """Delete an endpoint, whatever its status; one that is not there is deleted already."""
        endpoint = self.endpoints.pop(endpoint_name, None)
        if endpoint is not None:
            endpoint.delete()
