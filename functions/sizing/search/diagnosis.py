"""What was seen of a candidate besides its count, and what to do about it."""

from __future__ import annotations

import math

from pydantic import BaseModel, ConfigDict

from sizing.catalogue import burstable
from sizing.load_test.observation import Observation, Verdict
from sizing.load_test.verdict import THROTTLED
from sizing.request.request import Target
from sizing.search.known import Known
from sizing.search.seen import FILLED_PERCENT, Stray, Trial

#: Under this utilization at the target a smaller type is worth a look, percent.
HARDLY_USED_PERCENT = 30.0
NEARLY_FULL_PERCENT = 85.0
#: An instance this much hotter than the mean is worth knowing of, relative.
HOTTER = 0.10
SATURATED_PERCENT = 90.0
#: Rates that differ by this factor at the least show whether utilization follows them.
APART = 1.25
#: It does where ten percent more load raise it by this much at the least, percent of ten.
FOLLOWS = 0.5

_STRAY_ADVICE = {
    Stray.COLD_START: "It is no limit of the load: warm the model up before it answers /ping, or "
    "expect as much of every new instance",
    Stray.STALL: "It is no limit of the load: look for what the container does then (garbage "
    "collection, a reload, a restart); clients should repeat such requests",
}


class Diagnosis(BaseModel):
    """One finding about a candidate, with the figures that led to it and what to do."""

    model_config = ConfigDict(frozen=True)

    finding: str
    figures: dict[str, float]
    advice: str


def diagnose(known: Known, trial: Trial | None) -> tuple[Diagnosis, ...]:
    """Findings about a candidate.

    Args:
        known: What is known of it.
        trial: The full target at the count it is recommended with; None if there is none.
    """
    shared = _shared(known)
    found = [
        *shared,
        # What looks like the container's or the load's doing is then not.
        *([] if shared else [*_container(known), *_refusing(known), *_errors(known)]),
        *_strays(known),
        *_memory(known),
        *_work_for_nobody(known),
    ]
    if trial is not None:
        seen = trial.observation
        found += [
            *_burstable(known, seen),
            *_hardly_used(known, seen, trial.instances),
            *_overhead(seen),
            *_network(seen),
            *_hot_instance(seen),
            *_latency_bound(known.seen.request.target, seen, known, trial.instances),
        ]
    return tuple(found)


def _container(known: Known) -> list[Diagnosis]:
    if not known.seen.container_bound or known.seen.saturation_tps is None or known.seen.refusing:
        return []
    if known.predicted is None or known.seen.failing_at_rest() is not None:
        return []
    at_most = known.prediction.utilization.utilization_at(known.seen.saturation_tps)
    return [
        Diagnosis(
            finding=(
                f"The container saturates at {known.seen.saturation_tps:.1f} TPS an instance, with "
                f"{known.seen.resource} utilization at only {at_most:.0f} %"
            ),
            figures={
                "saturation_tps_per_instance": known.seen.saturation_tps,
                "utilization_percent": at_most,
                "vcpus": float(known.seen.facts.vcpus),
            },
            advice=(
                "The container, not the hardware, is the limit: raise its number of workers or "
                "threads (SAGEMAKER_MODEL_SERVER_WORKERS, or the model server's own setting) "
                f"towards the {known.seen.facts.vcpus} vCPUs, and size again"
            ),
        )
    ]


def _shared(known: Known) -> list[Diagnosis]:
    """More instances that do no better."""
    shared = known.seen.shared
    if shared is None:
        return []
    return [
        Diagnosis(
            finding=f"{shared.words[0].upper()}{shared.words[1:]}",
            figures={
                "instances": float(shared.more),
                "achieved_tps": shared.after.achieved_tps,
                "utilization_percent": shared.after.utilization_percent,
            },
            advice=(
                "Something that all instances share is the limit: a database or service that the "
                "model calls, its quota, or the network to it. Raise that, and size again"
            ),
        )
    ]


