"""What an observation means for the rate per instance it was made at."""

from __future__ import annotations

from sizing.load_test.observation import LoadTestRecord, Observation, Verdict
from sizing.request.request import Target
from sizing.request.sizing import Sizing

#: Least share of the offered rate that must be answered with success.
SERVED_SHARE = 0.99
#: Under this share it is no accident: an endpoint that can't keep up falls behind further.
_SURELY_SHORT_SHARE = 0.95
#: Answers that a window may lack though all is well: at each of its ends, one request that is due
#: inside may be answered outside. At a few requests per second that is more than a percent.
_AT_THE_EDGES = 2
#: An instance this busy is used up: errors there are the hardware's, not the container's.
_USED_UP_PERCENT = 90.0
#: A load generator this busy, percent of its share, may be what a burst saturated.
_CLIENT_USED_UP_PERCENT = 85.0
#: Name of the error kind of platform throttling in the load generator's counts.
THROTTLED = "throttled"


def judge(sizing: Sizing, record: LoadTestRecord) -> LoadTestRecord:
    """The same load test with a verdict on each observation."""
    target = sizing.request.target
    container = container_saturates(record, target)
    latency = latency_binds(record, target)
    judged = (
        each.model_copy(
            update={"verdict": verdict(target, each, container=container, latency=latency)}
        )
        for each in record.observations
    )
    return record.model_copy(update={"observations": tuple(judged)})


def verdict(
    target: Target, seen: Observation, *, container: bool = False, latency: bool = False
) -> Verdict:
    """Verdict on one observation.

    Args:
        target: What the endpoint must serve.
        seen: The observation.
        container: The container is known to saturate before the hardware does.
        latency: The latency limit is known to be broken under the band already.
    """
    band = target.utilization_percent
    if seen.invalid is not None:
        return Verdict.INVALID
    if seen.client_limited is not None:
        return Verdict.CLIENT_LIMITED
    if seen.utilization_percent > band.max:
        return Verdict.OVERLOADED
    if fails_to_serve(target, seen):
        hottest = seen.hottest_instance_percent or seen.utilization_percent
        return Verdict.OVERLOADED if hottest >= _USED_UP_PERCENT else Verdict.CONTAINER_LIMITED
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


def serves(target: Target, seen: Observation) -> bool:
    """Whether the target's limits hold, the band's lower edge aside."""
    return (
        seen.utilization_percent <= target.utilization_percent.max
        and not fails_to_serve(target, seen)
        and not breaks_latency_limit(target, seen)
    )


def fails_to_serve(target: Target, seen: Observation) -> bool:
    """Whether the endpoint answered too few requests, or too many with errors."""
    return seen.error_percent > target.error_percent or _falls_short(seen)


def _falls_short(seen: Observation) -> bool:
    """Whether more answers are missing than a steady window may lack."""
    seconds = seen.window.end - seen.window.start
    missing = (seen.offered_tps - seen.achieved_tps) * seconds
    due = seen.offered_tps * seconds
    # Rounded, as both rates are quotients of whole numbers.
    return round(missing, 6) > max((1 - SERVED_SHARE) * due, _AT_THE_EDGES)


def barely_short(target: Target, seen: Observation) -> bool:
    """Whether a few answers alone were missing, which one stall at the window's end can do too."""
    return (
        seen.utilization_percent <= target.utilization_percent.max
        and seen.error_percent <= target.error_percent
        and _falls_short(seen)
        and seen.achieved_tps >= _SURELY_SHORT_SHARE * seen.offered_tps
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

    None where there was no burst, or where the load generator itself may have been what was
    saturated: its CPU at the highest step, scaled to the burst's rate, would be used up.
    """
    steps = [seen for seen in record.observations if usable(seen)]
    if record.saturation_tps is None or not steps:
        return None
    if any(seen.client_limited is not None for seen in record.observations):
        return None
    highest = max(steps, key=lambda seen: seen.achieved_tps)
    growth = max(record.saturation_tps / highest.achieved_tps, 1.0)
    if highest.workers.cpu_percent_max * growth > _CLIENT_USED_UP_PERCENT:
        return None
    return record.saturation_tps


def container_saturates(record: LoadTestRecord, target: Target) -> bool:
    """Whether a burst was held up by the container while the hardware had room to spare.

    The utilization at the burst's rate follows from the highest step below it, in proportion
    (the utilization law).
    """
    saturation = trusted_saturation(record)
    if saturation is None:
        return False
    steps = [seen for seen in record.observations if usable(seen)]
    highest = max(steps, key=lambda seen: seen.achieved_tps)
    reached = highest.utilization_percent * max(saturation / highest.achieved_tps, 1.0)
    return reached < target.utilization_percent.min
