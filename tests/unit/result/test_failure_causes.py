"""A failure's cause is the sentence at the bottom of what the state machine was given."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sizing.errors import SizingError
from sizing.result.failure import CATALOGUE, RETRY_IN_WORDS, Retry, failure
from tools import runbook

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
    assert (found.name, found.cause) == ("SizingFailed", "No cause was given.")
    assert found.advice


def test_long_causes_are_cut_short() -> None:
    assert len(failure("X", "y" * 100_000).cause) == 2000


ROOT = Path(__file__).parents[3]
#: Become MetricsMissing and SmokeTestFailed when the state machine has waited long enough.
RETRIED_ALWAYS = {"MetricsIncomplete", "ModelNotReady"}


def classes(base: type) -> set[str]:
    """Names of all classes below one."""
    return {name for each in base.__subclasses__() for name in (each.__name__, *classes(each))}


def named_in_the_state_machine() -> set[str]:
    """Names that the sizing's state machine gives to what goes wrong."""
    text = (ROOT / "statemachine" / "sizing.asl.yaml").read_text()
    pattern = r"(?:candidate_error|failed_with|error): (\w+)$|\"error\": \"(\w+)\""
    return {one or other for one, other in re.findall(pattern, text, re.MULTILINE)}


def test_every_error_that_ends_a_sizing_is_in_the_catalogue() -> None:
    named = classes(SizingError) | named_in_the_state_machine()
    assert {"InvalidRequest", "CostLimit", "CapacityUnavailable", "CleanUpFailed"} <= named
    assert named - RETRIED_ALWAYS <= CATALOGUE.keys()


def test_what_a_contradiction_in_the_result_is_called_is_in_the_catalogue() -> None:
    text = (ROOT / "functions" / "sizing" / "result" / "result.py").read_text()
    names = set(re.findall(r'named\("(\w+)"', text))
    assert names
    assert names <= CATALOGUE.keys()


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_failure_has_its_words_from_the_catalogue(name: str) -> None:
    found = failure(name, "why")
    known = CATALOGUE[name]
    assert (found.name, found.cause) == (name, "why")
    assert (found.advice, found.retry) == (known.advice, known.retry)
    for sentence in (known.meaning, known.advice):
        assert sentence.endswith(".")
        assert "\n" not in sentence


def test_each_error_is_explained_in_words_of_its_own() -> None:
    assert len({known.meaning for known in CATALOGUE.values()}) == len(CATALOGUE)
    assert set(RETRY_IN_WORDS) == set(Retry)


def test_a_name_that_nobody_knows_is_looked_up_in_the_history() -> None:
    found = failure("Lambda.Unknown", "why")
    assert found.name == "Lambda.Unknown"
    assert "history" in found.advice


def test_the_runbook_explains_the_catalogue_and_nothing_else() -> None:
    page = runbook.PAGE.read_text(encoding="utf-8")
    assert page == runbook.with_errors(page), "run: python -m tools.runbook"
    errors = page.partition(runbook.BEGIN)[2].partition(runbook.END)[0]
    assert re.findall(r"^### (.*)$", errors, re.MULTILINE) == list(CATALOGUE)
