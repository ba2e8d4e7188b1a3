"""ApplyAnswer changes an endpoint in production, or says why not, and never forgets what it had."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError

from apply_answer.app import handler
from sizing.clean_up import names
from sizing.errors import AwsUnavailable
from sizing.result.result import Ending, Execution, build_result
from tests.unit.functions.conftest import BUCKET
from tests.unit.result import sample_sizings
from tests.unit.result.sample_sizings import SIZING_ID

Answered = Callable[..., list[dict[str, Any]]]
AUTOSCALING = "application-autoscaling"
KEY = names.sizing_folder(SIZING_ID) + names.RESULT_FILE
URI = f"s3://{BUCKET}/{KEY}"
LATEST = "latest/hugging_face/distilbert-base-uncased-finetuned-sst-2-english/result.json"
TARGET = {
    "ServiceNamespace": "sagemaker",
    "ResourceId": "endpoint/checkout/variant/main",
    "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
}


@pytest.fixture
def written(aws: Callable[[str], Any]) -> Callable[..., None]:
    """Write a result whose request asks to apply it."""

    def write(kind: str = "sized", **changes: Any) -> None:
        made = sample_sizings.ALL[kind]()
        assert made.sizing is not None
        asked = {"endpoint": "checkout", "min": 1, "max": 20, **changes}
        request = {**made.sizing.request.model_dump(mode="json"), "apply": asked}
        sizing = made.sizing.model_copy(
            update={"request": made.sizing.request.model_validate(request)}
        )
        document = build_result(
            Execution(SIZING_ID, finished_at=1_790_010_000.0),
            Ending(answer=made.answer, failure=made.failure),
            sizing,
            made.history,
        )
        aws("s3").put_object(Bucket=BUCKET, Key=KEY, Body=json.dumps(document).encode())

    return write


@pytest.fixture
def production(answered: Answered) -> dict[str, Any]:
    """An endpoint of five instances, and all that it is asked for and told."""
    there: dict[str, Any] = {
        "EndpointName": "checkout",
        "EndpointConfigName": "checkout",
        "EndpointStatus": "InService",
        "CreationTime": datetime(2026, 1, 1, tzinfo=UTC),
        "ProductionVariants": [
            {"VariantName": "main", "CurrentInstanceCount": 5, "DesiredInstanceCount": 5}
        ],
    }
    config = {"VariantName": "main", "ModelName": "m", "InstanceType": "ml.m5.12xlarge"}
    targets: list[dict[str, Any]] = []
    policies: list[dict[str, Any]] = []
    answered("sagemaker", "DescribeEndpoint", lambda _: there)
    answered("sagemaker", "DescribeEndpointConfig", lambda _: {"ProductionVariants": [config]})
    answered(AUTOSCALING, "DescribeScalableTargets", lambda _: {"ScalableTargets": targets})
    answered(AUTOSCALING, "DescribeScalingPolicies", lambda _: {"ScalingPolicies": policies})
    return {
        "variant": there["ProductionVariants"][0],
        "endpoint": there,
        "config": config,
        "targets": targets,
        "policies": policies,
        "counts": answered("sagemaker", "UpdateEndpointWeightsAndCapacities", lambda _: {}),
        "bounds": answered(AUTOSCALING, "RegisterScalableTarget", lambda _: {}),
        "policy": answered(AUTOSCALING, "PutScalingPolicy", lambda _: {}),
    }


@pytest.fixture
def run(aws: Callable[[str], Any]) -> Callable[[], tuple[dict[str, Any], dict[str, Any]]]:
    def run() -> tuple[dict[str, Any], dict[str, Any]]:
        outcome = {"result_uri": URI, "report_uri": None, "subject": "s", "notify": True}
        answer = handler({"outcome": outcome}, LambdaContext())
        files = [
            json.loads(aws("s3").get_object(Bucket=BUCKET, Key=key)["Body"].read())
            for key in (KEY, LATEST)
        ]
        assert files[0] == files[1]
        return answer, files[0]["applied"]

    return run


def test_the_count_is_applied_and_what_was_before_is_kept(
    written: Any, production: dict[str, Any], run: Any
) -> None:
    written()
    answer, applied = run()
    assert production["counts"] == [
        {
            "EndpointName": "checkout",
            "DesiredWeightsAndCapacities": [{"VariantName": "main", "DesiredInstanceCount": 8}],
        }
    ]
    assert (applied["done"], applied["before"]["instance_count"]) == (True, 5)
    assert "Applied:     checkout is scaled from 5 to 8 instances\n" in answer["message"]
    assert (answer["detail"]["applied"], answer["detail"]["applied_to"]) == (True, "checkout")
    assert (answer["subject"], answer["notify"]) == ("s", True)


def test_a_policy_is_applied_with_its_bounds(
    written: Any, production: dict[str, Any], run: Any
) -> None:
    written(what="autoscaling", max=12)
    production["targets"].append({**TARGET, "MinCapacity": 3, "MaxCapacity": 6})
    known = {
        "PolicyName": "ours",
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": 5000.0,
            "PredefinedMetricSpecification": {
                "PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"
            },
        },
    }
    production["policies"].append({**known, "PolicyARN": "arn", "CreationTime": "now"})
    _, applied = run()
    assert production["counts"] == []
    assert production["bounds"] == [{**TARGET, "MinCapacity": 2, "MaxCapacity": 12}]
    [policy] = production["policy"]
    assert policy["PolicyName"] == "ours"
    assert policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] > 5000
    before = applied["before"]
    assert (before["min_instances"], before["max_instances"]) == (3, 6)
    assert before["policies"] == [known]


def test_a_call_that_is_repeated_keeps_what_was_before(
    written: Any, production: dict[str, Any], run: Any, answered: Answered
) -> None:
    """SageMaker has scaled the endpoint, and its answer was lost."""
    written()

    def lost(_: object) -> ClientError:
        production["variant"]["DesiredInstanceCount"] = 8
        production["endpoint"]["EndpointStatus"] = "Updating"
        response: Any = {"Error": {"Code": "Internal"}, "ResponseMetadata": {"HTTPStatusCode": 500}}
        return ClientError(response, "UpdateEndpointWeightsAndCapacities")

    answered("sagemaker", "UpdateEndpointWeightsAndCapacities", lost)
    with pytest.raises(AwsUnavailable):
        run()
    _, applied = run()
    assert (applied["done"], applied["before"]["instance_count"]) == (True, 5)
    assert len(production["counts"]) == 1


@pytest.mark.parametrize(
    "kind, changes, said",
    [
        ("target_not_met", {}, "the sizing is TARGET_NOT_MET"),
        ("sized", {"max": 7}, "the answer is 8 instances; apply.min and apply.max allow 1 to 7"),
        ("sized", {"variant": "other"}, "checkout has no other; it has main"),
    ],
)
def test_what_is_not_applied_is_said(
    written: Any,
    production: dict[str, Any],
    run: Any,
    kind: str,
    changes: dict[str, Any],
    said: str,
) -> None:
    written(kind, **changes)
    answer, applied = run()
    assert (applied["done"], applied["reason"]) == (False, said)
    assert f"Applied:     no: {said}\n" in answer["message"]
    assert answer["detail"]["applied"] is False
    assert production["counts"] == production["bounds"] == production["policy"] == []


def test_a_refusal_is_no_failure_of_the_sizing(
    written: Any, production: dict[str, Any], run: Any, answered: Answered
) -> None:
    written()
    error: Any = {"Error": {"Code": "AccessDeniedException", "Message": "no policy allows it"}}
    refusal = ClientError(error, "UpdateEndpointWeightsAndCapacities")
    answered("sagemaker", "UpdateEndpointWeightsAndCapacities", lambda _: refusal)
    _, applied = run()
    assert applied["done"] is False
    assert applied["reason"].startswith("AWS refused it: An error occurred (AccessDenied")
    assert applied["before"]["instance_count"] == 5
