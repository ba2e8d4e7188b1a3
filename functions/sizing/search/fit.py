"""How utilization, latency and errors depend on the rate per instance, and how sure that is.

Utilization follows the utilization law, U = X * S (Denning and Buzen, 1978): the rate of one
instance times the busy time a request costs it. What is fitted is the logarithm of that cost,

    log(u / x) = a + c * (u - 65) / 100 + d * log(u / 65) + e * (1 - 1/n) + r

with u the utilization in percent, x the rate per instance, n the number of instances; a is the
cost at 65 %, c how the cost changes as the instance fills up, d how utilization bends (a GPU's is
often a power of the load), e what a fleet costs more than a single instance, and r what all samples
of one load test share. It is a Bayesian linear regression
with Gaussian priors (Bishop, Pattern Recognition and Machine Learning, 2006, eq. 3.50 and 3.51):
with few points the priors hold c and e at values that are usual, with more the data speak.

A container that takes few requests at once refuses some of them long before it saturates: those
that find its queue full. Their share grows with a power of the load (a loss system; Erlang, 1917),
so that more instances mend it, unlike a fault of the model that takes its share at any rate:

    log(share) = a + b * log(rate)

by Poisson regression (McCullagh and Nelder, Generalized Linear Models, 1989, chapter 6) with a
Gaussian prior of b. The power falls as the load grows, so that points tell less the farther they
are from the limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

#: Utilization at which the fitted cost is anchored, percent: the middle of the usual band.
ANCHOR_PERCENT = 65.0

#: Prior mean and standard deviation of c: cost at 100 % over cost at 0 %, relative.
SLOPE_PRIOR = (0.05, 0.12)
#: Prior mean and standard deviation of d, as it is mostly, and where points contradict that: where
#: utilization is the load to the power p, it is 1 - 1/p.
STRAIGHT_PRIOR = (0.0, 1e-3)
BEND_PRIOR = (0.0, 0.5)
#: Prior mean and standard deviation of e: cost in a large fleet over that of one instance.
FLEET_PRIOR = (0.02, 0.02)
#: Standard deviation of r: what all samples of one load test have in common, relative.
COMMON_NOISE = 0.005
#: A prior so wide that it says nothing.
UNKNOWN = (0.0, 1e5)
#: Least standard error that a point is given, relative.
LEAST_NOISE = 1e-4

#: Noise of one utilization sample (one instance, one metric period), relative, where the
#: observations don't show it themselves, and how many observations that assumption is worth.
SAMPLE_NOISE = 0.02
ASSUMED_WEIGHT = 1.0

#: What a rate that no instance can serve is said to cost, percent.
OUT_OF_REACH_PERCENT = 1000.0
LEAST_STEEPNESS = 0.05
CLOSE = 1e-12

#: A p99 of fewer requests is the slowest of them.
FEW_REQUESTS = 100
EULER = 0.5772156649

NORMAL = NormalDist()

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

    ``mean`` and ``covariance`` are those of (a, c, d, e) as the module describes them.
    """

    mean: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    #: Logarithm of how probable the points are, but for a constant: compares assumed noises.
    log_evidence: float = 0.0
    #: Squared deviations of points and coefficients from what was expected, in squared standard
    #: errors: about the number of points where the assumed noise is right.
    deviation: float = 0.0

    def tps_at(self, utilization_percent: float, instances: int = 1) -> float:
        """Rate at which one instance of a fleet shows that utilization, requests per second."""
        row = _row(utilization_percent, instances)
        return utilization_percent / math.exp(_dot(row, self.mean))

    def utilization_at(self, tps_per_instance: float, instances: int = 1) -> float:
        """Utilization at a rate per instance, percent; over 100 where the rate can't be served."""
        slope = self.mean[1] / 100
        level = math.log(tps_per_instance) + _dot(_row(ANCHOR_PERCENT, instances), self.mean)
        level -= slope * ANCHOR_PERCENT
        # Newton's method for (1 - bend) log(u) = level + slope * u in y = log(u), from below, where
        # the left side is steeper than the right: beyond that there is no solution.
        straight = max(1 - self.mean[2], LEAST_STEEPNESS)
        level -= (1 - straight) * math.log(ANCHOR_PERCENT)
        y = level / straight
        for _ in range(50):
            over = straight * y - level - slope * math.exp(y)
            steepness = straight - slope * math.exp(y)
            if steepness < LEAST_STEEPNESS:
                return OUT_OF_REACH_PERCENT
            y -= over / steepness
            if abs(over) < CLOSE:
                break
        return min(math.exp(y), OUT_OF_REACH_PERCENT)

    def error_at(self, utilization_percent: float, instances: int = 1) -> float:
        """Standard error of the cost of a request there, relative."""
        row = _row(utilization_percent, instances)
        size = range(len(row))
        variance = sum(row[i] * self.covariance[i][j] * row[j] for i in size for j in size)
        return math.sqrt(max(variance, 0.0))


