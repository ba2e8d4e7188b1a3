"""Follows a sizing on AWS: its histories, the leader's log and the endpoint's metrics.

They tell the same ``Progress`` as the embedded AWS does. Whatever of it the user may not read is
left out: a sizing is never given up because its progress can't be shown.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from aws.cloudwatch import metric_data
from aws.refusals import code_of, is_gone
from endpoint_sizer.stack import Stack
from local.endpoint.figures import LiveFigures
from local.history_event import HistoryEvent
from local.size.progress import LoadTestView, Progress
from sizing.catalogue.instance import InstanceFacts
from sizing.load_test.measurement import MetricQuery
from sizing.load_test.observation import Window

#: Seconds between two looks at metrics, which cost a cent for a thousand; and how far back a look
#: goes, as they come late.
_METRICS_SECONDS: Final = 10.0
_LATE_SECONDS: Final = 60
#: Machines whose executions are followed; a clean-up says nothing that its state does not.
_FOLLOWED: Final = ("-probe", "-load-test")
_ENDS: Final = ("ExecutionSucceeded", "ExecutionFailed", "ExecutionAborted", "ExecutionTimedOut")
_STREAM_PREFIX: Final = "load-test/load-generator/"


@dataclass
class _LoadTest:
    """What is known of a load test's execution besides what the progress knows."""

    leader: str = ""
    log_token: str | None = None
    metrics_at: float = float("-inf")
    last_period: float = 0.0


@dataclass
class _Followed:
    """An execution whose history is read on."""

    arn: str
    last_id: int = 0
    ended: bool = False


class Follower:
    """Tells a progress what a sizing does.

    Args:
        stack: The stack.
        arn: The sizing's execution.
        progress: Told what happens; its clock is ``time.monotonic``.
    """

    def __init__(self, stack: Stack, arn: str, progress: Progress) -> None:
        self._stack, self._progress = stack, progress
        self._executions = {arn: _Followed(arn)}
        self._load_tests: dict[str, _LoadTest] = {}
        self._facts: dict[str, InstanceFacts] = {}
        self._denied: set[str] = set()

    def look(self) -> None:
        """Tell what is new."""
        for arn, event in self._new_events():
            at = monotonic_at(event["timestamp"].timestamp())
            self._progress.handle(HistoryEvent(arn, event), at)
        for name, view in list(self._progress.load_tests.items()):
            known = self._load_tests.setdefault(name, _LoadTest())
            for said in self._try("log", self._leader_says, known) or ():
                at = monotonic_at(said["timestamp"] / 1000)
                self._progress.leader_said(view, [said["message"]], at)
            if time.monotonic() - known.metrics_at >= _METRICS_SECONDS:
                known.metrics_at = time.monotonic()
                for live in self._try("metrics", self._metrics, view, known) or ():
                    self._progress.seen(view, live)

    def _try(self, what: str, read: Callable[..., Any], *arguments: Any) -> Any:
        """What was read; None if it can't be: not now, or not by this user."""
        if what in self._denied:
            return None
        try:
            return read(*arguments)
        except ClientError as error:
            if "AccessDenied" in code_of(error):
                self._denied.add(what)
        except BotoCoreError:
            pass
        return None

    # --- Histories ------------------------------------------------------------------------------

    def _new_events(self) -> list[tuple[str, dict[str, Any]]]:
        """What is new in all histories, in the order in which it happened."""
        new: list[tuple[str, dict[str, Any]]] = []
        read: set[str] = set()
        # An event may tell of another execution, which is read at once.
        while todo := [
            each for each in self._executions.values() if not each.ended and each.arn not in read
        ]:
            for followed in todo:
                read.add(followed.arn)
                for event in self._try("history", self._new_events_of, followed) or ():
                    self._note(followed, event)
                    new.append((followed.arn, event))
        return sorted(new, key=lambda each: each[1]["timestamp"])

    def _new_events_of(self, followed: _Followed) -> list[dict[str, Any]]:
        """The events since the last look, in their order: read from the end backwards."""
        pages = self._stack.client("stepfunctions").get_paginator("get_execution_history")
        new: list[dict[str, Any]] = []
        for page in pages.paginate(
            executionArn=followed.arn, reverseOrder=True, PaginationConfig={"PageSize": 100}
        ):
            fresh = [each for each in page["events"] if each["id"] > followed.last_id]
            new += fresh
            if len(fresh) < len(page["events"]):
                break
        followed.last_id = new[0]["id"] if new else followed.last_id
        return new[::-1]

    def _note(self, followed: _Followed, event: Mapping[str, Any]) -> None:
        """What an event says of where else to look."""
        kind = event["type"]
        if kind in _ENDS:
            followed.ended = True
        elif kind == "ExecutionStarted":
            given = _decoded(event["executionStartedEventDetails"].get("input"))
            for each in given.get("sizing", {}).get("candidates", ()):
                facts = InstanceFacts.model_validate(each)
                self._facts[facts.instance_type] = facts
        elif kind == "TaskSubmitted":
            submitted = _decoded(event["taskSubmittedEventDetails"].get("output"))
            child = str(submitted.get("ExecutionArn", ""))
            if child.rpartition(":")[0].endswith(_FOLLOWED):
                self._executions.setdefault(child, _Followed(child))
            for task in submitted.get("Tasks", ()):
                if _leads(task):
                    name = followed.arn.rpartition(":")[2]
                    known = self._load_tests.setdefault(name, _LoadTest())
                    known.leader = task["TaskArn"].rpartition("/")[2]

    # --- The leader's log -----------------------------------------------------------------------

    def _leader_says(self, known: _LoadTest) -> list[dict[str, Any]]:
        if not known.leader:
            return []
        token = {"nextToken": known.log_token} if known.log_token else {"startFromHead": True}
        try:
            answer = self._stack.client("logs").get_log_events(
                logGroupName=f"/aws/ecs/{self._stack.name_prefix}-load-test",
                logStreamName=_STREAM_PREFIX + known.leader,
                **token,
            )
        except ClientError as error:
            if not is_gone(error):
                raise
            return []  # it has said nothing yet
        known.log_token = answer["nextForwardToken"]
        said: list[dict[str, Any]] = answer["events"]
        return said

    # --- The endpoint's metrics -----------------------------------------------------------------

    def _metrics(self, view: LoadTestView, known: _LoadTest) -> list[LiveFigures]:
        """The periods since the last look that both rate and utilization are known of."""
        period = int(self._progress.request["measurement"]["metric_period_seconds"])
        facts = self._facts.get(view.instance_type)
        end = int(time.time())
        window = Window(start=end - max(_LATE_SECONDS, 2 * period), end=end)
        asked = _queries(period)
        data = metric_data(view.endpoint_name, window, list(asked.values()))
        series = {name: data[query] for name, query in asked.items()}
        found = []
        for at in sorted(series["invocations"].keys() & series["cpu"].keys()):
            if at > known.last_period and facts is not None:
                known.last_period = at
                values = {name: each.get(at, 0.0) for name, each in series.items()}
                found.append(_live(values, facts, period))
        return found


