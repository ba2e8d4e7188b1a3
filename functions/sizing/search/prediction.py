"""What follows from what was seen for other counts, and how sure that is."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, replace

from sizing.fits.latency import COMMON_LATENCY_NOISE, LatencyPoint, latency_at
from sizing.fits.noise import (
    FEW_REQUESTS,
    NORMAL,
    SAMPLE_NOISE,
    p99_noise,
    p99_of_few,
    pooled_noise,
)
from sizing.fits.regression import LEAST_NOISE
from sizing.fits.utilization import COMMON_NOISE, UtilizationFit, UtilizationPoint, fit_utilization
from sizing.load_test.verdict import USED_UP_PERCENT
from sizing.search.seen import Seen, Step

#: Room that is asked for under the most that one instance can serve, as a factor: closer to it a
#: queue's latency has no bound.
ROOM = 1.04
#: How well a burst, or a step that failed, tells that rate; relative standard deviation.
SATURATION_ERROR = 0.03
#: Counts over this are not looked at.
MOST_INSTANCES = 100_000
#: Standard errors beyond which a prediction is beyond question; and those that bound the counts
#: among which the answer is likely.
OUT_OF_QUESTION = 3.0
LIKELY = 1.5
#: Noise of a point that was seen while requests failed or queued up, relative.
OVERLOADED_NOISE = 0.05
#: What a warm-up may add to the first step of a load test, relative, and how fast it fades,
#: seconds: of an endpoint that starts warm, and of colder ones; and how probable those are.
WARM_UPS = (0.01, 0.1, 0.3, 1.0)
WARM_UP_SECONDS = (30.0, 90.0)
COLD_PROBABILITY = 0.05
#: Factor of all noise over what the scatter of periods says, where that is not independent; and how
#: probable another one than the first is.
NOISE_FACTORS = (1.0, 2.0, 4.0)
DEPENDENT_PROBABILITY = 0.1
#: How probable it is that utilization bends.
BENT_PROBABILITY = 0.1
#: Standard errors of room up to which a latency limit is taken to bind.
OPEN_ROOM = 2.5
#: A step's latency noise may be this part of what one instance more or less changes, one over.
NOISE_SHARE = 24.0
MOST_HELD = 8
#: Steps of the target where a fault of another kind was seen: one of them is likely without.
HELD_DESPITE_STRAYS = 2
LEAST_GROWTH = 1e-6
#: Share of the rate at the count found that autoscaling is advised to hold at the least; and how
#: many rates from there on are looked at.
LEAST_HELD = 0.8
RATES_LOOKED_AT = 60
#: Least utilization that a point is given, percent: its logarithm is fitted.
LEAST_PERCENT = 0.01
#: Probability that no evidence is taken to exceed.
ALMOST_SURE = 1 - 1e-9
#: What limits an instance where neither its hardware nor a latency does.
CONTAINER = "container"


@dataclass(frozen=True, slots=True)
class Prediction:
    """Utilization and latency of any count under the full target.

    Args:
        seen: What it rests on.
        utilization: The fit of utilization.
        latency_points: What the fit of latency rests on; empty where no latency was published.
        sample_noise: Noise of one utilization sample, relative.
        cold: What a warm-up may add to the first step of a load test, relative, and how fast it
            fades, seconds.
        latency_noise: Relative error of a p99, times the square root of the requests it rests on.
        room: Factor by which an instance must be able to serve more than it has to.
    """

    seen: Seen
    utilization: UtilizationFit
    latency_points: tuple[LatencyPoint, ...]
    sample_noise: float
    cold: tuple[float, float]
    latency_noise: float
    room: float = ROOM

    def utilization_at(self, instances: int) -> float:
        """Predicted utilization of a count under the full target, percent."""
        return self.utilization.utilization_at(self._target_tps / instances, instances)

    def latency_at(self, instances: int) -> tuple[float, float] | None:
        """Predicted p99 of the model's latency at a count, ms, and its relative standard error."""
        return self.latency_at_rate(self._target_tps / instances, instances)

    def latency_at_rate(self, rate: float, instances: int) -> tuple[float, float] | None:
        """The same at a rate per instance."""
        if not self.latency_points:
            return None
        load = _load(self.seen, self.utilization, rate)
        return latency_at(self.latency_points, load, instances)

    def as_slow_as(self, instances: int) -> Prediction:
        """The same with all p99s raised by what those of a count are over what the others predict.

        A fleet with a slow instance is as much slower at the rates that it was not seen at.
        """
        here = [each for each in self.latency_points if each.instances == instances]
        others = [each for each in self.latency_points if each.instances != instances]
        if not here or not others:
            return self
        over = statistics.fmean(
            math.log(each.latency_ms / latency_at(others, each.load, instances)[0]) for each in here
        )
        raised = [
            replace(each, latency_ms=each.latency_ms * max(math.exp(over), 1.0)) for each in others
        ]
        return replace(self, latency_points=(*here, *raised))

    def latency_is_open(self, instances: int) -> bool:
        """Whether a count's latency is predicted close enough to its limit to go either way."""
        return abs(self._room(instances).get("latency", math.inf)) < OPEN_ROOM

    def steps_to_hold(self, instances: int) -> int:
        """How many steps of the full target it takes to tell whether a count serves it.

        More than one where a prediction is close to a limit and one step's noise is larger than
        what all steps share (utilization), or than the next count would change (latency).
        """
        room = self._room(instances)
        measurement = self.seen.request.measurement
        odd = self.seen.strays or any(step.slow for step in self.seen.steps)
        steps = float(HELD_DESPITE_STRAYS if odd else 1)
        if abs(room.get(self.seen.resource, math.inf)) < OPEN_ROOM:
            samples = instances * measurement.steady_seconds / measurement.metric_period_seconds
            steps = max(steps, self.sample_noise**2 / samples / COMMON_NOISE**2)
        here, fewer = self.latency_at(instances), self.latency_at(max(instances - 1, 1))
        if self.latency_is_open(instances) and here and fewer and instances > 1:
            requests = self._target_tps * measurement.steady_seconds
            noise = self.latency_noise / math.sqrt(max(requests, 1.0))
            growth = max(math.log(fewer[0] / here[0]), LEAST_GROWTH)
            steps = max(steps, (NOISE_SHARE * noise / growth) ** 2)
        return min(max(math.ceil(steps), 1), MOST_HELD)

    def tells_apart(self, fewer: int, instances: int) -> float:
        """Probability that a load test at fewer instances tells whether they are too few.

        Where latency hardly depends on the count, it would be noise that decides.
        """
        if self.tightest(fewer) != "latency":
            return 1.0
        here, there = self.latency_at(instances), self.latency_at(fewer)
        if here is None or there is None:
            return 1.0
        measurement = self.seen.request.measurement
        requests = self._target_tps * measurement.steady_seconds * self.steps_to_hold(fewer)
        noise = self.latency_noise / math.sqrt(max(requests, 1.0))
        growth = max(math.log(there[0] / here[0]), LEAST_GROWTH)
        return 2 * NORMAL.cdf(growth / (2 * max(noise, LEAST_GROWTH))) - 1

    def predicted_to_serve(self, instances: int, margin: float = 0.0) -> bool:
        """Whether a count is predicted to serve the target.

        Args:
            instances: The count.
            margin: Standard errors by which utilization and latency must stay under their
                limits; negative to ask what could still do.
        """
        return all(room >= margin for room in self._room(instances).values())

    def probability_to_serve(self, instances: int) -> float:
        """Probability that a count serves the target, as far as noise leaves it open."""
        return math.prod(_normal(room) for room in self._room(instances).values())

    def probability_to_show(self, instances: int, sureness: float) -> float:
        """Probability that a load test at a count makes it so sure that it serves the target.

        Args:
            instances: The count.
            sureness: The probability to serve that is asked for after the load test.
        """
        asked = NORMAL.inv_cdf(sureness)
        probability = 1.0
        for name, room in self._room(instances).items():
            if math.isinf(room):
                probability *= _normal(room)
                continue
            before, noise = self._error_of(name, instances), self._noise_of(name, instances)
            left = 1 / math.hypot(1.0, before / max(noise, LEAST_GROWTH))
            # What will be known then is spread by what is unknown now, less what still will be.
            probability *= _normal((room - asked * left) / math.sqrt(1 - left**2))
        return probability

    def _error_of(self, name: str, instances: int) -> float:
        """Standard error of what is predicted of a count, relative."""
        latency = self.latency_at(instances) if name == "latency" else None
        if latency is not None:
            return latency[1]
        return self.utilization.error_at(min(self.utilization_at(instances), 100.0), instances)

    def _noise_of(self, name: str, instances: int) -> float:
        """The same of what a load test at a count would show."""
        measurement, held = self.seen.request.measurement, self.steps_to_hold(instances)
        if name == "latency":
            requests = self._target_tps * measurement.steady_seconds * held
            return math.hypot(
                self.latency_noise / math.sqrt(max(requests, 1.0)), COMMON_LATENCY_NOISE
            )
        samples = instances * held * measurement.steady_seconds / measurement.metric_period_seconds
        return math.hypot(self.sample_noise / math.sqrt(samples), COMMON_NOISE)

    def tightest(self, instances: int) -> str:
        """What a count has least room to: the resource, "latency" or "container"."""
        room = self._room(instances)
        return min(room, key=lambda name: room[name])

    def binding(self, instances: int) -> list[str]:
        """What is predicted to keep a count from serving the target; empty if nothing does."""
        return [name for name, room in self._room(instances).items() if room < 0]

    def smallest_that_may_do(self, margin: float, *, above: int = 0) -> int | None:
        """The same without the room that is asked for under what an instance can serve."""
        return replace(self, room=1.0).smallest_count(margin, above=above)

    def smallest_count(self, margin: float = 0.0, *, above: int = 0) -> int | None:
        """Smallest count over ``above`` that is predicted to serve the target; None if none is."""
        low, high = above, max(above + 1, 1)
        while not self.predicted_to_serve(high, margin):
            if high >= MOST_INSTANCES:
                return None
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            if self.predicted_to_serve(middle, margin):
                high = middle
            else:
                low = middle
        return high

    @property
    def _target_tps(self) -> float:
        return self.seen.request.target.tps

    def smallest_for_hardware(self) -> int | None:
        """The smallest count by the hardware alone, whatever the container can make use of."""
        seen = replace(self.seen, saturation_tps=None, overloaded_tps=None, failures=None)
        unbound = replace(self, seen=seen)
        return unbound.smallest_count()

    def most_within_limits(self, instances: int, margin: float) -> float:
        """Highest rate per instance at a count that stays within all limits, per second.

        Args:
            instances: The count, which serves the target.
            margin: Standard errors by which it must; where none does, it is the rate with most room
                between the target's and ``LEAST_HELD`` of it.
        """
        served = self._target_tps / instances
        lowest = LEAST_HELD * served
        highest = max(self.utilization.tps_at(100.0, instances), served)
        ratio = (highest / lowest) ** (1 / RATES_LOOKED_AT)
        best, most_room = lowest, -math.inf
        for step in range(RATES_LOOKED_AT + 1):
            rate = lowest * ratio**step
            room = min(self.room_at(rate, instances).values())
            if room < margin and most_room >= margin:
                break  # over a rate without room none has any
            if room >= margin or (room > most_room and rate <= served):
                best, most_room = rate, room
        return best

    def _room(self, instances: int) -> dict[str, float]:
        return self.room_at(self._target_tps / instances, instances)

    def room_at(self, rate: float, instances: int) -> dict[str, float]:
        """How far a rate per instance stays under each limit, in standard errors."""
        target, seen = self.seen.request.target, self.seen
        predicted = self.utilization.utilization_at(rate, instances)
        error = self.utilization.error_at(min(predicted, 100.0), instances)
        room = {seen.resource: math.log(target.utilization_percent.max / predicted) / error}
        if target.model_latency_p99_ms is not None:
            latency = self.latency_at_rate(rate, instances)
            if latency is not None:
                p99, error = latency
                room["latency"] = math.log(target.model_latency_p99_ms / p99) / error
        if seen.saturation_tps is not None or seen.overloaded_tps is not None:
            name = CONTAINER if self._container_saturates else seen.resource
            room[name] = min(room.get(name, math.inf), self._room_to_saturation(rate))
        if seen.failures is not None and seen.refusing:
            # Half of the room: a share that grows with the load is no queue without a bound.
            wanted = rate * math.sqrt(self.room)
            error = max(seen.failures.error, LEAST_NOISE)
            left = math.log(seen.failures.limit_tps / wanted) / error
            room[CONTAINER] = min(room.get(CONTAINER, math.inf), left)
        return room

    @property
    def _container_saturates(self) -> bool:
        """Whether the hardware has room to spare at the most that an instance can serve."""
        if self.seen.container_bound:
            return True
        most = self.seen.saturation_tps
        return most is not None and self.utilization.utilization_at(most) < USED_UP_PERCENT

    def _room_to_saturation(self, rate: float) -> float:
        """The same under the most that one instance can serve.

        That is between the highest rate that was served and the lowest that was not, and in between
        as a burst, or what was answered of too much, has it: a truncated lognormal distribution.
        """
        seen, wanted = self.seen, rate * self.room
        if seen.overloaded_tps is not None and rate >= seen.overloaded_tps:
            return -math.inf
        if wanted <= seen.served_tps:
            return math.inf
        expected = seen.saturation_tps or seen.overloaded_tps
        if expected is None:
            return math.inf

        def under(tps: float | None, otherwise: float) -> float:
            if not tps:
                return otherwise
            return NORMAL.cdf(math.log(tps / expected) / SATURATION_ERROR)

        served, failed = under(seen.served_tps, 0.0), under(seen.overloaded_tps, 1.0)
        if failed <= served:
            return math.inf if wanted <= expected else -math.inf
        probable = max(failed - under(wanted, 0.0), 0.0) / (failed - served)
        return NORMAL.inv_cdf(min(max(probable, 1 - ALMOST_SURE), ALMOST_SURE))


