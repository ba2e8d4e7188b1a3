"""Observations from a load test: Locust's figures and CloudWatch's, over the same steady window.

Metrics, dimensions and units: "Amazon SageMaker AI metrics in Amazon CloudWatch" (Developer
Guide). A utilization metric has one sample for each instance and period, so that Average is the
fleet's mean, Maximum its hottest instance, and SampleCount tells whether all have reported.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sizing.catalogue.instance import InstanceFacts
from sizing.errors import MetricsIncomplete
from sizing.load_test.locust_result import ClockOffset, LocustStep
from sizing.load_test.observation import Latency, Observation, Window

INVOCATION_NAMESPACE = "AWS/SageMaker"
INSTANCE_NAMESPACE = "/aws/sagemaker/Endpoints"

#: How long after a load test its metrics may be incomplete, seconds. CloudWatch documents no
#: delay; what is missing after this is taken as lost, and the observation as invalid.
LONGEST_DELAY_SECONDS = 240
#: The same where no more is missing than an instance's phase explains, or the instances have been
#: heard of since: it may be there already.
SHORT_DELAY_SECONDS = 60
#: For so many periods after the window CloudWatch is asked whether instances have reported since.
_PERIODS_SINCE = 2
#: Share of the instances that may be silent, or there besides, all the time: a sample is lost now
#: and then, and the load of the others changes by no more.
INSTANCE_TOLERANCE = 0.02
#: How far Locust's and CloudWatch's counts may be apart, as a fraction.
COUNT_TOLERANCE = 0.02
#: The same in requests: those at the window's two edges.
_COUNT_SLACK = 3
#: How far the clocks of leader and CloudWatch may surely be apart, as a fraction of the window: so
#: much of CloudWatch's data is then of another rate. The tolerance for counts has the same reason.
CLOCK_TOLERANCE = COUNT_TOLERANCE
#: The same in seconds: instances are no more precise in when they publish.
_CLOCK_SLACK = 0.5

#: Periods that GetMetricData takes below one minute, seconds.
_SHORT_PERIODS = (30, 20, 10, 5, 1)
_MICROSECONDS_PER_MS = 1000.0
#: How far outside its tiles' percentiles the client's may lie to be taken all the same, relative.
_PERCENTILE_TOLERANCE = 0.05
_INSTANCE_METRICS = ("CPUUtilization", "MemoryUtilization", "DiskUtilization")
_GPU_METRICS = ("GPUUtilization", "GPUMemoryUtilization")
_ERROR_METRICS = ("Invocation4XXErrors", "Invocation5XXErrors")

#: A window of fewer periods can't spare a sample of each instance. Nor can it tell an instance that
#: is silent, or there besides, from a sample that came a moment early or late; those after it can.
_FEW_PERIODS = 3
#: Share of a period's samples that jitter may move out of the periods inside a window.
_STRAY_SHARE = 0.25

#: Values by the start of their period, epoch seconds.
Series = Mapping[int, float]


@dataclass(frozen=True)
class MetricQuery:
    """One statistic of one metric of an endpoint's variant."""

    namespace: str
    metric: str
    statistic: str
    period_seconds: int


MetricData = Mapping[MetricQuery, Series]


def queries(window: Window, facts: InstanceFacts, period_seconds: int) -> tuple[MetricQuery, ...]:
    """All that an observation needs from CloudWatch.

    Args:
        window: The steady window.
        facts: The instance type; GPU metrics are asked for where it has GPUs.
        period_seconds: The endpoint's metric period.
    """
    named = _Queries(window, period_seconds)
    instance_metrics = _INSTANCE_METRICS + (_GPU_METRICS if facts.gpus else ())
    needed = [
        *(
            named.instance(metric, statistic)
            for metric in instance_metrics
            for statistic in ("Average", "Maximum", "SampleCount")
        ),
        *(named.count(metric) for metric in ("Invocations", *_ERROR_METRICS)),
        *(
            named.latency("ModelLatency", statistic)
            for statistic in ("Average", "SampleCount", "Maximum", "p50", "p90", "p99")
        ),
        named.p99_by_period(),
        *(named.latency("OverheadLatency", each) for each in ("Average", "SampleCount")),
    ]
    return tuple(dict.fromkeys(needed))  # where the window has no longer tile, p99 is there twice