def fit_utilization(points: Sequence[UtilizationPoint], *, bent: bool = False) -> UtilizationFit:
    """Fit the cost of a request to what was seen.

    Args:
        points: At least one observation.
        bent: Whether utilization may bend, as a GPU's does.

    Raises:
        ValueError: There are no points.
    """
    mean, covariance, log_evidence, deviation = _regress(
        rows=[_row(point.utilization_percent, point.instances) for point in points],
        values=[math.log(point.utilization_percent / point.tps_per_instance) for point in points],
        noises=[point.noise for point in points],
        groups=[point.load_test for point in points],
        priors=(UNKNOWN, SLOPE_PRIOR, BEND_PRIOR if bent else STRAIGHT_PRIOR, FLEET_PRIOR),
        common=COMMON_NOISE,
    )
    return UtilizationFit(
        mean=tuple(mean),
        covariance=tuple(map(tuple, covariance)),
        log_evidence=log_evidence,
        deviation=deviation,
    )


@dataclass(frozen=True, slots=True)
class LatencyPoint:
    """Latency seen at one load.

    Args:
        load: Rate per instance over the most that one instance can serve, 0 to 1.
        latency_ms: The percentile in question, milliseconds.
        instances: Size of the fleet.
        load_test: Number of the load test; points of the same one share their common noise.
        noise: Standard error of the latency, relative, without the common part.
    """

    load: float
    latency_ms: float
    instances: int
    load_test: int
    noise: float


#: Prior mean and standard deviation of the exponent with which latency grows as load nears 1.
GROWTH_PRIOR = (0.6, 0.6)
#: Prior mean and standard deviation of a fleet's latency over one instance's, logarithmic.
FLEET_LATENCY_PRIOR = (0.04, 0.04)
#: Standard deviation of what all latencies of one load test have in common, relative.
COMMON_LATENCY_NOISE = 0.005
#: The same of half the second derivative, and what the third adds at a distance of 1, relative.
CURVATURE_PRIOR = (0.2, 0.4)
REMAINDER = 2.0
#: Model error of the parabola, relative.
LATENCY_MODEL_ERROR = 0.004


def latency_at(points: Sequence[LatencyPoint], load: float, instances: int) -> tuple[float, float]:
    """Latency at a load, and its standard error.

    A queue's latency grows like 1 / (1 - load), so the logarithm of latency is close to a line
    over -log(1 - load). A parabola is fitted around the load in question; what it lacks grows with
    the cube of the distance, and counts as noise of a point. So the nearest points speak where they
    are sure, and more of them where they are not.

    Args:
        points: At least one.
        load: Between 0 and 1; over 0.99 is taken as 0.99.
        instances: Size of the fleet.

    Returns:
        Latency in milliseconds, and its standard error, relative.
    """
    seen = [_queueing(point.load) for point in points]
    at = max(_queueing(load), min(seen))
    distances = [each - at for each in seen]
    mean, covariance, _, _ = _regress(
        rows=[
            (1.0, distance, distance**2, 1 / instances - 1 / point.instances)
            for point, distance in zip(points, distances, strict=True)
        ],
        values=[math.log(point.latency_ms) for point in points],
        noises=[
            math.hypot(point.noise, LATENCY_MODEL_ERROR, REMAINDER * abs(distance) ** 3)
            for point, distance in zip(points, distances, strict=True)
        ],
        groups=[point.load_test for point in points],
        priors=(UNKNOWN, GROWTH_PRIOR, CURVATURE_PRIOR, FLEET_LATENCY_PRIOR),
        common=COMMON_LATENCY_NOISE,
    )
    # Under the lowest load that was seen, a straight line, which does not rise again.
    under = _queueing(load) - at
    error = covariance[0][0] + 2 * under * covariance[0][1] + under**2 * covariance[1][1]
    return math.exp(mean[0] + under * max(mean[1], 0.0)), math.sqrt(max(error, 0.0))


