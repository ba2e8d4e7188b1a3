"""Step Functions: moto's interpreter, made to answer as AWS does where our machines rely on it.

moto took the interpreter over from LocalStack, without an evaluator for JSONata, without the
conversion of parameters between Step Functions' PascalCase and each API's own case, and with other
error names. Each replacement below says what AWS does.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partialmethod
from typing import Any, Final

from botocore.exceptions import ClientError
from botocore.model import Shape, StructureShape
from moto.stepfunctions.parser.api import (
    EvaluationFailedEventDetails,
    ExecutionStatus,
    HistoryEventType,
    TaskFailedEventDetails,
)
from moto.stepfunctions.parser.asl.component.common.assign.assign_decl import AssignDecl
from moto.stepfunctions.parser.asl.component.common.error_name.custom_error_name import (
    CustomErrorName,
)
from moto.stepfunctions.parser.asl.component.common.error_name.error_equals_decl import (
    ErrorEqualsDecl,
)
from moto.stepfunctions.parser.asl.component.common.error_name.error_name import ErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import (
    FailureEvent,
    FailureEventException,
)
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import (
    StatesErrorName,
)
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import (
    StatesErrorNameType,
)
from moto.stepfunctions.parser.asl.component.common.retry.retrier_decl import RetrierDecl
from moto.stepfunctions.parser.asl.component.common.retry.retrier_outcome import RetrierOutcome
from moto.stepfunctions.parser.asl.component.common.string.string_expression import StringJSONata
from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import (
    state_task_service_aws_sdk,
    state_task_service_ecs,
    state_task_service_events,
    state_task_service_sfn,
    state_task_service_sns,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service import (  # noqa: E501 - the names are moto's
    StateTaskService,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_callback import (  # noqa: E501 - the names are moto's
    StateTaskServiceCallback,
)
from moto.stepfunctions.parser.asl.component.state.state import CommonStateField
from moto.stepfunctions.parser.asl.component.state.wait.wait_function.wait_function import (
    WaitFunction,
)
from moto.stepfunctions.parser.asl.eval.environment import Environment
from moto.stepfunctions.parser.asl.eval.event.event_manager import EventManager
from moto.stepfunctions.parser.asl.eval.program_state import (
    ProgramEnded,
    ProgramError,
    ProgramStopped,
    ProgramTimedOut,
)
from moto.stepfunctions.parser.backend.execution import BaseExecutionWorkerCommunication
from moto.stepfunctions.parser.backend.execution_worker import ExecutionWorker
from moto.stepfunctions.parser.models import StepFunctionsParserBackend

from local.casing import from_api, pascal, timestamp, to_api
from local.clients import REGION, client
from local.jsonata import QueryError, evaluate
from local.patches import Patch

#: How often a ``.sync`` task is looked at, and a wait looks whether its execution was stopped.
_POLL_SECONDS: Final = 0.2

#: The names in resource ARNs (those of the Java SDK) that boto3 calls otherwise.
_BOTO3_SERVICES: Final = {
    "sfn": "stepfunctions",
    "states": "stepfunctions",
    "eventbridge": "events",
    "sagemakerruntime": "sagemaker-runtime",
    "servicequotas": "service-quotas",
    "cloudwatchlogs": "logs",
}

#: Prefixes of error names of the SDK integrations: the Java SDK's name of the service.
_ERROR_PREFIXES: Final = {
    "cloudwatch": "CloudWatch",
    "dynamodb": "DynamoDb",
    "ecs": "Ecs",
    "eventbridge": "EventBridge",
    "lambda": "Lambda",
    "s3": "S3",
    "sagemaker": "SageMaker",
    "sagemakerruntime": "SageMakerRuntime",
    "servicequotas": "ServiceQuotas",
    "sfn": "Sfn",
    "sns": "Sns",
    "ssm": "Ssm",
}


@dataclass(frozen=True)
class HistoryEvent:
    """An event of an execution's history, as GetExecutionHistory returns it."""

    execution_arn: str
    event: Mapping[str, Any]


