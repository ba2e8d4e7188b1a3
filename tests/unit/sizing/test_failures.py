"""Where the errors of a queue that refuses requests reach their limit."""

from __future__ import annotations

import math

import pytest

from sizing.fits.failures import FailureFit, FailurePoint, fit_failures

LIMIT = 0.001
BASELINE = (0.5, 0.65, 0.8, 0.92)


def refused(load: float, servers: int, places: int) -> float:
    """Share of requests that find so many servers busy and their queue full (Erlang, M/M/c/K)."""
    states = [1.0]
    for state in range(1, servers + places + 1):
        states.append(states[-1] * load * servers / min(state, servers))
    return states[-1] / sum(states)


def fitted(shares: dict[float, float], requests_at_1: float = 60_000) -> FailureFit:
    fit = fit_failures(
        [
            FailurePoint(rate, rate * requests_at_1, round(share * rate * requests_at_1))
            for rate, share in shares.items()
        ],
        LIMIT,
    )
    assert fit is not None
    return fit


@pytest.mark.parametrize("servers, places", [(1, 2), (3, 3), (6, 2), (8, 6), (16, 5), (2, 20)])
def test_a_short_queue_is_told_by_errors_that_grow_and_its_limit_by_rates_around_it(
    servers: int, places: int
) -> None:
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if refused(middle, servers, places) < LIMIT else (low, middle)
    baseline = {load: refused(load, servers, places) for load in BASELINE}
    first = fitted(baseline)
    assert first.grows
    assert not first.stays
    # What one instance alone shows may be far from the limit; it errs, but knows by how much.
    assert abs(math.log(first.limit_tps / low)) < 2 * first.error + 0.1
    around = {factor * low: refused(factor * low, servers, places) for factor in (0.8, 1.1, 1.3)}
    assert fitted({**baseline, **around}).limit_tps == pytest.approx(low, rel=0.06)


@pytest.mark.parametrize("share", [0.002, 0.02, 0.3, 1.0])
def test_errors_that_the_load_has_no_part_in_stay(share: float) -> None:
    fit = fitted(dict.fromkeys(BASELINE, share))
    assert fit.stays
    assert not fit.grows


def test_few_requests_do_not_tell_which() -> None:
    fit = fitted({0.5: 0.28, 0.65: 0.16, 0.8: 0.17, 0.92: 0.24}, requests_at_1=25)
    assert not fit.grows
    assert not fit.stays


@pytest.mark.parametrize("at", [0.45, 0.59, 0.7, 0.95])
def test_errors_at_one_rate_alone_are_chance(at: float) -> None:
    fit = fitted({**dict.fromkeys(BASELINE, 0.0), at: 0.02})
    assert not fit.stays


def test_a_rate_that_surely_kept_the_limit_is_under_it() -> None:
    # A long queue refuses nothing, up to the end.
    fit = fitted({0.5: 0.0, 0.8: 0.0, 0.92: 0.0, 1.04: 0.0384})
    assert 0.92 <= fit.limit_tps < 1.04


def test_more_failures_at_the_same_rates_lower_the_limit() -> None:
    shares = {0.5: 0.0004, 0.65: 0.002, 0.8: 0.007}
    limits = [
        fitted({rate: factor * share for rate, share in shares.items()}).limit_tps
        for factor in (0.5, 1.0, 2.0)
    ]
    assert limits == sorted(limits, reverse=True)


def test_nothing_is_fitted_where_nothing_failed_or_nothing_may() -> None:
    assert fit_failures([FailurePoint(1.0, 100, 0)], LIMIT) is None
    assert fit_failures([FailurePoint(1.0, 100, 1)], 0.0) is None
    assert fit_failures([], LIMIT) is None
