"""What the load tests of one candidate have shown, and what follows for other counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from sizing.catalogue.instance import InstanceFacts
from sizing.load_test.observation import LoadTestRecord, Observation, Verdict, together
from sizing.load_test.verdict import (
    barely_short,
    container_saturates,
    fails_to_serve,
    latency_binds,
    serves,
    trusted_saturation,
    usable,
    verdict,
)
from sizing.request.request import Request
from sizing.search import fit

#: Most of one instance's saturation rate that is planned for, where the saturation was seen.
#: Closer to it a queue's latency has no bound.
SATURATION_SHARE = 0.9
#: Memory this full while requests fail is why they do, percent.
EXHAUSTED_PERCENT = 95.0
#: Counts over this are not looked at.
_MOST_INSTANCES = 100_000
#: Offered rates this close, relative, are the same rate.
_SAME_RATE = 1e-6
#: Factor over the band's lower edge from which a count lies in the band without doubt.
CLEARLY = 1.01
#: Standard errors beyond which a prediction is beyond question; and those that bound the counts
#: among which the answer is likely.
OUT_OF_QUESTION = 3.0
LIKELY = 1.5
#: Noise of a point that was seen while requests failed or queued up, relative.
_OVERLOADED_NOISE = 0.05
#: What a warm-up may add to the first step of a load test, relative, and how fast it fades.
_WARM_UP = 0.01
_WARM_UP_SECONDS = 30.0
#: Standard errors of room up to which a latency limit is taken to bind.
_OPEN_ROOM = 2.5
#: A step's latency noise may be this part of what one instance more or less changes, one over.
_NOISE_SHARE = 24.0
_MOST_HELD = 8
_LEAST_GROWTH = 1e-6
#: Least probability to serve the target at which a count is accepted that was seen to do so:
#: where the next count is in the band as well, and elsewhere or where an earlier sizing found it.
_SURENESS_IN_BAND = 0.92
_SURENESS = 0.4
#: Share of the saturation rate at which errors are not the load's doing.
_AT_REST_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Trial:
    """The full target, offered to one count.

    Args:
        instances: The count.
        observation: What was seen, all steps of it together, with its verdict.
        serves: Whether the target was met there, the band's lower edge aside.
    """

    instances: int
    observation: Observation
    serves: bool


@dataclass(frozen=True)
class Evidence:
    """All that is known of one candidate."""

    request: Request
    facts: InstanceFacts
    records: tuple[LoadTestRecord, ...]
    #: Count from an earlier sizing; None if there is none.
    prior_count: int | None = None

    @cached_property
    def _steps(self) -> list[tuple[int, LoadTestRecord, Observation]]:
        """The usable observations, with their load tests and those's numbers."""
        return [
            (index, record, seen)
            for index, record in enumerate(self.records)
            for seen in record.observations
            if record.error is None
            and usable(seen)
            and not (barely_short(self.request.target, seen) and self._was_repeated(index, seen))
        ]

    def _was_repeated(self, index: int, seen: Observation) -> bool:
        """Whether a later load test showed the same count at the full target once more."""
        count = self.records[index].instance_count
        return self.is_full_target(seen) and any(
            later.instance_count == count
            and any(self.is_full_target(each) and usable(each) for each in later.observations)
            for later in self.records[index + 1 :]
        )

    @property
    def failure(self) -> LoadTestRecord | None:
        """The load test that could not be run; None if all could."""
        return next((record for record in self.records if record.error is not None), None)

    @property
    def observations(self) -> list[tuple[LoadTestRecord, Observation]]:
        """All usable observations with their load tests, in order."""
        return [(record, seen) for _, record, seen in self._steps]

    def is_full_target(self, seen: Observation) -> bool:
        """Whether a step offered the target itself."""
        return math.isclose(seen.offered_tps, self.request.target.tps, rel_tol=_SAME_RATE)

    @cached_property
    def utilization(self) -> fit.UtilizationFit | None:
        """The fit of utilization; None while nothing usable was seen."""
        if not self._steps:
            return None
        noise = self.sample_noise
        return fit.fit_utilization(
            [
                fit.UtilizationPoint(
                    tps_per_instance=seen.achieved_tps / record.instance_count,
                    utilization_percent=max(seen.utilization_percent, 0.01),
                    instances=record.instance_count,
                    load_test=index,
                    noise=math.hypot(
                        noise / math.sqrt(max(seen.samples, 1)),
                        _warm_up(record, seen),
                        _OVERLOADED_NOISE if fails_to_serve(self.request.target, seen) else 0.0,
                    ),
                )
                for index, record, seen in self._steps
            ]
        )

    @property
    def _known(self) -> fit.UtilizationFit:
        if self.utilization is None:
            raise ValueError("nothing was seen yet that a prediction could rest on")
        return self.utilization

    @cached_property
    def sample_noise(self) -> float:
        """Noise of one utilization sample, relative."""
        return fit.pooled_noise(
            fit.SAMPLE_NOISE,
            [
                (seen.utilization_standard_error / seen.utilization_percent, seen.samples)
                for _, _, seen in self._steps
                if seen.utilization_standard_error is not None and seen.utilization_percent > 0
            ],
        )

    @cached_property
    def saturation_tps(self) -> float | None:
        """Most that one instance was seen to serve, per second; None where none was saturated."""
        bursts = [
            saturation / record.instance_count
            for record in self.records
            if record.error is None and (saturation := trusted_saturation(record)) is not None
        ]
        held_up = [
            seen.achieved_tps / record.instance_count
            for _, record, seen in self._steps
            if verdict(self.request.target, seen) is Verdict.CONTAINER_LIMITED
        ]
        return min(bursts + held_up, default=None)

    @cached_property
    def container_bound(self) -> bool:
        """Whether the container, not the hardware, sets how much one instance serves."""
        return any(
            record.error is None and container_saturates(record, self.request.target)
            for record in self.records
        ) or any(
            verdict(self.request.target, seen) is Verdict.CONTAINER_LIMITED
            for _, _, seen in self._steps
        )

    @cached_property
    def latency_bound(self) -> bool:
        """Whether the latency limit is broken under the band already."""
        return any(
            record.error is None and latency_binds(record, self.request.target)
            for record in self.records
        )

    @cached_property
    def memory_in_use(self) -> dict[str, float]:
        """The most that any step used of memory, of the GPUs' memory and of the disk, percent."""
        return self._memory_in_use([seen for _, _, seen in self._steps])

    @cached_property
    def exhausted(self) -> str | None:
        """The memory that was all but full while requests failed; None if none was."""
        failing = [seen for _, _, seen in self._steps if fails_to_serve(self.request.target, seen)]
        used = self._memory_in_use(failing)
        fullest = max(("memory", "GPU memory"), key=lambda name: used[name])
        return fullest if used[fullest] >= EXHAUSTED_PERCENT else None

    def _memory_in_use(self, steps: Sequence[Observation]) -> dict[str, float]:
        gpus = max(self.facts.gpus, 1)
        return {
            "memory": max((seen.memory_percent or 0.0 for seen in steps), default=0.0),
            "GPU memory": max(
                ((seen.gpu_memory_utilization_raw or 0.0) / gpus for seen in steps), default=0.0
            ),
            "disk": max((seen.disk_percent or 0.0 for seen in steps), default=0.0),
        }

    @cached_property
    def trials(self) -> dict[int, Trial]:
        """What the full target showed, by count."""
        target = self.request.target
        held: dict[int, list[Observation]] = {}
        for _, record, seen in self._steps:
            if self.is_full_target(seen):
                held.setdefault(record.instance_count, []).append(seen)
        found = {}
        for instances, steps in held.items():
            seen = together(steps)
            meaning = verdict(
                target, seen, container=self.container_bound, latency=self.latency_bound
            )
            found[instances] = Trial(
                instances=instances,
                observation=seen.model_copy(update={"verdict": meaning}),
                serves=serves(target, seen),
            )
        return found

    @cached_property
    def accepted(self) -> frozenset[int]:
        """The counts that were tried and are taken to serve the target.

        What was seen of them must be within the limits, and all evidence together must make it
        likely, now or when they had just been tried: what was good enough to go on from then
        does not become bad by the noise of a later load test.
        """
        earlier: frozenset[int] = frozenset()
        if len(self.records) > 1:
            before = Evidence(self.request, self.facts, self.records[:-1], self.prior_count)
            earlier = before.accepted
        likely = {
            instances
            for instances, trial in self.trials.items()
            if trial.serves and self.probability_to_serve(instances) >= self._sureness(instances)
        }
        return frozenset(
            instances
            for instances in likely | earlier
            if instances in self.trials and self.trials[instances].serves
        )

    def _sureness(self, instances: int) -> float:
        """Probability asked for: more where one instance more would be in the band as well."""
        if instances == self.prior_count:
            return _SURENESS
        band = self.request.target.utilization_percent
        if self.utilization_at(instances + 1) >= CLEARLY * band.min:
            return _SURENESS_IN_BAND
        return _SURENESS

    @property
    def most_bad(self) -> int:
        """Largest count known not to serve the target; 0 if none is."""
        return max(self.trials.keys() - self.accepted, default=0)

    @property
    def least_good(self) -> int | None:
        """Smallest count known to serve the target; None if none is."""
        bad = self.most_bad
        return min((n for n in self.trials if n > bad), default=None)

    @property
    def least_rate(self) -> float:
        """Lowest rate per instance that was seen, per second."""
        return min(seen.achieved_tps / record.instance_count for _, record, seen in self._steps)

    def utilization_at(self, instances: int) -> float:
        """Predicted utilization of a count under the full target, percent."""
        return self._known.utilization_at(self.request.target.tps / instances, instances)

    def latency_at(self, instances: int) -> tuple[float, float] | None:
        """Predicted p99 of the model's latency at a count, ms, and its relative standard error."""
        points = self._latency_points
        if not points:
            return None
        return fit.latency_at(points, self.load_at(self.request.target.tps / instances), instances)

    def load_at(self, tps_per_instance: float) -> float:
        """Rate of an instance over the most it can serve."""
        most = self._known.tps_at(100.0)
        if self.saturation_tps is not None and self.container_bound:
            most = min(most, self.saturation_tps)
        return tps_per_instance / most

    @cached_property
    def _latency_noise(self) -> float:
        """Relative error of a p99, times the square root of the requests it rests on."""
        seen_p99 = [
            (seen, seen.model_latency_ms.p99, seen.model_latency_p99_standard_error)
            for _, _, seen in self._steps
            if seen.model_latency_ms.p99
        ]
        return fit.pooled_noise(
            max(
                (fit.p99_noise(seen.model_latency_ms.p50 or 0.0, p99) for seen, p99, _ in seen_p99),
                default=0.0,
            ),
            [(error / p99, seen.invocations) for seen, p99, error in seen_p99 if error is not None],
        )

    def latency_is_open(self, instances: int) -> bool:
        """Whether a count's latency is predicted close enough to its limit to go either way."""
        return abs(self._room(instances).get("latency", math.inf)) < _OPEN_ROOM

    def steps_to_hold(self, instances: int) -> int:
        """How many steps of the full target it takes to tell whether a count serves it.

        More than one where a prediction is close to a limit and one step's noise is larger than
        what all steps share (utilization), or than the next count would change (latency).
        """
        room = self._room(instances)
        measurement = self.request.measurement
        steps = 1.0
        if abs(room.get(self.resource, math.inf)) < _OPEN_ROOM:
            samples = instances * measurement.steady_seconds / measurement.metric_period_seconds
            steps = self.sample_noise**2 / samples / fit.COMMON_NOISE**2
        here, fewer = self.latency_at(instances), self.latency_at(max(instances - 1, 1))
        if self.latency_is_open(instances) and here and fewer and instances > 1:
            requests = self.request.target.tps * measurement.steady_seconds
            noise = self._latency_noise / math.sqrt(max(requests, 1.0))
            growth = max(math.log(fewer[0] / here[0]), _LEAST_GROWTH)
            steps = max(steps, (_NOISE_SHARE * noise / growth) ** 2)
        return min(max(math.ceil(steps), 1), _MOST_HELD)

    @cached_property
    def _latency_points(self) -> list[fit.LatencyPoint]:
        noise = self._latency_noise
        return [
            fit.LatencyPoint(
                load=self.load_at(seen.achieved_tps / record.instance_count),
                latency_ms=seen.model_latency_ms.p99,
                instances=record.instance_count,
                load_test=index,
                noise=math.hypot(
                    noise / math.sqrt(max(seen.invocations, 1)), _warm_up(record, seen)
                ),
            )
            for index, record, seen in self._steps
            if seen.model_latency_ms.p99 and not fails_to_serve(self.request.target, seen)
        ]

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

    def _room(self, instances: int) -> dict[str, float]:
        """How far a count stays under each limit, in standard errors of the prediction."""
        target = self.request.target
        predicted = self.utilization_at(instances)
        error = self._known.error_at(min(predicted, 100.0), instances)
        room = {self.resource: math.log(target.utilization_percent.max / predicted) / error}
        if target.model_latency_p99_ms is not None:
            latency = self.latency_at(instances)
            if latency is not None:
                p99, error = latency
                room["latency"] = math.log(target.model_latency_p99_ms / p99) / error
        if self.saturation_tps is not None:
            share = target.tps / instances / self.saturation_tps
            if share > SATURATION_SHARE:
                name = "container" if self.container_bound else self.resource
                room[name] = -math.inf
        return room

    @property
    def resource(self) -> str:
        """The resource that utilization speaks of."""
        return self._steps[-1][2].utilization_resource if self._steps else "CPU"

    def smallest_count(self, margin: float = 0.0, *, above: int = 0) -> int | None:
        """Smallest count over ``above`` that is predicted to serve the target; None if none is."""
        low, high = above, max(above + 1, 1)
        while not self.predicted_to_serve(high, margin):
            if high >= _MOST_INSTANCES:
                return None
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            if self.predicted_to_serve(middle, margin):
                high = middle
            else:
                low = middle
        return high

    def failing_at_rest(self) -> Observation | None:
        """A step far from saturation that failed all the same: more instances won't mend it."""
        target = self.request.target
        for record in self.records:
            if record.saturation_tps is None:
                continue
            for seen in record.observations:
                at_rest = seen.offered_tps <= _AT_REST_SHARE * record.saturation_tps
                if usable(seen) and at_rest and seen.error_percent > target.error_percent:
                    return seen
        return None


def _warm_up(record: LoadTestRecord, seen: Observation) -> float:
    """What may be left of a warm-up in a step, relative: less the later it ran."""
    first = min(each.window.start for each in record.observations)
    return _WARM_UP * math.exp((first - seen.window.start) / _WARM_UP_SECONDS)


def _normal(deviations: float) -> float:
    """Probability that a standard normal variable stays under a value."""
    return 0.5 * math.erfc(-deviations / math.sqrt(2))


def evidence_of(
    request: Request,
    facts: InstanceFacts,
    history: Sequence[LoadTestRecord],
    prior_count: int | None = None,
) -> Evidence:
    """The evidence on one candidate among all load tests of a sizing."""
    records = tuple(each for each in history if each.instance_type == facts.instance_type)
    return Evidence(request, facts, records, prior_count)
