"""Errors: what Retry and Catch match, and how failed calls are named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from botocore.exceptions import ClientError
from moto.stepfunctions.parser.api import HistoryEventType, TaskFailedEventDetails
from moto.stepfunctions.parser.asl.component.common.error_name.custom_error_name import (
    CustomErrorName,
)
from moto.stepfunctions.parser.asl.component.common.error_name.error_equals_decl import (
    ErrorEqualsDecl,
)
from moto.stepfunctions.parser.asl.component.common.error_name.error_name import ErrorName
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import FailureEvent
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_aws_sdk import (  # noqa: E501 - the names are moto's
    StateTaskServiceAwsSdk,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_callback import (  # noqa: E501 - the names are moto's
    StateTaskServiceCallback,
)

from local.patches import Patch

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


def patches() -> Iterator[Patch]:
    """What to replace in moto."""
    yield Patch(ErrorEqualsDecl, "_eval_body", _error_equals)
    yield Patch(CustomErrorName, "__init__", _any_error_name)
    yield Patch(StateTaskServiceCallback, "_from_error", _failure_of_optimized_integration)
    yield Patch(
        StateTaskServiceAwsSdk, "_normalise_service_error_name", staticmethod(_error_prefix)
    )


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
    return task_failed(
        self,
        env,
        error=f"{self.resource.service_name.upper()}.{code}Exception",
        cause=ex.response["Error"]["Message"],
    )


def task_failed(task: Any, env: Any, *, error: str, cause: str) -> FailureEvent:
    """What ends a Task state as failed, with the event in the history that says so.

    Args:
        task: The service integration of the state.
        env: The environment of its execution.
        error: The error's name.
        cause: What it says.
    """
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
