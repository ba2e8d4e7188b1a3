"""What an observation means for the rate per instance it was made at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

from sizing.load_test.observation import LoadTestRecord, Observation, Verdict
from sizing.request.request import Target
from sizing.request.sizing import Sizing

#: Least share of the requests due that must be answered, with success or with an error.
SERVED_SHARE = 0.99
#: Under this share it is no accident: an endpoint that can't keep up falls behind further.
SURELY_SHORT_SHARE = 0.95
#: Answers that a window may lack though all is well: at each of its ends, one request that is due
#: inside may be answered outside. At a few requests per second that is more than a percent.
AT_THE_EDGES = 2
#: Standard errors by which the number in flight may differ between a window's ends.
IN_FLIGHT_ERRORS = 3.0
#: Standard errors by which failures must exceed their limit for it to be broken (one-sided 99 %).
BROKEN_ERRORS = 2.326
#: Failures up to which their probability is summed, instead of approximated.
FEW_FAILURES = 200
#: An instance this busy is used up: errors there are the hardware's, not the container's.
USED_UP_PERCENT = 90.0
#: A load generator this busy, percent of its share, may be what a burst saturated.
CLIENT_USED_UP_PERCENT = 85.0
#: Answers that take so many times as long as usual wait in a queue.
LONGER_ANSWERS = 3.0
#: Names of error kinds in the load generator's counts: platform throttling, and no answer in time.
THROTTLED = "throttled"
TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Tally:
    """Requests of one or more windows, and what became of them.

    Args:
        due: Requests that were due.
        failed: Those that failed.
        unanswered: Those without an answer in their window.
        unsettled: Variance of ``unanswered`` while all is well.
        late: Expected of ``unanswered`` while all is well, since the rate had just risen.
        windows: How many windows.
    """

    due: float
    failed: float
    unanswered: float
    unsettled: float
    late: float = 0.0
    windows: int = 1

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.due + other.due,
            self.failed + other.failed,
            self.unanswered + other.unanswered,
            self.unsettled + other.unsettled,
            self.late + other.late,
            self.windows + other.windows,
        )

    def breaks_error_limit(self, target: Target) -> bool:
        """Whether more failed than a share at the limit would explain."""
        return failures_beyond(self.failed, self.due, target.error_percent / 100) > BROKEN_ERRORS

    @property
    def falls_short(self) -> bool:
        """Whether more answers are missing than windows may lack.

        What is missing in a window is what was in flight at its end, less what was at its start.
        Each is about Poisson (M/G/infinity: Takacs, Introduction to the Theory of Queues, 1962)
        with the mean of Little's law.
        """
        fluctuates = IN_FLIGHT_ERRORS * math.sqrt(self.unsettled)
        allowed = max(AT_THE_EDGES * self.windows, fluctuates)
        missing = self.unanswered - self.late
        # Rounded, as rates are quotients of whole numbers.
        return round(missing, 6) > max((1 - SERVED_SHARE) * self.due, allowed)

    def fails_to_serve(self, target: Target) -> bool:
        """Whether the endpoint answered too few requests, or too many with errors."""
        return self.breaks_error_limit(target) or self.falls_short


def tally(seen: Observation, late: float = 0.0, usual_seconds: float = math.inf) -> Tally:
    """What became of an observation's requests.

    Args:
        seen: The observation.
        late: Answers that it may lack since its rate had just risen, see ``late_answers``.
        usual_seconds: How long answers take where little is to do, see there too.
    """
    seconds = seen.window.end - seen.window.start
    due = seen.due_tps * seconds
    failed = due * seen.error_percent / 100
    return Tally(
        due=due,
        failed=failed,
        unanswered=max(due - seen.achieved_tps * seconds - failed, 0.0),
        unsettled=2 * seen.offered_tps * _settled_latency(seen, usual_seconds),
        late=late,
    )


def late_answers(steps: Sequence[Observation], usual_seconds: float = math.inf) -> list[float]:
    """How many answers each step of a load test lacks since the one before had a lower rate.

    Requests in flight grow with the rate, and reach their number only when the new rate has lasted
    as long as its answers take. Before the first step nothing is in flight.

    Args:
        steps: All steps of one load test, in order.
        usual_seconds: How long answers take where little is to do. Those that take much longer
            wait in a queue, and what a queue keeps is missing.
    """
    found: list[float] = []
    for index, seen in enumerate(steps):
        before = steps[index - 1] if index else None
        settled = _settled(steps, index)
        rise = max(seen.offered_tps - (before.offered_tps if before else 0.0), 0.0)
        latency = _settled_latency(seen, usual_seconds)
        # Beyond the time settled: of answers that all take as long, and of an exponential tail.
        left = latency * math.exp(-settled / latency) if latency else 0.0
        found.append(rise * max(latency - settled, left, 0.0))
    return found


def failures_beyond(failed: float, requests: float, limit: float) -> float:
    """By how many standard errors failures exceed what a limit explains.

    The deviation of a normal variable that is as improbable as so many failures or more, if each
    request failed with the limit's probability: binomial, summed for few failures, and by the
    signed root of the deviance for many.

    Args:
        failed: Failures.
        requests: All requests.
        limit: Share that may fail.
    """
    many = round(failed)
    if many <= 0 or requests <= 0 or limit >= 1:
        return -math.inf
    if limit <= 0:
        return math.inf
    whole = max(requests, many)
    share = many / whole
    if many > FEW_FAILURES:
        deviance = many * math.log(share / limit)
        if share < 1:
            deviance += (whole - many) * math.log((1 - share) / (1 - limit))
        return math.copysign(math.sqrt(max(2 * deviance, 0.0)), share - limit)
    odds = limit / (1 - limit)
    log_term = whole * math.log1p(-limit)
    fewer = 0.0
    for k in range(many):
        fewer += math.exp(log_term)
        log_term += math.log((whole - k) / (k + 1) * odds) if whole > k else -math.inf
    as_many = min(max(1 - fewer, 1e-15), 1 - 1e-15)
    return -NormalDist().inv_cdf(as_many)


def judge(sizing: Sizing, record: LoadTestRecord) -> LoadTestRecord:
    """The same load test with a verdict on each observation."""
    target = sizing.request_for(record.instance_type).target
    container = container_saturates(record, target)
    latency = latency_binds(record, target)
    late = late_answers(record.observations)
    judged = (
        each.model_copy(
            update={
                "verdict": verdict(
                    target, each, container=container, latency=latency, late=late[index]
                )
            }
        )
        for index, each in enumerate(record.observations)
    )
    return record.model_copy(update={"observations": tuple(judged)})


def verdict(
    target: Target,
    seen: Observation,
    *,
    container: bool = False,
    latency: bool = False,
    late: float = 0.0,
) -> Verdict:
    """Verdict on one observation.

    Args:
        target: What the endpoint must serve.
        seen: The observation.
        container: The container is known to saturate before the hardware does.
        latency: The latency limit is known to be broken under the band already.
        late: Answers that it may lack since its rate had just risen, see ``late_answers``.
    """
    band = target.utilization_percent
    if seen.invalid is not None:
        return Verdict.INVALID
    if seen.client_limited is not None:
        return Verdict.CLIENT_LIMITED
    if seen.utilization_percent > band.max:
        return Verdict.OVERLOADED
    if fails_to_serve(target, seen, late):
        return Verdict.OVERLOADED if used_up(seen) else Verdict.CONTAINER_LIMITED
    if breaks_latency_limit(target, seen):
        return Verdict.LATENCY_LIMITED
    if seen.utilization_percent >= band.min:
        return Verdict.IN_BAND
    if container:
        return Verdict.CONTAINER_LIMITED
    return Verdict.LATENCY_LIMITED if latency else Verdict.UNDERUSED


def usable(seen: Observation) -> bool:
    """Whether the figures may be used: measured well, and not of a tired load generator."""
    return seen.invalid is None and seen.client_limited is None and seen.achieved_tps > 0


def used_up(seen: Observation) -> bool:
    """Whether the hardware was used up, on one instance at least."""
    return (seen.hottest_instance_percent or seen.utilization_percent) >= USED_UP_PERCENT


def serves(target: Target, seen: Observation) -> bool:
    """Whether the target's limits hold, the band's lower edge aside."""
    return (
        seen.utilization_percent <= target.utilization_percent.max
        and not fails_to_serve(target, seen)
        and not breaks_latency_limit(target, seen)
    )


def fails_to_serve(target: Target, seen: Observation, late: float = 0.0) -> bool:
    """Whether the endpoint answered too few requests, or too many with errors."""
    return tally(seen, late).fails_to_serve(target)


def barely_short(target: Target, seen: Observation, late: float = 0.0) -> bool:
    """Whether a few answers alone were missing, which one stall at the window's end can do too."""
    counted = tally(seen, late)
    return (
        seen.utilization_percent <= target.utilization_percent.max
        and not counted.breaks_error_limit(target)
        and counted.falls_short
        and counted.unanswered - late <= (1 - SURELY_SHORT_SHARE) * counted.due
    )


