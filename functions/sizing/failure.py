"""A failed sizing, readable: the error's name, its cause in a sentence, and what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from sizing.errors import InvalidRequest, LoadTestFailed, SmokeTestFailed

#: Longest cause kept; Step Functions allows 32,768 characters, most of them stack trace.
_LONGEST_CAUSE = 2000
#: An execution's cause can hold its child's, which can hold a task's.
_DEEPEST = 5

_ADVICE = {
    InvalidRequest.__name__: (
        "Correct the field that is named and start again. Nothing was created."
    ),
    SmokeTestFailed.__name__: (
        "Send the same payload to the model yourself: content type, accept and body must be what "
        "its container expects. The container's log is in CloudWatch under "
        "/aws/sagemaker/Endpoints/."
    ),
    LoadTestFailed.__name__: (
        "Look at load_test.json and at the log of the load generator's tasks for the worker that "
        "stopped. Starting again is safe."
    ),
    "MetricsMissing": (
        "CloudWatch did not publish all metrics of the endpoint in time. Start again; if it stays, "
        "give measurement.steady_seconds and measurement.metric_period_seconds more room."
    ),
    "EndpointTimedOut": (
        "The endpoint was neither in service nor failed in time. The container's log in CloudWatch "
        "under /aws/sagemaker/Endpoints/ says how far it came; the stack's parameter "
        "EndpointTimeoutMinutes gives it longer."
    ),
    "EndpointFailed": (
        "Read SageMaker's failure reason above and the container's log in CloudWatch under "
        "/aws/sagemaker/Endpoints/. A container that needs longer to start, a wrong image or a "
        "model that can't be read is the usual cause."
    ),
    "CapacityUnavailable": (
        "AWS had no instances of this type to give, or the account's quota for its endpoint usage "
        "is too low: the cause says which. Start again later, raise the quota in Service Quotas, "
        "or name further instance_types."
    ),
    "States.Timeout": (
        "The sizing took longer than its time limit. Look in the execution's history for the "
        "state it waited in; fewer instance_types or shorter steps make it faster."
    ),
    "States.TaskFailed": (
        "A task did not run to its end. Its log in CloudWatch says why. Starting again is safe."
    ),
}
_ELSE = (
    "Look in the execution's history for the state that failed and in its function's log. "
    "Starting again is safe: everything that was created is removed."
)


class Failure(BaseModel):
    """Why a sizing has no answer."""

    model_config = ConfigDict(frozen=True)

    #: The error's name, as the state machine knows it.
    name: str
    #: What went wrong, in a sentence where one could be found.
    cause: str
    #: What an operator can do.
    advice: str


def failure(name: str | None, cause: str | None) -> Failure:
    """A failure from what a Catch of the state machine gives.

    Args:
        name: ``Error``; None or empty if there was none.
        cause: ``Cause``: a sentence, or the JSON that Lambda, ECS or a nested execution put there.
    """
    name, cause = _innermost(name or "Unknown", cause or "")
    return Failure(
        name=name,
        cause=_shortened(cause) or "No cause was given.",
        advice=_ADVICE.get(name, _ELSE),
    )


def _innermost(name: str, cause: str) -> tuple[str, str]:
    """The error at the bottom of nested causes: its name and its sentence."""
    for _ in range(_DEEPEST):
        details = _json_object(cause)
        if details is None:
            break
        inner_name, inner_cause = details.get("Error"), details.get("Cause")
        if isinstance(inner_name, str) and inner_name:
            name, cause = inner_name, inner_cause if isinstance(inner_cause, str) else ""
            continue
        cause = _sentence(details) or cause
        break
    return name, cause


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        decoded = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return decoded if isinstance(decoded, dict) else None


def _sentence(details: Mapping[str, Any]) -> str:
    """What a Lambda function's or an ECS task's JSON says in words; empty if it says nothing."""
    message = details.get("errorMessage")
    if isinstance(message, str):
        return message
    parts = [details.get("StoppedReason")]
    containers = details.get("Containers")
    for container in containers if isinstance(containers, list) else ():
        if isinstance(container, Mapping):
            if container.get("ExitCode") not in (None, 0):
                parts.append(f"{container.get('Name')} exited with {container['ExitCode']}")
            parts.append(container.get("Reason"))
    return "; ".join(part for part in parts if isinstance(part, str) and part)


def _shortened(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _LONGEST_CAUSE else text[: _LONGEST_CAUSE - 4] + " ..."
