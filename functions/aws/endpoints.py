"""Endpoints: their state, and the calls that change it, each of which may be repeated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from aws import refusals
from aws.clients import client
from sizing.endpoint.deployment import update_capacity
from sizing.endpoint.progress import Endpoint


def look(endpoint_name: str) -> Endpoint | None:
    """An endpoint as it is now; None if there is none.

    Raises:
        botocore.exceptions.ClientError: It could not be asked for.
    """
    try:
        seen = client("sagemaker").describe_endpoint(EndpointName=endpoint_name)
    except ClientError as error:
        if refusals.is_gone(error):
            return None
        raise
    variants = seen.get("ProductionVariants", ())  # none while it is being created
    return Endpoint(
        status=seen["EndpointStatus"],
        instance_count=sum(each.get("CurrentInstanceCount", 0) for each in variants),
        failure_reason=seen.get("FailureReason", ""),
    )


def create(
    model: Mapping[str, Any] | None, config: Mapping[str, Any], endpoint: Mapping[str, Any]
) -> None:
    """Create what is missing of an endpoint.

    The names are the sizing's own, so what is there already is what was asked for.

    Args:
        model: CreateModel's request; None for a model that exists.
        config: CreateEndpointConfig's.
        endpoint: CreateEndpoint's.

    Raises:
        botocore.exceptions.ClientError: A call was refused.
    """
    sagemaker = client("sagemaker")
    for make, request in (
        (sagemaker.create_model, model),
        (sagemaker.create_endpoint_config, config),
        (sagemaker.create_endpoint, endpoint),
    ):
        try:
            if request is not None:
                make(**request)
        except ClientError as error:
            if not refusals.is_there_already(error):
                raise


def scale(endpoint_name: str, instance_count: int) -> None:
    """Let an endpoint have so many instances; where it is busy with that, it goes on.

    Raises:
        botocore.exceptions.ClientError: SageMaker refused it.
    """
    try:
        client("sagemaker").update_endpoint_weights_and_capacities(
            **update_capacity(endpoint_name, instance_count)
        )
    except ClientError as error:
        if not refusals.is_busy(error):
            raise


def delete(endpoint_name: str) -> None:
    """Delete an endpoint, unless it is gone, or busy: then the clean-up deletes it.

    Raises:
        botocore.exceptions.ClientError: SageMaker refused it.
    """
    try:
        client("sagemaker").delete_endpoint(EndpointName=endpoint_name)
    except ClientError as error:
        if not (refusals.is_gone(error) or refusals.is_busy(error)):
            raise


@dataclass(frozen=True, slots=True)
class LoadTested:
    """An endpoint after a load test.

    Args:
        changed: How it differs from the one that was load-tested; None if it does not.
        image_digest: Of the container that SageMaker has deployed; None if it does not say.
    """

    changed: str | None
    image_digest: str | None


def after_load_test(endpoint_name: str, instance_count: int) -> LoadTested:
    """An endpoint after a load test.

    Args:
        endpoint_name: The endpoint; it has one variant.
        instance_count: Instances it had when the load test started.

    Raises:
        botocore.exceptions.ClientError: It does not exist any more.
    """
    endpoint = client("sagemaker").describe_endpoint(EndpointName=endpoint_name)
    status, [variant, *_] = endpoint["EndpointStatus"], endpoint["ProductionVariants"]
    count = variant.get("CurrentInstanceCount", instance_count)
    changed = None
    if status != "InService":
        changed = f"the endpoint became {status}"
    elif count != instance_count:
        changed = f"the instance count changed: {count} instances, {instance_count} before"
    images = [each.get("ResolvedImage", "") for each in variant.get("DeployedImages", ())]
    digest = images[0].partition("@")[2] if len(images) == 1 else ""
    return LoadTested(changed, digest or None)