def breaks_latency_limit(target: Target, seen: Observation) -> bool:
    """Whether the model answered slower than asked for; also where its latency is unknown."""
    if target.model_latency_p99_ms is None:
        return False
    p99 = seen.model_latency_ms.p99
    return p99 is None or p99 > target.model_latency_p99_ms


def latency_binds(record: LoadTestRecord, target: Target) -> bool:
    """Whether a step broke the latency limit under the band: then no count can be in it."""
    return any(
        usable(seen)
        and seen.utilization_percent < target.utilization_percent.min
        and not fails_to_serve(target, seen)
        and breaks_latency_limit(target, seen)
        for seen in record.observations
    )


def mostly_throttled(seen: Observation) -> bool:
    """Whether the platform, not the model, refused most of what failed."""
    failed = sum(seen.errors.values())
    return failed > 0 and seen.errors.get(THROTTLED, 0) > failed / 2


def trusted_saturation(record: LoadTestRecord) -> float | None:
    """The rate at which a burst saturated the endpoint, per second.

    None where there was no burst, where it ended at a bound of ours while throughput still grew, or
    where the load generator itself may have been what was saturated: its CPU at the highest step,
    scaled to the burst's rate, would be used up. Never under a rate that was served afterwards: the
    burst may have met a cold instance.
    """
    steps = [seen for seen in record.within_reach if usable(seen)]
    if record.saturation_tps is None or record.saturation_bounded or not steps:
        return None
    if any(seen.client_limited is not None for seen in record.within_reach):
        return None
    highest = max(steps, key=lambda seen: seen.achieved_tps)
    growth = max(record.saturation_tps / highest.achieved_tps, 1.0)
    if highest.workers.cpu_percent_max * growth > CLIENT_USED_UP_PERCENT:
        return None
    return max(record.saturation_tps, highest.achieved_tps)


