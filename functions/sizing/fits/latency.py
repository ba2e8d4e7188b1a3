"""How latency depends on an instance's load, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sizing.fits.regression import UNKNOWN, regress

#: Prior mean and standard deviation of the exponent with which latency grows as load nears 1.
GROWTH_PRIOR = (0.6, 0.6)
#: Prior mean and standard deviation of a fleet's latency over one instance's, logarithmic.
FLEET_LATENCY_PRIOR = (0.04, 0.04)
#: Standard deviation of what all latencies of one load test have in common, relative.
COMMON_LATENCY_NOISE = 0.005
#: Prior mean and standard deviation of half the second derivative; and what the third adds at a
#: distance of 1, relative.
CURVATURE_PRIOR = (0.2, 0.4)
REMAINDER = 2.0
#: Model error of the parabola, relative.
LATENCY_MODEL_ERROR = 0.004


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
    mean, covariance, _, _ = regress(
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


def _queueing(load: float) -> float:
    return -math.log(1 - min(max(load, 0.0), 0.99))
