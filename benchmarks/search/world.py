"""Simulated endpoints: a stated distribution of them, and what load tests of them show.

The world knows nothing of the search. What is drawn, and from what, stands in ``draw``; how an
endpoint behaves stands in ``Endpoint``; what an observer sees of it, in ``observe``.

Truth is free of noise: the utilization, latency and errors of a warm endpoint. Observations add
noise to each metric sample (one an instance and period) and to each load test as a whole, the
warm-up's remains, the sampling error of a 99th percentile, and a client that may be too slow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any

from sizing.load_test.observation import (
    Latency,
    LoadTestRecord,
    Observation,
    Window,
    Workers,
)

if TYPE_CHECKING:
    from sizing.load_test.plan import LoadTestPlan
    from sizing.request.request import Measurement

VCPUS = (2, 4, 8, 16, 32, 36, 48, 64, 72, 96)
SAMPLE_NOISE = (0.01, 0.02, 0.04)
COMMON_NOISE = 0.005
LARGEST_COUNT = 60
#: Share of the endpoints whose p99 limit binds before the band's upper edge.
LATENCY_BOUND_SHARE = 0.2
#: Share of the endpoints whose client can drive only a few instances with one worker vCPU.
SLOW_CLIENT_SHARE = 0.1
#: No latency limit is drawn that would leave a full count less busy than this: it asks for
#: another instance type, not for more instances.
LEAST_BUSY_PERCENT = 30.0
#: The largest target that a request may name.
MOST_TPS = 1e6
UPPER_EDGE, LOWER_EDGE = 70.0, 60.0

#: A worker is late above this share of its CPU.
_CLIENT_SATURATION = 0.85
_TIMEOUT_MS = 60_000.0
#: p99 of the service time over its mean: lognormal with a coefficient of variation of 0.2.
_SERVICE_P50, _SERVICE_P99 = 0.98, 1.55
#: How much a balanced fleet (least outstanding requests) shortens queues.
_BALANCED = 0.5


@dataclass(frozen=True)
class Endpoint:
    """A model on an instance type, under a target.

    Args:
        vcpus: vCPUs of an instance.
        cpu_ms: CPU time of one request on an idle instance, ms.
        concurrency: Requests an instance serves at once; together they can use all its vCPUs.
        slope: Change of the CPU time from an idle to a full instance, relative.
        curvature: Power of utilization at which that change grows.
        fleet_cost: What a large fleet's requests cost more than a single instance's, relative.
        fleet_logarithmic: The fleet's cost grows with log(n), else with 1 - 1/n.
        sample_noise: Standard deviation of one utilization sample, relative.
        warm_up: What the first request costs more, relative.
        warm_up_seconds: Time in which that falls to 1/e.
        hot: How much more than the mean one instance of the fleet gets, relative.
        random_routing: Requests are spread at random, else by least outstanding requests.
        client_tps: Rate that one worker vCPU can drive.
        burst_share: Share of the saturation rate that a burst finds.
        p99_limit_ms: The limit asked for; None if there is none.
        tps: The target.
        sampled_tail: p99s carry the sampling error of finitely many requests, and common noise.
    """

    vcpus: int
    cpu_ms: float
    concurrency: int
    slope: float
    curvature: float
    fleet_cost: float
    fleet_logarithmic: bool
    sample_noise: float
    warm_up: float
    warm_up_seconds: float
    hot: float
    random_routing: bool
    client_tps: float
    burst_share: float
    p99_limit_ms: float | None = None
    tps: float = 1.0
    sampled_tail: bool = False

    def inefficiency(self, n: int) -> float:
        """Cost of a request in a fleet over that on a single instance, relative."""
        grown = math.log(n) / math.log(LARGEST_COUNT) if self.fleet_logarithmic else 1 - 1 / n
        return 1 + self.fleet_cost * grown

    def _growth(self, utilization: float) -> float:
        """CPU time of a request at a utilization over that on an idle instance."""
        grown: float = utilization**self.curvature
        return 1 + self.slope * grown

    def rate_at(self, utilization: float, n: int) -> float:
        """Requests per second and instance at a utilization between 0 and 1."""
        cost = self.cpu_ms / 1000 * self._growth(utilization)
        return utilization * self.vcpus / (cost * self.inefficiency(n))

    def utilization(self, rate: float, n: int) -> float:
        """Utilization, 0 to 1, at a rate per instance; 1 where it can't be served."""
        if rate >= self.rate_at(1.0, n):
            return 1.0
        low, high = 0.0, 1.0
        for _ in range(40):
            middle = (low + high) / 2
            if self.rate_at(middle, n) < rate:
                low = middle
            else:
                high = middle
        return high

    def latency_ms(self, rate: float, n: int) -> tuple[float, float]:
        """p50 and p99 of the model's latency at a rate per instance.

        An instance is an M/M/c queue (Erlang C; the conditional wait is exponential) in front of
        lognormal service; the fleet mixes its hot instance with the others.
        """
        base = self.utilization(rate, n)
        service = self.cpu_ms * self.concurrency / self.vcpus
        service *= self._growth(base) * self.inefficiency(n)
        hot_load = min(base * (1 + self.hot), 1.0) if n > 1 else base
        shares = [(1 / n, hot_load), (1 - 1 / n, base)] if n > 1 else [(1.0, base)]
        queues = []
        for share, load in shares:
            if load >= 0.999:
                return _TIMEOUT_MS, _TIMEOUT_MS
            scale = service / (self.concurrency * (1 - load))
            scale *= 1.0 if self.random_routing else _BALANCED
            queues.append((share * erlang_c(self.concurrency, load), scale))
        p50 = service * _SERVICE_P50 + _mixed_quantile(queues, 0.5)
        return p50, service * _SERVICE_P99 + _mixed_quantile(queues, 0.01)

    def feasible(self, n: int, tps: float | None = None) -> bool:
        """Whether a count serves a target under the band's upper edge and within the limits."""
        rate = (tps or self.tps) / n
        if 100 * self.utilization(rate, n) > UPPER_EDGE:
            return False
        return self.p99_limit_ms is None or self.latency_ms(rate, n)[1] <= self.p99_limit_ms

    def smallest_count(self) -> int:
        """The smallest feasible count."""
        n = 1
        while not self.feasible(n):
            n += 1
        return n

    def most_tps(self, n: int) -> float:
        """The largest target that a count can serve; 0 for no instances."""
        if n == 0:
            return 0.0
        low, high = 0.0, n * self.rate_at(UPPER_EDGE / 100, n) * 1.001
        for _ in range(40):
            middle = (low + high) / 2
            if self.feasible(n, middle):
                low = middle
            else:
                high = middle
        return low

    def latency_binds(self, n: int) -> bool:
        """Whether the p99 limit is broken at the band's upper edge already."""
        if self.p99_limit_ms is None:
            return False
        return self.latency_ms(self.rate_at(UPPER_EDGE / 100, n), n)[1] > self.p99_limit_ms


