"""No way leads past the clean-up, no failure past the states that handle it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

TERMINAL = ("Succeed", "Fail")


def successors(state: Mapping[str, Any]) -> Iterator[str]:
    if "Next" in state:
        yield state["Next"]
    if "Default" in state:
        yield state["Default"]
    for each in [*state.get("Choices", []), *state.get("Catch", [])]:
        yield each["Next"]


def reachable(states: Mapping[str, Any], start: str, *, without: str = "") -> set[str]:
    """States that can be reached from one, when another can't be passed."""
    found: set[str] = set()
    ahead = [start]
    while ahead:
        name = ahead.pop()
        if name not in found and name != without:
            found.add(name)
            ahead += successors(states[name])
    return found


@pytest.mark.parametrize("state", ["RecordResult", "CleanUp", "Tell"])
def test_a_sizing_can_not_end_without(state, machine):
    definition = machine("sizing").definition
    states = definition["States"]
    ends = {
        name
        for name in reachable(states, definition["StartAt"], without=state)
        if states[name]["Type"] in TERMINAL
    }
    assert ends == set()


@pytest.mark.parametrize(
    "first, then",
    [("RecordResult", "CleanUp"), ("CleanUp", "Tell")],
)
def test_the_way_out_keeps_its_order(first, then, machine):
    definition = machine("sizing").definition
    assert then not in reachable(definition["States"], definition["StartAt"], without=first)
    assert first not in reachable(definition["States"], then)


def starts(state: Mapping[str, Any]) -> bool:
    """Whether a state starts what may create something, at any depth."""
    inner = [*state.get("Branches", []), state.get("ItemProcessor", {})]
    below = [each for part in inner for each in part.get("States", {}).values()]
    return "startExecution" in state.get("Resource", "") or any(map(starts, below))


def test_nothing_is_created_after_the_clean_up(machine):
    states = machine("sizing").definition["States"]
    after = reachable(states, "CleanUp") - {"CleanUp"}
    assert not any(starts(states[name]) for name in after)


def test_nothing_is_created_without_the_lock(machine):
    definition = machine("sizing").definition
    states = definition["States"]
    assert starts(states["Probes"])
    without = reachable(states, definition["StartAt"], without="AcquireLock") - {"AcquireLock"}
    # A dry run takes none: its way out is the only one around it.
    assert {"IsDryRun", "RecordResult"} <= without
    assert [name for name in without if starts(states[name])] == ["CleanUp"]


@pytest.mark.parametrize("name", ["sizing", "probe"])
def test_every_call_has_its_failure_handled(name, machine):
    for _, states in machine(name).scopes():
        for name, state in states.items():
            if state["Type"] in ("Task", "Map"):
                assert state["Catch"][-1]["ErrorEquals"] == ["States.ALL"], name


def test_a_probe_never_fails(machine):
    """Every failure leads to the record of it, and nothing leads to Fail."""
    states = machine("probe").definition["States"]
    assert {state["Type"] for state in states.values()} & {"Fail"} == set()
    for name, state in states.items():
        for catch in state.get("Catch", []):
            if name != "ShrinkFormer":  # which is a saving, and no part of the probe
                assert catch["Next"] in ("NotMeasured", "ReleaseEndpoint"), name
    assert set(successors(states["ReleaseEndpoint"])) == {"NotMeasured"}
    assert set(successors(states["ShrinkFormer"])) == {"EnsureEndpoint"}


def test_a_probe_that_fails_all_the_same_fails_no_other(machine):
    [(_, inner)] = [
        scope for scope in machine("sizing").scopes() if scope[1].keys() == {"Probe", "Probed"}
    ]
    assert set(successors(inner["Probe"])) == {"Probed"}


def test_a_clean_up_that_can_not_finish_says_so_and_fails(machine):
    states = machine("clean_up").definition["States"]
    untold = {name: state for name, state in states.items() if name != "TellEnded"}
    untold["TellEnded"] = states["CleanedUp"]
    failing = reachable(untold, "WhatIsLeft", without="NotifyLeftovers")
    assert "CleanUpFailed" not in failing
    assert [each["Next"] for each in states["TellEnded"]["Catch"]] == ["CleanUpFailed"]
    assert states["NotifyLeftovers"]["Resource"].endswith("sns:publish")
    assert states["RemoveLeftovers"]["Catch"][-1]["Next"] == "NotifyLeftovers"


