"""What the state machines' expressions make of the data they meet."""

from __future__ import annotations

import json

import pytest

from sizing.clean_up import names
from sizing.load_test.observation import LoadTestRecord
from sizing.result import events

LOAD_TEST = {
    "load_test_id": "ml-m5-xlarge-4-verify-2",
    "bucket": "results",
    "prefix": "sizings/3f2a9c1b7d4e/load-tests/ml-m5-xlarge-4-verify-2/",
    "sizing_id": "3f2a9c1b7d4e",
    "timeout_seconds": 600,
    "workers": 2,
    "tags": {"team": "search"},
}
#: What a probe is given, as far as expressions read it.
PROBE = {
    "endpoint": {"endpoint_name": "e", "create_model": {"ModelName": "m"}},
    "smoke_test": None,
    "plan": {"instance_count": 4},
    "load_test": LOAD_TEST,
    "record": {
        "load_test_id": "ml-m5-xlarge-4-verify-2",
        "instance_type": "ml.m5.xlarge",
        "instance_count": 4,
        "purpose": "verify",
        "workers": 2,
        "worker_vcpus": 1,
        "reason": "predicted",
        "files": f"s3://results/{LOAD_TEST['prefix']}",
    },
}
OF_FUNCTION = {
    "Error": "SmokeTestFailed",
    "Cause": json.dumps({"errorMessage": 'it said "no"\n', "errorType": "SmokeTestFailed"}),
}
OF_EXECUTION = {
    "Error": "States.TaskFailed",
    "Cause": json.dumps(
        {
            "Cause": "worker: Essential container exited",
            "Error": "LoadTestFailed",
            "Input": json.dumps({"Cause": "not this one"}),
            "Status": "FAILED",
        }
    ),
}


def failed_records(machine, failure):
    """The records that a probe makes of a failure, and a sizing of a probe that failed."""
    started = "2023-11-14T22:13:20.500Z"
    yield machine("probe").evaluate(
        "NotMeasured",
        "Output",
        states={"input": failure},
        probe=PROBE,
        started_at=started,
        failed_with="LoadTestFailed",
    )
    yield machine("sizing").evaluate(
        "Probe",
        *("Catch", 0, "Output"),
        states={
            "input": PROBE,
            "errorOutput": {**failure, "Error": "LoadTestFailed"},
            "context": {"State": {"EnteredTime": started}},
        },
    )


@pytest.mark.parametrize(
    "failure, cause",
    [
        (OF_FUNCTION, 'it said "no"\n'),
        (OF_EXECUTION, "worker: Essential container exited"),
        ({"Error": "X", "Cause": "plain text"}, "plain text"),
        ({"Error": "X", "Cause": '{"errorMessage": "cut o'}, "cut o"),
        ({"Error": "X", "Cause": json.dumps({"Cause": "a " * 5000})}, ("a " * 5000)[:7989]),
        (
            {"Error": "X", "Cause": json.dumps({"ExecutionArn": "arn:e", "Status": "ABORTED"})},
            "arn:e ended ABORTED",
        ),
        ({"Error": "States.Timeout"}, "LoadTestFailed"),
        ({"Error": "States.Timeout", "Cause": ""}, "LoadTestFailed"),
    ],
)
def test_a_failure_becomes_a_record_of_a_load_test(failure, cause, machine):
    for record in failed_records(machine, failure):
        parsed = LoadTestRecord.model_validate(record)
        assert parsed.error == "LoadTestFailed"
        assert parsed.cause == cause
        assert parsed.observations == ()
        assert (parsed.instance_type, parsed.instance_count) == ("ml.m5.xlarge", 4)
        assert parsed.started_at == 1_700_000_000.5
        assert parsed.finished_at > parsed.started_at
        assert parsed.files == f"s3://results/{LOAD_TEST['prefix']}"


def test_a_request_is_kept_without_its_large_payloads(machine):
    request = {"dry_run": False, "payloads": {"inline": [{"body": "x" * 200_000}]}}
    moved = {"s3_uri": "s3://results/payloads.jsonl"}
    states = {"result": {"Payload": {"sizing": {"request": {"payloads": moved}}}}}
    kept = machine("sizing").evaluate(
        "ResolveRequest", "Assign", "request", states=states, request=request
    )
    assert kept == {"dry_run": False, "payloads": moved}


