"""Finds what sizings created, by name and tags."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from aws import refusals, sizing_table
from aws.clients import client
from aws.telemetry import logger
from sizing.clean_up import lock, names
from sizing.clean_up.leftovers import Found, Resource

_TASKS_A_CALL = 100


def find(
    name_prefix: str,
    sizing_id: str | None,
    cluster: str,
    state_machine_arns: Iterable[str],
    table: str,
) -> Found:
    """Everything that a sizing created, or that any did.

    Args:
        name_prefix: The stack's prefix of all names.
        sizing_id: The sizing; None for all.
        cluster: ARN of the load generators' cluster.
        state_machine_arns: The state machines that a sizing starts, from the outermost.
        table: Name of the table of locks.

    Raises:
        botocore.exceptions.ClientError: A list could not be read. What vanishes meanwhile is no
            error.
    """
    sagemaker = (name_prefix, sizing_id)
    return Found(
        endpoints=tuple(_sagemaker("list_endpoints", "Endpoint", *sagemaker)),
        endpoint_configs=tuple(_sagemaker("list_endpoint_configs", "EndpointConfig", *sagemaker)),
        models=tuple(_sagemaker("list_models", "Model", *sagemaker)),
        executions=tuple(
            each for arn in state_machine_arns for each in _executions(arn, sizing_id)
        ),
        tasks=tuple(_tasks(cluster)),
        locks=tuple(_locks(table)),
    )


def instance_counts(endpoint_names: Iterable[str]) -> dict[str, int]:
    """Instances of endpoints, those on their way too; without those that can't be described.

    They only tell what it costs to leave an endpoint: never a reason not to remove it.
    """
    counts = {}
    for name in endpoint_names:
        try:
            endpoint = client("sagemaker").describe_endpoint(EndpointName=name)
        except (BotoCoreError, ClientError) as error:
            logger.warning("endpoint not described", extra={"endpoint": name, "why": str(error)})
            continue
        for variant in endpoint.get("ProductionVariants", ()):  # none while it is being created
            counts[name] = max(
                variant.get("CurrentInstanceCount", 0), variant.get("DesiredInstanceCount", 0)
            )
    return counts


def execution_status(arn: str) -> str | None:
    """Status of an execution; None if it no longer exists."""
    try:
        return str(client("stepfunctions").describe_execution(executionArn=arn)["status"])
    except ClientError as error:
        if refusals.is_gone(error):
            return None
        raise


def _sagemaker(
    operation: str, kind: str, name_prefix: str, sizing_id: str | None
) -> Iterator[Resource]:
    """SageMaker resources whose name a sizing made and whose tag confirms it."""
    start = names.resource_prefix(name_prefix, sizing_id) if sizing_id else f"{name_prefix}-"
    pages = client("sagemaker").get_paginator(operation).paginate(NameContains=start)
    for page in pages:
        for each in page[f"{kind}s"]:
            name = each[f"{kind}Name"]
            of_sizing = names.sizing_of(name_prefix, name)
            if of_sizing is None:
                continue
            tags = _tags(each[f"{kind}Arn"])
            if tags.get(names.SIZING_TAG) == of_sizing:
                yield Resource(name, tags, status=each.get("EndpointStatus", ""))


def _tags(arn: str) -> dict[str, str]:
    """Tags of a SageMaker resource; none if it is gone."""
    try:
        pages = client("sagemaker").get_paginator("list_tags").paginate(ResourceArn=arn)
        return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}
    except ClientError as error:
        if refusals.is_gone(error):
            return {}
        raise


def _executions(state_machine_arn: str, sizing_id: str | None) -> Iterator[Resource]:
    """Running probes or load tests of a sizing; their input carries the tags of all they start."""
    pages = (
        client("stepfunctions")
        .get_paginator("list_executions")
        .paginate(stateMachineArn=state_machine_arn, statusFilter="RUNNING")
    )
    for page in pages:
        for each in page["executions"]:
            if sizing_id and not each["name"].startswith(f"{sizing_id}-"):
                continue
            tags = _tags_in_input(each["executionArn"])
            if tags and each["name"].startswith(f"{tags.get(names.SIZING_TAG)}-"):
                yield Resource(each["executionArn"], tags)


def _tags_in_input(arn: str) -> dict[str, str]:
    try:
        document: Any = json.loads(
            client("stepfunctions").describe_execution(executionArn=arn)["input"]
        )
    except ClientError as error:
        if refusals.is_gone(error):
            return {}
        raise
    given = document if isinstance(document, dict) else {}
    tags = given.get("load_test", given).get("tags")  # a probe's input holds that of its load test
    return tags if isinstance(tags, dict) else {}


def _tasks(cluster: str) -> Iterator[Resource]:
    """Tasks of the cluster that were not told to stop yet, and carry a sizing's tag."""
    ecs = client("ecs")
    arns = [
        arn
        for page in ecs.get_paginator("list_tasks").paginate(
            cluster=cluster, desiredStatus="RUNNING"
        )
        for arn in page["taskArns"]
    ]
    for start in range(0, len(arns), _TASKS_A_CALL):
        described = ecs.describe_tasks(
            cluster=cluster, tasks=arns[start : start + _TASKS_A_CALL], include=["TAGS"]
        )
        for task in described["tasks"]:
            tags = {tag["key"]: tag["value"] for tag in task.get("tags", ())}
            if names.SIZING_TAG in tags and task.get("desiredStatus") != "STOPPED":
                yield Resource(task["taskArn"], tags)


def _locks(table: str) -> Iterator[Resource]:
    """Locks of models that anyone holds."""
    for item in sizing_table.items(table, lock.PARTITION):
        owner = {names.SIZING_TAG: item["sizing_id"], names.EXECUTION_TAG: item["owner"]}
        yield Resource(item["sk"], owner)