def draw(random: Random, *, harder: bool = False) -> tuple[Endpoint, int]:
    """An endpoint of the distribution, and the count it truly needs.

    Args:
        random: Source of the draw.
        harder: Its p99s carry the sampling error of finitely many requests, and common noise.
    """
    needed = random.randint(1, LARGEST_COUNT)
    bound = random.random() < LATENCY_BOUND_SHARE
    while True:
        endpoint = draw_without_target(random, limited=bound or random.random() < 0.5)
        if endpoint.latency_binds(needed) is not bound:
            continue
        most, more = endpoint.most_tps(needed - 1), endpoint.most_tps(needed)
        busy = endpoint.utilization(more / needed, needed)
        if 100 * busy < LEAST_BUSY_PERCENT or more > MOST_TPS:
            continue
        tps = more - (more - most) * random.random()
        endpoint = _with(endpoint, tps=tps, sampled_tail=harder)
        return endpoint, endpoint.smallest_count()


def draw_without_target(random: Random, *, limited: bool) -> Endpoint:
    vcpus = random.choice(VCPUS)
    endpoint = Endpoint(
        vcpus=vcpus,
        cpu_ms=_log_uniform(random, 1, 2000),
        concurrency=round(_log_uniform(random, 1, vcpus)),
        slope=random.uniform(-0.10, 0.30),
        curvature=random.uniform(1, 2),
        fleet_cost=random.uniform(0, 0.05),
        fleet_logarithmic=random.random() < 0.5,
        sample_noise=random.choice(SAMPLE_NOISE),
        warm_up=random.uniform(0, 0.10),
        warm_up_seconds=_log_uniform(random, 5, 60),
        hot=0.0,
        random_routing=random.random() < 0.5,
        client_tps=20_000.0,
        burst_share=random.uniform(0.95, 1.0),
    )
    if endpoint.random_routing:
        endpoint = _with(endpoint, hot=random.uniform(0, 0.10))
    if random.random() < SLOW_CLIENT_SHARE:
        drives = _log_uniform(random, 0.3, 5)
        endpoint = _with(endpoint, client_tps=drives * endpoint.rate_at(1.0, 1))
    if limited:
        factor = _log_uniform(random, 1.05, 4)
        idle = endpoint.latency_ms(1e-6 * endpoint.rate_at(1.0, 1), 1)[1]
        endpoint = _with(endpoint, p99_limit_ms=factor * idle)
    return endpoint


