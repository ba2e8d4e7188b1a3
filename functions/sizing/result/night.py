"""A nightly run: what it is told to do, what became of each profile, and what is said of it all."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sizing.errors import InvalidRequest, innermost
from sizing.request.profile import Profile, parse_profile
from sizing.request.request import ModelPackageArn, Notify, ResourceName
from sizing.result.change import Kind
from sizing.result.message import as_subject, one_line, usd

EVENT: Final = "SageMaker Model Package State Change"

_ALLOWED: Final = (
    'must be {} for all profiles, {"profiles": ["<model package group>", ...]} for some, either '
    f'with "max_cost_usd"; or an event "{EVENT}"'
)
_LONGEST_SENTENCE: Final = 500
#: SNS takes 256 KB.
_LONGEST_MESSAGE: Final = 60_000
#: Longest cause of a failed execution.
_LONGEST_CAUSE: Final = 4_000
#: Sizings handed on at a time: at most so many, and so many bytes of them.
_BATCH: Final = 10
_BATCH_BYTES: Final = 120 * 1024
#: The same while the cost of each decides about the next: as many as are sized side by side.
_CAREFUL_BATCH: Final = 2
#: Kinds of change in the order of how much they matter; with an answer that is not told apart.
_WORTH_A_SUBJECT: Final = (Kind.REGRESSED, Kind.CHANGED, Kind.IMPROVED, Kind.FIRST)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


class _Chosen(_Strict):
    profiles: list[ResourceName] | None = Field(default=None, min_length=1)
    max_cost_usd: float | None = Field(default=None, gt=0)
    #: Step Functions' console is told by it who started an execution.
    started_by: str | None = Field(default=None, alias="AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID")


class _Package(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    group: ResourceName = Field(alias="ModelPackageGroupName")
    arn: ModelPackageArn = Field(alias="ModelPackageArn")


@dataclass(frozen=True)
class Orders:
    """What a run does.

    Args:
        profiles: The profiles to size; None for all.
        package_arn: The package to size with its group's profile; None for each group's latest.
        max_cost_usd: What all sizings may cost together; None for no limit of this run's own.
    """

    profiles: tuple[str, ...] | None = None
    package_arn: str | None = None
    max_cost_usd: float | None = None


class Ended(BaseModel):
    """What became of a profile."""

    model_config = ConfigDict(frozen=True)

    profile: str
    status: Literal["SIZED", "TARGET_NOT_MET", "FAILED", "DRY_RUN", "SKIPPED"]
    #: Why it failed or was skipped.
    reason: str | None = None
    notify: Notify = "always"
    #: Whether its sizing has sent a message of its own, or may have.
    told: bool = False
    change: Kind | None = None
    #: What changed, in a line.
    change_summary: str | None = None
    instance_type: str | None = None
    instance_count: int | None = None
    hourly_cost_usd: float | None = None
    #: What the sizing itself has cost; None if that is not known.
    sizing_cost_usd: float | None = None
    report_uri: str | None = None
    execution_arn: str | None = None


@dataclass(frozen=True)
class Summary:
    """What is said of a run: subject and text of a message, and the cause, if it has failed."""

    notify: bool
    subject: str
    message: str
    cost_usd: float
    #: Empty if nothing failed.
    failed: str


def parse_orders(data: object) -> Orders:
    """What the input of a run asks for.

    Raises:
        InvalidRequest: It is neither of the forms that are allowed.
    """
    if isinstance(data, Mapping) and "detail-type" in data:
        try:
            package = _Package.model_validate(data.get("detail"))
        except ValidationError as error:
            raise _not_allowed(error) from None
        if data["detail-type"] != EVENT:
            raise InvalidRequest("detail-type", _ALLOWED)
        return Orders((package.group,), package.arn)
    try:
        chosen = _Chosen.model_validate(data)
    except ValidationError as error:
        raise _not_allowed(error) from None
    profiles = None if chosen.profiles is None else tuple(dict.fromkeys(chosen.profiles))
    return Orders(profiles, max_cost_usd=chosen.max_cost_usd)


def _not_allowed(error: ValidationError) -> InvalidRequest:
    where = ".".join(str(each) for each in error.errors()[0]["loc"])
    return InvalidRequest(f"input.{where}" if where else "input", _ALLOWED)


def execution_name(profile: str, run: str) -> str:
    """Name of a profile's sizing, its own in each run: at most 72 of the 80 characters allowed."""
    digest = hashlib.sha256(f"{profile}/{run}".encode()).hexdigest()[:8]
    return f"{profile[:26]}-{digest}-{run[-36:]}"


