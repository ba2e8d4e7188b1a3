"""The SageMaker API requests that deploy a candidate and change its instance count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sizing.catalogue.instance import InstanceFacts
from sizing.clean_up import names
from sizing.request.sizing import Sizing

ApiRequest = dict[str, Any]

#: How long a container may take until it answers ``/ping``, seconds. SageMaker's own limit of four
#: minutes is short for a container that downloads its weights while it starts.
CONTAINER_STARTUP_SECONDS = 900


@dataclass(frozen=True)
class ModelSource:
    """What is deployed: a container to make a model of, or a model that exists."""

    #: ``PrimaryContainer`` of CreateModel; None for a model that exists.
    container: ApiRequest | None = None
    #: Name of the model that exists; None if one is to be made.
    model_name: str | None = None
    #: ARN of the model package that it is, if it is one.
    package_arn: str | None = None
    #: URI and digest (``sha256:...``) of its container's image, as far as they are known.
    image: str | None = None
    image_digest: str | None = None


@dataclass(frozen=True)
class Deployment:
    """Complete API requests, in the order they are made."""

    #: None if the request names a model that exists.
    create_model: ApiRequest | None
    create_endpoint_config: ApiRequest
    create_endpoint: ApiRequest


def resource_tags(sizing: Sizing) -> dict[str, str]:
    """Tags of everything that a sizing creates: the request's, and what clean-up finds it by."""
    return {
        **sizing.request.tags,
        names.PURPOSE_TAG: names.PURPOSE,
        names.SIZING_TAG: sizing.sizing_id,
        names.EXECUTION_TAG: sizing.execution_arn,
    }


def deployment(
    sizing: Sizing,
    facts: InstanceFacts,
    instance_count: int,
    source: ModelSource,
    *,
    name_prefix: str,
    execution_role_arn: str,
) -> Deployment:
    """The requests that deploy a candidate for its first load test.

    Args:
        sizing: The sizing.
        facts: The candidate.
        instance_count: Its instances in its first load test.
        source: What is deployed.
        name_prefix: The stack's prefix of all names.
        execution_role_arn: Role that the model's container runs with.

    Raises:
        ValueError: The names would be longer than SageMaker allows.
    """
    name = names.resource_name(name_prefix, sizing.sizing_id, facts.instance_type)
    tags_by_key = {**resource_tags(sizing), names.INSTANCE_TYPE_TAG: facts.instance_type}
    tags = [{"Key": key, "Value": value} for key, value in tags_by_key.items()]
    create_model = source.container and {
        "ModelName": name,
        "PrimaryContainer": source.container,
        "ExecutionRoleArn": execution_role_arn,
        "Tags": tags,
    }
    create_endpoint_config = {
        "EndpointConfigName": name,
        "ProductionVariants": [
            {
                "VariantName": names.VARIANT_NAME,
                "ModelName": source.model_name or name,
                "InstanceType": facts.instance_type,
                "InitialInstanceCount": instance_count,
                "ContainerStartupHealthCheckTimeoutInSeconds": CONTAINER_STARTUP_SECONDS,
                # It must match production: routing decides how even the instances are.
                "RoutingConfig": {"RoutingStrategy": sizing.request.routing},
            }
        ],
        "MetricsConfig": {
            # Without it the invocation metrics come once a minute, whatever the frequency.
            "EnableEnhancedMetrics": True,
            # Its collector would run on the instances that are being measured.
            "EnableDetailedObservability": False,
            "MetricPublishFrequencyInSeconds": sizing.request.measurement.metric_period_seconds,
        },
        "Tags": tags,
    }
    create_endpoint = {"EndpointName": name, "EndpointConfigName": name, "Tags": tags}
    return Deployment(create_model, create_endpoint_config, create_endpoint)


def update_capacity(endpoint_name: str, instance_count: int) -> ApiRequest:
    """The UpdateEndpointWeightsAndCapacities request that gives an endpoint its instance count."""
    return {
        "EndpointName": endpoint_name,
        "DesiredWeightsAndCapacities": [
            {"VariantName": names.VARIANT_NAME, "DesiredInstanceCount": instance_count}
        ],
    }