def run(
    endpoint: Endpoint,
    plan: LoadTestPlan,
    measurement: Measurement,
    random: Random,
    started_at: float,
) -> LoadTestRecord:
    """What a load test of the endpoint shows."""
    common = random.gauss(0, COMMON_NOISE)
    saturation = None
    clock = started_at
    n = plan.instance_count
    fleet_tps = endpoint.client_tps * plan.workers * plan.worker_vcpus
    if plan.burst is not None:
        most = n * endpoint.rate_at(1.0, n) * endpoint.burst_share * (1 + random.gauss(0, 0.01))
        saturation = min(most, fleet_tps)
        clock += 30.0
    observations = []
    for step in plan.steps:
        most = (step.saturation_fraction or 0.0) * (saturation or 0.0)
        offered = step.offered_tps or most
        if step.saturation_fraction is not None and offered > most:
            continue
        since = clock - started_at + measurement.settle_seconds
        observations.append(
            observe(endpoint, n, offered, fleet_tps, common, since, measurement, random)
        )
        clock += measurement.settle_seconds + measurement.steady_seconds
    return LoadTestRecord(
        load_test_id=plan.load_test_id(1),
        instance_type=plan.instance_type,
        instance_count=n,
        purpose=plan.purpose,
        saturation_tps=saturation,
        observations=tuple(observations),
        workers=plan.workers,
        worker_vcpus=plan.worker_vcpus,
        started_at=started_at,
        finished_at=clock,
    )


