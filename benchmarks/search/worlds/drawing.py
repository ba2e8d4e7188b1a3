"""The worlds, and how an endpoint of each is drawn.

An endpoint is one of the plain world's distribution, changed by its world's modifiers; its p99
limit and its target are then chosen so that it truly needs a number of instances drawn before.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from random import Random

from benchmarks.search import world
from benchmarks.search.worlds.conditions import Conditions
from benchmarks.search.worlds.modifiers import (
    Modifier,
    background,
    cold_start,
    container,
    correlated_noise,
    gpu,
    heavy_tails,
    hyper_threads,
    log_uniform,
    long_cold_start,
    mixed,
    pauses,
    samples,
    scaled,
    short_queue,
    slow_answers,
    slow_instance,
    stalls,
    start_errors,
    stray_errors,
    two_kinds,
)
from benchmarks.search.worlds.truth import Truth

#: A p99 limit that binds at fewer requests per second is a world of its own.
FEW_TPS = 50.0
_LEAST_TPS = 1.0
#: Share of the endpoints with a p99 limit that does not bind, as in the plain world.
_LOOSE_LIMIT_SHARE = 0.4
#: A p99 limit over what an idle instance does, as in the plain world.
_LIMIT_FACTOR = (1.05, 4.0)
#: Least rate under a p99 limit, as a share of the rate without: less asks for another type.
_LEAST_SHARE = world.LEAST_BUSY_PERCENT / world.UPPER_EDGE
#: No service takes longer on average, ms.
_LONGEST_SERVICE_MS = 5_000.0
_LONGEST_LIMIT_MS = 30_000.0
#: USD an hour and vCPU, and by how much types differ.
_VCPU_HOUR_USD = 0.05
_PRICE_SPREAD = (0.7, 1.4)
#: A type that needs more is not among the candidates.
_MOST_OF_A_TYPE = 200


@dataclass(frozen=True)
class World:
    """A kind of endpoints.

    Args:
        name: As the table has it.
        modifiers: What makes them worse, in order.
        bound: Share whose p99 limit binds before the band's upper edge.
        tps: Least and most of their targets; None for what comes of it.
        tps_per_instance: Least and most that one instance can do; None for what comes of it.
        largest_count: Most instances that they truly need.
        candidates: Fewest and most instance types of a request.
        prior: Factor by which an earlier sizing's count may be off, either way; None for none.
    """

    name: str
    modifiers: tuple[Modifier, ...] = ()
    bound: float = world.LATENCY_BOUND_SHARE
    tps: tuple[float, float] | None = None
    tps_per_instance: tuple[float, float] | None = None
    largest_count: int = world.LARGEST_COUNT
    candidates: tuple[int, int] = (1, 1)
    prior: float | None = None


@dataclass(frozen=True)
class Candidate:
    """An instance type of a request.

    Args:
        truth: How the model does on it.
        conditions: What goes wrong there.
        price: USD an hour.
        needed: The smallest count that truly serves the target.
    """

    truth: Truth
    conditions: Conditions
    price: float
    needed: int


@dataclass(frozen=True)
class Case:
    """What a search is asked."""

    candidates: tuple[Candidate, ...]
    #: Of the first candidate, from an earlier sizing; None if there was none.
    prior_count: int | None = None

    @property
    def tps(self) -> float:
        """The target."""
        return self.candidates[0].truth.tps

    @property
    def cheapest(self) -> float:
        """USD an hour of the cheapest right answer."""
        return min(each.price * each.needed for each in self.candidates)


def draw(random: Random, kind: World) -> Case:
    """A case of a world."""
    first = _candidate(random, kind, None)
    count = random.randint(*kind.candidates)
    others = [_candidate(random, kind, first.truth) for _ in range(count - 1)]
    prior = None
    if kind.prior is not None:
        off = log_uniform(random, 1 / kind.prior, kind.prior)
        prior = max(round(first.needed * off), 1)
    return Case((first, *others), prior)


def _candidate(random: Random, kind: World, first: Truth | None) -> Candidate:
    """A candidate; it shares the request's target and limit with the first one, if there is one."""
    bound = random.random() < kind.bound
    needed = random.randint(1, kind.largest_count)
    while True:
        truth, conditions = _modified(random, kind)
        if first is None:
            aimed = _aimed(random, kind, truth, needed, bound=bound)
        else:
            aimed = _same_request(random, truth, first)
        if aimed is not None:
            price = _VCPU_HOUR_USD * aimed.vcpus * random.uniform(*_PRICE_SPREAD)
            return Candidate(aimed, conditions, round(price, 4), aimed.smallest_count())


