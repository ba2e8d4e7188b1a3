"""Endpoints that serve production: what they are, and what CloudWatch knows of them. Reads only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from botocore.exceptions import ClientError

from aws import cloudwatch, instance_types, refusals
from aws.availability import is_transient
from aws.clients import client
from aws.refusals import code_of
from sizing.catalogue.instance import InstanceFacts
from sizing.errors import InvalidRequest
from sizing.load_test.measurement import (
    INSTANCE_NAMESPACE,
    INVOCATION_NAMESPACE,
    MetricQuery,
)
from sizing.load_test.observation import Window
from sizing.production.audit import PERIOD_SECONDS, Period
from sizing.production.traffic import MINUTE, Traffic, percentile_of
from sizing.request.request import FromEndpoint

#: Calls under way at once. SageMaker gives no number for its describe calls.
_AT_ONCE = 4
#: How often a call that is throttled after the SDK's own tries is made again, and the first wait.
_TRIES = 6
_FIRST_WAIT_SECONDS = 1.0
#: What one GetMetricData call may ask for, and answer.
_MOST_QUERIES = 500
_MOST_POINTS = 100_800
_MICROSECONDS_PER_MS = 1000.0
_DAY_SECONDS = 86_400
#: CloudWatch keeps periods under a minute for three hours.
_FINE_SECONDS = 2 * 3_600 + 1_800

_INVOCATIONS = MetricQuery(INVOCATION_NAMESPACE, "Invocations", "Sum", MINUTE)
_BY_TEN = MetricQuery(INVOCATION_NAMESPACE, "Invocations", "Sum", 10)
_FAILED = MetricQuery(INVOCATION_NAMESPACE, "Invocation5XXErrors", "Sum", PERIOD_SECONDS)
_P99 = MetricQuery(INVOCATION_NAMESPACE, "ModelLatency", "p99", PERIOD_SECONDS)
_SAMPLES = MetricQuery(INSTANCE_NAMESPACE, "CPUUtilization", "SampleCount", PERIOD_SECONDS)
_CPU = MetricQuery(INSTANCE_NAMESPACE, "CPUUtilization", "Average", PERIOD_SECONDS)
_GPU = MetricQuery(INSTANCE_NAMESPACE, "GPUUtilization", "Average", PERIOD_SECONDS)

_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant of an endpoint.

    Args:
        endpoint: The endpoint's name.
        name: The variant's.
        instance_type: None where it has none of its own.
        instance_count: As it is now.
        scales: Between which counts it is scaled by a policy; None if it is not.
        unlike: What it is, if it is nothing that a sizing sizes.
        created_at: Epoch seconds; what was before is not its history.
        captures: Whether what it is sent is captured.
        desired_count: Instances that were last asked for.
        status: EndpointStatus.
    """

    endpoint: str
    name: str
    instance_type: str | None
    instance_count: int
    scales: tuple[int, int] | None
    unlike: str | None
    created_at: float
    captures: bool = False
    desired_count: int = 0
    status: str = ""


def endpoint_names() -> list[str]:
    """All endpoints of the account and region that are not being deleted.

    Raises:
        botocore.exceptions.ClientError: They could not be listed.
    """
    pages = client("sagemaker").get_paginator("list_endpoints").paginate()
    return [
        each["EndpointName"]
        for page in pages
        for each in page["Endpoints"]
        if each["EndpointStatus"] != "Deleting"
    ]


def variants(endpoints: Sequence[str]) -> tuple[list[Variant], list[str]]:
    """The variants of endpoints, and the endpoints that there are none of.

    Raises:
        botocore.exceptions.ClientError: They could not be described.
    """
    scaled = _scaled()
    found: list[Variant] = []
    missing: list[str] = []
    for name, described in zip(endpoints, _each(_described, endpoints), strict=True):
        if described is None:
            missing.append(name)
        else:
            found += _variants(*described, scaled)
    return found, missing


def _described(name: str) -> tuple[Mapping[str, Any], Mapping[str, Any]] | None:
    sagemaker = client("sagemaker")
    try:
        endpoint = sagemaker.describe_endpoint(EndpointName=name)
        config = sagemaker.describe_endpoint_config(
            EndpointConfigName=endpoint["EndpointConfigName"]
        )
    except ClientError as error:
        if refusals.is_gone(error):
            return None
        raise
    return endpoint, config