@dataclass(frozen=True)
class ExecutionEnd:
    """What EventBridge says of an execution that has ended."""

    execution_arn: str
    state_machine_arn: str
    name: str
    status: str
    input: str
    output: str | None
    error: str | None
    cause: str | None


@dataclass(frozen=True)
class TaskCall:
    """What a Task state is about to do: one call, and for ``.sync`` the wait for its job."""

    execution_arn: str
    #: The execution's input.
    given: Any
    state: str
    #: Makes the call, and waits for its job.
    make: Callable[[], None]
    #: Ends that wait as a time-out of the state does: the job is stopped.
    give_up: Callable[[], None]


class TaskCallRefused(Exception):
    """The API refuses a Task's call.

    Args:
        error: The error as Step Functions names it.
        cause: Its message.
    """

    def __init__(self, error: str, cause: str) -> None:
        self.error, self.cause = error, cause
        super().__init__(f"{error}: {cause}")


def patches(
    *,
    wait_scale: float,
    on_event: Callable[[HistoryEvent], None],
    on_end: Callable[[ExecutionEnd], None],
    on_call: Callable[[TaskCall], None] | None = None,
) -> Iterator[Patch]:
    """What to replace in moto.

    Args:
        wait_scale: What all waits (Wait states, intervals of Retry) are multiplied with; only tests
            use another value than 1.
        on_event: Called with every event of every execution, in the thread that made it.
        on_end: Called after an execution has ended.
        on_call: Called in the place of every call of a Task state, which it may make, or not:
            TaskCallRefused fails the state, TimeoutError is its time-out. For tests.
    """
    if on_call is not None:
        yield Patch(StateTaskService, "_eval_execution", partialmethod(_call, on_call))
    yield Patch(StringJSONata, "_eval_body", _eval_jsonata)
    yield Patch(AssignDecl, "_eval_body", _assign_when_state_ends)
    yield Patch(CommonStateField, "_eval_body", _eval_state_then_assign)

    yield Patch(ErrorEqualsDecl, "_eval_body", _error_equals)
    yield Patch(CustomErrorName, "__init__", _any_error_name)
    yield Patch(StateTaskServiceCallback, "_from_error", _failure_of_optimized_integration)
    aws_sdk = state_task_service_aws_sdk.StateTaskServiceAwsSdk
    yield Patch(aws_sdk, "_normalise_service_error_name", staticmethod(_error_prefix))

    for module in (
        lambda_eval_utils,
        state_task_service_aws_sdk,
        state_task_service_ecs,
        state_task_service_events,
        state_task_service_sfn,
        state_task_service_sns,
    ):
        yield Patch(module, "boto_client_for", client_of_interpreter)
    yield Patch(StateTaskService, "_get_boto_service_name", _boto3_service)
    yield Patch(StateTaskService, "_normalise_parameters", _parameters_to_api)
    yield Patch(StateTaskService, "_normalise_response", _response_from_api)

    ecs = state_task_service_ecs.StateTaskServiceEcs
    yield Patch(ecs, "_get_supported_parameters", _run_task_parameters)
    yield Patch(ecs, "_eval_service_task", _run_task)
    yield Patch(ecs, "_build_sync_resolver", _TaskRun.of)
    sfn = state_task_service_sfn.StateTaskServiceSfn
    yield Patch(sfn, "_build_sync2_resolver", _NestedExecution.of)
    yield Patch(StateTaskServiceCallback, "_eval_sync", _wait_for_job)

    yield Patch(WaitFunction, "_wait_interval", partialmethod(_wait, wait_scale))
    yield Patch(RetrierDecl, "_eval_body", partialmethod(_retry, wait_scale))

    yield Patch(StepFunctionsParserBackend, "start_execution", _start_named_execution)
    yield Patch(Environment, "set_error", _set_error_unless_stopped)
    yield Patch(ExecutionWorker, "_get_evaluation_environment", _environment_with_name)
    yield Patch(EventManager, "_publish_history_event", partialmethod(_publish, on_event))
    yield Patch(BaseExecutionWorkerCommunication, "terminated", partialmethod(_terminated, on_end))


