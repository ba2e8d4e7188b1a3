"""The interpreter refuses what is too much for Step Functions, and nothing catches that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.stepfunctions import limits
from tests.local.machines import DONE, history, start, task
from tests.statemachine.stack import StackUnderTest, stack_under_test

LIMIT = 262_144
CATCH_ALL = {"Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Done"}]}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackUnderTest]:
    with stack_under_test(tmp_path_factory.mktemp("stack")) as running:
        yield running


def text(size: int, character: str = "x") -> str:
    """An expression of JSONata for a string that takes so many bytes as JSON."""
    count, rest = divmod(size - len('""'), len(character.encode()))
    return f"($pad('', {count}, '{character}') & $pad('', {rest}, 'x'))"


def each(items: str, output: Any) -> dict[str, Any]:
    """A Map that does nothing but return an output for each item."""
    inside = {"Inside": {"Type": "Pass", "Output": output, "End": True}}
    return {
        "Type": "Map",
        "Items": f"{{% {items} %}}",
        "ItemProcessor": {"StartAt": "Inside", "States": inside},
        "Output": "small",
        "Next": "Done",
        **CATCH_ALL,
    }


# Each makes a state that carries so many bytes.


def output(size: int) -> dict[str, Any]:
    return {"Type": "Pass", "Output": f"{{% {text(size)} %}}", "Next": "Done"}


def output_beyond_ascii(size: int) -> dict[str, Any]:
    return {"Type": "Pass", "Output": f"{{% {text(size, 'é')} %}}", "Next": "Done"}


def variables(size: int) -> dict[str, Any]:
    two = {"a": f"{{% {text(1000)} %}}", "b": f"{{% {text(size - 1000)} %}}"}
    return {"Type": "Pass", "Assign": two, "Next": "Done"}


def arguments(size: int) -> dict[str, Any]:
    payload = size - len('{"FunctionName":"none","Payload":}')
    given = {"FunctionName": "none", "Payload": f"{{% {text(payload)} %}}"}
    return task("lambda:invoke", given, **CATCH_ALL)


def items(size: int) -> dict[str, Any]:
    return each(f"[{text(1000)}, {text(size - 1000 - len('[,]'))}]", "small")


def result(size: int) -> dict[str, Any]:
    first, second = text(1000), text(size - 1000 - len("[,]"))
    return each("[1, 2]", f"{{% $states.input = 1 ? {first} : {second} %}}")


@pytest.mark.parametrize(
    "state", [output, output_beyond_ascii, variables, arguments, items, result]
)
def test_a_state_carries_256_kib_and_no_byte_more(
    stack: StackUnderTest, state: Callable[[int], dict[str, Any]]
) -> None:
    def ends(size: int) -> tuple[str, str | None]:
        execution = stack.wait(start(stack, {"State": state(size), "Done": DONE}))
        return execution.status, execution.error

    assert ends(LIMIT) == ("SUCCEEDED", None)
    assert ends(LIMIT + 1) == ("FAILED", "States.DataLimitExceeded")


@pytest.mark.parametrize("error", ["States.ALL", "States.TaskFailed"])
def test_a_map_around_it_does_not_catch_it_either(stack: StackUnderTest, error: str) -> None:
    inside = {"Inside": {**output(LIMIT + 1), "Next": "Inner"}, "Inner": DONE}
    states = {
        "Each": {
            "Type": "Map",
            "Items": "{% [1] %}",
            "ItemProcessor": {"StartAt": "Inside", "States": inside},
            "Next": "Done",
            "Catch": [{"ErrorEquals": [error], "Next": "Done"}],
        },
        "Done": DONE,
    }
    execution = stack.wait(start(stack, states))
    assert (execution.status, execution.error) == ("FAILED", "States.DataLimitExceeded")


def test_variables_have_a_limit_together_as_well(
    stack: StackUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_VARIABLES_BYTES", 3 * LIMIT)

    def assigning(*names: str) -> dict[str, Any]:
        following = [*names[1:], "Done"]
        return {
            f"{name}{i}": {
                "Type": "Pass",
                "Assign": {name: f"{{% {text(LIMIT)} %}}"},
                "Next": f"{after}{i + 1}" if after != "Done" else "Done",
            }
            for i, (name, after) in enumerate(zip(names, following, strict=True))
        } | {"Done": DONE}

    # A variable that is assigned anew takes its room once.
    assert stack.wait(start(stack, assigning("a", "b", "c", "a"))).status == "SUCCEEDED"
    execution = stack.wait(start(stack, assigning("a", "b", "c", "d")))
    assert (execution.status, execution.error) == ("FAILED", "States.DataLimitExceeded")


def test_an_execution_with_too_large_an_input_is_not_started(stack: StackUnderTest) -> None:
    states = {"Done": DONE}
    text_of = LIMIT - len('{"text": ""}')
    assert stack.wait(start(stack, states, {"text": "x" * text_of})).status == "SUCCEEDED"
    with pytest.raises(ClientError, match=f"less than or equal to {LIMIT}") as refused:
        start(stack, states, {"text": "x" * (text_of + 1)})
    assert refused.value.response["Error"]["Code"] == "ValidationException"


# --- Events -------------------------------------------------------------------------------------

#: ExecutionStarted and ExecutionSucceeded, and of each Pass that it is entered and exited.
PASSES = 24
EVENTS = 2 + 2 * PASSES


def passes() -> dict[str, Any]:
    following = [f"Pass{i}" for i in range(1, PASSES)]
    states: dict[str, Any] = {
        f"Pass{i}": {"Type": "Pass", "Next": after} for i, after in enumerate(following)
    }
    return states | {following[-1]: {"Type": "Pass", "End": True}}


def test_the_last_event_that_a_history_holds_may_be_success(
    stack: StackUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_EVENTS", EVENTS)
    arn = start(stack, passes())
    assert stack.wait(arn).status == "SUCCEEDED"
    assert len(history(stack, arn)) == EVENTS


def test_an_execution_fails_when_its_history_is_full(
    stack: StackUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_EVENTS", EVENTS - 1)
    arn = start(stack, passes())
    execution = stack.wait(arn)
    assert (execution.status, execution.error) == ("FAILED", "States.Runtime")
    assert f"maximum number of history events ({EVENTS - 1})" in execution.cause
    events = history(stack, arn)
    assert [event["id"] for event in events] == list(range(1, EVENTS))
    assert events[-1]["type"] == "ExecutionFailed"


def test_nothing_catches_a_full_history_and_all_that_runs_ends(
    stack: StackUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_EVENTS", EVENTS)
    around = {"Around": {"Type": "Pass", "Next": "Around"}}
    # An hour even where waits are shortened: the test would not end.
    waiting = {"Wait": {"Type": "Wait", "Seconds": 3_600_000, "End": True}}
    states = {
        "Both": {
            "Type": "Parallel",
            "Branches": [
                {"StartAt": "Around", "States": around},
                {"StartAt": "Wait", "States": waiting},
            ],
            "Next": "Done",
            **CATCH_ALL,
        },
        "Done": DONE,
    }
    arn = start(stack, states)
    execution = stack.wait(arn)
    assert (execution.status, execution.error) == ("FAILED", "States.Runtime")
    assert len(history(stack, arn)) == EVENTS