def span(window: Window, period_seconds: int) -> Window:
    """What to ask CloudWatch for: the window, and what shows whether more of it may still come."""
    return Window(start=window.start, end=window.end + _PERIODS_SINCE * period_seconds)


@dataclass(frozen=True, slots=True)
class Measured:
    """What is measured, and how.

    Args:
        facts: The instance type.
        instance_count: Instances that should have reported.
        period_seconds: The endpoint's metric period.
    """

    facts: InstanceFacts
    instance_count: int
    period_seconds: int


@dataclass(frozen=True, slots=True)
class Metrics:
    """What CloudWatch answered, and when.

    Args:
        data: Its answer to ``queries`` over the window's ``span``.
        waited_seconds: How long ago the load test ended. After ``LONGEST_DELAY_SECONDS``, or
            ``SHORT_DELAY_SECONDS`` if all have reported since, what is missing makes the
            observation invalid, and is no longer waited for.
        clock: How far AWS's clock was ahead of the leader's; None if unknown.
    """

    data: MetricData
    waited_seconds: float
    clock: ClockOffset | None = None


def observe(
    step: LocustStep, window: Window, measured: Measured, metrics: Metrics
) -> Observation | None:
    """The observation of one step.

    Utilization is the busiest resource's: of a type with GPUs, the busier of GPU and CPU. It is
    the mean over instances and periods; ``hottest_instance_percent`` is the mean over periods of
    the hottest instance, memory and disk are the highest seen.

    CloudWatch's percentiles hold for one period. Where no period fits the window as a whole, they
    are the client's, less what a request spends outside the model (``_Readings.model_latency``).

    Args:
        step: Locust's figures.
        window: Its steady window.
        measured: The endpoint.
        metrics: CloudWatch's figures.

    Returns:
        The observation; None if no instance's sample fell into the window, and none will: one of a
        single period can lie between two samples.

    Raises:
        MetricsIncomplete: Data are missing and may still come, or nothing was ever reported.
    """
    facts, instance_count, period = measured.facts, measured.instance_count, measured.period_seconds
    read = _Readings(metrics.data, _Queries(window, period), window, period)
    resources = [("CPUUtilization", "CPU", float(facts.vcpus))]
    gpu_samples = read.gpu_samples(instance_count, facts.gpus)
    if facts.gpus:
        resources.append(("GPUUtilization", "GPU", facts.gpus / gpu_samples))
    metric_names = [metric for metric, _, _ in resources]
    silent = {each: read.missing_samples(each, instance_count) for each in metric_names}
    uncounted = read.missing_counts(step)
    missing = [fault for fault in (*silent.values(), uncounted) if fault]
    patience = [
        LONGEST_DELAY_SECONDS if uncounted else -1.0,
        *(read.may_come_within(metric, instance_count) for metric in metric_names),
    ]
    reported = all(read.samples(metric) for metric in metric_names)
    none_will = all(read.reported_since(metric, instance_count) for metric in metric_names)
    if metrics.waited_seconds <= max(patience) or not (reported or none_will):
        raise MetricsIncomplete(
            "; ".join(missing)
            or "; ".join(read.samples_of(metric, instance_count) for metric in metric_names)
        )
    if not reported:
        return None
    faults = [
        *missing,
        *(read.extra_samples(metric, instance_count) for metric in metric_names),
        read.disagreement(step),
        clocks_apart(metrics.clock, window),
    ]

    # The busiest: the one whose mean is the highest share of what an instance has.
    busiest, resource, units = max(resources, key=lambda each: read.mean(each[0]) / each[2])
    scatter, gpu_memory = read.standard_error(busiest), read.highest("GPUMemoryUtilization")
    return Observation(
        offered_tps=step.offered_tps,
        requests_due=step.requests_due,
        achieved_tps=step.achieved_tps,
        window=window,
        utilization_percent=read.mean(busiest) / units,
        utilization_resource=resource,
        utilization_standard_error=None if scatter is None else scatter / units,
        model_latency_p99_standard_error=read.p99_standard_error(),
        cpu_utilization_raw=read.mean("CPUUtilization"),
        gpu_utilization_raw=read.mean("GPUUtilization") * gpu_samples if facts.gpus else None,
        gpu_memory_utilization_raw=None if gpu_memory is None else gpu_memory * gpu_samples,
        hottest_instance_percent=read.mean_of_maxima(busiest) / units,
        memory_percent=read.highest("MemoryUtilization"),
        disk_percent=read.highest("DiskUtilization"),
        model_latency_ms=read.model_latency(step.client_latency_ms),
        overhead_latency_ms=Latency(mean=read.mean_latency("OverheadLatency")),
        client_latency_ms=step.client_latency_ms,
        error_percent=step.error_percent,
        errors=step.errors,
        workers=step.workers,
        invocations=round(read.total("Invocations")),
        client_invocations=step.invocations,
        samples=round(read.samples("CPUUtilization")),
        instances_reporting=read.instances_reporting(busiest, instance_count),
        warm_up_seconds=step.warm_up and step.warm_up.seconds,
        steady=step.warm_up and step.warm_up.steady,
        client_limited=step.client_limited,
        invalid="; ".join(fault for fault in faults if fault) or None,
    )


