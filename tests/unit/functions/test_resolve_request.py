"""ResolveRequest looks up what a sizing needs, and refuses what can't work before it costs."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError, ConnectTimeoutError
from pydantic import ValidationError

from load_generator.spec import parse_json_lines, parse_spec
from resolve_request.app import handler
from sizing.errors import (
    AccessDenied,
    AwsUnavailable,
    CostLimit,
    InvalidRequest,
    QuotaTooLow,
    TimeLimit,
)
from sizing.load_test.observation import LoadTestRecord
from sizing.load_test.plan import LoadTestPlan
from sizing.request.sizing import SizedModel, Sizing
from tests.unit.functions.conftest import ACCOUNT
from tests.unit.functions.made_up import EXECUTION_ARN, SIZING_ID, STARTED_AT, a_request

Client = Callable[[str], Any]
Answered = Callable[..., list[dict[str, Any]]]
BUCKET = "results-bucket"

CONTAINER = {"container": {"image_uri": "123456789012.dkr.ecr.us-east-1.amazonaws.com/m:1"}}


def price_document(usd: str, unit: str = "Hrs", sku: str = "A") -> str:
    dimension = {"unit": unit, "pricePerUnit": {"USD": usd}}
    terms = {"OnDemand": {f"{sku}.1": {"priceDimensions": {f"{sku}.1.1": dimension}}}}
    return json.dumps({"product": {"sku": sku}, "terms": terms})


@pytest.fixture(autouse=True)
def price_list(answered: Answered) -> list[dict[str, Any]]:
    return answered("pricing", "GetProducts", lambda _: {"PriceList": [price_document("2.765")]})


@pytest.fixture(autouse=True)
def generous_quotas(answered: Answered) -> list[dict[str, Any]]:
    """1,000 of everything."""

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        types = [f"ml.{each}" for each in ("m5.12xlarge", "m5.xlarge", "c5.xlarge", "g5.12xlarge")]
        names = [f"{each} for endpoint usage" for each in types]
        if request["ServiceCode"] == "fargate":
            names = ["Fargate On-Demand vCPU resource count"]
        code = "L-3032A538" if request["ServiceCode"] == "fargate" else "L-12345678"
        return {"Quotas": [{"QuotaName": n, "QuotaCode": code, "Value": 1000.0} for n in names]}

    answered("service-quotas", "ListAWSDefaultServiceQuotas", answer)
    return answered("service-quotas", "ListServiceQuotas", answer)


def resolve(**changes: Any) -> dict[str, Any]:
    event = {
        "execution": {
            "arn": EXECUTION_ARN,
            "name": "run-1",
            "started_at": STARTED_AT.isoformat().replace("+00:00", "Z"),
        },
        "request": a_request(**changes),
    }
    answer: dict[str, Any] = json.loads(json.dumps(handler(event, LambdaContext())))
    return answer


def refused(**changes: Any) -> str:
    with pytest.raises(InvalidRequest) as error:
        resolve(**changes)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_load_test_that_would_outlast_its_state_machine_is_refused() -> None:
    assert refused(measurement={"settle_seconds": 3600, "steady_seconds": 3600}) == (
        "measurement.settle_seconds: a load test of 6 steps, each warmed up for at most 8 times "
        "settle_seconds and held for steady_seconds, may take 62.3 hours; at most 12 are allowed"
    )


def test_a_request_becomes_a_sizing_and_api_requests(
    price_list: list[dict[str, Any]], invalid: Callable[[str, str, Any], str]
) -> None:
    answer = resolve()
    sizing = Sizing.model_validate(answer["sizing"])
    assert (sizing.sizing_id, sizing.execution_arn) == (SIZING_ID, EXECUTION_ARN)
    assert (sizing.started_at, sizing.region) == (STARTED_AT.timestamp(), "us-east-1")
    facts = sizing.facts("ml.m5.12xlarge")
    assert (facts.vcpus, facts.gpus, facts.memory_gib) == (48, 0, 192)
    assert (facts.hourly_price_usd, facts.price_source) == (2.765, "Price List API")
    assert answer["dry_run"] is False
    assert answer["estimate"]["cost_usd"] > 0
    filters = {each["Field"]: each["Value"] for each in price_list[0]["Filters"]}
    assert filters["instanceName"] == "ml.m5.12xlarge"
    assert filters["regionCode"] == "us-east-1"

    (candidate,) = answer["candidates"]
    for operation, key in (
        ("CreateModel", "create_model"),
        ("CreateEndpointConfig", "create_endpoint_config"),
        ("CreateEndpoint", "create_endpoint"),
    ):
        assert not invalid("sagemaker", operation, candidate["endpoint"][key])
    assert candidate["endpoint"]["create_model"]["PrimaryContainer"] == {
        "Image": "763104351884.dkr.ecr.us-east-1.amazonaws.com/huggingface-pytorch-inference:"
        "1.10.2-transformers4.17.0-cpu-py38-ubuntu20.04",
        "Environment": {
            "HF_MODEL_ID": "distilbert-base-uncased-finetuned-sst-2-english",
            "HF_TASK": "text-classification",
            "SAGEMAKER_CONTAINER_LOG_LEVEL": "20",
            "SAGEMAKER_REGION": "us-east-1",
        },
    }
    name = f"endpoint-sizer-{SIZING_ID}-ml-m5-12xlarge"
    assert candidate["endpoint"]["endpoint_name"] == name
    assert candidate["smoke_test"]["endpoint_name"] == name
    plan = LoadTestPlan.model_validate(candidate["plan"])
    assert (plan.instance_type, plan.instance_count) == ("ml.m5.12xlarge", 1)
    assert candidate["load_test"]["bucket"] == BUCKET
    failed = LoadTestRecord(**candidate["record"], error="EndpointFailed", cause="no such image")
    assert (failed.load_test_id, failed.reason) == (plan.load_test_id(1), plan.reason)
    assert failed.files == f"s3://{BUCKET}/{candidate['load_test']['prefix']}"
    parse_spec(json.dumps(candidate["load_test"]["spec"]).encode())


def test_the_same_input_gives_the_same_output() -> None:
    assert resolve() == resolve()


def test_each_candidate_has_its_own_names(aws: Client) -> None:
    types = ["ml.m5.xlarge", "ml.g5.12xlarge"]
    answer = resolve(instance_types=types)
    assert [each["plan"]["instance_type"] for each in answer["candidates"]] == types
    assert len({each["endpoint"]["endpoint_name"] for each in answer["candidates"]}) == 2
    made = [each["endpoint"]["create_model"] for each in answer["candidates"]]
    images = [each["PrimaryContainer"]["Image"] for each in made]
    assert "-cpu-" in images[0]
    assert "-gpu-" in images[1]
    assert [each["gpus"] for each in answer["sizing"]["candidates"]] == [0, 4]


def test_a_dry_run_has_an_estimate_and_creates_nothing(aws: Client) -> None:
    inline = [{"body": "x" * 100_000}]
    answer = resolve(dry_run=True, payloads={"inline": inline})
    assert answer["dry_run"] is True
    assert answer["estimate"]["minutes"] > 0
    assert answer["candidates"] == []
    assert "Contents" not in aws("s3").list_objects_v2(Bucket=BUCKET)


class TestRequest:
    def test_an_error_names_the_field(self) -> None:
        assert refused(target={"tps": -1}).startswith("target.tps: must be greater than 0")

    def test_limits_that_nothing_fits_in_are_refused(self) -> None:
        assert refused(limits={"max_load_tests": 1}).startswith("limits.max_load_tests: ")

    def test_tags_that_aws_refuses(self) -> None:
        assert refused(tags={"a": "b;"}).startswith("tags.a: ")

    def test_an_event_in_error_is_named_without_its_content(self) -> None:
        with pytest.raises(ValidationError) as error:
            handler({"execution": {"arn": 7}, "request": {"secret": "body"}}, LambdaContext())
        assert "execution.arn" in str(error.value)
        assert "secret" not in str(error.value)


class TestInstanceTypes:
    def test_a_type_that_ec2_does_not_know_is_named(self) -> None:
        message = refused(instance_types=["ml.m5.xlarge", "ml.m5.huge"])
        assert message.startswith("instance_types.1: ml.m5.huge is not an instance type known in")

    def test_accelerators_without_metrics_are_refused(self) -> None:
        message = refused(instance_types=["ml.inf2.xlarge"], model=CONTAINER)
        assert message.startswith("instance_types.0: ml.inf2.xlarge has AWS Inferentia")

    def test_other_errors_of_ec2_are_not_the_requests_fault(self, answered: Answered) -> None:
        denied = ClientError({"Error": {"Code": "UnauthorizedOperation"}}, "DescribeInstanceTypes")
        answered("ec2", "DescribeInstanceTypes", lambda _: denied)
        with pytest.raises(AccessDenied, match="DescribeInstanceTypes"):
            resolve()


class TestPrices:
    @pytest.mark.parametrize(
        "answer, reason",
        [
            (
                ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetProducts"),
                "answered AccessDeniedException",
            ),
            (ConnectTimeoutError(endpoint_url="https://pricing"), "can't be reached"),
            ({"PriceList": []}, "names no single price"),
            ({"PriceList": [price_document("1"), price_document("2")]}, "names no single price"),
            ({"PriceList": ['{"terms": []}']}, "gave an answer of an unknown shape"),
        ],
    )
    def test_the_bundled_table_stands_in_and_says_so(
        self, answered: Answered, answer: Any, reason: str
    ) -> None:
        answered("pricing", "GetProducts", lambda _: answer)
        (facts,) = resolve()["sizing"]["candidates"]
        assert facts["hourly_price_usd"] == 2.765
        assert facts["price_source"].startswith("bundled table of 2026-09-27 (")
        assert reason in facts["price_source"]

    def test_an_api_that_is_away_is_asked_once(self, answered: Answered) -> None:
        away = ConnectTimeoutError(endpoint_url="https://pricing")
        requests = answered("pricing", "GetProducts", lambda _: away)
        resolve(instance_types=["ml.m5.large", "ml.m5.xlarge", "ml.m5.2xlarge"])
        assert len(requests) == 1

    def test_a_free_tier_price_is_not_the_price(self, answered: Answered) -> None:
        both = [price_document("0.0000000000", sku="F"), price_document("3.5")]
        answered("pricing", "GetProducts", lambda _: {"PriceList": both})
        assert resolve()["sizing"]["candidates"][0]["hourly_price_usd"] == 3.5

    def test_no_price_is_better_than_a_wrong_one(
        self, answered: Answered, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answered("pricing", "GetProducts", lambda _: {"PriceList": []})
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        (facts,) = resolve()["sizing"]["candidates"]
        assert facts["hourly_price_usd"] is None
        assert "no bundled price of ml.m5.12xlarge in eu-west-1" in facts["price_source"]

    def test_a_cost_limit_needs_prices(self, answered: Answered) -> None:
        answered("pricing", "GetProducts", lambda _: {"PriceList": []})
        message = refused(instance_types=["ml.m7i.48xlarge"], limits={"max_cost_usd": 1000})
        assert message.startswith("limits.max_cost_usd: can't be kept")


class TestModels:
    def test_a_container_of_ones_own(self) -> None:
        container = {
            **CONTAINER["container"],
            "model_data_url": "s3://bucket/model.tar.gz",
            "environment": {"WORKERS": "4"},
        }
        answer = resolve(model={"container": container})
        assert answer["candidates"][0]["endpoint"]["create_model"]["PrimaryContainer"] == {
            "Image": container["image_uri"],
            "ModelDataUrl": "s3://bucket/model.tar.gz",
            "Environment": {"WORKERS": "4"},
        }

    def test_an_image_that_does_not_exist_is_named(self) -> None:
        model = {**a_request()["model"]["hugging_face"], "py_version": "py27"}
        assert refused(model={"hugging_face": model}).startswith("model.hugging_face.py_version: ")

    def test_a_model_that_exists_is_used(self, aws: Client) -> None:
        aws("sagemaker").create_model(
            ModelName="sentiment",
            PrimaryContainer={"Image": "image"},
            ExecutionRoleArn="arn:aws:iam::123456789012:role/r",
        )
        (candidate,) = resolve(model={"model_name": "sentiment"})["candidates"]
        assert candidate["endpoint"]["create_model"] is None
        variant = candidate["endpoint"]["create_endpoint_config"]["ProductionVariants"][0]
        assert variant["ModelName"] == "sentiment"

    def test_a_model_that_does_not_exist_is_named(self) -> None:
        message = refused(model={"model_name": "nope"})
        assert message == (
            "model.model_name: model nope does not exist in this region, in this account or "
            "shared with it"
        )

    @pytest.mark.parametrize(
        "model, why",
        [
            ({"PrimaryContainer": {"Mode": "MultiModel"}}, "hosts many models (Mode: MultiModel)"),
            ({"Containers": [{}, {"Mode": "MultiModel"}]}, "hosts many models (Mode: MultiModel)"),
            (
                {"Containers": [{}, {}], "InferenceExecutionConfig": {"Mode": "Direct"}},
                "invoked one by one (InferenceExecutionConfig: Direct)",
            ),
        ],
    )
    def test_a_model_that_an_invocation_chooses_from_is_refused(
        self, answered: Answered, model: dict[str, Any], why: str
    ) -> None:
        answered("sagemaker", "DescribeModel", lambda _: model)
        message = refused(model={"model_name": "many"})
        assert message.startswith("model.model_name: model many ")
        assert why in message
        assert "allowed are models of one container, or of a serial pipeline" in message

    def test_a_serial_pipeline_is_one_model(self, answered: Answered) -> None:
        serial = {"Containers": [{}, {}], "InferenceExecutionConfig": {"Mode": "Serial"}}
        answered("sagemaker", "DescribeModel", lambda _: serial)
        assert resolve(model={"model_name": "pipeline"})["candidates"]

    def test_a_group_of_another_account_is_asked_for_by_its_arn(self, answered: Answered) -> None:
        group = "arn:aws:sagemaker:us-east-1:210987654321:model-package-group/sentiment"
        package = "arn:aws:sagemaker:us-east-1:210987654321:model-package/sentiment/7"
        listed = {"ModelPackageArn": package, "ModelPackageStatus": "Completed"}
        requests = answered(
            "sagemaker", "ListModelPackages", lambda _: {"ModelPackageSummaryList": [listed]}
        )
        answered("sagemaker", "DescribeModelPackage", lambda _: {"ModelPackageStatus": "Completed"})
        answer = resolve(model={"model_package_group": group})
        assert requests[0]["ModelPackageGroupName"] == group
        (candidate,) = answer["candidates"]
        assert candidate["endpoint"]["create_model"]["PrimaryContainer"] == {
            "ModelPackageName": package
        }
        key = "model_package_group/210987654321:us-east-1:sentiment"
        assert answer["sizing"]["model_key"] == key

    def test_what_may_not_be_read_says_which_permission_is_missing(
        self, answered: Answered
    ) -> None:
        said = "User: x is not authorized to perform: sagemaker:DescribeModelPackage on resource: y"
        denied: Any = {"Error": {"Code": "AccessDeniedException", "Message": said}}
        error = ClientError(denied, "DescribeModelPackage")
        answered("sagemaker", "DescribeModelPackage", lambda _: error)
        arn = "arn:aws:sagemaker:us-east-1:210987654321:model-package/g/1"
        assert said in refused(model={"model_package_arn": arn})

    def test_the_newest_approved_package_of_a_group(self, aws: Client) -> None:
        arns = packages(aws, "Approved", "Approved", "PendingManualApproval", "Rejected")
        (candidate,) = resolve(model={"model_package_group": "sentiment"})["candidates"]
        container = candidate["endpoint"]["create_model"]["PrimaryContainer"]
        assert container == {"ModelPackageName": arns[1]}

    @pytest.mark.parametrize("statuses", [("PendingManualApproval",), ()])
    def test_a_group_without_an_approved_package(
        self, aws: Client, statuses: tuple[str, ...]
    ) -> None:
        packages(aws, *statuses)
        message = refused(model={"model_package_group": "sentiment"})
        assert message.startswith("model.model_package_group: sentiment has no model package")

    def test_a_package_by_arn(self, aws: Client) -> None:
        (arn,) = packages(aws, "PendingManualApproval")
        (candidate,) = resolve(model={"model_package_arn": arn})["candidates"]
        assert candidate["endpoint"]["create_model"]["PrimaryContainer"] == {
            "ModelPackageName": arn
        }

    def test_a_package_that_does_not_exist_is_named(self) -> None:
        arn = "arn:aws:sagemaker:us-east-1:123456789012:model-package/g/1"
        assert "does not exist" in refused(model={"model_package_arn": arn})

    def test_a_package_that_failed_is_refused(self, answered: Answered) -> None:
        answered("sagemaker", "DescribeModelPackage", lambda _: {"ModelPackageStatus": "Failed"})
        arn = "arn:aws:sagemaker:us-east-1:123456789012:model-package/g/1"
        assert "must be Completed, it is Failed" in refused(model={"model_package_arn": arn})

    def test_throttling_is_not_the_requests_fault(self, answered: Answered) -> None:
        throttled = ClientError({"Error": {"Code": "ThrottlingException"}}, "DescribeModel")
        answered("sagemaker", "DescribeModel", lambda _: throttled)
        with pytest.raises(AwsUnavailable):
            resolve(model={"model_name": "sentiment"})


class TestPayloads:
    def test_small_ones_go_along(self) -> None:
        answer = resolve(payloads={"inline": [{"body": "a"}, {"body": "b", "weight": 3}]})
        (candidate,) = answer["candidates"]
        assert [each["body"] for each in candidate["load_test"]["spec"]["payloads"]["inline"]] == [
            "a",
            "b",
        ]
        assert [each["body"] for each in candidate["smoke_test"]["payloads"]["inline"]] == ["a"]

    def test_large_ones_lie_in_s3_and_the_output_stays_small(self, aws: Client) -> None:
        inline = [{"body": f"{index}" + "x" * 2000, "weight": 2} for index in range(50)]
        answer = resolve(
            payloads={"inline": inline, "content_type": "text/plain"},
            instance_types=[f"ml.m5.{size}xlarge" for size in ("", 2, 4, 8, 12, 16, 24)],
            limits={"max_load_tests": 20},
        )
        assert len(json.dumps(answer)) < 100_000
        uri = f"s3://{BUCKET}/sizings/{SIZING_ID}/payloads.jsonl"
        for candidate in answer["candidates"]:
            spec = candidate["load_test"]["spec"]
            assert spec["payloads"] == {"s3_uri": uri}
            assert spec["content_type"] == "text/plain"
            assert candidate["smoke_test"]["payloads"]["s3_uri"] == uri
        assert answer["sizing"]["request"]["payloads"]["s3_uri"] == uri
        written = aws("s3").get_object(Bucket=BUCKET, Key=uri.split("/", 3)[3])["Body"].read()
        read = parse_json_lines(written, source=uri)
        assert [each.body.decode() for each in read] == [each["body"] for each in inline]
        assert {each.weight for each in read} == {2}

    def test_what_is_small_for_one_candidate_is_not_for_three(self) -> None:
        payloads = {"inline": [{"body": "x" * 15_000}]}
        types = ["ml.m5.large", "ml.m5.xlarge", "ml.m5.2xlarge"]
        one = resolve(payloads=payloads)["candidates"][0]
        three = resolve(payloads=payloads, instance_types=types)["candidates"][0]
        assert "inline" in one["load_test"]["spec"]["payloads"]
        assert "s3_uri" in three["load_test"]["spec"]["payloads"]

    def test_base64_must_be_base64(self) -> None:
        good = base64.b64encode(b"\0\1").decode()
        message = refused(
            payloads={"inline": [{"body": good, "base64": True}, {"body": "%%", "base64": True}]}
        )
        assert message == "payloads.inline.1.body: body is not valid base64"

    def test_a_body_larger_than_an_endpoint_takes(self) -> None:
        message = refused(payloads={"inline": [{"body": "é" * (13 * 1024 * 1024)}]})
        assert message.startswith("payloads.inline.0.body: an endpoint takes at most 26,214,400")

    def put(self, aws: Client, content: bytes) -> str:
        aws("s3").put_object(Bucket=BUCKET, Key="k.jsonl", Body=content)
        return f"s3://{BUCKET}/k.jsonl"

    def test_a_file_is_used_where_it_lies(self, aws: Client) -> None:
        uri = self.put(aws, b'{"body": "a"}\n\n{"body": "b", "weight": 2}\n')
        (candidate,) = resolve(payloads={"s3_uri": uri})["candidates"]
        assert candidate["load_test"]["spec"]["payloads"] == {"s3_uri": uri}

    @pytest.mark.parametrize(
        "content, what",
        [
            (b"", "is empty"),
            (b'{"body": "a"}\n{"secret"\n', "line 2 of"),
            (b'{"body": "a"}\n' * 3 + b'{"bod": "secret"}', "line 4 of"),
            (b'{"body": "secret", "base64": true}', "body is not valid base64"),
            (b"\xff\xfe", "line 1 of"),
            (b'\xef\xbb\xbf{"body": "secret"}', "begins with a byte order mark; save it as UTF-8"),
        ],
    )
    def test_a_file_in_error_names_the_line_and_quotes_nothing(
        self, aws: Client, content: bytes, what: str
    ) -> None:
        message = refused(payloads={"s3_uri": self.put(aws, content)})
        assert message.startswith("payloads.s3_uri: ")
        assert what in message
        assert "secret" not in message

    def test_a_missing_file_is_named(self) -> None:
        message = refused(payloads={"s3_uri": f"s3://{BUCKET}/nope.jsonl"})
        assert message.startswith(f"payloads.s3_uri: s3://{BUCKET}/nope.jsonl can't be read (")

    def test_the_bucket_must_be_the_accounts_own(self, aws: Client, answered: Answered) -> None:
        uri = self.put(aws, b'{"body": "a"}')
        denied = ClientError({"Error": {"Code": "403"}}, "HeadObject")
        requests = answered("s3", "HeadObject", lambda _: denied)
        assert "in a bucket of account 123456789012" in refused(payloads={"s3_uri": uri})
        assert requests[0]["ExpectedBucketOwner"] == "123456789012"

    def test_a_busy_bucket_is_no_mistake_in_the_request(self, answered: Answered) -> None:
        slow = ClientError({"Error": {"Code": "SlowDown"}}, "HeadObject")
        answered("s3", "HeadObject", lambda _: slow)
        with pytest.raises(AwsUnavailable):
            resolve(payloads={"s3_uri": f"s3://{BUCKET}/k.jsonl"})

    def test_a_huge_file_is_refused_unread(self, answered: Answered) -> None:
        answered("s3", "HeadObject", lambda _: {"ContentLength": 200 * 1024 * 1024})
        message = refused(payloads={"s3_uri": f"s3://{BUCKET}/huge.jsonl"})
        assert "at most 104,857,600 are allowed" in message


def sized_model(**changes: Any) -> SizedModel:
    return Sizing.model_validate(resolve(**changes)["sizing"]).model


class TestWhatIsSized:
    def test_the_package_that_a_group_stands_for(self, aws: Client) -> None:
        approved, _ = packages(aws, "Approved", "PendingManualApproval")
        model = sized_model(model={"model_package_group": "sentiment"})
        assert model.package_arn == approved
        assert approved.endswith("/sentiment/1")
        assert model.images == {"ml.m5.12xlarge": "image"}
        assert sized_model(model={"model_package_arn": approved}) == model

    def test_the_image_and_its_digest_as_the_registry_has_them(self, answered: Answered) -> None:
        container = {"Image": "image:1", "ImageDigest": "sha256:" + "a" * 64}
        package = {
            "ModelPackageStatus": "Completed",
            "InferenceSpecification": {"Containers": [container]},
        }
        answered("sagemaker", "DescribeModelPackage", lambda _: package)
        arn = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:model-package/sentiment/7"
        model = sized_model(model={"model_package_arn": arn})
        assert model.image_digests == {"ml.m5.12xlarge": "sha256:" + "a" * 64}

    def test_an_image_may_be_named_by_its_digest(self) -> None:
        image = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/mine@sha256:{'b' * 64}"
        model = sized_model(model={"container": {"image_uri": image}})
        assert (model.package_arn, model.images) == (None, {"ml.m5.12xlarge": image})
        assert model.image_digests == {"ml.m5.12xlarge": "sha256:" + "b" * 64}

    def test_a_model_that_exists_may_be_a_package(self, answered: Answered) -> None:
        arn = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:model-package/sentiment/7"
        container = {"ModelPackageName": arn}
        answered("sagemaker", "DescribeModel", lambda _: {"Containers": [container]})
        model = sized_model(model={"model_name": "theirs"})
        assert (model.package_arn, model.images) == (arn, {})


def packages(aws: Client, *statuses: str) -> list[str]:
    """Versions of the group ``sentiment`` with these approval statuses, oldest first."""
    aws("sagemaker").create_model_package_group(
        ModelPackageGroupName="sentiment", ModelPackageGroupDescription="x"
    )
    return [
        aws("sagemaker").create_model_package(
            ModelPackageGroupName="sentiment",
            ModelApprovalStatus=status,
            InferenceSpecification={"Containers": [{"Image": "image"}]},
        )["ModelPackageArn"]
        for status in statuses
    ]


# --- Quotas --------------------------------------------------------------------------------------


def quota_is(
    answered: Answered, value: float, name: str = "ml.m5.12xlarge for endpoint usage"
) -> None:
    quota = {"QuotaName": name, "QuotaCode": "L-1", "Value": value}
    for operation in ("ListServiceQuotas", "ListAWSDefaultServiceQuotas"):
        answered("service-quotas", operation, lambda _: {"Quotas": [quota]})


def test_too_low_a_quota_is_refused_before_anything_is_created(answered: Answered) -> None:
    quota_is(answered, 2)
    with pytest.raises(QuotaTooLow, match=r'"ml\.m5\.12xlarge for endpoint usage" \(L-1\) is 2'):
        resolve()
    resolve(limits={"max_instances": 2})


def test_a_limit_is_lowered_to_the_quota_if_the_request_says_so(answered: Answered) -> None:
    quota_is(answered, 2)
    sizing = Sizing.model_validate(resolve(limits={"lower_to_quota": True})["sizing"])
    assert sizing.max_instances("ml.m5.12xlarge") == 2
    assert sizing.notes[0].startswith("limits.max_instances is 2 for ml.m5.12xlarge instead of 20")
    assert "Fargate" in sizing.notes[1]  # which this account says nothing of


def test_without_the_permission_to_read_quotas_a_sizing_goes_on(answered: Answered) -> None:
    refusal = ClientError({"Error": {"Code": "AccessDeniedException"}}, "ListServiceQuotas")
    for operation in ("ListServiceQuotas", "ListAWSDefaultServiceQuotas"):
        answered("service-quotas", operation, lambda _: refusal)
    answer = resolve()
    assert len(answer["candidates"]) == 1
    assert all("AccessDeniedException" in note for note in answer["sizing"]["notes"])
    assert len(answer["sizing"]["notes"]) == 2


@pytest.mark.parametrize("limit, error", [("max_cost_usd", CostLimit), ("max_minutes", TimeLimit)])
def test_a_limit_too_small_for_the_first_load_test_has_its_own_name(
    limit: str, error: type[Exception]
) -> None:
    with pytest.raises(error, match=rf"^limits\.{limit}: must be more than"):
        resolve(limits={limit: 0.001})
