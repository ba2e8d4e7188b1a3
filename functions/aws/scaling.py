"""How many instances an endpoint in production has: read, and changed where the stack may."""

from __future__ import annotations

from typing import Any

from aws import production
from aws.clients import client
from sizing.production import autoscaling
from sizing.production.apply import Running, Scaling, Update

_POLICY_FIELDS = ("PolicyName", "PolicyType", "TargetTrackingScalingPolicyConfiguration")


def read(endpoint: str, variant: str | None) -> Running:
    """A variant as it runs, with what scales it.

    Args:
        endpoint: Its endpoint's name.
        variant: Which one; None where the endpoint has one.

    Raises:
        InvalidRequest: There is no such endpoint or variant, it has no instances of its own, or
            the stack may not read it.
        botocore.exceptions.ClientError: AWS refused a call for another reason.
    """
    found = production.variant_of("apply.endpoint", endpoint, variant)
    scaled = autoscaling.scalable_target(endpoint, found.name)
    service = client("application-autoscaling")
    targets = service.describe_scalable_targets(
        ServiceNamespace=scaled["ServiceNamespace"],
        ResourceIds=[scaled["ResourceId"]],
        ScalableDimension=scaled["ScalableDimension"],
    )["ScalableTargets"]
    policies = service.describe_scaling_policies(**scaled)["ScalingPolicies"]
    least, most = (
        (targets[0]["MinCapacity"], targets[0]["MaxCapacity"]) if targets else (None, None)
    )
    return Running(
        endpoint=endpoint,
        variant=found.name,
        status=found.status,
        instance_type=found.instance_type,
        scaling=Scaling(
            instance_count=found.desired_count,
            min_instances=least,
            max_instances=most,
            policies=tuple(_written(each) for each in policies),
        ),
    )


def send(running: Running, update: Update) -> None:
    """Change a variant; what it has already stays.

    Raises:
        botocore.exceptions.ClientError: AWS refused a call.
    """
    if update.instance_count is not None:
        client("sagemaker").update_endpoint_weights_and_capacities(
            EndpointName=running.endpoint,
            DesiredWeightsAndCapacities=[
                {"VariantName": running.variant, "DesiredInstanceCount": update.instance_count}
            ],
        )
    service = client("application-autoscaling")
    if update.register is not None:
        service.register_scalable_target(**update.register)
    if update.policy is not None:
        service.put_scaling_policy(**update.policy)


def _written(policy: Any) -> dict[str, Any]:
    """What PutScalingPolicy would be sent again."""
    return {name: policy[name] for name in _POLICY_FIELDS if name in policy}
