"""PlanNight: says which profiles are sized next, and when all are done, what to say of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import BaseModel

from aws import parameters, sizing_table
from aws.availability import naming_errors
from aws.environment import Environment
from aws.telemetry import Event, logger
from sizing.clean_up import names
from sizing.request.profile import Profile, parse_profile
from sizing.result import history, night
from sizing.result.night import Ended, Run


class Execution(BaseModel):
    """The run's execution."""

    arn: str
    name: str
    #: What it was started with.
    input: Any


class PlanNightEvent(Event):
    """A run, what became of its profiles so far, and of those that have just ended."""

    execution: Execution
    ended: list[Ended]
    raw: list[dict[str, Any]]


@naming_errors
@event_parser(model=PlanNightEvent)
def handler(event: PlanNightEvent, _context: LambdaContext) -> dict[str, Any]:
    """Plan the next sizings of a run.

    Returns:
        ``ended``, what became of all profiles so far, and ``action``: SIZE, with a ``batch`` of
        sizings to start; or DONE, with the ``summary``.

    Raises:
        InvalidRequest: The run's input is none that is allowed.
        AwsUnavailable: Systems Manager or DynamoDB throttled or failed a call.
        AccessDenied: No policy allows it.
    """
    orders = night.parse_orders(event.execution.input)
    records = _Records(event.execution, orders.package_arn)
    written = records.profiles()
    ended = list(event.ended)
    for raw in event.raw:
        each = night.read_ended(raw)
        if each.status == "FAILED":  # so that whoever sends the package again has it sized
            records.release(written.get(each.profile), each.profile)
            each = each.model_copy(update={"sizing_cost_usd": records.cost_of(each)})
        ended.append(each)
    run = Run(
        name=event.execution.name,
        orders=orders,
        limit_usd=orders.max_cost_usd or Environment.read().nightly_max_cost_usd,
        held_by=records.held_by,
        last_cost=records.last_cost,
    )
    batch, left = run.next_batch(written, ended)
    ended += left
    logger.info("night", extra={"ended": len(ended), "next": len(batch)})
    answer: dict[str, Any] = {"ended": [each.model_dump(mode="json") for each in ended]}
    if batch:
        return {**answer, "action": "SIZE", "batch": batch}
    summary = night.summary(ended)
    return {**answer, "action": "DONE", "summary": vars(summary)}


class _Records:
    """What is written of profiles and of the sizings of their packages."""

    def __init__(self, run: Execution, package_arn: str | None) -> None:
        self._run, self._package_arn = run, package_arn
        self._environment = Environment.read()
        self._table = self._environment.table_name

    def profiles(self) -> dict[str, str]:
        """All profiles as written, by their model package group."""
        path = f"/{self._environment.name_prefix}/profiles/"
        written = parameters.below(path.rstrip("/"))
        return {name.removeprefix(path): text for name, text in written.items()}

    def held_by(self, profile: Profile) -> str | None:
        """Who has the package with this request already; None if it is this run's own now."""
        held = sizing_table.take(self._table, self._claim(profile), now=time.time())
        return None if held is None else str(held["owner"])

    def release(self, written: str | None, group: str) -> None:
        """Let the package be sized again."""
        if self._package_arn is not None and written is not None:
            claim = self._claim(parse_profile(written, group))
            sizing_table.release(self._table, claim["pk"], claim["sk"], claim["owner"])

    def last_cost(self, group: str) -> float:
        """What the group's last sizing cost, USD; 0 if that is not known."""
        costs = (each.get("sizing_cost_usd") for each in self._history(group))
        return float(next((each for each in costs if each is not None), 0.0))

    def cost_of(self, ended: Ended) -> float | None:
        """What a sizing has cost that ended without saying so, USD; None if that is not known."""
        if ended.execution_arn is None:
            return None
        sizing_id = names.sizing_id(ended.execution_arn)
        known = (each for each in self._history(ended.profile) if each["sizing_id"] == sizing_id)
        return next((each.get("sizing_cost_usd") for each in known), None)

    def _history(self, group: str) -> Iterator[dict[str, Any]]:
        partition = history.partition(f"model_package_group/{group}")
        return sizing_table.items(self._table, partition, newest_first=True)

    def _claim(self, profile: Profile) -> Mapping[str, Any]:
        """What makes a package this run's own, for as long as its result is kept."""
        return {
            "pk": f"package#{self._package_arn}",
            "sk": night.request_digest(profile.written),
            "owner": self._run.arn,
            "expires_at": int(time.time() + self._environment.result_retention_seconds),
        }
