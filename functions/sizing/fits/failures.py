"""How the share of failed requests depends on the rate per instance, and how sure that is.

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

from sizing.fits.regression import CLOSE

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
