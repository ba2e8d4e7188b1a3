"""How many load generator tasks a load test needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sizing.load_test.observation import LoadTestRecord
from sizing.request.request import Load

#: Requests per second that one vCPU of a worker is trusted with over TLS, before anything was
#: measured: far under what the generator reaches, since Fargate's cores differ.
TRUSTED_TPS_PER_VCPU = 5_000.0
#: The same as a limit on request bodies, bytes per second.
_TRUSTED_BYTES_PER_VCPU = 40e6
#: CPU that a worker is planned to use at the most, percent of its share.
_PLANNED_CPU_PERCENT = 60.0
#: CPU below which a measurement says little about the rate, percent of a worker's share.
_IDLE_CPU_PERCENT = 3.0
_MOST_WORKERS = 200
#: Sizes of a worker's task, vCPUs, as Fargate sells them; each whole vCPU runs a process.
_WORKER_VCPUS = (1, 2, 4, 8, 16)
#: More workers than these are planned larger instead: each is a task to place, an address in the
#: subnet, and one more that can be lost.
_FEW_WORKERS = 20
#: vCPUs of the leader's task, as the task definition in template.yaml has them.
LEADER_VCPUS = 1


@dataclass(frozen=True, slots=True)
class LoadFleet:
    """The workers of a load test, and why so many."""

    workers: int
    worker_vcpus: int
    reason: str


def plan_fleet(
    load: Load,
    body_bytes: float,
    peak_tps: float,
    driven: float | None = None,
    *,
    at_least_vcpus: int = 1,
) -> LoadFleet:
    """Plan the workers of a load test.

    Args:
        load: What the request says, which wins over any plan.
        body_bytes: Mean size of a request body, as it is sent.
        peak_tps: Highest rate the load test will offer, per second.
        driven: ``measured_tps_per_vcpu`` of the sizing's load tests so far.
        at_least_vcpus: Fewest vCPUs of all workers, because fewer were too few before.
    """
    vcpus = worker_vcpus(load, body_bytes, peak_tps)
    if load.workers is not None:
        return LoadFleet(load.workers, vcpus, "as the request says")
    trusted = trusted_tps_per_vcpu(body_bytes)
    rate = trusted if driven is None else min(driven, 4 * trusted)
    total = max(peak_tps / rate, at_least_vcpus)
    if load.worker_vcpus is None:
        vcpus = _large_enough(total / _MOST_WORKERS, vcpus)
    needed = max(math.ceil(peak_tps / (rate * vcpus)), 1)
    workers = min(max(needed, math.ceil(at_least_vcpus / vcpus)), _MOST_WORKERS)
    source = "trusted" if driven is None else "measured"
    reason = f"{peak_tps:.0f} TPS at {rate:.0f} TPS a vCPU ({source})"
    if vcpus > 1 and load.worker_vcpus is None:
        reason += f", on {vcpus} vCPUs each to keep them few"
    if workers > needed:
        reason += f", and fewer than {workers} were too few"
    return LoadFleet(workers, vcpus, reason)


def worker_vcpus(load: Load, body_bytes: float, peak_tps: float) -> int:
    """vCPUs of each worker: as the request says, or the least that keep the workers few.

    They depend on the rate alone and not on what was measured, unless that asks for more workers
    than there can be.
    """
    if load.worker_vcpus is not None:
        return load.worker_vcpus
    return _large_enough(peak_tps / trusted_tps_per_vcpu(body_bytes) / _FEW_WORKERS)


def _large_enough(vcpus: float, least: int = 1) -> int:
    """The smallest size of a task with so many vCPUs, or the largest there is."""
    sizes = (size for size in _WORKER_VCPUS if size >= max(vcpus, least))
    return next(sizes, _WORKER_VCPUS[-1])


def trusted_tps_per_vcpu(body_bytes: float) -> float:
    """Rate that one worker vCPU is trusted with before anything was measured, per second."""
    return min(TRUSTED_TPS_PER_VCPU, _TRUSTED_BYTES_PER_VCPU / max(body_bytes, 1.0))


def measured_tps_per_vcpu(seen: Sequence[LoadTestRecord]) -> float | None:
    """Rate of one worker vCPU at the planned CPU, from the busiest load test; None if unknown.

    CPU is taken as a line over the rate: what a worker uses at rest does not grow with it. At
    most half of what the busiest step used is taken to be that.
    """
    best: tuple[float, float] | None = None
    for record in seen:
        vcpus = record.workers * record.worker_vcpus
        steps = sorted(
            (step.achieved_tps / vcpus, step.workers.cpu_percent_max)
            for step in record.within_reach
            if step.invalid is None and step.achieved_tps > 0
        )
        if not steps or steps[-1][1] < _IDLE_CPU_PERCENT:
            continue
        (low_tps, low_cpu), (tps, cpu) = steps[0], steps[-1]
        slope = (cpu - low_cpu) / (tps - low_tps) if tps > 1.1 * low_tps else cpu / tps
        slope = min(max(slope, cpu / tps / 2), cpu / tps)
        rate = tps + (_PLANNED_CPU_PERCENT - cpu) / slope
        if rate > 0 and (best is None or cpu > best[0]):
            best = cpu, rate
    return None if best is None else best[1]
