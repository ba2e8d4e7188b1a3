"""Endpoints free of noise that are not as the textbook has them, and what they need.

A plain endpoint (``benchmarks.search.world.Endpoint``) uses its CPUs in proportion to its rate, up
to the last percent. These may be held up by their container, share cores between hyper-threads,
run on a GPU whose utilization rises before its rate does, answer slowly or with heavy tails, fail
now and then, and have one instance that is slower than the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from benchmarks.search import world
from benchmarks.search.worlds.latency import USUAL_SIGMA, Shape, percentile

#: Requests that a container takes beyond those it works on, where it limits them.
USUAL_QUEUE = 100
#: Errors that a target allows where it says nothing, as a share.
ERROR_LIMIT = 0.001
#: No queue is looked at beyond this load, where it has no bound.
_FULL = 0.999
_TIMEOUT_MS = 60_000.0
#: How much a balanced fleet (least outstanding requests) shortens queues.
_BALANCED = 0.5
#: Steps of a search by halves.
_HALVES = 30


@dataclass(frozen=True)
class Part:
    """Instances of a fleet that are alike.

    Args:
        instances: How many.
        slowness: What a request costs there over what it costs on a usual, warm instance.
    """

    instances: int
    slowness: float = 1.0


@dataclass(frozen=True)
class Truth(world.Endpoint):
    """A model on an instance type, under a target, as it truly is.

    Args:
        hyper_threads: What a core's second thread adds, as a share of the first one's; None where
            a vCPU is a core.
        gpus: GPUs that do the work instead of the vCPUs.
        gpu_power: GPU utilization is the load to this power: under 1 it rises first and steeply.
        served_share: Share of the hardware's rate at which the container stops.
        queue: Requests that may wait in an instance, which refuses any more; None if any number.
        sigma: Of the logarithm of the time of service.
        off_cpu_ms: Mean time of an answer that needs no CPU, ms; no place is held during it.
        off_cpu_sigma: Of its logarithm.
        slow_instance: What a request costs on one instance of a fleet over what it costs elsewhere.
        error_rate: Share of requests that fail whatever the load.
        background: Share of the CPUs that is busy without any request.
        long_share: Share of requests of a second kind, which take longer.
        long_factor: How much longer.
        pause_share: Share of its time in which an instance stands still, to collect garbage say.
        pause_ms: Mean wait of a request that meets that, ms.
    """

    hyper_threads: float | None = None
    gpus: int = 0
    gpu_power: float = 1.0
    served_share: float = 1.0
    queue: int | None = None
    sigma: float = USUAL_SIGMA
    off_cpu_ms: float = 0.0
    off_cpu_sigma: float = 0.0
    slow_instance: float = 1.0
    error_rate: float = 0.0
    background: float = 0.0
    long_share: float = 0.0
    long_factor: float = 1.0
    pause_share: float = 0.0
    pause_ms: float = 0.0

    # --- One instance -----------------------------------------------------------------------------

    def rate_at(self, utilization: float, n: int) -> float:
        """Rate per instance at a utilization between 0 and 1, if the container lets it."""
        if self.gpus:
            load: float = max(utilization, 0.0) ** (1 / self.gpu_power)
            return super().rate_at(1.0, n) * load
        utilization = max(utilization - self.background, 0.0)
        rate = super().rate_at(utilization, n)
        if self.hyper_threads is None or utilization <= 0:
            return rate
        busy = self.vcpus * utilization
        second = _over_half(self.vcpus, utilization)
        return rate * (busy - (1 - self.hyper_threads) * second) / busy

    def capacity(self, n: int) -> float:
        """Most that one instance serves, per second."""
        return self.served_share * self.rate_at(1.0, n)

    @property
    def _held_up(self) -> bool:
        """Whether places are held for longer than CPUs are used."""
        return bool(self.gpus) or self.served_share < 1

    def load(self, rate: float, n: int) -> float:
        """Share of an instance's places that are busy at a rate, under 1 while it keeps up."""
        most = self.capacity(n)
        if self._held_up or self.hyper_threads is not None or rate >= most:
            return rate / most
        return self.utilization(rate, n)

    def shape(self, rate: float, n: int, slowness: float = 1.0) -> Shape:
        """How long answers take on an instance that is offered a rate.

        Args:
            rate: Per second.
            n: Instances of its fleet.
            slowness: What a request costs there over what it costs on a usual instance.
        """
        work = rate * slowness
        load = min(self.load(work, n), 0.98 if self.queue is None else 0.999)
        service = 1000 * self.concurrency / self.capacity(n) * slowness
        if not self._held_up:
            busy = self.utilization(work, n) - self.background
            service = 1000 * busy * self.concurrency / work * slowness
        hot_load = min(load * (1 + self.hot), 0.99) if n > 1 else load
        shares = [(1 / n, hot_load), (1 - 1 / n, load)] if self.hot and n > 1 else [(1.0, load)]
        # A queue of services that differ is longer by this (Allen and Cunneen).
        uneven = max(math.exp(self.sigma**2) * self._kinds_differ / 2, 1.0)
        balanced = 1.0 if self.random_routing else _BALANCED
        longest = math.inf
        if self.queue is not None:
            longest = self.queue * service / self.concurrency / math.log(100)
        queues = tuple(
            (
                share * world.erlang_c(self.concurrency, each),
                min(service / (self.concurrency * (1 - each)) * balanced * uneven, longest),
            )
            for share, each in shares
        )
        if self.pause_share:
            queues = (*queues, (self.pause_share, self.pause_ms))
        return Shape(
            service,
            self.sigma,
            self.off_cpu_ms,
            self.off_cpu_sigma,
            queues,
            self.long_share,
            self.long_factor,
        )

    @property
    def _kinds_differ(self) -> float:
        """Mean square of the time of service by kind over the square of its mean."""
        squares = 1 + self.long_share * (self.long_factor**2 - 1)
        return squares / (1 + self.long_share * (self.long_factor - 1)) ** 2

    def refused(self, rate: float, n: int) -> float:
        """Share of requests that an instance refuses or never answers at a rate."""
        load = rate / self.capacity(n)
        if self.queue is None:
            return max(1 - 1 / load, 0.0) if load > 1 else 0.0
        return _lost(self.concurrency, self.queue, load)

    # --- A fleet ----------------------------------------------------------------------------------

    def parts(self, n: int) -> tuple[Part, ...]:
        """The warm fleet."""
        if self.slow_instance == 1.0 or n < 2:
            return (Part(n),)
        return (Part(n - 1), Part(1, self.slow_instance))

    def traffic(self, parts: Sequence[Part]) -> list[float]:
        """The share of all requests that each part gets."""
        weights = [
            part.instances / (1.0 if self.random_routing else part.slowness) for part in parts
        ]
        return [weight / sum(weights) for weight in weights]

    def _works(self, rate: float, n: int) -> list[tuple[Part, float, float]]:
        """Each warm part, its share of the traffic, and the rate of one of its instances."""
        parts = self.parts(n)
        return [
            (part, share, rate * n * share / part.instances)
            for part, share in zip(parts, self.traffic(parts), strict=True)
        ]

    def busy(self, rate: float, n: int) -> float:
        """Mean utilization of a warm fleet, 0 to 1, at a rate per instance."""
        return sum(
            part.instances / n * self.utilization(mine * part.slowness, n)
            for part, _, mine in self._works(rate, n)
        )

    def latency_ms(self, rate: float, n: int) -> tuple[float, float]:
        """p50 and p99 of the model's latency at a rate per instance."""
        works = self._works(rate, n)
        if self.queue is None and any(
            self.load(mine * part.slowness, n) >= _FULL for part, _, mine in works
        ):
            return _TIMEOUT_MS, _TIMEOUT_MS
        shapes = [(share, self.shape(mine, n, part.slowness)) for part, share, mine in works]
        if len(shapes) == 1:
            return shapes[0][1].quantile(0.5), shapes[0][1].quantile(0.01)
        points = [point for share, shape in shapes for point in shape.expected(share)]
        return percentile(points, 50) or 0.0, percentile(points, 99) or 0.0

    def mean_latency_ms(self, rate: float, n: int) -> float:
        """Mean of the model's latency at a rate per instance."""
        return sum(
            share * self.shape(mine, n, part.slowness).mean_ms
            for part, share, mine in self._works(rate, n)
        )

    def lost(self, work: float, n: int) -> float:
        """Share of requests that instances refuse, or never answer, at a rate of usual requests.

        Where routing is random, one of them gets more than the others.
        """
        lost = self.refused(work, n)
        if n > 1 and self.hot:
            return max(lost, self.refused(work * (1 + self.hot), n) / n)
        return lost

    def failing(self, rate: float, n: int) -> float:
        """Share of requests that fail at a rate per instance."""
        lost = sum(
            share * self.lost(mine * part.slowness, n) for part, share, mine in self._works(rate, n)
        )
        return 1 - (1 - self.error_rate) * (1 - lost)

    def fails(self, rate: float, n: int) -> bool:
        """Whether more requests fail at a rate per instance than a target allows."""
        return self.failing(rate, n) > ERROR_LIMIT * (1 + 1e-9)

    def within_limits(self, rate: float, n: int, slack: float = 1.0) -> bool:
        """Whether errors and p99 are within their limits, ``slack`` times these at the most."""
        if self.fails(rate / slack, n):
            return False
        limit = self.p99_limit_ms
        return limit is None or self.latency_ms(rate, n)[1] <= limit * slack

    def feasible(self, n: int, tps: float | None = None, slack: float = 1.0) -> bool:
        """Whether a count serves a target in or under the band and within the limits."""
        rate = (tps or self.tps) / n
        if 100 * self.busy(rate, n) > world.UPPER_EDGE * slack:
            return False
        return self.within_limits(rate, n, slack)

    def most_within_limits(self, n: int) -> float:
        """Largest rate per instance within the limits, the band aside."""
        low, high = 0.0, self.capacity(n) * 1.05
        for _ in range(_HALVES):
            middle = (low + high) / 2
            low, high = (middle, high) if self.within_limits(middle, n) else (low, middle)
        return low

    def most_tps(self, n: int) -> float:
        """The largest target that a count can serve; 0 for no instances."""
        if n == 0:
            return 0.0
        low, high = 0.0, n * min(self.rate_at(world.UPPER_EDGE / 100, n), self.capacity(n)) * 1.05
        for _ in range(_HALVES):
            middle = (low + high) / 2
            low, high = (middle, high) if self.feasible(n, middle) else (low, middle)
        return low

    def smallest_count(self) -> int:
        """The smallest feasible count."""
        low, high = 0, 1
        while not self.feasible(high):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.feasible(middle) else (middle, high)
        return high


@lru_cache(maxsize=4096)
def _over_half(vcpus: int, utilization: float) -> float:
    """Threads that share a core with another one, on average, in units of threads.

    The scheduler fills cores first. Each vCPU is busy or not at random, so the number of busy ones
    is binomial, taken as normal.
    """
    busy, cores = vcpus * utilization, vcpus / 2
    deviation = math.sqrt(max(busy * (1 - utilization), 1e-12))
    z = (busy - cores) / deviation
    above = 0.5 * math.erfc(-z / math.sqrt(2))
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return max((busy - cores) * above + deviation * density, 0.0)


def _lost(servers: int, queue: int, load: float) -> float:
    """Share of requests that an M/M/c/K queue refuses."""
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = servers * load * blocked / (k + servers * load * blocked)
    if blocked <= 0:
        return 0.0
    if math.isclose(load, 1.0, rel_tol=1e-9):
        waiting = float(queue + 1)
    else:
        waiting = (1 - load ** (queue + 1)) / (1 - load)
    lost: float = load**queue / (1 / blocked - 1 + waiting)
    return lost
