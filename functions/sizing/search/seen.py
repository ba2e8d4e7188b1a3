"""What the load tests of one candidate have shown: made once from their records, and passed on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
from sizing.request.request import Request, Target

#: Memory this full while requests fail is why they do, percent.
EXHAUSTED_PERCENT = 95.0
#: Offered rates this close, relative, are the same rate.
SAME_RATE = 1e-6
#: Share of the saturation rate at which errors are not the load's doing.
AT_REST_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class Step:
    """A usable observation, and where it was made.

    Args:
        load_test: Number of the load test among the candidate's.
        instances: Its count.
        load_test_start: Start of the load test's first window, epoch seconds.
        observation: What was seen.
        fails: Whether the endpoint answered too few requests, or too many with errors.
    """

    load_test: int
    instances: int
    load_test_start: int
    observation: Observation
    fails: bool

    @property
    def tps_per_instance(self) -> float:
        """Successful answers per second and instance."""
        return self.observation.achieved_tps / self.instances

    @property
    def age_seconds(self) -> int:
        """Time from the start of the load test's first window to this one's."""
        return self.observation.window.start - self.load_test_start


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


@dataclass(frozen=True, slots=True)
class Seen:
    """All that the load tests of one candidate have shown.

    Args:
        request: What is asked for.
        facts: The candidate.
        records: Its load tests, in order.
        steps: Their usable observations, in order.
        trials: What the full target showed, by count.
        saturation_tps: Most that one instance was seen to serve, per second; None where none was
            saturated.
        container_bound: Whether the container, not the hardware, sets how much one serves.
        latency_bound: Whether the latency limit is broken under the band already.
    """

    request: Request
    facts: InstanceFacts
    records: tuple[LoadTestRecord, ...]
    steps: tuple[Step, ...]
    trials: dict[int, Trial]
    saturation_tps: float | None
    container_bound: bool
    latency_bound: bool

    @property
    def failure(self) -> LoadTestRecord | None:
        """The load test that could not be run; None if all could."""
        return next((record for record in self.records if record.error is not None), None)

    @property
    def resource(self) -> str:
        """The resource that utilization speaks of."""
        return self.steps[-1].observation.utilization_resource if self.steps else "CPU"

    @property
    def least_rate(self) -> float:
        """Lowest rate per instance that was seen, per second."""
        return min(step.tps_per_instance for step in self.steps)

    @property
    def memory_in_use(self) -> dict[str, float]:
        """The most that any step used of memory, of the GPUs' memory and of the disk, percent."""
        return _memory_in_use(self.facts, [step.observation for step in self.steps])

    @property
    def exhausted(self) -> str | None:
        """The memory that was all but full while requests failed; None if none was."""
        used = _memory_in_use(self.facts, [step.observation for step in self.steps if step.fails])
        fullest = max(("memory", "GPU memory"), key=lambda name: used[name])
        return fullest if used[fullest] >= EXHAUSTED_PERCENT else None

    def failing_at_rest(self) -> Observation | None:
        """A step far from saturation that failed all the same: more instances won't mend it."""
        target = self.request.target
        for record in self.records:
            if record.saturation_tps is None:
                continue
            for seen in record.observations:
                at_rest = seen.offered_tps <= AT_REST_SHARE * record.saturation_tps
                if usable(seen) and at_rest and seen.error_percent > target.error_percent:
                    return seen
        return None


def see(request: Request, facts: InstanceFacts, load_tests: Sequence[LoadTestRecord]) -> Seen:
    """What a candidate's load tests have shown.

    Args:
        request: What is asked for.
        facts: The candidate.
        load_tests: All load tests of the sizing, or the candidate's alone, in order.
    """
    target = request.target
    records = tuple(each for each in load_tests if each.instance_type == facts.instance_type)
    run = [record for record in records if record.error is None]
    steps = _steps(target, records)
    held_up = [
        step for step in steps if verdict(target, step.observation) is Verdict.CONTAINER_LIMITED
    ]
    bursts = [
        saturation / record.instance_count
        for record in run
        if (saturation := trusted_saturation(record)) is not None
    ]
    container_bound = bool(held_up) or any(container_saturates(record, target) for record in run)
    latency_bound = any(latency_binds(record, target) for record in run)
    return Seen(
        request=request,
        facts=facts,
        records=records,
        steps=steps,
        trials=_trials(target, steps, container=container_bound, latency=latency_bound),
        saturation_tps=min(bursts + [step.tps_per_instance for step in held_up], default=None),
        container_bound=container_bound,
        latency_bound=latency_bound,
    )


def is_full_target(target: Target, seen: Observation) -> bool:
    """Whether a step offered the target itself."""
    return math.isclose(seen.offered_tps, target.tps, rel_tol=SAME_RATE)


def _steps(target: Target, records: Sequence[LoadTestRecord]) -> tuple[Step, ...]:
    """The usable observations of load tests."""
    return tuple(
        Step(
            load_test=index,
            instances=record.instance_count,
            load_test_start=min(each.window.start for each in record.observations),
            observation=seen,
            fails=fails_to_serve(target, seen),
        )
        for index, record in enumerate(records)
        for seen in record.observations
        if record.error is None
        and usable(seen)
        and not (barely_short(target, seen) and _was_repeated(target, records, index, seen))
    )


def _was_repeated(
    target: Target, records: Sequence[LoadTestRecord], index: int, seen: Observation
) -> bool:
    """Whether a later load test showed the same count at the full target once more."""
    count = records[index].instance_count
    return is_full_target(target, seen) and any(
        later.instance_count == count
        and any(is_full_target(target, each) and usable(each) for each in later.observations)
        for later in records[index + 1 :]
    )


def _trials(
    target: Target, steps: Sequence[Step], *, container: bool, latency: bool
) -> dict[int, Trial]:
    held: dict[int, list[Observation]] = {}
    for step in steps:
        if is_full_target(target, step.observation):
            held.setdefault(step.instances, []).append(step.observation)
    found = {}
    for instances, observations in held.items():
        seen = together(observations)
        meaning = verdict(target, seen, container=container, latency=latency)
        found[instances] = Trial(
            instances=instances,
            observation=seen.model_copy(update={"verdict": meaning}),
            serves=serves(target, seen),
        )
    return found


def _memory_in_use(facts: InstanceFacts, observations: Sequence[Observation]) -> dict[str, float]:
    gpus = max(facts.gpus, 1)
    return {
        "memory": max((seen.memory_percent or 0.0 for seen in observations), default=0.0),
        "GPU memory": max(
            ((seen.gpu_memory_utilization_raw or 0.0) / gpus for seen in observations), default=0.0
        ),
        "disk": max((seen.disk_percent or 0.0 for seen in observations), default=0.0),
    }
