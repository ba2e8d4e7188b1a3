"""CloudWatch: a metric store with percentiles, Values and Counts, and dimensions that count.

moto raises on percentiles, turns each count into an object of its own, and ignores the namespace
where dimensions are given. This keeps, for each metric and second, how often each value came.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partialmethod
from typing import Any, Final

from moto.cloudwatch.exceptions import InvalidParameterValue
from moto.cloudwatch.models import CloudWatchBackend

from local.casing import in_utc
from local.patches import Patch

#: Namespace, name, and dimensions in any order.
MetricKey = tuple[str, str, frozenset[tuple[str, str]]]
#: How often each value came.
Samples = Counter[float]

#: Of less than a minute, and how long data of such are kept. Source: CloudWatch's API reference,
#: MetricStat and GetMetricData.
_SHORT_PERIODS: Final = (1, 5, 10, 20, 30)
_SHORT_PERIODS_LIVE_SECONDS: Final = 3 * 3600

_PERCENTILE: Final = re.compile(r"^p(\d{1,2}(?:\.\d+)?|100)$")
_STATISTICS: Final[Mapping[str, Callable[[Samples], float]]] = {
    "SampleCount": lambda samples: float(samples.total()),
    "Sum": lambda samples: _sum(samples),
    "Average": lambda samples: _sum(samples) / samples.total(),
    "Minimum": min,
    "Maximum": max,
}


class MetricStore:
    """All metric data that was put, by metric and second.

    Args:
        clock: Epoch seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._data: dict[MetricKey, dict[int, Samples]] = defaultdict(lambda: defaultdict(Counter))

    def put(self, namespace: str, data: Sequence[Mapping[str, Any]]) -> None:
        """Add the data of a PutMetricData call.

        Raises:
            InvalidParameterValue: A datum that CloudWatch would refuse.
        """
        parsed = [(_key(namespace, datum), _second(datum), _samples(datum)) for datum in data]
        with self._lock:
            for key, second, samples in parsed:
                self._data[key][second].update(samples)

    def get(
        self, metric: Mapping[str, Any], *, start: datetime, end: datetime, period: int, stat: str
    ) -> list[tuple[datetime, float]]:
        """One statistic of one metric: the periods that hold data, in order of time.

        Args:
            metric: Namespace, MetricName and Dimensions, as in a query; dimensions match exactly.
            start: Rounded down to the period.
            end: Exclusive.
            period: Seconds. Periods of less than a minute are empty once they are three hours old;
                whole minutes are kept (for good, as nothing here runs for 15 days).
            stat: SampleCount, Sum, Average, Minimum, Maximum or a percentile such as p99.

        Raises:
            InvalidParameterValue: Another statistic or period.
        """
        statistic = _statistic(stat)
        if period not in _SHORT_PERIODS and period % 60:
            short = ", ".join(map(str, _SHORT_PERIODS))
            raise InvalidParameterValue(f"a Period is {short} or a multiple of 60, not {period}")
        first = int(start.timestamp()) // period * period
        if period < 60:
            oldest = self._clock() - _SHORT_PERIODS_LIVE_SECONDS
            first = max(first, math.ceil(oldest / period) * period)
        periods: dict[int, Samples] = defaultdict(Counter)
        with self._lock:
            for second, samples in self._data.get(_key(metric["Namespace"], metric), {}).items():
                if first <= second < end.timestamp():
                    periods[second // period * period].update(samples)
        return [
            (datetime.fromtimestamp(second, UTC), statistic(samples))
            for second, samples in sorted(periods.items())
        ]


def percentile(samples: Samples, percent: float) -> float:
    """The smallest value that at least so many percent of the samples don't exceed."""
    rank = max(1, math.ceil(percent / 100 * samples.total()))
    below = 0
    for value in sorted(samples):
        below += samples[value]
        if below >= rank:
            return value
    raise ValueError("no samples")


def patches(store: MetricStore) -> Iterator[Patch]:
    """What to replace in moto."""
    yield Patch(CloudWatchBackend, "put_metric_data", partialmethod(_put_metric_data, store))
    yield Patch(CloudWatchBackend, "get_metric_data", partialmethod(_get_metric_data, store))


def _put_metric_data(
    _: Any, store: MetricStore, namespace: str, metric_data: Sequence[Mapping[str, Any]]
) -> None:
    store.put(namespace, metric_data)


def _get_metric_data(
    _: Any,
    store: MetricStore,
    queries: Sequence[Mapping[str, Any]],
    start_time: datetime,
    end_time: datetime,
    scan_by: str = "TimestampDescending",
) -> list[dict[str, Any]]:
    results = []
    for query in queries:
        if "MetricStat" not in query:
            raise InvalidParameterValue("metric math is not part of the embedded AWS")
        asked = query["MetricStat"]
        points = store.get(
            asked["Metric"],
            start=in_utc(start_time),
            end=in_utc(end_time),
            period=int(asked["Period"]),
            stat=asked["Stat"],
        )
        if scan_by == "TimestampDescending":
            points.reverse()
        results.append(
            {
                "id": query["Id"],
                "label": query.get("Label") or f"{asked['Metric']['MetricName']} {asked['Stat']}",
                "timestamps": [moment for moment, _ in points],
                "values": [value for _, value in points],
                "status_code": "Complete",
            }
        )
    return results


def _key(namespace: str, metric: Mapping[str, Any]) -> MetricKey:
    dimensions = frozenset((each["Name"], each["Value"]) for each in metric.get("Dimensions") or ())
    return namespace, metric["MetricName"], dimensions


def _second(datum: Mapping[str, Any]) -> int:
    return int(in_utc(datum.get("Timestamp") or datetime.now(UTC)).timestamp())


def _samples(datum: Mapping[str, Any]) -> Samples:
    if "StatisticValues" in datum:
        raise InvalidParameterValue("StatisticValues are not part of the embedded AWS")
    if not datum.get("Values"):
        return Counter({float(datum.get("Value") or 0.0): 1})
    values = [float(value) for value in datum["Values"]]
    counts = [round(float(count)) for count in datum.get("Counts") or [1] * len(values)]
    if len(values) != len(counts) or len(values) > 150:
        raise InvalidParameterValue("at most 150 Values, and as many Counts")
    samples: Samples = Counter()
    for value, count in zip(values, counts, strict=True):
        samples[value] += count
    return samples


def _sum(samples: Samples) -> float:
    return math.fsum(value * count for value, count in samples.items())


def _statistic(stat: str) -> Callable[[Samples], float]:
    if stat in _STATISTICS:
        return _STATISTICS[stat]
    match = _PERCENTILE.match(stat)
    if not match:
        raise InvalidParameterValue(f"the value {stat} for parameter Stat is not supported")
    percent = float(match[1])
    return lambda samples: percentile(samples, percent)
