"""The input of the load_test state machine, and how long a load test may take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sizing.clean_up import names
from sizing.endpoint.deployment import resource_tags
from sizing.load_test.plan import Burst, LoadTestPlan
from sizing.request.request import Measurement, Payloads
from sizing.request.sizing import Sizing

#: SageMaker ends an invocation after this, seconds; a client need not wait longer.
REQUEST_TIMEOUT_SECONDS = 60

# What a load test may take besides its steps, seconds; on AWS far less is usual.
_START_SECONDS = 300  # tasks get a place and their image, workers connect
_LONGEST_STAGE_SECONDS = REQUEST_TIMEOUT_SECONDS  # of a burst: it waits for slow answers
_DRAIN_SECONDS = 2 * REQUEST_TIMEOUT_SECONDS  # the endpoint works off what the burst left
_END_SECONDS = 60  # results are written, tasks stop
#: Warm-ups last so many times ``settle_seconds`` at the most: load_generator.warm_up.MOST.
LONGEST_WARM_UP = 8

#: How long CloudWatch keeps periods of less than a minute, and how long after a load test Measure
#: may still ask for them, seconds.
_FINE_PERIODS_LIVE_SECONDS = 3 * 3600
_MEASURE_SECONDS = 900
#: The state machine's own time-out of a load test, seconds.
LONGEST_SECONDS = 43_200

#: GiB of memory of a worker task for each vCPU: the least that Fargate sells with 1, 2, 4, 8
#: and 16 vCPUs alike.
_GIB_PER_VCPU = 2


def load_test_input(
    sizing: Sizing, plan: LoadTestPlan, *, attempt: int, name_prefix: str, bucket: str
) -> dict[str, Any]:
    """What the load_test state machine is started with.

    Args:
        sizing: The sizing.
        plan: The load test.
        attempt: Which load test of its instance type this is, from 1.
        name_prefix: The stack's prefix of all names.
        bucket: Where the spec and the results go.
    """
    load_test_id = plan.load_test_id(attempt)
    payloads, measurement = sizing.request.payloads, measured_by(plan, sizing.request.measurement)
    return {
        "load_test_id": load_test_id,
        "bucket": bucket,
        "prefix": names.load_test_folder(sizing.sizing_id, load_test_id),
        "sizing_id": sizing.sizing_id,
        "workers": plan.workers,
        "worker_cpu": str(plan.worker_vcpus * 1024),
        "worker_memory": str(plan.worker_vcpus * _GIB_PER_VCPU * 1024),
        "timeout_seconds": timeout_seconds(plan, measurement),
        "tags": resource_tags(sizing),
        "spec": {
            "load_test_id": load_test_id,
            "endpoint_name": names.resource_name(name_prefix, sizing.sizing_id, plan.instance_type),
            "target_variant": None,
            "target_model": None,
            "custom_attributes": None,
            "streaming": False,
            "content_type": payloads.content_type,
            "accept": payloads.accept,
            "payloads": payload_source(payloads),
            "request_timeout_seconds": REQUEST_TIMEOUT_SECONDS,
            "metric_period_seconds": measurement.metric_period_seconds,
            "settle_seconds": measurement.settling_seconds,
            "steady_seconds": measurement.steady_seconds,
            "burst": plan.burst and plan.burst.model_dump(mode="json"),
            "steps": [step.model_dump(mode="json", exclude_none=True) for step in plan.steps],
            "arrivals": sizing.request.load.arrivals,
            "seed": sizing.request.load.seed,
            "workers": plan.workers,
            "worker_vcpus": float(plan.worker_vcpus),
        },
    }


def record_beforehand(plan: LoadTestPlan, load_test: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a load test's record before it runs; what goes wrong is added to it.

    Args:
        plan: The load test.
        load_test: Its input.
    """
    return {
        **plan.model_dump(mode="json", exclude={"burst", "steps"}),
        "load_test_id": load_test["load_test_id"],
        "files": f"s3://{load_test['bucket']}/{load_test['prefix']}",
    }


def payload_source(payloads: Payloads) -> dict[str, Any]:
    """Where the bodies are: ``{"inline": [...]}`` or ``{"s3_uri": ...}``."""
    return payloads.model_dump(mode="json", include={"inline", "s3_uri"}, exclude_none=True)


def measured_by(plan: LoadTestPlan, asked: Measurement) -> Measurement:
    """How a load test is measured: as asked for, or in minutes.

    It is measured when it is over. Where finer data of its first window would be gone by then, all
    its windows are whole minutes, which CloudWatch makes of them and keeps.
    """
    lives = _FINE_PERIODS_LIVE_SECONDS - _MEASURE_SECONDS
    if asked.metric_period_seconds >= 60 or timeout_seconds(plan, asked) <= lives:
        return asked
    return asked.model_copy(update={"metric_period_seconds": 60})


def timeout_seconds(plan: LoadTestPlan, measurement: Measurement) -> int:
    """After how long a load test is given up, seconds: its steps and all that may delay them."""
    period = measurement.metric_period_seconds
    steady = math.ceil(measurement.steady_seconds / period) * period
    warm_up = LONGEST_WARM_UP * measurement.settling_seconds
    step = warm_up + period + steady
    burst = warm_up + _burst_seconds(plan.burst) if plan.burst else 0.0
    return math.ceil(_START_SECONDS + burst + len(plan.steps) * step + _END_SECONDS)


def _burst_seconds(burst: Burst) -> float:
    doublings = math.log2(max(1.0, burst.max_concurrency / burst.start_concurrency))
    stages = math.ceil(doublings) + 1
    return stages * max(burst.stage_seconds, _LONGEST_STAGE_SECONDS) + _DRAIN_SECONDS
