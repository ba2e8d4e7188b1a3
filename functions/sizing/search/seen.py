"""What the load tests of one candidate have shown: made once from their records, and passed on.

Evidence must agree with itself. An endpoint that can't carry a rate can't carry a higher one: what
was served at the same or a higher rate outweighs a failure, which then was a stall or a cold start.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from sizing.catalogue.instance import InstanceFacts
from sizing.fits.failures import FailureFit, FailurePoint, fit_failures
from sizing.fits.noise import FEW_REQUESTS, p99_noise
from sizing.load_test.observation import LoadTestRecord, Observation, Verdict, together
from sizing.load_test.verdict import (
    Tally,
    breaks_latency_limit,
    container_saturates,
    late_answers,
    latency_seconds,
    mostly_throttled,
    tally,
    trusted_saturation,
    usable,
    used_up,
    verdict,
)
from sizing.request.request import Request, Target
from sizing.search.shared import SharedLimit, shared_limit

#: Memory this full while requests fail is why they do, percent.
EXHAUSTED_PERCENT = 95.0
#: By how much more memory is in use while requests fail than at other times, percent, if it is why.
#: What a framework takes when it starts is in use at every rate.
FILLED_PERCENT = 2.0
#: Offered rates this close, relative, are the same rate.
SAME_RATE = 1e-6
#: Share of the saturation rate at which errors are not the load's doing.
AT_REST_SHARE = 0.6
#: Share of the most that was served under which it is long before saturation.
EARLY = 0.9
#: A p99 this many standard errors over one at a higher rate is a stall's.
STALLED_ERRORS = 4.0
#: And so much over it, relative: fits are not that good far from what was seen.
STALLED_FACTOR = 1.15
#: But a fast step is itself by chance if more than so many times as many steps are slower than it
#: as are faster than the slow one.
OUTVOTED = 2.0
#: A utilization so much over what a higher rate showed later is that of a cold endpoint, relative.
COLD_FACTOR = 1.02
#: The same without doubt: other instances are taken to be cold for as long.
SURELY_COLD_FACTOR = 1.15
#: How many load tests of a count may fail for a stall or a cold start, each of them.
MOST_EXCUSED = 3
#: Share of a fleet, the newest of it, that its age goes by.
YOUNG_SHARE = 0.5


class Stray(StrEnum):
    """A fault that had nothing to do with the rate it was seen at."""

    COLD_START = "cold start"
    STALL = "stall"


@dataclass(frozen=True, slots=True)
class Step:
    """A usable observation, and where it was made.

    Args:
        load_test: Number of the load test among the candidate's.
        instances: Its count.
        load_test_start: Start of the load test's first window, epoch seconds.
        instances_began: When the newer half of its instances were first under load, epoch seconds.
        observation: What was seen.
        tally: What became of its requests.
        fails: Whether the endpoint answered too few requests, or too many with errors.
        stray: What that was, if the same or a higher rate was served; None if it was not.
        slow: Whether its p99 is a stall's: a higher rate was answered much faster.
        cold: Whether the endpoint got warm in it or later: a higher rate took less utilization,
            or its instances were no older than others that surely did.
    """

    load_test: int
    instances: int
    load_test_start: int
    instances_began: int
    observation: Observation
    tally: Tally
    fails: bool
    stray: Stray | None = None
    slow: bool = False
    cold: bool = False

    @property
    def tps_per_instance(self) -> float:
        """Successful answers per second and instance."""
        return self.observation.achieved_tps / self.instances

    @property
    def offered_per_instance(self) -> float:
        """Requests due per second and instance."""
        return self.observation.offered_tps / self.instances

    @property
    def age_seconds(self) -> int:
        """Time from the start of the load test's first window to this one's."""
        return self.observation.window.start - self.load_test_start

    @property
    def instance_age_seconds(self) -> int:
        """Time from when the newer half of its instances began to this window's start."""
        return self.observation.window.start - self.instances_began

    @property
    def odd(self) -> bool:
        """Whether something other than the rate shows in it."""
        return self.stray is not None or self.slow or self.cold

    @property
    def overloaded(self) -> bool:
        """Whether it failed, and nothing speaks against the rate as the reason."""
        return self.fails and self.stray is None


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
        saturation_tps: Most that one instance can serve, per second; None where that is not known.
        served_tps: Highest rate that one instance was seen to serve, per second, under all rates
            that any failed at.
        overloaded_tps: Lowest rate that one instance was seen to fail at, per second; None where
            none failed.
        container_bound: Whether the container, not the hardware, sets how much one serves.
        latency_bound: Whether the latency limit is broken under the band already.
        shared: Counts of which the larger did no better, as something that they share is the limit;
            None where instances count.
        cold_for: Age up to which instances were surely cold, seconds; 0 where none was.
        failures: How the share of errors depends on the rate, where they broke their limit long
            before saturation; None where they did not.
        failing_early: The steps in which they did.
    """

    request: Request
    facts: InstanceFacts
    records: tuple[LoadTestRecord, ...]
    steps: tuple[Step, ...]
    trials: dict[int, Trial]
    saturation_tps: float | None
    served_tps: float
    overloaded_tps: float | None
    container_bound: bool
    latency_bound: bool
    shared: SharedLimit | None = None
    cold_for: int = 0
    failures: FailureFit | None = None
    failing_early: tuple[Step, ...] = ()

    @property
    def refusing(self) -> bool:
        """Whether the container refuses some requests long before it saturates."""
        return self.failures is not None and self.failures.grows

    @property
    def failure(self) -> LoadTestRecord | None:
        """The latest load test, if it could not be run."""
        return next((each for each in self.records[-1:] if each.error is not None), None)

    @property
    def resource(self) -> str:
        """The resource that utilization speaks of."""
        return self.steps[-1].observation.utilization_resource if self.steps else "CPU"

    @property
    def least_rate(self) -> float:
        """Lowest rate per instance that was seen, per second."""
        return min(step.tps_per_instance for step in self.steps)

    @property
    def within_limits_tps(self) -> float:
        """Highest rate that one instance was seen to serve within all limits, per second.

        Any rate under which all steps did; the band aside. More errors than the limit, though few
        enough to be chance, do not show that it is kept.
        """
        target = self.request.target
        steps = [step for step in self.steps if not step.odd]
        broken = min(
            (
                step.offered_per_instance
                for step in steps
                if step.fails or breaks_latency_limit(target, step.observation)
            ),
            default=math.inf,
        )
        kept = (
            step.offered_per_instance
            for step in steps
            if not step.fails
            and not breaks_latency_limit(target, step.observation)
            and step.observation.error_percent <= target.error_percent
        )
        return max((rate for rate in kept if rate < broken), default=min(broken, self.served_tps))

    @property
    def starts_cold(self) -> bool:
        """Whether new instances were seen to serve less than warm ones."""
        return any(step.cold or step.stray is Stray.COLD_START for step in self.steps)

    @property
    def strays(self) -> tuple[Step, ...]:
        """The steps that failed though the same or a higher rate was served."""
        return tuple(step for step in self.steps if step.stray is not None)

    @property
    def exhausted(self) -> str | None:
        """The memory that filled up while requests failed; None if none did."""
        failing = self.memory_in_use([step for step in self.steps if step.overloaded])
        usual = self.memory_in_use([step for step in self.steps if not step.overloaded])
        fullest = max(("memory", "GPU memory"), key=lambda name: failing[name])
        filled = failing[fullest] - usual[fullest] >= FILLED_PERCENT
        return fullest if failing[fullest] >= EXHAUSTED_PERCENT and filled else None

    def memory_in_use(self, steps: Sequence[Step]) -> dict[str, float]:
        """The most that any step used of memory, of the GPUs' memory and of the disk, percent."""
        gpus = max(self.facts.gpus, 1)
        observations = [step.observation for step in steps]
        gpu_memory = [(seen.gpu_memory_utilization_raw or 0.0) / gpus for seen in observations]
        return {
            "memory": max((seen.memory_percent or 0.0 for seen in observations), default=0.0),
            "GPU memory": max(gpu_memory, default=0.0),
            "disk": max((seen.disk_percent or 0.0 for seen in observations), default=0.0),
        }

    def failing_at_rest(self) -> Observation | None:
        """A step far from saturation that failed all the same: more instances won't mend it.

        None where its errors may come from the load, as those of a short queue do.
        """
        if self.failures is not None and not self.failures.stays:
            return None
        bursts = (
            record.saturation_tps / record.instance_count
            for record in self.records
            if record.saturation_tps is not None
        )
        at_rest = AT_REST_SHARE * max(bursts, default=0.0)
        return next(
            (
                step.observation
                for step in self.failing_early
                if step.offered_per_instance <= at_rest
            ),
            None,
        )


