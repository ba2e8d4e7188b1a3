"""The target rate of a request that takes it from an endpoint in production."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from sizing.errors import InvalidRequest
from sizing.production.traffic import MINUTE, Traffic, burst_factor, percentile_of
from sizing.request.request import FromEndpoint

_DAY_SECONDS = 86_400
_HOUR_SECONDS = 3_600
#: A day has its busy hours; less of it may have none.
_LEAST_SECONDS = _DAY_SECONDS
#: Minutes with an invocation that a percentile of the busiest needs at the least.
_FEWEST_MINUTES = 60
#: A stretch without any invocation that is worth a word.
_LONG_GAP_SECONDS = 6 * _HOUR_SECONDS


@dataclass(frozen=True, slots=True)
class Peak:
    """What an endpoint's traffic comes to.

    Args:
        days: Days that are known.
        tps: The percentile of all minutes, requests per second.
        burst_factor: How many times busier the busiest seconds are, see ``burst_factor``.
        target_tps: With bursts, headroom and a month's growth.
        by_hour: The percentile of each hour of the day, UTC.
        by_weekday: The percentile of each day of the week, from Monday on, UTC.
        notes: What to know of it.
    """

    days: float
    tps: float
    burst_factor: float
    target_tps: float
    by_hour: tuple[float, ...]
    by_weekday: tuple[float, ...]
    notes: tuple[str, ...]


def peak(asked: FromEndpoint, traffic: Traffic) -> Peak:
    """The target that an endpoint's traffic comes to.

    Args:
        asked: What the request asks for.
        traffic: The endpoint's, over the days asked for or since it was created.

    Raises:
        InvalidRequest: There is too little of it.
    """
    length = traffic.end - traffic.start
    if length < _LEAST_SECONDS:
        raise InvalidRequest(
            "target.from_endpoint.name",
            f"{asked.name} is {length / _HOUR_SECONDS:.3g} hours old; its traffic tells a target "
            "after a day. Give target.tps until then",
        )
    if len(traffic.by_minute) < _FEWEST_MINUTES:
        raise InvalidRequest(
            "target.from_endpoint.days",
            f"{asked.name} has invocations in {len(traffic.by_minute)} minutes of "
            f"{length / _DAY_SECONDS:.3g} days; {_FEWEST_MINUTES} are needed. Give target.tps",
        )
    tps = traffic.peak_tps(asked.percentile)
    if not tps:
        # Nearly all minutes are without any: of those that are not, the same percentile.
        rates = [count / MINUTE for count in traffic.by_minute.values()]
        tps = percentile_of(rates, asked.percentile)
    headroom, growth = asked.headroom_percent / 100, asked.growth_percent_a_month / 100
    bursts = burst_factor(traffic.recent, asked.percentile)
    return Peak(
        days=round(length / _DAY_SECONDS, 2),
        tps=tps,
        burst_factor=bursts,
        target_tps=tps * bursts * (1 + headroom) * (1 + growth),
        by_hour=_by(traffic, asked.percentile, 24, lambda at: at % _DAY_SECONDS // _HOUR_SECONDS),
        # The epoch began on a Thursday.
        by_weekday=_by(traffic, asked.percentile, 7, lambda at: (at // _DAY_SECONDS + 3) % 7),
        notes=_notes(asked, traffic, bursts),
    )


def _by(
    traffic: Traffic, percentile: float, parts: int, part_of: Callable[[int], int]
) -> tuple[float, ...]:
    """The percentile of the minutes of each part; 0 of one that is not known."""
    rates: list[list[float]] = [[] for _ in range(parts)]
    first = traffic.start // MINUTE * MINUTE
    for minute, rate in zip(range(first, traffic.end, MINUTE), traffic.rates(), strict=True):
        rates[part_of(minute)].append(rate)
    return tuple(percentile_of(each, percentile) for each in rates)


def _notes(asked: FromEndpoint, traffic: Traffic, bursts: float) -> tuple[str, ...]:
    notes = []
    if bursts > 1:
        notes.append(
            f"In the last hours the busiest seconds of {asked.name} had {bursts:.3g} times the "
            "rate of its busiest minutes, beyond chance; the target has it too."
        )
    days = (traffic.end - traffic.start) / _DAY_SECONDS
    if days < asked.days - 0.5:
        notes.append(f"{asked.name} is {days:.3g} days old, of the {asked.days} asked for.")
    seen = sorted(traffic.by_minute)
    edges = [traffic.start, *seen, traffic.end]
    longest = max(pairwise(edges), key=lambda each: each[1] - each[0])
    if longest[1] - longest[0] >= _LONG_GAP_SECONDS:
        begin, end = (f"{datetime.fromtimestamp(each, UTC):%Y-%m-%d %H:%M}" for each in longest)
        notes.append(f"{asked.name} had no invocation from {begin} to {end} UTC.")
    return tuple(notes)
