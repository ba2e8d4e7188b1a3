"""ResolveRequest starts a sizing where an earlier one of the same ended, if it may."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError

from aws import sizing_table
from resolve_request.app import handler
from sizing.result.history import Summary
from tests.unit.functions.conftest import BUCKET, TABLE
from tests.unit.functions.made_up import EXECUTION_ARN, STARTED_AT, a_request

Client = Callable[[str], Any]


@pytest.fixture(autouse=True)
def price_and_quotas(answered: Callable[..., Any]) -> None:
    """The bundled prices, and quotas that are not known."""
    denied = ClientError({"Error": {"Code": "AccessDeniedException"}}, "X")
    answered("pricing", "GetProducts", lambda _: denied)
    for operation in ("ListServiceQuotas", "ListAWSDefaultServiceQuotas"):
        answered("service-quotas", operation, lambda _: denied)


def resolve(**changes: Any) -> dict[str, Any]:
    started_at = STARTED_AT.isoformat()
    execution = {"arn": EXECUTION_ARN, "name": "run-1", "started_at": started_at}
    event = {"execution": execution, "request": a_request(**changes)}
    answer: dict[str, Any] = handler(event, LambdaContext())
    return answer


def remember(resolved: dict[str, Any], **changes: Any) -> None:
    """Put a sizing into the history that found 8 instances for the same request."""
    sizing = resolved["sizing"]
    found = Summary(
        sizing_id="3f2a9c1b7d4e",
        execution_arn="arn",
        model_key=sizing["model_key"],
        status="SIZED",
        started_at="2026-09-21T14:13:20Z",
        finished_at="2026-09-21T14:33:20Z",
        result_uri="s3://results/result.json",
        load_tests=2,
        instance_types=("ml.m5.12xlarge",),
        payload_fingerprint=sizing["payload_fingerprint"],
        routing=sizing["request"]["routing"],
        target_tps=sizing["request"]["target"]["tps"],
        band_min_percent=60,
        band_max_percent=70,
        error_percent_limit=0.1,
        instance_type="ml.m5.12xlarge",
        instance_count=8,
        utilization_percent=62.5,
        limiting_resource="CPU",
        workers=3,
        worker_vcpus=1,
        expires_at=1_900_000_000,
    )
    sizing_table.put(TABLE, {**found.item(), **changes})


def first_plan(resolved: dict[str, Any]) -> tuple[str, int]:
    (candidate,) = resolved["candidates"]
    variant = candidate["endpoint"]["create_endpoint_config"]["ProductionVariants"][0]
    assert variant["InitialInstanceCount"] == candidate["plan"]["instance_count"]
    return candidate["plan"]["purpose"], candidate["plan"]["instance_count"]


def test_the_first_load_test_verifies_the_earlier_count(aws: Client) -> None:
    remember(resolve())
    again = resolve()
    assert again["sizing"]["prior_counts"] == {"ml.m5.12xlarge": 8}
    assert first_plan(again) == ("verify", 8)
    (candidate,) = again["candidates"]
    assert candidate["load_test"]["workers"] >= 3
    assert again["estimate"]["load_tests"] <= resolve(use_history=False)["estimate"]["load_tests"]


def test_not_if_the_request_says_so(aws: Client) -> None:
    remember(resolve())
    assert first_plan(resolve(use_history=False)) == ("baseline", 1)


@pytest.mark.parametrize(
    "changes", [{"limits": {"max_cost_usd": 5.0}}, {"limits": {"max_instances": 7}}]
)
def test_limits_that_forbid_it_do_not_refuse_the_request(
    aws: Client, changes: dict[str, Any]
) -> None:
    remember(resolve())
    assert first_plan(resolve(**changes)) == ("baseline", 1)


def test_other_payloads_have_no_part_in_it(aws: Client) -> None:
    remember(resolve())
    assert first_plan(resolve(payloads={"inline": [{"body": "other"}]})) == ("baseline", 1)


def test_a_file_is_known_by_its_content(aws: Client) -> None:
    def put(body: str) -> None:
        aws("s3").put_object(Bucket=BUCKET, Key="k.jsonl", Body=f'{{"body": "{body}"}}'.encode())

    payloads = {"s3_uri": f"s3://{BUCKET}/k.jsonl"}
    put("one")
    remember(resolve(payloads=payloads))
    assert first_plan(resolve(payloads=payloads)) == ("verify", 8)
    put("another")
    assert first_plan(resolve(payloads=payloads)) == ("baseline", 1)


def test_a_history_that_can_not_be_read_is_done_without(
    aws: Client, answered: Callable[..., Any]
) -> None:
    remember(resolve(), instance_count="eight")
    assert first_plan(resolve()) == ("baseline", 1)
    denied = ClientError({"Error": {"Code": "AccessDeniedException"}}, "Query")
    answered("dynamodb", "Query", lambda _: denied)
    assert first_plan(resolve()) == ("baseline", 1)


def test_the_history_is_read_as_its_page_says(aws: Client) -> None:
    page = (Path(__file__).parents[3] / "docs" / "history.md").read_text()
    of_model, of_locks = (
        command.replace("\\\n", " ")
        for command in re.findall(r"^(aws dynamodb query .*?)```", page, re.MULTILINE | re.DOTALL)
    )
    model = {"model_package_group": "sentiment"}
    aws("sagemaker").create_model_package_group(ModelPackageGroupName="sentiment")
    aws("sagemaker").create_model_package(
        ModelPackageGroupName="sentiment",
        ModelApprovalStatus="Approved",
        InferenceSpecification={"Containers": [{"Image": "image"}]},
    )
    remember(resolve(model=model))
    [item] = run(aws, of_model)
    assert item["status"] == {"S": "SIZED"}
    assert item["instance_count"] == {"N": "8"}
    assert run(aws, of_locks) == []


def run(aws: Client, command: str) -> list[dict[str, Any]]:
    """The items that a query of the AWS CLI gives."""
    words = iter(shlex.split(command)[3:])
    options = {word: "" if word.startswith("--no-") else next(words) for word in words}
    named = {
        "TableName": options["--table-name"],
        "KeyConditionExpression": options["--key-condition-expression"],
        "ExpressionAttributeValues": json.loads(options["--expression-attribute-values"]),
    }
    if "--projection-expression" in options:
        names = json.loads(options["--expression-attribute-names"])
        named["ProjectionExpression"] = options["--projection-expression"]
        named["ExpressionAttributeNames"] = names
    items: list[dict[str, Any]] = aws("dynamodb").query(**named)["Items"]
    return items
