"""Runs one sizing on the embedded AWS, through the same API calls as on AWS."""

from __future__ import annotations

import contextlib
import json
import queue
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from local import models as local_models
from local.ecs import Task
from local.embedded import EmbeddedAws
from local.endpoint.behaviour import ModelCatalogue
from local.endpoint.client import EndpointServerError
from local.history_event import HistoryEvent
from local.size.logs import EMBEDDED_AWS, FUNCTIONS
from local.size.outcome import Outcome, outcome
from local.size.progress import LoadTestView, Progress
from sizing.request.request import Request
from sizing.result.result import Result

_LOOK_SECONDS: Final = 0.25


def run(
    request: Request,
    document: Any,
    *,
    models: ModelCatalogue,
    logs: Path,
    progress: Progress,
    update: Callable[[], None],
    web_port: int | None = None,
) -> Outcome:
    """Run a sizing to its end. An exception ends it, and with it all that runs for it.

    Args:
        request: The request.
        document: The same as it was written: what the state machine gets.
        models: How the local models behave.
        logs: Folder for logs.
        progress: Told what happens.
        update: Called a few times a second.
        web_port: Where load tests show Locust's own web UI: one at this port, others that run at
            the same time at the next ones.
    """
    events: queue.SimpleQueue[HistoryEvent] = queue.SimpleQueue()
    update()
    with EmbeddedAws(models=models, logs=logs, on_event=events.put) as aws:
        if web_port is not None:
            aws.tasks.environment["WEB_PORT"] = str(web_port)
        local_models.register(aws.client("sagemaker"), request.model)
        stepfunctions = aws.client("stepfunctions")
        arn = stepfunctions.start_execution(
            stateMachineArn=aws.state_machine_arn("SizingStateMachine"), input=json.dumps(document)
        )["executionArn"]
        watch = _Watch(aws, events, progress)
        while True:
            watch.look()
            update()
            execution = stepfunctions.describe_execution(executionArn=arn)
            if execution["status"] != "RUNNING":
                break
            time.sleep(_LOOK_SECONDS)
        return _outcome(aws, execution, logs)


class _Watch:
    """Tells the progress what the executions, the leaders' logs and the endpoints say."""

    def __init__(
        self, aws: EmbeddedAws, events: queue.SimpleQueue[HistoryEvent], progress: Progress
    ) -> None:
        self._aws, self._events, self._progress = aws, events, progress
        self._read: dict[Path, int] = {}

    def look(self) -> None:
        now = time.monotonic()
        for event in self._new_events():
            self._progress.handle(event, now)
        for load_test in self._progress.load_tests.values():
            self._progress.leader_said(load_test, self._leader_lines(load_test), now)
            with contextlib.suppress(EndpointServerError):  # gone meanwhile
                self._progress.seen(load_test, self._aws.endpoints.live(load_test.endpoint_name))

    def _new_events(self) -> Iterator[HistoryEvent]:
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._events.get_nowait()

    def _leader_lines(self, load_test: LoadTestView) -> list[str]:
        for task in self._aws.tasks.running():
            if _leads(task, load_test.load_test_id):
                with task.log.open() as log:
                    log.seek(self._read.get(task.log, 0))
                    text = log.read()
                whole, newline, _ = text.rpartition("\n")
                self._read[task.log] = self._read.get(task.log, 0) + len((whole + newline).encode())
                return whole.splitlines()
        return []


def _leads(task: Task, load_test_id: str) -> bool:
    [override] = task.overrides.get("containerOverrides") or [{}]
    environment = {each["name"]: each["value"] for each in override.get("environment", ())}
    uri = environment.get("LOAD_TEST_URI", "")
    return environment.get("LOAD_TEST_ROLE") == "leader" and uri.endswith(f"/{load_test_id}/")


def _outcome(aws: EmbeddedAws, execution: dict[str, Any], folder: Path) -> Outcome:
    bucket, _ = aws.stack.only("AWS::S3::Bucket")
    failed = [task.log for task in aws.tasks.failed()]
    ended = outcome(aws.client("s3"), aws.stack.ref(bucket), execution)
    traces = [folder / FUNCTIONS, folder / EMBEDDED_AWS]
    return replace(ended, logs=failed or ([] if _explained(ended.result) else traces))


def _explained(result: Result | None) -> bool:
    """Whether the result says itself why it failed, if it did."""
    if result is None:
        return False
    return result.error is None or not result.error.name.startswith(("States.", "Lambda."))