def _modified(random: Random, kind: World) -> tuple[Truth, Conditions]:
    plain = world.draw_without_target(random, limited=False)
    truth = Truth(**{each.name: getattr(plain, each.name) for each in fields(plain)})
    conditions = Conditions()
    for modifier in kind.modifiers:
        truth, conditions = modifier(random, truth, conditions)
    return truth, conditions


def _aimed(random: Random, kind: World, truth: Truth, needed: int, *, bound: bool) -> Truth | None:
    """The endpoint with a target, and a limit perhaps; None if it can't be what is wanted."""
    if kind.tps_per_instance is not None:
        truth = scaled(truth, truth.capacity(1), log_uniform(random, *kind.tps_per_instance))
    elif kind.tps is not None:
        truth = scaled(truth, truth.most_tps(needed), log_uniform(random, *kind.tps))
    if truth.cpu_ms * truth.concurrency / truth.vcpus > _LONGEST_SERVICE_MS:
        return None
    if kind.tps_per_instance is not None and kind.tps is not None:
        tps = log_uniform(random, *kind.tps)
        needed = replace(truth, tps=tps).smallest_count()
        if needed > kind.largest_count:
            return None
        return replace(truth, tps=tps)
    free = truth.most_tps(needed)
    if free > world.MOST_TPS:
        return None
    if bound or random.random() < _LOOSE_LIMIT_SHARE:
        limit = _limit(random, truth, needed, free / needed, bound=bound)
        if limit is None:
            return None
        truth = replace(truth, p99_limit_ms=limit)
    more = truth.most_tps(needed) if bound else free
    tps = more - (more - truth.most_tps(needed - 1)) * random.random()
    low, high = kind.tps or (FEW_TPS if bound else _LEAST_TPS, world.MOST_TPS)
    aimed = replace(truth, tps=tps)
    # Under a limit close to an idle instance's p99, a large fleet's cost alone may break it.
    return aimed if low <= tps <= high and aimed.feasible(2 * needed) else None


def _limit(random: Random, truth: Truth, n: int, most: float, *, bound: bool) -> float | None:
    """A p99 limit that binds, or does not, at the largest rate per instance without one, ms."""
    idle = truth.latency_ms(1e-6 * truth.capacity(1), 1)[1]
    full = truth.latency_ms(most, n)[1] / idle
    low, high = _LIMIT_FACTOR
    if bound:
        low = max(low, truth.latency_ms(_LEAST_SHARE * most, n)[1] / idle)
        high = min(high, full)
    else:
        low = max(low, full)
    if low >= high:
        return None
    limit = log_uniform(random, low, high) * idle
    return limit if limit <= _LONGEST_LIMIT_MS else None


def _same_request(random: Random, truth: Truth, first: Truth) -> Truth | None:
    """Another type for the same request; None if the request is not for it."""
    aimed = replace(
        truth,
        cpu_ms=first.cpu_ms * random.uniform(0.5, 2.0),
        concurrency=min(max(first.concurrency, 1), truth.vcpus),
        tps=first.tps,
        p99_limit_ms=first.p99_limit_ms,
    )
    return aimed if aimed.feasible(_MOST_OF_A_TYPE) else None


#: In the table's order.
WORLDS: tuple[World, ...] = (
    World("clean"),
    World("stray errors", (stray_errors,)),
    World("stalls", (stalls,)),
    World("cold starts", (cold_start,)),
    World("errors at start", (start_errors,)),
    World("slow answers", (slow_answers,), bound=0.0),
    World("p99 from 50 TPS", bound=1.0, tps=(FEW_TPS, 50_000.0)),
    World("p99 under 50 TPS", bound=1.0, tps=(5.0, FEW_TPS)),
    World("tiled percentiles", bound=0.5),
    World("heavy tails", (heavy_tails,), bound=0.5),
    World("samples", (samples,)),
    World("hyper-threads", (hyper_threads,)),
    World("concave gpu", (gpu,)),
    World("correlated noise", (correlated_noise,)),
    World("container", (container,)),
    World("slow instance", (slow_instance,)),
    World("wrong prior", prior=2.0),
    World("small rates", tps=(1.0, 10.0), tps_per_instance=(0.5, 5.0), bound=0.0),
    World("candidates", candidates=(3, 8)),
    World("background", (background,)),
    World("two kinds", (two_kinds,), bound=0.5),
    World("pauses", (pauses,), bound=0.5),
    World("short queue", (short_queue,)),
    World("long cold starts", (long_cold_start,)),
    World("mixed", (mixed,)),
)
BY_NAME = {each.name: each for each in WORLDS}