def see(request: Request, facts: InstanceFacts, load_tests: Sequence[LoadTestRecord]) -> Seen:
    """What a candidate's load tests have shown.

    Args:
        request: What is asked for.
        facts: The candidate.
        load_tests: All load tests of the sizing, or the candidate's alone, in order.
    """
    target = request.target
    records = tuple(each for each in load_tests if each.instance_type == facts.instance_type)
    steps, cold_for = _consistent(_steps(target, records))
    # A burst comes before the first step: of what was cold in that it tells nothing.
    cold_at_first = {step.load_test for step in steps if step.cold and not step.age_seconds}
    run = [
        record
        for index, record in enumerate(records)
        if record.error is None and index not in cold_at_first
    ]
    serving = [step.offered_per_instance for step in steps if not step.fails]
    most_served = max(serving, default=0.0)
    # What the platform throttled, no instance was asked.
    failing = [step for step in steps if step.overloaded and not mostly_throttled(step.observation)]
    shared = shared_limit(target, steps, _trials(target, steps, container=False, latency=False))
    if shared is not None and not shared.breaks(target):
        failing = [step for step in failing if not shared.explains(step)]
    overloaded = min((step.offered_per_instance for step in failing), default=None)
    # More than that was served by fewer instances alone, which says nothing of a fleet.
    of_a_fleet = (rate for rate in serving if overloaded is None or rate < overloaded)
    served = max(of_a_fleet, default=0.0)
    held_up = [
        step
        for step in failing
        if step.observation.utilization_percent <= target.utilization_percent.max
        and not used_up(step.observation)
    ]
    bursts = [
        saturation / record.instance_count
        for record in run
        if (saturation := trusted_saturation(record)) is not None
    ]
    most = max([*bursts, *(step.tps_per_instance for step in steps)], default=0.0)
    early = [
        step
        for step in steps
        if step.tps_per_instance < EARLY * most
        and not (step.stray or step.cold or mostly_throttled(step.observation))
    ]
    failing_early = tuple(step for step in early if step.tally.breaks_error_limit(target))
    failures = _failures(target, early) if failing_early else None
    # Of bursts the best, as one may have met a cold instance: if as much was served later, in steps
    # that failed too, they tell nothing. Not over what failed later.
    most_seen = max([most_served * (1 + SAME_RATE), *(step.tps_per_instance for step in steps)])
    saturations = [max(bursts)] if bursts and max(bursts) > most_seen else []
    # What refuses some requests long before it saturates does not saturate there.
    refusing = failures is not None and failures.grows
    saturations += [
        step.tps_per_instance for step in held_up if not refusing or step.tally.falls_short
    ]
    container_bound = bool(held_up) or any(
        container_saturates(record, target) and most_served < (record.saturation_tps or 0.0)
        for record in run
    )
    latency_bound = any(
        step.observation.utilization_percent < target.utilization_percent.min
        and not step.fails
        and not step.odd
        and breaks_latency_limit(target, step.observation)
        for step in steps
    )
    return Seen(
        request=request,
        facts=facts,
        records=records,
        steps=steps,
        trials=_trials(target, steps, container=container_bound, latency=latency_bound),
        saturation_tps=max(min(saturations), served) if saturations else None,
        served_tps=served,
        overloaded_tps=overloaded,
        container_bound=container_bound,
        latency_bound=latency_bound,
        shared=shared,
        cold_for=cold_for,
        failures=failures,
        failing_early=failing_early,
    )


