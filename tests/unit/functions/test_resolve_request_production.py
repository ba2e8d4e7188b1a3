"""ResolveRequest takes the target from an endpoint in production, or says why it can't."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sizing.errors import AccessDenied, AwsUnavailable, InvalidRequest
from sizing.production.audit import PERIOD_SECONDS
from sizing.request.sizing import Sizing
from tests.unit.functions.test_resolve_request import (
    generous_quotas,
    price_list,
    refused,
    resolve,
)
from tests.unit.sizing.production.made_up_production import DAY, START, Endpoint

Answered = Callable[..., list[dict[str, Any]]]
__all__ = ["generous_quotas", "price_list"]  # fixtures

DAYS = 2
NOW = START + DAYS * DAY
FROM = {"from_endpoint": {"name": "checkout", "days": DAYS}}
VARIANT = {"VariantName": "main", "ModelName": "m", "InstanceType": "ml.m5.12xlarge"}


@pytest.fixture
def endpoint(answered: Answered, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """An endpoint of nine instances that gets 345 requests per second at its peak."""
    monkeypatch.setattr(time, "time", lambda: float(NOW + 10))
    traffic, periods = Endpoint(200, 9, 0.65, days=DAYS).history()
    series: dict[tuple[str, str], dict[int, float]] = {
        ("Invocations", "Sum"): dict(traffic.by_minute),
        ("CPUUtilization", "SampleCount"): {each.start: 45.0 for each in periods},
        ("CPUUtilization", "Average"): {
            each.start: each.utilization_percent * 48 for each in periods
        },
    }
    described: dict[str, Any] = {
        "EndpointName": "checkout",
        "EndpointArn": "arn",
        "EndpointConfigName": "checkout",
        "EndpointStatus": "InService",
        "CreationTime": datetime.fromtimestamp(START - DAY, UTC),
        "ProductionVariants": [{"VariantName": "main", "CurrentInstanceCount": 9}],
    }
    config = {"ProductionVariants": [VARIANT]}
    targets: list[dict[str, Any]] = []

    def metrics(request: dict[str, Any]) -> dict[str, Any]:
        assert request["EndTime"].timestamp() == NOW // PERIOD_SECONDS * PERIOD_SECONDS
        results = []
        for query in request["MetricDataQueries"]:
            stat = query["MetricStat"]
            if stat["Period"] < 60:  # CloudWatch keeps these for three hours
                assert NOW + 10 - request["StartTime"].timestamp() < 3 * 3600
                results.append({"Id": query["Id"], "Timestamps": [], "Values": []})
                continue
            found = series.get((stat["Metric"]["MetricName"], stat["Stat"]), {})
            times = [datetime.fromtimestamp(at, UTC) for at in found]
            results.append({"Id": query["Id"], "Timestamps": times, "Values": [*found.values()]})
        return {"MetricDataResults": results}

    answered("sagemaker", "DescribeEndpoint", lambda _: described)
    answered("sagemaker", "DescribeEndpointConfig", lambda _: config)
    answered(
        "application-autoscaling", "DescribeScalableTargets", lambda _: {"ScalableTargets": targets}
    )
    answered("cloudwatch", "GetMetricData", metrics)
    return {"endpoint": described, "config": config, "targets": targets, "series": series}


def test_the_target_is_the_endpoints_peak_with_headroom(endpoint: dict[str, Any]) -> None:
    endpoint["targets"].append(
        {"ResourceId": "endpoint/checkout/variant/main", "MinCapacity": 2, "MaxCapacity": 12}
    )
    sizing = Sizing.model_validate(resolve(target=FROM)["sizing"])
    found = sizing.production
    assert found is not None
    assert found.peak_tps == pytest.approx(345, rel=0.02)
    assert sizing.request.target.tps == found.target_tps == pytest.approx(found.peak_tps * 1.1)
    assert (found.instance_type, found.instance_count) == ("ml.m5.12xlarge", 9)
    assert (found.min_instances, found.max_instances) == (2, 12)
    assert found.hourly_price_usd == 2.765
    assert found.peak_utilization_percent == pytest.approx(25, abs=1.5)
    # Another night's rate is the same question.
    later = sizing.request.target.model_copy(update={"given_tps": 1.0})
    other = sizing.request.model_copy(update={"target": later})
    assert sizing.model_copy(update={"request": other}).comparable_key == sizing.comparable_key


def denied(_: object) -> ClientError:
    error: Any = {"Error": {"Code": "AccessDeniedException", "Message": "not allowed"}}
    return ClientError(error, "DescribeEndpoint")


def gone(_: object) -> ClientError:
    message = 'Could not find endpoint "checkout".'
    error: Any = {"Error": {"Code": "ValidationException", "Message": message}}
    return ClientError(error, "DescribeEndpoint")


@pytest.mark.parametrize(
    "answer, said",
    [
        (denied, "checkout may not be read: name its ARN in the stack's parameter Production"),
        (gone, "there is no endpoint checkout that serves"),
    ],
)
def test_an_endpoint_that_can_not_be_read(
    endpoint: dict[str, Any], answered: Answered, answer: Any, said: str
) -> None:
    answered("sagemaker", "DescribeEndpoint", answer)
    assert refused(target=FROM).startswith(f"target.from_endpoint.name: {said}")


CALLS = [
    ("sagemaker", "DescribeEndpoint"),
    ("sagemaker", "DescribeEndpointConfig"),
    ("cloudwatch", "GetMetricData"),
    ("application-autoscaling", "DescribeScalableTargets"),
]


def refusing(code: str, operation: str) -> Callable[[object], ClientError]:
    error: Any = {"Error": {"Code": code, "Message": "made up"}}
    return lambda _: ClientError(error, operation)


@pytest.mark.parametrize("service, operation", CALLS)
def test_a_call_that_is_throttled_for_good_is_for_the_state_machine_to_repeat(
    endpoint: dict[str, Any],
    answered: Answered,
    monkeypatch: pytest.MonkeyPatch,
    service: str,
    operation: str,
) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    answered(service, operation, refusing("ThrottlingException", operation))
    with pytest.raises(AwsUnavailable):
        resolve(target=FROM)
    assert sum(waited) < 60  # of the function's time


@pytest.mark.parametrize("service, operation", CALLS[:3])
def test_a_call_that_is_refused_is_named(
    endpoint: dict[str, Any], answered: Answered, service: str, operation: str
) -> None:
    answered(service, operation, refusing("AccessDeniedException", operation))
    with pytest.raises((AccessDenied, InvalidRequest)) as raised:
        resolve(target=FROM)
    assert "AccessDenied" in str(raised.value)


def test_without_a_look_at_policies_it_is_sized_all_the_same(
    endpoint: dict[str, Any], answered: Answered
) -> None:
    operation = "DescribeScalableTargets"
    answered("application-autoscaling", operation, refusing("AccessDeniedException", operation))
    assert resolve(target=FROM)["sizing"]["production"]["min_instances"] is None


def test_a_serverless_one_is_refused(endpoint: dict[str, Any]) -> None:
    endpoint["config"]["ProductionVariants"] = [
        {"VariantName": "main", "ModelName": "m", "ServerlessConfig": {"MaxConcurrency": 1}}
    ]
    assert "a serverless endpoint" in refused(target=FROM)


def test_of_several_variants_one_is_named(endpoint: dict[str, Any]) -> None:
    other = {**VARIANT, "VariantName": "other"}
    endpoint["config"]["ProductionVariants"] = [VARIANT, other]
    endpoint["endpoint"]["ProductionVariants"].append(
        {"VariantName": "other", "CurrentInstanceCount": 1}
    )
    assert refused(target=FROM) == "target.from_endpoint.variant: must be one of main, other"
    wrong = {"from_endpoint": {**FROM["from_endpoint"], "variant": "third"}}
    assert "has no third; it has main, other" in refused(target=wrong)
    right = {"from_endpoint": {**FROM["from_endpoint"], "variant": "main"}}
    assert resolve(target=right)["sizing"]["production"]["variant"] == "main"


def test_too_little_traffic_is_refused(endpoint: dict[str, Any]) -> None:
    endpoint["series"]["Invocations", "Sum"] = {START + 60: 5.0}
    assert refused(target=FROM).startswith("target.from_endpoint.days: checkout has invocations in")


CHECKOUT = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/checkout"


@pytest.mark.parametrize(
    "allowed, changes, said",
    [
        ("", {}, "checkout is none that the stack's parameter ApplyEndpoints names"),
        (f"{CHECKOUT}-2", {}, "checkout is none that the stack's parameter ApplyEndpoints names"),
        (CHECKOUT, {"instance_types": ["ml.c5.xlarge"]}, "checkout runs ml.m5.12xlarge, which"),
    ],
)
def test_an_answer_that_could_not_be_applied_is_not_looked_for(
    endpoint: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    allowed: str,
    changes: dict[str, Any],
    said: str,
) -> None:
    monkeypatch.setenv("APPLY_ENDPOINTS", allowed)
    asked = {"endpoint": "checkout", "min": 1, "max": 12}
    assert refused(apply=asked, **changes).startswith(f"apply.endpoint: {said}")


@pytest.mark.parametrize("allowed", [CHECKOUT, f"arn:x,{CHECKOUT[:-4]}*", CHECKOUT.upper()])
def test_an_endpoint_that_the_stack_may_change_may_be_named(
    endpoint: dict[str, Any], monkeypatch: pytest.MonkeyPatch, allowed: str
) -> None:
    monkeypatch.setenv("APPLY_ENDPOINTS", allowed.replace(":ENDPOINT/", ":endpoint/"))
    asked = {"endpoint": "checkout", "min": 1, "max": 12}
    assert resolve(apply=asked)["sizing"]["request"]["apply"]["what"] == "count"
    wrong = {**asked, "variant": "other"}
    assert refused(apply=wrong) == "apply.variant: checkout has no other; it has main"
