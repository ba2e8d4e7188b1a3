"""Autoscaling advice: what a load test says about the numbers of a scaling policy.

Formula of the target value, from "Load testing your auto scaling configuration" in the Amazon
SageMaker AI Developer Guide::

    SageMakerVariantInvocationsPerInstance = (MAX_RPS * SAFETY_FACTOR) * 60

``MAX_RPS`` is the saturation rate of one instance, and the product of the two is the rate to
hold. That rate is measured here: it is what one instance serves at the middle of the utilization
band. The safety factor follows from it instead of being guessed.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from sizing.catalogue.burstable import is_burstable
from sizing.clean_up.names import VARIANT_NAME
from sizing.search.answer import SATURATION_SHARE

#: Predefined metrics of Application Auto Scaling for one variant: invocations per minute and
#: instance, published every minute; requests in flight in one container, every 10 s.
INVOCATIONS_METRIC = "SageMakerVariantInvocationsPerInstance"
CONCURRENCY_METRIC = "SageMakerVariantConcurrentRequestsPerModelHighResolution"

#: Application Auto Scaling's own default for SageMaker variants, seconds.
COOLDOWN_SECONDS = 300

#: Two policies on one variant need names that differ.
_POLICY_SUFFIXES = {
    INVOCATIONS_METRIC: "invocations-per-instance",
    CONCURRENCY_METRIC: "concurrent-requests",
}

#: Stands for the endpoint's name until it is known: the sized endpoint itself is gone.
ENDPOINT_PLACEHOLDER = "YOUR-ENDPOINT"

_SECONDS_PER_MINUTE = 60
#: Instances kept at the least, so that SageMaker can place them in two Availability Zones.
_LEAST_INSTANCES = 2
#: Room above the count that serves the target.
_GROWTH = 2


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class ConcurrencyTracking(_Frozen):
    """The alternative metric: reacts within seconds, and fits answers of very uneven length."""

    metric: str = CONCURRENCY_METRIC
    #: Requests in flight per instance.
    target_value: float = Field(gt=0)


class ScalingRequests(_Frozen):
    """Complete API requests, with ``ENDPOINT_PLACEHOLDER`` for the endpoint's name."""

    register_scalable_target: dict[str, Any]
    put_scaling_policy: dict[str, Any]
    #: PutScalingPolicy for ``alternative``, instead of the other or beside it.
    put_concurrency_policy: dict[str, Any] | None = None


class Autoscaling(_Frozen):
    """Numbers of a target tracking policy."""

    metric: str = INVOCATIONS_METRIC
    #: Invocations per instance and minute.
    target_value: float = Field(gt=0)
    min_capacity: int = Field(ge=1)
    max_capacity: int = Field(ge=1)
    #: Seconds.
    scale_in_cooldown: int = COOLDOWN_SECONDS
    scale_out_cooldown: int = COOLDOWN_SECONDS
    #: The rate held, relative to the saturation rate of one instance; None if that is unknown.
    safety_factor: float | None = None
    alternative: ConcurrencyTracking | None = None
    requests: ScalingRequests | None = None


def advise(
    *,
    instance_type: str,
    instance_count: int,
    max_instances: int,
    tps_per_instance: float | None,
    most_tps: float | None = None,
    saturation_tps: float | None = None,
    model_latency_ms: float | None = None,
) -> Autoscaling | None:
    """The policy that keeps an endpoint's utilization at the middle of the band, within all limits.

    Args:
        instance_type: The recommended type.
        instance_count: The recommended count, which serves the target rate.
        max_instances: The request's ``limits.max_instances``.
        tps_per_instance: What one instance serves at the middle of the band, per second.
        most_tps: What one instance serves within its limits of latency, errors and what its
            container can take, per second; None if that is unknown.
        saturation_tps: What one instance serves at the most, per second; None if unknown.
        model_latency_ms: Mean ModelLatency under the target, milliseconds; None if unknown.

    Returns:
        None where SageMaker does not scale that type (burstable), or no rate was measured.
    """
    if tps_per_instance is None or tps_per_instance <= 0 or is_burstable(instance_type):
        return None
    caps = (most_tps, None if saturation_tps is None else SATURATION_SHARE * saturation_tps)
    tps_per_instance = min([tps_per_instance, *(cap for cap in caps if cap)])
    advice = Autoscaling(
        target_value=_significant(tps_per_instance * _SECONDS_PER_MINUTE),
        min_capacity=min(_LEAST_INSTANCES, instance_count),
        max_capacity=max(instance_count, min(_GROWTH * instance_count, max_instances)),
        safety_factor=(
            round(tps_per_instance / saturation_tps, 3)
            if saturation_tps is not None and saturation_tps > 0
            else None
        ),
        alternative=_concurrency(tps_per_instance, model_latency_ms),
    )
    requests = ScalingRequests(
        register_scalable_target=register_scalable_target(advice, ENDPOINT_PLACEHOLDER),
        put_scaling_policy=put_scaling_policy(advice, ENDPOINT_PLACEHOLDER),
        put_concurrency_policy=put_concurrency_policy(advice, ENDPOINT_PLACEHOLDER),
    )
    return advice.model_copy(update={"requests": requests})


def _concurrency(tps_per_instance: float, latency_ms: float | None) -> ConcurrencyTracking | None:
    """Little's law: requests in flight = their rate x the time each one stays."""
    if latency_ms is None or latency_ms <= 0:
        return None
    return ConcurrencyTracking(target_value=_significant(tps_per_instance * latency_ms / 1000))


def _significant(value: float) -> float:
    """Four significant digits: more than the measurement holds, and easy to read."""
    return float(f"{value:.4g}")


def register_scalable_target(
    advice: Autoscaling, endpoint_name: str, variant_name: str = VARIANT_NAME
) -> dict[str, Any]:
    """RegisterScalableTarget request, for ``--cli-input-json`` or an SDK."""
    return {
        **scalable_target(endpoint_name, variant_name),
        "MinCapacity": advice.min_capacity,
        "MaxCapacity": advice.max_capacity,
    }


def put_scaling_policy(
    advice: Autoscaling, endpoint_name: str, variant_name: str = VARIANT_NAME
) -> dict[str, Any]:
    """PutScalingPolicy request that tracks invocations per instance."""
    return _policy(advice, advice.metric, advice.target_value, endpoint_name, variant_name)


def put_concurrency_policy(
    advice: Autoscaling, endpoint_name: str, variant_name: str = VARIANT_NAME
) -> dict[str, Any] | None:
    """PutScalingPolicy request that tracks requests in flight; None if their number is unknown."""
    if advice.alternative is None:
        return None
    metric, target_value = advice.alternative.metric, advice.alternative.target_value
    return _policy(advice, metric, target_value, endpoint_name, variant_name)


def scalable_target(endpoint_name: str, variant_name: str) -> dict[str, str]:
    """What Application Auto Scaling calls a variant."""
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/{endpoint_name}/variant/{variant_name}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }


def _policy(
    advice: Autoscaling, metric: str, target_value: float, endpoint_name: str, variant_name: str
) -> dict[str, Any]:
    return {
        "PolicyName": f"{endpoint_name}-{variant_name}-{_POLICY_SUFFIXES[metric]}",
        "PolicyType": "TargetTrackingScaling",
        **scalable_target(endpoint_name, variant_name),
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": target_value,
            "PredefinedMetricSpecification": {"PredefinedMetricType": metric},
            "ScaleInCooldown": advice.scale_in_cooldown,
            "ScaleOutCooldown": advice.scale_out_cooldown,
        },
    }
