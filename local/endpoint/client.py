"""The handle of the endpoint server process."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from local.endpoint import cores
from local.endpoint.behaviour import LocalModel, ServedModel
from local.endpoint.endpoint import CONTAINER_STARTUP_SECONDS, EndpointStatus
from local.endpoint.figures import LiveFigures

_ROOT = Path(__file__).parents[2]
#: What the SageMaker SDK calls an endpoint's only variant.
VARIANT_NAME = "AllTraffic"

_START_SECONDS = 60.0
_ANSWER_SECONDS = 30.0
_STOP_SECONDS = 5.0


class EndpointServerError(RuntimeError):
    """The server refused an operation, or it is gone; the message says which."""


class EndpointCapacityError(EndpointServerError):
    """This machine has too few cores for so many model servers."""


@dataclass(frozen=True)
class EndpointState:
    """An endpoint as DescribeEndpoint would show it."""

    status: EndpointStatus
    failure_reason: str | None
    #: Instances in service.
    instance_count: int


class EndpointServer:
    """One process that serves all local endpoints. Safe to use from several threads.

    The process ends with ``stop``, at the end of a ``with`` block, or when this process dies,
    however it dies. As soon as an endpoint runs real model servers, these have cores of their own,
    and until the end this process keeps to the others.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._lock = threading.Lock()
        self._dividing = threading.Lock()
        self._unread = b""
        self._asked = 0
        self._cores_before: set[int] | None = None
        #: Value for AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME.
        self.url = ""

    @classmethod
    def start(
        cls, *, cloudwatch_url: str | None, region: str, port: int = 0, logs: Path | None = None
    ) -> Self:
        """Start the process and wait until it accepts connections.

        Args:
            cloudwatch_url: Where PutMetricData goes; without it no metrics are published.
            region: Region of the metrics.
            port: Port on 127.0.0.1; 0 for any that is free.
            logs: Folder for what model servers write; without it they write to standard error.

        Raises:
            EndpointServerError: It did not start; the port may be taken.
        """
        command = [sys.executable, "-m", "local.endpoint", "--region", region, "--port", str(port)]
        if cloudwatch_url is not None:
            command += ["--cloudwatch-url", cloudwatch_url]
        if logs is not None:
            command += ["--logs", str(logs.absolute())]
        process = subprocess.Popen(
            command,
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,  # Ctrl-C is for this process; the server ends when it is told to
        )
        server = cls(process)
        try:
            greeting = server._read_answer(_START_SECONDS)
            if "error" in greeting:
                raise EndpointServerError(f"local endpoint on port {port}: {greeting['error']}")
        except BaseException:
            server.stop()
            raise
        server.url = greeting["url"]
        return server

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._process.pid

    def create(
        self,
        endpoint_name: str,
        *,
        variant_name: str,
        instance_type: str,
        vcpus: int,
        instance_count: int,
        behaviour: LocalModel,
        routing: str,
        metric_period_seconds: int,
        gpus: int = 0,
        memory_mib: int = 0,
        container_startup_seconds: float = CONTAINER_STARTUP_SECONDS,
    ) -> None:
        """Create an endpoint; it is InService or Failed after a while.

        Raises:
            EndpointServerError: There is one of that name.
            EndpointCapacityError: This machine has too few cores.
        """
        if isinstance(behaviour, ServedModel):
            self._divide_cores()
        self._ask(
            "create",
            endpoint_name=endpoint_name,
            variant_name=variant_name,
            instance_type=instance_type,
            vcpus=vcpus,
            gpus=gpus,
            memory_mib=memory_mib,
            container_startup_seconds=container_startup_seconds,
            instance_count=instance_count,
            behaviour=behaviour.model_dump(),
            routing=routing,
            metric_period_seconds=metric_period_seconds,
        )

    def scale(self, endpoint_name: str, instance_count: int) -> None:
        """Change the instance count; the endpoint is Updating until the new ones serve.

        Raises:
            EndpointServerError: The endpoint does not exist or is not InService.
            EndpointCapacityError: This machine has too few cores.
        """
        self._ask("scale", endpoint_name=endpoint_name, instance_count=instance_count)

    def delete(self, endpoint_name: str) -> None:
        """Delete an endpoint; one that does not exist is deleted already."""
        self._ask("delete", endpoint_name=endpoint_name)

    def status(self, endpoint_name: str) -> EndpointState | None:
        """State of an endpoint; None if it does not exist."""
        state = self._ask("status", endpoint_name=endpoint_name)
        if state is None:
            return None
        return EndpointState(
            EndpointStatus(state["status"]), state["failure_reason"], state["instance_count"]
        )

    def live(self, endpoint_name: str) -> LiveFigures:
        """Figures of the last second or so.

        Raises:
            EndpointServerError: The endpoint does not exist.
        """
        figures = self._ask("live", endpoint_name=endpoint_name)
        return LiveFigures(**{**figures, "cpu_percent": tuple(figures["cpu_percent"])})

    def stop(self) -> None:
        """End the process and wait until it is gone. Can be called more than once."""
        process = self._process
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it is gone already
                process.stdin.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        if self._cores_before is not None:
            cores.keep_to(self._cores_before)
            self._cores_before = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _divide_cores(self) -> None:
        with self._dividing:
            if self._cores_before is not None:
                return
            try:
                before = cores.of_this_process()
            except cores.CapacityError as error:
                raise EndpointCapacityError(str(error)) from error
            division = cores.Division.of(before)
            self._ask("divide", **asdict(division))
            cores.keep_to(division.for_the_rest)
            self._cores_before = before

    def _ask(self, operation: str, **arguments: object) -> Any:
        with self._lock:
            self._asked += 1
            question = {"id": self._asked, "operation": operation, **arguments}
            line = json.dumps(question).encode() + b"\n"
            pipe = self._process.stdin
            try:
                if pipe is None or pipe.closed:
                    raise EndpointServerError("the local endpoint server was stopped")
                pipe.write(line)
                pipe.flush()
            except BrokenPipeError as error:
                raise self._gone() from error
            # An earlier question's answer may be left over, if its asker was interrupted.
            while (answer := self._read_answer(_ANSWER_SECONDS))["id"] != self._asked:
                pass
        if "error" in answer:
            if "lacks_capacity" in answer:
                raise EndpointCapacityError(answer["error"])
            raise EndpointServerError(answer["error"])
        return answer["result"]

    def _read_answer(self, timeout_seconds: float) -> dict[str, Any]:
        pipe = self._process.stdout
        if pipe is None:
            raise EndpointServerError("the local endpoint server has no output")
        deadline = time.monotonic() + timeout_seconds
        while b"\n" not in self._unread:
            if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise EndpointServerError("the local endpoint server does not answer")
            read = os.read(pipe.fileno(), 65536)
            if not read:
                raise self._gone()
            self._unread += read
        line, _, self._unread = self._unread.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _gone(self) -> EndpointServerError:
        try:
            code = self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return EndpointServerError("the local endpoint server closed its connection")
        return EndpointServerError(f"the local endpoint server is gone, exit code {code}")
