"""ECS: tasks are processes on this machine, each with an address of its own.

What they run is read from the image's Dockerfile, their environment from the task definition and
the overrides of RunTask: the same that a container on Fargate gets.
"""

from __future__ import annotations

import itertools
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partialmethod
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

from moto.ecs.exceptions import InvalidParameterException
from moto.ecs.models import EC2ContainerServiceBackend

from local import guard
from local.image import Image
from local.patches import Patch
from local.task_metadata import MetadataServer

#: Between SIGTERM and SIGKILL; Fargate's default is 30 s.
STOP_SECONDS: Final = 3.0

_logger = logging.getLogger(__name__)
_noting = threading.Lock()


@dataclass
class Container:
    """A task's one container, as DescribeTasks shows it."""

    container_arn: str
    task_arn: str
    name: str
    image: str
    cpu: str
    memory: str
    network_interfaces: list[dict[str, str]]
    last_status: str = "RUNNING"
    exit_code: int | None = None
    reason: str | None = None


@dataclass
class Task:
    """A task, with the fields of DescribeTasks; moto's responses read them by name."""

    task_arn: str
    cluster_arn: str
    task_definition_arn: str
    group: str
    cpu: str
    memory: str
    overrides: Mapping[str, Any]
    tags: Sequence[Mapping[str, str]]
    started_by: str
    launch_type: str
    platform_version: str
    address: str
    containers: list[Container]
    process: subprocess.Popen[bytes]
    log: Path
    last_status: str = "RUNNING"
    desired_status: str = "RUNNING"
    stop_code: str | None = None
    stopped_reason: str | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    stopped_at: datetime | None = None
    attachments: list[dict[str, Any]] = field(default_factory=list)
    version: int = 1

    def advance(self) -> None:
        """moto moves its own tasks on at each look; this one is a process."""