def test_every_failure_has_a_name(each_machine):
    for name, state in each_machine.states().items():
        if state["Type"] == "Fail":
            assert state["Error"], name
            assert state["Cause"], name


def test_every_task_ends_in_time(each_machine, template):
    assert each_machine.definition["TimeoutSeconds"] <= 7 * 24 * 3600
    for name, state in each_machine.states().items():
        if state["Type"] == "Task":
            assert "TimeoutSeconds" in state, name


def test_a_task_outlasts_the_function_it_calls(each_machine, template):
    """Otherwise Step Functions would call it again while it still runs."""
    default = template["Globals"]["Function"]["Timeout"]
    for name, state in each_machine.states().items():
        if state.get("Resource", "").endswith("lambda:invoke"):
            function = state["Arguments"]["FunctionName"].removesuffix("Arn")
            timeout = template["Resources"][function]["Properties"].get("Timeout", default)
            assert state["TimeoutSeconds"] > timeout, name


def test_retries_are_patient_and_uneven(each_machine):
    for name, state in each_machine.states().items():
        for retry in state.get("Retry", []):
            assert retry["MaxAttempts"] >= 2, name
            assert retry["MaxDelaySeconds"] <= 60, name
            if retry["ErrorEquals"] != ["MetricsIncomplete"]:  # one caller, waiting for a clock
                assert retry["JitterStrategy"] == "FULL", name


def test_nothing_that_ran_is_blindly_repeated(each_machine):
    """A task or a nested execution that failed did run: it must not be started once more."""
    for name, state in each_machine.states().items():
        for retry in state.get("Retry", []):
            is_job = ".sync" in state.get("Resource", ".sync")
            assert not (is_job and "States.TaskFailed" in retry["ErrorEquals"]), name
            assert "States.ALL" not in retry["ErrorEquals"] or name == "RemoveLeftovers"


#: What may pass by itself, by the names that Step Functions gives it. An SDK integration names what
#: the service's model does not know, such as throttling, after the service; with the model's own
#: names, and those of the optimized integrations, beside it.
#: https://docs.aws.amazon.com/step-functions/latest/dg/supported-services-awssdk.html
#: https://docs.aws.amazon.com/step-functions/latest/dg/bp-lambda-serviceexception.html
TRANSIENT = {
    "lambda:invoke": {
        "Lambda.ClientExecutionTimeoutException",
        "Lambda.ServiceException",
        "Lambda.AWSLambdaException",
        "Lambda.SdkClientException",
        "Lambda.TooManyRequestsException",
        "AwsUnavailable",
    },
    "states:startExecution.sync:2": {
        "StepFunctions.ExecutionLimitExceededException",
        "StepFunctions.AWSStepFunctionsException",
    },
    "ecs:runTask.sync": {
        "ECS.AmazonECSException",
        "ECS.ServerException",
        "ECS.ThrottlingException",
        "AmazonECS.Unknown",
    },
    "aws-sdk:s3": {"S3.S3Exception", "S3.SdkClientException"},
    "sns:publish": {"States.TaskFailed"},
}
#: Savings and a courtesy that the sizing does without.
WITHOUT_RETRY = {"ShrinkFormer", "ReleaseEndpoint", "ReadReason"}


def test_what_may_pass_by_itself_is_tried_again(each_machine):
    for name, state in each_machine.states().items():
        if state["Type"] != "Task":
            continue
        retried = {error for each in state.get("Retry", []) for error in each["ErrorEquals"]}
        if name in WITHOUT_RETRY:
            assert not retried, name
            assert state["Catch"][-1]["ErrorEquals"] == ["States.ALL"], name
            continue
        integration = state["Resource"].partition(":states:::")[2]
        if integration.startswith("aws-sdk:"):
            integration = integration.rpartition(":")[0]
        assert TRANSIENT[integration] <= retried or "States.ALL" in retried, name


def test_metrics_are_waited_for_about_ten_minutes(machine):
    retry = machine("probe").states()["Measure"]["Retry"][0]
    assert retry["ErrorEquals"] == ["MetricsIncomplete"]
    waits = [
        min(retry["IntervalSeconds"] * retry["BackoffRate"] ** attempt, retry["MaxDelaySeconds"])
        for attempt in range(retry["MaxAttempts"])
    ]
    assert 9 * 60 <= sum(waits) <= 12 * 60
