"""Executions from start to end: their names, their history, and what their end is called."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial, partialmethod
from typing import Any, Final

from moto.core.responses import ActionResult
from moto.stepfunctions.parser.api import (
    ExecutionFailedEventDetails,
    ExecutionStatus,
    HistoryEventType,
)
from moto.stepfunctions.parser.asl.eval.environment import Environment
from moto.stepfunctions.parser.asl.eval.event.event_manager import EventManager
from moto.stepfunctions.parser.asl.eval.program_state import (
    ProgramEnded,
    ProgramError,
    ProgramStopped,
    ProgramTimedOut,
)
from moto.stepfunctions.parser.asl.parse.asl_parser import AmazonStateLanguageParser
from moto.stepfunctions.parser.backend.execution import (
    BaseExecutionWorkerCommunication,
    Execution,
)
from moto.stepfunctions.parser.backend.execution_worker import ExecutionWorker
from moto.stepfunctions.parser.models import StepFunctionsParserBackend
from moto.stepfunctions.responses import StepFunctionResponse

from local.history_event import HistoryEvent
from local.patches import Patch
from local.stepfunctions import limits
from local.stepfunctions.limits import check_execution_input

#: How often it is looked whether an execution has begun.
_LOOK_SECONDS: Final = 0.002


@dataclass(frozen=True)
class ExecutionEnd:
    """What EventBridge says of an execution that has ended."""

    execution_arn: str
    state_machine_arn: str
    name: str
    status: str
    input: str
    output: str | None
    error: str | None
    cause: str | None


def patches(
    *, on_event: Callable[[HistoryEvent], None], on_end: Callable[[ExecutionEnd], None]
) -> Iterator[Patch]:
    """What to replace in moto.

    Args:
        on_event: Called with every event of every execution, in the thread that made it.
        on_end: Called after an execution has ended.
    """
    yield Patch(AmazonStateLanguageParser, "parse", staticmethod(_parsed_once))
    yield Patch(StepFunctionsParserBackend, "start_execution", _start_named_execution)
    yield Patch(StepFunctionResponse, "get_execution_history", _history_page)
    yield Patch(Execution, "stop", _stop_once_begun)
    yield Patch(Environment, "next_state_name", _next_state_unless_over)
    yield Patch(Environment, "set_error", _set_error_unless_stopped)
    yield Patch(ExecutionWorker, "_get_evaluation_environment", _environment_with_name)
    yield Patch(EventManager, "_publish_history_event", partialmethod(_publish, on_event))
    yield Patch(BaseExecutionWorkerCommunication, "terminated", partialmethod(_terminated, on_end))


#: Of a definition, which moto reads for each execution anew; what it makes of it keeps no state.
_parsed_once = lru_cache(maxsize=32)(AmazonStateLanguageParser.parse)
_start_execution = vars(StepFunctionsParserBackend)["start_execution"]


def _start_named_execution(
    self: Any,
    state_machine_arn: str,
    name: str | None = None,
    execution_input: str | None = None,
    **others: Any,
) -> Any:
    """An execution without a name gets one of its own; moto calls them all None."""
    check_execution_input(execution_input)
    return _start_execution(
        self, state_machine_arn, name or str(uuid.uuid4()), execution_input, **others
    )


_MOST_EVENTS: Final = 1000


def _history_page(self: Any) -> ActionResult:
    """Events in the order and by the pages asked for; moto gives all of them, the oldest first."""
    arn, wanted = self._get_param("executionArn"), self._get_param("maxResults")
    events = self.stepfunction_backend.get_execution_history(arn)["events"]
    if self._get_param("reverseOrder"):
        events = events[::-1]
    start = int(self._get_param("nextToken") or 0)
    end = start + int(wanted or _MOST_EVENTS)
    more = {"nextToken": str(end)} if end < len(events) else {}
    return ActionResult({"events": events[start:end], **more})


_stop = vars(Execution)["stop"]


def _stop_once_begun(self: Any, *arguments: Any, **named: Any) -> None:
    """moto loses a stop that comes before the execution's thread has entered its first state."""
    while self.exec_status is ExecutionStatus.RUNNING:
        env = self.exec_worker and self.exec_worker.env
        if env is not None and env._program_state is not None:
            break
        time.sleep(_LOOK_SECONDS)
    _stop(self, *arguments, **named)


