"""AcquireLock: makes a model one sizing's own, or says how long to wait for it."""

from __future__ import annotations

import json
import time
from typing import Any

from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import AwareDatetime, BaseModel

from aws import announcements, sizing_resources, sizing_table
from aws.availability import is_transient, naming_errors
from aws.clients import client
from aws.environment import Environment
from aws.telemetry import Event, logger
from sizing.clean_up import lock, names
from sizing.result import events

#: Tells Step Functions' console which execution started another.
_STARTED_BY = "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID"


class Execution(BaseModel):
    """The sizing's execution; its time counts from its last turn, if it had to wait."""

    arn: str
    started_at: AwareDatetime


class AcquireLockEvent(Event):
    """Who wants which lock."""

    execution: Execution
    lock: lock.LockTerms
    #: Whether it has waited already.
    waited: bool
    #: Detail of the event that the sizing begins.
    started: dict[str, Any]
    clean_up_state_machine_arn: str


@naming_errors
@event_parser(model=AcquireLockEvent)
def handler(event: AcquireLockEvent, _context: LambdaContext) -> dict[str, Any]:
    """Take the lock of a model. It may be called any number of times, and is until it is held.

    An owner that has ended and whose lock is still there keeps nobody waiting: its clean-up is
    started, which is as good as the one that may be under way; when that has ended, however it
    did, the lock is taken over. If it failed, that has told someone.

    Returns:
        ``status`` HELD; or WAIT, with ``wait_seconds`` until the next call, and ``owner``.

    Raises:
        Locked: Another sizing runs, and is not to be waited for.
        AwsUnavailable: DynamoDB or Step Functions throttled or failed a call.
    """
    environment, now = Environment.read(), time.time()
    me = event.execution.arn
    sizing_id = names.sizing_id(me)
    logger.set_correlation_id(sizing_id)
    mine = lock.item(event.lock, me, sizing_id, now)

    held = sizing_table.take(environment.table_name, mine, now=now)
    if held is None:
        return _held(event)
    holder = lock.Holder(str(held["owner"]), str(held["acquired_at"]))
    if not _has_ended(holder.owner, event.lock):
        wait_seconds = lock.seconds_to_wait(
            event.lock,
            holder,
            waited_seconds=now - event.execution.started_at.timestamp(),
            has_waited=event.waited,
        )
    elif _is_cleaned_up(event, holder.owner, sizing_id):
        held = sizing_table.take(environment.table_name, mine, now=now, from_owner=holder.owner)
        if held is None:
            return _held(event)
        wait_seconds = lock.LOOK_AT_CLEAN_UP_SECONDS  # somebody was faster
    else:
        wait_seconds = lock.LOOK_AT_CLEAN_UP_SECONDS
    logger.info("locked", extra={"owner": holder.owner, "since": holder.since})
    return {"status": "WAIT", "wait_seconds": wait_seconds, "owner": holder.owner}


def _held(event: AcquireLockEvent) -> dict[str, Any]:
    """The answer, and the event; after a wait the request is resolved anew, and it comes again."""
    if not event.waited:
        try:
            announcements.put_events([events.entry(events.STARTED, event.started)])
        except (BotoCoreError, ClientError):  # nothing that a sizing would wait for
            logger.exception("the start is not announced")
    return {"status": "HELD"}


def _has_ended(execution_arn: str, terms: lock.LockTerms) -> bool:
    """Whether an execution has; one that can't be asked about may well be alive.

    Who does not wait asks again, where AWS has trouble of its own, before it ends.
    """
    try:
        return lock.has_ended(sizing_resources.execution_status(execution_arn))
    except (BotoCoreError, ClientError) as error:
        is_refusal = isinstance(error, ClientError) and not is_transient(error)
        if terms.when_locked == "FAIL" and not is_refusal:
            raise
        logger.exception("owner not described")
        return False


def _is_cleaned_up(event: AcquireLockEvent, owner: str, sizing_id: str) -> bool:
    """Whether the clean-up of an owner that has ended is over; the first call starts it."""
    machine = event.clean_up_state_machine_arn
    name = f"{sizing_id}-after-{names.sizing_id(owner)}"
    arn = f"{machine.replace(':stateMachine:', ':execution:')}:{name}"
    status = sizing_resources.execution_status(arn)
    if status is None:
        client("stepfunctions").start_execution(
            stateMachineArn=machine,
            name=name,  # so that a repeated call starts nothing twice
            input=json.dumps({"execution_arn": owner, _STARTED_BY: event.execution.arn}),
        )
        return False
    return lock.has_ended(status)
