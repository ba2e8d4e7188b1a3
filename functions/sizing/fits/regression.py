"""Bayesian linear regression with Gaussian priors.

Bishop, Pattern Recognition and Machine Learning, 2006, eq. 3.50 and 3.51: with few points the
priors hold coefficients at values that are usual, with more the data speak.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

#: A prior so wide that it says nothing.
UNKNOWN = (0.0, 1e5)
#: Least standard error that a point is given, relative.
LEAST_NOISE = 1e-4
#: Where the steps of Newton's method end.
CLOSE = 1e-12

Matrix = list[list[float]]


def regress(
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
    coefficients = [dot(row, right) for row in covariance]
    square -= dot(coefficients, right)
    log_evidence = -(square + spread + log_determinant) / 2
    return (
        coefficients[:known],
        [row[:known] for row in covariance[:known]],
        log_evidence,
        square,
    )


def dot(left: Sequence[float], right: Sequence[float]) -> float:
    """Product of two vectors."""
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