def request_digest(request: Mapping[str, Any]) -> str:
    """The same for the same request."""
    text = json.dumps(request, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Run:
    """A run at work.

    Args:
        name: The run's own, of which the names of its sizings are made.
        orders: What it does.
        limit_usd: What all its sizings may cost together; None for no limit.
        held_by: Who has a profile's sizing of this package already; None takes it for this run.
        last_cost: What the last sizing of a model package group cost, USD; 0 if that is not known.
    """

    name: str
    orders: Orders
    limit_usd: float | None
    held_by: Callable[[Profile], str | None]
    last_cost: Callable[[str], float]

    def next_batch(
        self, written: Mapping[str, str], ended: Sequence[Ended]
    ) -> tuple[list[dict[str, Any]], list[Ended]]:
        """What is sized next.

        Args:
            written: All profiles that there are, as written, by their model package group.
            ended: What became of the profiles so far.

        Returns:
            The sizings, as the state machine starts them and hands them back when they have
            ended; and the profiles that are left out on the way to them. Neither, and all is done.

        Raises:
            InvalidRequest: A profile that is asked for does not exist.
        """
        most = _BATCH if self.limit_usd is None else _CAREFUL_BATCH
        batch: list[dict[str, Any]] = []
        left: list[Ended] = []
        cost, size = spent(ended), 0
        expected = cost
        for group in self._groups(written, ended):
            try:
                profile = parse_profile(written[group], group)
            except InvalidRequest as error:
                left.append(Ended(profile=group, status="FAILED", reason=str(error)))
                continue
            why = self._why_not(profile)
            if why is not None:
                left.append(Ended(profile=group, status="SKIPPED", reason=why, notify="never"))
                continue
            if self.limit_usd is not None:
                last = self.last_cost(group)
                if expected + last >= self.limit_usd:
                    why = (
                        f"the run may cost {usd(self.limit_usd)}, {usd(cost)} are spent, and its "
                        f"last sizing cost {usd(last)}"
                    )
                    notify = profile.request.notify
                    left.append(Ended(profile=group, status="SKIPPED", reason=why, notify=notify))
                    continue
                expected += last
            sizing = self._sizing(group, profile)
            size += len(json.dumps(sizing).encode())
            if batch and size > _BATCH_BYTES:
                break
            batch.append(sizing)
            if len(batch) == most:
                break
        return batch, left

    def _groups(self, written: Mapping[str, str], ended: Sequence[Ended]) -> Iterator[str]:
        """Those that are still to be looked at."""
        wanted = sorted(written) if self.orders.profiles is None else self.orders.profiles
        missing = [group for group in wanted if group not in written]
        # Of a package that has no profile nobody wants to know; one deleted since is left out.
        if missing and not ended and self.orders.package_arn is None:
            known = ", ".join(sorted(written)) or "none"
            raise InvalidRequest("input.profiles", f"there is no {missing[0]}; there are: {known}")
        done = {each.profile for each in ended}
        return (group for group in wanted if group in written and group not in done)

    def _why_not(self, profile: Profile) -> str | None:
        """Why a profile is left alone; None if it is not."""
        if not profile.enabled:
            return "paused"
        owner = self.held_by(profile) if self.orders.package_arn else None
        if owner is None:
            return None
        return f"the same request for the same package is, or was, the matter of {owner}"

    def _sizing(self, group: str, profile: Profile) -> dict[str, Any]:
        package = self.orders.package_arn
        model = {"model_package_arn": package} if package else {"model_package_group": group}
        # Of a package that has just come its own message tells; a night has one for all.
        notify = {} if package else {"notify": "never"}
        return {
            "name": execution_name(group, self.name),
            "request": {**profile.written, "model": model, **notify},
            "profile": group,
            "notify": profile.request.notify,
            "told": package is not None,
        }


def read_ended(raw: Mapping[str, Any]) -> Ended:
    """What the state machine says of a sizing that it has waited for.

    Args:
        raw: ``profile``, ``notify``, ``told``; and ``output``, the execution's, or ``error`` and
            ``cause``.
    """
    known = {name: raw[name] for name in ("profile", "notify", "told")}
    if "output" in raw:
        found = Ended.model_validate({**raw["output"], **known})
        return found if found.status != "SIZED" else found.model_copy(update={"reason": None})
    error, cause = raw.get("error", ""), raw.get("cause") or ""
    arn = _started(cause)
    name, why = innermost(error, cause)
    return Ended(
        status="FAILED",
        reason=one_line(f"{name}: {why}", _LONGEST_SENTENCE),
        execution_arn=arn,
        # Who could not even start could not speak either.
        **{**known, "told": known["told"] and arn is not None},
    )


def _started(cause: str) -> str | None:
    try:
        arn = json.loads(cause).get("ExecutionArn")
    except (ValueError, AttributeError, RecursionError):
        return None
    return arn if isinstance(arn, str) else None


def spent(ended: Sequence[Ended]) -> float:
    """What all sizings of a run have cost so far, USD, as far as it is known."""
    return sum(each.sizing_cost_usd or 0.0 for each in ended)


def summary(ended: Sequence[Ended]) -> Summary:
    """What is said of a run whose profiles are all done.

    A message is wanted if one profile's ``notify`` wants it, of what its sizing has not told.
    """
    failed = [each for each in ended if each.status == "FAILED"]
    cost = spent(ended)
    counts = _counts(ended)
    head = ", ".join(f"{number} {what}" for what, number in counts.items())
    profiles = f"{len(ended)} profile{'' if len(ended) == 1 else 's'}"
    lines = [f"{profiles}: {head or 'none'}. The sizings cost {usd(cost)}.", ""]
    lines += [_line(each) for each in sorted(ended, key=_importance)]
    causes = "; ".join(f"{each.profile}: {each.reason}" for each in failed)
    return Summary(
        notify=any(map(_is_worth_a_message, ended)),
        subject=as_subject(f"Endpoint sizing: {head} of {profiles}"),
        message="\n".join(lines)[:_LONGEST_MESSAGE] + "\n",
        cost_usd=round(cost, 4),
        failed=causes[:_LONGEST_CAUSE],
    )


def _counts(ended: Sequence[Ended]) -> dict[str, int]:
    """How many came to what, the most serious first."""
    order = ["FAILED", *_WORTH_A_SUBJECT, Kind.UNCHANGED, "SIZED", "TARGET_NOT_MET", "DRY_RUN"]
    found = Counter(str(each.change or each.status) for each in ended)
    return {str(what): found[what] for what in [*order, "SKIPPED"] if found[what]}


def _importance(ended: Ended) -> tuple[int, str]:
    order = ["FAILED", *_WORTH_A_SUBJECT]
    what = ended.change or ended.status
    return (order.index(what) if what in order else len(order), ended.profile)


def _line(ended: Ended) -> str:
    parts = [f"{ended.profile}: {ended.status}"]
    if ended.reason:
        parts.append(ended.reason)
    if ended.instance_count:
        cost = "" if ended.hourly_cost_usd is None else f", {usd(ended.hourly_cost_usd)} per hour"
        parts.append(f"{ended.instance_count} x {ended.instance_type}{cost}")
    if ended.change_summary:
        parts.append(ended.change_summary)
    if ended.sizing_cost_usd is not None:
        parts.append(f"the sizing cost {usd(ended.sizing_cost_usd)}")
    parts += [each for each in (ended.report_uri or ended.execution_arn,) if each]
    return "; ".join(parts)


def _is_worth_a_message(ended: Ended) -> bool:
    if ended.told:
        return False
    if ended.notify == "failure":
        return ended.status in ("FAILED", "SKIPPED")
    if ended.notify == "change":
        return ended.change is not Kind.UNCHANGED
    return ended.notify == "always"