def _failures(target: Target, steps: Sequence[Step]) -> FailureFit | None:
    """How the share of errors depends on the rate."""
    return fit_failures(
        [
            FailurePoint(step.offered_per_instance, step.tally.due, step.tally.failed)
            for step in steps
        ],
        target.error_percent / 100,
    )


def is_full_target(target: Target, seen: Observation) -> bool:
    """Whether a step offered the target itself."""
    return math.isclose(seen.offered_tps, target.tps, rel_tol=SAME_RATE)


def _steps(target: Target, records: Sequence[LoadTestRecord]) -> list[Step]:
    """The usable observations of load tests."""
    steps = []
    measured = (seen for record in records for seen in record.within_reach if usable(seen))
    usual = min((latency for seen in measured if (latency := latency_seconds(seen))), default=0.0)
    for index, record in enumerate(records):
        if record.error is not None or not record.observations:
            continue
        reach = record.within_reach
        began = _instances_began(records[: index + 1])
        for seen, late in zip(reach, late_answers(reach, usual), strict=True):
            if usable(seen):
                counted = tally(seen, late, usual)
                steps.append(
                    Step(
                        load_test=index,
                        instances=record.instance_count,
                        load_test_start=record.observations[0].window.start,
                        instances_began=began,
                        observation=seen,
                        tally=counted,
                        fails=counted.fails_to_serve(target),
                    )
                )
    return steps


def _instances_began(records: Sequence[LoadTestRecord]) -> int:
    """When the newer part of the latest load test's instances began, epoch seconds.

    An endpoint that is scaled in loses its newest instances.
    """
    tested = [record for record in records if record.observations]
    first = len(tested) - 1
    newer = math.floor((1 - YOUNG_SHARE) * tested[first].instance_count) + 1
    while first > 0 and tested[first - 1].instance_count >= newer:
        first -= 1
    return tested[first].observations[0].window.start