# --- Waits ---------------------------------------------------------------------------------------


def _wait(_: Any, scale: float, env: Any, wait_seconds: float) -> None:
    """Wait states end at once when their execution is stopped."""
    _sleep(env, wait_seconds * scale)


def _retry(retrier: Any, scale: float, env: Any) -> None:
    """So do the intervals of Retry, which moto sleeps through."""
    retrier.error_equals.eval(env)
    if not env.stack.pop():
        env.stack.append(RetrierOutcome.Skipped)
        return
    retrier.max_attempts.eval(env=env)
    if not env.stack.pop().value:
        env.stack.append(RetrierOutcome.Failed)
        return
    retrier.interval_seconds.eval(env=env)
    retrier.backoff_rate.eval(env=env)
    retrier.max_delay_seconds.eval(env=env)
    retrier.jitter_strategy.eval(env=env)
    _sleep(env, env.stack.pop() * scale)
    env.stack.append(RetrierOutcome.Executed)


def _sleep(env: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while env.is_running() and (left := deadline - time.monotonic()) > 0:
        env.program_state_event.wait(min(left, _POLL_SECONDS))


# --- Expressions and variables -------------------------------------------------------------------


def _eval_jsonata(self: Any, env: Any) -> None:
    """An expression that fails or gives nothing is States.QueryEvaluationError."""
    store = env.variable_store
    variables = {**store._outer_scope, **store._inner_scope, "states": _states(env)}
    try:
        env.stack.append(evaluate(self.expression, variables))
    except QueryError as error:
        name = StatesErrorName(typ=StatesErrorNameType.StatesQueryEvaluationError)
        details = EvaluationFailedEventDetails(error=name.error_name, cause=str(error))
        event_details: Any = {"evaluationFailedEventDetails": details}
        failure = FailureEvent(
            env=env,
            error_name=name,
            event_type=HistoryEventType.EvaluationFailed,
            event_details=event_details,
        )
        raise FailureEventException(failure_event=failure) from None


def _states(env: Any) -> dict[str, Any]:
    """``$states``: input and context always, result and errorOutput where there is one."""
    data = env.states._states_data
    context = {name: dict(part) for name, part in data["context"].items() if part is not None}
    context["Execution"]["StartTime"] = timestamp(context["Execution"]["StartTime"])
    context["Execution"]["RedriveCount"] = 0  # moto knows no redrive
    if "EnteredTime" in context.get("State", {}):
        context["State"]["EnteredTime"] = timestamp(context["State"]["EnteredTime"])
    optional = {name: data.get(name) for name in ("result", "errorOutput")}
    return {
        "input": data["input"],
        "context": context,
        **{name: value for name, value in optional.items() if value is not None},
    }


def _assign_when_state_ends(self: Any, env: Any) -> None:
    """Assign sees the old values, so does Output after it; new ones hold from the next state."""
    assigned: dict[str, Any] = {}
    for binding in self.declaration_bindings:
        binding.eval(env=env)
        assigned.update(env.stack.pop())
    env.variable_store.assigned_by_state = assigned


_eval_state = vars(CommonStateField)["_eval_body"]


def _eval_state_then_assign(self: Any, env: Any) -> None:
    env.variable_store.assigned_by_state = {}
    _eval_state(self, env)
    for name, value in env.variable_store.assigned_by_state.items():
        env.variable_store.set(variable_identifier=name, variable_value=value)


# --- Errors --------------------------------------------------------------------------------------


def _error_equals(self: Any, env: Any) -> None:
    """Wildcards as the States Language guide has them.

    States.ALL does not match the terminal errors, and nothing matches States.Runtime.
    https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
    """
    raised = getattr(env.stack.pop(), "error_name", None)
    names = {each.error_name for each in self.error_names}
    env.stack.append(_matches(names, raised))


def _matches(names: set[str | None], raised: str | None) -> bool:
    if raised == "States.Runtime":
        return False
    if raised in names:
        return True
    if raised == "States.DataLimitExceeded":
        return False
    return "States.ALL" in names or ("States.TaskFailed" in names and raised != "States.Timeout")


def _any_error_name(self: Any, error_name: str | None) -> None:
    """A ``States.*`` error inside Map or Parallel keeps its name on the way out."""
    ErrorName.__init__(self, error_name=error_name)


def _error_prefix(service_name: str) -> str:
    return _ERROR_PREFIXES.get(service_name.lower(), service_name)


_failure_of_callback = vars(StateTaskServiceCallback)["_from_error"]


def _failure_of_optimized_integration(self: Any, env: Any, ex: Exception) -> Any:
    """``ECS.ClusterNotFoundException`` and the like; moto has no names for ECS's errors."""
    if not isinstance(ex, ClientError):
        return _failure_of_callback(self, env=env, ex=ex)
    code = ex.response["Error"]["Code"].removesuffix("Exception")
    return _task_failed(
        self,
        env,
        error=f"{self.resource.service_name.upper()}.{code}Exception",
        cause=ex.response["Error"]["Message"],
    )


def _task_failed(task: Any, env: Any, *, error: str, cause: str) -> FailureEvent:
    details: Any = {
        "taskFailedEventDetails": TaskFailedEventDetails(
            error=error,
            cause=cause,
            resource=task._get_sfn_resource(),
            resourceType=task._get_sfn_resource_type(),
        )
    }
    return FailureEvent(
        env=env,
        error_name=CustomErrorName(error),
        event_type=HistoryEventType.TaskFailed,
        event_details=details,
    )


# --- API calls -----------------------------------------------------------------------------------


_eval_execution = vars(StateTaskService)["_eval_execution"]


def _call(task: Any, on_call: Callable[[TaskCall], None], env: Any) -> None:
    context = env.states.context_object.context_object_data
    call = TaskCall(
        execution_arn=context["Execution"]["Id"],
        given=context["Execution"]["Input"],
        state=context["State"]["Name"],
        make=lambda: _eval_execution(task, env),
        give_up=env.set_ended,
    )
    try:
        on_call(call)
    except TaskCallRefused as refused:
        failure = _task_failed(task, env, error=refused.error, cause=refused.cause)
        raise FailureEventException(failure_event=failure) from None


def client_of_interpreter(region: str, service: str, **_: Any) -> Any:
    """A client that repeats nothing by itself: that is for Retry."""
    return client(service, region=region, retries=False)


def _boto3_service(self: Any, boto_service_name: str | None = None) -> str:
    name = boto_service_name or self.resource.api_name
    return _BOTO3_SERVICES.get(name, name)


def _operation(
    task: Any, boto_service_name: str | None, service_action_name: str | None
) -> tuple[Shape | None, Shape | None]:
    service = task._get_boto_service_name(boto_service_name)
    meta = client_of_interpreter(REGION, service).meta
    action = meta.method_to_api_mapping[task._get_boto_service_action(service_action_name)]
    operation = meta.service_model.operation_model(action)
    return operation.input_shape, operation.output_shape


def _parameters_to_api(
    self: Any,
    parameters: dict[str, Any],
    boto_service_name: str | None = None,
    service_action_name: str | None = None,
) -> None:
    """Arguments are in PascalCase whatever the API's own case; unknown ones are an error."""
    shape, _ = _operation(self, boto_service_name, service_action_name)
    converted = to_api(parameters, shape) if shape else {}
    parameters.clear()
    parameters.update(converted)


def _response_from_api(
    self: Any,
    response: Any,
    boto_service_name: str | None = None,
    service_action_name: str | None = None,
) -> None:
    """Results are in PascalCase too, and plain JSON: times and bodies are strings."""
    _, shape = _operation(self, boto_service_name, service_action_name)
    if isinstance(response, dict):
        converted = from_api(response, shape)
        response.clear()
        response.update(converted)


# --- Jobs: .sync ---------------------------------------------------------------------------------


def _run_task_parameters(self: Any) -> set[str]:
    """All of RunTask's; moto drops Tags, which reach ECS on AWS."""
    shape, _ = _operation(self, None, None)
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
        failure = _task_failed(self, env, error="AmazonECS.Unknown", cause=cause)
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
        failure = _task_failed(
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


_sync2_of_moto = vars(state_task_service_sfn.StateTaskServiceSfn)["_build_sync2_resolver"]


def _wait_for_job(self: Any, env: Any, sync_resolver: Any, **_: Any) -> Any:  # noqa: ARG001 - moto passes it
    """A job is stopped when its state is over before it: aborted, timed out, a sibling failed."""
    while env.is_running():
        if (result := sync_resolver()) is not None:
            return result
        env.program_state_event.wait(_POLL_SECONDS)
    try:
        sync_resolver.abort()
    except ClientError as error:
        logging.getLogger(__name__).warning("could not stop a job: %s", error)
    return None


# --- Executions ----------------------------------------------------------------------------------

_start_execution = vars(StepFunctionsParserBackend)["start_execution"]


def _start_named_execution(
    self: Any, state_machine_arn: str, name: str | None = None, *args: Any, **others: Any
) -> Any:
    """An execution without a name gets one of its own; moto calls them all None."""
    return _start_execution(self, state_machine_arn, name or str(uuid.uuid4()), *args, **others)


_set_error = vars(Environment)["set_error"]


def _set_error_unless_stopped(self: Any, error: Any) -> None:
    """An aborted execution is ABORTED, whatever its states stumble over on their way out."""
    if not isinstance(self._program_state, ProgramStopped | ProgramTimedOut):
        _set_error(self, error)


_environment = vars(ExecutionWorker)["_get_evaluation_environment"]


def _environment_with_name(self: Any) -> Any:
    """Lets the events of an execution say whose they are."""
    env = _environment(self)
    env.event_manager.execution_arn = self._evaluation_details.execution_details.arn
    return env


_publish_history_event = vars(EventManager)["_publish_history_event"]


def _publish(manager: Any, on_event: Callable[[HistoryEvent], None], **event: Any) -> None:
    _publish_history_event(manager, **event)
    on_event(HistoryEvent(manager.execution_arn, manager._history_event_list[-1]))


def _terminated(communication: Any, on_end: Callable[[ExecutionEnd], None]) -> None:
    """The status is set last: who sees it sees the output, which is JSON even of a string."""
    execution = communication.execution
    state = execution.exec_worker.env.program_state()
    execution.stop_date = datetime.now(UTC)
    status = ExecutionStatus.FAILED
    if isinstance(state, ProgramEnded):
        status = ExecutionStatus.SUCCEEDED
        execution.output = json.dumps(execution.exec_worker.env.states.get_input())
    elif isinstance(state, ProgramError):
        failure: Any = state.error or {}
        execution.error, execution.cause = failure.get("error"), failure.get("cause")
    elif isinstance(state, ProgramStopped):
        status = ExecutionStatus.ABORTED
    elif isinstance(state, ProgramTimedOut):
        status = ExecutionStatus.TIMED_OUT
    execution.exec_status = status
    on_end(
        ExecutionEnd(
            execution_arn=execution.exec_arn,
            state_machine_arn=execution.state_machine_arn,
            name=execution.name,
            status=status.value,
            input=execution.execution_input,
            output=execution.output,
            error=execution.error,
            cause=execution.cause,
        )
    )
