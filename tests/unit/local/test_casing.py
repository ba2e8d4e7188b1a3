"""Between PascalCase and an API's own case."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import botocore.session
import pytest
from botocore.model import OperationModel
from botocore.response import StreamingBody

from local.casing import UnknownFieldError, from_api, timestamp, to_api


def operation(service: str, name: str) -> OperationModel:
    return botocore.session.get_session().get_service_model(service).operation_model(name)


@pytest.mark.parametrize(
    "service, name, value, converted",
    [
        (
            "ecs",
            "RunTask",
            {"Cluster": "c", "Tags": [{"Key": "k", "Value": "v"}], "TaskDefinition": "t"},
            {"cluster": "c", "tags": [{"key": "k", "value": "v"}], "taskDefinition": "t"},
        ),
        # Keys of a map are the user's own.
        (
            "sagemaker",
            "CreateModel",
            {"PrimaryContainer": {"Environment": {"some_key": "x"}}},
            {"PrimaryContainer": {"Environment": {"some_key": "x"}}},
        ),
        ("s3", "PutObject", {"Body": {"a": [1]}}, {"Body": b'{"a":[1]}'}),
        ("stepfunctions", "StartExecution", {"Input": {"a": 1}}, {"input": '{"a":1}'}),
    ],
)
def test_arguments_become_a_request(
    service: str, name: str, value: Any, converted: dict[str, Any]
) -> None:
    shape = operation(service, name).input_shape
    assert shape is not None
    assert to_api(value, shape) == converted


def test_an_unknown_field_is_an_error() -> None:
    shape = operation("ecs", "RunTask").input_shape
    assert shape is not None
    with pytest.raises(UnknownFieldError, match="Tasks"):
        to_api({"Tasks": []}, shape)


def test_a_response_becomes_plain_json_in_pascal_case() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)
    task = {"taskArn": "arn", "startedAt": moment, "containers": [{"exitCode": 1}]}
    response = {"tasks": [task], "ResponseMetadata": {"RequestId": "x"}}
    assert from_api(response, operation("ecs", "DescribeTasks").output_shape) == {
        "Tasks": [
            {
                "TaskArn": "arn",
                "StartedAt": "2026-01-02T03:04:05.678Z",
                "Containers": [{"ExitCode": 1}],
            }
        ]
    }


def test_a_body_becomes_text() -> None:
    body = StreamingBody(io.BytesIO("é".encode()), 2)
    assert from_api({"Body": body}, operation("s3", "GetObject").output_shape) == {"Body": "é"}


@pytest.mark.parametrize(
    "moment",
    [
        "2026-01-02T03:04:05",
        "2026-01-02T08:34:05+05:30",
        datetime.fromisoformat("2026-01-02T03:04:05"),
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    ],
)
def test_a_time_without_a_zone_is_utc_s(moment: datetime | str) -> None:
    assert timestamp(moment) == "2026-01-02T03:04:05.000Z"
