"""A sizing on AWS: started, followed to its end, and stopped where its user wants that.

Ctrl-C in ``size`` stops the sizing: it costs money, and who wants it to go on says ``--detach``, or
just closes the terminal. Ctrl-C in ``watch`` only stops watching. Either way a line says which.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from aws.refusals import code_of
from endpoint_sizer import sizings
from endpoint_sizer.endings import NOTHING_IS_LEFT, Failed, HungUp, Interrupted
from endpoint_sizer.follow import Follower
from endpoint_sizer.stack import Stack
from local.size.outcome import Outcome
from local.size.progress import Progress
from sizing.clean_up.names import sizing_id

#: Seconds between two looks at a sizing.
_LOOK_SECONDS: Final = 3.0
#: How long AWS may not answer, seconds: a laptop sleeps, a network changes.
_PATIENCE_SECONDS: Final = 600.0


def new_arn(stack: Stack) -> str:
    """ARN of an execution to start: known beforehand, it can be stopped whatever happens."""
    return sizings.execution_arn(stack, f"cli-{uuid.uuid4().hex[:20]}")


def start(stack: Stack, arn: str, document: Any) -> None:
    """Start a sizing, once however often it is repeated.

    Args:
        stack: The stack.
        arn: From ``new_arn``.
        document: The request, as it was written.
    """
    stack.client("stepfunctions").start_execution(
        stateMachineArn=stack.sizing_machine,
        name=arn.rpartition(":")[2],
        input=json.dumps(document),
    )


def run(
    stack: Stack, arn: str, document: Any, *, progress: Progress, update: Callable[[], None]
) -> Outcome:
    """Start a sizing and follow it to its end; stop it if the user wants to end it.

    Args:
        stack: The stack.
        arn: From ``new_arn``.
        document: The request, as it was written.
        progress: Told what happens.
        update: Called every few seconds.

    Raises:
        Interrupted: Says whether the sizing goes on.
        Failed: It can't be followed any longer; says that it goes on.
    """
    try:
        start(stack, arn, document)
        return follow(stack, arn, progress=progress, update=update)
    except HungUp:
        raise HungUp(goes_on(arn)) from None
    except Interrupted:
        raise Interrupted(_stopped(stack, arn)) from None


def follow(
    stack: Stack, arn: str, *, progress: Progress | None, update: Callable[[], None]
) -> Outcome:
    """Follow a sizing to its end.

    Args:
        stack: The stack.
        arn: The sizing's execution.
        progress: Told what happens, if given.
        update: Called every few seconds.

    Raises:
        Failed: It can't be followed any longer; says that it goes on.
    """
    follower = Follower(stack, arn, progress) if progress is not None else None
    heard = time.monotonic()
    ended = None
    while True:
        try:
            execution = sizings.describe(stack, arn)
            heard = time.monotonic()
            if execution["status"] != sizings.RUNNING:
                ended = sizings.ended(stack, execution)
        except (BotoCoreError, ClientError) as error:
            if _is_for_good(error) or time.monotonic() - heard > _PATIENCE_SECONDS:
                raise Failed(f"{error}; {goes_on(arn)}") from error
        if follower is not None:
            follower.look()  # the last time at what happened before the end
        update()
        if ended is not None:
            return ended
        time.sleep(_LOOK_SECONDS)


def stop(stack: Stack, arn: str) -> None:
    """Stop a sizing.

    Raises:
        botocore.exceptions.ClientError: It can't be stopped, or there is none.
    """
    stack.client("stepfunctions").stop_execution(
        executionArn=arn, error="Stopped", cause="Stopped by its user with endpoint-sizer"
    )


def may_go_on(arn: str) -> str:
    """What is left of a sizing if the command ends before it could stop it."""
    return f"it may go on; endpoint-sizer stop {sizing_id(arn)} ends it"


def goes_on(arn: str) -> str:
    """What becomes of a sizing that is not followed any longer."""
    this = sizing_id(arn)
    return (
        f"sizing {this} goes on; endpoint-sizer watch {this} follows it, endpoint-sizer stop "
        f"{this} ends it"
    )


def _stopped(stack: Stack, arn: str) -> str:
    """Stop a sizing; returns what became of it, in words."""
    try:
        stop(stack, arn)
    except ClientError as error:
        if code_of(error) == "ExecutionDoesNotExist":
            return NOTHING_IS_LEFT  # it was not started yet
        return f"it could not be stopped ({error}): {goes_on(arn)}"
    except BotoCoreError as error:
        return f"it could not be stopped ({error}): {goes_on(arn)}"
    return (
        f"sizing {sizing_id(arn)} is stopped; the stack removes what it created, and sends a "
        "message when that is done"
    )


def _is_for_good(error: Exception) -> bool:
    """Whether asking again makes no sense: credentials that have expired, or are not enough."""
    code = code_of(error) if isinstance(error, ClientError) else ""
    return any(part in code for part in ("AccessDenied", "Expired", "InvalidClientToken"))
