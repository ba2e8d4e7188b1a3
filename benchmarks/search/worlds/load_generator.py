"""A load test of a simulated endpoint, run as the load generator runs it.

The burst's decisions and the windows are the load generator's own code. Requests are a fluid by
the second, with queues that build up and drain; few of them are drawn one by one.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from benchmarks.search.world import COMMON_NOISE
from benchmarks.search.worlds.cloudwatch import OVERHEAD_MS, Recording
from benchmarks.search.worlds.drawing import Candidate
from benchmarks.search.worlds.latency import Shape, binomial, mean, percentile
from benchmarks.search.worlds.truth import Part, Truth
from load_generator import saturation
from load_generator.ledger import Second
from load_generator.schedule import StepWindow, step_window
from load_generator.spec import BurstSpec
from sizing.load_test.locust_result import LocustResult, LocustStep
from sizing.load_test.observation import Latency, Window, Workers
from sizing.load_test.plan import Burst, LoadTestPlan
from sizing.request.request import Measurement

#: Between the client and the endpoint, there and back, ms.
NETWORK_MS = 2.0
#: SageMaker ends an invocation after this, seconds.
_TIMEOUT_SECONDS = 60.0
#: Steps of fewer requests are drawn one request at a time.
_FEW = 1500
#: A worker is late above this share of its CPU.
_CLIENT_SATURATION = 0.85
#: Precision of what a request costs while it changes, relative, and of delays: digits of seconds.
_COST_STEP, _DELAY_DIGITS = 0.002, 1
#: Points between which utilization is interpolated.
_GRID = 200
#: Answers faster than this end in the period they began in, but for as many from the one before.
_QUICK_MS = 1000.0
#: As the leader has them: a step is ended early if more than this fails, percent.
_HOPELESS_ERROR_PERCENT = 20.0


class Site:
    """An endpoint between load tests: how long each of its instances was under load, seconds."""

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        self.ages: list[float] = []

    def scale(self, count: int) -> None:
        """Bring it to a count; the newest instances go first."""
        self.ages = [*self.ages[:count], *[0.0] * (count - len(self.ages))]


@dataclass(frozen=True)
class _Now:
    """One part of the fleet in one second."""

    part: Part
    #: Of all requests.
    traffic: float
    #: Requests offered to one instance, per second.
    rate: float
    delay: float
    refused: float
    timed_out: float


class NothingSucceededError(RuntimeError):
    """No request of the burst succeeded, so that its steps have no rates."""


def run(
    site: Site,
    plan: LoadTestPlan,
    measurement: Measurement,
    started_at: float,
    random: Random,
) -> tuple[LocustResult, Recording]:
    """Run a load test.

    Args:
        site: The endpoint; its instances grow older.
        plan: The load test.
        measurement: Lengths of its steps.
        started_at: Epoch seconds.
        random: Source of all noise.

    Raises:
        NothingSucceededError: The burst found no rate.
    """
    site.scale(plan.instance_count)
    test = _LoadTest(site, plan, measurement, started_at, random)
    result = test.run()
    return result, test.recording


class _LoadTest:
    def __init__(
        self,
        site: Site,
        plan: LoadTestPlan,
        measurement: Measurement,
        started_at: float,
        random: Random,
    ) -> None:
        self._site, self._plan, self._measurement = site, plan, measurement
        self._truth, self._conditions = site.candidate.truth, site.candidate.conditions
        self._random = random
        self._n = plan.instance_count
        self._client_tps = self._truth.client_tps * plan.workers * plan.worker_vcpus
        self._begun = self._clock = started_at
        self._cost = 1 + random.gauss(0, COMMON_NOISE)
        self._stalls = self._draw_stalls()
        ages = Counter(
            (age, self._truth.slow_instance if index == 1 else 1.0)
            for index, age in enumerate(site.ages)
        )
        self._classes = [(count, age, slow) for (age, slow), count in ages.items()]
        self._backlog = [0.0] * len(self._classes)
        self._shapes: dict[tuple[float, float], Shape] = {}
        self._ended: dict[tuple[Shape, float, int], list[tuple[int, float]]] = {}
        self._capacity = self._truth.capacity(self._n)
        #: Rates of one usual instance by utilization, evenly from 0 to 1.
        self._rates = [self._truth.rate_at(i / _GRID, self._n) for i in range(_GRID + 1)]
        self.recording = Recording(
            self._truth,
            self._conditions,
            self._n,
            measurement.metric_period_seconds,
            random,
        )

    def run(self) -> LocustResult:
        """The whole load test."""
        found = None
        if self._plan.burst is not None:
            found = self._burst(self._plan.burst)
        steps = self._steps(found)
        self._site.ages = [age + self._clock - self._begun for age in self._site.ages]
        return LocustResult(
            status="COMPLETED",
            started_at=self._begun,
            finished_at=self._clock,
            workers=self._plan.workers,
            saturation=found,
            steps=steps,
        )

    # --- The endpoint in time ---------------------------------------------------------------------

    def _draw_stalls(self) -> list[tuple[float, float]]:
        """Start and end of each."""
        often = self._conditions.stalls_per_hour / 3600
        stalls: list[tuple[float, float]] = []
        at = self._begun
        while often > 0 and at < self._begun + 3600:
            at += self._random.expovariate(often)
            stalls.append((at, at + self._random.uniform(*self._conditions.stall_seconds)))
        return stalls

    def _stalled(self, start: float, end: float) -> float:
        """Share of a time in which the endpoint stands still."""
        still = sum(max(min(end, late) - max(start, early), 0.0) for early, late in self._stalls)
        return min(still / (end - start), 1.0)

    def _still_for(self, at: float) -> float:
        """How long the stall that holds at a time will last, seconds."""
        return max((late - at for early, late in self._stalls if early <= at < late), default=0.0)

    def _fleet(self, at: float) -> tuple[list[Part], list[float]]:
        """The fleet's parts at a time, and the share of requests that each fails for its youth."""
        parts, errors = [], []
        under_load = at - self._begun
        truth = self._truth
        warm = 1 + truth.warm_up * math.exp(-under_load / truth.warm_up_seconds)
        for count, age, slow in self._classes:
            youth = self._conditions.slowness(age + under_load) * warm
            # In steps, so that the few shapes are worth their tables.
            youth = math.exp(round(math.log(youth) / _COST_STEP) * _COST_STEP)
            parts.append(Part(count, youth * slow * self._cost))
            errors.append(self._conditions.start_errors(age + under_load))
        return parts, errors

    def _utilization(self, work: float) -> float:
        """Utilization of one instance at a rate of usual requests, 0 to 1."""
        if self._truth.gpus:
            share: float = (work / self._rates[-1]) ** self._truth.gpu_power
            return min(share, 1.0)
        k = bisect_left(self._rates, work)
        if k == 0 or k > _GRID:
            return min(k, 1)
        low, high = self._rates[k - 1], self._rates[k]
        return (k - 1 + (work - low) / (high - low)) / _GRID

    def _shape(self, rate: float, slowness: float) -> Shape:
        key = rate, slowness
        if key not in self._shapes:
            self._shapes[key] = self._truth.shape(rate, self._n, slowness)
        return self._shapes[key]

    # --- The burst --------------------------------------------------------------------------------

    def _burst(self, burst: Burst) -> dict[str, object]:
        spec = BurstSpec(burst.start_concurrency, burst.max_concurrency, burst.stage_seconds)
        stages: list[saturation.Stage] = []
        latency: float | None = None
        while (concurrency := saturation.next_concurrency(spec, stages)) is not None:
            stage, latency = self._stage(spec, concurrency, latency)
            stages.append(stage)
        # The endpoint works off what the burst left.
        self._clock += 1 + min((latency or 0.0) / 1000, _TIMEOUT_SECONDS)
        best = saturation.saturation(stages)
        if best is None:
            raise NothingSucceededError("no request of the burst succeeded")
        return {
            "tps": round(best.achieved_tps, 3),
            "concurrency": best.concurrency,
            "client_limited": best.client_limited,
            "bounded": saturation.bounded(spec, stages),
        }

    def _stage(
        self, spec: BurstSpec, concurrency: int, latency: float | None
    ) -> tuple[saturation.Stage, float]:
        start = self._clock
        measured = saturation.measured_seconds(spec, start, latency)
        parts, youth = self._fleet(sum(measured) / 2)
        traffic = self._truth.traffic(parts)
        rate = failing = turned_away = 0.0
        for part, share, young in zip(parts, traffic, youth, strict=True):
            each = concurrency * share / part.instances
            one, refusing = closed_loop(self._truth, each, self._n, part.slowness)
            rate += one * part.instances
            failing += share * young
            turned_away += share * refusing
        failing = 1 - (1 - failing) * (1 - self._truth.error_rate)
        seen = 1000 * concurrency / rate
        measured = max(measured, saturation.measured_seconds(spec, start, seen))
        from_, end = measured
        still = self._stalled(from_, end)
        if still and self._conditions.stall_fails:
            failing = 1 - (1 - failing) * (1 - still)
        rate *= self._truth.burst_share * (1 + self._random.gauss(0, 0.01)) * (1 - still)
        client = min(rate, self._client_tps)
        expected = client * (end - from_)
        uneven = math.sqrt(math.exp(max(self._truth.sigma, self._truth.off_cpu_sigma) ** 2) - 1)
        ended = max(round(self._random.gauss(expected, uneven * math.sqrt(expected))), 0)
        failed = binomial(ended, failing, self._random)
        figures = Second(succeeded=ended - failed)
        # What is refused comes back at once, and is refused again.
        failed += round(turned_away * ended)
        figures.answered = figures.invoked = figures.succeeded + failed
        if failed:
            figures.count_error("model_error_500", failed)
        limited = None
        if client > _CLIENT_SATURATION * self._client_tps:
            limited = f"a worker used {100 * client / self._client_tps:.0f} % of its CPU"
        self._clock = end
        return saturation.Stage(concurrency, from_, end, figures, limited), seen

    # --- The steps --------------------------------------------------------------------------------

    def _steps(self, found: dict[str, object] | None) -> tuple[LocustStep, ...]:
        most = float(str(found["tps"])) if found is not None else 0.0
        rates = [
            step.offered_tps or most * (step.saturation_fraction or 0.0)
            for step in self._plan.steps
            if step.offered_tps is None
            or step.saturation_fraction is None
            or step.offered_tps <= step.saturation_fraction * most
        ]
        windows = []
        for offered in rates:
            window = step_window(
                math.ceil(self._clock),
                settle=self._measurement.settle_seconds,
                steady=self._measurement.steady_seconds,
                period=self._measurement.metric_period_seconds,
            )
            self._offer(offered, window)
            window = self._ended_early(window)
            windows.append(window)
        return tuple(
            self._reported(offered, window) for offered, window in zip(rates, windows, strict=True)
        )

    def _offer(self, offered: float, window: StepWindow) -> None:
        """Simulate a step."""
        start, end = int(window.start), window.steady_end
        sent = min(offered, self._client_tps)
        few = sent * (end - start) <= _FEW
        cohorts = self._Cohorts()
        for second in range(start, end):
            now = self._second(second, sent)
            if few:
                first = math.ceil((second - start) * sent - 1e-9)
                last = math.ceil((second + 1 - start) * sent - 1e-9)
                for number in range(first, last):
                    self._request(start + number / sent, now)
            else:
                self._cohort(second, now, cohorts)
        if not few:
            self._enter(cohorts)
        self._clock = end

    def _second(self, second: int, sent: float) -> list[_Now]:
        """What each part of the fleet does in one second; utilization is entered."""
        truth, n = self._truth, self._n
        parts, youth = self._fleet(second + 0.5)
        traffic = truth.traffic(parts)
        still = self._stalled(second, second + 1)
        fails = still if self._conditions.stall_fails else 0.0
        now = []
        busy = hottest = 0.0
        for index, part in enumerate(parts):
            offered = sent * traffic[index]
            rate = offered / part.instances
            full = part.instances * self._capacity / part.slowness
            work = rate * part.slowness
            refused = truth.lost(work, n)
            if truth.queue is None and work > self._capacity:
                refused = 0.0  # it is not refused but waits, and times out in the end
            failing = 1 - (1 - fails) * (1 - youth[index]) * (1 - truth.error_rate)
            failing = 1 - (1 - failing) * (1 - min(refused, 1.0))
            admitted = offered * (1 - refused) * (1 - fails)
            before = self._backlog[index]
            after = max(before + admitted - full * (1 - still), 0.0)
            room = full * _TIMEOUT_SECONDS
            if truth.queue is not None:
                room = float(truth.queue * part.instances)
            over = max(after - room, 0.0)
            self._backlog[index] = after - over
            waits = (self._still_for(second + 0.5) if not fails else 0.0) + after / full
            served = (before + admitted - after) / part.instances
            mine = self._utilization(served * part.slowness)
            busy += part.instances / n * mine
            hottest = max(hottest, mine * (1 + truth.hot if n > 1 else 1.0))
            now.append(
                _Now(
                    part=part,
                    traffic=traffic[index],
                    rate=rate,
                    delay=round(waits, _DELAY_DIGITS) if waits > 0.01 else 0.0,
                    refused=min(failing + (over / offered if truth.queue else 0.0), 1.0),
                    timed_out=0.0 if truth.queue else min(over / offered, 1.0),
                )
            )
        self.recording.utilization[second] = busy, min(hottest, 1.0)
        return now

    def _request(self, at: float, now: Sequence[_Now]) -> None:
        """One request: where it goes, whether it fails, and when it ends."""
        part, where = now[-1], self._random.random()
        for each in now:
            if where < each.traffic:
                part = each
                break
            where -= each.traffic
        chance = self._random.random()
        if chance < part.timed_out:
            ended = self.recording.start_of(at + _TIMEOUT_SECONDS)
            self.recording.periods[ended].errors["timeout"] += 1
            return
        if chance < part.timed_out + part.refused:
            self.recording.periods[self.recording.start_of(at)].errors["model_error_500"] += 1
            return
        latency = self._shape(part.rate, part.part.slowness).draw(self._random)
        latency += 1000 * part.delay
        period = self.recording.periods[self.recording.start_of(at + latency / 1000)]
        period.points.append((latency, 1))
        period.succeeded += 1

    class _Cohorts:
        """Expected numbers of requests by the period they end in."""

        def __init__(self) -> None:
            self.ended: defaultdict[int, dict[tuple[Shape, float], float]] = defaultdict(dict)
            self.refused: defaultdict[int, float] = defaultdict(float)
            self.timed_out: defaultdict[int, float] = defaultdict(float)
            #: Variance of the number in flight at each period's start.
            self.unsettled: dict[int, float] = {}

    def _cohort(self, second: int, now: Sequence[_Now], cohorts: _Cohorts) -> None:
        """The requests that start in one second."""
        period = self._measurement.metric_period_seconds
        here = second // period * period
        unsettled = 0.0
        for each in now:
            offered = each.rate * each.part.instances
            shape = self._shape(each.rate, each.part.slowness)
            unsettled += offered * shape.spread_seconds
            cohorts.refused[here] += offered * each.refused
            late = self.recording.start_of(second + _TIMEOUT_SECONDS)
            cohorts.timed_out[late] += offered * each.timed_out
            answered = offered * max(1 - each.refused - each.timed_out, 0.0)
            key = shape, each.delay
            for later, share in self._ends(shape, each.delay, second - here):
                of_period = cohorts.ended[here + later]
                of_period[key] = of_period.get(key, 0.0) + answered * share
        cohorts.unsettled.setdefault(here, unsettled)

    def _ends(self, shape: Shape, delay: float, into: int) -> list[tuple[int, float]]:
        """When the requests of a second end: seconds to the period's start, and their share.

        Args:
            shape: How long they take.
            delay: How long they wait besides, seconds.
            into: Seconds from the start of the period they begin in.
        """
        times = shape.equal
        if times[-1] < _QUICK_MS and not delay:
            return [(0, 1.0)]
        key = shape, delay, into
        if key not in self._ended:
            period = self._measurement.metric_period_seconds
            spread = Counter(
                int(into + 0.5 + delay + time / 1000) // period * period for time in times
            )
            self._ended[key] = [(later, n / len(times)) for later, n in spread.items()]
        return self._ended[key]

    def _enter(self, cohorts: _Cohorts) -> None:
        """Draw what was expected."""
        edge = 0.0
        for start in sorted({*cohorts.ended, *cohorts.refused, *cohorts.timed_out}):
            period = self.recording.periods[start]
            following = start + self._measurement.metric_period_seconds
            variance = cohorts.unsettled.get(following, 0.0)
            later = self._random.gauss(0, math.sqrt(variance)) if variance else 0.0
            expected = cohorts.ended.get(start, {})
            total = sum(expected.values())
            shift = (edge - later) / total if total else 0.0
            edge = later
            for (shape, delay), count in expected.items():
                whole = self._whole(count * max(1 + shift, 0.0))
                period.points += shape.sample(whole, self._random, 1000 * delay)
                period.succeeded += whole
            for kind, counts in (
                ("model_error_500", cohorts.refused),
                ("timeout", cohorts.timed_out),
            ):
                if counts[start] > 0:
                    # Few of many: binomial, over all that ended.
                    many = math.ceil(total + counts[start])
                    failed = binomial(many, min(counts[start] / many, 1.0), self._random)
                    if failed:
                        period.errors[kind] += failed

    def _whole(self, count: float) -> int:
        """A count that is whole, and on average what was expected."""
        return math.floor(count + self._random.random())

    def _ended_early(self, window: StepWindow) -> StepWindow:
        """The window of a step, which ends with the first hopeless period; queues are then gone."""
        period = self._measurement.metric_period_seconds
        for looked in range(window.steady_start + period, window.steady_end, period):
            seen = self.recording.between(looked - period, looked)
            failed = sum(seen.errors.values())
            ended = failed + seen.succeeded
            if failed > _HOPELESS_ERROR_PERCENT / 100 * ended:
                for start in [each for each in self.recording.periods if each >= looked]:
                    del self.recording.periods[start]
                for second in range(looked, window.steady_end):
                    self.recording.utilization.pop(second, None)
                waits = max(self._backlog) / self._capacity if self._capacity else 0.0
                self._backlog = [0.0] * len(self._backlog)
                self._clock = looked + 1 + min(waits, _TIMEOUT_SECONDS)
                return StepWindow(window.start, window.steady_start, looked)
        return window

    def _reported(self, offered: float, window: StepWindow) -> LocustStep:
        """What the leader reports of a step."""
        start, end = window.steady_start, window.steady_end
        seen = self.recording.between(start, end)
        failed = sum(seen.errors.values())
        ended = seen.succeeded + failed
        share = offered / self._client_tps
        limited = None
        if share > _CLIENT_SATURATION:
            limited = f"a worker used {100 * min(share, 1.0):.0f} % of its CPU"
        more = OVERHEAD_MS + NETWORK_MS

        def taken(percent: float) -> float | None:
            value = percentile(seen.points, percent)
            return None if value is None else value + more

        average = mean(seen.points)
        return LocustStep(
            offered_tps=offered,
            window=Window(start=start, end=end),
            achieved_tps=seen.succeeded / (end - start),
            answers=seen.invoked,
            invocations=seen.invoked,
            error_percent=100 * failed / ended if ended else 0.0,
            errors=dict(seen.errors),
            client_latency_ms=Latency(
                mean=None if average is None else average + more,
                p50=taken(50),
                p90=taken(90),
                p99=taken(99),
                max=max((value for value, _ in seen.points), default=None),
            ),
            client_limited=limited,
            workers=Workers(
                count=self._plan.workers,
                cpu_percent_max=min(100 * share, 100.0),
                lag_ms_p99=0.2,
            ),
        )