def clocks_apart(clock: ClockOffset | None, window: Window) -> str | None:
    """By how much the clocks of leader and CloudWatch surely differ, if that is too much."""
    if clock is None:
        return None
    surely = abs(clock.offset_seconds) - clock.uncertainty_seconds
    if surely <= max(CLOCK_TOLERANCE * (window.end - window.start), _CLOCK_SLACK):
        return None
    return (
        "the clocks of the load generator and of AWS are apart: "
        f"{clock.offset_seconds:+.1f} s, known to {clock.uncertainty_seconds:.1f} s"
    )


def longest_tile(window: Window) -> int:
    """The longest period that CloudWatch aligns with the window's start and that tiles it, seconds.

    CloudWatch aligns periods of a minute and more with the minute at the least; the whole window
    is asked for at once only where it lies on such a boundary itself.
    """
    length = window.end - window.start
    if length % 60 == 0 and window.start % length == 0:
        return length
    candidates = (60, *_SHORT_PERIODS)
    return next(
        period for period in candidates if window.start % period == 0 and length % period == 0
    )


class _Queries:
    """The queries of one window, by what they are for."""

    def __init__(self, window: Window, period_seconds: int) -> None:
        self._period = period_seconds
        self._tile = longest_tile(window)

    def instance(self, metric: str, statistic: str) -> MetricQuery:
        return MetricQuery(INSTANCE_NAMESPACE, metric, statistic, self._period)

    def count(self, metric: str) -> MetricQuery:
        return MetricQuery(INVOCATION_NAMESPACE, metric, "Sum", self._period)

    def p99_by_period(self) -> MetricQuery:
        return MetricQuery(INVOCATION_NAMESPACE, "ModelLatency", "p99", self._period)

    def latency(self, metric: str, statistic: str) -> MetricQuery:
        return MetricQuery(INVOCATION_NAMESPACE, metric, statistic, self._tile)