def predict(seen: Seen) -> Prediction | None:
    """What follows from what was seen; None while nothing usable was."""
    if not seen.steps:
        return None
    sample_noise = pooled_noise(
        SAMPLE_NOISE,
        [
            (each.utilization_standard_error / each.utilization_percent, each.samples)
            for each in (step.observation for step in seen.steps)
            if each.utilization_standard_error is not None and each.utilization_percent > 0
        ],
    )
    utilization, cold = _fit_utilization(seen, sample_noise)
    latency_noise = _latency_noise(seen)
    return Prediction(
        seen=seen,
        utilization=utilization,
        latency_points=_latency_points(seen, utilization, latency_noise, cold),
        sample_noise=sample_noise,
        cold=cold,
        latency_noise=latency_noise,
    )


def _fit_utilization(seen: Seen, sample_noise: float) -> tuple[UtilizationFit, tuple[float, float]]:
    """The fit with the noise that makes the points the most probable, and the warm-up in it.

    Empirical Bayes: cold instances make a load test's first steps dearer than its later ones say,
    and samples that follow one another tell less than their number.
    """

    steps = [step for step in seen.steps if not step.cold] or seen.steps

    def fitted(factor: float, cold: tuple[float, float], *, bent: bool = False) -> UtilizationFit:
        return fit_utilization(
            [_utilization_point(step, factor * sample_noise, cold) for step in steps], bent=bent
        )

    usual = WARM_UPS[0], WARM_UP_SECONDS[0]
    best, cold = fitted(NOISE_FACTORS[0], usual), usual
    points = len(steps)
    if best.deviation <= points + math.sqrt(2 * points):
        return best, cold  # nothing contradicts it
    colder = [(added, seconds) for added in WARM_UPS[1:] for seconds in WARM_UP_SECONDS]
    most_probable = best.log_evidence
    for factor in NOISE_FACTORS:
        dependent = 0.0 if factor == NOISE_FACTORS[0] else math.log(DEPENDENT_PROBABILITY)
        others = [(fitted(factor, usual), usual, 0.0)]
        others.append((fitted(factor, usual, bent=True), usual, math.log(BENT_PROBABILITY)))
        others += [(fitted(factor, each), each, math.log(COLD_PROBABILITY)) for each in colder]
        for other, each, prior in others:
            probable = other.log_evidence + dependent + prior
            if probable > most_probable:
                best, cold, most_probable = other, each, probable
    return best, cold


