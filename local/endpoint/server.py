"""The process that serves all local endpoints: an event loop, and a simulation on its clock.

It is controlled by JSON lines on its standard input and answers each on its standard output. When
its standard input ends or its parent is gone, it goes too.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop
from pydantic import TypeAdapter

from local.endpoint.behaviour import LocalModel, ServedModel
from local.endpoint.container import Container, ContainerProcess
from local.endpoint.core_pool import CorePool
from local.endpoint.cores import CapacityError, Division, keep_to
from local.endpoint.endpoint import Endpoint, EndpointBusyError, EndpointSpec
from local.endpoint.figures import PeriodFigures
from local.endpoint.runtime_api import IDLE_SECONDS, RuntimeApi, RuntimeProtocol
from local.endpoint.served import ServedEndpoint
from local.endpoint.simulation import Simulation

if TYPE_CHECKING:
    from local.endpoint.publisher import Publisher

HOST = "127.0.0.1"

_BACKLOG = 4096  # connections: a load test opens hundreds at once
_PARENT_CHECK_SECONDS = 1.0
_IDLE_CHECK_SECONDS = 1.0
#: For the last metrics, when the process ends.
_LAST_PUBLISH_SECONDS = 2.0
#: The event loop waits this long at most for the interpreter while the publisher's thread works.
_SWITCH_INTERVAL_SECONDS = 0.0005


class LoopClockwork:
    """Drives the simulation by the event loop's timer: one timer, for the next event."""

    def __init__(self, loop: asyncio.AbstractEventLoop, publisher: Publisher | None) -> None:
        self._loop = loop
        self._publisher = publisher
        # Metric periods are in wall-clock time, but the clock must not jump.
        self._epoch = time.time() - time.monotonic()
        self._armed_for = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self.simulation = Simulation(self._now(), self._period_ended)

    def _now(self) -> float:
        return self._epoch + time.monotonic()

    def advance(self) -> float:
        """Process what is due; returns the time, epoch seconds."""
        now = self._now()
        self.simulation.advance(now)
        return now

    def arm(self) -> None:
        """Wake up for the next event, in whole milliseconds as libuv counts, rather late."""
        at = self.simulation.next_event_at()
        if at is None or at >= self._armed_for:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._armed_for = at
        delay = max(0.0, at - self._now())
        self._timer = self._loop.call_later(math.ceil(delay * 1000) / 1000, self._wake)

    def _wake(self) -> None:
        self._armed_for = math.inf
        self._timer = None
        try:
            self.advance()
        finally:
            self.arm()

    def _period_ended(self, period: PeriodFigures) -> None:
        if self._publisher is not None:
            self._publisher.publish(period)


class Control:
    """Carries out what the parent asks for."""

    def __init__(self, clockwork: LoopClockwork, logs: Path | None) -> None:
        self._clockwork = clockwork
        self._simulation = clockwork.simulation
        self._logs = logs
        self._pool: CorePool | None = None
        #: Deleted ones too: their servers may still be ending.
        self._served: list[ServedEndpoint] = []
        self._operations: dict[str, Callable[..., object]] = {
            "divide": self._divide,
            "create": self._create,
            "scale": self._scale,
            "delete": self._simulation.delete,
            "status": self._status,
            "live": self._live,
        }

    def answer(self, line: bytes) -> bytes:
        """Answer a line such as ``{"id": 1, "operation": "delete", "endpoint_name": "e"}``."""
        arguments: dict[str, Any] = json.loads(line)
        number = arguments.pop("id")
        operation = self._operations[arguments.pop("operation")]
        self._clockwork.advance()
        try:
            answer = {"result": operation(**arguments)}
        except CapacityError as error:
            answer = {"error": str(error), "lacks_capacity": True}
        except (EndpointBusyError, LookupError, ValueError) as error:
            answer = {"error": str(error.args[0])}
        self._clockwork.arm()
        return json.dumps({"id": number, **answer}).encode() + b"\n"

    async def close(self) -> None:
        """End all model servers."""
        await asyncio.gather(*(each.close() for each in self._served))

    def _divide(self, for_instances: list[int], for_the_rest: list[int]) -> None:
        keep_to(for_the_rest)
        self._pool = CorePool(Division(tuple(for_instances), tuple(for_the_rest)))

    def _create(self, endpoint_name: str, behaviour: dict[str, Any], **given: Any) -> None:
        model = _LOCAL_MODEL.validate_python(behaviour)
        spec = EndpointSpec(endpoint_name=endpoint_name, behaviour=model, **given)
        if isinstance(model, ServedModel):
            self._served.append(
                self._simulation.add(endpoint_name, lambda: self._serve(spec, model))
            )
        else:
            self._simulation.create(spec)

    def _serve(self, spec: EndpointSpec, model: ServedModel) -> ServedEndpoint:
        pool, logs = self._pool, self._logs
        if pool is None:
            raise ValueError("no cores are set apart for instances")

        def make(number: int, cores: tuple[int, ...], on_change: Callable[[], None]) -> Container:
            log = logs and logs / f"{spec.endpoint_name}-{number}.log"
            return ContainerProcess(model, cores=cores, log=log, on_change=on_change)

        return ServedEndpoint(
            self._simulation,
            spec,
            self._simulation.on_period,
            pool=pool,
            make_container=make,
            clock=self._clockwork.advance,
        )

    def _scale(self, endpoint_name: str, instance_count: int) -> None:
        self._endpoint(endpoint_name).scale(self._simulation.now, instance_count)

    def _status(self, endpoint_name: str) -> dict[str, object] | None:
        endpoint = self._simulation.endpoints.get(endpoint_name)
        if endpoint is None:
            return None
        return {
            "status": endpoint.status,
            "failure_reason": endpoint.failure_reason,
            "instance_count": endpoint.instance_count,
        }

    def _live(self, endpoint_name: str) -> dict[str, object]:
        return asdict(self._endpoint(endpoint_name).live(self._simulation.now))

    def _endpoint(self, endpoint_name: str) -> Endpoint[Any]:
        try:
            return self._simulation.endpoints[endpoint_name]
        except KeyError:
            raise LookupError(f"endpoint {endpoint_name} does not exist") from None


