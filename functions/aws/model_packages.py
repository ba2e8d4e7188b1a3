"""What the model registry is told of its packages."""

from __future__ import annotations

from collections.abc import Mapping

from aws.clients import client


def describe_in_registry(package_arn: str, properties: Mapping[str, str]) -> None:
    """Write metadata of a package beside what is there; properties of the same names are replaced.

    Args:
        package_arn: The package.
        properties: Their values by name.

    Raises:
        botocore.exceptions.ClientError: The registry refused it.
    """
    client("sagemaker").update_model_package(
        ModelPackageArn=package_arn, CustomerMetadataProperties=dict(properties)
    )
