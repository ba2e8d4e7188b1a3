"""ReadReason: says why a load test broke, from the task that stopped and from the leader."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError

from aws import s3_documents
from aws.telemetry import Event, logger
from sizing.clean_up import names
from sizing.errors import innermost, never_started

#: How Step Functions calls it that a task ran and did not succeed.
_STOPPED = "States.TaskFailed"


class ReadReasonEvent(Event):
    """What Step Functions says of a load test that broke, and where its files are."""

    error: str
    cause: str
    bucket: str
    prefix: str


@event_parser(model=ReadReasonEvent)
def handler(event: ReadReasonEvent, _context: LambdaContext) -> dict[str, Any]:
    """Read why a load test broke.

    Returns:
        ``reason``, in words. The leader knows best, if it came as far as writing it down. And
        ``never_started``, whether it was a task that could not start.
    """
    name, reason = innermost(event.error, event.cause)
    if name != _STOPPED or not reason:  # not a task that ran
        reason = f"{name}: {reason}"
    said = _said_by_leader(event.bucket, event.prefix + names.LOAD_TEST_FILE)
    return {
        "reason": f"{reason}. The leader says: {said}" if said else reason,
        "never_started": never_started(event.cause),
    }


def _said_by_leader(bucket: str, key: str) -> str | None:
    try:
        written = s3_documents.read_json(bucket, key)
        return str(written["error"]["message"])
    except (BotoCoreError, ClientError, LookupError, TypeError, ValueError):
        logger.info("the leader has written no error")
        return None