def p99_noise(p50_ms: float, p99_ms: float, p90_ms: float | None = None) -> float:
    """Standard error of a 99th percentile, relative, times the square root of the latencies' count.

    The error of a quantile q is sqrt(q(1-q)/N) / f (Stuart and Ord, Kendall's Advanced Theory of
    Statistics, 10.10), with the density f at the p99 of a tail through it and through the p90, or
    the p50 where there is none: of an exponential or a lognormal one, whichever is the heavier. The
    p50 alone tells that of tails heavier than an exponential one's only.
    """
    lower, below = (p50_ms, 0.5) if p90_ms is None else (p90_ms, 0.9)
    lower = min(max(lower, 0.0), 0.99 * p99_ms)
    scale = (p99_ms - lower) / math.log((1 - below) / 0.01) / p99_ms
    heavy = p99_ms > 1.01 * lower * math.log(0.01) / math.log(1 - below)
    if lower > 0 and (heavy or p90_ms is not None):
        # Over p99: sigma / density of the standard normal there, times 0.01.
        at = NORMAL.inv_cdf(0.99)
        sigma = math.log(p99_ms / lower) / (at - NORMAL.inv_cdf(below))
        scale = max(scale, 0.01 * sigma / NORMAL.pdf(at))
    return math.sqrt(0.99 / 0.01) * scale


def p99_of_few(p90_ms: float, p99_ms: float, requests: int) -> float:
    """What a p99 of so few requests that it is the slowest of them says of the true one.

    The slowest of N is on average as far up an exponential tail as the harmonic number of N
    (Renyi, On the theory of order statistics, 1953), which is less than a p99 for N up to 56.
    """
    if requests >= FEW_REQUESTS or requests < 2 or p90_ms >= p99_ms:
        return p99_ms
    reached = math.log(requests) + EULER + 0.5 / requests
    p90 = math.log(10)
    return p90_ms + (p99_ms - p90_ms) * (math.log(100) - p90) / max(reached - p90, 0.5)


#: Prior mean and standard deviation of b: one request at a time and a queue of two have 3 at low
#: load, and a fault of the model 0.
REFUSED_POWER_PRIOR = (3.0, 3.0)
#: A power under which errors hardly depend on the load, and standard errors by which it must be
#: over it for the load to be what they come from.
LEAST_REFUSED_POWER = 1.0
REFUSED_SURE_ERRORS = 2.0
#: Error of the power law, of the logarithm of the share, at a factor of e from the limit.
REFUSED_MODEL_ERROR = 0.15
#: Shares, over the limit or the one closest to it, that still tell something of it.
MOST_REFUSED_OVER = 100.0
#: Newton's steps at the most.
MOST_ROUNDS = 50
#: Guards: of a division, and of an exponential.
LEAST_INFORMATION = 1e-12
MOST_LOGARITHM = 20.0


@dataclass(frozen=True, slots=True)
class FailurePoint:
    """What became of the requests at one rate.

    Args:
        tps_per_instance: Requests due per second and instance.
        due: Requests.
        failed: Those that failed.
    """

    tps_per_instance: float
    due: float
    failed: float


@dataclass(frozen=True, slots=True)
class FailureFit:
    """Where errors reach their limit.

    Args:
        limit_tps: Rate per instance at which they do, per second.
        error: Standard error of its logarithm.
        power: By which power of the rate their share grows.
        power_error: Its standard error; the larger, the less the counts agree with a power law.
    """

    limit_tps: float
    error: float
    power: float
    power_error: float

    @property
    def grows(self) -> bool:
        """Whether the load is surely what they come from, so that more instances mend them."""
        return self.power - REFUSED_SURE_ERRORS * self.power_error > LEAST_REFUSED_POWER

    @property
    def stays(self) -> bool:
        """Whether they hardly depend on the load, so that no count mends them.

        A fault of the model is more usual than a queue so short that its power is next to this.
        Errors at a low rate and none at a higher one are neither: they came by chance.
        """
        return abs(self.power) + self.power_error < LEAST_REFUSED_POWER


