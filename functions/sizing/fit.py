"""How utilization and latency depend on the rate per instance, and how sure that is.

Utilization follows the utilization law, U = X * S (Denning and Buzen, 1978): the rate of one
instance times the busy time a request costs it. What is fitted is the logarithm of that cost,

    log(u / x) = a + c * (u - 65) / 100 + e * (1 - 1/n) + r

with u the utilization in percent, x the rate per instance, n the number of instances; a is the
cost at 65 %, c how the cost changes as the instance fills up, e what a fleet costs more than a
single instance, and r what all samples of one load test share. It is a Bayesian linear regression
with Gaussian priors (Bishop, Pattern Recognition and Machine Learning, 2006, eq. 3.50 and 3.51):
with few points the priors hold c and e at values that are usual, with more the data speak.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Utilization at which the fitted cost is anchored, percent: the middle of the usual band.
_ANCHOR_PERCENT = 65.0

#: Prior mean and standard deviation of c: cost at 100 % over cost at 0 %, relative.
_SLOPE_PRIOR = (0.05, 0.15)
#: Prior mean and standard deviation of e: cost in a large fleet over that of one instance.
_FLEET_PRIOR = (0.02, 0.03)
#: Standard deviation of r: what all samples of one load test have in common, relative.
COMMON_NOISE = 0.005
#: So flat that any level of the cost is as likely.
_FLAT = 1e-9

#: Noise of one utilization sample (one instance, one metric period), relative, where the
#: observations don't show it themselves, and how many samples that assumption is worth.
SAMPLE_NOISE = 0.02
_SAMPLE_NOISE_WEIGHT = 6.0

Matrix = list[list[float]]


@dataclass(frozen=True, slots=True)
class UtilizationPoint:
    """One observation, as the fit needs it.

    Args:
        tps_per_instance: Requests served per second and instance.
        utilization_percent: Mean utilization of the instances, percent.
        instances: Size of the fleet.
        load_test: Number of the load test; points of the same one share their common noise.
        noise: Standard error of the utilization, relative, without the common part.
    """

    tps_per_instance: float
    utilization_percent: float
    instances: int
    load_test: int
    noise: float


@dataclass(frozen=True, slots=True)
class UtilizationFit:
    """Utilization as a function of the rate per instance and the size of the fleet.

    ``mean`` and ``covariance`` are those of (a, c, e) as the module describes them.
    """

    mean: tuple[float, float, float]
    covariance: tuple[tuple[float, float, float], ...]

    def tps_at(self, utilization_percent: float, instances: int = 1) -> float:
        """Rate at which one instance of a fleet shows that utilization, requests per second."""
        row = _row(utilization_percent, instances)
        return utilization_percent / math.exp(_dot(row, self.mean))

    def utilization_at(self, tps_per_instance: float, instances: int = 1) -> float:
        """Utilization at a rate per instance, percent; over 100 where the rate can't be served."""
        target = math.log(tps_per_instance) + _dot(_row(_ANCHOR_PERCENT, instances), self.mean)
        slope = self.mean[1] / 100
        # log(u) - slope * u rises up to u = 1 / slope: beyond, nothing has that utilization.
        top = 0.9 / slope if slope > 0 else math.inf
        low, high = 1e-9, min(1000.0, top)
        for _ in range(60):
            middle = (low + high) / 2
            if math.log(middle) - slope * (middle - _ANCHOR_PERCENT) < target:
                low = middle
            else:
                high = middle
        return high

    def error_at(self, utilization_percent: float, instances: int = 1) -> float:
        """Standard error of the cost of a request there, relative."""
        row = _row(utilization_percent, instances)
        variance = sum(row[i] * self.covariance[i][j] * row[j] for i in range(3) for j in range(3))
        return math.sqrt(max(variance, 0.0))


def fit_utilization(points: Sequence[UtilizationPoint]) -> UtilizationFit:
    """Fit the cost of a request to what was seen.

    Args:
        points: At least one observation.

    Raises:
        ValueError: There are no points.
    """
    if not points:
        raise ValueError("a fit needs at least one point")
    load_tests = sorted({point.load_test for point in points})
    size = 3 + len(load_tests)
    means = [0.0, _SLOPE_PRIOR[0], _FLEET_PRIOR[0]] + [0.0] * len(load_tests)
    precisions = [_FLAT, _SLOPE_PRIOR[1] ** -2, _FLEET_PRIOR[1] ** -2]
    precisions += [COMMON_NOISE**-2] * len(load_tests)
    normal: Matrix = [[0.0] * size for _ in range(size)]
    right = [precision * mean for precision, mean in zip(precisions, means, strict=True)]
    for i, precision in enumerate(precisions):
        normal[i][i] = precision
    for point in points:
        row = [*_row(point.utilization_percent, point.instances), *([0.0] * len(load_tests))]
        row[3 + load_tests.index(point.load_test)] = 1.0
        value = math.log(point.utilization_percent / point.tps_per_instance)
        weight = max(point.noise, 1e-4) ** -2
        for i in range(size):
            right[i] += weight * row[i] * value
            for j in range(size):
                normal[i][j] += weight * row[i] * row[j]
    covariance = _inverse(normal)
    mean = [_dot(row, right) for row in covariance]
    return UtilizationFit(
        mean=(mean[0], mean[1], mean[2]),
        covariance=tuple((row[0], row[1], row[2]) for row in covariance[:3]),
    )


