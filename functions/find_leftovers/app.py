"""FindLeftovers: finds what a sizing left behind, and what of it may be removed now."""

from __future__ import annotations

from typing import Any, Self

from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import model_validator

from aws import sizing_resources
from aws.availability import naming_unavailability
from aws.environment import Environment
from aws.telemetry import Event, logger, publish
from sizing.clean_up import leftovers, names


class FindLeftoversEvent(Event):
    """Whose leftovers: one sizing's, by its id or execution, or those of all that no longer run."""

    sizing_id: str | None = None
    execution_arn: str | None = None
    sweep: bool = False
    load_test_state_machine_arn: str

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (bool(self.sizing_id), bool(self.execution_arn), self.sweep).count(True) != 1:
            raise ValueError("exactly one of sizing_id, execution_arn, sweep is needed")
        return self

    @property
    def sizing(self) -> str | None:
        """The sizing's id; None in a sweep."""
        return names.sizing_id(self.execution_arn) if self.execution_arn else self.sizing_id


@naming_unavailability
@event_parser(model=FindLeftoversEvent)
def handler(event: FindLeftoversEvent, _context: LambdaContext) -> dict[str, Any]:
    """Find leftovers.

    Returns:
        What to stop and delete now, what to wait for, and all that is left: its names, a line
        about each, and what it costs.
    """
    environment = Environment.read()
    logger.set_correlation_id(event.sizing or "sweep")
    found = sizing_resources.find(
        environment.name_prefix,
        event.sizing,
        environment.cluster_arn,
        event.load_test_state_machine_arn,
        environment.table_name,
    )
    if event.sizing:
        found = leftovers.of_sizing(found, event.sizing)
    else:
        statuses = {
            arn: sizing_resources.execution_status(arn) for arn in leftovers.execution_arns(found)
        }
        found = leftovers.of_ended_executions(found, statuses)
    removal = leftovers.removal(found, environment.cluster_arn)
    instances = sizing_resources.instance_counts(each.name for each in found.endpoints)
    if event.sweep:
        publish("Leftovers", len(removal["names"]))
    logger.info("leftovers", extra={"left": removal["names"], "waiting": removal["waiting"]})
    return {
        **removal,
        "described": leftovers.described(found, instances, environment.region),
        "costs": leftovers.costs(found, instances, environment.region),
    }