def _refusing(known: Known) -> list[Diagnosis]:
    """A queue that is full now and then long before the container saturates."""
    failures = known.seen.failures
    if failures is None or not known.seen.refusing:
        return []
    limit = known.seen.request.target.error_percent
    figures = {"error_percent": limit, "tps_per_instance": failures.limit_tps}
    most = ""
    if known.seen.saturation_tps is not None:
        most = f", though it saturates at {known.seen.saturation_tps:.1f} TPS"
        figures["saturation_tps_per_instance"] = known.seen.saturation_tps
    return [
        Diagnosis(
            finding=(
                f"More than {limit:g} % of the requests fail from {failures.limit_tps:.1f} TPS an "
                f"instance on, the more the higher the rate{most}"
            ),
            figures=figures,
            advice=(
                "Requests that come close together find the container's queue full: let it hold "
                "more (the model server's backlog or queue size), or raise its number of workers, "
                "and size again"
            ),
        )
    ]


def _errors(known: Known) -> list[Diagnosis]:
    target = known.seen.request.target
    # Over what the container can take they are its limit's, which is told already.
    limited = known.seen.container_bound and known.seen.failing_at_rest() is None
    most = known.seen.served_tps if limited else 0.0
    failing = [
        step.observation
        for step in known.seen.steps
        if step.stray is None
        and step.tally.breaks_error_limit(target)
        and not 0 < most < step.offered_per_instance
    ]
    found = []
    saturated = [seen for seen in failing if seen.utilization_percent >= SATURATED_PERCENT]
    if saturated:
        worst = max(saturated, key=lambda seen: seen.error_percent)
        found.append(
            Diagnosis(
                finding=(
                    f"{worst.error_percent:.1f} % errors with the instances saturated "
                    f"({worst.utilization_percent:.0f} %)"
                ),
                figures={
                    "error_percent": worst.error_percent,
                    "utilization_percent": worst.utilization_percent,
                },
                advice="The hardware is used up there: more or bigger instances",
            )
        )
    throttled = [seen for seen in failing if seen.errors.get(THROTTLED, 0)]
    if throttled:
        worst = max(throttled, key=lambda seen: seen.errors[THROTTLED])
        found.append(
            Diagnosis(
                finding=f"{worst.errors[THROTTLED]} requests were throttled by the platform",
                figures={
                    "throttled": float(worst.errors[THROTTLED]),
                    "offered_tps": worst.offered_tps,
                },
                advice="Ask for a higher InvokeEndpoint quota; instances do not mend throttling",
            )
        )
    idle = [
        seen
        for seen in failing
        if seen.utilization_percent < target.utilization_percent.min and seen not in throttled
    ]
    if idle:
        worst = max(idle, key=lambda seen: seen.error_percent)
        found.append(
            Diagnosis(
                finding=(
                    f"{worst.error_percent:.1f} % errors at only "
                    f"{worst.utilization_percent:.0f} % utilization"
                ),
                figures={
                    "error_percent": worst.error_percent,
                    "utilization_percent": worst.utilization_percent,
                },
                advice=(
                    "Look at the container, not the hardware: its log, the number of workers, "
                    "the length of its queue and its time-outs"
                ),
            )
        )
    return found