def container_saturates(record: LoadTestRecord, target: Target) -> bool:
    """Whether a burst was held up by the container while the hardware had room to spare.

    The utilization at the burst's rate follows from the highest step below it, in proportion
    (the utilization law).
    """
    saturation = trusted_saturation(record)
    if saturation is None or record.saturation_tps is None:
        return False
    steps = [seen for seen in record.within_reach if usable(seen)]
    highest = max(steps, key=lambda seen: seen.achieved_tps)
    if highest.achieved_tps > record.saturation_tps:
        return False
    reached = highest.utilization_percent * max(saturation / highest.achieved_tps, 1.0)
    return reached < target.utilization_percent.min


def latency_seconds(seen: Observation) -> float:
    """Mean time that a request is in flight, seconds; 0 where it is not known."""
    latency = seen.client_latency_ms.mean or seen.model_latency_ms.mean or 0.0
    return latency / 1000


def _settled_latency(seen: Observation, usual_seconds: float) -> float:
    """The same, of requests that do not wait in a queue that grows."""
    return min(latency_seconds(seen), LONGER_ANSWERS * usual_seconds)


def _settled(steps: Sequence[Observation], index: int) -> float:
    """How long a step's rate lasted before its window, seconds.

    Of a first step that does not say, it is as long as others'; with none to compare, no answers
    are taken to be late: those of an endpoint that is overloaded would explain themselves.
    """
    seen = steps[index]
    if seen.warm_up_seconds is not None:
        return seen.warm_up_seconds
    if index:
        return seen.window.start - steps[index - 1].window.end
    gaps = [after.window.start - before.window.end for before, after in pairwise(steps)]
    return max(min(gaps, default=math.inf), 0)
