"""EnsureEndpoint brings an endpoint to its count, however often it is called."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError

from ensure_endpoint.app import handler
from sizing.endpoint.deployment import ModelSource, deployment
from sizing.endpoint.progress import Endpoint, Step, next_step, seconds_to_next_look
from sizing.errors import (
    AccessDenied,
    AwsUnavailable,
    CapacityUnavailable,
    EndpointFailed,
    EndpointTimedOut,
    SizingError,
)
from tests.unit.functions.conftest import Answer, Requests
from tests.unit.functions.made_up import SIZING_ID, a_plan, a_sizing

Answered = Callable[[str, str, Answer], Requests]
NAME = f"endpoint-sizer-{SIZING_ID}-ml-m5-12xlarge"
SECOND = 1.0
MINUTE = 60.0


def step(seen: Endpoint | None, wanted: int = 8, **changes: Any) -> Step:
    given = {
        "age_seconds": 0.0,
        "timeout_seconds": 60 * MINUTE,
        "since_scaling_seconds": None,
        **changes,
    }
    return next_step(seen, wanted, **given)


@pytest.mark.parametrize(
    "seen, since_scaling, expected",
    [
        (None, None, Step.CREATE),
        (Endpoint("Creating", 0), None, Step.WAIT),
        (Endpoint("InService", 8), None, Step.READY),
        (Endpoint("InService", 1), None, Step.SCALE),
        (Endpoint("InService", 9), None, Step.SCALE),
        (Endpoint("Updating", 1), 5 * SECOND, Step.WAIT),
        # Right after the call, it may be shown as it was before.
        (Endpoint("InService", 1), 60 * SECOND, Step.WAIT),
        (Endpoint("InService", 8), 60 * MINUTE, Step.READY),
        (Endpoint("Deleting", 1), None, Step.WAIT),
        (Endpoint("RollingBack", 1), 5 * SECOND, Step.WAIT),
        (Endpoint("SystemUpdating", 1), None, Step.WAIT),
    ],
)
def test_what_is_done_next(
    seen: Endpoint | None, since_scaling: float | None, expected: Step
) -> None:
    assert step(seen, since_scaling_seconds=since_scaling) is expected


@pytest.mark.parametrize(
    "seen, changes, error, said",
    [
        (Endpoint("Failed", 0, "no /ping"), {}, EndpointFailed, "no /ping"),
        (Endpoint("OutOfService", 0), {}, EndpointFailed, "the endpoint is OutOfService"),
        (
            Endpoint("Failed", 0, "Request failed: insufficient capacity"),
            {},
            CapacityUnavailable,
            "insufficient capacity",
        ),
        (
            Endpoint("InService", 1, "no more of them"),
            {"since_scaling_seconds": 61 * SECOND},
            CapacityUnavailable,
            "SageMaker went back to 1 instances instead of 8. no more of them",
        ),
        (
            Endpoint("Creating", 0),
            {"age_seconds": 61 * MINUTE},
            EndpointTimedOut,
            "the endpoint was still Creating after 60 minutes",
        ),
        (None, {"age_seconds": 61 * MINUTE}, EndpointTimedOut, "still missing after 60"),
    ],
)
def test_when_it_is_given_up(
    seen: Endpoint | None, changes: dict[str, float], error: type[SizingError], said: str
) -> None:
    with pytest.raises(error, match=said):
        step(seen, **changes)


def test_what_took_long_is_ready_all_the_same() -> None:
    assert step(Endpoint("InService", 8), age_seconds=math.inf) is Step.READY


@pytest.mark.parametrize("minutes, seconds", [(0, 2), (0.5, 5), (2, 10), (20, 30)])
def test_looks_are_frequent_while_an_endpoint_is_young(minutes: float, seconds: int) -> None:
    assert seconds_to_next_look(minutes * MINUTE) == seconds


# --- The function ------------------------------------------------------------------------------


def refusal(code: str, message: str = "made to fail", status: int = 400) -> ClientError:
    answer: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, "Operation")


class SageMaker:
    """Answers the calls, as SageMaker does of an endpoint that is in a state."""

    def __init__(self, answered: Answered) -> None:
        self._answered = answered
        self.made = {
            operation: answered("sagemaker", operation, lambda _: {})
            for operation in (
                "CreateModel",
                "CreateEndpointConfig",
                "CreateEndpoint",
                "UpdateEndpointWeightsAndCapacities",
                "DeleteEndpoint",
            )
        }
        self.shows(None)

    def shows(self, status: str | None, instances: int = 0, reason: str | None = None) -> None:
        missing = refusal("ValidationException", f'Could not find endpoint "{NAME}".')
        seen = {
            "EndpointStatus": status,
            "ProductionVariants": [
                {"VariantName": "AllTraffic", "CurrentInstanceCount": instances}
            ],
            **({"FailureReason": reason} if reason else {}),
        }
        self.answers("DescribeEndpoint", missing if status is None else seen)

    def answers(self, operation: str, answer: Any) -> None:
        self._answered("sagemaker", operation, lambda _: answer)

    @property
    def calls(self) -> list[str]:
        """What was changed, in no order."""
        return [operation for operation, requests in self.made.items() for _ in requests]


@pytest.fixture
def sagemaker(answered: Answered) -> SageMaker:
    return SageMaker(answered)


def target(source: ModelSource | None = None) -> dict[str, Any]:
    sizing = a_sizing()
    made = deployment(
        sizing,
        sizing.facts(a_plan().instance_type),
        1,
        source or ModelSource({"Image": "repository:tag"}),
        name_prefix="endpoint-sizer",
        execution_role_arn="arn:aws:iam::123456789012:role/endpoint-sizer-model",
    )
    return {
        "endpoint_name": NAME,
        "create_model": made.create_model,
        "create_endpoint_config": made.create_endpoint_config,
        "create_endpoint": made.create_endpoint,
    }


def ensure(count: int = 1, *, age: timedelta = timedelta(), **changes: Any) -> dict[str, Any]:
    event = {
        "endpoint": target(),
        "instance_count": count,
        "started_at": (datetime.now(UTC) - age).isoformat(),
        "timeout_minutes": 60,
        "so_far": {},
        **changes,
    }
    answer: dict[str, Any] = handler(json.loads(json.dumps(event)), LambdaContext())
    again: dict[str, Any] = json.loads(json.dumps(answer))
    return again


def test_an_endpoint_that_is_missing_is_created(sagemaker: SageMaker) -> None:
    answer = ensure()
    assert sagemaker.calls == ["CreateModel", "CreateEndpointConfig", "CreateEndpoint"]
    assert sagemaker.made["CreateModel"][0]["ModelName"] == NAME
    assert (answer["status"], answer["wait_seconds"]) == ("WAIT", 2)


def test_a_model_that_exists_is_not_created(sagemaker: SageMaker) -> None:
    ensure(endpoint=target(ModelSource(model_name="of-the-user")))
    assert sagemaker.calls == ["CreateEndpointConfig", "CreateEndpoint"]


def test_what_is_there_already_is_what_was_asked_for(sagemaker: SageMaker) -> None:
    there = refusal("ValidationException", 'Cannot create already existing model "x".')
    sagemaker.answers("CreateModel", there)
    sagemaker.answers("CreateEndpointConfig", there)
    assert ensure()["status"] == "WAIT"
    assert "CreateEndpoint" in sagemaker.calls


def test_it_is_waited_for_until_it_is_there(sagemaker: SageMaker) -> None:
    sagemaker.shows("Creating")
    answer = ensure(age=timedelta(minutes=2))
    assert (answer["status"], answer["wait_seconds"]) == ("WAIT", 10)
    assert answer["endpoint_status"] == "Creating"
    sagemaker.shows("InService", 1)
    assert ensure()["status"] == "READY"
    assert sagemaker.calls == []


def test_the_count_is_asked_for_once(sagemaker: SageMaker) -> None:
    sagemaker.shows("InService", 1)
    first = ensure(8)
    [request] = sagemaker.made["UpdateEndpointWeightsAndCapacities"]
    assert request["EndpointName"] == NAME
    assert request["DesiredWeightsAndCapacities"] == [
        {"VariantName": "AllTraffic", "DesiredInstanceCount": 8}
    ]
    assert ensure(8, so_far=first)["status"] == "WAIT"
    assert len(sagemaker.calls) == 1
    sagemaker.shows("InService", 8)
    assert ensure(8, so_far=first)["status"] == "READY"


def test_a_scale_out_that_fell_back(sagemaker: SageMaker) -> None:
    sagemaker.shows("InService", 1, "no more of them")
    a_while_ago = {"scaled_at": datetime.now(UTC).timestamp() - 61}
    with pytest.raises(CapacityUnavailable, match="went back to 1 instances instead of 8"):
        ensure(8, so_far=a_while_ago)
    assert sagemaker.calls == []


def test_a_change_that_is_under_way_is_the_one_that_was_asked_for(sagemaker: SageMaker) -> None:
    sagemaker.shows("InService", 1)
    busy = refusal("ValidationException", f'Cannot update in-progress endpoint "{NAME}".')
    sagemaker.answers("UpdateEndpointWeightsAndCapacities", busy)
    assert ensure(8)["scaled_at"] is not None


def test_without_a_way_to_create_it_a_missing_one_is_a_failure(sagemaker: SageMaker) -> None:
    with pytest.raises(EndpointFailed, match="there is no endpoint"):
        handler({"endpoint": {"endpoint_name": NAME}, "instance_count": 1}, LambdaContext())
    assert sagemaker.calls == []


def test_with_no_instances_it_is_deleted(sagemaker: SageMaker) -> None:
    event = {"endpoint": {"endpoint_name": NAME}, "instance_count": 0}
    assert handler(event, LambdaContext()) == {"status": "READY"}
    assert sagemaker.calls == ["DeleteEndpoint"]
    for said in ("Could not find endpoint", "Cannot update in-progress endpoint"):
        sagemaker.answers("DeleteEndpoint", refusal("ValidationException", said))
        assert handler(event, LambdaContext()) == {"status": "READY"}


@pytest.mark.parametrize(
    "error, named",
    [
        (refusal("ResourceLimitExceeded", "the limit is 1"), CapacityUnavailable),
        (refusal("AccessDeniedException"), AccessDenied),
        (refusal("ValidationException", "Could not access model data"), EndpointFailed),
        (refusal("ThrottlingException"), AwsUnavailable),
        (refusal("InternalFailure", status=500), AwsUnavailable),
    ],
)
@pytest.mark.parametrize(
    "operation, status",
    [
        ("CreateModel", None),
        ("CreateEndpointConfig", None),
        ("CreateEndpoint", None),
        ("UpdateEndpointWeightsAndCapacities", "InService"),
    ],
)
def test_refusals_are_named(
    sagemaker: SageMaker,
    operation: str,
    status: str | None,
    error: ClientError,
    named: type[SizingError],
) -> None:
    sagemaker.shows(status, 1)
    sagemaker.answers(operation, error)
    with pytest.raises(named, match=error.response["Error"]["Message"]):
        ensure(8)
