"""Metrics carry SageMaker's names, dimensions and scales, and PutMetricData takes them."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import botocore.session
import pytest
from botocore.validate import ParamValidator

from local.endpoint.figures import InstanceFigures, PeriodFigures, latency_bucket
from local.endpoint.metrics import (
    INSTANCE_NAMESPACE,
    INVOCATION_NAMESPACE,
    VALUES_PER_DATUM,
    Datum,
    metric_data,
)

START = 1_800_000_000


def period(latencies_ms: list[float], instances: int = 2, *, gpu: bool = False) -> PeriodFigures:
    figures = PeriodFigures("e", "AllTraffic", START)
    figures.invocations = len(latencies_ms)
    figures.by_instance_count = {instances: len(latencies_ms)}
    for latency in latencies_ms:
        bucket = latency_bucket(latency / 1000)
        figures.model_latency[bucket] = figures.model_latency.get(bucket, 0) + 1
        figures.overhead_latency[bucket - 500] = 1
    figures.instances = [
        InstanceFigures(
            at=START + 0.7,
            cpu_utilization=2900.0 + number,
            memory_utilization=40.0,
            disk_utilization=10.0,
            gpu_utilization=70.0 if gpu else None,
            gpu_memory_utilization=40.0 if gpu else None,
            concurrent_requests_min=0,
            concurrent_requests_max=3 + number,
        )
        for number in range(instances)
    ]
    return figures


def by_metric(figures: PeriodFigures) -> dict[tuple[str, str], list[Datum]]:
    data: dict[tuple[str, str], list[Datum]] = {}
    for namespace, call in metric_data(figures):
        for datum in call:
            data.setdefault((namespace, datum["MetricName"]), []).append(datum)
    return data


def total(data: list[Datum]) -> float:
    return sum(
        value * count
        for datum in data
        for value, count in zip(datum["Values"], datum["Counts"], strict=True)
    )


def samples(data: list[Datum]) -> float:
    return sum(sum(datum["Counts"]) for datum in data)


def test_names_and_namespaces_are_sagemakers() -> None:
    figures = period([240.0])
    assert {key: each[0]["Unit"] for key, each in by_metric(figures).items()} == {
        (INVOCATION_NAMESPACE, "Invocations"): "None",
        (INVOCATION_NAMESPACE, "InvocationsPerInstance"): "None",
        (INVOCATION_NAMESPACE, "Invocation4XXErrors"): "None",
        (INVOCATION_NAMESPACE, "Invocation5XXErrors"): "None",
        (INVOCATION_NAMESPACE, "InvocationModelErrors"): "None",
        (INVOCATION_NAMESPACE, "ModelLatency"): "Microseconds",
        (INVOCATION_NAMESPACE, "OverheadLatency"): "Microseconds",
        (INVOCATION_NAMESPACE, "ConcurrentRequestsPerModel"): "None",
        (INSTANCE_NAMESPACE, "CPUUtilization"): "Percent",
        (INSTANCE_NAMESPACE, "MemoryUtilization"): "Percent",
        (INSTANCE_NAMESPACE, "DiskUtilization"): "Percent",
    }
    for data in by_metric(figures).values():
        assert data[0]["Dimensions"] == [
            {"Name": "EndpointName", "Value": "e"},
            {"Name": "VariantName", "Value": "AllTraffic"},
        ]
        assert data[0]["Timestamp"].timestamp() == START


def test_gpu_metrics_only_where_there_are_gpus() -> None:
    names = {name for _, name in by_metric(period([1.0], gpu=True))}
    assert {"GPUUtilization", "GPUMemoryUtilization"} <= names


def test_utilization_is_one_sample_for_each_instance() -> None:
    data = by_metric(period([], instances=400))[INSTANCE_NAMESPACE, "CPUUtilization"]
    assert samples(data) == 400
    assert total(data) / 400 == pytest.approx(2900 + 399 / 2)


def test_equal_utilizations_keep_their_samples() -> None:
    data = by_metric(period([], instances=5))[INSTANCE_NAMESPACE, "MemoryUtilization"]
    assert (data[0]["Values"], data[0]["Counts"]) == ([40.0], [5.0])


def test_instances_publish_each_at_its_own_second() -> None:
    figures = period([240.0], instances=3)
    figures.instances = [
        replace(each, at=START + second)
        for each, second in zip(figures.instances, (3.2, 9.9, 3.8), strict=True)
    ]
    data = by_metric(figures)
    cpu = data[INSTANCE_NAMESPACE, "CPUUtilization"]
    assert [(each["Timestamp"].timestamp() - START, each["Values"]) for each in cpu] == [
        (3, [2900.0, 2902.0]),
        (9, [2901.0]),
    ]
    [invocations] = data[INVOCATION_NAMESPACE, "Invocations"]
    assert invocations["Timestamp"].timestamp() == START


def test_error_metrics_are_zero_or_one_for_each_request() -> None:
    figures = period([240.0] * 100)
    figures.errors_5xx = figures.model_errors = 7
    data = by_metric(figures)
    errors = data[INVOCATION_NAMESPACE, "Invocation5XXErrors"]
    assert (total(errors), samples(errors)) == (7, 100)
    none = data[INVOCATION_NAMESPACE, "Invocation4XXErrors"]
    assert (total(none), samples(none)) == (0, 100)


def test_each_request_weighs_one_over_the_instances() -> None:
    figures = period([240.0] * 30)
    figures.by_instance_count = {1: 10, 4: 20}
    data = by_metric(figures)[INVOCATION_NAMESPACE, "InvocationsPerInstance"]
    assert total(data) == pytest.approx(10 + 20 / 4)


def test_latency_is_in_microseconds_and_keeps_its_mean() -> None:
    draw = random.Random(1)
    latencies = [240 * draw.lognormvariate(0, 0.3) for _ in range(5000)]
    data = by_metric(period(latencies))[INVOCATION_NAMESPACE, "ModelLatency"]
    assert samples(data) == 5000
    assert total(data) == pytest.approx(1000 * math.fsum(latencies), rel=1e-3)
    assert len(data) > 1
    assert all(len(datum["Values"]) <= VALUES_PER_DATUM for datum in data)


def test_an_idle_period_has_utilization_but_no_invocations() -> None:
    names = {name for _, name in by_metric(period([]))}
    assert names == {
        "CPUUtilization",
        "MemoryUtilization",
        "DiskUtilization",
        "ConcurrentRequestsPerModel",
    }


def test_put_metric_data_takes_every_call() -> None:
    draw = random.Random(2)
    figures = period([draw.uniform(1, 60_000) for _ in range(3000)], instances=300, gpu=True)
    operation = (
        botocore.session.get_session()
        .get_service_model("cloudwatch")
        .operation_model("PutMetricData")
    )
    for namespace, call in metric_data(figures):
        problems = ParamValidator().validate(
            {"Namespace": namespace, "MetricData": call}, operation.input_shape
        )
        assert not problems.has_errors(), problems.generate_report()
        assert len(call) <= 1000
