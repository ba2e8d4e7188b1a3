"""A failure's cause is the sentence at the bottom of what the state machine was given."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sizing.errors import SizingError
from sizing.failure import failure

LAMBDA = json.dumps(
    {
        "errorMessage": "target.tps: must be greater than 0, got -5",
        "errorType": "InvalidRequest",
        "stackTrace": ['  File "app.py", line 1'],
    }
)


def test_the_message_of_a_function_is_the_cause() -> None:
    found = failure("InvalidRequest", LAMBDA)
    assert found.name == "InvalidRequest"
    assert found.cause == "target.tps: must be greater than 0, got -5"


def test_nested_executions_are_followed_to_the_bottom() -> None:
    inner = json.dumps({"Error": "LoadTestFailed", "Cause": "worker 1 of 2 went silent"})
    outer = json.dumps({"ExecutionArn": "arn", "Error": "States.TaskFailed", "Cause": inner})
    found = failure("States.TaskFailed", outer)
    assert (found.name, found.cause) == ("LoadTestFailed", "worker 1 of 2 went silent")


def test_a_tasks_exit_code_is_named() -> None:
    task = json.dumps(
        {
            "StoppedReason": "Essential container in task exited",
            "Containers": [{"Name": "load-generator", "ExitCode": 3, "Reason": None}],
        }
    )
    assert failure("States.TaskFailed", task).cause == (
        "Essential container in task exited; load-generator exited with 3"
    )


@pytest.mark.parametrize(
    "cause", ["plain words", "{not json", "[1, 2]", '"text"', '{"other": 1}', "[" * 50_000]
)
def test_what_is_no_json_of_aws_stays_as_it_is(cause: str) -> None:
    assert failure("X", cause).cause[:50] == cause[:50]


def test_an_empty_failure_is_still_one() -> None:
    found = failure(None, None)
    assert (found.name, found.cause) == ("Unknown", "No cause was given.")
    assert found.advice


def test_long_causes_are_cut_short() -> None:
    assert len(failure("X", "y" * 100_000).cause) == 2000


ERRORS = {each.__name__ for each in SizingError.__subclasses__()}


def named_in_the_state_machine() -> set[str]:
    """Names that the sizing's state machine gives to what goes wrong."""
    text = (Path(__file__).parents[3] / "statemachine" / "sizing.asl.yaml").read_text()
    return set(re.findall(r"(?:candidate_error|failed_with): (\w+)", text))


# MetricsIncomplete is retried by the state machine, and reported as MetricsMissing.
@pytest.mark.parametrize(
    "name", sorted((ERRORS | named_in_the_state_machine()) - {"MetricsIncomplete"})
)
def test_errors_that_end_a_sizing_say_what_to_do(name: str) -> None:
    assert failure(name, "why").advice != failure("AnythingElse", "why").advice
