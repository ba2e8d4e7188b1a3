"""How utilization depends on the rate per instance, and how sure that is.

Utilization follows the utilization law, U = X * S (Denning and Buzen, 1978): the rate of one
instance times the busy time a request costs it. What is fitted is the logarithm of that cost,

    log(u / x) = a + c * (u - 65) / 100 + d * log(u / 65) + e * (1 - 1/n) + r

with u the utilization in percent, x the rate per instance, n the number of instances; a is the
cost at 65 %, c how the cost changes as the instance fills up, d how utilization bends (a GPU's is
often a power of the load), e what a fleet costs more than a single instance, and r what all samples
of one load test share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sizing.fits.regression import CLOSE, UNKNOWN, dot, regress

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

#: What a rate that no instance can serve is said to cost, percent.
OUT_OF_REACH_PERCENT = 1000.0
LEAST_STEEPNESS = 0.05


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
        return utilization_percent / math.exp(dot(row, self.mean))

    def utilization_at(self, tps_per_instance: float, instances: int = 1) -> float:
        """Utilization at a rate per instance, percent; over 100 where the rate can't be served."""
        slope = self.mean[1] / 100
        level = math.log(tps_per_instance) + dot(_row(ANCHOR_PERCENT, instances), self.mean)
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
    mean, covariance, log_evidence, deviation = regress(
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


def _row(utilization_percent: float, instances: int) -> tuple[float, ...]:
    over = (utilization_percent - ANCHOR_PERCENT) / 100
    return 1.0, over, math.log(utilization_percent / ANCHOR_PERCENT), 1 - 1 / instances
