"""The metric store: statistics, periods, dimensions and counts."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from moto.cloudwatch.exceptions import InvalidParameterValue

from local.cloudwatch import MetricStore, percentile

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


#: Now, of the stores here: an hour after what they hold.
NOW = START.timestamp() + 3600


def metric(name: str = "Latency", **dimensions: str) -> dict[str, Any]:
    return {
        "Namespace": "Here",
        "MetricName": name,
        "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
    }


def datum(second: int, *, name: str = "Latency", **fields: Any) -> dict[str, Any]:
    moment = START + timedelta(seconds=second)
    return {"MetricName": name, "Timestamp": moment, **fields}


def read(store: MetricStore, stat: str, *, period: int = 10, seconds: int = 60) -> dict[int, float]:
    points = store.get(
        metric(), start=START, end=START + timedelta(seconds=seconds), period=period, stat=stat
    )
    return {round((moment - START).total_seconds()): value for moment, value in points}


@pytest.mark.parametrize(
    "stat, value",
    [
        ("SampleCount", 5),
        ("Sum", 14.0),
        ("Average", 2.8),
        ("Minimum", 1.0),
        ("Maximum", 7.0),
        ("p50", 2.0),
        ("p99.9", 7.0),
        ("p0", 1.0),
    ],
)
def test_counts_stand_for_that_many_samples(stat: str, value: float) -> None:
    store = MetricStore(clock=lambda: NOW)
    store.put("Here", [datum(3, Values=[1.0, 2.0, 7.0], Counts=[1, 3, 1])])
    assert read(store, stat) == {0: pytest.approx(value)}


def test_periods_hold_what_falls_into_them_and_the_end_is_exclusive() -> None:
    store = MetricStore(clock=lambda: NOW)
    store.put("Here", [datum(second, Value=1.0) for second in (0, 9, 10, 59, 60)])
    assert read(store, "Sum") == {0: 2.0, 10: 1.0, 50: 1.0}
    assert read(store, "Sum", period=60) == {0: 4.0}


def test_percentiles_equal_those_of_all_samples() -> None:
    source = random.Random(7)
    samples = [round(source.lognormvariate(3, 1), 2) for _ in range(5000)]
    exact = statistics.quantiles(samples, n=100, method="inclusive")
    for percent in (50, 90, 99):
        assert percentile(Counter(samples), percent) == pytest.approx(exact[percent - 1], rel=0.01)


def test_metrics_differ_by_namespace_name_and_dimensions() -> None:
    store = MetricStore(clock=lambda: NOW)
    endpoint = [{"Name": "EndpointName", "Value": "a"}, {"Name": "VariantName", "Value": "v"}]
    store.put("Here", [datum(0, Value=1.0), datum(0, Value=2.0, Dimensions=endpoint)])
    store.put("There", [datum(0, Value=4.0)])

    assert read(store, "Sum") == {0: 1.0}
    swapped = metric(VariantName="v", EndpointName="a")
    [(_, value)] = store.get(swapped, start=START, end=START + timedelta(60), period=60, stat="Sum")
    assert value == 2.0


@pytest.mark.parametrize(
    "age, seconds",
    [
        (3 * 3600, range(0, 120, 10)),
        (3 * 3600 + 50.5, range(60, 120, 10)),
        (3 * 3600 + 60, range(60, 120, 10)),
        (6 * 3600, ()),
    ],
)
def test_short_periods_live_three_hours_and_minutes_longer(
    age: float, seconds: Sequence[int]
) -> None:
    store = MetricStore(clock=lambda: START.timestamp() + age)
    store.put("Here", [datum(second, Value=1.0) for second in range(120)])
    assert read(store, "Sum", seconds=120) == dict.fromkeys(seconds, 10.0)
    assert read(store, "Sum", period=60, seconds=120) == {0: 60.0, 60: 60.0}


@pytest.mark.parametrize("period", [2, 15, 45, 90])
def test_refuses_a_period_that_cloudwatch_does_not_have(period: int) -> None:
    with pytest.raises(InvalidParameterValue, match="1, 5, 10, 20, 30 or a multiple of 60"):
        read(MetricStore(clock=lambda: NOW), "Sum", period=period)


@pytest.mark.parametrize(
    "wrong",
    [
        {"Values": [1.0] * 151},
        {"Values": [1.0, 2.0], "Counts": [1]},
        {"StatisticValues": {"Sum": 1}},
    ],
)
def test_refuses_what_it_would_get_wrong(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterValue):
        MetricStore(clock=lambda: NOW).put("Here", [datum(0, **wrong)])


@pytest.mark.parametrize("stat", ["p101", "tm99", "Median"])
def test_refuses_a_statistic_it_does_not_have(stat: str) -> None:
    with pytest.raises(InvalidParameterValue):
        read(MetricStore(clock=lambda: NOW), stat)
