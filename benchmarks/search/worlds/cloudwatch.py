"""What CloudWatch holds of a simulated load test, and its answers to the project's own queries.

Percentiles are those of the period that is asked for, so a window that no period fits is answered
in tiles, as in production. Utilization has one sample for each instance and publish interval.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from statistics import fmean

from benchmarks.search.worlds.conditions import Conditions
from benchmarks.search.worlds.latency import Points, mean, percentile
from benchmarks.search.worlds.truth import Truth
from sizing.load_test.measurement import MetricData, MetricQuery
from sizing.load_test.observation import Window

MEMORY_PERCENT, DISK_PERCENT = 40.0, 10.0
OVERHEAD_MS = 3.0
#: CPU that feeding a GPU takes, as a share of the GPU's utilization.
_CPU_OF_GPU = 0.2
_MICROSECONDS_PER_MS = 1000.0


@dataclass
class Period:
    """Requests that ended in one publish interval."""

    #: Model latency of successes, ms.
    points: Points = field(default_factory=list)
    succeeded: int = 0
    #: Failures by kind, as the load generator names them.
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def invoked(self) -> int:
        """Requests that the model answered, with success or with an error."""
        return self.succeeded + sum(
            count for kind, count in self.errors.items() if kind.startswith("model_error")
        )


@dataclass
class _Samples:
    """Utilization samples of one publish interval, 0 to 1."""

    count: int
    mean: float
    highest: float


class Recording:
    """One load test, as CloudWatch saw it."""

    def __init__(
        self, truth: Truth, conditions: Conditions, instances: int, period: int, random: Random
    ) -> None:
        self._truth, self._conditions = truth, conditions
        self._instances, self.period_seconds = instances, period
        self._random = random
        self.periods: defaultdict[int, Period] = defaultdict(Period)
        #: Utilization in each second: the fleet's mean, and its hottest instance's; 0 to 1.
        self.utilization: dict[int, tuple[float, float]] = {}
        self._samples: dict[int, _Samples] | None = None

    def start_of(self, second: float) -> int:
        """Start of the publish interval that a time lies in."""
        return math.floor(second / self.period_seconds) * self.period_seconds

    def between(self, start: int, end: int) -> Period:
        """All periods from ``start`` to ``end``, exclusive, as one."""
        total = Period()
        for begin in range(self.start_of(start), end, self.period_seconds):
            each = self.periods.get(begin)
            if each is not None:
                total.points += each.points
                total.succeeded += each.succeeded
                total.errors.update(each.errors)
        return total

    def forget(self, start: int) -> None:
        """Take back all from a time on: it was not offered after all."""
        for begun in [each for each in self.periods if each >= start]:
            del self.periods[begun]
        for second in [each for each in self.utilization if each >= start]:
            del self.utilization[second]

    def answers(self, queries: Sequence[MetricQuery], window: Window) -> MetricData:
        """Answers to an observation's queries."""
        merged: dict[int, dict[int, Period]] = {}
        data: dict[MetricQuery, dict[int, float]] = {}
        for query in queries:
            length = query.period_seconds
            if length % self.period_seconds:
                raise ValueError(f"no metric has a period of {length} s here: {query}")
            if length not in merged:
                starts = range(window.start // length * length, window.end, length)
                merged[length] = {
                    start: self.between(max(start, window.start), min(start + length, window.end))
                    for start in starts
                }
            data[query] = self._series(query, merged[length], window)
        return data

    def _series(
        self, query: MetricQuery, merged: dict[int, Period], window: Window
    ) -> dict[int, float]:
        if query.metric.endswith("Utilization"):
            return {
                start: value
                for start in range(window.start, window.end, self.period_seconds)
                if (value := self._utilization(query, start)) is not None
            }
        return {
            start: value
            for start, period in merged.items()
            if (value := _requests(query, period)) is not None
        }

    def _utilization(self, query: MetricQuery, start: int) -> float | None:
        samples = self.samples().get(start)
        if samples is None:
            return None
        if query.statistic == "SampleCount":
            return float(samples.count)
        share = samples.highest if query.statistic == "Maximum" else samples.mean
        gpus, vcpus = self._truth.gpus, self._truth.vcpus
        return {
            "CPUUtilization": 100 * vcpus * share * (_CPU_OF_GPU if gpus else 1.0),
            "GPUUtilization": 100 * gpus * share,
            "GPUMemoryUtilization": gpus * self._conditions.gpu_memory_percent,
            "MemoryUtilization": MEMORY_PERCENT,
            "DiskUtilization": DISK_PERCENT,
        }[query.metric]

    def samples(self) -> dict[int, _Samples]:
        """All utilization samples, by the publish interval they are stamped in."""
        if self._samples is None:
            drawn = self._by_instance() if self._conditions.own_phase else self._by_fleet()
            self._samples = drawn
        return self._samples

    def _noise(self, deviation: float) -> Iterable[float]:
        """Noise of sample after sample, relative."""
        follows = self._conditions.noise_correlation
        value = self._random.gauss(0, deviation)
        while True:
            yield value
            new = self._random.gauss(0, deviation)
            value = follows * value + math.sqrt(1 - follows**2) * new

    def _starts(self) -> range:
        if not self.utilization:
            return range(0)
        first, last = min(self.utilization), max(self.utilization)
        return range(self.start_of(first), last + 1, self.period_seconds)

    def _by_fleet(self) -> dict[int, _Samples]:
        """One sample of each instance in each interval: their mean is drawn at once."""
        noise = self._truth.sample_noise
        own = iter(self._noise(noise / math.sqrt(self._instances)))
        shared = iter(self._noise(self._conditions.shared_noise))
        farthest = 1 + noise * math.sqrt(2 * math.log(self._instances))
        found = {}
        for start in self._starts():
            busy, hottest = self._busy(start, start + self.period_seconds)
            noisy = 1 + next(own) + next(shared)
            found[start] = _Samples(
                self._instances,
                min(max(busy * noisy, 0.0), 1.0),
                min(max(hottest * noisy * farthest, 0.0), 1.0),
            )
        return found

    def _by_instance(self) -> dict[int, _Samples]:
        """Each instance's samples on its own phase, stamped when they are published."""
        conditions, starts = self._conditions, self._starts()
        shared = dict(zip(starts, self._noise(conditions.shared_noise), strict=False))
        stamped: dict[int, list[float]] = {start: [] for start in starts}
        covered = {start: self._busy(start, start + self.period_seconds) for start in starts}
        for _ in range(self._instances):
            phase = self._random.uniform(0, self.period_seconds)
            noise = iter(self._noise(self._truth.sample_noise))
            for start in starts:
                at = start + phase + self._random.gauss(0, conditions.sample_jitter_seconds)
                noisy = 1 + next(noise) + shared[start]
                if self._random.random() < conditions.sample_missing:
                    continue
                # It covers the interval before it: of this period and of the one before.
                part = phase / self.period_seconds
                before = covered.get(start - self.period_seconds, covered[start])[0]
                busy = part * covered[start][0] + (1 - part) * before
                if self.start_of(at) in stamped:
                    stamped[self.start_of(at)].append(min(max(busy * noisy, 0.0), 1.0))
        return {
            start: _Samples(len(values), fmean(values), max(values))
            for start, values in stamped.items()
            if values
        }

    def _busy(self, start: int, end: int) -> tuple[float, float]:
        seen = [
            self.utilization[second] for second in range(start, end) if second in self.utilization
        ]
        if not seen:
            return 0.0, 0.0
        return fmean(mean for mean, _ in seen), fmean(hottest for _, hottest in seen)


def _requests(query: MetricQuery, period: Period) -> float | None:
    """A metric of requests, in CloudWatch's unit; None where there is no sample."""
    errors = sum(count for kind, count in period.errors.items() if kind.startswith("model_error"))
    counts = {"Invocations": period.invoked, "Invocation5XXErrors": errors}
    if query.statistic == "Sum":
        return float(counts.get(query.metric, 0))
    if query.statistic == "SampleCount":
        return float(period.invoked)
    if not period.points:
        return None
    if query.metric == "OverheadLatency":
        value: float | None = OVERHEAD_MS
    elif query.statistic == "Average":
        value = mean(period.points)
    elif query.statistic == "Maximum":
        value = max(value for value, _ in period.points)
    else:
        value = percentile(period.points, float(query.statistic.removeprefix("p")))
    return None if value is None else value * _MICROSECONDS_PER_MS
