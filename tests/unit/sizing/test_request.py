"""A request in error is refused with one line that names the field and what is allowed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sizing.errors import InvalidRequest
from sizing.request.request import parse_request


def a_request(**changes: Any) -> dict[str, Any]:
    request: dict[str, Any] = {
        "model": {
            "hugging_face": {
                "model_id": "distilbert-base-uncased-finetuned-sst-2-english",
                "task": "text-classification",
                "transformers_version": "4.17.0",
                "pytorch_version": "1.10.2",
                "py_version": "py38",
            }
        },
        "instance_types": ["ml.m5.12xlarge"],
        "payloads": {"inline": [{"body": '{"inputs": "I am super happy right now."}'}]},
        "target": {"tps": 1000},
    }
    return {**request, **changes}


def test_defaults_are_the_documented_ones() -> None:
    request = parse_request(a_request())
    assert (request.target.utilization_percent.min, request.target.utilization_percent.max) == (
        60,
        70,
    )
    assert request.target.error_percent == 0.1
    assert (request.limits.max_instances, request.limits.max_load_tests) == (20, 8)
    assert request.limits.max_cost_usd is None
    assert request.limits.max_minutes is None
    assert request.measurement.metric_period_seconds == 10
    assert request.routing == "LEAST_OUTSTANDING_REQUESTS"
    assert request.payloads.content_type == request.payloads.accept == "application/json"
    assert not request.dry_run


@pytest.mark.parametrize(
    "changes, field, allowed",
    [
        ({"tsp": 1}, "tsp", "allowed here: model, instance_types, payloads, target"),
        ({"target": {"tps": -5}}, "target.tps", "must be greater than 0, got -5"),
        ({"target": {"tps": "5"}}, "target.tps", "must be a number"),
        ({"target": {"tps": float("nan")}}, "target.tps", "finite"),
        ({"target": {}}, "target.tps", "is missing"),
        ({"target": {"tps": 1, "p99": 3}}, "target.p99", "model_latency_p99_ms"),
        (
            {"target": {"tps": 1, "utilization_percent": {"min": 70, "max": 60}}},
            "target.utilization_percent",
            "min (70) must be less than max (60)",
        ),
        (
            {"instance_types": ["m5.12xlarge"]},
            "instance_types.0",
            'such as ml.m5.xlarge, got "m5.12xlarge"',
        ),
        ({"instance_types": []}, "instance_types", "at least 1"),
        ({"instance_types": ["ml.m5.large"] * 2}, "instance_types", "more than once"),
        ({"instance_types": [f"ml.m5.t{n}" for n in range(11)]}, "instance_types", "at most 10"),
        ({"model": {}}, "model", "exactly one of hugging_face, model_package_arn"),
        ({"model": {"model_name": "../x"}}, "model.model_name", "letters, digits and hyphens"),
        ({"payloads": {}}, "payloads", "exactly one of inline, s3_uri"),
        ({"payloads": {"s3_uri": "http://x/y"}}, "payloads.s3_uri", "must be s3://bucket/key"),
        (
            {"payloads": {"inline": [{"body": "", "weight": 0}]}},
            "payloads.inline.0.weight",
            "greater than 0",
        ),
        ({"routing": "round"}, "routing", "'LEAST_OUTSTANDING_REQUESTS' or 'RANDOM'"),
        (
            {"measurement": {"metric_period_seconds": 7}},
            "measurement.metric_period_seconds",
            "one of 10, 30, 60",
        ),
        ({"load": {"worker_vcpus": 3}}, "load.worker_vcpus", "1, 2, 4, 8 or 16"),
        ({"limits": {"max_instances": 0}}, "limits.max_instances", "1 or more"),
        ({"limits": {"max_cost_usd": 0}}, "limits.max_cost_usd", "greater than 0"),
        ({"dry_run": "yes"}, "dry_run", "true or false"),
        ({"tags": {"aws:x": "y"}}, "tags", "reserved"),
    ],
)
def test_a_request_in_error_names_the_field_and_what_is_allowed(
    changes: dict[str, Any], field: str, allowed: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_request(a_request(**changes))
    assert caught.value.field == field
    assert allowed in caught.value.message
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [None, [], "x", 3, {}])
def test_what_is_no_request_at_all_is_refused(data: object) -> None:
    with pytest.raises(InvalidRequest):
        parse_request(data)


def test_content_type_may_stand_beside_the_payloads_but_not_twice() -> None:
    assert parse_request(a_request(content_type="text/csv")).payloads.content_type == "text/csv"
    payloads = {"inline": [{"body": "x"}], "content_type": "text/csv"}
    assert parse_request(a_request(payloads=payloads)).payloads.content_type == "text/csv"
    with pytest.raises(InvalidRequest, match="content_type stands both"):
        parse_request(a_request(payloads=payloads, content_type="text/plain"))


def test_a_request_survives_its_way_through_json() -> None:
    request = parse_request(a_request(target={"tps": 10, "model_latency_p99_ms": 80}))
    assert parse_request(json.loads(request.model_dump_json())) == request
