"""Whether the account's quotas allow what a sizing may need, before anything is created.

A quota counts everything that the account runs in the region, not this sizing alone: enough of it
here is no promise that it is still free later. CapacityUnavailable says so then.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sizing.catalogue.instance import InstanceFacts
from sizing.errors import QuotaTooLow
from sizing.load_test.fleet import LEADER_VCPUS, plan_fleet
from sizing.load_test.plan import LoadTestPlan
from sizing.request.sizing import Sizing

SAGEMAKER = "sagemaker"
FARGATE = "fargate"
#: Quota code of "Fargate On-Demand vCPU resource count".
FARGATE_VCPUS = "L-3032A538"


@dataclass(frozen=True)
class QuotaKey:
    """A quota, by the service it belongs to and its code, or its name where codes differ."""

    service: str
    name_or_code: str


@dataclass(frozen=True)
class Quota:
    """A quota as Service Quotas knows it."""

    name: str
    code: str
    value: float

    def __str__(self) -> str:
        return f'the quota "{self.name}" ({self.code}) is {self.value:g}'


@dataclass(frozen=True)
class UnknownQuota:
    """A quota that could not be read, and why."""

    why: str


Quotas = Mapping[QuotaKey, Quota | UnknownQuota]


def endpoint_usage(instance_type: str) -> QuotaKey:
    """The quota on instances of a type for endpoints; SageMaker names it after the type."""
    return QuotaKey(SAGEMAKER, f"{instance_type} for endpoint usage")


def needed(instance_types: Sequence[str]) -> list[QuotaKey]:
    """The quotas that a sizing of these types depends on."""
    return [QuotaKey(FARGATE, FARGATE_VCPUS), *map(endpoint_usage, instance_types)]


def keep_to_endpoint_quotas(sizing: Sizing, quotas: Quotas) -> Sizing:
    """The sizing with candidates that the account's quotas allow.

    Args:
        sizing: The sizing.
        quotas: What was read, for each of ``needed``.

    Returns:
        The sizing; its notes say of each quota that could not be read, and of each limit that was
        lowered because the request allows that.

    Raises:
        QuotaTooLow: Names the quota, its value, what is needed and where to raise it.
    """
    notes: list[str] = []
    candidates = tuple(
        _candidate(sizing, facts, quotas[endpoint_usage(facts.instance_type)], notes)
        for facts in sizing.candidates
    )
    return sizing.model_copy(update={"candidates": candidates, "notes": (*sizing.notes, *notes)})


def check_fargate(
    sizing: Sizing, plans: Sequence[LoadTestPlan], quotas: Quotas, free_addresses: int | None
) -> Sizing:
    """Check that all first load tests can run side by side, and then one at the target.

    Args:
        sizing: The sizing.
        plans: The first load test of each candidate.
        quotas: What was read, for each of ``needed``.
        free_addresses: Of the subnets that the load generators run in; None if not known.

    Returns:
        The sizing; with a note if the quota could not be read.

    Raises:
        QuotaTooLow: Names what is too low, its value, what is needed and how to raise it.
    """
    quota = quotas[QuotaKey(FARGATE, FARGATE_VCPUS)]
    fleet = plan_fleet(sizing.request.load, sizing.body_bytes, sizing.request.target.tps)
    vcpus, of_vcpus, fewer = _most(
        [plan.workers * plan.worker_vcpus + LEADER_VCPUS for plan in plans],
        fleet.workers * fleet.worker_vcpus + LEADER_VCPUS,
    )
    tasks, of_tasks, fewer_tasks = _most([plan.workers + 1 for plan in plans], fleet.workers + 1)
    if free_addresses is not None and free_addresses < tasks:
        raise QuotaTooLow(
            f"{free_addresses} addresses are free in the load generators' subnets, {of_tasks} need "
            f"{tasks}, one for each task. Name larger subnets as the stack's SubnetIds{fewer_tasks}"
        )
    if isinstance(quota, UnknownQuota):
        note = (
            f"The quota of Fargate's vCPUs ({FARGATE_VCPUS}) could not be read ({quota.why}), so "
            f"it is not known whether it allows the {vcpus} vCPUs of the load generators."
        )
        return sizing.model_copy(update={"notes": (*sizing.notes, note)})
    if quota.value < vcpus:
        raise QuotaTooLow(
            f"{quota}, {of_vcpus} need {vcpus}. "
            + _where_to_raise(FARGATE, quota, sizing.region)
            + f"{fewer}. It counts all Fargate tasks of the account in the region"
        )
    return sizing


def _most(at_first: Sequence[int], at_target: int) -> tuple[int, str, str]:
    """The most that is needed at a time, whose that is, and how to need less."""
    if len(at_first) > 1 and sum(at_first) >= at_target:
        whose = f"the load generators of the {len(at_first)} first load tests, side by side,"
        return sum(at_first), whose, ", or name fewer instance_types"
    return max(*at_first, at_target), "the load generators of a load test", ""


def _candidate(
    sizing: Sizing, facts: InstanceFacts, quota: Quota | UnknownQuota, notes: list[str]
) -> InstanceFacts:
    """A candidate with the instances that it may have."""
    limits, name = sizing.request.limits, endpoint_usage(facts.instance_type).name_or_code
    asked = limits.max_instances
    if isinstance(quota, UnknownQuota):
        notes.append(
            f'The quota "{name}" could not be read ({quota.why}), so it is not known whether it '
            f"allows {asked} instances."
        )
        return facts
    allowed = math.floor(quota.value)
    if allowed >= asked:
        return facts
    if limits.lower_to_quota and allowed >= 1:
        notes.append(
            f"limits.max_instances is {allowed} for {facts.instance_type} instead of {asked}: "
            f"{quota}."
        )
        return facts.model_copy(update={"max_instances": allowed})
    lower = f"limits.max_instances to {allowed} or set limits.lower_to_quota"
    raise QuotaTooLow(
        f"{quota}, limits.max_instances asks for {asked} of {facts.instance_type}. "
        + _where_to_raise(SAGEMAKER, quota, sizing.region)
        + (f", or lower {lower}" if allowed >= 1 else ", or leave that instance type out")
        + ". It counts all endpoints of the account in the region"
    )


def _where_to_raise(service: str, quota: Quota, region: str) -> str:
    return (
        f"Raise it at https://{region}.console.aws.amazon.com/servicequotas/home/services/"
        f"{service}/quotas/{quota.code}"
    )