# --- The way out ---------------------------------------------------------------------------------

BEFORE = {"error": "InvalidRequest", "cause": "target.tps: is missing"}


def test_a_clean_up_that_failed_outweighs_and_keeps_what_failed_before(machine):
    error = {"Error": "States.TaskFailed", "Cause": '{"Cause":"not removed: e","Status":"FAILED"}'}
    path = ("CleanUp", "Catch", 0, "Assign", "failure")
    states = {"errorOutput": error}
    failure = machine("sizing").evaluate(*path, states=states, failure=BEFORE)
    assert failure["error"] == "CleanUpFailed"
    assert failure["cause"].startswith("not removed: e")
    assert "InvalidRequest: target.tps: is missing" in failure["cause"]
    alone = machine("sizing").evaluate(*path, states=states, failure=None)
    assert alone["cause"] == "not removed: e"


@pytest.mark.parametrize(
    "error, cause",
    [
        ({"Error": "States.TaskFailed", "Cause": '{"Status":"ABORTED"}'}, "ABORTED"),
        ({"Error": "States.Timeout"}, "States.Timeout: "),
        ({"Error": "StepFunctions.X", "Cause": "denied"}, "StepFunctions.X: denied"),
    ],
)
def test_whatever_became_of_the_clean_up_has_a_cause(error, cause, machine):
    failure = machine("sizing").evaluate(
        "CleanUp", "Catch", 0, "Assign", "failure", states={"errorOutput": error}, failure=None
    )
    assert failure == {"error": "CleanUpFailed", "cause": cause}


def test_a_result_that_was_not_recorded_fails_and_keeps_what_failed_before(machine):
    path = ("RecordResult", "Catch", 0, "Assign", "failure")
    states = {"errorOutput": OF_FUNCTION}
    failure = machine("sizing").evaluate(*path, states=states, failure=None)
    assert failure["error"] == "RecordResultFailed"
    assert 'it said \\"no\\"' in failure["cause"]
    kept = machine("sizing").evaluate(*path, states=states, failure=BEFORE)
    assert kept["error"] == "InvalidRequest"
    assert kept["cause"].startswith("target.tps: is missing Nothing is recorded: Smoke")


# --- Where it goes on ----------------------------------------------------------------------------


def taken(machine, state, **variables):
    """The state that a Choice leads to."""
    choice = machine.states()[state]
    return next(
        (
            rule["Next"]
            for index, rule in enumerate(choice["Choices"])
            if machine.evaluate(state, "Choices", index, "Condition", **variables)
        ),
        choice["Default"],
    )


@pytest.mark.parametrize(
    "status, waited, state",
    [
        ("HELD", False, "Probes"),
        ("HELD", True, "ResolveRequest"),
        ("WAIT", False, "WaitForLock"),
        ("WAIT", True, "WaitForLock"),
    ],
)
def test_after_a_wait_for_the_lock_the_request_is_resolved_anew(status, waited, state, machine):
    variables = {"turn": {"status": status}, "waited": waited}
    assert taken(machine("sizing"), "IsLockHeld", **variables) == state


def test_a_candidate_that_is_probed_again_keeps_its_endpoint(machine):
    first = {**PROBE, "smoke_test": {"endpoint_name": "e"}}
    other = {**first, "endpoint": {"endpoint_name": "other"}}
    again = {
        "action": "LOAD_TEST",
        "endpoint_name": "e",
        "smoke_test": None,
        "former": {"endpoint_name": "other"},
        "plan": {"instance_count": 7},
        "load_test": {"load_test_id": "x-7-verify-3"},
        "record": {"load_test_id": "x-7-verify-3"},
    }
    assert taken(machine("sizing"), "IsDone", next=again) == "Probes"
    for candidates in ([first], [other, first]):
        [probe] = machine("sizing").evaluate(
            "IsDone", "Assign", "probes", next=again, resolved={"candidates": candidates}
        )
        assert probe == {**first, **again}
    assert taken(machine("probe"), "HasFormer", probe=probe) == "ShrinkFormer"
    assert taken(machine("probe"), "HasFormer", probe=first) == "EnsureEndpoint"


