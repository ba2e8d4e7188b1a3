"""What was seen of a candidate besides its count, and what to do about it."""

from __future__ import annotations

from sizing.catalogue import burstable
from sizing.load_test.observation import Observation, Verdict
from sizing.load_test.verdict import THROTTLED
from sizing.request.request import Target
from sizing.search.answer import Diagnosis
from sizing.search.evidence import Evidence, Trial

#: Under this utilization at the target a smaller type is worth a look, percent.
_HARDLY_USED_PERCENT = 30.0
_NEARLY_FULL_PERCENT = 85.0
#: An instance this much hotter than the mean is worth knowing of, relative.
_HOTTER = 0.10
_SATURATED_PERCENT = 90.0


def diagnose(evidence: Evidence, trial: Trial | None) -> tuple[Diagnosis, ...]:
    """Findings about a candidate.

    Args:
        evidence: What is known of it.
        trial: The full target at the count it is recommended with; None if there is none.
    """
    found = [
        *_container(evidence),
        *_errors(evidence),
        *_memory(evidence),
    ]
    if trial is not None:
        seen = trial.observation
        found += [
            *_burstable(evidence, seen),
            *_hardly_used(seen, trial.instances),
            *_overhead(seen),
            *_network(seen),
            *_hot_instance(seen),
            *_latency_bound(evidence.request.target, seen, evidence, trial.instances),
        ]
    return tuple(found)


def _container(evidence: Evidence) -> list[Diagnosis]:
    if not evidence.container_bound or evidence.saturation_tps is None:
        return []
    if evidence.utilization is None:
        return []
    at_most = evidence.utilization.utilization_at(evidence.saturation_tps)
    return [
        Diagnosis(
            finding=(
                f"The container saturates at {evidence.saturation_tps:.1f} TPS an instance, with "
                f"{evidence.resource} utilization at only {at_most:.0f} %"
            ),
            figures={
                "saturation_tps_per_instance": evidence.saturation_tps,
                "utilization_percent": at_most,
                "vcpus": float(evidence.facts.vcpus),
            },
            advice=(
                "The container, not the hardware, is the limit: raise its number of workers or "
                "threads (SAGEMAKER_MODEL_SERVER_WORKERS, or the model server's own setting) "
                f"towards the {evidence.facts.vcpus} vCPUs, and size again"
            ),
        )
    ]


def _errors(evidence: Evidence) -> list[Diagnosis]:
    target = evidence.request.target
    failing = [
        seen for _, seen in evidence.observations if seen.error_percent > target.error_percent
    ]
    found = []
    saturated = [seen for seen in failing if seen.utilization_percent >= _SATURATED_PERCENT]
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


def _memory(evidence: Evidence) -> list[Diagnosis]:
    return [
        Diagnosis(
            finding=f"{name[0].upper()}{name[1:]} is {percent:.0f} % full",
            figures={f"{name.lower().replace(' ', '_')}_percent": percent},
            advice=f"Take a type with more {name}, or fewer workers in the container: an "
            "instance that runs out is lost",
        )
        for name, percent in evidence.memory_in_use.items()
        if percent >= _NEARLY_FULL_PERCENT
    ]


def _burstable(evidence: Evidence, seen: Observation) -> list[Diagnosis]:
    instance_type = evidence.facts.instance_type
    if not burstable.is_burstable(instance_type):
        return []
    baseline = burstable.baseline_percent(instance_type)
    if baseline is not None and seen.utilization_percent <= baseline:
        return []
    figures = {"utilization_percent": seen.utilization_percent}
    holds = "a part of its CPU"
    if baseline is not None:
        figures["baseline_utilization_percent"] = baseline
        holds = f"{baseline:g} % of its CPU"
    return [
        Diagnosis(
            finding=(
                f"{instance_type} is burstable: it holds {holds} for good, and the target takes "
                f"{seen.utilization_percent:.0f} %"
            ),
            figures=figures,
            advice="CPU credits carried this load test, and a longer load uses them up: take a "
            "type of fixed performance, such as ml.m5 or ml.c5, or a band under the baseline",
        )
    ]


def _hardly_used(seen: Observation, instances: int) -> list[Diagnosis]:
    if seen.utilization_percent >= _HARDLY_USED_PERCENT:
        return []
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
    if hottest is None or mean <= 0 or hottest / mean < 1 + _HOTTER:
        return []
    return [
        Diagnosis(
            finding=f"The hottest instance is at {hottest:.0f} %, the mean at {mean:.0f} %",
            figures={"hottest_instance_percent": hottest, "utilization_percent": mean},
            advice="Set the variant's RoutingStrategy to LEAST_OUTSTANDING_REQUESTS",
        )
    ]


def _latency_bound(
    target: Target, seen: Observation, evidence: Evidence, instances: int
) -> list[Diagnosis]:
    limit, p99 = target.model_latency_p99_ms, seen.model_latency_ms.p99
    if limit is None or p99 is None or instances < 2 or evidence.utilization is None:
        return []
    bound = seen.verdict is Verdict.LATENCY_LIMITED or "latency" in evidence.binding(instances - 1)
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
