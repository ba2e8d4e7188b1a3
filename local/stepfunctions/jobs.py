"""``.sync``: ECS tasks and nested executions that a state waits for, and stops when it is over."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError
from botocore.model import StructureShape
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import (
    FailureEventException,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_callback import (  # noqa: E501 - the names are moto's
    StateTaskServiceCallback,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_ecs import (  # noqa: E501 - the names are moto's
    StateTaskServiceEcs,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_sfn import (  # noqa: E501 - the names are moto's
    StateTaskServiceSfn,
)

from local.casing import pascal
from local.patches import Patch
from local.stepfunctions.calls import client_of_interpreter, operation_shapes
from local.stepfunctions.errors import task_failed
from local.stepfunctions.waits import POLL_SECONDS


def patches() -> Iterator[Patch]:
    """What to replace in moto."""
    yield Patch(StateTaskServiceEcs, "_get_supported_parameters", _run_task_parameters)
    yield Patch(StateTaskServiceEcs, "_eval_service_task", _run_task)
    yield Patch(StateTaskServiceEcs, "_build_sync_resolver", _TaskRun.of)
    yield Patch(StateTaskServiceSfn, "_build_sync2_resolver", _NestedExecution.of)
    yield Patch(StateTaskServiceCallback, "_eval_sync", _wait_for_job)


def _run_task_parameters(self: Any) -> set[str]:
    """All of RunTask's; moto drops Tags, which reach ECS on AWS."""
    shape, _ = operation_shapes(self, None, None)
    return {pascal(name) for name in shape.members} if isinstance(shape, StructureShape) else set()


def _run_task(
    self: Any,
    env: Any,
    resource_runtime_part: Any,
    normalised_parameters: dict[str, Any],
    **_: Any,
) -> None:
    """Failures in the answer of RunTask fail the state, with AmazonECS.Unknown."""
    ecs = client_of_interpreter(resource_runtime_part.region, "ecs")
    started = ecs.run_task(**normalised_parameters)
    if started["failures"]:
        cause = json.dumps(started["failures"])
        failure = task_failed(self, env, error="AmazonECS.Unknown", cause=cause)
        raise FailureEventException(failure_event=failure)
    [task] = started["tasks"]
    described = ecs.describe_tasks(cluster=task["clusterArn"], tasks=[task["taskArn"]])
    self._normalise_response(described, service_action_name="describe_tasks")
    env.stack.append(described)


class _TaskRun:
    """An ECS task that a state waits for; its exit codes decide how the state ends."""

    def __init__(self, state: Any, env: Any, ecs: Any, submitted: Mapping[str, Any]) -> None:
        self._state, self._env, self._ecs = state, env, ecs
        self._task = {"cluster": submitted["ClusterArn"], "task": submitted["TaskArn"]}

    @staticmethod
    def of(state: Any, env: Any, resource_runtime_part: Any, **_: Any) -> _TaskRun:
        ecs = client_of_interpreter(resource_runtime_part.region, "ecs")
        return _TaskRun(state, env, ecs, env.stack.pop()["Tasks"][0])

    def __call__(self) -> dict[str, Any] | None:
        if self._describe()["tasks"][0]["lastStatus"] != "STOPPED":
            return None
        answer = self._describe()  # the first one may have been written while the task stopped
        self._state._normalise_response(answer, service_action_name="describe_tasks")
        task: dict[str, Any] = answer["Tasks"][0]
        if all(container.get("ExitCode") == 0 for container in task["Containers"]):
            return task
        failure = task_failed(
            self._state, self._env, error="States.TaskFailed", cause=json.dumps(task)
        )
        raise FailureEventException(failure_event=failure)

    def _describe(self) -> dict[str, Any]:
        answer: dict[str, Any] = self._ecs.describe_tasks(
            cluster=self._task["cluster"], tasks=[self._task["task"]], include=["TAGS"]
        )
        return answer

    def abort(self) -> None:
        self._ecs.stop_task(**self._task, reason="Aborted by Step Functions")


class _NestedExecution:
    """An execution that a state waits for."""

    def __init__(self, resolve: Callable[[], Any], sfn: Any, arn: str) -> None:
        self._resolve, self._sfn, self._arn = resolve, sfn, arn

    @staticmethod
    def of(state: Any, env: Any, resource_runtime_part: Any, **others: Any) -> _NestedExecution:
        sfn = client_of_interpreter(resource_runtime_part.region, "stepfunctions")
        arn = env.stack[-1]["ExecutionArn"]
        resolve = _sync2_of_moto(
            state, env=env, resource_runtime_part=resource_runtime_part, **others
        )
        return _NestedExecution(resolve, sfn, arn)

    def __call__(self) -> Any:
        return self._resolve()

    def abort(self) -> None:
        self._sfn.stop_execution(executionArn=self._arn)


_sync2_of_moto = vars(StateTaskServiceSfn)["_build_sync2_resolver"]


def _wait_for_job(self: Any, env: Any, sync_resolver: Any, **_: Any) -> Any:  # noqa: ARG001 - moto passes it
    """A job is stopped when its state is over before it: aborted, timed out, a sibling failed."""
    while env.is_running():
        if (result := sync_resolver()) is not None:
            return result
        env.program_state_event.wait(POLL_SECONDS)
    try:
        sync_resolver.abort()
    except ClientError as error:
        logging.getLogger(__name__).warning("could not stop a job: %s", error)
    return None
