"""One task of a load test: ``python -m load_generator``, leader or worker as its environment says.

It reads ``spec.json``, gets ready, and then runs Locust itself, with Locust's own command line.
"""

from __future__ import annotations

# Before anything that imports ssl: gevent, which Locust brings, puts its own in place.
import locust.main  # isort: skip

import contextlib
import dataclasses
import json
import logging
import os
import signal
import socket
import sys
import time
from typing import Any

import botocore.session
import gevent
from locust.runners import MasterRunner, WorkerRunner

from load_generator import processes, result
from load_generator import worker as worker_side
from load_generator.errors import LoadTestFailed
from load_generator.leader import Leader
from load_generator.locust_events import listen
from load_generator.spec import Spec, SpecError, parse_spec
from load_generator.storage import Storage, StorageError, open_storage
from load_generator.task import Role, Task, TaskError
from load_generator.user import CallUser, EndpointUser

log = logging.getLogger("load_generator")

_POLL = 0.2
_WEB_HOST = "127.0.0.1"
#: One for each load test that may run at the same time.
_WEB_PORTS = 10


def main() -> None:
    """Run this task.

    Raises:
        SystemExit: Always; with 0 only if the load test was completed.
    """
    started_at = time.time()
    try:
        task = Task.from_environment()
    except (TaskError, OSError) as error:
        sys.exit(f"load_generator: {error}")
    session = botocore.session.get_session()
    region = os.environ.get("AWS_REGION") or session.get_config_variable("region")
    if not region:
        sys.exit("load_generator: AWS_REGION is not set")
    session.set_config_variable("region", region)
    os.environ.setdefault("AWS_DEFAULT_REGION", region)  # the one that boto3 in a locustfile reads
    try:
        storage = open_storage(task.uri, session)
        document = storage.read("spec.json")
    except StorageError as error:
        sys.exit(f"load_generator: {error}")
    if document is None:
        sys.exit(f"load_generator: there is no {task.uri}spec.json")
    try:
        spec = parse_spec(document)
    except SpecError as error:
        failed = result.LoadTest(started_at=started_at)
        result.write_failure(
            storage, failed, result.Failure("InvalidSpec", str(error)), time.time()
        )
        sys.exit(f"load_generator: InvalidSpec: {error}")
    if task.role is Role.LEADER:
        _lead(task, spec, storage)
    else:
        _work(task, spec, storage, session, started_at)


def _lead(task: Task, spec: Spec, storage: Storage) -> None:
    leader = Leader(task, spec, storage)

    def attach(environment: locust.env.Environment, runner: MasterRunner, **_: Any) -> None:
        if task.web_port is not None:
            _show_web_ui(environment, task.web_port)
        leader.attach(environment, runner)

    listen(locust.events.init, attach)
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, leader.interrupt)
    try:
        _run_locust(
            task,
            "--master",
            "--headless",
            f"--master-bind-host={task.host}",
            f"--master-bind-port={task.port}",
            f"--expect-workers={spec.processes}",
            f"--expect-workers-max-wait={int(task.start_timeout)}",
            "--only-summary",
        )
    except BaseException as error:
        # Locust ends by SystemExit, also where the locustfile cannot be loaded.
        leader.ended(error)
        raise


def _show_web_ui(environment: locust.env.Environment, port: int) -> None:
    """Locust's web UI, for this machine alone: at the port, or one of the next if it is taken."""
    for each in range(port, port + _WEB_PORTS):
        with contextlib.suppress(OSError), socket.create_server((_WEB_HOST, each)):
            break
    else:
        log.warning("No web UI: ports %s to %s are taken", port, each)
        return
    environment.create_web_ui(_WEB_HOST, each)
    log.info("Web UI: http://%s:%s", _WEB_HOST, each)


def _work(
    task: Task, spec: Spec, storage: Storage, session: botocore.session.Session, started_at: float
) -> None:
    try:
        if task.worker >= spec.workers:
            raise LoadTestFailed(
                "WorkersChanged", f"WORKER_INDEX {task.worker} of {spec.workers} workers"
            )
        if task.process is None and spec.processes_per_worker > 1:
            sys.exit(processes.run(spec.processes_per_worker, task.environment_of_process))
        if task.process is not None:
            processes.die_with_parent()
            number = task.worker * spec.processes_per_worker + task.process
            task = dataclasses.replace(task, worker=number)
        worker = worker_side.Worker(task, spec, storage, session)
        host, port = _find_leader(task, storage, started_at)
    except (LoadTestFailed, StorageError) as error:
        name = error.name if isinstance(error, LoadTestFailed) else "StorageError"
        if name != "LeaderLost":
            # A leader takes what was written before it started for an earlier attempt's.
            with contextlib.suppress(LoadTestFailed, StorageError):
                _find_leader(task, storage, started_at)
        failed = result.LoadTest.of(spec, started_at)
        result.write_failure(storage, failed, result.Failure(name, str(error)), time.time())
        sys.exit(f"load_generator: {name}: {error}")
    worker_side.become(worker)

    def attach(environment: locust.env.Environment, runner: WorkerRunner, **_: Any) -> None:
        worker.attach(environment, runner)
        if not any(issubclass(each, EndpointUser | CallUser) for each in environment.user_classes):
            message = f"{task.locustfile} has no class that derives from EndpointUser or CallUser"
            gevent.spawn(worker.fail, LoadTestFailed("InvalidLocustfile", message))

    listen(locust.events.init, attach)
    _run_locust(task, "--worker", f"--master-host={host}", f"--master-port={port}")


def _find_leader(task: Task, storage: Storage, started_at: float) -> tuple[str, int]:
    """Where the leader listens, once it does."""
    deadline = time.monotonic() + task.start_timeout
    reason = "there is no leader.json"
    while time.monotonic() < deadline:
        if result.written_since(storage, started_at):
            raise LoadTestFailed("LeaderLost", "the load test is over: see load_test.json")
        document = storage.read("leader.json")
        if document is not None:
            address = json.loads(document)
            host, port = str(address["host"]), int(address["port"])
            try:
                socket.create_connection((host, port), timeout=2).close()
            except OSError as error:
                # It may be the file of an earlier attempt, which the leader is about to replace.
                reason = f"{host}:{port}: {error}"
            else:
                return host, port
        gevent.sleep(_POLL)
    raise LoadTestFailed("LeaderLost", f"no leader within {task.start_timeout:g} s: {reason}")


def _run_locust(task: Task, *arguments: str) -> None:
    # Heartbeats that may be missing: Locust gives a worker up no later than the leader does.
    locust.runners.HEARTBEAT_LIVENESS = max(1, round(task.lease) - 2)
    sys.argv = ["locust", f"--locustfile={task.locustfile}", *arguments]
    locust.main.main()  # type: ignore[no-untyped-call] # Locust leaves it untyped


if __name__ == "__main__":
    main()
