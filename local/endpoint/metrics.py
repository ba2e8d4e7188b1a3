"""What an endpoint did, in CloudWatch's words: names, dimensions and units as SageMaker has them.

Source: "Monitor Amazon SageMaker AI with Amazon CloudWatch" (Developer Guide). Utilization is one
sample for each instance and period, so that Average is the fleet's mean, Maximum its hottest
instance and SampleCount the number of instances that reported. Invocation metrics are one sample
for each request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from local.endpoint.figures import PeriodFigures, latency_seconds

INVOCATION_NAMESPACE = "AWS/SageMaker"
INSTANCE_NAMESPACE = "/aws/sagemaker/Endpoints"

#: PutMetricData takes at most this many values in one datum, and this many data in one call.
VALUES_PER_DATUM = 150
DATA_PER_CALL = 1000

Datum = dict[str, Any]
_Item = TypeVar("_Item")


def metric_data(period: PeriodFigures) -> list[tuple[str, list[Datum]]]:
    """One period of one endpoint as arguments of PutMetricData.

    Returns:
        Pairs of Namespace and MetricData, each within the limits of one call. Timestamps are the
        period's start.
    """
    dimensions = [
        {"Name": "EndpointName", "Value": period.endpoint_name},
        {"Name": "VariantName", "Value": period.variant_name},
    ]
    timestamp = datetime.fromtimestamp(period.start, UTC)
    calls = []
    for namespace, metrics in (
        (INVOCATION_NAMESPACE, _invocation_metrics(period)),
        (INSTANCE_NAMESPACE, _instance_metrics(period)),
    ):
        data = []
        for name, (unit, counts) in metrics.items():
            samples = sorted((value, count) for value, count in counts.items() if count)
            for chunk in _chunks(samples, VALUES_PER_DATUM):
                values, value_counts = zip(*chunk, strict=True)
                datum: Datum = {
                    "MetricName": name,
                    "Dimensions": dimensions,
                    "Timestamp": timestamp,
                    "Unit": unit,
                    "Values": [float(value) for value in values],
                    "Counts": [float(count) for count in value_counts],
                }
                data.append(datum)
        calls += [(namespace, chunk) for chunk in _chunks(data, DATA_PER_CALL)]
    return calls


def _chunks(items: list[_Item], size: int) -> list[list[_Item]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


_Metrics = dict[str, tuple[str, Mapping[float, int]]]


def _invocation_metrics(period: PeriodFigures) -> _Metrics:
    def one_for_each(count: int) -> Mapping[float, int]:
        return {1.0: count, 0.0: period.invocations - count}

    metrics: _Metrics = {
        "Invocations": ("None", {1.0: period.invocations}),
        "InvocationsPerInstance": (
            "None",
            {1 / count: requests for count, requests in period.by_instance_count.items() if count},
        ),
        "Invocation4XXErrors": ("None", one_for_each(period.errors_4xx)),
        "Invocation5XXErrors": ("None", one_for_each(period.errors_5xx)),
        "InvocationModelErrors": ("None", one_for_each(period.model_errors)),
        "ModelLatency": ("Microseconds", _microseconds(period.model_latency)),
        "OverheadLatency": ("Microseconds", _microseconds(period.overhead_latency)),
    }
    concurrency = Counter(
        level
        for instance in period.instances
        for level in (instance.concurrent_requests_min, instance.concurrent_requests_max)
    )
    metrics["ConcurrentRequestsPerModel"] = ("None", {float(k): v for k, v in concurrency.items()})
    return metrics


def _microseconds(buckets: Mapping[int, int]) -> Mapping[float, int]:
    return {round(latency_seconds(bucket) * 1e6, 1): count for bucket, count in buckets.items()}


def _instance_metrics(period: PeriodFigures) -> _Metrics:
    instances = period.instances
    samples: dict[str, list[float | None]] = {
        "CPUUtilization": [each.cpu_utilization for each in instances],
        "MemoryUtilization": [each.memory_utilization for each in instances],
        "DiskUtilization": [each.disk_utilization for each in instances],
        "GPUUtilization": [each.gpu_utilization for each in instances],
        "GPUMemoryUtilization": [each.gpu_memory_utilization for each in instances],
    }
    return {
        name: ("Percent", Counter(value for value in values if value is not None))
        for name, values in samples.items()
    }
