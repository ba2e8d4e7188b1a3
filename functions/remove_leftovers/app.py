"""RemoveLeftovers: removes what a sizing left behind, and says what is left."""

from __future__ import annotations

import time
from typing import Any, Self

from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import AwareDatetime, model_validator

from aws import endpoint_logs, s3_documents, sizing_resources
from aws.availability import naming_errors
from aws.environment import Environment
from aws.removal import remove
from aws.telemetry import Event, logger, publish
from sizing.clean_up import leftovers, names
from sizing.clean_up.leftovers import Found
from sizing.clean_up.rounds import Rounds


class RemoveLeftoversEvent(Event):
    """Whose leftovers: one sizing's, by its id or execution, or those of all that no longer run."""

    sizing_id: str | None = None
    execution_arn: str | None = None
    sweep: bool = False
    #: The state machines that a sizing starts, from the outermost.
    state_machine_arns: tuple[str, ...]
    #: What the former call of the same clean-up has answered.
    former: Rounds = Rounds()
    #: Of the clean-up, which is given up after so long.
    started_at: AwareDatetime
    timeout_minutes: float

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (bool(self.sizing_id), bool(self.execution_arn), self.sweep).count(True) != 1:
            raise ValueError("exactly one of sizing_id, execution_arn, sweep is needed")
        return self

    @property
    def sizing(self) -> str | None:
        """The sizing's id; None in a sweep."""
        return names.sizing_id(self.execution_arn) if self.execution_arn else self.sizing_id


@naming_errors
@event_parser(model=RemoveLeftoversEvent)
def handler(event: RemoveLeftoversEvent, _context: LambdaContext) -> dict[str, Any]:
    """Remove one round. It may be called any number of times, and is until nothing was found.

    Returns:
        ``status`` GONE (nothing was found), WAIT (for ``wait_seconds``, then there may be more to
        remove) or GIVE_UP; all that is left: its names, a line about each, and what it costs; and
        the rounds so far, which the next call is given as ``former``.
    """
    environment, rounds = Environment.read(), event.former
    logger.set_correlation_id(event.sizing or "sweep")
    found = _found(event, environment)
    removal = leftovers.removal(found)
    instances = sizing_resources.instance_counts(each.name for each in found.endpoints)
    if event.sweep:
        publish("Leftovers", len(found.names))
        oldest = time.time() - environment.log_retention_seconds
        endpoint_logs.remove(environment.name_prefix, made_before=oldest)
    logger.info("leftovers", extra={"left": found.names, "rounds": rounds.rounds})
    if not found.names:
        status = "GONE"
        _remove_captured(event, environment)
    elif rounds.are_enough(time.time() - event.started_at.timestamp(), event.timeout_minutes * 60):
        status = "GIVE_UP"
    else:
        status = "WAIT"
        rounds = rounds.after(
            remove(removal, cluster=environment.cluster_arn, table=environment.table_name)
        )
    return {
        "status": status,
        "wait_seconds": rounds.seconds_to_next(released_locks=bool(removal.locks)),
        **rounds.model_dump(mode="json"),
        "names": found.names,
        "described": leftovers.described(found, instances, environment.region),
        "costs": leftovers.costs(found, instances, environment.region),
    }


def _remove_captured(event: RemoveLeftoversEvent, environment: Environment) -> None:
    """Remove the sample of production's requests, which nothing can still need.

    One that stays costs nothing and is deleted with the results: it holds up no clean-up.
    """
    if event.sizing is None:
        return
    key = names.sizing_folder(event.sizing) + names.CAPTURED_FILE
    try:
        s3_documents.remove(environment.results_bucket, key)
    except (BotoCoreError, ClientError):
        logger.exception("captured requests not removed")


def _found(event: RemoveLeftoversEvent, environment: Environment) -> Found:
    found = sizing_resources.find(
        environment.name_prefix,
        event.sizing,
        environment.cluster_arn,
        event.state_machine_arns,
        environment.table_name,
    )
    if event.sizing:
        return leftovers.of_sizing(found, event.sizing)
    statuses = {
        arn: sizing_resources.execution_status(arn) for arn in leftovers.execution_arns(found)
    }
    return leftovers.of_ended_executions(found, statuses)