_next_state = vars(Environment)["next_state_name"]


def _go_on(self: Any, name: str) -> None:
    """A branch may begin, or a state end, after its execution has: there is no next state then."""
    if self._program_state is None or self.is_running():
        _next_state.fset(self, name)


_next_state_unless_over = property(_next_state.fget, _go_on)
_set_error = vars(Environment)["set_error"]


def _set_error_unless_stopped(self: Any, error: Any) -> None:
    """An aborted execution is ABORTED, whatever its states stumble over on their way out.

    So is one that has failed: what failed first is why.
    """
    if not isinstance(self._program_state, ProgramStopped | ProgramTimedOut | ProgramError):
        _set_error(self, error)


_environment = vars(ExecutionWorker)["_get_evaluation_environment"]


def _environment_with_name(self: Any) -> Any:
    """Lets the events of an execution say whose they are, and end it when they are too many."""
    env = _environment(self)
    env.event_manager.execution_arn = self._evaluation_details.execution_details.arn
    env.event_manager.fail_execution = partial(_set_error, env)
    return env


_publish_history_event = vars(EventManager)["_publish_history_event"]
_ENDS: Final = {
    HistoryEventType.ExecutionAborted,
    HistoryEventType.ExecutionFailed,
    HistoryEventType.ExecutionSucceeded,
    HistoryEventType.ExecutionTimedOut,
}


def _publish(manager: Any, on_event: Callable[[HistoryEvent], None], **event: Any) -> None:
    """The last event that a history has room for is the execution's end: if need be, its failure.

    Called with the manager's lock held. Whatever still runs sees that its execution has failed, as
    after a time-out, and stops; what it would have written is left out.
    """
    events = manager._history_event_list
    is_end = event["event_type"] in _ENDS
    if len(events) >= limits.MAX_EVENTS - 1:
        if not is_end:
            manager.fail_execution(
                ExecutionFailedEventDetails(
                    error="States.Runtime",
                    cause="The execution reached the maximum number of history events "
                    f"({limits.MAX_EVENTS}).",
                )
            )
            return
        event["event_id"] = limits.MAX_EVENTS
    _publish_history_event(manager, **event)
    on_event(HistoryEvent(manager.execution_arn, events[-1]))


def _terminated(communication: Any, on_end: Callable[[ExecutionEnd], None]) -> None:
    """The status is set last: who sees it sees the output, which is JSON even of a string."""
    execution = communication.execution
    state = execution.exec_worker.env.program_state()
    execution.stop_date = datetime.now(UTC)
    status = ExecutionStatus.FAILED
    if isinstance(state, ProgramEnded):
        status = ExecutionStatus.SUCCEEDED
        execution.output = json.dumps(execution.exec_worker.env.states.get_input())
    elif isinstance(state, ProgramError):
        failure: Any = state.error or {}
        execution.error, execution.cause = failure.get("error"), failure.get("cause")
    elif isinstance(state, ProgramStopped):
        status = ExecutionStatus.ABORTED
    elif isinstance(state, ProgramTimedOut):
        status = ExecutionStatus.TIMED_OUT
    execution.exec_status = status
    on_end(
        ExecutionEnd(
            execution_arn=execution.exec_arn,
            state_machine_arn=execution.state_machine_arn,
            name=execution.name,
            status=status.value,
            input=execution.execution_input,
            output=execution.output,
            error=execution.error,
            cause=execution.cause,
        )
    )