def _variants(
    endpoint: Mapping[str, Any],
    config: Mapping[str, Any],
    scaled: Mapping[str, tuple[int, int]],
) -> Iterator[Variant]:
    configured = {each["VariantName"]: each for each in config["ProductionVariants"]}
    for variant in endpoint.get("ProductionVariants", ()):  # none while it is being created
        name = variant["VariantName"]
        of_config = configured.get(name, {})
        yield Variant(
            endpoint=endpoint["EndpointName"],
            name=name,
            instance_type=of_config.get("InstanceType"),
            instance_count=variant.get("CurrentInstanceCount", 0),
            scales=scaled.get(f"endpoint/{endpoint['EndpointName']}/variant/{name}"),
            unlike=_unlike(endpoint, of_config, variant),
            created_at=endpoint["CreationTime"].timestamp(),
            captures=(endpoint.get("DataCaptureConfig") or {}).get("EnableCapture", False),
            desired_count=variant.get("DesiredInstanceCount", 0),
            status=endpoint["EndpointStatus"],
        )


def _unlike(
    endpoint: Mapping[str, Any], configured: Mapping[str, Any], variant: Mapping[str, Any]
) -> str | None:
    if endpoint["EndpointStatus"] in ("Creating", "Failed"):
        return f"the endpoint is {endpoint['EndpointStatus']}"
    if "AsyncInferenceConfig" in endpoint:
        return "an asynchronous endpoint, which is sized by its queue"
    if "ServerlessConfig" in configured or "CurrentServerlessConfig" in variant:
        return "a serverless endpoint, which has no instances to count"
    if "ModelName" not in configured:
        return "inference components share its instances, whose metrics don't tell them apart"
    return None


def _scaled() -> dict[str, tuple[int, int]]:
    """Least and most instances of what a policy scales, by the resource's id."""
    pages = (
        client("application-autoscaling")
        .get_paginator("describe_scalable_targets")
        .paginate(ServiceNamespace="sagemaker")
    )
    try:
        return {
            each["ResourceId"]: (each["MinCapacity"], each["MaxCapacity"])
            for page in pages
            for each in page["ScalableTargets"]
        }
    except ClientError as error:
        if is_transient(error):
            raise
        return {}  # not allowed: the audit does without


