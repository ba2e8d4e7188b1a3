"""Runs a whole load test, leader and workers, as processes of this machine and without AWS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.environment import OF_NO_ACCOUNT, without_aws

#: The root of the container image, where its entry point runs.
IMAGE = Path(__file__).parent.parent.parent / "locust_image"

#: Credentials of AWS's own documentation: they sign, and open nothing.
_ENVIRONMENT = {
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",  # see above # nosec B105
    "START_TIMEOUT_SECONDS": "30",
}
#: Where a task of ECS learns of itself.
_METADATA_URI = "ECS_CONTAINER_METADATA_URI_V4"


def base_environment() -> dict[str, str]:
    """The environment of a client: this process's own, with credentials that open nothing."""
    inherited = without_aws(os.environ)
    inherited.pop(_METADATA_URI, None)
    return inherited | OF_NO_ACCOUNT | _ENVIRONMENT


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a load test ended."""

    #: ``load_test.json``; None if nobody wrote it.
    document: dict[str, Any] | None
    leader_exit_code: int
    worker_exit_codes: list[int]
    #: What each process wrote to its standard output and error, leader first.
    logs: list[str]


class LoadTestProcesses:
    """A leader and its workers, running; a context manager that leaves none behind."""

    def __init__(
        self,
        specification: Mapping[str, Any],
        *,
        url: str,
        directory: Path,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
        leader_prefix: Sequence[str] | None = None,
        start_workers: int | None = None,
    ) -> None:
        """Start the processes.

        Args:
            specification: The content of ``spec.json``.
            url: Of the endpoint, as ``AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME``.
            directory: Where the load test's files and logs go.
            environment: Further variables for every process.
            prefix: A command that each process is run by, such as ``taskset -c 0``.
            leader_prefix: Another one for the leader.
            start_workers: How many workers to start; as many as the specification says if None.
        """
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "spec.json").write_text(json.dumps(specification))
        self._environment = {
            **base_environment(),
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": url,
            "LOAD_TEST_URI": directory.as_uri(),
            **(environment or {}),
        }
        self._prefix = prefix
        self.leader = self._start("leader", 0, prefix if leader_prefix is None else leader_prefix)
        count = specification.get("workers", 1) if start_workers is None else start_workers
        self.workers = [self._start("worker", index, prefix) for index in range(count)]

    @property
    def running(self) -> list[subprocess.Popen[bytes]]:
        """All processes, the leader first."""
        return [self.leader, *self.workers]

    def add_worker(self, index: int) -> subprocess.Popen[bytes]:
        """Start one more worker."""
        process = self._start("worker", index, self._prefix)
        self.workers.append(process)
        return process

    def wait(self, timeout: float) -> Outcome:
        """Wait until all processes have ended.

        Raises:
            subprocess.TimeoutExpired: Some have not.
        """
        deadline = time.monotonic() + timeout
        codes = [process.wait(max(0.0, deadline - time.monotonic())) for process in self.running]
        file = self.directory / "load_test.json"
        return Outcome(
            document=json.loads(file.read_text()) if file.exists() else None,
            leader_exit_code=codes[0],
            worker_exit_codes=codes[1:],
            logs=[log.read_text() for log in sorted(self.directory.glob("*.log"))],
        )

    def wait_for_log(self, text: str, timeout: float) -> None:
        """Wait until the leader has logged ``text``.

        Raises:
            TimeoutError: It has not.
        """
        deadline = time.monotonic() + timeout
        log = self.directory / "leader.log"
        while text not in log.read_text():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the leader did not log {text!r}:\n{log.read_text()}")
            time.sleep(0.05)

    def __enter__(self) -> LoadTestProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.running:
            if process.poll() is None:
                process.kill()
                process.wait()

    def _start(self, role: str, index: int, prefix: Sequence[str]) -> subprocess.Popen[bytes]:
        name = role if role == "leader" else f"worker-{index}"
        with (self.directory / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [*prefix, sys.executable, "-m", "load_generator"],
                cwd=IMAGE,
                env={
                    **self._environment,
                    "LOAD_TEST_ROLE": role,
                    "WORKER_INDEX": str(index),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )


def run_load_test(
    specification: Mapping[str, Any],
    *,
    url: str,
    directory: Path,
    timeout: float = 120.0,
    environment: Mapping[str, str] | None = None,
    prefix: Sequence[str] = (),
) -> Outcome:
    """Run a load test to its end: see ``LoadTestProcesses``."""
    with LoadTestProcesses(
        specification, url=url, directory=directory, environment=environment, prefix=prefix
    ) as processes:
        return processes.wait(timeout)