def _strays(known: Known) -> list[Diagnosis]:
    """Faults that had nothing to do with the load, one of each kind."""
    found = []
    for kind in Stray:
        steps = [step for step in known.seen.strays if step.stray is kind]
        if not steps:
            continue
        worst = max(steps, key=lambda step: step.tally.failed + step.tally.unanswered)
        lacking = 100 * (worst.tally.failed + worst.tally.unanswered) / worst.tally.due
        found.append(
            Diagnosis(
                finding=(
                    f"A {kind}: {lacking:.2g} % of the requests failed or were late at "
                    f"{worst.offered_per_instance:.4g} TPS an instance, where as many and more "
                    "were served at another time"
                ),
                figures={
                    "lacking_percent": lacking,
                    "offered_tps": worst.observation.offered_tps,
                    "steps": float(len(steps)),
                },
                advice=_STRAY_ADVICE[kind],
            )
        )
    slow = [step.observation for step in known.seen.steps if step.slow]
    if slow:
        worst_p99 = max(seen.model_latency_ms.p99 or 0.0 for seen in slow)
        found.append(
            Diagnosis(
                finding=(
                    f"A stall: p99 was {worst_p99:.0f} ms at a rate that was answered much faster "
                    "at another time"
                ),
                figures={"model_latency_p99_ms": worst_p99, "steps": float(len(slow))},
                advice=_STRAY_ADVICE[Stray.STALL],
            )
        )
    return found


def _memory(known: Known) -> list[Diagnosis]:
    lightest = min((step.tps_per_instance for step in known.seen.steps), default=0.0)
    idle = [step for step in known.seen.steps if step.tps_per_instance <= lightest]
    at_rest = known.seen.memory_in_use(idle)
    return [
        Diagnosis(
            finding=f"{name[0].upper()}{name[1:]} is {percent:.0f} % full",
            figures={f"{name.lower().replace(' ', '_')}_percent": percent},
            advice=f"Take a type with more {name}, or fewer workers in the container: an "
            "instance that runs out is lost",
        )
        for name, percent in known.seen.memory_in_use(known.seen.steps).items()
        if percent >= NEARLY_FULL_PERCENT
        # What a framework takes of a GPU's memory when it starts does not tell what it needs.
        and (name != "GPU memory" or percent - at_rest[name] >= FILLED_PERCENT)
    ]


def _work_for_nobody(known: Known) -> list[Diagnosis]:
    """Utilization that is there whatever the rate, as of threads that wait by spinning."""
    first = [each for each in known.seen.steps if each.load_test == 0 and not each.odd]
    if known.seen.resource != "CPU" or not first:
        return []
    low = min(first, key=lambda each: each.tps_per_instance)
    high = max(first, key=lambda each: each.tps_per_instance)
    before, after = (each.observation.utilization_percent for each in (low, high))
    if min(before, low.tps_per_instance) <= 0:
        return []
    times = high.tps_per_instance / low.tps_per_instance
    if times < APART:
        return []
    if math.log(max(after, before) / before) >= FOLLOWS * math.log(times):
        return []
    return [
        Diagnosis(
            finding=(
                f"Utilization does not follow the load: {before:.0f} % at "
                f"{low.tps_per_instance:.1f} TPS an instance, {after:.0f} % at "
                f"{high.tps_per_instance:.1f} TPS"
            ),
            figures={
                "low_tps_per_instance": low.tps_per_instance,
                "low_utilization_percent": before,
                "high_tps_per_instance": high.tps_per_instance,
                "high_utilization_percent": after,
            },
            advice=(
                "The container uses CPU for other things than requests, so a count by its "
                "utilization is too high. Look for threads that wait by spinning "
                "(OMP_WAIT_POLICY=passive, onnxruntime's session.intra_op.allow_spinning, or fewer "
                "threads) and for other work there, and size again"
            ),
        )
    ]


def _burstable(known: Known, seen: Observation) -> list[Diagnosis]:
    instance_type = known.seen.facts.instance_type
    if not burstable.is_burstable(instance_type):
        return []
    baseline = burstable.baseline_percent(instance_type)
    if baseline is not None:
        band = known.seen.request.target.utilization_percent
        return [
            Diagnosis(
                finding=(
                    f"{instance_type} is burstable: it holds {baseline:g} % of its CPU for good, "
                    f"and is sized for that: {band.min:g} to {band.max:g} % is the band"
                ),
                figures={
                    "utilization_percent": seen.utilization_percent,
                    "baseline_utilization_percent": baseline,
                },
                advice="More than that lasts only while CPU credits do: a type of fixed "
                "performance, such as ml.m5 or ml.c5, is mostly cheaper for a steady load",
            )
        ]
    return [
        Diagnosis(
            finding=(
                f"{instance_type} is burstable: it holds a part of its CPU for good, and the "
                f"target takes {seen.utilization_percent:.0f} %"
            ),
            figures={"utilization_percent": seen.utilization_percent},
            advice="CPU credits carried this load test, and a longer load uses them up: take a "
            "type of fixed performance, such as ml.m5 or ml.c5",
        )
    ]