def monotonic_at(epoch: float) -> float:
    """When an epoch second was, or will be, on the monotonic clock."""
    return time.monotonic() - (time.time() - epoch)


def _queries(period: int) -> dict[str, MetricQuery]:
    of_variant, of_instances = "AWS/SageMaker", "/aws/sagemaker/Endpoints"
    return {
        "invocations": MetricQuery(of_variant, "Invocations", "Sum", period),
        "errors_4xx": MetricQuery(of_variant, "Invocation4XXErrors", "Sum", period),
        "errors_5xx": MetricQuery(of_variant, "Invocation5XXErrors", "Sum", period),
        "cpu": MetricQuery(of_instances, "CPUUtilization", "Average", period),
        "cpu_samples": MetricQuery(of_instances, "CPUUtilization", "SampleCount", period),
        "gpu": MetricQuery(of_instances, "GPUUtilization", "Average", period),
        "gpu_samples": MetricQuery(of_instances, "GPUUtilization", "SampleCount", period),
    }


def _live(values: Mapping[str, float], facts: InstanceFacts, period: int) -> LiveFigures:
    errors = (values["errors_4xx"] + values["errors_5xx"]) / period
    rate = values["invocations"] / period
    utilization = values["cpu"] / facts.vcpus
    if facts.gpus:  # whether a sample is of an instance or of one of its GPUs, their number tells
        of_instance = values["gpu"] * values["gpu_samples"] / (values["cpu_samples"] or 1.0)
        utilization = max(utilization, of_instance / facts.gpus)
    return LiveFigures(rate, rate - errors, errors, utilization, (values["cpu"],))


def _leads(task: Mapping[str, Any]) -> bool:
    """Whether a task of RunTask's answer is a load test's leader."""
    overrides = task.get("Overrides", {}).get("ContainerOverrides", ())
    return any(
        (each.get("Name"), each.get("Value")) == ("LOAD_TEST_ROLE", "leader")
        for override in overrides
        for each in override.get("Environment", ())
    )


def _decoded(text: str | None) -> dict[str, Any]:
    try:
        decoded = json.loads(text or "{}")
    except ValueError:  # cut off: a history keeps 256 KiB
        return {}
    return decoded if isinstance(decoded, dict) else {}