@pytest.mark.parametrize("results", [[{"id": 1}], [{"id": 1}, {"id": 2}]])
def test_the_records_of_the_last_round_are_handed_on_in_their_order(results, machine):
    states = {"result": results}
    assert machine("sizing").evaluate("Probes", "Assign", "history", states=states) == results


@pytest.mark.parametrize(
    "status, smoke_test, state",
    [
        ("WAIT", {"endpoint_name": "e"}, "WaitForEndpoint"),
        ("READY", {"endpoint_name": "e"}, "SmokeTest"),
        ("READY", None, "LoadTest"),
    ],
)
def test_only_a_new_endpoint_is_invoked_for_a_try(status, smoke_test, state, machine):
    variables = {"so_far": {"status": status}, "probe": {**PROBE, "smoke_test": smoke_test}}
    assert taken(machine("probe"), "EndpointReady", **variables) == state


@pytest.mark.parametrize("smoke_test, count", [({"endpoint_name": "e"}, 0), (None, 1)])
def test_what_can_not_be_load_tested_goes_or_keeps_one_instance(smoke_test, count, machine):
    payload = machine("probe").evaluate(
        "ReleaseEndpoint", "Arguments", "Payload", probe={**PROBE, "smoke_test": smoke_test}
    )
    assert payload == {"endpoint": {"endpoint_name": "e"}, "instance_count": count}


@pytest.mark.parametrize("of", ["probe", "sizing"])
def test_the_name_of_a_load_test_fits_an_execution(of, machine):
    load_test = {"load_test_id": "x" * 60}
    state = {"probe": "LoadTest", "sizing": "Probe"}[of]

    def name(**redriven):
        context = {"Execution": {"Name": f"3f2a9c1b7d4e-{'x' * 60}", **redriven}}
        return machine(of).evaluate(
            *(state, "Arguments", "Name"),
            states={"context": context, "input": {"load_test": load_test}},
            resolved={"sizing": {"sizing_id": "3f2a9c1b7d4e"}},
        )

    first = name(RedriveCount=0)
    assert first == name() == f"3f2a9c1b7d4e-{'x' * 60}"
    # What has ended keeps its name; a redriven execution must not run into it.
    assert name(RedriveCount=1) == f"{first}-r1"
    assert len(name(RedriveCount=99)) <= 80


def test_a_probe_that_waits_longest_is_given_its_time(machine):
    seconds = machine("sizing").evaluate("Probe", "TimeoutSeconds", states={"input": PROBE})
    load_test = machine("probe").evaluate("LoadTest", "TimeoutSeconds", probe=PROBE)
    # Besides these two: one invocation, and CloudWatch for ten minutes.
    assert seconds >= 60 * 60 + load_test + 30 * 60
    assert seconds < machine("probe").definition["TimeoutSeconds"]


# --- load_test -----------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 40, 41, 80, 200])
def test_each_worker_runs_once_and_all_run_at_once(workers, machine):
    load_test, test = machine("load_test"), {"workers": workers}
    groups = [
        load_test.evaluate("RunGroup", "Items", states={"input": group}, test=test)
        for group in load_test.evaluate("RunWorkers", "Items", test=test)
    ]
    assert [index for group in groups for index in group] == list(range(workers))
    assert max(map(len, groups)) <= 40
    assert len(groups) <= 40


@pytest.mark.parametrize("tags", [{}, {"team": "search"}, {"a": "1", "b": "2"}])
def test_tasks_bear_the_tag_that_clean_up_finds_them_by(tags, machine):
    made = machine("load_test").evaluate(
        "WriteSpec", "Assign", "task_tags", states={"input": {"tags": tags, "sizing_id": "3f2a"}}
    )
    assert isinstance(made, list)
    assert {each["Key"]: each["Value"] for each in made} == {**tags, names.SIZING_TAG: "3f2a"}


def test_the_spec_is_written_as_json(machine):
    """An object becomes JSON; Step Functions would put quotes around a string."""
    spec = {"steps": [{"offered_tps": 100.5}], "burst": None}
    body = machine("load_test").evaluate(
        "WriteSpec", "Arguments", "Body", states={"input": {"spec": spec}}
    )
    assert body == spec


