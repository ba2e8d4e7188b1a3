"""Processors of instance types, as EC2 describes them."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import boto3
from botocore.exceptions import ClientError
from moto import mock_aws

PREFIX = "ml."


class UnknownInstanceTypeError(LookupError):
    """EC2 has no such type; the message names types that come close."""


@dataclass(frozen=True)
class Processors:
    """What one instance computes with."""

    vcpus: int
    gpus: int
    memory_mib: int

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Self:
        """Of a type as DescribeInstanceTypes describes it."""
        return cls(
            vcpus=described["VCpuInfo"]["DefaultVCpus"],
            gpus=sum(gpu["Count"] for gpu in described.get("GpuInfo", {}).get("Gpus", [])),
            memory_mib=described["MemoryInfo"]["SizeInMiB"],
        )


def processors(instance_type: str) -> Processors:
    """What a SageMaker instance type computes with, from moto's copy of EC2's instance types.

    Args:
        instance_type: Such as ``ml.m5.12xlarge``.

    Raises:
        UnknownInstanceTypeError: The name does not start with ``ml.``, or EC2 does not know it.
    """
    name = instance_type.removeprefix(PREFIX)
    if name == instance_type:
        raise UnknownInstanceTypeError(
            f"instance type {instance_type!r} must start with {PREFIX}, as in ml.m5.12xlarge"
        )
    with mock_aws():
        ec2 = boto3.client("ec2", region_name="us-east-1")
        try:
            described = ec2.describe_instance_types(InstanceTypes=[name])["InstanceTypes"][0]
        except (ClientError, IndexError):
            offered = ec2.describe_instance_type_offerings()["InstanceTypeOfferings"]
            known = sorted({each["InstanceType"] for each in offered})
            raise UnknownInstanceTypeError(
                f"instance type {instance_type!r} is unknown; {_close_to(name, known)}"
            ) from None
    return Processors.of(described)


def _close_to(name: str, known: list[str]) -> str:
    family = name.partition(".")[0]
    of_family = [each for each in known if each.startswith(f"{family}.")]
    if of_family:
        return f"known of ml.{family}: {', '.join(PREFIX + each for each in of_family)}"
    families = sorted({each.partition(".")[0] for each in known})
    close = difflib.get_close_matches(family, families, n=5, cutoff=0)
    return f"known families are {', '.join(PREFIX + each for each in close)}, ..."
