"""A load test of a simulated endpoint, run as the load generator runs it.

What the leader decides is its own code: how long to warm up, the burst's stages, the windows.
Requests are a fluid by the second, with queues that build up and drain; few are drawn one by one.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import msgspec

from benchmarks.search.worlds.cloudwatch import OVERHEAD_MS, Recording
from benchmarks.search.worlds.fleet import TIMEOUT_SECONDS, Fleet, Now, Site
from benchmarks.search.worlds.latency import Shape, binomial, mean, percentile
from benchmarks.search.worlds.truth import Truth
from load_generator import saturation, warm_up
from load_generator.histogram import Histogram
from load_generator.ledger import Second
from load_generator.schedule import StepWindow, step_window
from load_generator.spec import BurstSpec, Spec
from sizing.load_test.locust_result import LocustResult, LocustStep, WarmUp
from sizing.load_test.observation import Latency, Window, Workers
from sizing.load_test.plan import LoadTestPlan
from sizing.load_test.run import load_test_input
from sizing.request.sizing import Sizing

#: Between the client and the endpoint, there and back, ms.
NETWORK_MS = 2.0
#: Steps of fewer requests are drawn one request at a time.
_FEW = 1500
#: A worker is late above this share of its CPU.
_CLIENT_SATURATION = 0.85
#: Answers faster than this end in the period they began in, but for as many from the one before.
_QUICK_MS = 1000.0
#: As the leader has them: a step is ended early if more than this fails, percent.
_HOPELESS_ERROR_PERCENT = 20.0


class NothingSucceededError(RuntimeError):
    """No request of the burst succeeded, so that its steps have no rates."""


def run(
    site: Site, sizing: Sizing, plan: LoadTestPlan, started_at: float, random: Random
) -> tuple[LocustResult, Recording]:
    """Run a load test.

    Args:
        site: The endpoint; its instances grow older.
        sizing: What it is part of.
        plan: The load test.
        started_at: Epoch seconds.
        random: Source of all noise.

    Raises:
        NothingSucceededError: The burst found no rate.
    """
    site.scale(plan.instance_count)
    asked = load_test_input(sizing, plan, attempt=1, name_prefix="bench", bucket="bench")
    test = _LoadTest(site, msgspec.convert(asked["spec"], Spec), started_at, random)
    result = test.run()
    site.ages = [age + result.finished_at - started_at for age in site.ages]
    return result, test.recording


class _LoadTest:
    def __init__(self, site: Site, spec: Spec, started_at: float, random: Random) -> None:
        self._spec, self._random = spec, random
        self._fleet = Fleet(site, started_at, random)
        self._truth: Truth = site.candidate.truth
        self._client_tps = self._truth.client_tps * spec.workers * spec.worker_vcpus
        self._begun = self._clock = started_at
        self._ends: dict[tuple[Shape, float], list[tuple[int, float]]] = {}
        #: Until the window of a step is known, what its warm-up is judged by.
        self._answered: defaultdict[int, Second] = defaultdict(Second)
        self._warming = True
        self.recording = Recording(
            self._truth,
            self._fleet.conditions,
            self._fleet.instances,
            spec.metric_period_seconds,
            random,
        )

    def run(self) -> LocustResult:
        """The whole load test."""
        found = None
        if self._spec.burst is not None:
            self._warm_up(self._spec.burst.start_concurrency)
            found = self._burst(self._spec.burst)
        steps = self._steps(found)
        return LocustResult(
            status="COMPLETED",
            started_at=self._begun,
            finished_at=self._clock,
            workers=self._spec.workers,
            saturation=found,
            steps=steps,
        )

    # --- The burst --------------------------------------------------------------------------------

    def _closed_loop(self, concurrency: int, start: float, end: float) -> tuple[Second, float, str]:
        """What so many requests at once show, and their mean time, ms."""
        truth, fleet = self._truth, self._fleet
        parts, youth = fleet.parts((start + end) / 2)
        rate = failing = turned_away = 0.0
        for part, share, young in zip(parts, truth.traffic(parts), youth, strict=True):
            each = concurrency * share / part.instances
            one, refusing = closed_loop(truth, each, fleet.instances, part.slowness)
            rate += one * part.instances
            failing += share * young
            turned_away += share * refusing
        failing = 1 - (1 - failing) * (1 - truth.error_rate)
        still = fleet.stalled(start, end)
        if still and fleet.conditions.stall_fails:
            failing = 1 - (1 - failing) * (1 - still)
        taken = 1000 * concurrency / rate
        rate *= truth.burst_share * (1 + self._random.gauss(0, 0.01)) * (1 - still)
        client = min(rate, self._client_tps)
        expected = client * (end - start)
        uneven = math.sqrt(math.exp(max(truth.sigma, truth.off_cpu_sigma) ** 2) - 1)
        ended = max(round(self._random.gauss(expected, uneven * math.sqrt(expected))), 0)
        failed = binomial(ended, failing, self._random)
        figures = Second(succeeded=ended - failed, latency=_alike(taken, ended - failed))
        # What is refused comes back at once, and is refused again.
        failed += round(turned_away * ended)
        figures.sent = figures.answered = figures.invoked = figures.succeeded + failed
        if failed:
            figures.count_error("model_error_500", failed)
        limited = ""
        if client > _CLIENT_SATURATION * self._client_tps:
            limited = f"a worker used {100 * client / self._client_tps:.0f} % of its CPU"
        return figures, taken, limited

    def _warm_up(self, concurrency: int) -> None:
        """Keep a few requests going until the endpoint is as quick as it is going to be."""
        settle = self._spec.settle_seconds
        if not settle:
            return
        start = math.ceil(self._clock)
        end = math.ceil(start + settle)
        seconds: list[Second] = []
        while True:
            for second in range(start + len(seconds), end):
                figures, taken, _ = self._closed_loop(concurrency, second, second + 1)
                if second < start + taken / 1000:
                    figures = Second(sent=concurrency)  # none has come back yet
                seconds.append(figures)
            if not warm_up.judge(seconds).wait or end + 1 > start + warm_up.MOST * settle:
                break
            end += 1
        self._clock = end

    def _burst(self, spec: BurstSpec) -> dict[str, object]:
        stages: list[saturation.Stage] = []
        latency: float | None = None
        while (concurrency := saturation.next_concurrency(spec, stages)) is not None:
            start = self._clock
            measured = saturation.measured_seconds(spec, start, latency)
            _, latency, _ = self._closed_loop(concurrency, *measured)
            # For longer, if its latency turns out to be longer.
            measured = max(measured, saturation.measured_seconds(spec, start, latency))
            figures, latency, limited = self._closed_loop(concurrency, *measured)
            stages.append(saturation.Stage(concurrency, *measured, figures, limited or None))
            self._clock = measured[1]
        # The endpoint works off what the burst left.
        self._clock += 1 + min((latency or 0.0) / 1000, TIMEOUT_SECONDS)
        best = saturation.saturation(stages)
        if best is None:
            raise NothingSucceededError("no request of the burst succeeded")
        return {
            "tps": round(best.achieved_tps, 3),
            "concurrency": best.concurrency,
            "client_limited": best.client_limited,
            "bounded": saturation.bounded(spec, stages),
        }

    # --- The steps --------------------------------------------------------------------------------

    def _steps(self, found: dict[str, object] | None) -> tuple[LocustStep, ...]:
        most = float(str(found["tps"])) if found is not None else 0.0
        rates = [
            step.offered_tps or most * (step.saturation_fraction or 0.0)
            for step in self._spec.steps
            if step.offered_tps is None
            or step.saturation_fraction is None
            or step.offered_tps <= step.saturation_fraction * most
        ]
        offered = [(rate, *self._offer(rate)) for rate in rates]
        # What ends in a window may have begun before it.
        return tuple(self._reported(*each) for each in offered)

    def _offer(self, offered: float) -> tuple[StepWindow, warm_up.WarmUp]:
        """Simulate a step: its window is put off while the endpoint still gets quicker."""
        spec = self._spec
        window = step_window(
            math.ceil(self._clock),
            settle=spec.settle_seconds,
            steady=spec.steady_seconds,
            period=spec.metric_period_seconds,
        )
        start, period = int(window.start), spec.metric_period_seconds
        step = _Step(min(offered, self._client_tps), start, window.steady_end)
        done, self._warming = start, True
        while True:
            for second in range(done, window.steady_start):
                self._second(step, second)
            done = window.steady_start
            seconds = [self._answered[second] for second in range(start, done)]
            judgement = warm_up.judge(seconds)
            if not judgement.wait or done + period > start + warm_up.MOST * spec.settle_seconds:
                break
            window = replace(
                window, steady_start=done + period, steady_end=window.steady_end + period
            )
        self._warming = False
        for second in range(done, window.steady_end):
            self._second(step, second)
        if not step.few:
            self._enter(step)
        self._clock = window.steady_end
        return self._ended_early(window), warm_up.WarmUp(done - start, judgement.steady)

    def _second(self, step: _Step, second: int) -> None:
        """One second of a step."""
        now, self.recording.utilization[second] = self._fleet.serve(second, step.sent)
        if step.few:
            first = math.ceil((second - step.start) * step.sent - 1e-9)
            last = math.ceil((second + 1 - step.start) * step.sent - 1e-9)
            for number in range(first, last):
                self._request(step.start + number / step.sent, now)
        else:
            self._cohort(step, second, now)

    def _request(self, at: float, now: Sequence[Now]) -> None:
        """One request: where it goes, whether it fails, and when it ends."""
        part, where = now[-1], self._random.random()
        for each in now:
            if where < each.traffic:
                part = each
                break
            where -= each.traffic
        if self._warming:
            self._answered[int(at)].sent += 1
        chance = self._random.random()
        if chance < part.timed_out:
            self._failed(at + TIMEOUT_SECONDS, "timeout")
        elif chance < part.timed_out + part.refused:
            self._failed(at, "model_error_500")
        else:
            latency = self._fleet.shape(part).draw(self._random) + 1000 * part.delay
            ended = at + latency / 1000
            period = self.recording.periods[self.recording.start_of(ended)]
            period.points.append((latency, 1))
            period.succeeded += 1
            if self._warming:
                answered = self._answered[int(ended)]
                answered.succeeded += 1
                answered.latency.add([latency / 1000])

    def _failed(self, at: float, kind: str) -> None:
        self.recording.periods[self.recording.start_of(at)].errors[kind] += 1
        self._answered[int(at)].count_error(kind)

    def _cohort(self, step: _Step, second: int, now: Sequence[Now]) -> None:
        """The requests that start in one second."""
        start_of = self.recording.start_of
        here = start_of(second)
        unsettled = 0.0
        for each in now:
            offered = each.rate * each.part.instances
            shape = self._fleet.shape(each)
            unsettled += offered * shape.spread_seconds
            if each.refused:
                step.refused[here] += offered * each.refused
                self._answered[second].count_error("any", round(offered * each.refused))
            if each.timed_out:
                step.timed_out[start_of(second + TIMEOUT_SECONDS)] += offered * each.timed_out
            answered = offered * max(1 - each.refused - each.timed_out, 0.0)
            key = shape, each.delay
            noise = self._random.gauss(0, 1)
            for later, share in self._ended(*key):
                ended = step.ended[start_of(second + later)]
                ended[key] = ended.get(key, 0.0) + answered * share
                if self._warming:
                    self._count(second + later, answered * share, key, noise)
        self._answered[second].sent += round(step.sent)
        step.unsettled.setdefault(here, unsettled)

    def _count(self, second: int, count: float, key: tuple[Shape, float], noise: float) -> None:
        """Enter successes into the seconds that the warm-up is judged by."""
        shape, delay = key
        many = self._whole(count)
        if not many:
            return
        # The standard error of a median is 1.25 times that of a mean of normal variables.
        scatter = 1.25 * max(shape.sigma, shape.off_cpu_sigma) / math.sqrt(many)
        median = shape.median_ms * (1 + scatter * noise) + 1000 * delay
        answered = self._answered[second]
        answered.succeeded += many
        answered.latency.merge(_alike(median, many))

    def _ended(self, shape: Shape, delay: float) -> list[tuple[int, float]]:
        """When the requests of a second end: how many seconds later, and their share."""
        key = shape, delay
        if key not in self._ends:
            times = shape.equal
            if times[-1] < _QUICK_MS:
                times = (shape.median_ms,)
            # The middle of the second they begin in, but for the quick, which mostly stay in it.
            into = 0.5 if len(times) > 1 or delay else 0.0
            spread = Counter(int(into + delay + time / 1000) for time in times)
            self._ends[key] = [(later, many / len(times)) for later, many in spread.items()]
        return self._ends[key]

    def _enter(self, step: _Step) -> None:
        """Draw what was expected."""
        edge = 0.0
        for start in sorted({*step.ended, *step.refused, *step.timed_out}):
            period = self.recording.periods[start]
            variance = step.unsettled.get(start + self._spec.metric_period_seconds, 0.0)
            later = self._random.gauss(0, math.sqrt(variance)) if variance else 0.0
            expected = step.ended.get(start, {})
            total = sum(expected.values())
            shift = (edge - later) / total if total else 0.0
            edge = later
            for (shape, delay), count in expected.items():
                whole = self._whole(count * max(1 + shift, 0.0))
                period.points += shape.sample(whole, self._random, 1000 * delay)
                period.succeeded += whole
            for kind, counts in (
                ("model_error_500", step.refused),
                ("timeout", step.timed_out),
            ):
                if counts.get(start, 0.0) > 0:
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
        period = self._spec.metric_period_seconds
        for looked in range(window.steady_start + period, window.steady_end, period):
            seen = self.recording.between(looked - period, looked)
            failed = sum(seen.errors.values())
            ended = failed + seen.succeeded
            if failed > _HOPELESS_ERROR_PERCENT / 100 * ended:
                self.recording.forget(looked)
                self._clock = looked + 1 + self._fleet.drain()
                return replace(window, steady_end=looked)
        return window

    def _reported(self, offered: float, window: StepWindow, warmed: warm_up.WarmUp) -> LocustStep:
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
            warm_up=WarmUp(seconds=warmed.seconds, steady=warmed.steady),
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
                count=self._spec.workers,
                cpu_percent_max=min(100 * share, 100.0),
                lag_ms_p99=0.2,
            ),
        )


class _Step:
    """A step: its rate, and what is expected to end in each period."""

    def __init__(self, sent: float, start: int, end: int) -> None:
        self.sent, self.start = sent, start
        #: So few that each is drawn by itself.
        self.few = sent * (end - start) <= _FEW
        self.ended: defaultdict[int, dict[tuple[Shape, float], float]] = defaultdict(dict)
        self.refused: defaultdict[int, float] = defaultdict(float)
        self.timed_out: defaultdict[int, float] = defaultdict(float)
        #: Variance of the number in flight at each period's start.
        self.unsettled: dict[int, float] = {}


def _alike(milliseconds: float, count: int) -> Histogram:
    """So many durations that are the same."""
    if count <= 0:
        return Histogram()
    seconds = milliseconds / 1000
    return Histogram({max(round(1e6 * seconds), 1): count}, count * seconds, seconds)


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
        if not truth.gpus and truth.served_share == 1 and not truth.background
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