def test_a_load_test_that_nobody_can_explain_still_says_something(machine):
    said = machine("load_test").evaluate(
        "ReadReason",
        *("Catch", 0, "Assign", "reason"),
        states={"input": {"Error": "States.TaskFailed", "Cause": "x" * 9000}},
    )
    assert said == "States.TaskFailed: " + "x" * 2000


# --- clean_up ------------------------------------------------------------------------------------

EVENT = {"detail": {"executionArn": "arn:e", "name": "nightly-1", "status": "ABORTED"}}


@pytest.mark.parametrize(
    "given, scope",
    [
        ({"sizing_id": "3f2a9c1b7d4e"}, {"sizing_id": "3f2a9c1b7d4e"}),
        ({"execution_arn": "arn:e"}, {"execution_arn": "arn:e"}),
        ({"sweep": True}, {"sweep": True}),
        (EVENT, {"execution_arn": "arn:e"}),
        ({}, {"sweep": False}),  # RemoveLeftovers refuses it
    ],
)
def test_what_a_clean_up_is_about(given, scope, machine):
    assert (
        machine("clean_up").evaluate("Begin", "Assign", "scope", states={"input": given}) == scope
    )


@pytest.mark.parametrize(
    "detail, told",
    [
        ({"status": "ABORTED"}, "n ABORTED"),
        ({"status": "TIMED_OUT"}, "n TIMED_OUT"),
        ({"status": "FAILED", "error": "States.Runtime"}, "n FAILED: States.Runtime"),
        ({"status": "FAILED", "error": "NotificationFailed"}, "n FAILED: NotificationFailed"),
        ({"status": "FAILED", "error": "InvalidRequest"}, ""),
        ({"status": "FAILED"}, ""),
        (None, ""),
    ],
)
def test_it_speaks_for_a_sizing_that_could_not(detail, told, machine):
    given = {"sweep": True} if detail is None else {"detail": {"name": "n", **detail}}
    assert (
        machine("clean_up").evaluate("Begin", "Assign", "untold", states={"input": given}) == told
    )


@pytest.mark.parametrize(
    "status, at_work, untold, state",
    [
        ("WAIT", True, "n ABORTED", "WaitForDeletion"),
        ("GIVE_UP", True, "n ABORTED", "NotifyLeftovers"),
        ("GONE", True, "n ABORTED", "WaitForLastCalls"),
        ("GONE", False, "n ABORTED", "TellEnded"),
        ("GONE", False, "", "CleanedUp"),
    ],
)
def test_it_goes_on_until_nothing_is_left(status, at_work, untold, state, machine):
    variables = {"left": {"status": status}, "may_be_at_work": at_work, "untold": untold}
    assert taken(machine("clean_up"), "WhatIsLeft", **variables) == state


def test_a_function_that_may_still_create_something_is_waited_for(machine, template):
    functions = [
        each["Properties"].get("Timeout", template["Globals"]["Function"]["Timeout"])
        for name, each in template["Resources"].items()
        if name == "EnsureEndpointFunction"
    ]
    seconds = machine("clean_up").states()["WaitForLastCalls"]["Seconds"]
    assert seconds > max(functions)


@pytest.mark.parametrize("left", [{}, {"described": ["endpoint/e"], "costs": "$1", "rounds": 3}])
def test_a_round_that_failed_is_told_with_what_was_left_before(left, machine):
    error = {"Error": "ClientError", "Cause": "not allowed"}
    path = ("RemoveLeftovers", "Catch", 0, "Assign", "left")
    clean_up = machine("clean_up")
    after = clean_up.evaluate(*path, states={"errorOutput": error}, left=left)
    states = {"context": {"Execution": {"Id": "arn:clean-up"}}}
    told = clean_up.evaluate("NotifyLeftovers", "Arguments", states=states, left=after)
    assert ("$1" in told["Subject"]) == ("endpoint/e" in told["Message"]) == bool(left)
    assert "RemoveLeftovers: ClientError: not allowed" in told["Message"]
    failed = clean_up.evaluate("CleanUpFailed", "Cause", left=after)
    assert "RemoveLeftovers: ClientError: not allowed" in failed


