"""Metric data of one endpoint from CloudWatch."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from aws.clients import client
from sizing.clean_up import names
from sizing.load_test.measurement import MetricData, MetricQuery
from sizing.load_test.observation import Window

#: Endpoint, variant and query.
Asked = tuple[str, str, MetricQuery]


def metric_data(endpoint_name: str, window: Window, queries: Sequence[MetricQuery]) -> MetricData:
    """The answers to queries, by the start of their periods.

    Args:
        endpoint_name: The endpoint; it has one variant.
        window: What is asked for; the end is exclusive.
        queries: At most 500, the limit of one call.

    Raises:
        botocore.exceptions.ClientError: The call was refused.
    """
    asked = [(endpoint_name, names.VARIANT_NAME, query) for query in queries]
    answered = series(asked, window)
    return {query: answered[each] for each, query in zip(asked, queries, strict=True)}


def series(asked: Sequence[Asked], window: Window) -> dict[Asked, dict[int, float]]:
    """The answers to queries of any variants, by the start of their periods.

    Args:
        asked: Endpoint, variant and query of each; at most 500.
        window: What is asked for; the end is exclusive.

    Raises:
        botocore.exceptions.ClientError: The call was refused.
    """
    by_id = {f"query_{index}": each for index, each in enumerate(asked)}
    pages = (
        client("cloudwatch")
        .get_paginator("get_metric_data")
        .paginate(
            MetricDataQueries=[_query(identifier, *each) for identifier, each in by_id.items()],
            StartTime=datetime.fromtimestamp(window.start, UTC),
            EndTime=datetime.fromtimestamp(window.end, UTC),
            ScanBy="TimestampAscending",
        )
    )
    data: dict[Asked, dict[int, float]] = {each: {} for each in asked}
    for page in pages:
        for result in page["MetricDataResults"]:
            timestamps = (round(each.timestamp()) for each in result["Timestamps"])
            data[by_id[result["Id"]]].update(zip(timestamps, result["Values"], strict=True))
    return data


def _query(
    identifier: str, endpoint_name: str, variant_name: str, query: MetricQuery
) -> dict[str, Any]:
    return {
        "Id": identifier,
        "MetricStat": {
            "Metric": {
                "Namespace": query.namespace,
                "MetricName": query.metric,
                "Dimensions": [
                    {"Name": "EndpointName", "Value": endpoint_name},
                    {"Name": "VariantName", "Value": variant_name},
                ],
            },
            "Period": query.period_seconds,
            "Stat": query.statistic,
        },
        "ReturnData": True,
    }