def _utilization_point(
    step: Step, sample_noise: float, cold: tuple[float, float]
) -> UtilizationPoint:
    return UtilizationPoint(
        tps_per_instance=step.tps_per_instance,
        utilization_percent=max(step.observation.utilization_percent, LEAST_PERCENT),
        instances=step.instances,
        load_test=step.load_test,
        noise=math.hypot(
            sample_noise / math.sqrt(max(step.observation.samples, 1)),
            _warm_up(step, cold),
            OVERLOADED_NOISE if step.fails else 0.0,
        ),
    )


def _latency_noise(seen: Seen) -> float:
    """Relative error of a p99, times the root of the requests it rests on.

    By the tails that were seen, by the scatter of periods, of which each has a p99 of its own only
    where it has requests enough, and by that of steps at the same rate.
    """
    period = seen.request.measurement.metric_period_seconds
    published = [
        (step.observation, step.observation.model_latency_ms.p99)
        for step in seen.steps
        if step.observation.model_latency_ms.p99 and not (step.slow or step.cold)
    ]
    total = sum(each.invocations for each, _ in published)
    squares = sum(
        each.invocations
        * p99_noise(each.model_latency_ms.p50 or 0.0, p99, each.model_latency_ms.p90) ** 2
        for each, p99 in published
    )
    scatter = [
        (each.model_latency_p99_standard_error / p99, each.invocations)
        for each, p99 in published
        if each.model_latency_p99_standard_error is not None
        and each.invocations * period >= FEW_REQUESTS * (each.window.end - each.window.start)
    ]
    held: dict[tuple[int, float], list[tuple[float, int]]] = {}
    for step in seen.steps:
        each = step.observation
        if each.model_latency_ms.p99 and not (step.slow or step.cold):
            alike = held.setdefault((step.load_test, each.offered_tps), [])
            alike.append((math.log(each.model_latency_ms.p99), each.invocations))
    for alike in held.values():
        if len(alike) > 2:
            deviation = statistics.stdev(p99 for p99, _ in alike)
            scatter += [(deviation, requests) for _, requests in alike[1:]]
    return pooled_noise(math.sqrt(squares / max(total, 1)), scatter)


