"""EnsureEndpoint: brings an endpoint to an instance count, step by step, and says how far it is."""

from __future__ import annotations

import math
import time
from typing import Any

from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError
from pydantic import AwareDatetime, BaseModel

from aws import endpoints, refusals
from aws.availability import is_denied, is_transient, naming_errors
from aws.environment import Environment
from aws.telemetry import Event, logger
from sizing.clean_up import names
from sizing.endpoint.progress import Endpoint, Step, next_step, seconds_to_next_look
from sizing.errors import CapacityUnavailable, EndpointFailed


class Target(BaseModel):
    """An endpoint, and the API requests that make what is missing of it."""

    endpoint_name: str
    create_model: dict[str, Any] | None = None
    create_endpoint_config: dict[str, Any] | None = None
    create_endpoint: dict[str, Any] | None = None


class SoFar(BaseModel):
    """What the former call of the same probe has answered."""

    #: When the count was asked for, epoch seconds.
    scaled_at: float | None = None


class EnsureEndpointEvent(Event):
    """An endpoint, and how many instances it shall have; with none it is deleted."""

    endpoint: Target
    instance_count: int
    #: Since when it is waited for, and for how long at the most; nobody waits without them.
    started_at: AwareDatetime | None = None
    timeout_minutes: float = math.inf
    so_far: SoFar = SoFar()


@naming_errors
@event_parser(model=EnsureEndpointEvent)
def handler(event: EnsureEndpointEvent, _context: LambdaContext) -> dict[str, Any]:
    """Do what is to be done now. It may be called any number of times, and is until it is READY.

    Returns:
        ``status`` READY or WAIT, ``wait_seconds`` until the next call, what was seen, and
        ``scaled_at``, which the next call is given in ``so_far``.

    Raises:
        CapacityUnavailable: There are no instances to be had, or a quota allows no more.
        EndpointFailed: It has failed, or SageMaker refused a call.
        EndpointTimedOut: It took too long.
        AwsUnavailable: SageMaker throttled or failed a call.
    """
    name, now = event.endpoint.endpoint_name, time.time()
    logger.set_correlation_id(names.sizing_of(Environment.read().name_prefix, name))
    started_at = event.started_at.timestamp() if event.started_at else now
    scaled_at = event.so_far.scaled_at
    try:
        if event.instance_count == 0:
            endpoints.delete(name)
            return {"status": "READY"}
        seen = endpoints.look(name)
        step = next_step(
            seen,
            event.instance_count,
            age_seconds=now - started_at,
            timeout_seconds=event.timeout_minutes * 60,
            since_scaling_seconds=None if scaled_at is None else now - scaled_at,
        )
        if step is Step.SCALE:
            endpoints.scale(name, event.instance_count)
            scaled_at = now
        elif step is Step.CREATE:
            _create(event.endpoint)
    except ClientError as error:
        if is_transient(error) or is_denied(error):
            raise
        if refusals.code_of(error) == "ResourceLimitExceeded":
            raise CapacityUnavailable(str(error)) from error
        raise EndpointFailed(str(error)) from error
    return _answer(step, seen, scaled_at, now - started_at)


def _create(target: Target) -> None:
    if target.create_endpoint_config is None or target.create_endpoint is None:
        raise EndpointFailed(f"there is no endpoint {target.endpoint_name}")
    endpoints.create(target.create_model, target.create_endpoint_config, target.create_endpoint)


def _answer(
    step: Step, seen: Endpoint | None, scaled_at: float | None, age_seconds: float
) -> dict[str, Any]:
    answer = {
        "status": "READY" if step is Step.READY else "WAIT",
        "wait_seconds": seconds_to_next_look(age_seconds),
        "did": str(step),
        "endpoint_status": seen.status if seen else None,
        "instance_count": seen.instance_count if seen else 0,
        "scaled_at": scaled_at,
    }
    logger.info("endpoint", extra=answer)
    return answer
