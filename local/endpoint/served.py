"""Served endpoints: each instance is a real model server on cores of its own.

The router before them is the same as before simulated instances. CPUUtilization is what their
process trees use: an instance whose cores are all busy shows 100 x the vCPUs of its type.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any, Final, TypeVar

import psutil

from local.endpoint import process_tree
from local.endpoint.behaviour import ServedModel
from local.endpoint.container import Container, StartupError
from local.endpoint.core_pool import CorePool
from local.endpoint.endpoint import (
    Endpoint,
    EndpointSpec,
    EndpointStatus,
    Instance,
    Payload,
    Reading,
    Replied,
)
from local.endpoint.figures import LiveFigures, PeriodFigures
from local.endpoint.timeline import Timeline

_log = logging.getLogger(__name__)

_MIB: Final = 1024 * 1024

_ResultT = TypeVar("_ResultT")

#: Makes a container of a model: its number in the endpoint, its cores, and whom to tell when it
#: becomes ready or no longer is.
MakeContainer = Callable[[int, tuple[int, ...], Callable[[], None]], Container]
#: How long some cores have been busy, whoever used them.
BusySeconds = Callable[[tuple[int, ...]], float]


class _Instance(Instance):
    __slots__ = ("container", "cores", "drained")

    def __init__(self, cores: tuple[int, ...], container: Container) -> None:
        super().__init__(math.inf)  # in service once it is ready
        self.cores = cores
        self.container = container
        #: Set while it has no request to answer.
        self.drained = asyncio.Event()
        self.drained.set()

    def enter_service(self, now: float) -> None:
        self.in_service_since = self.period_started_at = now
        self.period_started_with = self.busy_seconds(now)

    def busy_seconds(self, at: float) -> float:  # noqa: ARG002 - what the system counted until now
        return self.container.usage().cpu_seconds


class ServedEndpoint(Endpoint[_Instance]):
    """One endpoint whose instances are model servers. To be made in a running event loop.

    Args:
        timeline: Where its metric periods come to their end.
        spec: What it is made of; its behaviour is a ``ServedModel``.
        on_period: Told at the end of each metric period.
        pool: Where instances take their cores.
        make_container: Makes an instance's model server.
        clock: Brings the timeline to the present, and returns the time, epoch seconds.
        busy_seconds: How long cores have been busy.
    """

    # Looking at a process tree takes some ms.
    live_sampling_seconds = 1.0

    def __init__(
        self,
        timeline: Timeline,
        spec: EndpointSpec,
        on_period: Callable[[PeriodFigures], None],
        *,
        pool: CorePool,
        make_container: MakeContainer,
        clock: Callable[[], float],
        busy_seconds: BusySeconds = process_tree.busy_seconds,
    ) -> None:
        assert isinstance(spec.behaviour, ServedModel)
        self._cores_of_each = spec.behaviour.serve.vcpus
        self._busy_seconds = busy_seconds
        super().__init__(
            timeline,
            spec,
            on_period,
            processors=self._cores_of_each,
            cpus_per_processor=spec.vcpus / self._cores_of_each,
        )
        self._pool = pool
        self._make_container = make_container
        self._clock = clock
        self._memory_bytes = spec.memory_mib * _MIB or psutil.virtual_memory().total
        self._made = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._running: set[_Instance] = set()
        pool.reserve(spec.endpoint_name, spec.instance_count, self._cores_of_each)
        self._updating = self._begin(self._update(spec.instance_count))

    # --- Life of the endpoint -----------------------------------------------------------------

    def scale(self, now: float, instance_count: int) -> None:  # noqa: ARG002 - begins at once
        """See ``Endpoint.scale``.

        Raises:
            CapacityError: The cores of this machine are too few for so many instances.
        """
        self._check_in_service()
        self._pool.reserve(self.spec.endpoint_name, instance_count, self._cores_of_each)
        self.status = EndpointStatus.UPDATING
        self._updating = self._begin(self._update(instance_count))

    def delete(self) -> None:
        """See ``Endpoint.delete``. Each server ends as soon as it has answered what it has got."""
        super().delete()
        self._pool.release(self.spec.endpoint_name)
        self._updating.cancel()
        self._retire(self._instances)

    async def close(self) -> None:
        """End all servers now, whatever they do, and wait until they are gone."""
        if not self.deleted:
            self.delete()
        while self._tasks:
            for instance in self._running:
                instance.drained.set()
            await asyncio.wait(self._tasks)

    async def _update(self, instance_count: int) -> None:
        starting = [
            self._begin(self._bring_up()) for _ in range(instance_count - self.instance_count)
        ]
        try:
            new = await asyncio.gather(*starting)
        except BaseException as error:
            for task in starting:
                task.cancel()
            outcomes = await asyncio.gather(*starting, return_exceptions=True)
            self._retire([each for each in outcomes if isinstance(each, _Instance)])
            if not isinstance(error, StartupError):
                raise
            self._update_failed(str(error))
            return
        now = self._clock()
        for instance in new:
            instance.enter_service(now)
        instances = [*self._instances, *new]
        self._instances = instances[:instance_count]
        self._reroute()
        self._retire(instances[instance_count:])
        self.status = EndpointStatus.IN_SERVICE

    def _update_failed(self, reason: str) -> None:
        """Without its first instances an endpoint has failed; else it keeps those that it has."""
        reason = (
            f"The primary container for production variant {self.spec.variant_name} did not pass "
            f"the ping health check: {reason}"
        )
        _log.warning("%s: %s", self.spec.endpoint_name, reason)
        self._pool.reserve(self.spec.endpoint_name, self.instance_count, self._cores_of_each)
        if self.status is EndpointStatus.CREATING:
            self.status, self.failure_reason = EndpointStatus.FAILED, reason
        else:
            self.status = EndpointStatus.IN_SERVICE

    async def _bring_up(self) -> _Instance:
        cores = await self._pool.take(self._cores_of_each)
        self._made += 1
        container = self._make_container(self._made, cores, self._reroute)
        instance = _Instance(cores, container)
        self._running.add(instance)
        try:
            await instance.container.start(self.spec.container_startup_seconds)
        except BaseException:
            await self._end(instance)
            raise
        return instance

    def _retire(self, instances: Iterable[_Instance]) -> None:
        async def drain_and_end(instance: _Instance) -> None:
            await instance.drained.wait()
            await self._end(instance)

        for instance in instances:
            self._begin(drain_and_end(instance))

    async def _end(self, instance: _Instance) -> None:
        await instance.container.stop()
        self._running.discard(instance)
        await self._pool.give_back(instance.cores)

    def _begin(self, work: Coroutine[Any, Any, _ResultT]) -> asyncio.Task[_ResultT]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._has_finished)
        return task

    def _has_finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, StartupError):
            _log.error("%s: a fault of this program", self.spec.endpoint_name, exc_info=error)

    # --- Requests -----------------------------------------------------------------------------

    def _reroute(self) -> None:
        """Requests go to the instances that can answer; to all of them where none can."""
        ready = [each for each in self._instances if each.container.is_ready]
        self._route_to(ready or self._instances)

    def take(self, now: float, payload: Payload, replied: Replied) -> None:
        """See ``Endpoint.take``."""
        self.arrivals += 1
        instance = self._route()
        instance.drained.clear()
        self._taken(instance)
        self._begin(self._hand_on(instance, now, payload, replied))

    async def _hand_on(
        self, instance: _Instance, arrived: float, payload: Payload, replied: Replied
    ) -> None:
        sent = self._clock()
        reply = await instance.container.invoke(payload)
        received = self._clock()
        self._answered(
            instance, reply.status, received - sent, sent - arrived + self._clock() - received
        )
        if not instance.outstanding:
            instance.drained.set()
        replied(reply)

    # --- Figures ------------------------------------------------------------------------------

    def _observed_at(self, at: float) -> float:  # noqa: ARG002 - processes are looked at now
        return self._timeline.now

    def _reading(self, at: float) -> Reading[_Instance]:
        reading = super()._reading(at)
        others_seconds = {
            each: self._busy_seconds(each.cores) - worked
            for each, worked in reading.busy_seconds.items()
        }
        return replace(reading, others_seconds=others_seconds)

    def live(self, now: float) -> LiveFigures:  # noqa: ARG002 - processes are looked at now and then
        """Figures of the last sampling interval; see ``Endpoint.live``."""
        return self._between(self._samples[0], self._samples[-1])

    def _memory_percent(self, instance: _Instance) -> float:
        used = instance.container.usage(with_memory=True).memory_bytes
        return min(100.0, 100 * used / self._memory_bytes)
