"""Step Functions: moto's interpreter, made to answer as AWS does where our machines rely on it.

moto took the interpreter over from LocalStack, without an evaluator for JSONata, without the
conversion of parameters between Step Functions' PascalCase and each API's own case, and with other
error names. Each module here replaces what belongs to one concern, and says what AWS does:
``expressions`` and variables, ``errors`` and what matches them, ``calls`` of AWS APIs by an
``sdk`` of their own, ``jobs`` that a state waits for, ``waits`` and retries, ``executions`` with
their history and their end, and the ``limits`` of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from local.history_event import HistoryEvent
from local.patches import Patch
from local.stepfunctions import calls, errors, executions, expressions, jobs, limits, waits
from local.stepfunctions.calls import TaskCall, TaskCallRefused, client_of_interpreter
from local.stepfunctions.executions import ExecutionEnd

__all__ = [
    "ExecutionEnd",
    "TaskCall",
    "TaskCallRefused",
    "client_of_interpreter",
    "patches",
]


def patches(
    *,
    wait_scale: float,
    on_event: Callable[[HistoryEvent], None],
    on_end: Callable[[ExecutionEnd], None],
    on_call: Callable[[TaskCall], None] | None = None,
) -> Iterator[Patch]:
    """What to replace in moto.

    Args:
        wait_scale: What all waits (Wait states, intervals of Retry) are multiplied with; only tests
            use another value than 1.
        on_event: Called with every event of every execution, in the thread that made it.
        on_end: Called after an execution has ended.
        on_call: Called in the place of every call of a Task state, which it may make, or not:
            TaskCallRefused fails the state, TimeoutError is its time-out. For tests.
    """
    yield from expressions.patches()
    yield from errors.patches()
    yield from limits.patches()
    yield from calls.patches(on_call)
    yield from jobs.patches()
    yield from waits.patches(wait_scale)
    yield from executions.patches(on_event=on_event, on_end=on_end)
