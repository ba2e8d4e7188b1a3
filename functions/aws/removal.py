"""Stops and deletes what sizings created."""

from __future__ import annotations

from collections.abc import Callable

from botocore.exceptions import BotoCoreError, ClientError

from aws import endpoints, refusals, sizing_table
from aws.clients import client
from aws.telemetry import logger
from sizing.clean_up import lock
from sizing.clean_up.leftovers import Removal, Resource

_WHY = "The sizing that started it has ended."


def remove(removal: Removal, *, cluster: str, table: str) -> tuple[str, ...]:
    """Remove all that may be.

    First what could still start something, then the tasks, then what they load; locks at last.

    Args:
        removal: What may be removed.
        cluster: ARN of the tasks' cluster.
        table: Name of the table of locks.

    Returns:
        What was refused, a line each. What is gone by now, or busy, is none of it.
    """
    sagemaker, sfn, ecs = client("sagemaker"), client("stepfunctions"), client("ecs")
    steps: tuple[tuple[tuple[Resource, ...], Callable[[Resource], object]], ...] = (
        (
            removal.executions,
            lambda each: sfn.stop_execution(executionArn=each.name, error="CleanedUp", cause=_WHY),
        ),
        (removal.tasks, lambda each: ecs.stop_task(cluster=cluster, task=each.name, reason=_WHY)),
        (removal.endpoints, lambda each: endpoints.delete(each.name)),
        (
            removal.endpoint_configs,
            lambda each: sagemaker.delete_endpoint_config(EndpointConfigName=each.name),
        ),
        (removal.models, lambda each: sagemaker.delete_model(ModelName=each.name)),
        (
            removal.locks,
            lambda each: sizing_table.release(
                table, lock.PARTITION, each.name, str(each.execution_arn)
            ),
        ),
    )
    return tuple(
        problem
        for resources, call in steps
        for resource in resources
        if (problem := _problem(resource, call)) is not None
    )


def _problem(resource: Resource, call: Callable[[Resource], object]) -> str | None:
    try:
        call(resource)
    except (BotoCoreError, ClientError) as error:
        if isinstance(error, ClientError) and (refusals.is_gone(error) or refusals.is_busy(error)):
            return None
        logger.warning("not removed", extra={"resource": resource.name, "why": str(error)})
        return f"{resource.name}: {error}"
    return None
