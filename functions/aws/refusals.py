"""What a refusal of AWS's means where it says so in words alone.

SageMaker answers a name that is taken, a resource that is gone and an endpoint that is busy with
one and the same ValidationException; ECS tells a task that is gone by a text as well.
"""

from __future__ import annotations

from botocore.exceptions import ClientError

_GONE_CODES = frozenset(
    {
        "ClusterNotFoundException",
        "ExecutionDoesNotExist",
        "RecordNotFound",
        "ResourceNotFound",
        "ResourceNotFoundException",
    }
)
_GONE_TEXTS = ("could not find", "not found", "does not exist")


def code_of(error: ClientError) -> str:
    """The error's code, such as ``ValidationException``."""
    return str(error.response["Error"].get("Code", ""))


def is_there_already(error: ClientError) -> bool:
    """Whether what was to be created exists."""
    return "already exist" in _text(error)


def is_gone(error: ClientError) -> bool:
    """Whether what was asked for does not exist, or no longer."""
    text = _text(error)
    return code_of(error) in _GONE_CODES or any(each in text for each in _GONE_TEXTS)


def is_busy(error: ClientError) -> bool:
    """Whether an endpoint is being created, updated or deleted, and takes no other change."""
    text = _text(error)
    return "in-progress" in text or "in progress" in text


def _text(error: ClientError) -> str:
    return str(error.response["Error"].get("Message", "")).lower()
