"""The traffic of a production endpoint, from what CloudWatch counts by the minute."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

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
    #: Of the last hours, by ten seconds: see ``burst_factor``.
    recent: Mapping[int, float] = field(default_factory=dict)

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


def burst_factor(counts: Mapping[int, float], percentile: float) -> float:
    """How many times busier than their minutes the busiest seconds are, beyond chance.

    CloudWatch asked for tens of seconds gives what an endpoint publishes: every ten or thirty
    seconds, or all of a minute at its beginning, which tells nothing of what is in it. By chance
    alone, requests of many users, n in a period on average, are Poisson: n + z sqrt(n) at the
    percentile.

    Args:
        counts: Invocations by the epoch second that their ten seconds begin at.
        percentile: Of the periods, and of the minutes.

    Returns:
        1 or more.
    """
    length = math.gcd(MINUTE, *counts)
    if length >= MINUTE or len(counts) < 2:
        return 1.0
    minutes: dict[int, float] = {}
    for second, count in counts.items():
        minute = second // MINUTE * MINUTE
        minutes[minute] = minutes.get(minute, 0.0) + count
    usual = percentile_of([*minutes.values()], percentile) / MINUTE * length
    busiest = percentile_of([*counts.values()], percentile)
    if usual <= 0:
        return 1.0
    beyond = NormalDist().inv_cdf(min(percentile / 100, 1 - 1 / (2 * len(counts))))
    return max(busiest / (usual + max(beyond, 0.0) * math.sqrt(usual)), 1.0)
