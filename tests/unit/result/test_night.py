"""A night's input is one of three, and its summary says what became of each profile."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sizing.errors import InvalidRequest
from sizing.result import night
from sizing.result.night import EVENT, Ended, Orders, parse_orders, read_ended, summary

ARN = "arn:aws:sagemaker:us-east-1:123456789012:model-package/sentiment/7"


def event(**changes: Any) -> dict[str, Any]:
    detail = {"ModelPackageGroupName": "sentiment", "ModelPackageArn": ARN, "More": 1}
    return {"source": "aws.sagemaker", "detail-type": EVENT, "detail": detail, **changes}


@pytest.mark.parametrize(
    "data, orders",
    [
        ({}, Orders()),
        ({"profiles": ["a", "b", "a"]}, Orders(("a", "b"))),
        ({"max_cost_usd": 20}, Orders(max_cost_usd=20)),
        ({"AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID": "arn"}, Orders()),
        (event(), Orders(("sentiment",), ARN)),
    ],
)
def test_what_a_night_may_be_told(data: Any, orders: Orders) -> None:
    assert parse_orders(data) == orders


@pytest.mark.parametrize(
    "data, field",
    [
        ({"profile": "sentiment"}, "input.profile"),
        ({"profiles": "sentiment"}, "input.profiles"),
        ({"profiles": []}, "input.profiles"),
        ({"profiles": ["../x"]}, "input.profiles.0"),
        ({"max_cost_usd": 0}, "input.max_cost_usd"),
        ({"max_cost_usd": "20"}, "input.max_cost_usd"),
        ([], "input"),
        (None, "input"),
        ("sentiment", "input"),
        (event(detail={}), "input.ModelPackageGroupName"),
        (event(detail=None), "input"),
        (event(**{"detail-type": "SageMaker Endpoint State Change"}), "detail-type"),
    ],
    ids=str,
)
def test_anything_else_is_refused_by_what_is_allowed(data: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_orders(data)
    assert refused.value.field == field
    assert '{} for all profiles, {"profiles": [' in refused.value.message


def test_sizings_have_names_of_their_own_in_each_night() -> None:
    long = "g" * 63
    names = {
        night.execution_name(profile, run)
        for profile in (long, long[:-1] + "h")
        for run in ("x" * 60 + "-2026-01-01", "x" * 60 + "-2026-01-02")
    }
    assert len(names) == 4
    assert max(map(len, names)) <= 76  # room for a redrive of 80


# --- What becomes of a profile ------------------------------------------------------------------

PLANNED = {"profile": "sentiment", "notify": "change", "told": False}
ANSWER = {
    "status": "SIZED",
    "change": "regressed",
    "change_summary": "regressed since 1: capacity of an instance -10.0 %",
    "instance_type": "ml.m5.xlarge",
    "instance_count": 4,
    "hourly_cost_usd": 0.92,
    "sizing_cost_usd": 1.5,
    "report_uri": "s3://b/report.html",
    "reason": "4 instances are the fewest",
    "load_tests": 1,
}


def test_an_answer_is_kept_as_far_as_a_summary_needs_it() -> None:
    ended = read_ended({**PLANNED, "output": ANSWER})
    assert (ended.status, ended.change, ended.sizing_cost_usd) == ("SIZED", "regressed", 1.5)
    assert (ended.notify, ended.reason) == ("change", None)


@pytest.mark.parametrize("told", [False, True])
def test_a_failure_is_named_by_what_is_at_its_bottom(told: bool) -> None:
    cause = {"Error": "InvalidRequest", "Cause": "target.tps: is missing", "ExecutionArn": "arn:x"}
    raw = {**PLANNED, "told": told, "error": "States.TaskFailed", "cause": json.dumps(cause)}
    ended = read_ended(raw)
    assert (ended.status, ended.reason) == ("FAILED", "InvalidRequest: target.tps: is missing")
    assert (ended.execution_arn, ended.told) == ("arn:x", told)


@pytest.mark.parametrize("cause", ["", "denied", "[]", '{"ExecutionArn": 5}', None])
def test_what_could_not_be_started_has_told_nobody(cause: Any) -> None:
    raw = {**PLANNED, "told": True, "error": "StepFunctions.X", "cause": cause}
    ended = read_ended(raw)
    assert (ended.status, ended.told, ended.execution_arn) == ("FAILED", False, None)


def test_many_profiles_fit_into_what_a_night_hands_on() -> None:
    raw = {**PLANNED, "error": "X" * 200, "cause": "y" * 4000}
    ended = [read_ended(raw).model_dump(mode="json") for _ in range(200)]
    assert len(json.dumps(ended)) + 10 * 5000 < 256 * 1024


# --- The summary --------------------------------------------------------------------------------


def ended(profile: str, status: Any = "SIZED", **more: Any) -> Ended:
    return Ended(profile=profile, status=status, **more)


SEVEN = [
    ended("broken", "FAILED", reason="InvalidRequest: target.tps: is missing"),
    ended("paused", "SKIPPED", reason="paused", notify="never"),
    read_ended({**PLANNED, "profile": "worse", "output": ANSWER}),
    ended("same", change="unchanged", instance_type="ml.m5.xlarge", instance_count=2,
          sizing_cost_usd=0.5),
    ended("new", change="first", instance_type="ml.m5.xlarge", instance_count=1),
    ended("other", change="changed", change_summary="changed since 2: instances 3, now 4"),
    ended("dear", "SKIPPED", reason="the run may cost $2.00, and $2.00 are spent"),
]  # fmt: skip


def test_one_message_says_what_became_of_each_profile() -> None:
    said = summary(SEVEN)
    assert said.subject == (
        "Endpoint sizing: 1 FAILED, 1 regressed, 1 changed, 1 first, 1 unchanged, 2 SKIPPED of "
        "7 profiles"
    )
    assert said.notify
    assert said.cost_usd == 2.0
    assert said.failed == "broken: InvalidRequest: target.tps: is missing"
    first, _, *lines = said.message.splitlines()
    assert first.endswith("The sizings cost $2.00.")
    assert [line.partition(":")[0] for line in lines] == [
        *("broken", "worse", "other", "new", "dear", "paused", "same"),
    ]
    assert lines[1] == (
        "worse: SIZED; 4 x ml.m5.xlarge, $0.92 per hour; regressed since 1: capacity of an "
        "instance -10.0 %; the sizing cost $1.50; s3://b/report.html"
    )
    assert "dear: SKIPPED; the run may cost $2.00, and $2.00 are spent" in lines


@pytest.mark.parametrize(
    "one, wanted",
    [
        (ended("a", change="unchanged"), True),
        (ended("a", change="unchanged", notify="change"), False),
        (ended("a", change="first", notify="change"), True),
        (ended("a", change="regressed", notify="failure"), False),
        (ended("a", "FAILED", notify="failure"), True),
        (ended("a", "SKIPPED", reason="too dear", notify="failure"), True),
        (ended("a", "FAILED", notify="never"), False),
        (ended("a", "FAILED", told=True), False),
        (ended("a", "SKIPPED", reason="paused", notify="never"), False),
    ],
)
def test_a_message_is_sent_if_one_profile_wants_it(one: Ended, wanted: bool) -> None:
    quiet = ended("b", change="unchanged", notify="change")
    assert summary([one, quiet]).notify is wanted


def test_a_night_without_profiles_is_quiet() -> None:
    said = summary([])
    assert (said.notify, said.failed, said.cost_usd) == (False, "", 0.0)


def test_a_summary_is_what_sns_takes() -> None:
    many = [ended(f"{number}" * 20, "FAILED", reason="r" * 500) for number in range(200)]
    said = summary(many)
    assert len(said.subject) < 100
    assert len(said.message) <= 60_001
    assert len(said.failed) <= 4_000
