"""Where this task runs and what it is told: its environment, and the ECS task metadata."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

_METADATA_TIMEOUT = 5.0
#: What a worker with several processes tells each of them.
_PROCESS = "WORKER_PROCESS"
#: The leader's port on Fargate, where every task has an address of its own.
LEADER_PORT = 5557
#: How long leader and workers go on without a word of each other, seconds.
LEASE_SECONDS = 5.0
_LOCUSTFILE = Path(__file__).parent.parent / "locustfile.py"


class TaskError(ValueError):
    """The environment is not what a task of a load test needs; names the variable."""


class Role(StrEnum):
    """What a task does in a load test."""

    LEADER = "leader"
    WORKER = "worker"


@dataclass(frozen=True, slots=True)
class Task:
    """One task of a load test."""

    #: Where the load test's files are: ``s3://bucket/prefix/`` or ``file:///directory/``.
    uri: str
    role: Role
    #: Which worker of the fleet, from 0; of the leader nothing.
    worker: int
    #: Which process of a worker with several; None of the one that starts them.
    process: int | None
    #: The task's own address, and the port that its leader listens on: 0 for any that is free.
    host: str
    port: int
    #: vCPUs that the task may use; None where nobody says.
    vcpus: float | None
    locustfile: Path
    #: How long leader and workers wait for each other, seconds.
    start_timeout: float
    #: How long they go on without a word of each other, seconds.
    lease: float
    max_connections: int
    #: Where the leader shows Locust's own web UI, on this machine alone; None for not at all.
    web_port: int | None = None

    def environment_of_process(self, number: int) -> dict[str, str]:
        """What a worker's process is told besides the task's own environment."""
        return {_PROCESS: str(number)}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Task:
        """Read the task's environment, and its metadata if it runs on ECS.

        Raises:
            TaskError: A variable is missing or not what it must be.
            OSError: The metadata endpoint did not answer.
        """
        uri = environment.get("LOAD_TEST_URI", "")
        if not uri.startswith(("s3://", "file://")):
            raise TaskError(
                f"LOAD_TEST_URI must be s3://bucket/prefix/ or file:///directory/: {uri!r}"
            )
        try:
            role = Role(environment.get("LOAD_TEST_ROLE", ""))
        except ValueError as error:
            raise TaskError(
                f"LOAD_TEST_ROLE must be leader or worker: {environment.get('LOAD_TEST_ROLE')!r}"
            ) from error
        metadata = environment.get("ECS_CONTAINER_METADATA_URI_V4")
        host, vcpus = _describe(metadata) if metadata else ("127.0.0.1", None)
        return cls(
            uri=uri if uri.endswith("/") else f"{uri}/",
            role=role,
            worker=int(_number(environment, "WORKER_INDEX", 0, least=0)),
            process=int(environment[_PROCESS]) if _PROCESS in environment else None,
            host=host,
            port=LEADER_PORT if metadata else 0,
            vcpus=vcpus,
            locustfile=Path(environment.get("LOCUSTFILE") or _LOCUSTFILE),
            start_timeout=_number(environment, "START_TIMEOUT_SECONDS", 300, least=1),
            lease=_number(environment, "LEASE_SECONDS", LEASE_SECONDS, least=1),
            max_connections=int(_number(environment, "MAX_CONNECTIONS", 4096, least=1)),
            web_port=int(_number(environment, "WEB_PORT", 0, least=0)) or None,
        )


def _number(environment: Mapping[str, str], name: str, default: float, *, least: float) -> float:
    value = environment.get(name) or str(default)
    try:
        number = float(value)
    except ValueError as error:
        raise TaskError(f"{name} must be a number: {value!r}") from error
    if not number >= least:
        raise TaskError(f"{name} must be at least {least:g}: {value!r}")
    return number


def _describe(metadata_uri: str) -> tuple[str, float | None]:
    """The task's private address and vCPUs, of the task metadata endpoint, version 4."""
    container = _get(metadata_uri)
    task = _get(f"{metadata_uri}/task")
    try:
        host = str(container["Networks"][0]["IPv4Addresses"][0])
    except (KeyError, IndexError, TypeError) as error:
        raise TaskError("ECS_CONTAINER_METADATA_URI_V4: the container has no address") from error
    limits = task.get("Limits") or {}
    return host, float(limits["CPU"]) if limits.get("CPU") else None


def _get(uri: str) -> Any:
    # The URI is ECS's own and always http.
    with urllib.request.urlopen(  # noqa: S310 # nosec B310
        uri, timeout=_METADATA_TIMEOUT
    ) as answer:
        return json.load(answer)
