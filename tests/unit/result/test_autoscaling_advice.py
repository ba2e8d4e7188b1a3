"""Autoscaling advice follows AWS's formula, and its requests are what the API takes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator

from sizing.production import autoscaling
from sizing.production.autoscaling import Autoscaling, advise


def advice(**changes: Any) -> Autoscaling | None:
    arguments: dict[str, Any] = {
        "instance_type": "ml.m5.12xlarge",
        "instance_count": 8,
        "max_instances": 20,
        "tps_per_instance": 130.0,
        "saturation_tps": 200.0,
        "model_latency_ms": 250.0,
    }
    return advise(**{**arguments, **changes})


def given(**changes: Any) -> Autoscaling:
    found = advice(**changes)
    assert found is not None
    return found


def test_the_target_is_the_measured_rate_per_minute() -> None:
    assert given().target_value == 130 * 60
    assert given().metric == "SageMakerVariantInvocationsPerInstance"


def test_the_safety_factor_is_the_one_of_the_documented_formula() -> None:
    found = given()
    assert found.safety_factor == 0.65
    assert found.target_value == pytest.approx(200 * found.safety_factor * 60)


def test_the_safety_factor_is_unknown_without_a_saturation_rate() -> None:
    assert given(saturation_tps=None).safety_factor is None


def test_slow_models_keep_their_digits() -> None:
    assert given(tps_per_instance=0.0123456).target_value == 0.7407


def test_requests_in_flight_follow_from_littles_law() -> None:
    alternative = given().alternative
    assert alternative is not None
    assert alternative.target_value == pytest.approx(130 * 0.25)
    assert given(model_latency_ms=None).alternative is None


@pytest.mark.parametrize(
    "count,limit,capacity",
    [(8, 20, (2, 16)), (8, 10, (2, 10)), (8, 8, (2, 8)), (1, 20, (1, 2)), (2, 20, (2, 4))],
)
def test_capacity_leaves_room_to_grow_within_the_limit(
    count: int, limit: int, capacity: tuple[int, int]
) -> None:
    found = given(instance_count=count, max_instances=limit)
    assert (found.min_capacity, found.max_capacity) == capacity


def test_cooldowns_are_application_auto_scalings_own() -> None:
    assert (given().scale_in_cooldown, given().scale_out_cooldown) == (300, 300)


@pytest.mark.parametrize("changes", [{"instance_type": "ml.t2.medium"}, {"tps_per_instance": None}])
def test_there_is_no_advice_where_none_can_be_given(changes: dict[str, Any]) -> None:
    assert advice(**changes) is None


def test_types_that_only_look_burstable_are_advised_on() -> None:
    assert advice(instance_type="ml.trn1.2xlarge") is not None


@pytest.mark.parametrize(
    "operation,make",
    [
        ("RegisterScalableTarget", autoscaling.register_scalable_target),
        ("PutScalingPolicy", autoscaling.put_scaling_policy),
        ("PutScalingPolicy", autoscaling.put_concurrency_policy),
    ],
)
def test_requests_are_what_the_api_takes(operation: str, make: Any) -> None:
    model: Any = botocore.session.get_session().get_service_model("application-autoscaling")
    shape = model.operation_model(operation).input_shape
    request = make(given(), "my-endpoint")
    assert not ParamValidator().validate(request, shape).has_errors()
    assert request["ServiceNamespace"] in shape.members["ServiceNamespace"].enum
    assert request["ScalableDimension"] in shape.members["ScalableDimension"].enum
    assert request["ResourceId"] == "endpoint/my-endpoint/variant/AllTraffic"
    if operation == "PutScalingPolicy":
        assert request["PolicyType"] in shape.members["PolicyType"].enum
        policy = request["TargetTrackingScalingPolicyConfiguration"]
        metric = policy["PredefinedMetricSpecification"]["PredefinedMetricType"]
        assert metric in model.shape_for("MetricType").enum


def test_the_result_holds_the_requests_ready_to_send() -> None:
    found = given()
    name = autoscaling.ENDPOINT_PLACEHOLDER
    assert found.requests is not None
    assert found.requests.model_dump() == {
        "register_scalable_target": autoscaling.register_scalable_target(found, name),
        "put_scaling_policy": autoscaling.put_scaling_policy(found, name),
        "put_concurrency_policy": autoscaling.put_concurrency_policy(found, name),
    }
    without = given(model_latency_ms=None).requests
    assert without is not None
    assert without.put_concurrency_policy is None


def test_the_two_policies_do_not_overwrite_each_other() -> None:
    found = given()
    concurrency = autoscaling.put_concurrency_policy(found, "e")
    assert concurrency is not None
    assert concurrency["PolicyName"] != autoscaling.put_scaling_policy(found, "e")["PolicyName"]
    assert autoscaling.put_concurrency_policy(given(model_latency_ms=None), "e") is None


def documented() -> list[dict[str, Any]]:
    """The JSON blocks of the page on autoscaling."""
    text = (Path(__file__).parents[3] / "docs" / "autoscaling.md").read_text()
    return [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]


def test_the_documented_requests_are_those_of_the_code() -> None:
    register, policy, *_ = documented()
    assert register == autoscaling.register_scalable_target(given(), "my-endpoint")
    assert policy == autoscaling.put_scaling_policy(given(), "my-endpoint")


def test_all_documented_requests_are_what_the_apis_take() -> None:
    operations = {
        "AlarmName": ("cloudwatch", "PutMetricAlarm"),
        "PolicyName": ("application-autoscaling", "PutScalingPolicy"),
        "ServiceNamespace": ("application-autoscaling", "RegisterScalableTarget"),
    }
    session = botocore.session.get_session()
    for request in documented():
        service, operation = operations[next(iter(request))]
        shape: Any = session.get_service_model(service).operation_model(operation).input_shape
        assert not ParamValidator().validate(request, shape).generate_report()
        assert request.keys() <= shape.members.keys()