def _latency_points(
    seen: Seen, utilization: UtilizationFit, noise: float, cold: tuple[float, float]
) -> tuple[LatencyPoint, ...]:
    return tuple(
        _latency_point(seen, utilization, step, step.observation.model_latency_ms.p99, noise, cold)
        for step in seen.steps
        if step.observation.model_latency_ms.p99 and not step.fails and not (step.slow or step.cold)
    )


def _latency_point(
    seen: Seen,
    utilization: UtilizationFit,
    step: Step,
    p99: float,
    noise: float,
    cold: tuple[float, float],
) -> LatencyPoint:
    latency, requests = step.observation.model_latency_ms, max(step.observation.invocations, 1)
    sampling = noise / math.sqrt(requests)
    if latency.p90 is not None:
        p99 = p99_of_few(latency.p90, p99, requests)
    return LatencyPoint(
        load=_load(seen, utilization, step.tps_per_instance),
        # What is fitted is its logarithm, the mean of which is lower by half the variance.
        latency_ms=p99 * math.exp(min(sampling, 1.0) ** 2 / 2),
        instances=step.instances,
        load_test=step.load_test,
        noise=math.hypot(sampling, _warm_up(step, cold)),
    )


def _load(seen: Seen, utilization: UtilizationFit, tps_per_instance: float) -> float:
    """Rate of an instance over the most it can serve."""
    most = utilization.tps_at(100.0)
    if seen.saturation_tps is not None and seen.container_bound:
        most = min(most, seen.saturation_tps)
    return tps_per_instance / most


def _warm_up(step: Step, cold: tuple[float, float]) -> float:
    """What may be left of a warm-up in a step, relative: less the later it ran."""
    added, seconds = cold
    return added * math.exp(-step.age_seconds / seconds)


def _normal(deviations: float) -> float:
    """Probability that a standard normal variable stays under a value."""
    return 0.5 * math.erfc(-deviations / math.sqrt(2))