@dataclass(frozen=True, slots=True)
class LatencyPoint:
    """Latency seen at one load.

    Args:
        load: Rate per instance over the most that one instance can serve, 0 to 1.
        latency_ms: The percentile in question, milliseconds.
        noise: Standard error of the latency, relative.
    """

    load: float
    latency_ms: float
    noise: float


#: Prior mean and standard deviation of the exponent with which latency grows as load nears 1.
_GROWTH_PRIOR = (0.7, 0.7)
#: Width of the neighbourhood that speaks for a load, in units of -log(1 - load).
_NEIGHBOURHOOD = 0.35
#: Model error of the local line, relative.
_LATENCY_MODEL_ERROR = 0.01


def latency_at(points: Sequence[LatencyPoint], load: float) -> tuple[float, float]:
    """Latency at a load, and its standard error.

    A queue's latency grows like 1 / (1 - load), so the logarithm of latency is close to a line
    over -log(1 - load). The line is fitted locally (Cleveland, 1979): points count the less the
    farther their load is from the one in question.

    Args:
        points: At least one.
        load: Between 0 and 1; over 0.99 is taken as 0.99.

    Returns:
        Latency in milliseconds, and its standard error, relative.
    """
    at = _queueing(load)
    normal = [[_FLAT, 0.0], [0.0, _GROWTH_PRIOR[1] ** -2]]
    right = [0.0, _GROWTH_PRIOR[0] * _GROWTH_PRIOR[1] ** -2]
    for point in points:
        distance = _queueing(point.load) - at
        nearness = math.exp(-0.5 * (distance / _NEIGHBOURHOOD) ** 2) + 1e-3
        weight = nearness / (point.noise**2 + _LATENCY_MODEL_ERROR**2)
        value = math.log(point.latency_ms)
        for i, left in enumerate((1.0, distance)):
            right[i] += weight * left * value
            for j, other in enumerate((1.0, distance)):
                normal[i][j] += weight * left * other
    covariance = _inverse(normal)
    return math.exp(_dot(covariance[0], right)), math.sqrt(covariance[0][0])


def p99_noise(p50_ms: float, p99_ms: float, count: int) -> float:
    """Standard error of a 99th percentile of that many latencies, relative.

    The error of a quantile q is sqrt(q(1-q)/N) / f (Stuart and Ord, Kendall's Advanced Theory of
    Statistics, 10.10), with the density f of an exponential tail through p50 and p99.
    """
    scale = max(p99_ms - p50_ms, 0.01 * p99_ms) / math.log(50)
    return math.sqrt(0.99 / (0.01 * max(count, 1))) * scale / p99_ms


def sample_noise(scatter: Sequence[tuple[float, int]]) -> float:
    """Noise of one utilization sample, relative, from the scatter of what was seen.

    Args:
        scatter: Relative standard error of each observation, and the samples it rests on.

    Returns:
        The pooled estimate, drawn towards a usual value where little was seen.
    """
    weight = _SAMPLE_NOISE_WEIGHT + sum(samples for _, samples in scatter)
    total = _SAMPLE_NOISE_WEIGHT * SAMPLE_NOISE**2
    total += sum(samples * (error**2 * samples) for error, samples in scatter)
    return math.sqrt(total / weight)


def _row(utilization_percent: float, instances: int) -> tuple[float, float, float]:
    return 1.0, (utilization_percent - _ANCHOR_PERCENT) / 100, 1 - 1 / instances


def _queueing(load: float) -> float:
    return -math.log(1 - min(max(load, 0.0), 0.99))


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def _inverse(matrix: Matrix) -> Matrix:
    """Inverse of a small positive definite matrix, by Gauss-Jordan elimination."""
    size = len(matrix)
    work = [[*row, *(1.0 if i == j else 0.0 for j in range(size))] for i, row in enumerate(matrix)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda i: abs(work[i][column]))
        work[column], work[pivot] = work[pivot], work[column]
        scale = work[column][column]
        work[column] = [value / scale for value in work[column]]
        for i in range(size):
            factor = work[i][column]
            if i != column and factor:
                work[i] = [a - factor * b for a, b in zip(work[i], work[column], strict=True)]
    return [row[size:] for row in work]