def _hardly_used(known: Known, seen: Observation, instances: int) -> list[Diagnosis]:
    if seen.utilization_percent >= HARDLY_USED_PERCENT:
        return []
    if burstable.is_burstable(known.seen.facts.instance_type):
        return []  # it holds no more
    if seen.verdict in (Verdict.CONTAINER_LIMITED, Verdict.LATENCY_LIMITED):
        return []  # a smaller type does not mend what keeps this one idle
    return [
        Diagnosis(
            finding=f"Only {seen.utilization_percent:.0f} % utilization at the full target",
            figures={
                "utilization_percent": seen.utilization_percent,
                "instance_count": float(instances),
            },
            advice="Try a smaller instance type",
        )
    ]


def _overhead(seen: Observation) -> list[Diagnosis]:
    model, overhead = seen.model_latency_ms.mean, seen.overhead_latency_ms.mean
    if model is None or overhead is None or overhead <= model:
        return []
    return [
        Diagnosis(
            finding=(
                f"SageMaker's overhead ({overhead:.1f} ms) is larger than the model's own latency "
                f"({model:.1f} ms)"
            ),
            figures={"overhead_latency_ms": overhead, "model_latency_ms": model},
            advice="Batch several inputs into one request, or keep payloads smaller",
        )
    ]


def _network(seen: Observation) -> list[Diagnosis]:
    client, model = seen.client_latency_ms.mean, seen.model_latency_ms.mean
    if client is None or model is None:
        return []
    network = client - model - (seen.overhead_latency_ms.mean or 0.0)
    if network <= client / 2:
        return []
    return [
        Diagnosis(
            finding=(
                f"{network:.1f} of {client:.1f} ms that clients wait are spent outside the endpoint"
            ),
            figures={"network_latency_ms": network, "client_latency_ms": client},
            advice="Call the endpoint from its own region through a VPC endpoint, keep "
            "connections alive, and send smaller payloads",
        )
    ]


def _hot_instance(seen: Observation) -> list[Diagnosis]:
    hottest, mean = seen.hottest_instance_percent, seen.utilization_percent
    if hottest is None or mean <= 0 or hottest / mean < 1 + HOTTER:
        return []
    return [
        Diagnosis(
            finding=f"The hottest instance is at {hottest:.0f} %, the mean at {mean:.0f} %",
            figures={"hottest_instance_percent": hottest, "utilization_percent": mean},
            advice="Set the variant's RoutingStrategy to LEAST_OUTSTANDING_REQUESTS",
        )
    ]


def _latency_bound(
    target: Target, seen: Observation, known: Known, instances: int
) -> list[Diagnosis]:
    limit, p99 = target.model_latency_p99_ms, seen.model_latency_ms.p99
    if limit is None or p99 is None or instances < 2 or known.predicted is None:
        return []
    bound = seen.verdict is Verdict.LATENCY_LIMITED or "latency" in known.prediction.binding(
        instances - 1
    )
    if not bound:
        return []
    return [
        Diagnosis(
            finding=(
                f"Model latency p99 is {p99:.0f} ms of the {limit:g} ms allowed, at "
                f"{seen.utilization_percent:.0f} % utilization: latency sets the count"
            ),
            figures={
                "model_latency_p99_ms": p99,
                "limit_ms": limit,
                "utilization_percent": seen.utilization_percent,
            },
            advice="A faster instance type, or fewer requests at once in the container, would "
            "allow fewer instances",
        )
    ]
