"""Tell: says by message and event what a sizing came to, once everything of it is removed."""

from __future__ import annotations

from typing import Any

from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError
from pydantic import BaseModel

from aws import announcements
from aws.availability import naming_errors
from aws.telemetry import Event, logger
from sizing.clean_up import names
from sizing.result import events


class Execution(BaseModel):
    """The sizing's execution."""

    arn: str
    name: str


class TellEvent(Event):
    """What RecordResult has answered, and what went wrong, before it or since."""

    execution: Execution
    #: Empty if nothing is recorded.
    outcome: dict[str, Any]
    failure: events.Failed | None


@naming_errors
@event_parser(model=TellEvent)
def handler(event: TellEvent, _context: LambdaContext) -> dict[str, Any]:
    """Send the message, if it is wanted, and the events.

    Neither keeps the other from being sent.

    Returns:
        ``notified``, whether a message was sent, and ``events``, the detail types.

    Raises:
        AwsUnavailable: SNS or EventBridge throttled or failed a call.
        AccessDenied: No policy allows it; so for other refusals, as botocore's ClientError.
    """
    logger.set_correlation_id(names.sizing_id(event.execution.arn))
    told = events.told(event.execution.arn, event.execution.name, event.outcome, event.failure)
    refused = None
    try:
        if told.notify:
            announcements.publish(told.subject, told.message, told.attributes)
    except ClientError as error:
        refused = error
    announcements.put_events(told.entries)
    if refused is not None:
        raise refused
    return {"notified": told.notify, "events": [each["DetailType"] for each in told.entries]}