def test_who_is_told_nothing_makes_the_clean_up_fail(machine):
    error = {"Error": "SNS.NotFoundException", "Cause": "no such topic"}
    path = ("TellEnded", "Catch", 0, "Assign", "left")
    clean_up = machine("clean_up")
    left = clean_up.evaluate(*path, states={"errorOutput": error}, untold="run-1 ABORTED")
    assert clean_up.evaluate("CleanUpFailed", "Cause", left=left) == (
        "not removed: nothing. nobody was told: run-1 ABORTED: SNS.NotFoundException: no such topic"
    )


def test_subjects_are_what_sns_takes(machine):
    """Under 100 characters of ASCII in one line, whatever an execution is called."""
    name = "größe-" + "ü" * 70
    ended = {"status": "ABORTED", "name": name, "executionArn": "arn:e"}
    states = {"input": {"detail": ended}}
    untold = machine("clean_up").evaluate("Begin", "Assign", "untold", states=states)
    arguments = {"untold": untold, "scope": {"execution_arn": "arn:e"}}
    subjects = [machine("clean_up").evaluate("TellEnded", "Arguments", **arguments)["Subject"]]
    for error in ("CleanUpFailed", "X"):
        failure = events.Failed(error=error, cause="c")
        subjects.append(events.told("arn:e", name, {}, failure).subject)
    for subject in subjects:
        assert len(subject) < 100
        assert subject.isascii()
        assert subject.isprintable()


@pytest.mark.parametrize(
    "never_started, before, again",
    [(True, False, True), (True, True, False), (False, False, False), (False, True, False)],
)
def test_a_task_that_could_not_start_gets_one_more_try(never_started, before, again, machine):
    states = {"result": {"Payload": {"reason": "r", "never_started": never_started}}}
    load_test = machine("load_test")
    assigned = load_test.evaluate("ReadReason", "Assign", states=states, starts_again=before)
    assert assigned == {"reason": "r", "starts_again": again}
    taken_to = taken(load_test, "NeverStarted", starts_again=assigned["starts_again"])
    assert taken_to == ("WaitForStop" if again else "LoadTestFailed")


def test_tasks_have_stopped_before_others_are_started_in_their_place(machine, template):
    [task] = (
        each
        for each in template["Resources"].values()
        if each["Type"] == "AWS::ECS::TaskDefinition"
    )
    [container] = task["Properties"]["ContainerDefinitions"]
    assert machine("load_test").states()["WaitForStop"]["Seconds"] > container["StopTimeout"]


# --- nightly -------------------------------------------------------------------------------------

PLANNED = {"profile": "g", "name": "g-1", "notify": "always", "told": False, "request": {"a": 1}}


def test_a_sizing_that_has_ended_is_handed_back_without_its_request(machine):
    states = {"input": PLANNED, "result": {"Output": {"status": "SIZED"}}}
    ended = machine("nightly").evaluate("Size", "Output", states=states)
    assert ended == {**PLANNED, "request": None, "output": {"status": "SIZED"}}
    states["errorOutput"] = {"Error": "States.TaskFailed", "Cause": "x" * 32_000}
    failed = machine("nightly").evaluate("Size", "Catch", 0, "Output", states=states)
    cause = {"error": "States.TaskFailed", "cause": "x" * 4000}
    assert failed == {**PLANNED, "request": None, **cause}


def test_a_redriven_night_starts_its_sizings_by_other_names(machine):
    def name(**redriven):
        states = {"context": {"Execution": redriven}, "input": PLANNED}
        return machine("nightly").evaluate("Size", "Arguments", "Name", states=states)

    assert (name(), name(RedriveCount=1)) == ("g-1", "g-1-r1")


@pytest.mark.parametrize(
    "night, leads_to",
    [
        ({"action": "SIZE"}, "Sizings"),
        ({"action": "DONE", "summary": {"notify": True}}, "Notify"),
        ({"action": "DONE", "summary": {"notify": False}}, "DidAnyFail"),
    ],
)
def test_a_night_goes_on_until_all_is_done_and_told(night, leads_to, machine):
    assert taken(machine("nightly"), "IsDone", night=night) == leads_to


@pytest.mark.parametrize("failed, leads_to", [("", "AllSized"), ("g: X", "SizingsFailed")])
def test_a_night_with_failures_fails(failed, leads_to, machine):
    assert taken(machine("nightly"), "DidAnyFail", failed=failed) == leads_to