class Tasks:
    """Starts and stops tasks, and serves their metadata.

    Args:
        image: What the containers run.
        environment: Environment of every container besides its own: endpoints of the embedded AWS.
        logs: Folder for one log file a task.
    """

    def __init__(self, image: Image, *, environment: Mapping[str, str], logs: Path) -> None:
        self._image = image
        #: What the tasks that are started from now on get.
        self.environment = dict(environment)
        self._logs = logs
        self._lock = threading.Lock()
        self._tasks: dict[str, Task] = {}
        self._numbers = itertools.count()
        self._addresses = _addresses()
        self._closing = False
        self._metadata = MetadataServer(self.get)

    def __enter__(self) -> Tasks:
        self._metadata.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_all()
        self._metadata.stop()

    def get(self, task_id: str) -> Task | None:
        """A task by the last part of its ARN."""
        return self._tasks.get(task_id)

    def _all(self) -> list[Task]:
        return list(self._tasks.values())  # a copy: others are started meanwhile

    def running(self) -> list[Task]:
        """The tasks whose process lives."""
        return [task for task in self._all() if task.process.poll() is None]

    def failed(self) -> list[Task]:
        """The tasks that ended by themselves with an error."""
        return [
            task
            for task in self._all()
            if task.stop_code == "EssentialContainerExited" and task.containers[0].exit_code
        ]

    def start(
        self,
        *,
        cluster: Any,
        definition: Any,
        overrides: Mapping[str, Any],
        tags: Sequence[Mapping[str, str]],
        started_by: str,
        group: str,
        launch_type: str,
        platform_version: str,
    ) -> Task:
        """Start a task of a definition; moto's cluster and definition objects.

        Raises:
            InvalidParameterException: An override names a container that is not there.
        """
        [container] = definition.container_definitions
        override: Mapping[str, Any] = {}
        for each in overrides.get("containerOverrides") or ():
            if each["name"] != container["name"]:
                raise InvalidParameterException(
                    f"Override for container named {each['name']} is not a container in the "
                    "TaskDefinition."
                )
            override = each
        number = next(self._numbers)
        task_id = uuid.uuid4().hex
        arn = f"{cluster.arn.replace(':cluster/', ':task/')}/{task_id}"
        with self._lock:  # a generator runs for one thread at a time
            address = next(self._addresses)
        environment = {
            **self.environment,
            **self._image.environment,
            **self._metadata.environment(task_id),
            **_pairs(container.get("environment")),
            **_pairs(override.get("environment")),
        }
        log = self._logs / f"task-{number:02d}.log"
        with self._lock:
            if self._closing:
                raise InvalidParameterException("the embedded AWS is closing")
            task = Task(
                task_arn=arn,
                cluster_arn=cluster.arn,
                task_definition_arn=definition.arn,
                group=group or f"family:{definition.family}",
                cpu=str(overrides.get("cpu") or definition.cpu),
                memory=str(overrides.get("memory") or definition.memory),
                overrides=overrides,
                tags=tags,
                started_by=started_by,
                launch_type=launch_type,
                platform_version=platform_version or "1.4.0",
                address=address,
                containers=[
                    Container(
                        container_arn=f"{arn}/{uuid.uuid4()}",
                        task_arn=arn,
                        name=container["name"],
                        image=container["image"],
                        cpu=str(container.get("cpu", 0)),
                        memory=str(container.get("memory") or ""),
                        network_interfaces=[{"privateIpv4Address": address}],
                    )
                ],
                process=self._process(
                    override.get("command") or container.get("command") or (), environment, log
                ),
                log=log,
            )
            self._tasks[task_id] = task
        threading.Thread(target=self._watch, args=(task,), daemon=True).start()
        return task

    def stop(self, task: Task, *, reason: str, code: str = "UserInitiated") -> None:
        """Ask a task to end; after a few seconds it is killed. Returns at once."""
        with self._lock:
            if task.desired_status == "STOPPED":
                return
            task.desired_status = "STOPPED"
            task.stop_code, task.stopped_reason = code, reason
            if task.last_status != "STOPPED":
                task.last_status = "STOPPING"
        _signal_group(task.process, signal.SIGTERM)
        timer = threading.Timer(STOP_SECONDS, _signal_group, (task.process, signal.SIGKILL))
        timer.daemon = True
        timer.start()

    def stop_all(self) -> None:
        """Kill every task and wait until none is left; no new one starts."""
        with self._lock:
            self._closing = True
            tasks = self._all()
        for task in tasks:
            _signal_group(task.process, signal.SIGKILL)
        for task in tasks:
            task.process.wait()

    def _process(
        self, arguments: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> subprocess.Popen[bytes]:
        program, *entrypoint = self._image.command
        if program in ("python", "python3"):
            program = sys.executable
        guarded = [sys.executable, "-I", "-S", guard.__file__]
        with log.open("ab") as output:
            return subprocess.Popen(
                [*guarded, program, *entrypoint, *arguments],
                cwd=self._image.folder,
                env=dict(environment),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _watch(self, task: Task) -> None:
        code = task.process.wait()
        with self._lock:
            [container] = task.containers
            container.exit_code = code if code >= 0 else 128 - code
            container.last_status = task.last_status = "STOPPED"
            if task.desired_status != "STOPPED":
                task.desired_status = "STOPPED"
                task.stop_code = "EssentialContainerExited"
                task.stopped_reason = "Essential container in task exited"
            task.stopped_at = datetime.now(UTC)
        _logger.info("task %s ended with exit code %s", task.task_arn, container.exit_code)


def patches(tasks: Tasks) -> Iterator[Patch]:
    """What to replace in moto."""
    yield Patch(EC2ContainerServiceBackend, "run_task", partialmethod(_run_task, tasks))
    yield Patch(EC2ContainerServiceBackend, "stop_task", partialmethod(_stop_task, tasks))


def _run_task(
    backend: Any,
    tasks: Tasks,
    cluster_str: str,
    task_definition_str: str,
    count: int,
    overrides: Mapping[str, Any] | None,
    started_by: str | None,
    tags: Sequence[Mapping[str, str]] | None,
    launch_type: str | None,
    _networking_configuration: Mapping[str, Any] | None = None,
    group: str | None = None,
    platform_version: str | None = None,
    _capacity_provider_strategy: Sequence[Mapping[str, Any]] | None = None,
) -> list[Task]:
    cluster = backend._get_cluster(cluster_str)
    started = [
        tasks.start(
            cluster=cluster,
            definition=backend.describe_task_definition(task_definition_str),
            overrides=overrides or {},
            tags=tags or [],
            started_by=started_by or "",
            group=group or "",
            launch_type=launch_type or "FARGATE",
            platform_version=platform_version or "",
        )
        for _ in range(count)
    ]
    with _noting:  # another dictionary, as moto may be going through this one
        known = backend.tasks.get(cluster.name, {})
        backend.tasks[cluster.name] = known | {task.task_arn: task for task in started}
    return started


def _stop_task(backend: Any, tasks: Tasks, cluster_str: str, task_str: str, reason: str) -> Task:
    backend._get_cluster(cluster_str)
    task = tasks.get(task_str.rpartition("/")[2])
    if task is None:
        raise InvalidParameterException("The referenced task was not found.")
    tasks.stop(task, reason=reason or "Task stopped by user")
    return task


def _addresses() -> Iterator[str]:
    """Addresses of this machine, another for each task and hardly ever another program's.

    All of 127.0.0.0/8 is this machine on Linux; elsewhere only the first address is.
    """
    if not sys.platform.startswith("linux"):
        return itertools.repeat("127.0.0.1")
    network = random.randrange(0x7F010000, 0x7FFE0000, 0x100)
    hosts = itertools.cycle(range(1, 255))
    return (str(IPv4Address(network + host)) for host in hosts)


def _pairs(environment: Sequence[Mapping[str, str]] | None) -> dict[str, str]:
    return {each["name"]: each["value"] for each in environment or ()}


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    if process.poll() is None:  # else its number may be another's by now
        with suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for a zombie
            os.killpg(process.pid, number)
