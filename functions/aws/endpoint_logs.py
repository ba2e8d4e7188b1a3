"""Logs of endpoints: SageMaker makes a log group for each, and keeps it for good."""

from __future__ import annotations

from botocore.exceptions import BotoCoreError, ClientError

from aws import refusals
from aws.clients import client
from aws.telemetry import logger
from sizing.clean_up import names


def remove(name_prefix: str, *, made_before: float) -> None:
    """Delete the log groups of sizings' endpoints that are old enough.

    Who wants to know why a container failed reads them after the endpoint is gone, so they outlast
    it. What can't be deleted costs next to nothing, and is no reason not to remove the rest.

    Args:
        name_prefix: The stack's prefix of all names.
        made_before: Epoch seconds.
    """
    logs = client("logs")
    try:
        pages = logs.get_paginator("describe_log_groups").paginate(
            logGroupNamePrefix=names.endpoint_log_group(f"{name_prefix}-")
        )
        for group in [each for page in pages for each in page["logGroups"]]:
            name = str(group["logGroupName"])
            of_sizing = (
                names.sizing_of(name_prefix, name.removeprefix(names.endpoint_log_group("")))
                is not None
            )
            if of_sizing and group["creationTime"] / 1000 < made_before:
                logs.delete_log_group(logGroupName=name)
    except (BotoCoreError, ClientError) as error:
        if not (isinstance(error, ClientError) and refusals.is_gone(error)):
            logger.warning("logs of endpoints not removed", extra={"why": str(error)})
