"""Events are flat and small, hold what rules match, and are as their published schema says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sizing.clean_up.names import answer_parameter
from sizing.result import events
from sizing.result.change import compare
from sizing.result.history import outcome
from sizing.result.result import Result
from tests.unit.result import sample_sizings
from tests.unit.result.sample_sizings import Made

RESULT, REPORT = "s3://results/sizings/1/result.json", "s3://results/sizings/1/report.html"
SCHEMA = Path(__file__).parents[3] / "docs" / "events.schema.json"


def result_of(made: Made) -> Result:
    return Result.model_validate(made.document())


def detail_of(made: Made) -> dict[str, Any]:
    return events.finished(result_of(made), result_uri=RESULT, report_uri=REPORT)


def as_received(entry: dict[str, Any]) -> dict[str, Any]:
    """What EventBridge makes of an entry of PutEvents."""
    return {
        "version": "0",
        "source": entry["Source"],
        "detail-type": entry["DetailType"],
        "resources": entry["Resources"],
        "detail": json.loads(json.dumps(entry["Detail"], allow_nan=False)),
    }


def test_the_published_schema_is_that_of_the_events() -> None:
    printed = json.dumps(events.schema(), indent=2) + "\n"
    assert SCHEMA.read_text() == printed, (
        "PYTHONPATH=functions python -c 'import json; from sizing.result import events; "
        "print(json.dumps(events.schema(), indent=2))' > docs/events.schema.json"
    )


@pytest.mark.parametrize("make", sample_sizings.ALL.values(), ids=sample_sizings.ALL)
def test_events_are_as_the_schema_says_flat_and_small(make: Any) -> None:
    detail = detail_of(make())
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    for entry in events.entries(detail):
        validator.validate(as_received(entry))
    assert len(json.dumps(detail)) < 5000
    assert not any(isinstance(value, dict | list) for value in detail.values())


def test_the_schema_knows_no_other_field_and_no_other_event() -> None:
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    good = as_received(events.entry(events.FINISHED, detail_of(sample_sizings.sized())))
    assert validator.is_valid(good)
    assert not validator.is_valid({**good, "detail-type": "Endpoint Sizing Paused"})
    assert not validator.is_valid({**good, "detail": {**good["detail"], "colour": "red"}})
    assert not validator.is_valid({**good, "detail": {**good["detail"], "status": "DONE"}})


def test_an_event_of_the_beginning_says_what_is_to_come() -> None:
    made = sample_sizings.sized()
    assert made.sizing is not None
    detail = events.started(made.sizing, cost_usd=1.5, minutes=20)
    entry = events.entry(events.STARTED, detail)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(as_received(entry))
    assert (detail["target_tps"], detail["estimated_cost_usd"]) == (1000, 1.5)
    assert detail["model_key"].startswith("hugging_face/distilbert")


def test_the_end_holds_what_rules_match() -> None:
    detail = detail_of(sample_sizings.sized())
    assert detail["status"] == "SIZED"
    assert (detail["instance_type"], detail["instance_count"]) == ("ml.m5.12xlarge", 8)
    assert detail["autoscaling_target_value"] == 7782.0
    assert (detail["error"], detail["cause"], detail["change"]) == (None, None, None)
    failed = detail_of(sample_sizings.failed())
    assert (failed["error"], failed["cause"]) == ("LoadTestFailed", "worker 1 of 2 went silent")
    assert failed["instance_count"] is None


@pytest.mark.parametrize(
    "former, kinds",
    [
        ({"instance_count": 8}, [events.FINISHED]),
        ({"instance_count": 7}, [events.FINISHED, events.CHANGED]),
        (None, [events.FINISHED]),
    ],
)
def test_another_answer_is_an_event_of_its_own(
    former: dict[str, Any] | None, kinds: list[str]
) -> None:
    result = result_of(sample_sizings.sized())
    before = None if former is None else outcome(result).model_copy(update=former)
    result = result.model_copy(update={"change": compare(before, outcome(result), 5.0)})
    detail = events.finished(result, result_uri=RESULT, report_uri=None)
    entries = events.entries(detail)
    assert [each["DetailType"] for each in entries] == kinds
    assert all(each["Resources"] == [sample_sizings.EXECUTION] for each in entries)
    if former is not None:
        assert detail["previous_instance_count"] == former["instance_count"]


@pytest.mark.parametrize(
    "key, name",
    [
        ("model_package_group/sentiment", "/stack/answers/sentiment"),
        (
            "model_package_group/123456789012:eu-west-1:sentiment",
            "/stack/answers/123456789012/eu-west-1/sentiment",
        ),
        ("hugging_face/organization/name", None),
        ("container/image/0", None),
    ],
)
def test_groups_have_a_parameter_each(key: str, name: str | None) -> None:
    assert answer_parameter("stack", key) == name


# --- What is told in the end --------------------------------------------------------------------

ARN = sample_sizings.EXECUTION
BEFORE = events.Failed(error="InvalidRequest", cause="target.tps: is missing")
UNCLEAN = events.Failed(error="CleanUpFailed", cause="not removed: e")


def of_a_result(**changes: Any) -> dict[str, Any]:
    """What RecordResult answers of the sized sample."""
    return {
        "notify": True,
        "subject": "s" * 99,
        "message": "8 instances",
        "detail": detail_of(sample_sizings.sized()),
        **changes,
    }


@pytest.mark.parametrize("failure", [None, BEFORE])
def test_what_the_result_says_is_told(failure: events.Failed | None) -> None:
    outcome = of_a_result()
    told = events.told(ARN, "run", outcome, failure)
    assert (told.notify, told.subject, told.message) == (True, "s" * 99, "8 instances")
    assert [each["Detail"] for each in told.entries] == [outcome["detail"]]
    assert told.attributes["status"] == "SIZED"
    assert told.attributes["model"].startswith("distilbert")
    assert "change" not in told.attributes


def test_what_is_left_outweighs_the_answer_and_the_wish_for_silence() -> None:
    told = events.told(ARN, "run", of_a_result(notify=False), UNCLEAN)
    assert told.notify
    assert told.subject.startswith("NOT CLEANED UP: ssss")
    assert len(told.subject) == 99  # SNS takes less than 100
    assert told.message == "CleanUpFailed: not removed: e\n\n8 instances"
    detail = told.entries[0]["Detail"]
    assert (detail["status"], detail["error"], detail["retry"]) == ("FAILED", "CleanUpFailed", "NO")
    assert told.attributes["status"] == "FAILED"


def test_no_message_is_sent_that_nobody_wants() -> None:
    told = events.told(ARN, "run", of_a_result(notify=False), None)
    assert not told.notify
    assert len(told.entries) == 1


def test_a_result_that_was_not_recorded_is_told_all_the_same() -> None:
    told = events.told(ARN, "n" * 80, {}, BEFORE)
    assert told.notify
    assert told.subject.startswith("FAILED: endpoint sizing nnn")
    assert len(told.subject) <= 99
    assert told.message.startswith("InvalidRequest: target.tps: is missing")
    assert ARN in told.message
    [entry] = told.entries
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(as_received(entry))
    assert (entry["Detail"]["status"], entry["Detail"]["error"]) == ("FAILED", "InvalidRequest")
