"""Whether a fleet is held up by something that all its instances share, which more do not mend.

A database that the model calls, say, or its quota: one instance alone gets all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from sizing.load_test.observation import Observation
from sizing.load_test.verdict import (
    SERVED_SHARE,
    TIMEOUT,
    breaks_latency_limit,
    mostly_throttled,
    used_up,
)

if TYPE_CHECKING:
    from sizing.request.request import Target
    from sizing.search.seen import Step, Trial

#: What limits a fleet then.
SHARED = "shared"
#: Ratio of two counts from which the larger one must do better than the smaller.
MORE = 1.25
#: Share of what the larger one could do better that it does at the least, if instances count.
LEAST_GAIN = 0.25
#: The same where requests failed instead of waiting: those of a short queue get fewer little by
#: little. And what could be done better at the least, as a factor, and of how many failures.
LEAST_GAIN_OF_FAILING = 0.1
LEAST_LACK = 1.05
MANY_FAILURES = 1000
#: How far a p99 must be over its limit to tell, as a factor.
CLEARLY_SLOW = 1.1
#: Most instances, as a share of those in question, that serve as if alone.
ALONE = 0.5


@dataclass(frozen=True, slots=True)
class SharedLimit:
    """Two counts, of which the larger one did no better.

    Args:
        fewer: The smaller count.
        before: What it showed.
        more: The larger count.
        after: What that showed.
        slow: Whether it is a p99 that did not get better; else the rate of answers.
    """

    fewer: int
    before: Observation
    more: int
    after: Observation
    slow: bool

    @property
    def words(self) -> str:
        """What was seen."""
        used = f"at {self.after.utilization_percent:.0f} % utilization"
        if self.slow:
            slow = self.before.model_latency_ms.p99 or 0.0
            still = self.after.model_latency_ms.p99 or 0.0
            return (
                f"model latency p99 is {slow:.0f} ms in a fleet of {self.fewer} and {still:.0f} ms "
                f"in one of {self.more}, {used}, where fewer had as much to do each and were in "
                "time"
            )
        return (
            f"a fleet of {self.fewer} answered {self.before.achieved_tps:.1f} of "
            f"{self.before.offered_tps:g} requests per second, and one of {self.more} "
            f"{self.after.achieved_tps:.1f} of {self.after.offered_tps:g}, {used}"
        )

    def breaks(self, target: Target) -> bool:
        """Whether it keeps the target from being served."""
        return self.slow or self.after.achieved_tps < SERVED_SHARE * target.tps

    def explains(self, step: Step) -> bool:
        """Whether it, not its instances, made a step fail, where the target is served."""
        seen = step.observation
        over = seen.offered_tps >= SERVED_SHARE * self.before.achieved_tps
        return over and not used_up(seen)


def shared_limit(
    target: Target, steps: Sequence[Step], trials: Mapping[int, Trial]
) -> SharedLimit | None:
    """The counts that show it; None where none do.

    Args:
        target: What is asked for.
        steps: All usable steps of a candidate.
        trials: What the full target showed, by count.
    """
    found = [*_of_answers(target, steps), *_of_latency(target, steps, trials)]
    return next((each for each in found if each.breaks(target)), next(iter(found), None))


def _idle(target: Target, seen: Observation) -> bool:
    """Whether a step left the hardware room, and was not refused by the platform."""
    room = seen.utilization_percent <= target.utilization_percent.max and not used_up(seen)
    return room and not mostly_throttled(seen)


def _of_answers(target: Target, steps: Sequence[Step]) -> Iterator[SharedLimit]:
    """Where a larger fleet answered no more, though more was asked for."""
    idle: dict[int, list[Step]] = {}
    for step in steps:
        if step.overloaded and _idle(target, step.observation):
            idle.setdefault(step.instances, []).append(step)
    for fewer, more in combinations(sorted(idle), 2):
        if more < MORE * fewer:
            continue
        most = [max(idle[count], key=_answered) for count in (fewer, more)]
        before, after = (step.observation for step in most)
        asked = min(max(step.observation.offered_tps for step in idle[n]) for n in (fewer, more))
        possible = min(asked / before.achieved_tps, more / fewer)
        if possible <= 1:
            continue
        gained = (after.achieved_tps / before.achieved_tps - 1) / (possible - 1)
        waiting = all(_keeps_waiting(step) for step in most)
        failing = possible >= LEAST_LACK and all(
            step.tally.failed >= MANY_FAILURES for step in most
        )
        if (waiting and gained < LEAST_GAIN) or (failing and gained < LEAST_GAIN_OF_FAILING):
            yield SharedLimit(fewer, before, more, after, slow=False)


def _keeps_waiting(step: Step) -> bool:
    """Whether requests wait, rather than fail at once."""
    timed_out = step.observation.errors.get(TIMEOUT, 0)
    return step.tally.falls_short or timed_out > (1 - SERVED_SHARE) * step.tally.due


def _answered(step: Step) -> tuple[float, float]:
    """What it answered per second, and was asked."""
    return step.observation.achieved_tps, step.observation.offered_tps


def _of_latency(
    target: Target, steps: Sequence[Step], trials: Mapping[int, Trial]
) -> Iterator[SharedLimit]:
    """Where a p99 stays, though fewer instances were in time with as much to do each.

    A latency that hardly depends on the load stays too, but over its limit on one instance as well.
    """
    limit = target.model_latency_p99_ms
    if limit is None:
        return
    slow = {
        count: trial.observation
        for count, trial in trials.items()
        if not trial.serves
        and _idle(target, trial.observation)
        and (trial.observation.model_latency_ms.p99 or 0.0) >= CLEARLY_SLOW * limit
    }
    for fewer, more in combinations(sorted(slow), 2):
        before, after = (slow[count].model_latency_ms.p99 or 0.0 for count in (fewer, more))
        if more < MORE * fewer or before - after >= LEAST_GAIN * (before - limit):
            continue
        alone = (
            step
            for step in steps
            if step.instances <= ALONE * fewer
            and step.offered_per_instance >= target.tps / more
            and not (step.fails or breaks_latency_limit(target, step.observation))
        )
        if next(alone, None) is not None:
            yield SharedLimit(fewer, slow[fewer], more, slow[more], slow=True)
