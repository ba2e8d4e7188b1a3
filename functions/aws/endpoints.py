"""State of an endpoint."""

from __future__ import annotations

from aws.clients import client


def change_from(endpoint_name: str, instance_count: int) -> str | None:
    """How an endpoint differs from the one that was load-tested; None if it does not.

    Args:
        endpoint_name: The endpoint; it has one variant.
        instance_count: Instances it had when the load test started.

    Raises:
        botocore.exceptions.ClientError: It does not exist any more.
    """
    endpoint = client("sagemaker").describe_endpoint(EndpointName=endpoint_name)
    if endpoint["EndpointStatus"] != "InService":
        return f"the endpoint became {endpoint['EndpointStatus']}"
    count = endpoint["ProductionVariants"][0].get("CurrentInstanceCount", instance_count)
    if count != instance_count:
        return f"the instance count changed: {count} instances, {instance_count} before"
    return None