def _consistent(steps: Sequence[Step]) -> tuple[tuple[Step, ...], int]:
    """Steps with what others say of them: whether a failure or a p99 had to do with the rate.

    And the age up to which instances were surely cold, seconds. They get warm as others of their
    kind did: as late as any was cold, others are.
    """
    compared = [(step, _as_loaded(step, steps)) for step in steps]
    cold_for = max(
        (
            step.observation.window.end - step.instances_began
            for step, as_loaded in compared
            if any(_warmer(step, each, SURELY_COLD_FACTOR) for each in as_loaded)
        ),
        default=0,
    )
    slow = _slow(compared)
    beside = (
        _beside(step, steps, as_loaded, cold_for, slow=index in slow)
        for index, (step, as_loaded) in enumerate(compared)
    )
    return tuple(beside), cold_for


def _slow(compared: Sequence[tuple[Step, Sequence[Step]]]) -> set[int]:
    """Which steps' p99 is a stall's: one with as much to do was much faster.

    Unless many more are slower than that one, which then is fast by chance.
    """
    number = {id(step): index for index, (step, _) in enumerate(compared)}
    faster = [
        [number[id(each)] for each in as_loaded if _much_slower(step.observation, each.observation)]
        for step, as_loaded in compared
    ]
    slower = Counter(each for others in faster for each in others)
    return {
        index
        for index, others in enumerate(faster)
        if any(OUTVOTED * len(others) >= slower[each] for each in others)
    }


def _beside(
    step: Step, steps: Sequence[Step], as_loaded: Sequence[Step], cold_for: int, *, slow: bool
) -> Step:
    stray = None
    if step.fails and as_loaded:
        before = [
            each
            for each in steps
            if each.load_test == step.load_test
            and each.observation.window.start < step.observation.window.start
        ]
        stray = Stray.STALL if any(not each.fails for each in before) else Stray.COLD_START
    return replace(
        step,
        stray=stray,
        slow=slow,
        cold=step.instance_age_seconds < cold_for
        or any(_warmer(step, each, COLD_FACTOR) for each in as_loaded),
    )


def _as_loaded(step: Step, steps: Sequence[Step]) -> list[Step]:
    """Steps that were served with as many instances or more, each with as much to do or more."""
    return [
        each
        for each in steps
        if each is not step
        and not each.fails
        and each.instances >= step.instances
        and each.offered_per_instance >= step.offered_per_instance * (1 - SAME_RATE)
    ]


def _warmer(step: Step, later: Step, factor: float) -> bool:
    """Whether a later step that had it no easier took less utilization."""
    seen, other = step.observation, later.observation
    warmer = seen.utilization_percent > factor * other.utilization_percent
    return warmer and other.window.start > seen.window.start


def _much_slower(seen: Observation, other: Observation) -> bool:
    """Whether a p99 is too far over another one for chance."""
    p99, faster = seen.model_latency_ms.p99, other.model_latency_ms.p99
    if not p99 or not faster or p99 <= STALLED_FACTOR * faster:
        return False
    if min(seen.invocations, other.invocations) < FEW_REQUESTS:
        return False
    noise = p99_noise(other.model_latency_ms.p50 or 0.0, faster, other.model_latency_ms.p90)
    error = noise * math.hypot(1 / math.sqrt(seen.invocations), 1 / math.sqrt(other.invocations))
    return math.log(p99 / faster) > STALLED_ERRORS * error


def _trials(
    target: Target, steps: Sequence[Step], *, container: bool, latency: bool
) -> dict[int, Trial]:
    held: dict[int, list[Step]] = {}
    for step in steps:
        if is_full_target(target, step.observation):
            held.setdefault(step.instances, []).append(step)
    trials = [
        _trial(target, instances, each, container=container, latency=latency)
        for instances, each in held.items()
    ]
    # A count that failed while its instances were cold, and served more afterwards, has not failed;
    # but not again and again.
    return {
        trial.instances: trial
        for trial in trials
        if trial.serves
        or not all(step.odd for step in held[trial.instances])
        or len({step.load_test for step in held[trial.instances]}) > MOST_EXCUSED
    }


def _trial(
    target: Target, instances: int, held: Sequence[Step], *, container: bool, latency: bool
) -> Trial:
    """What the full target showed at a count: by the steps without a stray fault, if any."""
    clean = [step for step in held if step.stray is None] or held
    even = [step for step in clean if not step.odd] or clean
    seen = together([step.observation for step in even])
    counted = even[0].tally
    for step in even[1:]:
        counted += step.tally
    serves = (
        seen.utilization_percent <= target.utilization_percent.max
        and not counted.fails_to_serve(target)
        and not breaks_latency_limit(target, seen)
    )
    meaning = verdict(target, seen, container=container, latency=latency, late=counted.late)
    if not serves and meaning not in (Verdict.OVERLOADED, Verdict.LATENCY_LIMITED):
        meaning = Verdict.OVERLOADED if used_up(seen) else Verdict.CONTAINER_LIMITED
    return Trial(instances, seen.model_copy(update={"verdict": meaning}), serves)
