"""The model server of one instance: a real process, kept running as SageMaker keeps a container.

It speaks SageMaker's container contract: "Custom Inference Code with Hosting Services" (Developer
Guide).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
from asyncio.subprocess import Process
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from local import guard
from local.endpoint.behaviour import PORT_VARIABLES, ServedModel
from local.endpoint.container_client import HOST, ContainerClient
from local.endpoint.endpoint import INVOCATION_TIMEOUT_SECONDS, TIMED_OUT, Payload, Reply
from local.endpoint.process_tree import Usage, usage
from local.environment import needed_by_programs

_log = logging.getLogger(__name__)

#: A server that ends so often without having answered a single ping is not started again.
MOST_FAILED_STARTS: Final = 3

_BETWEEN_PINGS_SECONDS: Final = 0.1
_BEFORE_RESTART_SECONDS: Final = 0.5
_LONGEST_BEFORE_RESTART_SECONDS: Final = 10.0
#: Between SIGTERM and SIGKILL; SageMaker gives 30 s.
_STOP_SECONDS: Final = 1.5
_LAST_LINE_BYTES: Final = 4096


class StartupError(RuntimeError):
    """The server did not come up; the message says why."""


class Container(Protocol):
    """What an endpoint needs of an instance's model server."""

    @property
    def is_ready(self) -> bool:
        """Whether it runs and has answered a ping."""

    async def start(self, limit_seconds: float) -> None:
        """Start it, and wait until it is ready.

        Raises:
            StartupError: It is not, within the limit.
        """

    async def invoke(self, payload: Payload) -> Reply:
        """Hand on a request; what goes wrong is a reply as well."""

    async def stop(self) -> None:
        """End it, and wait until nothing of it runs."""

    def usage(self, *, with_memory: bool = False) -> Usage:
        """What it has used so far, including before a restart."""


class ContainerProcess(Container):
    """A model server that runs as a process group of its own.

    Args:
        model: What to run.
        cores: The cores that it is kept to.
        log: File for its output, which else goes where this process's errors go.
        on_change: Told when it becomes ready, and when it no longer is.
        read_usage: What a process tree uses, by the id of its root.
    """

    def __init__(
        self,
        model: ServedModel,
        *,
        cores: tuple[int, ...],
        log: Path | None,
        on_change: Callable[[], None],
        read_usage: Callable[..., Usage] = usage,
    ) -> None:
        self._model = model
        self._cores = cores
        self._log = log
        self._on_change = on_change
        self._read_usage = read_usage
        self._client: ContainerClient | None = None
        self._launch: asyncio.Task[Process] | None = None
        self._running: asyncio.Task[None] | None = None
        self._was_ready = asyncio.Event()
        self._cpu_seconds = self._cpu_seconds_of_former = 0.0

    @property
    def is_ready(self) -> bool:
        """See ``Container``."""
        return self._client is not None

    async def start(self, limit_seconds: float) -> None:
        """See ``Container``."""
        self._running = asyncio.create_task(self._keep_running())
        ready = asyncio.create_task(self._was_ready.wait())
        try:
            await asyncio.wait(
                {ready, self._running},
                timeout=limit_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            ready.cancel()
        if self._running.done():
            try:
                self._running.result()
            except OSError as error:
                raise StartupError(f"it could not be started: {error}") from error
        if not self._was_ready.is_set():
            raise StartupError(
                f"GET /ping was not answered with 200 within {limit_seconds:g} s"
                + self._last_words()
            )

    async def invoke(self, payload: Payload) -> Reply:
        """See ``Container``."""
        client = self._client
        if client is None:
            return _unavailable("the model server is not running; it is being started again")
        try:
            async with asyncio.timeout(INVOCATION_TIMEOUT_SECONDS):
                return await client.invoke(payload)
        except TimeoutError:
            return TIMED_OUT
        except OSError as error:
            return _unavailable(f"no answer of the model server: {error}")

    async def stop(self) -> None:
        """See ``Container``."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait({self._running})
        if self._launch is not None:
            with contextlib.suppress(OSError):
                process = await self._launch
                _signal_group(process, signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), _STOP_SECONDS)
                _signal_group(process, signal.SIGKILL)
                await process.wait()
        self._has_ended()

    def usage(self, *, with_memory: bool = False) -> Usage:
        """See ``Container``."""
        memory_bytes = 0
        if self._launch is not None and self._launch.done() and not self._launch.exception():
            now = self._read_usage(self._launch.result().pid, with_memory=with_memory)
            memory_bytes = now.memory_bytes
            # A process that ended takes its time with it, unless its parent waited for it.
            self._cpu_seconds = max(
                self._cpu_seconds, self._cpu_seconds_of_former + now.cpu_seconds
            )
        return Usage(self._cpu_seconds, memory_bytes)

    # --- Keeping it running -------------------------------------------------------------------

    async def _keep_running(self) -> None:
        """Run it, again and again.

        Raises:
            StartupError: It ends before it has ever been ready.
        """
        failed_starts = 0
        while True:
            port = _free_port()
            # Not to be cancelled half-way, when the process is there and nobody knows it.
            self._launch = asyncio.create_task(self._start_process(port))
            process = await asyncio.shield(self._launch)
            client = ContainerClient(port)
            pinging = asyncio.create_task(self._wait_until_ready(client))
            try:
                code = await process.wait()
            finally:
                pinging.cancel()
                client.close()
            _signal_group(process, signal.SIGKILL)
            failed_starts = 0 if self.is_ready else failed_starts + 1
            self._has_ended()
            what = f"{shlex.join(self._model.serve.command)} ended with exit code {code}"
            if failed_starts == MOST_FAILED_STARTS and not self._was_ready.is_set():
                raise StartupError(f"{what} before it answered a ping{self._last_words()}")
            _log.warning("%s; it is started again", what)
            if failed_starts:
                seconds = _BEFORE_RESTART_SECONDS * 2 ** (failed_starts - 1)
                await asyncio.sleep(min(seconds, _LONGEST_BEFORE_RESTART_SECONDS))

    async def _start_process(self, port: int) -> Process:
        model = self._model
        with contextlib.ExitStack() as files:
            output = files.enter_context(self._log.open("ab")) if self._log else None
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-IS",
                guard.__file__,
                f"{guard.CORES}{','.join(map(str, self._cores))}",
                *(each.replace("{port}", str(port)) for each in model.serve.command),
                stdin=subprocess.PIPE,  # its end takes the whole group down
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=model.folder,
                env={
                    **needed_by_programs(),
                    **model.serve.environment,
                    **dict.fromkeys(PORT_VARIABLES, str(port)),
                },
                start_new_session=True,
            )

    async def _wait_until_ready(self, client: ContainerClient) -> None:
        while not await client.ping():
            await asyncio.sleep(_BETWEEN_PINGS_SECONDS)
        self._client = client
        self._was_ready.set()
        self._on_change()

    def _has_ended(self) -> None:
        self._cpu_seconds_of_former = self._cpu_seconds
        if self._client is not None:
            self._client.close()
            self._client = None
            self._on_change()

    def _last_words(self) -> str:
        """The last line that it wrote, if that is known."""
        if self._log is None or not self._log.is_file():
            return ""
        with self._log.open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - _LAST_LINE_BYTES))
            lines = log.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"; its last line, in {self._log}: {last}" if last else ""


def _unavailable(message: str) -> Reply:
    return Reply(503, "text/plain", message.encode())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _signal_group(process: Process, number: signal.Signals) -> None:
    """Signal what is left of a process's group, if anything is."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