def fit_failures(points: Sequence[FailurePoint], limit: float) -> FailureFit | None:
    """Fit how the share of failed requests grows with the rate.

    Args:
        points: Where failures were counted, those without any included.
        limit: Share of requests that may fail.

    Returns:
        The fit; None where nothing failed, or nothing may.
    """
    failing = [each for each in points if each.failed > 0 and each.due > 0]
    if not failing or limit <= 0:
        return None
    at = min(failing, key=lambda each: abs(math.log(each.failed / each.due / limit)))
    origin = math.log(at.tps_per_instance)
    counts = [
        (math.log(each.tps_per_instance) - origin, each.due, each.failed)
        for each in points
        if each.due > 0
    ]
    most = MOST_REFUSED_OVER * max(limit, at.failed / at.due)
    near = [each for each in counts if each[2] <= most * each[1]]
    start = math.log(at.failed / at.due)
    counted_level, counted, error_of = _power_law(counts, limit, start, lacking=0.0)
    dispersed = _dispersion(counts, counted_level, counted)
    level, power, (of_level, both, of_power) = _power_law(
        near, limit, start, lacking=REFUSED_MODEL_ERROR
    )
    distance = (math.log(limit) - level) / max(power, LEAST_REFUSED_POWER)
    kept = max((x for x, due, failed in counts if _most(failed) <= limit * due), default=distance)
    # By the delta method: of (log(limit) - level) / power.
    variance = of_level + 2 * distance * both + distance**2 * of_power
    return FailureFit(
        limit_tps=math.exp(origin + max(distance, kept)),
        error=math.sqrt(max(variance, 0.0)) / max(power, LEAST_REFUSED_POWER),
        power=counted,
        power_error=math.sqrt(error_of[2] * dispersed),
    )


def _expected(due: float, logarithm: float) -> float:
    """Failures of so many requests, by the logarithm of their share."""
    return due * math.exp(min(max(logarithm, -MOST_LOGARITHM), MOST_LOGARITHM))


def _dispersion(points: Sequence[tuple[float, float, float]], level: float, power: float) -> float:
    """Variance of counts about a power law over that of Poisson's law, 1 at the least.

    Pearson's statistic over its degrees of freedom (McCullagh and Nelder, 1989, 9.2.4).
    """
    expected = [_expected(due, level + power * x) for x, due, _ in points]
    squares = sum(
        (failed - mean) ** 2 / max(mean, 1.0)
        for (_, _, failed), mean in zip(points, expected, strict=True)
    )
    return max(squares / max(len(points) - 2, 1), 1.0)


def _most(failed: float) -> float:
    """The most failures to be expected where so many were seen: Poisson's law, one-sided 95 %.

    An approximation: 2.9 for none (3.0), 10.4 for five (10.5), 117.9 for a hundred (118.1).
    """
    return failed + 1.645 * math.sqrt(failed + 0.7) + 1.5


def _power_law(
    points: Sequence[tuple[float, float, float]], limit: float, level: float, *, lacking: float
) -> tuple[float, float, tuple[float, float, float]]:
    """Level and power that make counts the most probable, and their covariance.

    Newton's method on the quasi-likelihood: the variance of a count is that of Poisson's law and
    what the power law lacks at the point's distance from the limit.

    Args:
        points: Of each the logarithm of its rate, the requests, and those that failed.
        limit: Share of requests that may fail.
        level: Logarithm of the share at a rate of 1, about.
        lacking: Error of the law, of the logarithm of the share, at a factor of e from the limit.
    """
    usual, spread = REFUSED_POWER_PRIOR
    power = usual
    inverse = (math.inf, 0.0, spread**2)
    for _ in range(MOST_ROUNDS):
        slopes = [0.0, (usual - power) / spread**2]
        a, b, d = LEAST_INFORMATION, 0.0, 1 / spread**2
        for x, due, failed in points:
            expected = _expected(due, level + power * x)
            weight = 1 / (1 + expected * (lacking * math.log(expected / due / limit)) ** 2)
            slopes[0] += weight * (failed - expected)
            slopes[1] += weight * (failed - expected) * x
            a, b, d = (
                a + weight * expected,
                b + weight * expected * x,
                d + weight * expected * x * x,
            )
        determinant = a * d - b * b
        inverse = d / determinant, -b / determinant, a / determinant
        steps = (
            inverse[0] * slopes[0] + inverse[1] * slopes[1],
            inverse[1] * slopes[0] + inverse[2] * slopes[1],
        )
        # No farther at once than where the exponential is about a line.
        part = min(1.0, 1.0 / max(*map(abs, steps), LEAST_INFORMATION))
        level, power = level + part * steps[0], power + part * steps[1]
        if max(map(abs, steps)) < CLOSE:
            break
    return level, power, inverse


