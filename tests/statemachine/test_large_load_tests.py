"""A load test of 200 workers stays within what Step Functions carries.

Its tasks run nowhere: each ends at once, with an answer as long as one of Fargate's.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_ecs import (  # noqa: E501 - the names are moto's
    StateTaskServiceEcs,
)

from local.stepfunctions import limits
from tests.local.machines import history, start
from tests.statemachine.stack import StackUnderTest, all_states, stack_under_test

WORKERS = 200
#: What DescribeTasks says of a task of Fargate, in bytes of JSON: 2.8 to 3.0 KB.
TASK_BYTES = 2_800

ARN = "arn:aws:ecs:eu-central-1:123456789012"
TASK = {
    "TaskArn": f"{ARN}:task/endpoint-sizer-Cluster/0123456789abcdef0123456789abcdef",
    "Containers": [{"Name": "load-generator", "ExitCode": 0, "LastStatus": "STOPPED"}],
    # All that else is in it: attachments, attributes, overrides, times.
    "Overrides": {"ContainerOverrides": [{"Environment": [{"Name": "X", "Value": "x" * 2_560}]}]},
    "StopCode": "EssentialContainerExited",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackUnderTest]:
    with stack_under_test(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def ended_tasks(monkeypatch: pytest.MonkeyPatch, stack: StackUnderTest) -> None:
    """Every task has ended well as soon as it is started."""
    assert TASK_BYTES <= limits.size(TASK) <= 3_000

    def submitted(_: Any, env: Any, **__: Any) -> None:
        env.stack.append({"Tasks": [copy.deepcopy(TASK)]})

    def ended(*_: Any, **__: Any) -> Any:
        return lambda: copy.deepcopy(TASK)

    monkeypatch.setattr(StateTaskServiceEcs, "_eval_service_task", submitted)
    monkeypatch.setattr(StateTaskServiceEcs, "_build_sync_resolver", ended)


def load_test(stack: StackUnderTest, number: int) -> dict[str, Any]:
    """The input of a load test."""
    return {
        "load_test_id": f"large-{number}",
        "bucket": stack.aws.stack.ref("ResultsBucket"),
        "prefix": f"sizings/large/{number}/",
        "sizing_id": "large",
        "tags": {},
        "workers": WORKERS,
        "worker_cpu": "1024",
        "worker_memory": "2048",
        "timeout_seconds": 600,
        "spec": {},
    }


def definition(stack: StackUnderTest) -> dict[str, Any]:
    [machine] = [
        each
        for each in stack.aws.stack.state_machines()
        if each.logical_id == "LoadTestStateMachine"
    ]
    copied: dict[str, Any] = json.loads(json.dumps(machine.definition))
    return copied


def without_output(value: Any) -> Any:
    """A machine whose tasks return what the API answers."""
    if isinstance(value, Mapping):
        is_task = value.get("Type") == "Task"
        return {
            name: without_output(each)
            for name, each in value.items()
            if not (is_task and name == "Output")
        }
    return [without_output(each) for each in value] if isinstance(value, list) else value


@pytest.mark.usefixtures("ended_tasks")
def test_200_workers_fit_into_a_load_test(stack: StackUnderTest) -> None:
    machine = definition(stack)
    arn = start(stack, machine.pop("States"), load_test(stack, 1), **machine)
    execution = stack.wait(arn)
    assert (execution.status, execution.error) == ("SUCCEEDED", None)
    assert execution.states.count("RunWorker") == WORKERS
    events = len(history(stack, arn))
    assert events < 2_000
    # Each time that a task's start fails is 3 events, and Retry starts it 8 times anew.
    assert events + 8 * 3 * (WORKERS + 1) < 7_000 < limits.MAX_EVENTS


@pytest.mark.usefixtures("ended_tasks")
def test_what_tasks_return_would_not_fit(stack: StackUnderTest) -> None:
    machine = without_output(definition(stack))
    assert {"RunLeader", "RunWorker"} <= all_states(machine)
    arn = start(stack, machine.pop("States"), load_test(stack, 2), **machine)
    execution = stack.wait(arn)
    assert (execution.status, execution.error) == ("FAILED", "States.DataLimitExceeded")
