"""The traffic of a production endpoint, from what CloudWatch counts by the minute."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: Period of the counts, seconds.
MINUTE = 60
#: Share of the requests of production's minutes that may be busier than what is taken as the peak.
PERCENTILE = 99.9


@dataclass(frozen=True, slots=True)
class Traffic:
    """Invocations of a variant.

    Args:
        by_minute: Invocations by the epoch second that their minute begins at. CloudWatch has none
            of a minute without any.
        start: Epoch seconds; what was before is not known.
        end: Epoch seconds, exclusive.
    """

    by_minute: Mapping[int, float]
    start: int
    end: int

    @property
    def total(self) -> float:
        """Invocations in all."""
        return math.fsum(self.by_minute.values())

    def rates(self) -> list[float]:
        """Invocations per second of every minute, those without any included."""
        minutes = range(self.start // MINUTE * MINUTE, self.end, MINUTE)
        return [self.by_minute.get(minute, 0.0) / MINUTE for minute in minutes]

    def peak_tps(self, percentile: float = PERCENTILE) -> float:
        """The rate that so many percent of all minutes stay at or under, requests per second."""
        return percentile_of(self.rates(), percentile)


def percentile_of(values: Sequence[float], percentile: float) -> float:
    """The smallest value that so many percent of all are not over (nearest rank); 0 of none."""
    ranked = sorted(values)
    if not ranked:
        return 0.0
    rank = math.ceil(percentile / 100 * len(ranked))
    return ranked[min(max(rank, 1), len(ranked)) - 1]
