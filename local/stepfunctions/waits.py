"""Waits and retries: they end when their execution does, and tests shorten them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partialmethod
from typing import Any, Final

from moto.stepfunctions.parser.asl.component.common.retry.retrier_decl import RetrierDecl
from moto.stepfunctions.parser.asl.component.common.retry.retrier_outcome import RetrierOutcome
from moto.stepfunctions.parser.asl.component.state.wait.wait_function.wait_function import (
    WaitFunction,
)

from local.patches import Patch

#: How often a ``.sync`` task is looked at, and a wait looks whether its execution was stopped.
POLL_SECONDS: Final = 0.2


def patches(wait_scale: float) -> Iterator[Patch]:
    """What to replace in moto.

    Args:
        wait_scale: What all waits (Wait states, intervals of Retry) are multiplied with.
    """
    yield Patch(WaitFunction, "_wait_interval", partialmethod(_wait, wait_scale))
    yield Patch(RetrierDecl, "_eval_body", partialmethod(_retry, wait_scale))


def _wait(_: Any, scale: float, env: Any, wait_seconds: float) -> None:
    """Wait states end at once when their execution is stopped."""
    _sleep(env, wait_seconds * scale)


def _retry(retrier: Any, scale: float, env: Any) -> None:
    """So do the intervals of Retry, which moto sleeps through."""
    retrier.error_equals.eval(env)
    if not env.stack.pop():
        env.stack.append(RetrierOutcome.Skipped)
        return
    retrier.max_attempts.eval(env=env)
    if not env.stack.pop().value:
        env.stack.append(RetrierOutcome.Failed)
        return
    retrier.interval_seconds.eval(env=env)
    retrier.backoff_rate.eval(env=env)
    retrier.max_delay_seconds.eval(env=env)
    retrier.jitter_strategy.eval(env=env)
    _sleep(env, env.stack.pop() * scale)
    env.stack.append(RetrierOutcome.Executed)


def _sleep(env: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while env.is_running() and (left := deadline - time.monotonic()) > 0:
        env.program_state_event.wait(min(left, POLL_SECONDS))