_LOCAL_MODEL: TypeAdapter[LocalModel] = TypeAdapter(LocalModel)


async def _serve(
    port: int,
    region: str,
    publisher: Publisher | None,
    logs: Path | None,
    answers: int,
    idle_seconds: float,
) -> None:
    """Serve until told to stop; ``answers`` is the file descriptor the parent reads."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)

    clockwork = LoopClockwork(loop, publisher)
    api = RuntimeApi(clockwork, region)
    control = Control(clockwork, logs)
    connections: set[RuntimeProtocol] = set()
    server = await loop.create_server(
        partial(RuntimeProtocol, api, connections), HOST, port, backlog=_BACKLOG
    )
    bound_port = server.sockets[0].getsockname()[1]

    async def obey() -> None:
        lines = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while line := await lines.readline():
            os.write(answers, control.answer(line))
        stopping.set()

    async def watch_parent() -> None:
        parent = os.getppid()
        while os.getppid() == parent:
            await asyncio.sleep(_PARENT_CHECK_SECONDS)
        stopping.set()

    tasks = [
        asyncio.create_task(obey()),
        asyncio.create_task(watch_parent()),
        asyncio.create_task(_hang_up_on_the_idle(connections, idle_seconds)),
    ]
    for task in tasks:
        task.add_done_callback(lambda _: stopping.set())
    os.write(answers, json.dumps({"url": f"http://{HOST}:{bound_port}"}).encode() + b"\n")
    await stopping.wait()
    for task in tasks:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    server.close()
    await control.close()
    for connection in list(connections):
        connection.close()
    for outcome in outcomes:
        if isinstance(outcome, Exception) and not isinstance(outcome, BrokenPipeError):
            raise outcome


async def _hang_up_on_the_idle(connections: set[RuntimeProtocol], idle_seconds: float) -> None:
    while True:
        await asyncio.sleep(min(_IDLE_CHECK_SECONDS, idle_seconds))
        for connection in list(connections):
            connection.close_if_idle(idle_seconds)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server process; see ``client.EndpointServer``."""
    parser = argparse.ArgumentParser(prog="python -m local.endpoint", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--cloudwatch-url", help="where metrics go; none are published without it")
    parser.add_argument("--logs", type=Path, help="folder for what model servers write")
    parser.add_argument("--idle-seconds", type=float, default=IDLE_SECONDS)
    options = parser.parse_args(argv)
    logging.basicConfig(format="local endpoint: %(message)s", level=logging.WARNING)

    # What anything prints must not mix with the answers.
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    publisher: Publisher | None = None
    if options.cloudwatch_url:
        from local.endpoint.publisher import Publisher  # boto3 takes most of the start's time

        publisher = Publisher(options.cloudwatch_url, options.region)
    # A connection is an open file, and the usual limit of 1024 is less than a burst's concurrency.
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
    gc.collect()
    gc.freeze()
    try:
        uvloop.run(
            _serve(
                options.port,
                options.region,
                publisher,
                options.logs,
                answers,
                options.idle_seconds,
            )
        )
    except OSError as error:
        os.write(answers, json.dumps({"error": str(error)}).encode() + b"\n")
        return 1
    if publisher is not None:
        publisher.close(_LAST_PUBLISH_SECONDS)
    return 0
