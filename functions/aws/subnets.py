"""The subnets that the load generators run in."""

from __future__ import annotations

from collections.abc import Sequence

from botocore.exceptions import BotoCoreError, ClientError

from aws.clients import client
from aws.telemetry import logger


def free_addresses(subnet_ids: Sequence[str]) -> int | None:
    """Addresses that are free in all of them together; None if they can't be looked up."""
    try:
        subnets = client("ec2").describe_subnets(SubnetIds=list(subnet_ids))["Subnets"]
    except (BotoCoreError, ClientError) as error:
        logger.warning("subnets not described", extra={"why": str(error)})
        return None
    return sum(int(each["AvailableIpAddressCount"]) for each in subnets)