def histories(
    asked: Sequence[tuple[Variant, InstanceFacts]], window: Window
) -> Iterator[tuple[Traffic, list[Period]]]:
    """Invocations, and utilization and latency, of variants; in their order.

    Args:
        asked: The variants, and their types.
        window: Which time; from a minute of five on.

    Raises:
        botocore.exceptions.ClientError: They could not be read.
    """
    length = window.end - window.start
    points = length // MINUTE + 5 * (length // PERIOD_SECONDS)
    most = max(min(_MOST_POINTS // points, _MOST_QUERIES // 6), 1)
    batches = [asked[start : start + most] for start in range(0, len(asked), most)]
    for batch, data in zip(batches, _each(lambda each: _read(each, window), batches), strict=True):
        for variant, facts in batch:
            yield _history(variant, facts, data, window)


def _read(
    batch: Sequence[tuple[Variant, InstanceFacts]], window: Window
) -> Mapping[cloudwatch.Asked, Mapping[int, float]]:
    return cloudwatch.series(
        [
            (variant.endpoint, variant.name, query)
            for variant, facts in batch
            for query in (_INVOCATIONS, _FAILED, _P99, _SAMPLES, _CPU, *([_GPU] * bool(facts.gpus)))
        ],
        window,
    )


def _history(
    variant: Variant,
    facts: InstanceFacts,
    data: Mapping[cloudwatch.Asked, Mapping[int, float]],
    window: Window,
) -> tuple[Traffic, list[Period]]:
    def of(query: MetricQuery) -> Mapping[int, float]:
        return data.get((variant.endpoint, variant.name, query), {})

    counts, failed, p99, samples = of(_INVOCATIONS), of(_FAILED), of(_P99), of(_SAMPLES)
    start = max(window.start, int(variant.created_at) // PERIOD_SECONDS * PERIOD_SECONDS)
    # Samples of an instance in a period depend on how often it publishes.
    latest = samples[max(samples)] if samples else 0.0
    of_instance = max(latest / max(variant.instance_count, 1), 1.0)
    periods = []
    for at, cpu in sorted(of(_CPU).items()):
        invocations = sum(counts.get(at + each, 0.0) for each in range(0, PERIOD_SECONDS, MINUTE))
        gpu = of(_GPU).get(at, 0.0) / max(facts.gpus, 1)
        latency = p99.get(at)
        periods.append(
            Period(
                start=at,
                tps=invocations / PERIOD_SECONDS,
                instances=max(samples.get(at, latest) / of_instance, 1.0),
                utilization_percent=max(cpu / facts.vcpus, gpu),
                p99_ms=None if latency is None else latency / _MICROSECONDS_PER_MS,
                failed=min(failed.get(at, 0.0) / invocations, 1.0) if invocations else 0.0,
            )
        )
    return Traffic(counts, start, window.end), periods


def variant_of(field: str, endpoint: str, name: str | None) -> Variant:
    """A variant that a field of the request names, and that has instances of its own.

    Args:
        field: Of the endpoint's name; that of the variant stands beside it.
        endpoint: The endpoint's name.
        name: The variant's; None where the endpoint has one.

    Raises:
        InvalidRequest: There is no such endpoint or variant, it can't be sized, or the stack may
            not read it.
        botocore.exceptions.ClientError: AWS refused a call for another reason.
    """
    beside = f"{field.rpartition('.')[0]}.variant"
    try:
        described = _described(endpoint)
        every = [*_variants(*described, _scaled())] if described is not None else []
    except ClientError as error:
        if is_transient(error):
            raise  # the state machine is more patient than the audit's user
        raise may_not_be_read(field, endpoint, error) from None
    names = [each.name for each in every]
    if not every:
        raise InvalidRequest(field, f"there is no endpoint {endpoint} that serves")
    if name is None and len(every) > 1:
        raise InvalidRequest(beside, f"must be one of {', '.join(names)}")
    if name is not None and name not in names:
        raise InvalidRequest(beside, f"{endpoint} has no {name}; it has {', '.join(names)}")
    found = next(each for each in every if name in (None, each.name))
    if found.unlike is not None or found.instance_type is None:
        raise InvalidRequest(field, f"{endpoint}: {found.unlike}")
    return found


def may_not_be_read(field: str, endpoint: str, error: ClientError) -> InvalidRequest:
    """What to raise where the stack may not describe an endpoint that a field names."""
    parameter = "ApplyEndpoints" if field.startswith("apply.") else "ProductionEndpointArns"
    why = f"{endpoint} may not be read: name its ARN in the stack's parameter {parameter}"
    return InvalidRequest(field, f"{why} ({code_of(error)})")


def traffic_of(
    asked: FromEndpoint, now: float
) -> tuple[Variant, InstanceFacts, Traffic, float | None]:
    """The variant that a request takes its target from, with its type, traffic and busiest hours.

    Args:
        asked: What the request says.
        now: Epoch seconds.

    Returns:
        The variant, its type's facts, its invocations, and the highest utilization but for one
        period of a hundred, percent; None where it publishes none.

    Raises:
        InvalidRequest: There is no such endpoint or variant, it can't be sized, or the stack may
            not read it.
        botocore.exceptions.ClientError: AWS refused a call for another reason.
    """
    found = variant_of("target.from_endpoint.name", asked.name, asked.variant)
    [facts] = instance_types.describe([str(found.instance_type)])
    end = int(now) // PERIOD_SECONDS * PERIOD_SECONDS
    window = Window(start=end - asked.days * _DAY_SECONDS, end=end)
    [(traffic, periods)] = histories([(found, facts)], window)
    recent = Window(start=end - _FINE_SECONDS, end=end)
    [by_ten] = cloudwatch.series([(found.endpoint, found.name, _BY_TEN)], recent).values()
    traffic = replace(traffic, recent=by_ten)
    busy = [each.utilization_percent for each in periods]
    return found, facts, traffic, percentile_of(busy, 99) if busy else None


def _each(call: Callable[[_T], _R], given: Iterable[_T]) -> Iterator[_R]:
    """The call's answers, a few at once; where AWS throttles, more slowly."""

    def patiently(one: _T) -> _R:
        for attempt in range(_TRIES):
            try:
                return call(one)
            except ClientError as error:
                if not is_transient(error) or attempt == _TRIES - 1:
                    raise
            time.sleep(_FIRST_WAIT_SECONDS * 2**attempt)
        raise AssertionError("the last try returns or raises")

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from pool.map(patiently, given)
