"""What may be deleted of what sizings created, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sizing.catalogue import instance_prices
from sizing.clean_up import lock, names

#: Endpoint statuses that DeleteEndpoint accepts; in all others it is refused, for as long as
#: whatever is in progress takes.
_DELETABLE = frozenset({"InService", "Failed", "OutOfService", "UpdateRollbackFailed"})
#: Statuses of an endpoint that no longer needs its endpoint config and model.
_DONE_WITH_CONFIG = _DELETABLE | {"Deleting"}


@dataclass(frozen=True)
class Resource:
    """Something that carries a sizing's tags."""

    #: Name; the ARN of an execution or a task; of a lock the model's key.
    name: str
    tags: Mapping[str, str]
    #: Of an endpoint.
    status: str = ""

    @property
    def sizing_id(self) -> str | None:
        """The sizing it is tagged with."""
        return self.tags.get(names.SIZING_TAG)

    @property
    def instance_type(self) -> str | None:
        """Of an endpoint's instances."""
        return self.tags.get(names.INSTANCE_TYPE_TAG)

    @property
    def execution_arn(self) -> str | None:
        """The sizing's execution; None if its tag does not belong to the sizing's tag."""
        arn = self.tags.get(names.EXECUTION_TAG, "")
        return arn if arn and names.sizing_id(arn) == self.sizing_id else None


@dataclass(frozen=True)
class Found:
    """All resources of one sizing or of all, by kind."""

    endpoints: tuple[Resource, ...] = ()
    endpoint_configs: tuple[Resource, ...] = ()
    models: tuple[Resource, ...] = ()
    #: Running executions of the probe and load_test state machines, in this order.
    executions: tuple[Resource, ...] = ()
    #: Load generators that run or are about to.
    tasks: tuple[Resource, ...] = ()
    #: Locks of models, tagged with their owner.
    locks: tuple[Resource, ...] = ()

    def only(self, wanted: Callable[[Resource], bool]) -> Found:
        """The same without what is not wanted."""
        return Found(
            tuple(filter(wanted, self.endpoints)),
            tuple(filter(wanted, self.endpoint_configs)),
            tuple(filter(wanted, self.models)),
            tuple(filter(wanted, self.executions)),
            tuple(filter(wanted, self.tasks)),
            tuple(filter(wanted, self.locks)),
        )

    @property
    def names(self) -> list[str]:
        """Kind and name of each."""
        return [f"{kind}/{each.name}" for kind, of_kind in self.all.items() for each in of_kind]

    @property
    def all(self) -> dict[str, tuple[Resource, ...]]:
        """Resources by what their kind is called."""
        return {
            "endpoint": self.endpoints,
            "endpoint-config": self.endpoint_configs,
            "model": self.models,
            "execution": self.executions,
            "task": self.tasks,
            "lock": self.locks,
        }


def execution_arns(found: Found) -> frozenset[str]:
    """The executions that must be asked about before a sweep may touch anything."""
    resources = (each for kind in found.all.values() for each in kind)
    return frozenset(arn for each in resources if (arn := each.execution_arn))


def of_sizing(found: Found, sizing_id: str) -> Found:
    """What one sizing created, confirmed by its tag."""
    return found.only(lambda each: each.sizing_id == sizing_id)


def of_ended_executions(found: Found, statuses: Mapping[str, str | None]) -> Found:
    """What sizings that no longer run left.

    Args:
        found: What was found; what carries no execution is left alone.
        statuses: Status by execution ARN; None for an execution that no longer exists.
    """

    def ended(resource: Resource) -> bool:
        arn = resource.execution_arn
        return arn is not None and arn in statuses and lock.has_ended(statuses[arn])

    return found.only(ended)


@dataclass(frozen=True)
class Removal:
    """What of all that must go may go now."""

    executions: tuple[Resource, ...]
    tasks: tuple[Resource, ...]
    endpoints: tuple[Resource, ...]
    endpoint_configs: tuple[Resource, ...]
    models: tuple[Resource, ...]
    locks: tuple[Resource, ...]


def removal(found: Found) -> Removal:
    """What to remove now.

    Endpoint configs and models are kept while their endpoint is being created or updated: it
    still needs them, and SageMaker leaves the outcome open if they go. A lock is released when
    nothing else of its sizing is left.

    Args:
        found: Everything that must go.
    """
    busy = {each.name for each in found.endpoints if each.status not in _DONE_WITH_CONFIG}
    unfinished = {
        each.sizing_id for kind, of_kind in found.all.items() if kind != "lock" for each in of_kind
    }
    return Removal(
        executions=found.executions,
        tasks=found.tasks,
        endpoints=tuple(each for each in found.endpoints if each.status in _DELETABLE),
        endpoint_configs=tuple(each for each in found.endpoint_configs if each.name not in busy),
        models=tuple(each for each in found.models if each.name not in busy),
        locks=tuple(each for each in found.locks if each.sizing_id not in unfinished),
    )


def described(found: Found, instances: Mapping[str, int], region: str) -> list[str]:
    """A line for each resource, for whoever may have to remove it by hand.

    Args:
        found: Everything that must go.
        instances: Instances of endpoints by name, of those that are known.
        region: Where they are; decides the price.

    Returns:
        Kind and name; of an endpoint also its instances, status and price per hour.
    """
    endpoints = [
        f"endpoint/{each.name}: {instances.get(each.name, '?')} x {each.instance_type or '?'}, "
        f"{each.status}, {_costs(_hourly_cost_usd(each, instances, region))}"
        for each in found.endpoints
    ]
    others = [
        f"{kind}/{each.name}"
        for kind, of_kind in found.all.items()
        if kind != "endpoint"
        for each in of_kind
    ]
    return [*endpoints, *others]


def costs(found: Found, instances: Mapping[str, int], region: str) -> str:
    """What all that is left costs, short enough for a subject; empty if it is no endpoint."""
    if not found.endpoints:
        return ""
    hourly = [_hourly_cost_usd(each, instances, region) for each in found.endpoints]
    known = [each for each in hourly if each is not None]
    return _costs(sum(known) if len(known) == len(hourly) else None)


def _hourly_cost_usd(endpoint: Resource, instances: Mapping[str, int], region: str) -> float | None:
    """By the bundled prices; None if the type, the count or the price is not known."""
    if endpoint.instance_type is None or endpoint.name not in instances:
        return None
    price = instance_prices.bundled(endpoint.instance_type, region, "not asked").usd_per_hour
    return None if price is None else price * instances[endpoint.name]


def _costs(hourly_usd: float | None) -> str:
    return "price unknown" if hourly_usd is None else f"about ${hourly_usd:,.2f} per hour"
