"""What an endpoint did, in CloudWatch's words: names, dimensions and units as SageMaker has them.

Source: "Monitor Amazon SageMaker AI with Amazon CloudWatch" (Developer Guide). Utilization is one
sample for each instance and period, so that Average is the fleet's mean, Maximum its hottest
instance and SampleCount the number of instances that reported. Each sample has the time at which
its instance published it, so a period may lack one and the next one have two of them. Invocation
metrics are one sample for each request.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from local.endpoint.figures import InstanceFigures, PeriodFigures, latency_seconds

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
        Pairs of Namespace and MetricData, each within the limits of one call. Of requests the
        period's start is the timestamp, of instances the second at which they published.
    """
    dimensions = [
        {"Name": "EndpointName", "Value": period.endpoint_name},
        {"Name": "VariantName", "Value": period.variant_name},
    ]

    def data(second: int, metrics: _Metrics) -> Iterator[Datum]:
        for name, (unit, counts) in metrics.items():
            samples = sorted((value, count) for value, count in counts.items() if count)
            for chunk in _chunks(samples, VALUES_PER_DATUM):
                values, value_counts = zip(*chunk, strict=True)
                yield {
                    "MetricName": name,
                    "Dimensions": dimensions,
                    "Timestamp": datetime.fromtimestamp(second, UTC),
                    "Unit": unit,
                    "Values": [float(value) for value in values],
                    "Counts": [float(count) for count in value_counts],
                }

    published: dict[int, list[InstanceFigures]] = {}
    for instance in period.instances:
        published.setdefault(math.floor(instance.at), []).append(instance)
    of_requests = list(data(period.start, _invocation_metrics(period)))
    of_instances = [
        datum
        for second, instances in sorted(published.items())
        for datum in data(second, _instance_metrics(instances))
    ]
    return [
        (namespace, chunk)
        for namespace, all_data in (
            (INVOCATION_NAMESPACE, of_requests),
            (INSTANCE_NAMESPACE, of_instances),
        )
        for chunk in _chunks(all_data, DATA_PER_CALL)
    ]


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


def _instance_metrics(instances: Sequence[InstanceFigures]) -> _Metrics:
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
