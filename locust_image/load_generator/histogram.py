"""Histograms of durations with three significant digits, which merge without loss.

A duration is kept as whole microseconds, of which three significant digits remain: 1,234,567 us is
counted at 1,230,000. The error is at most half a percent of the value, whatever its size, and
merging the histograms of many workers gives exactly the histogram of all their requests.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

_MICROSECONDS = 1_000_000


def bucket(microseconds: int) -> int:
    """The value that stands for a duration: rounded to three significant digits."""
    if microseconds < 1_000:
        return max(microseconds, 0)
    unit: int = 10 ** (math.floor(math.log10(microseconds)) - 2)
    return (microseconds + unit // 2) // unit * unit


def bucketed(seconds: Iterable[float]) -> Counter[int]:
    """Count durations, given in seconds, by their bucket, in microseconds."""
    # Unrolled over the decades that requests last: a call for each of 100,000 durations a second
    # would cost more than the requests themselves.
    return Counter(
        [
            us
            if us < 1_000
            else (us + 5) // 10 * 10
            if us < 10_000
            else (us + 50) // 100 * 100
            if us < 100_000
            else (us + 500) // 1_000 * 1_000
            if us < 1_000_000
            else bucket(us)
            for us in [int(duration * 1e6) for duration in seconds]
        ]
    )


@dataclass(slots=True)
class Histogram:
    """Durations by bucket, with their exact sum and maximum."""

    #: Number of durations by bucket, in microseconds.
    counts: dict[int, int] = field(default_factory=dict)
    #: Sum of all durations, seconds.
    total: float = 0.0
    #: Longest duration, seconds.
    longest: float = 0.0

    def add(self, seconds: list[float]) -> None:
        """Count durations, in seconds."""
        if not seconds:
            return
        counts = self.counts
        for value, count in bucketed(seconds).items():
            counts[value] = counts.get(value, 0) + count
        self.total += sum(seconds)
        self.longest = max(self.longest, max(seconds))

    def merge(self, other: Histogram) -> None:
        """Count what another histogram counted."""
        counts = self.counts
        for value, count in other.counts.items():
            counts[value] = counts.get(value, 0) + count
        self.total += other.total
        self.longest = max(self.longest, other.longest)

    @property
    def count(self) -> int:
        """Number of durations."""
        return sum(self.counts.values())

    @property
    def mean_ms(self) -> float | None:
        """Mean duration, milliseconds; None of nothing."""
        count = self.count
        return self.total / count * 1e3 if count else None

    @property
    def max_ms(self) -> float | None:
        """Longest duration, milliseconds; None of nothing."""
        return self.longest * 1e3 if self.counts else None

    def percentile_ms(self, percent: float, *, zeros: int = 0) -> float | None:
        """The duration that ``percent`` of all durations do not exceed (nearest rank).

        Args:
            percent: 0 to 100.
            zeros: Durations of nought that were not counted one by one.

        Returns:
            Milliseconds; None of nothing.
        """
        total = self.count + zeros
        if not total:
            return None
        rank = max(1, math.ceil(total * percent / 100 - 1e-9))
        if rank <= zeros:
            return 0.0
        rank -= zeros
        for value in sorted(self.counts):
            rank -= self.counts[value]
            if rank <= 0:
                return min(value / 1e3, self.longest * 1e3)
        return self.longest * 1e3

    def to_message(self) -> list[object]:
        """As it travels from worker to leader."""
        return [self.counts, self.total, self.longest]

    @classmethod
    def from_message(cls, message: list[object]) -> Histogram:
        """What ``to_message`` made."""
        counts, total, longest = message
        assert isinstance(counts, Mapping)
        assert isinstance(total, float | int)
        assert isinstance(longest, float | int)
        return cls(counts=dict(counts), total=float(total), longest=float(longest))
