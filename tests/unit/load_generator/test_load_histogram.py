"""Histograms: three significant digits, and merging that loses nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from load_generator.histogram import Histogram, bucket, bucketed

durations = st.lists(st.floats(min_value=0, max_value=900), max_size=200)


@given(st.integers(min_value=0, max_value=10**10))
def test_a_bucket_is_within_half_a_percent(microseconds: int) -> None:
    assert abs(bucket(microseconds) - microseconds) <= microseconds * 0.005
    assert len(str(bucket(microseconds)).rstrip("0")) <= 3


@given(durations)
def test_buckets_in_bulk_are_those_of_each(seconds: list[float]) -> None:
    counts = bucketed(seconds)
    assert sum(counts.values()) == len(seconds)
    for duration in seconds:
        assert counts[bucket(int(duration * 1e6))] > 0
    assert set(counts) == {bucket(int(duration * 1e6)) for duration in seconds}


@given(durations, durations)
def test_merging_is_the_same_as_counting_all_at_once(
    some: list[float], others: list[float]
) -> None:
    merged, other, at_once = Histogram(), Histogram(), Histogram()
    merged.add(some)
    other.add(others)
    merged.merge(other)
    at_once.add(some + others)
    assert merged.counts == at_once.counts
    assert merged.longest == at_once.longest
    assert merged.total == pytest.approx(at_once.total)
    assert Histogram.from_message(merged.to_message()) == merged


@given(st.lists(st.floats(min_value=1e-6, max_value=900), min_size=1), st.integers(1, 100))
def test_percentiles_are_those_of_the_durations(seconds: list[float], percent: int) -> None:
    histogram = Histogram()
    histogram.add(seconds)
    exact = sorted(seconds)[math.ceil(len(seconds) * percent / 100) - 1] * 1e3
    # Half a percent, and the microsecond that durations are cut to.
    assert histogram.percentile_ms(percent) == pytest.approx(exact, rel=0.0051, abs=0.002)


def test_percentiles_with_zeros_that_were_not_counted_one_by_one() -> None:
    histogram = Histogram()
    histogram.add([0.010] * 2)
    assert histogram.percentile_ms(99, zeros=98) == 10
    assert histogram.percentile_ms(98, zeros=98) == 0
    assert histogram.percentile_ms(50, zeros=98) == 0


def test_nothing_has_no_percentiles() -> None:
    empty = Histogram()
    assert empty.percentile_ms(50) is None
    assert empty.mean_ms is None
    assert empty.max_ms is None
    assert Histogram().percentile_ms(99, zeros=3) == 0


def test_mean_and_maximum_are_exact() -> None:
    histogram = Histogram()
    histogram.add([1.2345678, 2.0])
    histogram.add([])
    assert histogram.mean_ms == pytest.approx(1617.2839)
    assert histogram.max_ms == 2000
    assert histogram.percentile_ms(50) == 1230
