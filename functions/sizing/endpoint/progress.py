"""How far an endpoint is on its way to an instance count, and what is to be done next."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from sizing.errors import CapacityUnavailable, EndpointFailed, EndpointTimedOut

IN_SERVICE = "InService"
_FAILED = frozenset({"Failed", "OutOfService", "UpdateRollbackFailed"})
_NO_CAPACITY = re.compile(
    "InsufficientInstanceCapacity|ResourceLimitExceeded|insufficient capacity", re.IGNORECASE
)
#: After a change was asked for, the endpoint may be shown as before for so long, seconds.
_SHOWN_AS_BEFORE_SECONDS = 60.0
#: Seconds between two looks, for as long as the endpoint is younger than that, seconds. An idle
#: instance costs more than a look, so looks are frequent while it may come.
_LOOKS = ((20.0, 2), (60.0, 5), (900.0, 10))
_LATE_LOOK_SECONDS = 30


class Step(StrEnum):
    """What is to be done about an endpoint."""

    CREATE = "CREATE"
    SCALE = "SCALE"
    WAIT = "WAIT"
    READY = "READY"


@dataclass(frozen=True)
class Endpoint:
    """An endpoint as SageMaker shows it."""

    status: str
    #: Instances that serve; 0 while the first ones are being created.
    instance_count: int
    failure_reason: str = ""


def next_step(
    seen: Endpoint | None,
    wanted: int,
    *,
    age_seconds: float,
    timeout_seconds: float,
    since_scaling_seconds: float | None,
) -> Step:
    """What is to be done next.

    Args:
        seen: The endpoint; None if there is none.
        wanted: Instances it shall have.
        age_seconds: How long it has been waited for.
        timeout_seconds: How long it may be.
        since_scaling_seconds: How long ago the count was asked for; None if it was not.

    Raises:
        CapacityUnavailable: There are no instances, or it fell back to the count it had before.
        EndpointFailed: It has failed.
        EndpointTimedOut: It was waited for long enough.
    """
    if seen is not None and seen.status == IN_SERVICE:
        if seen.instance_count == wanted:
            return Step.READY
        if since_scaling_seconds is None:
            return Step.SCALE
        if since_scaling_seconds > _SHOWN_AS_BEFORE_SECONDS:
            raise CapacityUnavailable(
                f"SageMaker went back to {seen.instance_count} instances instead of {wanted}. "
                + seen.failure_reason
            )
    if seen is not None and seen.status in _FAILED:
        reason = seen.failure_reason or f"the endpoint is {seen.status}"
        raise (CapacityUnavailable if _NO_CAPACITY.search(reason) else EndpointFailed)(reason)
    if age_seconds > timeout_seconds:
        status = seen.status if seen else "missing"
        minutes = timeout_seconds / 60
        raise EndpointTimedOut(f"the endpoint was still {status} after {minutes:g} minutes")
    return Step.WAIT if seen is not None else Step.CREATE


def seconds_to_next_look(age_seconds: float) -> int:
    """How long to wait before an endpoint is looked at again."""
    return next((wait for until, wait in _LOOKS if age_seconds < until), _LATE_LOOK_SECONDS)
