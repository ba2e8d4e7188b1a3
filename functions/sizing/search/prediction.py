"""What follows from what was seen for other counts, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sizing.search import fit
from sizing.search.seen import Seen, Step

#: Most of one instance's saturation rate that is planned for, where the saturation was seen.
#: Closer to it a queue's latency has no bound.
SATURATION_SHARE = 0.9
#: Counts over this are not looked at.
MOST_INSTANCES = 100_000
#: Standard errors beyond which a prediction is beyond question; and those that bound the counts
#: among which the answer is likely.
OUT_OF_QUESTION = 3.0
LIKELY = 1.5
#: Noise of a point that was seen while requests failed or queued up, relative.
OVERLOADED_NOISE = 0.05
#: What a warm-up may add to the first step of a load test, relative, and how fast it fades.
WARM_UP = 0.01
WARM_UP_SECONDS = 30.0
#: Standard errors of room up to which a latency limit is taken to bind.
OPEN_ROOM = 2.5
#: A step's latency noise may be this part of what one instance more or less changes, one over.
NOISE_SHARE = 24.0
MOST_HELD = 8
LEAST_GROWTH = 1e-6
#: Least utilization that a point is given, percent: its logarithm is fitted.
LEAST_PERCENT = 0.01


@dataclass(frozen=True, slots=True)
class Prediction:
    """Utilization and latency of any count under the full target.

    Args:
        seen: What it rests on.
        utilization: The fit of utilization.
        latency_points: What the fit of latency rests on; empty where no latency was published.
        sample_noise: Noise of one utilization sample, relative.
        latency_noise: Relative error of a p99, times the square root of the requests it rests on.
    """

    seen: Seen
    utilization: fit.UtilizationFit
    latency_points: tuple[fit.LatencyPoint, ...]
    sample_noise: float
    latency_noise: float

    def utilization_at(self, instances: int) -> float:
        """Predicted utilization of a count under the full target, percent."""
        return self.utilization.utilization_at(self._target_tps / instances, instances)

    def latency_at(self, instances: int) -> tuple[float, float] | None:
        """Predicted p99 of the model's latency at a count, ms, and its relative standard error."""
        if not self.latency_points:
            return None
        load = _load(self.seen, self.utilization, self._target_tps / instances)
        return fit.latency_at(self.latency_points, load, instances)

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
        steps = 1.0
        if abs(room.get(self.seen.resource, math.inf)) < OPEN_ROOM:
            samples = instances * measurement.steady_seconds / measurement.metric_period_seconds
            steps = self.sample_noise**2 / samples / fit.COMMON_NOISE**2
        here, fewer = self.latency_at(instances), self.latency_at(max(instances - 1, 1))
        if self.latency_is_open(instances) and here and fewer and instances > 1:
            requests = self._target_tps * measurement.steady_seconds
            noise = self.latency_noise / math.sqrt(max(requests, 1.0))
            growth = max(math.log(fewer[0] / here[0]), LEAST_GROWTH)
            steps = max(steps, (NOISE_SHARE * noise / growth) ** 2)
        return min(max(math.ceil(steps), 1), MOST_HELD)

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

    def binding(self, instances: int) -> list[str]:
        """What is predicted to keep a count from serving the target; empty if nothing does."""
        return [name for name, room in self._room(instances).items() if room < 0]

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

    def _room(self, instances: int) -> dict[str, float]:
        """How far a count stays under each limit, in standard errors of the prediction."""
        target = self.seen.request.target
        predicted = self.utilization_at(instances)
        error = self.utilization.error_at(min(predicted, 100.0), instances)
        room = {self.seen.resource: math.log(target.utilization_percent.max / predicted) / error}
        if target.model_latency_p99_ms is not None:
            latency = self.latency_at(instances)
            if latency is not None:
                p99, error = latency
                room["latency"] = math.log(target.model_latency_p99_ms / p99) / error
        if self.seen.saturation_tps is not None:
            share = target.tps / instances / self.seen.saturation_tps
            if share > SATURATION_SHARE:
                name = "container" if self.seen.container_bound else self.seen.resource
                room[name] = -math.inf
        return room


def predict(seen: Seen) -> Prediction | None:
    """What follows from what was seen; None while nothing usable was."""
    if not seen.steps:
        return None
    sample_noise = fit.pooled_noise(
        fit.SAMPLE_NOISE,
        [
            (each.utilization_standard_error / each.utilization_percent, each.samples)
            for each in (step.observation for step in seen.steps)
            if each.utilization_standard_error is not None and each.utilization_percent > 0
        ],
    )
    utilization = fit.fit_utilization(
        [
            fit.UtilizationPoint(
                tps_per_instance=step.tps_per_instance,
                utilization_percent=max(step.observation.utilization_percent, LEAST_PERCENT),
                instances=step.instances,
                load_test=step.load_test,
                noise=math.hypot(
                    sample_noise / math.sqrt(max(step.observation.samples, 1)),
                    _warm_up(step),
                    OVERLOADED_NOISE if step.fails else 0.0,
                ),
            )
            for step in seen.steps
        ]
    )
    latency_noise = _latency_noise(seen)
    return Prediction(
        seen=seen,
        utilization=utilization,
        latency_points=_latency_points(seen, utilization, latency_noise),
        sample_noise=sample_noise,
        latency_noise=latency_noise,
    )


def _latency_noise(seen: Seen) -> float:
    published = [
        (step.observation, step.observation.model_latency_ms.p99)
        for step in seen.steps
        if step.observation.model_latency_ms.p99
    ]
    return fit.pooled_noise(
        max(
            (fit.p99_noise(each.model_latency_ms.p50 or 0.0, p99) for each, p99 in published),
            default=0.0,
        ),
        [
            (each.model_latency_p99_standard_error / p99, each.invocations)
            for each, p99 in published
            if each.model_latency_p99_standard_error is not None
        ],
    )


def _latency_points(
    seen: Seen, utilization: fit.UtilizationFit, noise: float
) -> tuple[fit.LatencyPoint, ...]:
    return tuple(
        fit.LatencyPoint(
            load=_load(seen, utilization, step.tps_per_instance),
            latency_ms=step.observation.model_latency_ms.p99,
            instances=step.instances,
            load_test=step.load_test,
            noise=math.hypot(
                noise / math.sqrt(max(step.observation.invocations, 1)), _warm_up(step)
            ),
        )
        for step in seen.steps
        if step.observation.model_latency_ms.p99 and not step.fails
    )


def _load(seen: Seen, utilization: fit.UtilizationFit, tps_per_instance: float) -> float:
    """Rate of an instance over the most it can serve."""
    most = utilization.tps_at(100.0)
    if seen.saturation_tps is not None and seen.container_bound:
        most = min(most, seen.saturation_tps)
    return tps_per_instance / most


def _warm_up(step: Step) -> float:
    """What may be left of a warm-up in a step, relative: less the later it ran."""
    return WARM_UP * math.exp(-step.age_seconds / WARM_UP_SECONDS)


def _normal(deviations: float) -> float:
    """Probability that a standard normal variable stays under a value."""
    return 0.5 * math.erfc(-deviations / math.sqrt(2))
