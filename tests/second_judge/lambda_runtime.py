"""The functions as Lambda starts them: their artifact, AWS's runtime client, and AWS's emulator.

The emulator is the one that the SAM CLI puts into a container for ``sam local invoke``. Here it
runs without: a process is one environment of a function, started when none is idle, as Lambda does.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partialmethod
from pathlib import Path
from typing import Any, Final

from moto.awslambda.models import LambdaFunction

from local.cloudformation import load_template
from local.patches import Patch, Patches
from tests.second_judge.ministack import SecondJudgeError

_INVOKE: Final = "/2015-03-31/functions/function/invocations"
_START_SECONDS: Final = 30
_EXTRA_SECONDS: Final = 10
#: What the emulator's answer has where the handler raised, and no handler's answer has.
_ERROR_FIELDS: Final = frozenset({"errorMessage", "errorType"})


@dataclass(frozen=True)
class Invocation:
    """One call of a function."""

    function: str
    seconds: float
    #: Whether an environment was started for it, which is part of the time.
    cold: bool
    error: str = ""


class Functions:
    """The environments of all functions of a built stack."""

    def __init__(self, sam: Path, python: Path, built: Path, folder: Path) -> None:
        """Prepare them.

        Args:
            sam: The SAM CLI, which has the emulator.
            python: Interpreter of an environment with nothing but the runtime's client.
            built: The template that ``sam build`` made, for this machine's Python and processor.
            folder: For logs.
        """
        self.invocations: list[Invocation] = []
        self._emulator = _emulator(sam)
        self._python = python.absolute()  # each runs in a folder of its own
        resources = load_template(built)["Resources"].values()
        self._roots = {
            each["Properties"]["Handler"]: built.parent / each["Properties"]["CodeUri"]
            for each in resources
            if each["Type"] == "AWS::Serverless::Function"
        }
        self._folder = folder
        self._idle: dict[str, list[_Environment]] = defaultdict(list)
        self._all: list[_Environment] = []
        self._lock = threading.Lock()

    @property
    def handlers(self) -> set[str]:
        """Of all functions of the stack."""
        return set(self._roots)

    @contextmanager
    def in_place_of_handlers(self) -> Iterator[None]:
        """Lets the embedded AWS invoke them, and ends them with the context."""

        def invoke(function: Any, event: Any = None) -> tuple[str, bool, str]:
            return self.invoke(function, event)

        try:
            with Patches([Patch(LambdaFunction, "_invoke_lambda", partialmethod(invoke))]):
                yield
        finally:
            for each in self._all:
                each.stop()

    def invoke(self, function: Any, event: Any) -> tuple[str, bool, str]:
        """Invoke a function as moto has it; returns the answer, and whether it is an error."""
        began = time.monotonic()
        with self._lock:
            idle = self._idle[function.handler]
            environment = idle.pop() if idle else None
        cold = environment is None
        if environment is None:
            environment = _Environment(
                self._emulator, self._python, self._roots[function.handler], function, self._folder
            )
            with self._lock:
                self._all.append(environment)
        answer = environment.invoke(event, float(function.timeout))
        body = json.loads(answer)
        failed = isinstance(body, dict) and body.keys() >= _ERROR_FIELDS
        with self._lock:
            self._idle[function.handler].append(environment)
            self.invocations.append(
                Invocation(
                    function=function.handler.partition(".")[0],
                    seconds=time.monotonic() - began,
                    cold=cold,
                    error=f"{body['errorType']}: {body['errorMessage']}" if failed else "",
                )
            )
        return answer, failed, ""


class _Environment:
    """One environment of a function: the emulator, and below it the runtime with the handler."""

    def __init__(
        self, emulator: Path, python: Path, root: Path, function: Any, folder: Path
    ) -> None:
        port, api_port = _free_ports(2)
        self._url = f"http://127.0.0.1:{port}{_INVOKE}"
        variables = {
            "AWS_LAMBDA_FUNCTION_NAME": function.function_name,
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(function.timeout),
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_size),
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "LAMBDA_TASK_ROOT": str(root),
        }
        command = [emulator, "--runtime-interface-emulator-address", f"127.0.0.1:{port}"]
        command += ["--runtime-api-address", f"127.0.0.1:{api_port}"]
        command += [python, "-m", "awslambdaric", function.handler]
        log = folder / f"{function.function_name}-{port}.log"
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                cwd=root,
                env={**os.environ, **variables},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not _listens(port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise SecondJudgeError(f"{command}:\n{log.read_text()[-2000:]}")
            time.sleep(0.005)

    def invoke(self, event: Any, timeout_seconds: float) -> str:
        """Hand an event to the handler; returns its answer as JSON."""
        request = urllib.request.Request(self._url, json.dumps(event).encode())
        try:
            with urllib.request.urlopen(
                request, timeout=timeout_seconds + _EXTRA_SECONDS
            ) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return error.read().decode()

    def stop(self) -> None:
        """End it with all below it."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def _emulator(sam: Path) -> Path:
    machine = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
    packages = sam.resolve().parents[1]
    name = f"lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-{machine}"
    for found in packages.glob(name):
        if not os.access(found, os.X_OK):
            found.chmod(0o755)
        return found
    raise SecondJudgeError(f"no emulator of Lambda in {packages}: {name}")


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