class _Readings:
    """CloudWatch's data of one window, and what is wrong with them."""

    def __init__(
        self, data: MetricData, named: _Queries, window: Window, period_seconds: int
    ) -> None:
        self._data = data
        self._named = named
        self._window = window
        self._starts = range(window.start, window.end, period_seconds)
        self._since = range(window.end, span(window, period_seconds).end, period_seconds)

    def _series(self, query: MetricQuery) -> dict[int, float]:
        """The values of the periods inside the window; the answer's edges may hold others."""
        return {
            start: value
            for start, value in sorted(self._data.get(query, {}).items())
            if self._window.start <= start < self._window.end
        }

    def _instance(self, metric: str, statistic: str) -> dict[int, float]:
        return self._series(self._named.instance(metric, statistic))

    def samples(self, metric: str) -> float:
        """Samples in the window, over instances and periods."""
        return math.fsum(self._instance(metric, "SampleCount").values())

    def mean(self, metric: str) -> float:
        """Mean over samples."""
        counts = self._instance(metric, "SampleCount")
        return _weighted_mean(self._instance(metric, "Average"), counts) or 0.0

    def mean_of_maxima(self, metric: str) -> float:
        """Mean over periods of the hottest instance."""
        return statistics.fmean(self._instance(metric, "Maximum").values() or [0.0])

    def highest(self, metric: str) -> float | None:
        """Highest sample; None if the metric is not published."""
        return max(self._instance(metric, "Maximum").values(), default=None)

    def standard_error(self, metric: str) -> float | None:
        """Standard error of the mean, from the scatter of the periods."""
        return _standard_error(self._instance(metric, "Average"))

    def p99_standard_error(self) -> float | None:
        """Standard error of ModelLatency's p99 from the scatter of the periods, milliseconds."""
        error = _standard_error(self._series(self._named.p99_by_period()))
        return None if error is None else error / _MICROSECONDS_PER_MS

    def total(self, metric: str) -> float:
        """Sum over the window of a metric that counts requests."""
        return math.fsum(self._series(self._named.count(metric)).values())

    def model_latency(self, client: Latency) -> Latency:
        """ModelLatency over the window, milliseconds.

        A percentile of a window lies between those of its parts, but is neither their mean nor the
        highest: of few requests that one is far too high. The client's covers the window; less the
        mean time that a request spends outside the model it is the model's, if that time hardly
        varies. Then it lies between the tiles' as well. Where it does not, the network's tail is in
        it, and the tiles' mean, weighted by requests, is taken.

        Args:
            client: Latency at the client over the same window.
        """
        mean = self.mean_latency("ModelLatency")
        counts = self._series(self._named.latency("ModelLatency", "SampleCount"))
        outside = None if mean is None or client.mean is None else max(client.mean - mean, 0.0)

        def of_window(statistic: str, at_client: float | None) -> float | None:
            tiles = self._series(self._named.latency("ModelLatency", statistic))
            if not tiles:
                return None
            lowest, highest = min(tiles.values()), max(tiles.values())
            if len(tiles) > 1 and at_client is not None and outside is not None:
                value = (at_client - outside) * _MICROSECONDS_PER_MS
                slack = 1 + _PERCENTILE_TOLERANCE
                if lowest / slack <= value <= highest * slack:
                    return min(max(value, lowest), highest) / _MICROSECONDS_PER_MS
            return (_weighted_mean(tiles, counts) or highest) / _MICROSECONDS_PER_MS

        longest = self._series(self._named.latency("ModelLatency", "Maximum")).values()
        return Latency(
            mean=mean,
            p50=of_window("p50", client.p50),
            p90=of_window("p90", client.p90),
            p99=of_window("p99", client.p99),
            max=max(longest) / _MICROSECONDS_PER_MS if longest else None,
        )

    def mean_latency(self, metric: str) -> float | None:
        """Mean over requests, milliseconds; None where none were answered."""
        means = self._series(self._named.latency(metric, "Average"))
        counts = self._series(self._named.latency(metric, "SampleCount"))
        mean = _weighted_mean(means, counts)
        return None if mean is None else mean / _MICROSECONDS_PER_MS

    def _samples_per_instance(self, metric: str, instance_count: int) -> int:
        """Samples that an instance publishes in a period: 1, unless all periods agree on more."""
        counts = self._instance(metric, "SampleCount")
        expected = instance_count * len(self._starts)
        times = math.floor(math.fsum(counts.values()) / expected + _STRAY_SHARE)
        fewest = min(counts.get(start, 0.0) for start in self._starts)
        return times if times > 1 and fewest > instance_count * (times - 1) else 1

    def gpu_samples(self, instance_count: int, gpus: int) -> int:
        """Samples of GPUUtilization for each of CPUUtilization: 1, or one for each GPU.

        The metric is documented as the sum over an instance's GPUs. Where each GPU has a sample of
        its own, the mean over samples is one GPU's already.
        """
        of_gpu = self._samples_per_instance("GPUUtilization", instance_count)
        of_cpu = self._samples_per_instance("CPUUtilization", instance_count)
        return gpus if gpus > 1 and of_gpu == gpus * of_cpu else 1

    def instances_reporting(self, metric: str, instance_count: int) -> int:
        """Instances that reported in the period with the fewest."""
        counts = self._instance(metric, "SampleCount")
        each = self._samples_per_instance(metric, instance_count)
        return round(min(counts.get(start, 0.0) for start in self._starts) / each)

    def samples_of(self, metric: str, instance_count: int) -> str:
        """How many samples there are, of how many."""
        expected = instance_count * len(self._starts)
        return f"{metric} has {self.samples(metric):g} of {expected} samples"

    def may_come_within(self, metric: str, instance_count: int) -> float:
        """How long after the load test to wait for samples that may be late, seconds.

        -1 where all are there, some of them perhaps a moment after the window. A period without
        most of its samples is not a matter of phases, but of instances that have reported since no
        more is to come either.
        """
        reported_since = self.reported_since(metric, instance_count)
        moved = math.fsum(max(each - instance_count, 0.0) for each in self._counts_since(metric))
        if self.samples(metric) + moved >= instance_count * len(self._starts):
            will_tell = self._few() and not reported_since
            unsure = will_tell and self.extra_samples(metric, instance_count)
            return SHORT_DELAY_SECONDS if unsure else -1.0
        counts = self._instance(metric, "SampleCount")
        fewest = min(counts.get(start, 0.0) for start in self._starts)
        of_phases = fewest >= instance_count / 2 and not self.missing_samples(
            metric, instance_count
        )
        return SHORT_DELAY_SECONDS if of_phases or reported_since else LONGEST_DELAY_SECONDS

    def reported_since(self, metric: str, instance_count: int) -> bool:
        """Whether all instances have reported in a period after the window."""
        return max(self._counts_since(metric)) >= _nearly_all(instance_count)

    def _counts_since(self, metric: str) -> list[float]:
        counts = self._data.get(self._named.instance(metric, "SampleCount"), {})
        return [counts.get(start, 0.0) for start in self._since]

    def _few(self) -> bool:
        return len(self._starts) < _FEW_PERIODS

    def _telling(self, metric: str, in_a_period: int) -> list[float]:
        """Samples of each period that tells how many instances there are."""
        counts = self._instance(metric, "SampleCount")
        since = self._counts_since(metric) if self._few() else []
        return [
            *(counts.get(start, 0.0) for start in self._starts),
            *(count for count in since if count >= in_a_period / 2),  # others are not complete yet
        ]

    def missing_samples(self, metric: str, instance_count: int) -> str | None:
        """What instances have not reported, if so.

        Instances publish on phases of their own, so that a window may hold one sample less of each,
        and a single one may be lost. An instance that reports nothing at all is missing in every
        period.
        """
        expected = instance_count * len(self._starts)
        counts = self._instance(metric, "SampleCount")
        most = max(self._telling(metric, instance_count))
        lost = expected - self.samples(metric)
        spared = min(instance_count, math.ceil(expected / _FEW_PERIODS))
        within = -self._besides_within(metric, instance_count)
        if (
            lost <= spared
            and most >= _nearly_all(instance_count)
            and within <= self._stray(instance_count)
        ):
            return None
        worst = min(self._starts, key=lambda start: counts.get(start, 0.0))
        return (
            f"{self.samples_of(metric, instance_count)}: at {_clock(worst)} "
            f"{counts.get(worst, 0):g} of {instance_count} instances reported"
        )

    def extra_samples(self, metric: str, instance_count: int) -> str | None:
        """What reported besides the instances that should be there, if anything.

        For the same reason one more sample of each instance is nothing.
        """
        each = self._samples_per_instance(metric, instance_count)
        expected = instance_count * len(self._starts) * each
        fewest = min(self._telling(metric, instance_count * each))
        besides = self.samples(metric) - expected
        too_many = math.floor(instance_count * each * (1 + INSTANCE_TOLERANCE))
        within = self._besides_within(metric, instance_count * each)
        if (
            besides <= instance_count * each
            and fewest <= too_many
            and within <= self._stray(instance_count * each)
        ):
            return None
        return (
            f"the instance count changed: {metric} has {self.samples(metric):g} samples, "
            f"{instance_count} instances publish {expected}"
        )

    def _besides_within(self, metric: str, in_a_period: int) -> float:
        """Samples too many inside the window, its first and last period apart; negative if too few.

        Phases move samples over the window's edges alone. An instance that comes or goes is one
        more or less in each period from then on.
        """
        counts = self._instance(metric, "SampleCount")
        inside = sorted(self._starts)[1:-1]
        return math.fsum(counts.get(start, 0.0) - in_a_period for start in inside)

    @staticmethod
    def _stray(in_a_period: int) -> float:
        """How many samples may be lost, or there besides, inside a window by jitter alone."""
        return max(1.0, _STRAY_SHARE * in_a_period)

    def missing_counts(self, step: LocustStep) -> str | None:
        """What invocation metrics have not come yet, if the step sent any request to the model."""
        least = (1 - COUNT_TOLERANCE) * step.invocations - _COUNT_SLACK
        counted = self.total("Invocations")
        if counted < least:
            return f"Invocations counts {counted:g}, the load generator {step.invocations}"
        latencies = self._series(self._named.latency("ModelLatency", "SampleCount"))
        if counted and math.fsum(latencies.values()) < least:
            return f"ModelLatency has {math.fsum(latencies.values()):g} of {counted:g} samples"
        return None

    def disagreement(self, step: LocustStep) -> str | None:
        """Where CloudWatch counts more than the load generator did, if so; less is missing.

        Requests that the client started and got no answer to in the window may have reached the
        model or not: either count is right.
        """
        length = self._window.end - self._window.start
        due = step.offered_tps * length if step.requests_due is None else step.requests_due
        unanswered = max(0.0, due - step.answers)
        most = step.invocations + unanswered
        slack = max(COUNT_TOLERANCE * most, _COUNT_SLACK)
        counted = self.total("Invocations")
        if counted > most + slack:
            return f"Invocations counts {counted:g}, the load generator {step.invocations}"
        errors = math.fsum(self.total(metric) for metric in _ERROR_METRICS)
        seen = sum(step.errors.values()) + unanswered
        if errors > seen + slack:
            return f"CloudWatch counts {errors:g} errors of the model, the load generator {seen:g}"
        return None


def _nearly_all(instance_count: int) -> int:
    """Instances that must report: a few may be silent."""
    return math.ceil(instance_count * (1 - INSTANCE_TOLERANCE))


def _standard_error(by_period: Series) -> float | None:
    values = list(by_period.values())
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 2 else None


def _weighted_mean(means: Series, counts: Series) -> float | None:
    weights = [counts.get(start, 0.0) for start in means]
    return statistics.fmean(means.values(), weights) if any(weights) else None


def _clock(epoch: int) -> str:
    return f"{datetime.fromtimestamp(epoch, UTC):%H:%M:%S} UTC"