def closed_loop(truth: Truth, requests: float, n: int, slowness: float) -> tuple[float, bool]:
    """Rate of an instance that always has so many requests, and whether it refuses any.

    Requests are off the CPU for a while, then queue for a place: the machine repairman's model
    with a rate that depends on the number of busy places, whose states have a product form.

    Args:
        truth: The endpoint.
        requests: Kept going at one instance.
        n: Instances of the fleet.
        slowness: What a request costs there over what it costs on a usual instance.
    """
    many = max(math.ceil(requests), 1)
    places = truth.concurrency
    rates = [
        min(truth.rate_at(min(busy / places, 1.0), n), truth.capacity(n)) / slowness
        if not truth.gpus and truth.served_share == 1
        else truth.capacity(n) * busy / places / slowness
        for busy in range(min(many, places) + 1)
    ]
    away = truth.off_cpu_ms / 1000
    if away == 0:
        rate, inside = rates[-1], float(many)
    else:
        logs = [0.0]
        for state in range(1, many + 1):
            serving = rates[min(state, places)]
            logs.append(logs[-1] + math.log((many - state + 1) / away / serving))
        highest = max(logs)
        weights = [math.exp(each - highest) for each in logs]
        total = sum(weights)
        rate = (
            sum(weight * rates[min(state, places)] for state, weight in enumerate(weights)) / total
        )
        inside = many - rate * away
    refusing = truth.queue is not None and inside > places + truth.queue
    return rate * min(requests / many, 1.0), refusing
