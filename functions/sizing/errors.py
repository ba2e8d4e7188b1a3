"""Named errors of a sizing.

A Lambda function's error reaches the state machine under its class name, so the names below are
what ``Catch`` and ``Retry`` match, what a failed execution shows and what the runbook lists.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

#: An execution's cause can hold its child's, which can hold a task's.
_DEEPEST = 5
#: The message in JSON that is cut off.
_MESSAGE = re.compile(r'"(?:errorMessage|Cause)"\s*:\s*"((?:[^"\\]|\\.)*)')


class SizingError(Exception):
    """Base class of the errors an operator meets by name."""


class InvalidRequest(SizingError):
    """The request can't be carried out as written; nothing was created.

    Args:
        field: Path of the field, such as ``target.tps``.
        message: What is wrong and what is allowed.
    """

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        self.message = message
        super().__init__(f"{field}: {message}")


class CostLimit(InvalidRequest):
    """``limits.max_cost_usd`` does not allow even the first load tests; nothing was created."""


class TimeLimit(InvalidRequest):
    """``limits.max_minutes`` does not allow even the first load tests; nothing was created."""


class QuotaTooLow(SizingError):
    """A quota of the account does not allow what the request asks for; nothing was created."""


class Locked(SizingError):
    """Another sizing of the same model is running; nothing was created."""


class AwsUnavailable(SizingError):
    """An AWS service throttled or failed a call, for longer than the function repeats it."""


class AccessDenied(SizingError):
    """A policy does not allow a function's call; AWS's own words name action and resource."""


class ModelNotReady(SizingError):
    """The endpoint is in service, but its container says that it is still loading the model."""


class EndpointFailed(SizingError):
    """The endpoint can't be had: it has failed, or SageMaker refused a call, by its own reason."""


class EndpointTimedOut(SizingError):
    """The endpoint was neither in service nor failed in the time that the stack allows."""


class CapacityUnavailable(SizingError):
    """AWS had no instances of the type to give, or a quota allows no more of them."""


class MetricsIncomplete(SizingError):
    """CloudWatch does not hold all data points of the window yet; asking again later may help."""


class LoadTestFailed(SizingError):
    """The load test did not run to its end; its result must not be used."""


class SmokeTestFailed(SizingError):
    """The endpoint did not answer a single well-formed invocation."""


def innermost(name: str, cause: str) -> tuple[str, str]:
    """The error at the bottom of nested causes: its name and its sentence.

    Args:
        name: ``Error`` as a Catch of a state machine gives it.
        cause: ``Cause``: a sentence, or the JSON that Lambda, ECS or a nested execution put there,
            which may be cut off.
    """
    for _ in range(_DEEPEST):
        details = _json_object(cause)
        if details is None:
            return name, _cut_off(cause)
        inner_name, inner_cause = details.get("Error"), details.get("Cause")
        if not (isinstance(inner_name, str) and inner_name):
            return name, _sentence(details) or cause
        name, cause = inner_name, inner_cause if isinstance(inner_cause, str) else ""
    return name, cause


def never_started(cause: str) -> bool:
    """Whether a cause is of an ECS task that was accepted and could not start: nothing has run."""
    return (_json_object(cause) or {}).get("StopCode") == "TaskFailedToStart"


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        decoded = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return decoded if isinstance(decoded, dict) else None


def _cut_off(text: str) -> str:
    match = _MESSAGE.search(text) if text.lstrip().startswith("{") else None
    if match is None:
        return text
    try:
        return str(json.loads(f'"{match[1]}"'))
    except ValueError:  # cut off within an escape
        return match[1]


def _sentence(details: Mapping[str, Any]) -> str:
    """What the JSON of a function, execution or task says in words; empty if it says nothing."""
    message = details.get("errorMessage")
    if isinstance(message, str):
        return message
    if isinstance(details.get("ExecutionArn"), str):  # one that was stopped, or ran out of time
        return f"{details['ExecutionArn']} ended {details.get('Status')}"
    parts = [details.get("StoppedReason")]
    for container in _objects(details.get("Containers")):
        if container.get("ExitCode") not in (None, 0):
            parts.append(f"{container.get('Name')} exited with {container['ExitCode']}")
        parts.append(container.get("Reason"))
    said = "; ".join(part for part in parts if isinstance(part, str) and part)
    role = _role(details)
    return f"{role}: {said}" if role and said else said


def _role(task: Mapping[str, Any]) -> str | None:
    """Which of a load test's tasks it is."""
    overrides = task.get("Overrides")
    for override in _objects(
        overrides.get("ContainerOverrides") if isinstance(overrides, Mapping) else None
    ):
        for variable in _objects(override.get("Environment")):
            if variable.get("Name") == "LOAD_TEST_ROLE":
                return str(variable.get("Value"))
    return None


def _objects(value: object) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []
