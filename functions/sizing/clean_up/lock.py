"""One sizing per model at a time: the lock that a sizing holds from before its first resource is
created until its last one is gone.

AcquireLock takes it and the clean-up releases it; what it means is written here.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from sizing.errors import Locked
from sizing.request.request import Request, WhenLocked

#: Partition key of all locks; the model's key is the sort key.
PARTITION = "lock"

#: Statuses of an execution that may still use what it created.
_LIVE = frozenset({"RUNNING", "PENDING_REDRIVE"})

#: When a lock whose owner was never seen to end is free all the same, seconds: a sizing may run for
#: 24 hours and its clean-up for 5, so no owner that lives ever loses it.
LEASE_SECONDS = 48 * 3600
#: Longest wait for a lock, seconds: half of what the state machine may run; the rest is for sizing.
LONGEST_WAIT_SECONDS = 12 * 3600


#: Seconds between two looks, by how long it has been waited, seconds. A sizing takes an hour or so,
#: and a look is a dozen of the 25,000 events that an execution may have.
_LOOKS = ((600.0, 30), (3600.0, 120))
_LATE_LOOK_SECONDS = 300
#: The same while the clean-up of an owner that has ended runs.
LOOK_AT_CLEAN_UP_SECONDS = 10


class LockTerms(BaseModel):
    """What AcquireLock needs to know of a lock."""

    model_config = ConfigDict(frozen=True)

    model_key: str
    when_locked: WhenLocked
    lease_seconds: int = LEASE_SECONDS
    #: From the execution's start, after which it no longer waits.
    wait_seconds: int


def terms(request: Request, model_key: str) -> LockTerms:
    """The terms on which a request takes its model's lock.

    ``limits.max_minutes`` bounds the wait, and then anew the sizing: time spent waiting for others
    tells nothing about this one.
    """
    wait_seconds = float(LONGEST_WAIT_SECONDS)
    if request.limits.max_minutes is not None:
        wait_seconds = min(wait_seconds, request.limits.max_minutes * 60)
    return LockTerms(
        model_key=model_key, when_locked=request.when_locked, wait_seconds=int(wait_seconds)
    )


@dataclass(frozen=True)
class Holder:
    """Whose lock it is."""

    #: ARN of the sizing's execution.
    owner: str
    since: str


def item(terms: LockTerms, owner: str, sizing_id: str, now: float) -> dict[str, Any]:
    """The lock as the table holds it.

    Args:
        terms: Of the request.
        owner: ARN of the sizing's execution.
        sizing_id: The sizing's id.
        now: Epoch seconds.
    """
    acquired_at = dt.datetime.fromtimestamp(now, dt.UTC).isoformat(timespec="milliseconds")
    return {
        "pk": PARTITION,
        "sk": terms.model_key,
        "owner": owner,
        "sizing_id": sizing_id,
        "acquired_at": acquired_at.replace("+00:00", "Z"),
        "expires_at": int(now) + terms.lease_seconds,
    }


def has_ended(status: str | None) -> bool:
    """Whether an execution no longer runs.

    Args:
        status: Its status; None if it no longer exists.
    """
    return status not in _LIVE


def seconds_to_wait(
    terms: LockTerms, holder: Holder, *, waited_seconds: float, has_waited: bool
) -> int:
    """How long to wait before a look at the lock of a sizing that runs.

    Args:
        terms: Of the request.
        holder: Whose it is.
        waited_seconds: Since when it might have been waited for.
        has_waited: Whether it was.

    Raises:
        Locked: It is not to be waited for, or not any longer.
    """
    if terms.when_locked == "FAIL" or waited_seconds > terms.wait_seconds:
        waited = f" It was waited for, {waited_seconds / 60:.0f} minutes." if has_waited else ""
        raise Locked(
            f"{terms.model_key} is being sized by {holder.owner} since {holder.since}.{waited}"
        )
    return next((wait for until, wait in _LOOKS if waited_seconds < until), _LATE_LOOK_SECONDS)
