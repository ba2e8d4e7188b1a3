"""The schedule: evenly spaced starts that a fleet shares, and windows on whole metric periods."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from load_generator.schedule import Plateau, step_window

rates = st.floats(min_value=0.1, max_value=5_000)
lengths = st.floats(min_value=0.0, max_value=20)


@given(rates, lengths, st.integers(1, 40))
def test_the_workers_starts_together_are_the_plateaus(
    rate: float, length: float, workers: int
) -> None:
    plateau = Plateau(1_000_000.0, 1_000_000.0 + length, rate)
    counts = [plateau.count(worker, workers) for worker in range(workers)]
    assert sum(counts) == plateau.count(0, 1)
    assert abs(sum(counts) - length * rate) <= 1
    assert max(counts) - min(counts) <= 1


@given(st.integers(1, 300), st.integers(1, 8))
def test_starts_are_evenly_spaced_over_the_fleet(rate: int, workers: int) -> None:
    plateau = Plateau(50.0, 52.0, rate)
    starts = sorted(
        plateau.start_of(number, worker, workers)
        for worker in range(workers)
        for number in range(plateau.count(worker, workers))
    )
    assert starts == pytest.approx([50 + number / rate for number in range(2 * rate)])
    assert all(50 <= start < 52 for start in starts)


@pytest.mark.parametrize(
    "start, settle, steady, period, expected",
    [
        # Nothing to wait for: each step takes settle + steady.
        (100.0, 10, 10, 10, (110, 120)),
        (120.0, 10, 10, 10, (130, 140)),
        # Between two periods the settling is longer.
        (100.3, 10, 10, 10, (120, 130)),
        (109.7, 10, 10, 10, (120, 130)),
        # The steady part is rounded up to whole periods.
        (100.0, 30, 65, 60, (180, 300)),
        (100.0, 0, 1, 10, (100, 110)),
        (100.0, 2.5, 4, 2, (104, 108)),
    ],
)
def test_the_steady_window_is_whole_periods(
    start: float, settle: float, steady: float, period: int, expected: tuple[int, int]
) -> None:
    window = step_window(start, settle=settle, steady=steady, period=period)
    assert (window.steady_start, window.steady_end) == expected


@given(
    st.floats(1e9, 2e9),
    st.floats(0, 120),
    st.floats(0.1, 300),
    st.sampled_from([1, 5, 10, 30, 60]),
)
def test_windows_never_waste_a_period(
    start: float, settle: float, steady: float, period: int
) -> None:
    window = step_window(start, settle=settle, steady=steady, period=period)
    assert window.steady_start % period == window.steady_end % period == 0
    assert window.steady_start >= start + settle - 1e-6 * period
    assert window.steady_start < start + settle + period
    assert steady - 1e-6 * period <= window.steady_end - window.steady_start < steady + period
