"""Calls of AWS APIs: whose client makes them, and the case of what they take and answer.

moto has the conversion between Step Functions' PascalCase and each API's own case only as a stub.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partialmethod
from typing import Any, Final

from botocore.model import Shape
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import (
    FailureEventException,
)
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

from local.casing import from_api, to_api
from local.clients import REGION, client
from local.patches import Patch
from local.stepfunctions import sdk
from local.stepfunctions.errors import task_failed

#: The names in resource ARNs (those of the Java SDK) that boto3 calls otherwise.
_BOTO3_SERVICES: Final = {
    "sfn": "stepfunctions",
    "states": "stepfunctions",
    "eventbridge": "events",
    "sagemakerruntime": "sagemaker-runtime",
    "servicequotas": "service-quotas",
    "cloudwatchlogs": "logs",
}


@dataclass(frozen=True)
class TaskCall:
    """What a Task state is about to do: one call, and for ``.sync`` the wait for its job."""

    execution_arn: str
    #: The execution's input.
    given: Any
    state: str
    #: The state's input.
    input: Any
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


def patches(on_call: Callable[[TaskCall], None] | None) -> Iterator[Patch]:
    """What to replace in moto.

    Args:
        on_call: Called in the place of every call of a Task state, if given.
    """
    if on_call is not None:
        yield Patch(StateTaskService, "_eval_execution", partialmethod(_call, on_call))
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


_eval_execution = vars(StateTaskService)["_eval_execution"]


def _call(task: Any, on_call: Callable[[TaskCall], None], env: Any) -> None:
    context = env.states.context_object.context_object_data
    call = TaskCall(
        execution_arn=context["Execution"]["Id"],
        given=context["Execution"]["Input"],
        state=context["State"]["Name"],
        input=env.states.get_input(),
        make=lambda: _eval_execution(task, env),
        give_up=env.set_ended,
    )
    try:
        on_call(call)
    except TaskCallRefused as refused:
        failure = task_failed(task, env, error=refused.error, cause=refused.cause)
        raise FailureEventException(failure_event=failure) from None


def client_of_interpreter(region: str, service: str, **_: Any) -> Any:
    """A client that repeats nothing by itself: that is for Retry."""
    return client(service, region=region, retries=False)


def _boto3_service(self: Any, boto_service_name: str | None = None) -> str:
    name = boto_service_name or self.resource.api_name
    return _BOTO3_SERVICES.get(name, name)


def operation_shapes(
    task: Any, boto_service_name: str | None, service_action_name: str | None
) -> tuple[Shape | None, Shape | None]:
    """Input and output of the API operation that a Task state calls, in botocore's model.

    Args:
        task: The service integration of the state.
        boto_service_name: Another service than the state's own.
        service_action_name: Another action of it than the state's own.
    """
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
    if isinstance(self, state_task_service_aws_sdk.StateTaskServiceAwsSdk):
        sdk.check(f"{self.resource.api_name}:{self.resource.api_action}", parameters)
    shape, _ = operation_shapes(self, boto_service_name, service_action_name)
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
    _, shape = operation_shapes(self, boto_service_name, service_action_name)
    if isinstance(response, dict):
        converted = from_api(response, shape)
        response.clear()
        response.update(converted)
