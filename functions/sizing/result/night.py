"""A nightly run: what it is told to do, what became of each profile, and what is said of it all."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sizing.errors import InvalidRequest, innermost
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
