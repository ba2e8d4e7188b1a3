"""Every JSONata expression of the machines, in ours and in the reference implementation.

On what they met in whole sizings: those of the stories, and those here, which go wrong where no
story does.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import jsonata

from local.jsonata import QueryError, evaluate
from local.stepfunctions import expressions
from tests.statemachine.stack import StackUnderTest, a_request, an_applied_request

_TOOL: Final = Path(__file__).parents[2] / "tools" / "jsonata"
#: The clock of both stands still, as there: $now() and $millis().
_NOW: Final = "2026-01-01T00:00:00.000Z"
_MILLIS: Final = 1_767_225_600_000

#: Expressions that may differ, ``<machine>.<state>.<fields>``, and why.
ALLOWED: Final[Mapping[str, str]] = {}


class Recorded:
    """What expressions have met: variables as JSON, by expression."""

    def __init__(self) -> None:
        self.inputs: dict[str, set[str]] = {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Note what the embedded AWS evaluates."""

        def noted(expression: str, variables: Mapping[str, Any]) -> Any:
            given = json.dumps(variables, default=str, sort_keys=True)
            self.inputs.setdefault(expression.strip(), set()).add(given)
            return evaluate(expression, variables)

        expressions.evaluate = noted
        try:
            yield
        finally:
            expressions.evaluate = evaluate


def let_things_go_wrong(stack: StackUnderTest) -> None:
    """Whole sizings that between them evaluate what those of the stories do not."""

    def denied(service: str, operation: str, only: str = "") -> Any:
        return stack.refused(service, operation, "AccessDeniedException", "denied", only=only)

    def size(**changes: Any) -> None:
        stack.run("SizingStateMachine", a_request(**changes))
        stack.wait_for_all("CleanUpStateMachine")

    stack.run("SizingStateMachine", an_applied_request(stack))
    with denied("lambda", "Invoke", "apply-answer"):
        stack.run("SizingStateMachine", an_applied_request(stack))
    stack.load_tests(baseline="failed")
    with denied("lambda", "Invoke", "read-reason"), denied("sns", "Publish"):
        size()
    with denied("lambda", "Invoke", "record-result"), denied("events", "PutEvents"):
        size()
    stack.load_tests()
    with denied("s3", "PutObject", "spec.json"), denied("lambda", "Invoke", "remove-leftovers"):
        size()
    with denied("stepfunctions", "StartExecution", "-probe"):
        size()
    # Profiles, which the stories have left, that can't be sized, and nobody can be told.
    with denied("stepfunctions", "StartExecution", "-sizing"), denied("sns", "Publish"):
        stack.run("NightlyStateMachine", {})
    # One that waits for another, which is aborted, and nobody can be told.
    stack.load_tests(baseline="hangs")
    first = stack.start("SizingStateMachine", a_request())
    stack.wait_for_task(2)
    second = stack.start("SizingStateMachine", a_request())
    stack.wait_for_state(second, "WaitForLock")
    stack.load_tests()
    with denied("sns", "Publish"):
        stack.aws.client("stepfunctions").stop_execution(executionArn=first)
        stack.wait(second)
        stack.wait_for_all("CleanUpStateMachine")
    # A fleet that a former sizing has found is turned away from.
    known = {"use_history": True, "instance_types": ["ml.m5.xlarge", "ml.c5.xlarge"]}
    size(**known)
    stack.load_tests(**{"c5-xlarge-2-verify": "failed"})
    size(**known)
    stack.load_tests()


def compared(stack: StackUnderTest, recorded: Recorded, node: Path) -> list[str]:
    """What differs, or was never evaluated, and is not allowed to: one line for each expression.

    Raises:
        subprocess.CalledProcessError: node did not run.
    """
    asked = [(text, given) for text in recorded.inputs for given in sorted(recorded.inputs[text])]
    questions = [{"expression": text, "variables": json.loads(given)} for text, given in asked]
    done = subprocess.run(
        [node, _TOOL / "evaluate.mjs"],
        input=json.dumps(questions),
        text=True,
        capture_output=True,
        check=True,
    )
    differing = {
        text: f"ours {ours}, theirs {theirs}"
        for (text, given), theirs in zip(asked, json.loads(done.stdout), strict=True)
        if not _same(ours := _ours(text, json.loads(given)), theirs)
    }
    wrong = []
    for name, text in all_expressions(stack):
        problem = differing.get(text) or ("" if text in recorded.inputs else "never evaluated")
        if problem and name not in ALLOWED:
            wrong.append(f"{name}: {problem[:600]}")
    return wrong


def all_expressions(stack: StackUnderTest) -> Iterator[tuple[str, str]]:
    """Name and text of every expression of every machine."""

    def below(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        if isinstance(value, str) and value.startswith("{%"):
            yield ".".join(path), value[2:-2].strip()
        elif isinstance(value, Mapping | list):
            pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
            for key, each in pairs:
                inner = () if key in ("States", "ItemProcessor") else (str(key),)
                yield from below(each, (*path, *inner))

    for machine in stack.aws.stack.state_machines():
        yield from below(machine.definition, (machine.name.removeprefix("endpoint-sizer-"),))


def _ours(expression: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    clock = {
        "millis": jsonata.Jsonata.JLambda(lambda: _MILLIS),
        "now": jsonata.Jsonata.JLambda(lambda: _NOW),
    }
    try:
        return {"value": evaluate(expression, {**variables, **clock})}
    except QueryError as error:
        return {"error": str(error)}


def _same(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """The same value, or both an error, whose words are each implementation's own."""
    if "error" in ours or "error" in theirs:
        return "error" in ours and "error" in theirs
    return json.dumps(ours, sort_keys=True) == json.dumps(theirs, sort_keys=True)
