"""Production endpoints with days of traffic: a curve over day and week, noise, and its cost."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from sizing.production.audit import PERIOD_SECONDS, Period
from sizing.production.traffic import MINUTE, Traffic

DAY = 86_400
#: A Monday.
START = 1_790_553_600


@dataclass
class Endpoint:
    """An endpoint, and what its instances do.

    A request costs ``cost`` percent of an instance, more as it fills up by ``slope``; ``idle``
    percent is what a container does without any.
    """

    mean_tps: float
    instances: int
    cost: float
    slope: float = 0.05
    idle: float = 0.0
    noise: float = 0.02
    p99_ms: float = 80.0
    #: By how much p99 has grown at the end, as a factor.
    grows: float = 1.0
    days: int = 4
    seed: int = 1
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def rate_at(self, epoch: float) -> float:
        """Requests per second that are expected then."""
        hours = (epoch % DAY) / 3600
        day = 1 + 0.7 * math.sin((hours - 9) / 24 * 2 * math.pi)
        weekend = 0.6 if (epoch - START) // DAY % 7 >= 5 else 1.0
        return self.mean_tps * day * weekend

    def utilization_at(self, tps_per_instance: float) -> float:
        """Utilization of an instance, percent: its own work, and what requests cost it."""
        straight = self.cost * tps_per_instance
        bent = straight * (1 + self.slope * (min(straight, 150.0) - 65) / 100)
        return min(self.idle + bent, 100.0)

    def history(self) -> tuple[Traffic, list[Period]]:
        """What CloudWatch knows of it."""
        counts, periods = {}, []
        end = START + self.days * DAY
        for start in range(START, end, PERIOD_SECONDS):
            served = 0.0
            for minute in range(start, start + PERIOD_SECONDS, MINUTE):
                expected = self.rate_at(minute) * MINUTE
                count = max(round(self.random.gauss(expected, math.sqrt(expected))), 0)
                if count:
                    counts[minute] = float(count)
                served += count
            tps = served / PERIOD_SECONDS
            busy = self.utilization_at(tps / self.instances)
            growth = self.grows ** ((start - START) / (end - START))
            periods.append(
                Period(
                    start=start,
                    tps=tps,
                    instances=self.instances,
                    utilization_percent=min(busy * self.random.gauss(1, self.noise), 100.0),
                    p99_ms=self.p99_ms * growth * self.random.lognormvariate(0, 0.1),
                )
            )
        return Traffic(counts, START, end), periods

    def right_count(self) -> int:
        """The least count that serves the peak at 70 %, as a sizing would find it."""
        peak, count = self.history()[0].peak_tps(), 1
        while self.utilization_at(peak / count) > 70:
            count += 1
        return count


def fleet(count: int, days: int, seed: int) -> dict[str, Endpoint]:
    """Endpoints of all sizes, by name."""
    chance = random.Random(seed)
    return {
        f"endpoint-{number}": Endpoint(
            mean_tps=chance.lognormvariate(4, 1),
            instances=chance.randint(1, 30),
            cost=chance.lognormvariate(-0.5, 0.8),
            slope=chance.gauss(0.05, 0.12),
            idle=chance.choice((0.0, 0.5, 2.0)),
            noise=chance.uniform(0.01, 0.08),
            days=days,
            seed=number,
        )
        for number in range(count)
    }
