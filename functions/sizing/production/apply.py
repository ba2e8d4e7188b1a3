"""Whether a sizing's answer is applied to an endpoint in production, and what of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from pydantic import BaseModel, ConfigDict

from sizing.production import autoscaling
from sizing.production.autoscaling import Autoscaling
from sizing.request.request import Apply
from sizing.search.answer import Status

#: An endpoint that takes changes.
_IN_SERVICE = "InService"


class Scaling(BaseModel):
    """How many instances a variant has, and by what they follow its traffic."""

    model_config = ConfigDict(frozen=True)

    instance_count: int
    #: Bounds of its scalable target; None where it is none.
    min_instances: int | None = None
    max_instances: int | None = None
    #: Its scaling policies, as DescribeScalingPolicies has them: their name and configuration.
    policies: tuple[dict[str, Any], ...] = ()


class Applied(BaseModel):
    """What became of ``apply`` of the request."""

    model_config = ConfigDict(frozen=True)

    endpoint: str
    variant: str | None
    what: str
    #: Whether the endpoint has now what the answer says.
    done: bool
    #: What was done, or why nothing was, in a sentence.
    reason: str
    #: As it was, for the way back; None where it could not be read.
    before: Scaling | None = None


@dataclass(frozen=True)
class Running:
    """A variant as it runs.

    Args:
        endpoint: Its endpoint's name.
        variant: Its own.
        status: EndpointStatus.
        instance_type: None where it has none of its own.
        scaling: What ``apply`` changes.
    """

    endpoint: str
    variant: str
    status: str
    instance_type: str | None
    scaling: Scaling


@dataclass(frozen=True)
class Update:
    """What is to be sent.

    Args:
        reason: What it does, in a sentence.
        instance_count: UpdateEndpointWeightsAndCapacities' DesiredInstanceCount.
        register: A RegisterScalableTarget request, and
        policy: the PutScalingPolicy request that follows it.
    """

    reason: str
    instance_count: int | None = None
    register: dict[str, Any] | None = None
    policy: dict[str, Any] | None = None


@dataclass(frozen=True)
class Answered:
    """What of a result decides: status, and the recommendation, None where there is none."""

    status: Status
    instance_type: str | None = None
    instance_count: int = 0
    in_band: bool = False
    autoscaling: Autoscaling | None = None


def may_change(endpoint: str, patterns: Iterable[str]) -> bool:
    """Whether an endpoint may be given an answer.

    Args:
        endpoint: Its name.
        patterns: ARNs of endpoints, with wildcards as IAM reads them.
    """
    return any(
        fnmatchcase(endpoint.lower(), pattern.lower().rpartition(":endpoint/")[2])
        for pattern in patterns
    )


def why_not(asked: Apply, answer: Answered) -> str | None:
    """Why an answer is none to apply, whatever runs; None if it is one."""
    if answer.status is not Status.SIZED or answer.instance_type is None:
        return f"the sizing is {answer.status}"
    if not answer.in_band:
        return "the answer's utilization is outside the band"
    if not asked.min <= answer.instance_count <= asked.max:
        return (
            f"the answer is {answer.instance_count} instances; apply.min and apply.max allow "
            f"{asked.min} to {asked.max}"
        )
    if asked.what == "autoscaling" and answer.autoscaling is None:
        return f"there is no scaling policy for {answer.instance_type}"
    return None


def update(
    asked: Apply, answer: Answered, running: Running, before: Scaling | None = None
) -> Update | str:
    """What an answer that may be applied changes of a variant; a sentence if that is nothing.

    Args:
        asked: What the request says.
        answer: One that ``why_not`` has nothing against.
        running: The variant as it runs now.
        before: As it was before an earlier call of the same sizing; None if there was none.
    """
    if running.instance_type != answer.instance_type:
        return (
            f"{running.endpoint} runs {running.instance_type}, the answer is of "
            f"{answer.instance_type}: another type needs another endpoint configuration"
        )
    if asked.what == "autoscaling":
        return _scaled(asked, answer, running)
    return _count(answer, running, before or running.scaling)


def _count(answer: Answered, running: Running, before: Scaling) -> Update | str:
    now = running.scaling
    if now.max_instances is not None:
        return (
            f"{running.endpoint} is scaled by a policy, which would undo a count: "
            'apply.what "autoscaling" changes that'
        )
    reason = f"{running.endpoint} has {answer.instance_count} instances"
    if before.instance_count != answer.instance_count:
        reason = (
            f"{running.endpoint} is scaled from {before.instance_count} to "
            f"{answer.instance_count} instances"
        )
    if now.instance_count == answer.instance_count:
        return Update(reason)
    if running.status != _IN_SERVICE:
        return f"{running.endpoint} is {running.status}, and takes no change"
    return Update(reason, instance_count=answer.instance_count)


def _scaled(asked: Apply, answer: Answered, running: Running) -> Update | str:
    advice = answer.autoscaling
    assert advice is not None
    bounded = advice.model_copy(
        update={
            "min_capacity": max(advice.min_capacity, asked.min),
            "max_capacity": min(advice.max_capacity, asked.max),
        }
    )
    policy = autoscaling.put_scaling_policy(bounded, running.endpoint, running.variant)
    for each in running.scaling.policies:
        configuration = each.get("TargetTrackingScalingPolicyConfiguration") or {}
        tracked = configuration.get("PredefinedMetricSpecification") or {}
        if tracked.get("PredefinedMetricType") != advice.metric:
            return (
                f"{running.endpoint} is scaled by the policy {each['PolicyName']}, which would "
                "take part in the decision"
            )
        policy["PolicyName"] = each["PolicyName"]  # two of one metric would compete
    return Update(
        f"{running.endpoint} follows its traffic at {bounded.target_value:g} invocations per "
        f"instance and minute, with {bounded.min_capacity} to {bounded.max_capacity} instances",
        register=autoscaling.register_scalable_target(bounded, running.endpoint, running.variant),
        policy=policy,
    )
