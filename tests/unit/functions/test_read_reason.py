"""ReadReason says why a load test broke: the task that stopped, and what the leader wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext

from read_reason.app import handler
from tests.unit.functions.conftest import BUCKET

Client = Callable[[str], Any]


def stopped_task(role: str, **more: Any) -> str:
    return json.dumps(
        {
            "Containers": [{"ExitCode": 3, "Name": "load-generator"}],
            "Overrides": {
                "ContainerOverrides": [{"Environment": [{"Name": "LOAD_TEST_ROLE", "Value": role}]}]
            },
            "StoppedReason": "Essential container in task exited",
            **more,
        }
    )


def read(error: str, cause: str = "") -> str:
    event = {"error": error, "cause": cause, "bucket": BUCKET, "prefix": "p/"}
    return str(handler(event, LambdaContext())["reason"])


@pytest.mark.parametrize(
    "error, cause, reason",
    [
        (
            "States.TaskFailed",
            stopped_task("worker"),
            "worker: Essential container in task exited; load-generator exited with 3",
        ),
        (
            "States.TaskFailed",
            stopped_task("leader", Containers=[{}]),
            "leader: Essential container in task exited",
        ),
        ("States.TaskFailed", "", "States.TaskFailed: "),
        ("States.Timeout", "", "States.Timeout: "),
        ("AmazonECS.Unknown", "no capacity", "AmazonECS.Unknown: no capacity"),
    ],
)
def test_what_stopped_it(aws: Client, error: str, cause: str, reason: str) -> None:
    assert read(error, cause) == reason


@pytest.mark.parametrize(
    "body, said",
    [
        (
            '{"error": {"name": "Lost", "message": "worker 2 is \\"gone\\""}}',
            '. The leader says: worker 2 is "gone"',
        ),
        ('{"error": null, "steps": []}', ""),
        ('{"error": {"name"', ""),
        ("[]", ""),
    ],
)
def test_the_leader_has_the_last_word(aws: Client, body: str, said: str) -> None:
    aws("s3").put_object(Bucket=BUCKET, Key="p/load_test.json", Body=body.encode())
    assert read("States.TaskFailed", stopped_task("worker", Containers=[])) == (
        f"worker: Essential container in task exited{said}"
    )


@pytest.mark.parametrize(
    "cause, never_started",
    [
        (stopped_task("worker", StopCode="TaskFailedToStart"), True),
        (stopped_task("worker", StopCode="EssentialContainerExited"), False),
        (stopped_task("worker", StoppedReason="TaskFailedToStart"), False),
        ("TaskFailedToStart", False),
        ("", False),
    ],
)
def test_a_task_that_never_started_is_told_apart(
    aws: Client, cause: str, never_started: bool
) -> None:
    event = {"error": "States.TaskFailed", "cause": cause, "bucket": BUCKET, "prefix": "p/"}
    assert handler(event, LambdaContext())["never_started"] is never_started