def observe(
    endpoint: Endpoint,
    n: int,
    offered: float,
    fleet_tps: float,
    common: float,
    since: float,
    measurement: Measurement,
    random: Random,
) -> Observation:
    """What one step shows.

    Args:
        endpoint: The endpoint.
        n: Its instances.
        offered: The offered rate, per second.
        fleet_tps: Rate that the load generator can drive.
        common: Noise of this load test as a whole, relative.
        since: Seconds from the load test's start to the steady window.
        measurement: Length of the window and its periods.
        random: Source of the noise.
    """
    client_share = offered / fleet_tps
    sent = min(offered, fleet_tps)
    capacity = n * endpoint.rate_at(1.0, n)
    served = sent if sent < capacity else capacity * 0.98
    error_percent = 100 * (1 - served / sent)
    if n > 1 and sent < capacity < sent * (1 + endpoint.hot):
        lost = (sent * (1 + endpoint.hot) - capacity) / n
        served -= lost
        error_percent = 100 * lost / sent
    truth = endpoint.utilization(sent / n, n)
    periods = measurement.steady_seconds // measurement.metric_period_seconds
    samples = []
    for period in range(periods):
        age = since + (period + 0.5) * measurement.metric_period_seconds
        warm = 1 + endpoint.warm_up * math.exp(-age / endpoint.warm_up_seconds)
        noise = random.gauss(0, endpoint.sample_noise / math.sqrt(n))
        samples.append(min(truth * warm * (1 + common + noise), 1.0))
    mean = sum(samples) / periods
    scatter = math.sqrt(sum((each - mean) ** 2 for each in samples) / (periods - 1))
    p50, p99 = endpoint.latency_ms(sent / n, n)
    count = max(round(served * measurement.steady_seconds), 1)
    deviation, shared = endpoint.sample_noise / math.sqrt(n), 0.0
    if endpoint.sampled_tail:
        # Of a quantile of an exponential tail through p50 and p99, over the period's requests.
        scale = (p99 - p50) / math.log(50) / p99
        sampling = scale * math.sqrt(0.99 / 0.01 / max(count / periods, 1.0))
        deviation, shared = math.hypot(deviation, sampling), common
    tails = [p99 * max(1 + shared + random.gauss(0, deviation), 0.1) for _ in range(periods)]
    p99 = sum(tails) / periods
    tails_scatter = math.sqrt(sum((each - p99) ** 2 for each in tails) / (periods - 1))
    limited = None
    if client_share > _CLIENT_SATURATION:
        limited = f"a worker used {100 * client_share:.0f} % of its CPU"
    return Observation(
        offered_tps=offered,
        achieved_tps=served,
        window=Window(start=round(since), end=round(since) + measurement.steady_seconds),
        utilization_percent=100 * mean,
        cpu_utilization_raw=100 * mean * endpoint.vcpus,
        hottest_instance_percent=min(100 * mean * (1 + endpoint.hot), 100.0),
        model_latency_ms=Latency(mean=p50, p50=p50, p90=(p50 + p99) / 2, p99=p99),
        overhead_latency_ms=Latency(mean=3.0),
        client_latency_ms=Latency(mean=p50 + 5, p50=p50 + 5, p99=p99 + 5),
        error_percent=max(error_percent, 0.0),
        errors={"model_error_500": round(count * error_percent / 100)} if error_percent else {},
        workers=Workers(count=1, cpu_percent_max=min(100 * client_share, 100.0), lag_ms_p99=0.2),
        invocations=count,
        client_invocations=count,
        samples=periods * n,
        utilization_standard_error=100 * scatter / math.sqrt(periods),
        model_latency_p99_standard_error=tails_scatter / math.sqrt(periods),
        instances_reporting=n,
        client_limited=limited,
    )


def erlang_c(servers: int, load: float) -> float:
    """Probability that a request waits in an M/M/c queue, by the recursion of Erlang B."""
    traffic = servers * load
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = traffic * blocked / (k + traffic * blocked)
    return blocked / (1 - load * (1 - blocked))


def _mixed_quantile(queues: list[tuple[float, float]], tail: float) -> float:
    """The wait that a share ``tail`` of the requests exceeds, ms, over exponential waits."""
    if sum(weight for weight, _ in queues) <= tail:
        return 0.0
    low, high = 0.0, max(scale for _, scale in queues) * math.log(1 / tail)
    for _ in range(40):
        middle = (low + high) / 2
        if sum(weight * math.exp(-middle / scale) for weight, scale in queues) > tail:
            low = middle
        else:
            high = middle
    return high


def _log_uniform(random: Random, low: float, high: float) -> float:
    return math.exp(random.uniform(math.log(low), math.log(high)))


def _with(endpoint: Endpoint, **changes: Any) -> Endpoint:
    return replace(endpoint, **changes)
