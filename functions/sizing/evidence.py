"""What the load tests of one candidate have shown, and what follows for other counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from sizing import fit
from sizing.instance import InstanceFacts
from sizing.observation import LoadTestRecord, Observation, Verdict
from sizing.request import Request
from sizing.verdict import (
    container_saturates,
    fails_to_serve,
    serves,
    usable,
    verdict,
)

#: Most of one instance's saturation rate that is planned for, where the saturation was seen.
#: Closer to it a queue's latency has no bound.
SATURATION_SHARE = 0.9
#: Counts over this are not looked at.
_MOST_INSTANCES = 100_000
#: Offered rates this close, relative, are the same rate.
_SAME_RATE = 1e-6
#: Noise of a point that was seen while requests failed or queued up, relative.
_OVERLOADED_NOISE = 0.05
#: Share of the saturation rate at which errors are not the load's doing.
_AT_REST_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Trial:
    """The full target, offered to one count.

    Args:
        instances: The count.
        observation: The last usable observation of it.
        verdict: What it means.
        serves: Whether the target was met there, the band's lower edge aside.
    """

    instances: int
    observation: Observation
    verdict: Verdict
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
            if record.error is None and usable(seen)
        ]

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
                    noise=max(
                        noise / math.sqrt(max(seen.samples, 1)),
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
        return fit.sample_noise(
            [
                (seen.utilization_standard_error / seen.utilization_percent, seen.samples)
                for _, _, seen in self._steps
                if seen.utilization_standard_error is not None and seen.utilization_percent > 0
            ]
        )

    @cached_property
    def saturation_tps(self) -> float | None:
        """Most that one instance was seen to serve, per second; None where none was saturated."""
        bursts = [
            record.saturation_tps / record.instance_count
            for record in self.records
            if record.error is None
            and record.saturation_tps is not None
            and not any(seen.client_limited for seen in record.observations)
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
    def trials(self) -> dict[int, Trial]:
        """What the full target showed, by count."""
        found: dict[int, Trial] = {}
        for _, record, seen in self._steps:
            if self.is_full_target(seen):
                target = self.request.target
                found[record.instance_count] = Trial(
                    instances=record.instance_count,
                    observation=seen,
                    verdict=verdict(target, seen, container=self.container_bound),
                    serves=serves(target, seen),
                )
        return found

    @property
    def most_bad(self) -> int:
        """Largest count known not to serve the target; 0 if none is."""
        return max((n for n, trial in self.trials.items() if not trial.serves), default=0)

    @property
    def least_good(self) -> int | None:
        """Smallest count known to serve the target; None if none is."""
        good = [n for n, trial in self.trials.items() if trial.serves and n > self.most_bad]
        return min(good, default=None)

    def utilization_at(self, instances: int) -> float:
        """Predicted utilization of a count under the full target, percent."""
        return self._known.utilization_at(self.request.target.tps / instances, instances)

    def latency_at(self, instances: int) -> tuple[float, float] | None:
        """Predicted p99 of the model's latency at a count, ms, and its relative standard error."""
        points = self._latency_points
        if not points:
            return None
        return fit.latency_at(points, self.load_at(self.request.target.tps / instances))

    def load_at(self, tps_per_instance: float) -> float:
        """Rate of an instance over the most it can serve."""
        most = self._known.tps_at(100.0)
        if self.saturation_tps is not None and self.container_bound:
            most = min(most, self.saturation_tps)
        return tps_per_instance / most

    @cached_property
    def _latency_points(self) -> list[fit.LatencyPoint]:
        points = []
        for _, record, seen in self._steps:
            p50, p99 = seen.model_latency_ms.p50, seen.model_latency_ms.p99
            if p50 and p99 and not fails_to_serve(self.request.target, seen):
                points.append(
                    fit.LatencyPoint(
                        load=self.load_at(seen.achieved_tps / record.instance_count),
                        latency_ms=p99,
                        noise=fit.p99_noise(p50, p99, seen.invocations),
                    )
                )
        return points

    def predicted_to_serve(self, instances: int, margin: float) -> bool:
        """Whether a count is predicted to serve the target.

        Args:
            instances: The count.
            margin: Standard errors by which utilization and latency must stay under their
                limits; negative to ask what could still do.
        """
        return not self.binding(instances, margin)

    def binding(self, instances: int, margin: float = 0.0) -> list[str]:
        """What is predicted to keep a count from serving the target; empty if nothing does."""
        target = self.request.target
        found = []
        predicted = self.utilization_at(instances)
        error = self._known.error_at(min(predicted, 100.0), instances)
        if predicted * math.exp(margin * error) > target.utilization_percent.max:
            found.append(self.resource)
        if target.model_latency_p99_ms is not None:
            latency = self.latency_at(instances)
            if latency is not None:
                p99, error = latency
                if p99 * math.exp(margin * error) > target.model_latency_p99_ms:
                    found.append("latency")
        if (
            self.saturation_tps is not None
            and target.tps / instances > SATURATION_SHARE * self.saturation_tps
        ):
            found.append("container" if self.container_bound else self.resource)
        return found

    @property
    def resource(self) -> str:
        """The resource that utilization speaks of."""
        return self._steps[-1][2].utilization_resource if self._steps else "CPU"

    def smallest_count(self, margin: float, *, above: int = 0) -> int | None:
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


def evidence_of(
    request: Request,
    facts: InstanceFacts,
    history: Sequence[LoadTestRecord],
    prior_count: int | None = None,
) -> Evidence:
    """The evidence on one candidate among all load tests of a sizing."""
    records = tuple(each for each in history if each.instance_type == facts.instance_type)
    return Evidence(request, facts, records, prior_count)
