"""Resources of instance types, from EC2: SageMaker has no API that tells them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from botocore.exceptions import ClientError

from aws.clients import client
from sizing.catalogue.instance import InstanceFacts
from sizing.errors import InvalidRequest

_UNKNOWN_TYPE = "InvalidInstanceType"


def describe(instance_types: Sequence[str]) -> list[InstanceFacts]:
    """vCPUs, GPUs and memory of SageMaker instance types, in their order, without prices.

    Raises:
        InvalidRequest: A type is unknown to EC2 in this region, or its utilization can't be seen.
    """
    try:
        described = _describe(instance_types)
    except ClientError as error:
        if error.response["Error"]["Code"] != _UNKNOWN_TYPE:
            raise
        described = {}  # EC2 refuses all for one: ask for each
        for index, instance_type in enumerate(instance_types):
            described |= _described_alone(index, instance_type)
    return [
        _facts(f"instance_types.{index}", instance_type, described.get(instance_type))
        for index, instance_type in enumerate(instance_types)
    ]


def _describe(instance_types: Sequence[str]) -> dict[str, Any]:
    """What EC2 says of types, by SageMaker's name; the same type there has no ``ml.``."""
    answer = client("ec2").describe_instance_types(
        InstanceTypes=[instance_type.removeprefix("ml.") for instance_type in instance_types]
    )
    return {f"ml.{each['InstanceType']}": each for each in answer["InstanceTypes"]}


def _described_alone(index: int, instance_type: str) -> dict[str, Any]:
    try:
        return _describe([instance_type])
    except ClientError as error:
        if error.response["Error"]["Code"] != _UNKNOWN_TYPE:
            raise
        raise _unknown(f"instance_types.{index}", instance_type) from None


def _facts(field: str, instance_type: str, described: Any) -> InstanceFacts:
    if described is None:
        raise _unknown(field, instance_type)
    if "NeuronInfo" in described or "InferenceAcceleratorInfo" in described:
        raise InvalidRequest(
            field,
            f"{instance_type} has AWS Inferentia or Trainium devices, whose utilization SageMaker "
            "does not publish for endpoints; allowed are types with CPUs or GPUs alone",
        )
    return InstanceFacts(
        instance_type=instance_type,
        vcpus=described["VCpuInfo"]["DefaultVCpus"],
        gpus=sum(gpu["Count"] for gpu in described.get("GpuInfo", {}).get("Gpus", ())),
        memory_gib=described["MemoryInfo"]["SizeInMiB"] / 1024,
    )


def _unknown(field: str, instance_type: str) -> InvalidRequest:
    return InvalidRequest(
        field,
        f"{instance_type} is not an instance type known in {client('ec2').meta.region_name}; it "
        "must be one that SageMaker hosts endpoints on there, such as ml.m5.xlarge",
    )
