"""What the state machines' expressions make of the data they meet."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from local.jsonata import QueryError
from sizing.clean_up import names
from sizing.load_test.observation import LoadTestRecord

PLAN = {
    "instance_type": "ml.m5.xlarge",
    "instance_count": 4,
    "purpose": "verify",
    "workers": 2,
    "worker_vcpus": 1,
}
LOAD_TEST = {
    "load_test_id": "ml-m5-xlarge-4-verify-2",
    "bucket": "results",
    "prefix": "sizings/3f2a9c1b7d4e/load-tests/ml-m5-xlarge-4-verify-2/",
    "sizing_id": "3f2a9c1b7d4e",
    "timeout_seconds": 600,
    "workers": 2,
    "tags": {"team": "search"},
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
    """The records that both failing ways make of one failure."""
    sizing = machine("sizing")
    states = {"input": failure}
    yield sizing.evaluate(
        "CandidateFailed",
        "Output",
        states=states,
        candidate={"plan": PLAN, "load_test": LOAD_TEST},
        candidate_started_ms=1_700_000_000_500,
        candidate_error="LoadTestFailed",
    )
    former = {"load_test_id": "former"}
    first, record = sizing.evaluate(
        "VerificationFailed",
        "Assign",
        "history",
        states=states,
        history=[former],
        next={"plan": PLAN, "load_test": LOAD_TEST},
        started_ms=1_700_000_000_500,
        failed_with="LoadTestFailed",
    )
    assert first == former
    yield record


@pytest.mark.parametrize(
    "failure, cause",
    [
        (OF_FUNCTION, 'it said "no"\n'),
        (OF_EXECUTION, "worker: Essential container exited"),
        ({"Error": "X", "Cause": "plain text"}, "plain text"),
        ({"Error": "X", "Cause": '{"errorMessage": "cut o'}, '{"errorMessage": "cut o'),
        ({"Error": "States.Timeout"}, "States.Timeout"),
        ({"Error": "States.Timeout", "Cause": ""}, "States.Timeout"),
        ({"Cause": "the endpoint was still Creating"}, "the endpoint was still Creating"),
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


def test_the_sizing_fails_by_the_name_of_its_error(machine):
    failure = machine("sizing").evaluate(
        "Failed", "Assign", "failure", states={"input": OF_FUNCTION}
    )
    assert failure == {"error": "SmokeTestFailed", "cause": 'it said "no"\n'}


@pytest.mark.parametrize(
    "payload, failure",
    [
        ({"status": "SIZED", "detail": {"error": None}}, None),
        (
            {"status": "FAILED", "detail": {"error": "LoadTestFailed", "cause": "worker: exit 1"}},
            {"error": "LoadTestFailed", "cause": "worker: exit 1"},
        ),
    ],
)
def test_a_failure_that_the_result_speaks_of_is_the_sizings(payload, failure, machine):
    assigned = machine("sizing").evaluate(
        "RecordResult", "Assign", "failure", states={"result": {"Payload": payload}}, failure=None
    )
    assert assigned == failure


def test_a_clean_up_that_failed_outweighs_and_keeps_what_failed_before(machine):
    before = {"error": "InvalidRequest", "cause": "target.tps: is missing"}
    states = {"input": {"Error": "States.TaskFailed", "Cause": '{"Cause":"not removed: e"}'}}
    sizing = machine("sizing")
    failure = sizing.evaluate("NotCleanedUp", "Assign", "failure", states=states, failure=before)
    assert failure["error"] == "CleanUpFailed"
    assert failure["cause"].startswith("not removed: e")
    assert "InvalidRequest: target.tps: is missing" in failure["cause"]
    alone = sizing.evaluate("NotCleanedUp", "Assign", "failure", states=states, failure=None)
    assert alone["cause"] == "not removed: e"
    outcome = sizing.evaluate(
        "TellNotCleanedUp",
        "Assign",
        "outcome",
        failure=failure,
        outcome={"status": "SIZED", "subject": "s" * 100, "message": "8 instances", "detail": {}},
    )
    assert outcome["status"] == outcome["detail"]["status"] == "FAILED"
    assert len(outcome["subject"]) == 100  # SNS takes no more
    assert "not removed: e" in outcome["message"]
    assert "8 instances" in outcome["message"]


def test_a_result_that_was_not_recorded_is_told_all_the_same(machine):
    assigned = machine("sizing").evaluate(
        "ResultNotRecorded",
        "Assign",
        states={"input": OF_FUNCTION},
        failure=None,
        execution={"arn": "arn:e", "name": "n" * 80},
    )
    assert assigned["failure"] == {"error": "RecordResultFailed", "cause": 'it said "no"\n'}
    assert assigned["outcome"]["status"] == "FAILED"
    assert len(assigned["outcome"]["subject"]) <= 100
    kept = machine("sizing").evaluate(
        "ResultNotRecorded",
        "Assign",
        "failure",
        states={"input": OF_FUNCTION},
        failure={"error": "InvalidRequest", "cause": "c"},
    )
    assert kept["error"] == "InvalidRequest"


@pytest.mark.parametrize(
    "history, error",
    [
        (
            [{"error": None}, {"error": "CapacityUnavailable"}, {"error": "X"}],
            "CapacityUnavailable",
        ),
        ([{"error": None}], "NoCandidateMeasured"),
        ([], "NoCandidateMeasured"),
    ],
)
def test_without_a_candidate_the_sizing_fails_as_the_first_did(history, error, machine):
    named = machine("sizing").evaluate(
        "NextLoadTest",
        *("Choices", 0, "Assign", "failure"),
        history=history,
        next={"answer": {"reason": "no candidate could be load-tested"}},
    )
    assert named == {"error": error, "cause": "no candidate could be load-tested"}


@pytest.mark.parametrize(
    "scaled, next_, state",
    [
        ({}, {"scale": None}, "VerifyLoadTest"),
        ({}, {"scale": {"EndpointName": "a"}}, "Scale"),
        ({"EndpointName": "a"}, {"scale": {"EndpointName": "a"}}, "Scale"),
        ({"EndpointName": "b"}, {"scale": {"EndpointName": "a"}}, "ShrinkFormer"),
        ({"EndpointName": "b"}, {"scale": None}, "ShrinkFormer"),
        ({"EndpointName": "b"}, {"action": "DONE", "answer": {"status": "SIZED"}}, "RecordResult"),
    ],
)
def test_the_next_load_test(scaled, next_, state, machine):
    sizing = machine("sizing")
    variables = {
        "scaled": scaled,
        "next": {"action": "LOAD_TEST", "endpoint_name": "a", **next_},
    }
    choice = sizing.states()["NextLoadTest"]
    taken = next(
        (
            rule["Next"]
            for index, rule in enumerate(choice["Choices"])
            if sizing.evaluate("NextLoadTest", "Choices", index, "Condition", **variables)
        ),
        choice["Default"],
    )
    assert taken == state


@pytest.mark.parametrize("minutes, seconds", [(0, 2), (0.5, 5), (2, 10), (20, 30)])
def test_polls_are_frequent_while_an_endpoint_is_young(minutes, seconds, machine):
    started = time.time() * 1000 - minutes * 60_000
    sizing = machine("sizing")
    assert sizing.evaluate("WaitForScaling", "Seconds", started_ms=started) == seconds
    assert sizing.evaluate("WaitForEndpoint", "Seconds", candidate_started_ms=started) == seconds


@pytest.mark.parametrize("state, of", [("LoadTest", "candidate"), ("VerifyLoadTest", "next")])
def test_the_name_of_a_load_test_fits_an_execution(state, of, machine):
    load_test = {"sizing_id": "3f2a9c1b7d4e", "load_test_id": "x" * 60}

    def name(**redriven):
        context = {"Execution": redriven}
        return machine("sizing").evaluate(
            *(state, "Arguments", "Name"),
            states={"context": context},
            **{of: {"load_test": load_test}},
        )

    first = name(RedriveCount=0)
    assert first == name() == f"3f2a9c1b7d4e-{'x' * 60}"
    # A load test that has ended keeps its name; a redriven sizing must not run into it.
    assert name(RedriveCount=1) == f"{first}-r1"
    assert len(name(RedriveCount=999)) <= 80


# --- The lock of a model -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status, when_locked, minutes, state",
    [
        ("RUNNING", "WAIT", 0, "WaitForLock"),
        ("PENDING_REDRIVE", "WAIT", 59, "WaitForLock"),
        ("RUNNING", "WAIT", 61, "Failed"),
        ("RUNNING", "FAIL", 0, "Failed"),
        ("ABORTED", "FAIL", 0, "CleanUpAfterOwner"),
        ("GONE", "WAIT", 61, "CleanUpAfterOwner"),
    ],
)
def test_what_to_do_about_anothers_lock(status, when_locked, minutes, state, machine):
    sizing = machine("sizing")
    started = datetime.now(UTC) - timedelta(minutes=minutes)
    variables = {
        "states": {"input": {"status": status}},
        "lock": {"when_locked": when_locked, "wait_seconds": 3600, "model_key": "model_name/m"},
        "holder": {"owner": "arn:other", "since": "2026-11-22T19:00:00Z"},
        "execution": {"arn": "arn:me", "started_at": started.isoformat(timespec="milliseconds")},
        "waited": minutes > 0,
    }
    choice = sizing.states()["WhoseLock"]
    taken = next(
        (
            (index, rule["Next"])
            for index, rule in enumerate(choice["Choices"])
            if sizing.evaluate("WhoseLock", "Choices", index, "Condition", **variables)
        ),
        (None, choice["Default"]),
    )
    assert taken[1] == state
    if state == "Failed":
        failure = sizing.evaluate("WhoseLock", "Choices", taken[0], "Output", **variables)
        assert failure["Error"] == "Locked"
        said = "model_name/m is being sized by arn:other since 2026-11-22T19:00:00Z."
        assert failure["Cause"].startswith(said)
        assert ("It was waited for" in failure["Cause"]) == (minutes > 0)


@pytest.mark.parametrize("minutes, seconds", [(0, 30), (11, 120), (61, 300)])
def test_looks_at_a_lock_become_rare(minutes, seconds, machine):
    started = datetime.now(UTC) - timedelta(minutes=minutes)
    execution = {"started_at": started.isoformat(timespec="milliseconds")}
    assert machine("sizing").evaluate("WaitForLock", "Seconds", execution=execution) == seconds


def test_a_lock_that_is_gone_has_no_owner(machine):
    path = ("ReadLock", "Assign", "holder")
    sizing = machine("sizing")
    item = {"owner": {"S": "arn:other"}, "acquired_at": {"S": "2026-11-22T19:00:00Z"}}
    assert sizing.evaluate(*path, states={"result": {"Item": item}})["owner"] == "arn:other"
    assert sizing.evaluate(*path, states={"result": {}}) == {"owner": "", "since": ""}


def test_a_fleet_that_begins_large_is_known_as_scaled(machine):
    def candidate(name, count):
        config = {"ProductionVariants": [{"VariantName": "AllTraffic"}]}
        return {
            "endpoint_name": name,
            "plan": {"instance_count": count},
            "create_endpoint_config": config,
        }

    path = ("Baselines", "Assign", "scaled")
    sizing = machine("sizing")
    fleet = sizing.evaluate(*path, candidates=[candidate("a", 1), candidate("b", 8)])
    assert fleet == {
        "EndpointName": "b",
        "DesiredWeightsAndCapacities": [{"VariantName": "AllTraffic", "DesiredInstanceCount": 8}],
    }
    assert sizing.evaluate(*path, candidates=[candidate("a", 1)]) == {}


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


def stopped_task(role, **more):
    return json.dumps(
        {
            "Containers": [{"ExitCode": 3, "Name": "load-generator"}],
            "Overrides": {
                "ContainerOverrides": [{"Environment": [{"Name": "LOAD_TEST_ROLE", "Value": role}]}]
            },
            "StoppedReason": "Essential container in task exited",
            **more,
        }
    )


@pytest.mark.parametrize(
    "failure, reason",
    [
        (
            {"Error": "States.TaskFailed", "Cause": stopped_task("worker")},
            "worker: Essential container in task exited (exit code 3)",
        ),
        (
            {"Error": "States.TaskFailed", "Cause": stopped_task("leader", Containers=[{}])},
            "leader: Essential container in task exited",
        ),
        ({"Error": "States.Timeout"}, "States.Timeout: "),
        ({"Error": "AmazonECS.Unknown", "Cause": "no capacity"}, "AmazonECS.Unknown: no capacity"),
    ],
)
def test_a_load_test_says_what_stopped_it(failure, reason, machine):
    said = machine("load_test").evaluate(
        "Run", "Catch", 0, "Assign", "reason", states={"errorOutput": failure}
    )
    assert said == reason


@pytest.mark.parametrize(
    "body, reason",
    [
        (
            '{"load_test_id": "x", "error": {"name": "Lost", "message": "worker 2 is \\"gone\\""}',
            'exited. The leader says: worker 2 is "gone"',
        ),
        ('{"load_test_id": "x", "error": null, "steps": [', "exited"),
    ],
)
def test_the_leader_has_the_last_word(body, reason, machine):
    """Of load_test.json only the beginning is read, so it need not be whole."""
    said = machine("load_test").evaluate(
        "ReadReason", "Assign", "reason", states={"result": {"Body": body}}, reason="exited"
    )
    assert said == reason


# --- clean_up ------------------------------------------------------------------------------------

EVENT = {"detail": {"executionArn": "arn:e", "name": "nightly-1", "status": "ABORTED"}}


@pytest.mark.parametrize(
    "given, scope",
    [
        ({"sizing_id": "3f2a9c1b7d4e"}, {"sizing_id": "3f2a9c1b7d4e"}),
        ({"execution_arn": "arn:e"}, {"execution_arn": "arn:e"}),
        ({"sweep": True}, {"sweep": True}),
        (EVENT, {"execution_arn": "arn:e"}),
        ({}, {"sweep": False}),  # FindLeftovers refuses it
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
    "state, cause, problem",
    [
        ("EndpointNotDeleted", 'Could not find endpoint "arn".', False),
        ("EndpointNotDeleted", "Cannot update in-progress endpoint", False),
        ("EndpointNotDeleted", "User is not authorized to perform sagemaker:DeleteEndpoint", True),
        ("EndpointNotDeleted", "", True),
        ("EndpointConfigNotDeleted", "Could not find endpoint configuration", False),
        ("EndpointConfigNotDeleted", "Rate exceeded", True),
        ("ModelNotDeleted", 'Could not find model "arn".', False),
        ("ModelNotDeleted", "Rate exceeded", True),
        ("TaskNotStopped", "The referenced task was not found.", False),
        ("TaskNotStopped", "User is not authorized", True),
        ("ExecutionNotStopped", "Execution Does Not Exist: 'arn'", False),
        ("ExecutionNotStopped", "Rate exceeded", True),
        ("LockNotReleased", "The conditional request failed (Service: DynamoDb)", False),
        ("LockNotReleased", "User is not authorized to perform: dynamodb:DeleteItem", True),
    ],
)
def test_what_counts_as_a_problem(state, cause, problem, machine):
    states = {"input": {"name": "n", "Cause": cause}}
    said = machine("clean_up").evaluate(state, "Output", "problem", states=states)
    assert said == (f"n: {cause}" if problem else "")


@pytest.mark.parametrize(
    "results, problems",
    [
        ([], []),
        ([{}], []),
        ([{}, {"problem": ""}], []),
        ([{"problem": "a"}], ["a"]),
        ([{"problem": "a"}, {}, {"problem": "b"}], ["a", "b"]),
    ],
)
def test_problems_of_a_round_are_collected(results, problems, machine):
    clean_up, states = machine("clean_up"), {"result": results}
    path = ("Assign", "problems")
    assert clean_up.evaluate("StopExecutions", *path, states=states, problems=["old"]) == problems
    for name in (
        "StopTasks",
        "DeleteEndpoints",
        "DeleteEndpointConfigs",
        "DeleteModels",
        "ReleaseLocks",
    ):
        assert clean_up.evaluate(name, *path, states=states, problems=["x"]) == ["x", *problems]


def test_rounds_with_problems_count_in_a_row_only(machine):
    path = ("CountRound", "Assign", "rounds_with_problems")
    clean_up = machine("clean_up")
    assert clean_up.evaluate(*path, problems=["a"], rounds_with_problems=2) == 3
    assert clean_up.evaluate(*path, problems=[], rounds_with_problems=2) == 0


# --- nightly -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "package, model",
    [
        ("", {"model_package_group": "distilbert"}),
        ("arn:aws:sagemaker:p", {"model_package_arn": "arn:aws:sagemaker:p"}),
    ],
)
def test_a_profile_and_its_model_make_a_request(package, model, machine):
    profile = {"instance_types": ["ml.m5.xlarge"], "target": {"tps": 100}}
    request = machine("nightly").evaluate(
        "Size",
        *("Arguments", "Input"),
        states={"input": {"Value": json.dumps(profile)}},
        package=package,
        group="distilbert",
    )
    assert request == {**profile, "model": model}


@pytest.mark.parametrize(
    "profile",
    [
        *("", "{", "null", "5", '"text"', "[]", '[{"target": {}}]', "[" * 5000 + "]" * 5000),
        *('{"model": {}}', '{"model": null}', '{"model": {"model_name": "other"}}'),
    ],
    ids=range(11),
)
def test_what_is_no_profile_starts_nothing(profile, machine):
    with pytest.raises(QueryError):
        machine("nightly").evaluate(
            "Size",
            *("Arguments", "Input"),
            states={"input": {"Value": profile}},
            package="",
            group="distilbert",
        )
    said = machine("nightly").evaluate(
        "BadProfile", "Output", states={"input": {"Cause": "x" * 30_000}}, group="distilbert"
    )
    assert said["status"] == "FAILED"
    assert said["cause"].startswith("a profile must be a JSON object: a request without its model")


@pytest.mark.parametrize("cause", ["x" * 32_000, json.dumps({"Cause": "x" * 32_000})])
def test_many_failures_fit_into_what_a_night_hands_on(cause, machine):
    said = machine("nightly").evaluate(
        "SizingFailed", "Output", states={"input": {"Error": "E", "Cause": cause}}, group="g" * 63
    )
    assert len(json.dumps([said] * 200)) < 256 * 1024
    assert said["cause"] == "x" * 1000


def test_the_group_is_the_last_part_of_the_profiles_name(machine):
    states = {"input": {"Name": "/endpoint-sizer/profiles/distilbert"}}
    assert machine("nightly").evaluate("Profile", "Assign", "group", states=states) == "distilbert"


def test_sizings_of_two_nights_have_different_names(machine):
    def name(execution, **redriven):
        context = {"Execution": {"Name": execution, **redriven}}
        return machine("nightly").evaluate(
            "Size", "Arguments", "Name", states={"context": context}, group="g" * 63
        )

    nights = ["x" * 60 + "-2026-01-01", "x" * 60 + "-2026-01-02"]
    assert name(nights[0]) != name(nights[1])
    assert len(name(nights[0])) <= 80
    assert name("short") == "g" * 35 + "-short"
    assert name("short", RedriveCount=1) == "g" * 35 + "-short-r1"
    assert len(name(nights[0], RedriveCount=999)) <= 80


@pytest.mark.parametrize("token", ["", "more"])
def test_profiles_are_asked_for_page_by_page(token, machine):
    arguments = machine("nightly").evaluate("ListProfiles", "Arguments", next_token=token)
    assert arguments.get("NextToken", "") == token


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_page_of_profiles_is_a_list(count, machine):
    parameter = {"Name": "n", "Value": "v", "Version": 1}
    states = {"result": {"Parameters": [parameter] * count}}
    page = machine("nightly").evaluate("ListProfiles", "Output", "Parameters", states=states)
    assert page == [{"Name": "n", "Value": "v"}] * count
