"""What Step Functions refuses to carry: data over 256 KiB, and histories of 25,000 events.

Reaching a limit ends an execution for good: ``States.ALL`` does not catch it. Sources:
https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html,
https://docs.aws.amazon.com/step-functions/latest/dg/workflow-variables.html#variables-limits and
https://docs.aws.amazon.com/step-functions/latest/dg/bp-history-limit.html.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from moto.core.exceptions import AWSError
from moto.stepfunctions.parser.api import ExecutionFailedEventDetails, HistoryEventType
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import (
    FailureEvent,
    FailureEventException,
)
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import (
    StatesErrorName,
)
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import (
    StatesErrorNameType,
)
from moto.stepfunctions.parser.asl.component.common.parargs import Parargs
from moto.stepfunctions.parser.asl.component.state import state
from moto.stepfunctions.parser.asl.component.state.exec.state_map.items.items import (
    ItemsArray,
    ItemsJSONata,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_map.state_map import StateMap
from moto.stepfunctions.parser.asl.component.state.exec.state_parallel.state_parallel import (
    StateParallel,
)
from moto.stepfunctions.parser.asl.component.state.exec.state_task import state_task_lambda
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service import (
    state_task_service,
)

from local.patches import Patch

#: Of an execution's input; of a state's input, arguments, items, result and output; and of all
#: variables that one Assign sets. Bytes of JSON in UTF-8.
MAX_DATA_BYTES: Final = 262_144
#: Of all variables that a state sees. (On AWS, of all of an execution: also those of iterations
#: and branches beside this one.)
MAX_VARIABLES_BYTES: Final = 10 * 1024 * 1024
#: The last event of an execution, which must be its end.
MAX_EVENTS: Final = 25_000


class ExecutionInputTooLarge(AWSError):
    """StartExecution refuses the input; nothing was started."""

    TYPE = "ValidationException"


def patches() -> Iterator[Patch]:
    """What to replace in moto, which checks results of calls and outputs of states alone."""
    for module in (state, state_task_lambda, state_task_service):
        yield Patch(module, "is_within_size_quota", is_within_limit)
    for owner, name, what in (
        (Parargs, "_eval_body", "its arguments"),
        (ItemsArray, "_eval_body", "its items"),
        (ItemsJSONata, "_eval_body", "its items"),
        (StateMap, "_eval_execution", "its result"),
        (StateParallel, "_eval_execution", "its result"),
    ):
        yield Patch(owner, name, _checked_after(owner, name, what))


def size(value: Any) -> int:
    """Bytes of a value as Step Functions keeps it: JSON without spaces, in UTF-8."""
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str).encode())


def is_within_limit(value: Any) -> bool:
    """Whether a state may take or return a value."""
    return size(value) <= MAX_DATA_BYTES


def check_input(value: Any, env: Any) -> None:
    """Hold the input of a state against the limit.

    Raises:
        FailureEventException: States.DataLimitExceeded.
    """
    _check_size(env, "its input", size(value), MAX_DATA_BYTES)


def check_execution_input(text: str | None) -> None:
    """Hold the input of an execution against the limit.

    Raises:
        ExecutionInputTooLarge: It is over it.
    """
    if text is not None and len(text.encode()) > MAX_DATA_BYTES:
        raise ExecutionInputTooLarge(
            "1 validation error detected: Value at 'input' failed to satisfy constraint: "
            f"Member must have length less than or equal to {MAX_DATA_BYTES}"
        )


def check_variables(assigned: Mapping[str, Any], kept: Mapping[str, Any], env: Any) -> None:
    """Hold variables against the limits of one Assign, and of all that are kept.

    Args:
        assigned: What a state assigns.
        kept: All others that it sees.
        env: The environment of its execution.

    Raises:
        FailureEventException: States.DataLimitExceeded.
    """
    new = sum(map(size, assigned.values()))
    _check_size(env, "the variables of an Assign", new, MAX_DATA_BYTES)
    old = sum(size(value) for name, value in kept.items() if name not in assigned)
    _check_size(env, "all its variables", old + new, MAX_VARIABLES_BYTES)


def _checked_after(owner: type, name: str, what: str) -> Callable[[Any, Any], None]:
    """A method of moto's that leaves its answer on the stack, with a look at how large it is."""
    original = vars(owner)[name]

    def checked(self: Any, env: Any) -> None:
        original(self, env)
        if env.is_running():  # what was stopped on its way leaves no answer
            _check_size(env, what, size(env.stack[-1]), MAX_DATA_BYTES)

    return checked


def _check_size(env: Any, what: str, found: int, allowed: int) -> None:
    if found <= allowed:
        return
    error = StatesErrorName(typ=StatesErrorNameType.StatesStatesDataLimitExceeded)
    details = ExecutionFailedEventDetails(
        error=error.error_name,
        cause=f"The state '{env.next_state_name}' has {found} bytes in {what}, "
        f"{allowed} are the most.",
    )
    event_details: Any = {"executionFailedEventDetails": details}
    raise FailureEventException(
        failure_event=FailureEvent(
            env=env,
            error_name=error,
            event_type=HistoryEventType.TaskFailed,
            event_details=event_details,
        )
    )
