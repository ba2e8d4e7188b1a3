"""The error names that Retry and Catch wait for: whether any of them can arrive."""

from __future__ import annotations

import ast
import builtins
import difflib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tools.state_machines.definition import Problem, StateMachine
from tools.state_machines.flow import all_states

#: https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
STATES_ERRORS = frozenset(
    f"States.{name}"
    for name in (
        "ALL",
        "BranchFailed",
        "DataLimitExceeded",
        "ExceedToleratedFailureThreshold",
        "HeartbeatTimeout",
        "Http.Socket",
        "ItemReaderFailed",
        "NoChoiceMatched",
        "Permissions",
        "QueryEvaluationError",
        "ResultWriterFailed",
        "Runtime",
        "TaskFailed",
        "Timeout",
    )
)
#: Raised in the functions by libraries.
_FROM_LIBRARIES = frozenset({"ValidationError"})


def check(machine: StateMachine, functions: Path) -> list[Problem]:
    """Names in ``ErrorEquals`` that nothing raises.

    A function's error arrives under the name of its class. Names with a dot other than ``States.``
    are an API's, and are not checked.

    Args:
        machine: The state machine.
        functions: The folder of the functions' code.
    """
    known = STATES_ERRORS | _FROM_LIBRARIES | _raised_in(functions) | set(_failed(machine))
    problems = []
    for where, state in all_states(machine):
        for field in ("Retry", "Catch"):
            for index, each in enumerate(state.get(field, [])):
                for name in each.get("ErrorEquals", []):
                    if name in known or ("." in name and not name.startswith("States.")):
                        continue
                    near = difflib.get_close_matches(name, known, n=1)
                    hint = f"; did you mean {near[0]}?" if near else ""
                    message = f"{field}[{index}]: nothing raises {name}{hint}"
                    problems.append(Problem(machine.file, where, message))
    return problems


def _failed(machine: StateMachine) -> Iterator[str]:
    for _, state in all_states(machine):
        if isinstance(error := _fail_error(state), str):
            yield error


def _fail_error(state: Mapping[str, Any]) -> Any:
    return state.get("Error") if state.get("Type") == "Fail" else None


@cache
def _raised_in(functions: Path) -> frozenset[str]:
    """Names of the exception classes that the functions define, and of Python's own."""
    names = {
        name
        for name, value in vars(builtins).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    bases = set(names) | {"ClientError"}
    classes = [
        node
        for path in functions.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    found: set[str] = set()
    while True:
        more = {
            each.name
            for each in classes
            if any(isinstance(base, ast.Name) and base.id in bases | found for base in each.bases)
        }
        if more <= found:
            return frozenset(names | found)
        found |= more
