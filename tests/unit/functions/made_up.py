"""Sizings, plans and records for the functions' tests."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sizing.catalogue.instance import InstanceFacts
from sizing.clean_up.names import sizing_id
from sizing.load_test.observation import LoadTestRecord
from sizing.load_test.plan import Burst, LoadTestPlan, Purpose, Step
from sizing.request.request import parse_request
from sizing.request.sizing import Sizing

STARTED_AT = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
EXECUTION_ARN = "arn:aws:states:us-east-1:123456789012:execution:endpoint-sizer-sizing:run-1"
SIZING_ID = sizing_id(EXECUTION_ARN)

HUGGING_FACE = {
    "model_id": "distilbert-base-uncased-finetuned-sst-2-english",
    "task": "text-classification",
    "transformers_version": "4.17.0",
    "pytorch_version": "1.10.2",
    "py_version": "py38",
}


def a_request(**changes: Any) -> dict[str, Any]:
    request: dict[str, Any] = {
        "model": {"hugging_face": HUGGING_FACE},
        "instance_types": ["ml.m5.12xlarge"],
        "payloads": {"inline": [{"body": '{"inputs": "I am super happy right now."}'}]},
        "target": {"tps": 1000},
    }
    return {**request, **changes}


def facts(instance_type: str = "ml.m5.12xlarge", vcpus: int = 48, gpus: int = 0) -> InstanceFacts:
    return InstanceFacts(
        instance_type=instance_type,
        vcpus=vcpus,
        gpus=gpus,
        memory_gib=192,
        hourly_price_usd=2.765,
        price_source="test",
    )


def a_sizing(*candidates: InstanceFacts, **changes: Any) -> Sizing:
    chosen = candidates or (facts(),)
    types = [each.instance_type for each in chosen]
    return Sizing(
        sizing_id=SIZING_ID,
        execution_arn=EXECUTION_ARN,
        started_at=STARTED_AT.timestamp(),
        region="us-east-1",
        request=parse_request(a_request(instance_types=types, **changes)),
        candidates=chosen,
    )


def a_plan(**changes: Any) -> LoadTestPlan:
    plan: dict[str, Any] = {
        "instance_type": "ml.m5.12xlarge",
        "instance_count": 1,
        "purpose": Purpose.BASELINE,
        "burst": Burst(start_concurrency=48, max_concurrency=1536, stage_seconds=3),
        "steps": tuple(Step(saturation_fraction=each) for each in (0.5, 0.65, 0.8)),
        "workers": 2,
        "worker_vcpus": 1,
        "reason": "what one instance can do",
    }
    return LoadTestPlan(**{**plan, **changes})


def a_record(**changes: Any) -> LoadTestRecord:
    record: dict[str, Any] = {
        "load_test_id": "ml-m5-12xlarge-1-baseline-1",
        "instance_type": "ml.m5.12xlarge",
        "instance_count": 1,
        "purpose": Purpose.BASELINE,
    }
    return LoadTestRecord(**{**record, **changes})