def pooled_noise(assumed: float, scatter: Sequence[tuple[float, int]]) -> float:
    """Noise of a single sample, relative, from the scatter of means over many.

    Args:
        assumed: What is usual; counts as much as a few samples of its own.
        scatter: Of each mean, its relative standard error and the samples it rests on.
    """
    weight = ASSUMED_WEIGHT + len(scatter)
    total = ASSUMED_WEIGHT * assumed**2
    total += sum(error**2 * samples for error, samples in scatter)
    return math.sqrt(total / weight)


def _regress(
    rows: Sequence[Sequence[float]],
    values: Sequence[float],
    noises: Sequence[float],
    groups: Sequence[int],
    priors: Sequence[tuple[float, float]],
    common: float,
) -> tuple[list[float], Matrix, float, float]:
    """Bayesian linear regression with noise of each point and noise common to its group.

    Args:
        rows: Of each point, its factors.
        values: Of each point, what was seen.
        noises: Of each point, the standard deviation of its own noise.
        groups: Of each point, the load test it comes from.
        priors: Of each coefficient, prior mean and standard deviation.
        common: Standard deviation of the noise common to a group.

    Returns:
        Posterior mean and covariance of the coefficients; the logarithm of the evidence (the same,
        eq. 3.77) but for a constant, and the squared deviations in it.

    Raises:
        ValueError: There are no points.
    """
    if not rows:
        raise ValueError("a fit needs at least one point")
    group_index = {group: i for i, group in enumerate(sorted(set(groups)))}
    known = len(priors)
    size = known + len(group_index)
    means = [mean for mean, _ in priors] + [0.0] * len(group_index)
    deviations = [deviation for _, deviation in priors] + [common] * len(group_index)
    normal: Matrix = [[0.0] * size for _ in range(size)]
    right = []
    square = spread = 0.0
    for i, (mean, deviation) in enumerate(zip(means, deviations, strict=True)):
        normal[i][i] = deviation**-2
        right.append(mean * deviation**-2)
        square += (mean / deviation) ** 2
        spread += 2 * math.log(deviation)
    for row, value, noise, group in zip(rows, values, noises, groups, strict=True):
        factors = [*row, *([0.0] * len(group_index))]
        factors[known + group_index[group]] = 1.0
        weight = max(noise, LEAST_NOISE) ** -2
        square += weight * value**2
        spread -= math.log(weight)
        for i, factor in enumerate(factors):
            if factor:
                right[i] += weight * factor * value
                for j, other in enumerate(factors):
                    normal[i][j] += weight * factor * other
    covariance, log_determinant = _inverse(normal)
    coefficients = [_dot(row, right) for row in covariance]
    square -= _dot(coefficients, right)
    log_evidence = -(square + spread + log_determinant) / 2
    return (
        coefficients[:known],
        [row[:known] for row in covariance[:known]],
        log_evidence,
        square,
    )


def _row(utilization_percent: float, instances: int) -> tuple[float, ...]:
    over = (utilization_percent - ANCHOR_PERCENT) / 100
    return 1.0, over, math.log(utilization_percent / ANCHOR_PERCENT), 1 - 1 / instances


def _queueing(load: float) -> float:
    return -math.log(1 - min(max(load, 0.0), 0.99))


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def _inverse(matrix: Matrix) -> tuple[Matrix, float]:
    """Inverse and log determinant of a small positive definite matrix, by Gauss-Jordan."""
    size = len(matrix)
    work = [[*row, *(1.0 if i == j else 0.0 for j in range(size))] for i, row in enumerate(matrix)]
    log_determinant = 0.0
    for column in range(size):
        pivot = max(range(column, size), key=lambda i: abs(work[i][column]))
        work[column], work[pivot] = work[pivot], work[column]
        scale = work[column][column]
        log_determinant += math.log(abs(scale))
        work[column] = [value / scale for value in work[column]]
        for i in range(size):
            factor = work[i][column]
            if i != column and factor:
                work[i] = [a - factor * b for a, b in zip(work[i], work[column], strict=True)]
    return [row[size:] for row in work], log_determinant
