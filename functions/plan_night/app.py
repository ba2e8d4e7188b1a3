"""PlanNight: says which profiles are sized next, and when all are done, what to say of them."""

from __future__ import annotations

import json
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
from sizing.errors import InvalidRequest
from sizing.request.profile import Profile, parse_profile
from sizing.result import history, night
from sizing.result.night import Ended, Orders

#: Profiles handed on at a time: at most so many, and so many bytes of them.
_BATCH = 10
_BATCH_BYTES = 120 * 1024
#: The same while the cost of each decides about the next: as many as are sized side by side.
_CAREFUL_BATCH = 2
_DAY_SECONDS = 86_400


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
    run = _Run(event.execution, orders)
    ended = [*event.ended, *(run.account_for(night.read_ended(raw)) for raw in event.raw)]
    batch = run.next_batch(ended)
    logger.info("night", extra={"ended": len(ended), "next": len(batch)})
    answer: dict[str, Any] = {"ended": [each.model_dump(mode="json") for each in ended]}
    if batch:
        return {**answer, "action": "SIZE", "batch": batch}
    summary = night.summary(ended)
    return {**answer, "action": "DONE", "summary": vars(summary)}


class _Run:
    """A run at work: what it may spend, and which profiles are its."""

    def __init__(self, execution: Execution, orders: Orders) -> None:
        self._execution, self._orders = execution, orders
        self._environment = Environment.read()
        self._limit = orders.max_cost_usd or self._environment.nightly_max_cost_usd

    def next_batch(self, ended: list[Ended]) -> list[dict[str, Any]]:
        """What is sized next; profiles that are not sized at all are added to those that ended."""
        done = {each.profile for each in ended}
        most = _BATCH if self._limit is None else _CAREFUL_BATCH
        batch: list[dict[str, Any]] = []
        expected, size = night.spent(ended), 0
        for group, text in self._profiles(done):
            try:
                profile = parse_profile(text, group)
            except InvalidRequest as error:
                ended.append(Ended(profile=group, status="FAILED", reason=str(error)))
                continue
            why = self._why_not(profile)
            if why is not None:
                ended.append(Ended(profile=group, status="SKIPPED", reason=why, notify="never"))
                continue
            if self._limit is not None:
                expected += self._last_cost(group)
                if expected >= self._limit:
                    ended.append(self._too_dear(group, profile, night.spent(ended)))
                    continue
            sizing = self._sizing(group, profile)
            size += len(json.dumps(sizing).encode())
            if batch and size > _BATCH_BYTES:
                break
            batch.append(sizing)
            if len(batch) == most:
                break
        return batch

    def account_for(self, ended: Ended) -> Ended:
        """The same, with its cost where it failed; a package that failed may be sized again."""
        if ended.status != "FAILED":
            return ended
        self._release(ended.profile)
        if ended.execution_arn is None:
            return ended
        sizing_id = names.sizing_id(ended.execution_arn)
        cost = next(
            (
                each.get("sizing_cost_usd")
                for each in self._history(ended.profile)
                if each.get("sizing_id") == sizing_id
            ),
            None,
        )
        return ended.model_copy(update={"sizing_cost_usd": cost})

    def _profiles(self, done: set[str]) -> Iterator[tuple[str, str]]:
        """Groups that are still to be looked at, and their profiles as they are written."""
        path = f"/{self._environment.name_prefix}/profiles"
        written = {
            name.removeprefix(f"{path}/"): text for name, text in parameters.below(path).items()
        }
        wanted = sorted(written) if self._orders.profiles is None else self._orders.profiles
        missing = [group for group in wanted if group not in written]
        if missing and not done and self._orders.package_arn is None:
            known = ", ".join(sorted(written)) or "none"
            raise InvalidRequest("input.profiles", f"there is no {missing[0]}; there are: {known}")
        for group in wanted:
            if group in written and group not in done:
                yield group, written[group]

    def _why_not(self, profile: Profile) -> str | None:
        """Why a profile is left alone; None if it is not."""
        if not profile.enabled:
            return "paused"
        if self._orders.package_arn is None:
            return None
        held = sizing_table.take(
            self._environment.table_name, self._claim(profile), now=time.time()
        )
        if held is None:
            return None
        return f"the same request for the same package is, or was, the matter of {held['owner']}"

    def _too_dear(self, group: str, profile: Profile, cost: float) -> Ended:
        why = f"the run may cost ${self._limit:.2f}, and ${cost:.2f} are spent"
        return Ended(profile=group, status="SKIPPED", reason=why, notify=profile.request.notify)

    def _sizing(self, group: str, profile: Profile) -> dict[str, Any]:
        """A sizing, as the state machine starts it and hands it back when it has ended."""
        package = self._orders.package_arn
        model = {"model_package_arn": package} if package else {"model_package_group": group}
        # Of a package that has just come its own message tells; a night has one for all.
        notify = {} if package else {"notify": "never"}
        return {
            "name": night.execution_name(group, self._execution.name),
            "request": {**profile.written, "model": model, **notify},
            "profile": group,
            "notify": profile.request.notify,
            "told": package is not None,
        }

    def _claim(self, profile: Profile) -> Mapping[str, Any]:
        """What makes a package this run's own, for as long as its result is kept."""
        days = self._environment.result_retention_days
        return {
            "pk": f"package#{self._orders.package_arn}",
            "sk": night.request_digest(profile.written),
            "owner": self._execution.arn,
            "expires_at": int(time.time() + days * _DAY_SECONDS),
        }

    def _release(self, group: str) -> None:
        if self._orders.package_arn is None:
            return
        for name, text in self._profiles(set()):
            if name == group:
                claim = self._claim(parse_profile(text, group))
                sizing_table.release(
                    self._environment.table_name, claim["pk"], claim["sk"], claim["owner"]
                )

    def _history(self, group: str) -> Iterator[dict[str, Any]]:
        partition = history.partition(f"model_package_group/{group}")
        return sizing_table.items(self._environment.table_name, partition, newest_first=True)

    def _last_cost(self, group: str) -> float:
        """What the group's last sizing cost, USD; 0 if that is not known."""
        costs = (each.get("sizing_cost_usd") for each in self._history(group))
        return float(next((each for each in costs if each is not None), 0.0))
