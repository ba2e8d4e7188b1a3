"""What only ResolveRequest can tell of a hostile request: it is refused, and nothing is created."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError

from aws.clients import client
from resolve_request.app import handler
from sizing.errors import InvalidRequest
from sizing.request import payloads
from tests.unit.functions.conftest import ACCOUNT, BUCKET, EXECUTION
from tests.unit.functions.made_up import STARTED_AT, a_request

Answered = Callable[..., list[dict[str, Any]]]
IMAGE = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/bert:1"
TYPES = [f"ml.m5.{size}xlarge" for size in ("", 2, 4, 8, 12, 16, 24)]


@pytest.fixture(autouse=True)
def neither_prices_nor_quotas(answered: Answered) -> None:
    answered("pricing", "GetProducts", lambda _: {"PriceList": []})
    denied = ClientError({"Error": {"Code": "AccessDeniedException"}}, "ListServiceQuotas")
    answered("service-quotas", "ListServiceQuotas", lambda _: denied)
    answered("service-quotas", "ListAWSDefaultServiceQuotas", lambda _: denied)


def resolve(**changes: Any) -> Any:
    execution = {"arn": EXECUTION, "name": "run-1", "started_at": STARTED_AT.isoformat()}
    return handler({"execution": execution, "request": a_request(**changes)}, LambdaContext())


def refused(**changes: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        resolve(**changes)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
    sagemaker = client("sagemaker")
    assert sagemaker.list_models()["Models"] == []
    assert sagemaker.list_endpoint_configs()["EndpointConfigs"] == []
    assert sagemaker.list_endpoints()["Endpoints"] == []
    return caught.value


def container(**changes: Any) -> dict[str, Any]:
    return {"container": {"image_uri": IMAGE, **changes}}


def test_an_image_of_another_region() -> None:
    refusal = refused(model=container(image_uri=IMAGE.replace("us-east-1", "eu-west-1")))
    assert refusal.field == "model.container.image_uri"
    assert refusal.message.startswith("must be an image in us-east-1, as the endpoint; got ")


def test_what_the_state_machine_could_not_carry() -> None:
    environment = {f"A{number:02}": "x" * 1000 for number in range(32)}
    assert resolve(model=container(environment=environment))["candidates"]
    refusal = refused(model=container(environment=environment), instance_types=TYPES)
    assert refusal.field == "request"
    assert "give it fewer instance_types, tags or environment variables" in refusal.message


@pytest.mark.parametrize(
    "line",
    [
        b'{"' + b"k" * 1_000_000 + b'": 1}',
        '{"body": "x", "tаrget": 1}'.encode(),
        b'{"body": ' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"body": "x", "weight": 1e999}',
        b'{"body": "x", "weight": NaN}',
        b'{"body": "x", "weight": true}',
        b'{"body": "\\ud800"}',
        b'{"body": "\x00\x1b[2J"}',
        b"\xff\xfe{\x00",
        b'{"a\\nb\\u202e": 1}',
    ],
    ids=range(10),
)
def test_a_line_that_means_harm(aws: Any, line: bytes) -> None:
    aws("s3").put_object(Bucket=BUCKET, Key="k.jsonl", Body=b'{"body": "x"}\n' + line)
    refusal = refused(payloads={"s3_uri": f"s3://{BUCKET}/k.jsonl"})
    assert refusal.field == "payloads.s3_uri"
    assert refusal.message.startswith("line 2 of ")


def test_more_lines_than_can_be_checked(aws: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payloads, "MAX_PAYLOADS", 3)
    aws("s3").put_object(Bucket=BUCKET, Key="k.jsonl", Body=b'{"body": "x"}\n' * 4)
    assert "more than 3 lines" in refused(payloads={"s3_uri": f"s3://{BUCKET}/k.jsonl"}).message


@pytest.mark.parametrize("operation", ["HeadObject", "GetObject"])
def test_payloads_of_another_account(aws: Any, answered: Answered, operation: str) -> None:
    aws("s3").put_object(Bucket=BUCKET, Key="k.jsonl", Body=json.dumps({"body": "x"}).encode())
    denied = ClientError({"Error": {"Code": "403"}}, operation)
    asked = answered("s3", operation, lambda _: denied)
    refusal = refused(payloads={"s3_uri": f"s3://{BUCKET}/k.jsonl"})
    assert refusal.message.endswith(f"it must be an object in a bucket of account {ACCOUNT}")
    assert asked[0]["ExpectedBucketOwner"] == ACCOUNT
