"""A night of a profile that names an endpoint in production: rate, requests and verdict."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.sagemaker.models import sagemaker_backends

from local import models
from local.clients import REGION
from sizing.load_test.measurement import INSTANCE_NAMESPACE, INVOCATION_NAMESPACE
from sizing.production.audit import PERIOD_SECONDS
from sizing.production.traffic import MINUTE
from tests.statemachine.stack import (
    VCPUS,
    StackUnderTest,
    a_request,
    in_production,
    stack_under_test,
)
from tests.unit.sizing.production.made_up_production import DAY
from tests.unit.sizing.production.made_up_production import Endpoint as Traffic
from tests.unit.sizing.production.test_captures import record

DAYS, INSTANCES = 2, 6
BUCKET = "captures-of-production"
SECRET = "a body of production"
PROFILE = {
    **{name: value for name, value in a_request().items() if name not in ("model", "target")},
    "payloads": {"data_capture": {"endpoint": "checkout", "sample": 50}},
    "target": {"from_endpoint": {"name": "checkout", "days": DAYS, "headroom_percent": 0}},
    "apply": {"endpoint": "checkout", "what": "count", "min": 1, "max": INSTANCES},
}
PARAMETERS = {
    "ApplyEndpoints": f"arn:aws:sagemaker:{REGION}:{DEFAULT_ACCOUNT_ID}:endpoint/checkout"
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackUnderTest]:
    folder = tmp_path_factory.mktemp("stack")
    with stack_under_test(folder, parameters=PARAMETERS) as running:
        yield running


@pytest.fixture(scope="module")
def production(stack: StackUnderTest) -> Iterator[None]:
    """Six instances of what two serve, with two days of traffic and a day of captures."""
    sagemaker, s3 = stack.aws.client("sagemaker"), stack.aws.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    in_production(sagemaker, "checkout", instances=INSTANCES, captures=f"s3://{BUCKET}/captures")
    record_of_it = sagemaker_backends[DEFAULT_ACCOUNT_ID][REGION].endpoints["checkout"]
    record_of_it.creation_time = time.time() - 30 * DAY
    _publish(stack)
    for hour in range(24):
        lines = [
            record(json.dumps({"text": f"{SECRET} {hour}"})),
            record(f"{SECRET},{hour}", "CSV", "text/csv"),
            b"no record",
        ]
        key = f"captures/checkout/main/2026/11/25/{hour:02}/55-00-000-a.jsonl"
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"\n".join(lines))
    yield
    sagemaker.delete_endpoint(EndpointName="checkout")


def _publish(stack: StackUnderTest) -> None:
    """Invocations and utilization of the days until now, as CloudWatch keeps them."""
    end = int(time.time()) // PERIOD_SECONDS * PERIOD_SECONDS
    # At 200 requests per second an instance is full: see ``stub_task``.
    traffic, periods = Traffic(140, INSTANCES, 0.5, noise=0.01, days=DAYS).history()
    moved = end - traffic.end
    dimensions = [
        {"Name": "EndpointName", "Value": "checkout"},
        {"Name": "VariantName", "Value": "main"},
    ]

    def put(namespace: str, name: str, second: int, value: float, samples: int) -> None:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(second + moved))
        datum = {
            "MetricName": name,
            "Dimensions": dimensions,
            "Timestamp": moment,
            "Values": [value],
            "Counts": [samples],
        }
        stack.aws.metrics.put(namespace, [datum])

    for second, count in traffic.by_minute.items():
        put(INVOCATION_NAMESPACE, "Invocations", second, count, 1)
    for period in periods:
        for minute in range(0, PERIOD_SECONDS, MINUTE):
            cpu = period.utilization_percent * VCPUS
            put(INSTANCE_NAMESPACE, "CPUUtilization", period.start + minute, cpu, INSTANCES)


def test_a_night_takes_rate_and_requests_from_production_and_says_whether_it_fits(
    stack: StackUnderTest, production: None
) -> None:
    models.register_package(stack.aws.client("sagemaker"), "model")
    ssm = stack.aws.client("ssm")
    ssm.put_parameter(
        Name="/endpoint-sizer/profiles/model", Type="String", Value=json.dumps(PROFILE)
    )
    night = stack.run("NightlyStateMachine", {})
    assert night.status == "SUCCEEDED", night.cause
    [arn] = stack.executions("SizingStateMachine")
    result: dict[str, Any] = stack.result(stack.wait(arn))

    answer = result["recommendation"]
    assert (answer["instance_type"], answer["instance_count"]) == ("ml.m5.xlarge", 2)
    found = result["production"]
    assert found["verdict"] == "too_large"
    assert (found["instance_type"], found["instance_count"]) == ("ml.m5.xlarge", INSTANCES)
    of_one = answer["hourly_cost_usd"] / 2
    assert found["saving_usd_a_month"] == pytest.approx((INSTANCES - 2) * of_one * 730, abs=0.01)
    assert found["peak_tps"] == pytest.approx(240, rel=0.05)

    # Production has the answer now, and the result says how to go back.
    applied = result["applied"]
    assert (applied["done"], applied["before"]["instance_count"]) == (True, INSTANCES)
    [variant] = stack.aws.client("sagemaker").describe_endpoint(EndpointName="checkout")[
        "ProductionVariants"
    ]
    assert variant["DesiredInstanceCount"] == 2

    sent = result["captured"]
    assert (sent["records"], sent["sampled"], sent["files"]) == (48, 48, 24)
    assert sent["skipped"] == {"no record of Data Capture": 24}
    assert sent["content_types"] == {"application/json": 24, "text/csv": 24}
    # It can be run again as it was asked, and tells nobody what production was sent.
    assert result["sizing"]["request"]["payloads"]["data_capture"]["endpoint"] == "checkout"
    assert stack.settle() == []
    s3, bucket = stack.aws.client("s3"), stack.aws.stack.ref("ResultsBucket")
    kept = s3.list_object_versions(Bucket=bucket)["Versions"]
    assert not [each["Key"] for each in kept if each["Key"].endswith("captured.jsonl")]
    for each in kept:
        body = s3.get_object(Bucket=bucket, Key=each["Key"])["Body"].read()
        assert SECRET.encode() not in body, each["Key"]


def test_a_dry_run_says_what_would_be_sent(stack: StackUnderTest, production: None) -> None:
    request = {**PROFILE, "model": a_request()["model"], "dry_run": True}
    ended = stack.run("SizingStateMachine", request)
    result = stack.result(ended)
    assert (result["status"], result["captured"]["sampled"]) == ("DRY_RUN", 48)
    assert result["sizing"]["request"]["payloads"]["data_capture"]["sample"] == 50
