"""A fleet of instances in time: how warm each is, what stands still, what queues up."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from random import Random

from benchmarks.search.world import COMMON_NOISE
from benchmarks.search.worlds.conditions import Conditions
from benchmarks.search.worlds.drawing import Candidate
from benchmarks.search.worlds.latency import Shape
from benchmarks.search.worlds.truth import Part, Truth

#: SageMaker ends an invocation after this, seconds.
TIMEOUT_SECONDS = 60.0
#: Precision of what a request costs while it changes, relative, and of delays: digits of seconds.
_COST_STEP, _DELAY_DIGITS = 0.002, 1
#: Points between which utilization is interpolated.
_GRID = 200
#: For how long stalls are drawn ahead, seconds.
_LONGEST = 7200.0


class Site:
    """An endpoint between load tests: how long each of its instances was under load, seconds."""

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        self.ages: list[float] = []

    def scale(self, count: int) -> None:
        """Bring it to a count; the newest instances go first."""
        self.ages = [*self.ages[:count], *[0.0] * (count - len(self.ages))]


@dataclass(frozen=True, slots=True)
class Now:
    """One part of the fleet in one second.

    Args:
        part: Its instances, and what a request costs there.
        traffic: Its share of all requests.
        rate: Requests offered to one instance, per second.
        delay: What a request waits besides, seconds: for a stall to end, or a queue to drain.
        refused: Share of its requests that come back with an error.
        timed_out: Share that is never answered.
    """

    part: Part
    traffic: float
    rate: float
    delay: float
    refused: float
    timed_out: float


class Fleet:
    """An endpoint during one load test.

    Args:
        site: The endpoint.
        begun: When the load test began, epoch seconds.
        random: Source of what its samples share, and of stalls.
    """

    def __init__(self, site: Site, begun: float, random: Random) -> None:
        self.truth: Truth = site.candidate.truth
        self.conditions: Conditions = site.candidate.conditions
        self.instances = len(site.ages)
        self._begun = begun
        self._cost = 1 + random.gauss(0, COMMON_NOISE)
        self._stalls = _stalls(self.conditions, begun, random)
        ages = Counter(
            (age, self.truth.slow_instance if index == 1 else 1.0)
            for index, age in enumerate(site.ages)
        )
        self._classes = [(count, age, slow) for (age, slow), count in ages.items()]
        self._backlog = [0.0] * len(self._classes)
        self._shapes: dict[tuple[float, float], Shape] = {}
        self._capacity = self.truth.capacity(self.instances)
        #: Rates of one usual instance by utilization, evenly from 0 to 1.
        self._rates = [self.truth.rate_at(i / _GRID, self.instances) for i in range(_GRID + 1)]

    def stalled(self, start: float, end: float) -> float:
        """Share of a time in which the endpoint stands still."""
        still = sum(max(min(end, late) - max(start, early), 0.0) for early, late in self._stalls)
        return min(still / (end - start), 1.0)

    def _still_for(self, at: float) -> float:
        """How long the stall that holds at a time will last, seconds."""
        return max((late - at for early, late in self._stalls if early <= at < late), default=0.0)

    def parts(self, at: float) -> tuple[list[Part], list[float]]:
        """The fleet's parts at a time, and the share of requests that each fails for its youth."""
        parts, errors = [], []
        under_load = at - self._begun
        truth = self.truth
        warm = 1 + truth.warm_up * math.exp(-under_load / truth.warm_up_seconds)
        for count, age, slow in self._classes:
            youth = self.conditions.slowness(age + under_load) * warm
            # In steps, so that the few shapes are worth their tables.
            youth = math.exp(round(math.log(youth) / _COST_STEP) * _COST_STEP)
            parts.append(Part(count, youth * slow * self._cost))
            errors.append(self.conditions.start_errors(age + under_load))
        return parts, errors

    def _utilization(self, work: float) -> float:
        """Utilization of one instance at a rate of usual requests, 0 to 1."""
        if self.truth.gpus:
            share: float = (work / self._rates[-1]) ** self.truth.gpu_power
            return min(share, 1.0)
        k = bisect_left(self._rates, work)
        if k == 0 or k > _GRID:
            return min(k, 1)
        low, high = self._rates[k - 1], self._rates[k]
        return (k - 1 + (work - low) / (high - low)) / _GRID

    def shape(self, now: Now) -> Shape:
        """How long a part's answers take, delays aside."""
        key = now.rate, now.part.slowness
        if key not in self._shapes:
            self._shapes[key] = self.truth.shape(now.rate, self.instances, now.part.slowness)
        return self._shapes[key]

    def serve(self, second: int, offered: float) -> tuple[list[Now], tuple[float, float]]:
        """What each part does in one second.

        Args:
            second: Epoch second.
            offered: Requests per second.

        Returns:
            The parts, and the utilization of the fleet and of its hottest instance, 0 to 1.
        """
        parts, youth = self.parts(second + 0.5)
        traffic = self.truth.traffic(parts)
        still = self.stalled(second, second + 1)
        now = []
        busy = hottest = 0.0
        for index, part in enumerate(parts):
            served, each = self._part(second, part, offered * traffic[index], index, still)
            errors = 1 - (1 - each.refused) * (1 - youth[index]) * (1 - self.truth.error_rate)
            now.append(Now(part, traffic[index], each.rate, each.delay, errors, each.timed_out))
            mine = self._utilization(served * part.slowness)
            busy += part.instances / self.instances * mine
            hottest = max(hottest, mine * (1 + self.truth.hot if self.instances > 1 else 1.0))
        return now, (busy, min(hottest, 1.0))

    def _part(
        self, second: int, part: Part, offered: float, index: int, still: float
    ) -> tuple[float, Now]:
        """Requests that one instance of a part works off, per second, and what became of all."""
        truth = self.truth
        fails = still if self.conditions.stall_fails else 0.0
        rate = offered / part.instances
        full = part.instances * self._capacity / part.slowness
        work = rate * part.slowness
        refused = min(truth.lost(work, self.instances), 1.0)
        if truth.queue is None and work > self._capacity:
            refused = 0.0  # it is not refused but waits, and times out in the end
        admitted = offered * (1 - refused) * (1 - fails)
        before = self._backlog[index]
        after = max(before + admitted - full * (1 - still), 0.0)
        room = full * TIMEOUT_SECONDS
        if truth.queue is not None:
            room = float(truth.queue * part.instances)
        over = max(after - room, 0.0)
        self._backlog[index] = after - over
        waits = (0.0 if fails else self._still_for(second + 0.5)) + after / full
        lost = 1 - (1 - fails) * (1 - refused) + (over / offered if truth.queue else 0.0)
        return (before + admitted - after) / part.instances, Now(
            part=part,
            traffic=0.0,
            rate=rate,
            delay=round(waits, _DELAY_DIGITS) if waits > 0.01 else 0.0,
            refused=min(lost, 1.0),
            timed_out=0.0 if truth.queue else min(over / offered, 1.0),
        )

    def drain(self) -> float:
        """Work off all queues; how long that takes, seconds."""
        parts = zip(self._backlog, self._classes, strict=True)
        waits = max(queued / (count * self._capacity) for queued, (count, _, _) in parts)
        self._backlog = [0.0] * len(self._backlog)
        return min(waits, TIMEOUT_SECONDS)


def _stalls(conditions: Conditions, begun: float, random: Random) -> list[tuple[float, float]]:
    """Start and end of each stall."""
    often = conditions.stalls_per_hour / 3600
    stalls: list[tuple[float, float]] = []
    at = begun
    while often > 0 and at < begun + _LONGEST:
        at += random.expovariate(often)
        stalls.append((at, at + random.uniform(*conditions.stall_seconds)))
    return stalls
