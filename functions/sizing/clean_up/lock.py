"""One sizing per model at a time: the lock that a sizing holds from before its first resource is
created until its last one is gone.

The state machine takes it and the clean-up releases it; what it means is written here.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from sizing.request.request import Request, WhenLocked

#: Partition key of all locks; the model's key is the sort key.
PARTITION = "lock"

#: When a lock whose owner was never seen to end is free all the same, seconds: a sizing may run for
#: 24 hours and its clean-up for 5, so no owner that lives ever loses it.
LEASE_SECONDS = 48 * 3600
#: Longest wait for a lock, seconds: half of what the state machine may run; the rest is for sizing.
LONGEST_WAIT_SECONDS = 12 * 3600


class LockTerms(BaseModel):
    """What the state machine needs to take a lock."""

    model_config = ConfigDict(frozen=True)

    partition: str = PARTITION
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
