"""Every state of every machine, with the shipped functions, on the embedded AWS.

After each test nothing of a sizing is left. The last test shows that every state was entered.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.awslambda.models import LambdaFunction

from aws import instance_types
from local import events, models
from local.stepfunctions import expressions
from sizing.clean_up import lock
from sizing.clean_up.names import sizing_id
from tests.statemachine.stack import (
    PRODUCTION,
    StackUnderTest,
    a_request,
    all_states,
    an_applied_request,
    in_production,
    stack_under_test,
    subjects,
)

PROFILE = {key: value for key, value in a_request().items() if key != "model"}
PROFILES_PATH = "/endpoint-sizer/profiles"


@pytest.fixture(scope="module")
def whole_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackUnderTest]:
    with stack_under_test(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def stack(whole_stack: StackUnderTest) -> Iterator[StackUnderTest]:
    whole_stack.load_tests()
    whole_stack.metrics_missing = False
    whole_stack.told = len(whole_stack.messages())
    yield whole_stack
    assert whole_stack.settle() == []


# --- sizing: the ways that end well -------------------------------------------------------------


def test_a_sizing_finds_the_count_and_leaves_nothing(stack: StackUnderTest) -> None:
    execution = stack.run("SizingStateMachine", a_request())

    assert execution.status == "SUCCEEDED", execution.cause
    assert execution.output["status"] == "SIZED"
    assert (execution.output["instance_count"], execution.output["change"]) == (2, "first")
    result = stack.result(execution)
    assert result["recommendation"]["instance_count"] == 2
    assert result["recommendation"]["utilization_percent"] == pytest.approx(65)
    # Named by a tag, it is the image that SageMaker has made of it.
    assert re.fullmatch("sha256:[0-9a-f]{64}", result["model"]["image_digest"])
    assert result["recommendation"]["in_band"]
    assert subjects(stack.news(), r"^SIZED: 2 x ml\.m5\.xlarge")
    assert execution.states[-1] == "SizingFinished"
    # Nobody hears of the end before everything is removed.
    assert execution.states.index("CleanUp") < execution.states.index("Tell")


@pytest.mark.faults
def test_every_function_can_be_called_twice(
    stack: StackUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As Step Functions does after an answer that was lost. The second one counts.
    invoke = LambdaFunction._invoke_lambda
    answers: dict[str, list[tuple[Any, Any]]] = {}

    def twice(function: Any, event: Any = None) -> Any:
        first, second = invoke(function, event), invoke(function, event)
        pair = lasting(json.loads(first[0])), lasting(json.loads(second[0]))
        answers.setdefault(function.function_name.removeprefix("endpoint-sizer-"), []).append(pair)
        return second

    monkeypatch.setattr(LambdaFunction, "_invoke_lambda", twice)
    execution = stack.run("SizingStateMachine", an_applied_request(stack))
    assert execution.output["status"] == "SIZED", execution.cause
    assert stack.result(execution)["recommendation"]["instance_count"] == 2
    assert stack.result(execution)["applied"]["before"]["instance_count"] == 1
    # One is called only where something went wrong, one by nightly runs, one by CloudFormation.
    assert len(answers) == len(stack.aws.stack.functions()) - 3
    for name, pairs in answers.items():
        for first, second in pairs:
            if name == "remove-leftovers":  # between two looks things go
                assert set(second["names"]) <= set(first["names"])
            elif name == "ensure-endpoint":  # or come
                assert (first["status"], second["status"]) != ("READY", "WAIT")
            else:
                assert first == second, name


#: What differs between two calls because time has passed.
PASSING = {"finished_at", "latency_ms", "message", "sizing_cost_usd"}


def lasting(answer: Any) -> Any:
    """An answer without what depends on when it was given."""
    if isinstance(answer, dict):
        return {key: lasting(value) for key, value in answer.items() if key not in PASSING}
    return [lasting(each) for each in answer] if isinstance(answer, list) else answer


def test_a_dry_run_creates_nothing(stack: StackUnderTest) -> None:
    execution = stack.run("SizingStateMachine", a_request(dry_run=True))
    assert execution.output["status"] == "DRY_RUN"
    assert "Probes" not in execution.states
    assert stack.result(execution)["estimate"]["cost_usd"] > 0


def test_an_answer_is_applied_to_production(stack: StackUnderTest) -> None:
    sagemaker = stack.aws.client("sagemaker")
    autoscaling = stack.aws.client("application-autoscaling")
    name = in_production(sagemaker, f"{PRODUCTION}eu", instances=1)
    apply = {"endpoint": name, "what": "autoscaling", "min": 1, "max": 9}
    execution = stack.run("SizingStateMachine", a_request(apply=apply))
    assert execution.output["status"] == "SIZED"
    assert (execution.output["applied"], execution.output["applied_to"]) == (True, name)
    of_sagemaker = {"ServiceNamespace": "sagemaker"}
    [target] = autoscaling.describe_scalable_targets(**of_sagemaker)["ScalableTargets"]
    assert target["ResourceId"] == f"endpoint/{name}/variant/main"
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 4)
    [policy] = autoscaling.describe_scaling_policies(**of_sagemaker)["ScalingPolicies"]
    advice = stack.result(execution)["recommendation"]["autoscaling"]
    tracking = policy["TargetTrackingScalingPolicyConfiguration"]
    assert tracking["TargetValue"] == advice["target_value"]
    # It is the last thing before the message, which tells of it.
    assert execution.states.index("CleanUp") < execution.states.index("ApplyAnswer")
    [(_, text)] = stack.news()
    assert f"Applied:     {name} follows its traffic at" in text
    # Another night finds what is there already, and writes down what the first one has set.
    again = stack.run("SizingStateMachine", a_request(apply=apply))
    before = stack.result(again)["applied"]["before"]
    assert (before["min_instances"], before["max_instances"]) == (2, 4)
    assert [each["PolicyName"] for each in before["policies"]] == [policy["PolicyName"]]
    autoscaling.deregister_scalable_target(
        **of_sagemaker,
        ResourceId=target["ResourceId"],
        ScalableDimension="sagemaker:variant:DesiredInstanceCount",
    )
    sagemaker.delete_endpoint(EndpointName=name)
    sagemaker.delete_endpoint_config(EndpointConfigName=name)
    sagemaker.delete_model(ModelName=name)


def test_an_endpoint_that_the_stack_may_not_change_is_refused_beforehand(
    stack: StackUnderTest,
) -> None:
    apply = {"endpoint": "other", "min": 1, "max": 9}
    execution = stack.run("SizingStateMachine", a_request(apply=apply))
    assert (execution.status, execution.error) == ("FAILED", "InvalidRequest")
    assert "apply.endpoint: other is none that the stack's parameter" in execution.cause


def test_a_model_that_exists_is_used_and_left_alone(stack: StackUnderTest) -> None:
    sagemaker = stack.aws.client("sagemaker")
    container = {"Image": "image", "Environment": {"HF_MODEL_ID": "model"}}
    sagemaker.create_model(ModelName="of-the-user", PrimaryContainer=container)
    request = {**a_request(), "model": {"model_name": "of-the-user"}}
    execution = stack.run("SizingStateMachine", request)
    assert execution.output["status"] == "SIZED"
    assert [each["ModelName"] for each in sagemaker.list_models()["Models"]] == ["of-the-user"]
    sagemaker.delete_model(ModelName="of-the-user")


def test_a_limit_ends_a_sizing_without_an_answer(stack: StackUnderTest) -> None:
    request = a_request(target={"tps": 2000}, limits={"max_instances": 3})
    execution = stack.run("SizingStateMachine", request)
    assert execution.status == "SUCCEEDED"
    assert execution.output["status"] == "TARGET_NOT_MET"
    assert stack.result(execution)["limit"] == "limits.max_instances"


def test_the_search_turns_to_another_candidate(stack: StackUnderTest) -> None:
    # The cheaper type can't be load-tested at full traffic, so the other one is scaled out.
    stack.load_tests(**{"c5-xlarge-.*verify": "failed"})
    request = a_request(instance_types=["ml.m5.xlarge", "ml.c5.xlarge"])
    execution = stack.run("SizingStateMachine", request)
    assert execution.output["status"] == "SIZED", execution.cause
    assert stack.result(execution)["recommendation"]["instance_type"] == "ml.m5.xlarge"
    probes = stack.probes_of(execution)
    assert probes["ml-c5-xlarge-2-verify-2"][-2:] == ["LoadTest", "NotMeasured"]
    assert probes["ml-m5-xlarge-2-verify-2"][:3] == ["Begin", "HasFormer", "ShrinkFormer"]


# --- sizing: the ways that end badly ------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"colour": "red"}, "colour: unknown field"),
        ({"target": {"tps": -1}}, "target.tps: must be greater than 0"),
        ({"instance_types": ["ml.none.large"]}, "instance_types.0: ml.none.large"),
        ({"model": {"model_name": "none"}}, "model.model_name: "),
    ],
)
def test_an_invalid_request_creates_nothing(
    stack: StackUnderTest, changes: dict[str, Any], said: str
) -> None:
    execution = stack.run("SizingStateMachine", {**a_request(), **changes})
    assert (execution.status, execution.error) == ("FAILED", "InvalidRequest")
    assert execution.cause.startswith(said)
    assert "Probes" not in execution.states
    assert subjects(stack.news(), "FAILED: InvalidRequest")


@pytest.mark.parametrize(
    "model, error, cause",
    [
        ("broken", "EndpointFailed", "did not answer /ping"),
        ("no-capacity", "CapacityUnavailable", "InsufficientInstanceCapacity"),
    ],
)
def test_an_endpoint_that_cannot_serve(
    stack: StackUnderTest, model: str, error: str, cause: str
) -> None:
    execution = stack.run("SizingStateMachine", a_request(model))
    assert (execution.status, execution.error) == ("FAILED", error)
    assert cause in execution.cause
    assert {"ReleaseEndpoint", "NotMeasured"} <= stack.probed(execution)


def test_an_endpoint_that_does_not_understand_the_payload(stack: StackUnderTest) -> None:
    request = a_request(payloads={"inline": [{"body": "not JSON"}]})
    execution = stack.run("SizingStateMachine", request)
    assert (execution.status, execution.error) == ("FAILED", "SmokeTestFailed")
    assert "400" in execution.cause
    assert "LoadTest" not in stack.probed(execution)


def test_one_candidates_failure_does_not_end_the_others(stack: StackUnderTest) -> None:
    request = a_request("half-broken", instance_types=["ml.c5.xlarge", "ml.m5.xlarge"])
    execution = stack.run("SizingStateMachine", request)
    assert execution.output["status"] == "SIZED"
    candidates = {each["instance_type"]: each for each in stack.result(execution)["candidates"]}
    assert candidates["ml.m5.xlarge"]["status"] == "VERIFIED"
    assert candidates["ml.c5.xlarge"]["status"] == "FAILED"
    assert "no such image for this type" in candidates["ml.c5.xlarge"]["reason"]


@pytest.mark.parametrize(
    "behaviour, cause", [("failed", "worker 0 has gone silent"), ("killed", "exited with 137")]
)
def test_a_load_test_that_breaks(stack: StackUnderTest, behaviour: str, cause: str) -> None:
    stack.load_tests(baseline=behaviour)
    execution = stack.run("SizingStateMachine", a_request())
    assert (execution.status, execution.error) == ("FAILED", "LoadTestFailed")
    assert cause in execution.cause
    [arn] = stack.load_tests_of(execution)
    assert {"ReadReason", "LoadTestFailed"} <= set(stack.entered[arn])


def test_a_model_that_loads_and_a_task_that_could_not_start_get_more_time(
    stack: StackUnderTest,
) -> None:
    never_started: list[str] = []

    def describe(params: Any, **_: Any) -> Any:
        arns = json.loads(params["body"])["tasks"]
        never_started.extend(arns[: 1 - len(never_started)])
        if arns != never_started:
            return None
        task = {
            "taskArn": arns[0],
            "clusterArn": stack.aws.stack.ref("Cluster"),
            "lastStatus": "STOPPED",
            "stopCode": "TaskFailedToStart",
            "stoppedReason": "CannotPullContainerError: i/o timeout",
            "containers": [{"name": "load-generator"}],
        }
        said = {"tasks": [task], "ResponseMetadata": {"HTTPStatusCode": 200}}
        return SimpleNamespace(status_code=200), said

    loads = stack.refused("sagemaker-runtime", "InvokeEndpoint", "ModelNotReadyException", times=8)
    with loads as asked, stack.before("ecs", "DescribeTasks", describe):
        execution = stack.run("SizingStateMachine", a_request())
    assert len(asked) == 8  # more often than AWS's own trouble is given elsewhere
    assert never_started
    assert execution.output["status"] == "SIZED", execution.cause
    first = stack.entered[stack.load_tests_of(execution)[-1]]
    assert first.count("Run") == 2
    assert {"ReadReason", "NeverStarted", "WaitForStop", "LoadTestDone"} <= set(first)


@pytest.mark.faults
def test_a_measurement_that_never_completes(stack: StackUnderTest) -> None:
    stack.metrics_missing = True
    execution = stack.run("SizingStateMachine", a_request())
    assert (execution.status, execution.error) == ("FAILED", "MetricsMissing")
    assert "CPUUtilization" in execution.cause


@pytest.mark.faults
def test_scaling_that_is_refused(stack: StackUnderTest) -> None:
    operation = "UpdateEndpointWeightsAndCapacities"
    with stack.refused("sagemaker", operation, "ResourceLimitExceeded", "the limit is 1 instance"):
        execution = stack.run("SizingStateMachine", a_request())
    assert (execution.status, execution.error) == ("FAILED", "CapacityUnavailable")
    assert "the limit is 1 instance" in execution.cause


def test_a_candidate_without_capacity_leaves_it_to_the_next(stack: StackUnderTest) -> None:
    # The cheaper type can't be scaled out, so the other one is.
    operation = "UpdateEndpointWeightsAndCapacities"
    request = a_request(instance_types=["ml.m5.xlarge", "ml.c5.xlarge"])
    with stack.refused(
        "sagemaker", operation, "ResourceLimitExceeded", "no capacity", only="c5-xlarge"
    ) as refusals:
        execution = stack.run("SizingStateMachine", request)
    assert refusals
    assert execution.output["status"] == "SIZED", execution.cause
    result = stack.result(execution)
    assert result["recommendation"]["instance_type"] == "ml.m5.xlarge"
    errors = {test["error"] for test in result["candidates"][1]["load_tests"]}
    assert errors == {None, "CapacityUnavailable"}


@pytest.mark.faults
def test_a_change_of_the_count_whose_answer_was_lost(stack: StackUnderTest) -> None:
    operation = "UpdateEndpointWeightsAndCapacities"
    in_progress = "Cannot update in-progress endpoint"
    carried_out: list[Any] = []

    def carry_out(params: Any, **_: Any) -> None:
        if not carried_out:
            carried_out.append(params)
            body = json.loads(params["body"])
            stack.aws.client("sagemaker").update_endpoint_weights_and_capacities(**body)

    with (
        stack.before("sagemaker", operation, carry_out),
        stack.refused("sagemaker", operation, "ValidationException", in_progress),
    ):
        execution = stack.run("SizingStateMachine", a_request())
    assert carried_out
    assert execution.output["status"] == "SIZED", execution.cause


def test_a_quota_that_is_too_low_creates_nothing(stack: StackUnderTest) -> None:
    stack.aws.quotas.set("ml.m5.xlarge for endpoint usage", 2)
    try:
        execution = stack.run("SizingStateMachine", a_request())
        kept_to = a_request(limits={"lower_to_quota": True}, dry_run=True)
        lowered = stack.run("SizingStateMachine", kept_to)
    finally:
        stack.aws.quotas.reset()
    assert (execution.status, execution.error) == ("FAILED", "QuotaTooLow")
    assert 'the quota "ml.m5.xlarge for endpoint usage"' in execution.cause
    assert "Probes" not in execution.states
    assert subjects(stack.news(), "FAILED: QuotaTooLow")
    assert lowered.output["status"] == "DRY_RUN", lowered.cause
    [note] = stack.result(lowered)["notes"]
    assert note.startswith("limits.max_instances is 2 for ml.m5.xlarge instead of 20")


@pytest.mark.faults
def test_throttled_calls_are_repeated(stack: StackUnderTest) -> None:
    with (
        stack.refused("sagemaker", "CreateModel", "ThrottlingException", times=2) as models_,
        stack.refused("sagemaker", "DescribeEndpoint", "ThrottlingException", times=3) as looks,
    ):
        execution = stack.run("SizingStateMachine", a_request())
    assert (len(models_), len(looks)) == (2, 3)
    assert execution.output["status"] == "SIZED"


def test_a_function_that_aws_throttles_is_called_again(
    stack: StackUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe, throttled = instance_types.describe, []

    def throttled_at_first(types: Any) -> Any:
        if len(throttled) == 2:
            return describe(types)
        error = {"Error": {"Code": "RequestLimitExceeded"}}
        throttled.append(ClientError(error, "DescribeInstanceTypes"))
        raise throttled[-1]

    monkeypatch.setattr(instance_types, "describe", throttled_at_first)
    execution = stack.run("SizingStateMachine", a_request(dry_run=True))
    assert len(throttled) == 2
    assert execution.output["status"] == "DRY_RUN", execution.cause


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["model", "endpoint_config", "endpoint"])
def test_a_create_call_whose_answer_was_lost(stack: StackUnderTest, kind: str) -> None:
    # The call was carried out; the repeated one is told that it is there already.
    lost: list[Any] = []

    def carry_out(params: Any, **_: Any) -> None:
        if not lost:
            lost.append(params)
            body = json.loads(params["body"])
            getattr(stack.aws.client("sagemaker"), f"create_{kind}")(**body)

    operation = "Create" + kind.title().replace("_", "")
    with stack.before("sagemaker", operation, carry_out):
        execution = stack.run("SizingStateMachine", a_request())
    assert lost
    assert execution.output["status"] == "SIZED", execution.cause


@pytest.mark.faults
@pytest.mark.parametrize("redrives", [0, 1])
def test_a_redriven_sizing_does_not_run_into_its_former_self(
    stack: StackUnderTest, monkeypatch: pytest.MonkeyPatch, redrives: int
) -> None:
    # moto has no redrive: what is there is what a redriven execution finds, and what it is told.
    machine = stack.aws.state_machine_arn("SizingStateMachine")
    name = f"redriven-{redrives}"
    sizing = sizing_id(f"{machine.replace(':stateMachine:', ':execution:')}:{name}")
    former = f"{sizing}-ml-m5-xlarge-1-baseline-1"
    for machine in ("ProbeStateMachine", "LoadTestStateMachine"):
        stack.wait(stack.start(machine, {}, name=former))
    states_of = expressions._states

    def told(env: Any) -> dict[str, Any]:
        states = states_of(env)
        states["context"]["Execution"]["RedriveCount"] = redrives
        return states

    monkeypatch.setattr(expressions, "_states", told)
    execution = stack.wait(stack.start("SizingStateMachine", a_request(), name=name))
    if redrives:
        assert execution.output["status"] == "SIZED", execution.cause
    else:  # which only shows that it would run into it
        assert execution.status == "FAILED"
        assert former in execution.cause


def test_a_search_that_fails_ends_the_sizing(stack: StackUnderTest) -> None:
    with stack.refused("lambda", "Invoke", "AccessDeniedException", only="plan-load-test"):
        execution = stack.run("SizingStateMachine", a_request())
    assert (execution.status, execution.error) == ("FAILED", "Lambda.AccessDeniedException")
    assert {"Failed", "RecordResult", "CleanUp", "Tell"} <= set(execution.states)


@pytest.mark.faults
def test_a_result_that_cannot_be_recorded_fails_the_sizing(stack: StackUnderTest) -> None:
    with stack.refused("lambda", "Invoke", "AccessDeniedException", only="record-result"):
        execution = stack.run("SizingStateMachine", a_request())
    assert (execution.status, execution.error) == ("FAILED", "RecordResultFailed")
    assert {"CleanUp", "Tell"} <= set(execution.states)
    assert subjects(stack.news(), "FAILED")


@pytest.mark.faults
def test_what_cannot_be_removed_is_told_loudly(stack: StackUnderTest) -> None:
    with stack.refused("sagemaker", "DeleteEndpoint", "AccessDeniedException", "not allowed"):
        execution = stack.run("SizingStateMachine", a_request())
        assert (execution.status, execution.error) == ("FAILED", "CleanUpFailed")
        [left] = [name for name in stack.left() if name.startswith("endpoint/")]
        assert left.partition("/")[2] in execution.cause
        told = stack.news()
        assert subjects(told, "^NOT CLEANED UP: SIZED")
        # With what it costs to leave it there: ml.m5.xlarge is $0.23 per hour.
        line = f"{left}: 2 x ml.m5.xlarge, InService, about $0.46 per hour"
        assert any(line in text for subject, text in told if "NOT CLEANED UP" in subject)
        assert line in execution.cause
        assert subjects(told, r"NOT CLEANED UP: about \$0\.46 per hour")
        # Those that the sizing's own failure sets off fail as well, while it is not allowed.
        stack.wait_for_all("CleanUpStateMachine")
    stack.run("CleanUpStateMachine", {"sweep": True})


@pytest.mark.faults
def test_a_notification_that_fails_is_not_a_success(stack: StackUnderTest) -> None:
    with stack.refused("sns", "Publish", "AuthorizationErrorException", only="SIZED"):
        execution = stack.run("SizingStateMachine", a_request())
    assert (execution.status, execution.error) == ("FAILED", "NotificationFailed")


# --- sizing: starting where an earlier one ended ------------------------------------------------


def test_an_earlier_sizing_saves_the_baseline(stack: StackUnderTest) -> None:
    request = a_request(use_history=True, payloads={"inline": [{"body": "[2]"}]})
    first, second = (stack.run("SizingStateMachine", request) for _ in range(2))
    results = [stack.result(each) for each in (first, second)]
    assert [each["recommendation"]["instance_count"] for each in results] == [2, 2]
    assert [each["sizing"]["load_tests"] for each in results] == [2, 1]
    assert [*stack.probes_of(second)] == ["ml-m5-xlarge-2-verify-1"]
    again = stack.run("SizingStateMachine", {**request, "use_history": False})
    assert stack.result(again)["sizing"]["load_tests"] == 2


def test_a_fleet_that_began_large_is_shrunk_when_the_search_turns_away(
    stack: StackUnderTest,
) -> None:
    request = a_request(
        instance_types=["ml.m5.xlarge", "ml.c5.xlarge"],
        payloads={"inline": [{"body": "[3]"}]},
        use_history=True,
    )
    first = stack.run("SizingStateMachine", request)
    assert stack.result(first)["recommendation"]["instance_type"] == "ml.c5.xlarge"
    stack.load_tests(**{"c5-xlarge-2-verify": "failed"})
    second = stack.run("SizingStateMachine", request)
    assert stack.result(second)["recommendation"]["instance_type"] == "ml.m5.xlarge"
    assert "ShrinkFormer" in stack.probes_of(second)["ml-m5-xlarge-2-verify-2"]


# --- sizing: one per model at a time ------------------------------------------------------------

LOCK = "hugging_face/model"


def hold_lock(stack: StackUnderTest, owner: str, *, seconds: int = 3600) -> None:
    """Put a lock of the model there, as an execution that could not release it left it."""
    item = {"pk": lock.PARTITION, "sk": LOCK, "owner": owner, "sizing_id": sizing_id(owner)}
    stack.aws.client("dynamodb").put_item(
        TableName=stack.aws.stack.ref("SizingTable"),
        Item={
            **{name: {"S": value} for name, value in item.items()},
            "acquired_at": {"S": "2026-01-01T00:00:00.000Z"},
            "expires_at": {"N": str(int(time.time()) + seconds)},
        },
    )


def of_nobody(stack: StackUnderTest) -> str:
    """The ARN of an execution that there is no record of."""
    machine = stack.aws.state_machine_arn("SizingStateMachine")
    return machine.replace(":stateMachine:", ":execution:") + ":long-ago"


def test_a_second_sizing_of_the_model_runs_after_the_first(stack: StackUnderTest) -> None:
    request = a_request(use_history=True, payloads={"inline": [{"body": "[1]"}]})
    created: list[tuple[str, str]] = []

    def note(params: Any, **_: Any) -> None:
        created.append((json.loads(params["body"])["ModelName"], stack.locks()[LOCK]))

    with stack.before("sagemaker", "CreateModel", note):
        started = [stack.start("SizingStateMachine", request) for _ in range(2)]
        ended = [stack.wait(arn) for arn in started]
    first, second = sorted(ended, key=lambda each: "WaitForLock" in each.states)
    assert [each.output["status"] for each in ended] == ["SIZED", "SIZED"]
    assert "WaitForLock" not in first.states
    assert second.states.index("WaitForLock") < second.states.index("Probes")
    assert second.states.count("ResolveRequest") == 2  # what it waited for may matter to it
    assert len(created) == 2
    assert all(sizing_id(owner) in model for model, owner in created)
    results = [stack.result(each) for each in (first, second)]
    assert [each["recommendation"]["instance_count"] for each in results] == [2, 2]
    assert [each["sizing"]["load_tests"] for each in results] == [2, 1]
    # Its time counts from when it was its turn.
    assert results[0]["sizing"]["finished_at"] <= results[1]["sizing"]["started_at"]


def test_a_sizing_that_does_not_wait_leaves_the_first_alone(stack: StackUnderTest) -> None:
    stack.load_tests(baseline="hangs")
    first = stack.start("SizingStateMachine", a_request())
    stack.wait_for_task(2)
    before = stack.left()
    second = stack.run("SizingStateMachine", a_request(when_locked="FAIL"))
    assert (second.status, second.error) == ("FAILED", "Locked")
    assert f"{LOCK} is being sized by {first} since 20" in second.cause
    assert "Probes" not in second.states
    assert subjects(stack.news(), "FAILED: Locked")
    stack.wait_for_all("CleanUpStateMachine")
    assert stack.settle(until=before) == before
    assert stack.locks() == {LOCK: first}
    stack.aws.client("stepfunctions").stop_execution(executionArn=first)


def test_a_sizing_that_is_aborted_while_it_waits(stack: StackUnderTest) -> None:
    stack.load_tests(baseline="hangs")
    first = stack.start("SizingStateMachine", a_request())
    stack.wait_for_task(2)
    before = stack.left()
    second = stack.start("SizingStateMachine", a_request(), name="waits")
    stack.wait_for_state(second, "WaitForLock")
    stack.aws.client("stepfunctions").stop_execution(executionArn=second)
    assert stack.wait(second).status == "ABORTED"
    deadline = time.monotonic() + 300
    while not subjects(stack.news(), "waits ABORTED"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    stack.wait_for_all("CleanUpStateMachine")
    assert stack.settle(until=before) == before
    stack.aws.client("stepfunctions").stop_execution(executionArn=first)


def test_other_models_are_sized_meanwhile(stack: StackUnderTest) -> None:
    hold_lock(stack, of_nobody(stack))
    execution = stack.run("SizingStateMachine", a_request("half-broken"))
    assert execution.output["status"] == "SIZED"
    assert "WaitForLock" not in execution.states
    assert stack.locks() == {LOCK: of_nobody(stack)}
    swept = stack.run("CleanUpStateMachine", {"sweep": True})
    assert (swept.status, stack.locks()) == ("SUCCEEDED", {})


@pytest.mark.faults
@pytest.mark.parametrize("when_locked", ["WAIT", "FAIL"])
def test_an_owner_that_has_ended_keeps_nobody_waiting(
    stack: StackUnderTest, when_locked: str
) -> None:
    ended = stack.run("SizingStateMachine", a_request(dry_run=True)).arn
    hold_lock(stack, ended if when_locked == "WAIT" else of_nobody(stack))
    execution = stack.run("SizingStateMachine", a_request(when_locked=when_locked))
    assert execution.output["status"] == "SIZED", execution.cause
    after_owner = f"{sizing_id(execution.arn)}-after-"
    assert any(after_owner in arn for arn in stack.executions("CleanUpStateMachine"))


@pytest.mark.faults
def test_nor_does_one_that_can_not_be_cleaned_up(stack: StackUnderTest) -> None:
    hold_lock(stack, of_nobody(stack))
    denied = stack.refused("dynamodb", "DeleteItem", "AccessDeniedException", only=":long-ago")
    with denied:
        execution = stack.run("SizingStateMachine", a_request())
    assert execution.output["status"] == "SIZED", execution.cause
    assert subjects(stack.news(), "NOT CLEANED UP")


def test_a_lock_that_has_expired_is_free(stack: StackUnderTest) -> None:
    hold_lock(stack, of_nobody(stack), seconds=-1)
    execution = stack.run("SizingStateMachine", a_request(when_locked="FAIL"))
    assert execution.output["status"] == "SIZED", execution.cause
    assert "WaitForLock" not in execution.states


@pytest.mark.faults
def test_a_lock_that_was_taken_though_the_answer_was_lost(stack: StackUnderTest) -> None:
    lost: list[Any] = []

    def carry_out(params: Any, **_: Any) -> None:
        if not lost:
            lost.append(params)
            stack.aws.client("dynamodb").put_item(**json.loads(params["body"]))

    with stack.before("dynamodb", "PutItem", carry_out):
        execution = stack.run("SizingStateMachine", a_request(when_locked="FAIL"))
    assert lost
    assert execution.output["status"] == "SIZED", execution.cause


def test_without_its_lock_a_sizing_creates_nothing(stack: StackUnderTest) -> None:
    with stack.refused("dynamodb", "PutItem", "AccessDeniedException", "not allowed"):
        execution = stack.run("SizingStateMachine", a_request())
    assert (execution.status, execution.error) == ("FAILED", "AccessDenied")
    assert "Probes" not in execution.states


# --- clean_up -----------------------------------------------------------------------------------


def test_an_aborted_sizing_is_cleaned_up_and_told(stack: StackUnderTest) -> None:
    stack.load_tests(baseline="hangs")
    arn = stack.start("SizingStateMachine", a_request(), name="to-be-aborted")
    stack.wait_for_task(2)
    stack.aws.client("stepfunctions").stop_execution(executionArn=arn)
    assert stack.wait(arn).status == "ABORTED"
    assert stack.settle() == []
    [(subject, text)] = [each for each in stack.news() if "to-be-aborted" in each[0]]
    assert "ABORTED" in subject
    assert "removed" in text
    [load_test] = stack.load_tests_of(stack.wait(arn))
    assert stack.wait(load_test).status == "ABORTED"
    [probe] = stack.probes_of(stack.wait(arn))
    assert stack.wait(load_test.replace("-load-test:", "-probe:")).status == "ABORTED", probe


def test_an_endpoint_in_progress_is_waited_for(stack: StackUnderTest) -> None:
    arn = stack.start("SizingStateMachine", a_request("slow-start"))
    stack.wait_for_endpoint(arn, "Creating")
    stack.aws.client("stepfunctions").stop_execution(executionArn=arn)
    clean_up = stack.wait_for_new("CleanUpStateMachine")
    stack.wait_for_state(clean_up, "WaitForDeletion")
    [endpoint] = [name for name in stack.left() if name.startswith("endpoint/")]
    # What it needs is kept as long as it is being created.
    assert any(name.startswith("endpoint-config/") for name in stack.left())
    stack.finish_creating(endpoint.partition("/")[2])
    execution = stack.wait(clean_up)
    assert (execution.status, execution.states[-1]) == ("SUCCEEDED", "CleanedUp")


def test_the_sweep_leaves_a_sizing_that_runs_alone(stack: StackUnderTest) -> None:
    stack.load_tests(baseline="hangs")
    arn = stack.start("SizingStateMachine", a_request())
    stack.wait_for_task(2)
    before = stack.left()
    swept = stack.run("CleanUpStateMachine", {"sweep": True})
    assert (swept.status, swept.output) == ("SUCCEEDED", {"rounds": 0})
    assert stack.left() == before
    stack.aws.client("stepfunctions").stop_execution(executionArn=arn)


@pytest.mark.faults
def test_everything_that_refuses_to_go_is_a_problem(stack: StackUnderTest) -> None:
    stack.load_tests(baseline="hangs")
    arn = stack.start("SizingStateMachine", a_request())
    stack.wait_for_task(2)
    with ExitStack() as refusals:
        for service, operation in (
            ("stepfunctions", "StopExecution"),
            ("ecs", "StopTask"),
            ("sagemaker", "DeleteEndpoint"),
            ("sagemaker", "DeleteEndpointConfig"),
            ("sagemaker", "DeleteModel"),
        ):
            refusals.enter_context(
                stack.refused(service, operation, "AccessDeniedException", "not allowed")
            )
        execution = stack.run("CleanUpStateMachine", {"sizing_id": sizing_id(arn)})
        assert (execution.status, execution.error) == ("FAILED", "CleanUpFailed")
        assert execution.cause.count("not allowed") >= 5
        assert subjects(stack.news(), "NOT CLEANED UP")
    stack.aws.client("stepfunctions").stop_execution(executionArn=arn)


def test_a_clean_up_that_cannot_look_says_so(stack: StackUnderTest) -> None:
    with stack.refused("lambda", "Invoke", "AccessDeniedException", only="remove-leftovers"):
        execution = stack.run("CleanUpStateMachine", {"sweep": True})
    assert (execution.status, execution.error) == ("FAILED", "CleanUpFailed")
    assert "RemoveLeftovers" in execution.cause


# --- nightly ------------------------------------------------------------------------------------


@pytest.fixture
def profiles(stack: StackUnderTest) -> Iterator[Any]:
    """Writes profiles, each with an approved package of its group; removes them at the end."""
    ssm, sagemaker = stack.aws.client("ssm"), stack.aws.client("sagemaker")
    written: list[str] = []

    def write(group: str, content: str) -> str:
        written.append(f"{PROFILES_PATH}/{group}")
        ssm.put_parameter(Name=written[-1], Value=content, Type="String")
        return models.register_package(sagemaker, group)

    yield write
    for name in written:
        ssm.delete_parameter(Name=name)


def test_every_profile_is_sized_at_night(stack: StackUnderTest, profiles: Any) -> None:
    profiles("model", json.dumps(PROFILE))
    execution = stack.run("NightlyStateMachine", {})
    assert execution.status == "SUCCEEDED", execution.cause
    [sizing] = execution.output["sizings"]
    assert (sizing["profile"], sizing["status"], sizing["change"]) == ("model", "SIZED", "first")
    assert execution.output["cost_usd"] == pytest.approx(sizing["sizing_cost_usd"], abs=1e-4)
    # One message for all, and none of the sizing's own.
    [(subject, text)] = stack.news()
    assert subject == "Endpoint sizing: 1 first of 1 profile"
    assert "model: SIZED; 2 x ml.m5.xlarge" in text


def test_a_bad_profile_does_not_keep_the_others_from_being_sized(
    stack: StackUnderTest, profiles: Any
) -> None:
    profiles("model", json.dumps(PROFILE))
    profiles("not-json", "{")
    profiles("paused", json.dumps({**PROFILE, "enabled": False}))
    profiles("no-such-type", json.dumps({**PROFILE, "instance_types": ["ml.x9.large"]}))
    execution = stack.run("NightlyStateMachine", {})
    assert (execution.status, execution.error) == ("FAILED", "SizingsFailed")
    assert "not-json: profile: must be a JSON object" in execution.cause
    assert "no-such-type: InvalidRequest: instance_types" in execution.cause
    [(subject, text)] = stack.news()
    assert subject.startswith("Endpoint sizing: 2 FAILED, 1 ")
    assert subject.endswith(" 1 SKIPPED of 4 profiles")
    assert "paused: SKIPPED; paused" in text


def test_without_profiles_the_night_is_quiet(stack: StackUnderTest) -> None:
    execution = stack.run("NightlyStateMachine", {})
    assert (execution.status, execution.output) == ("SUCCEEDED", {"sizings": [], "cost_usd": 0})
    assert stack.news() == []


def approved(stack: StackUnderTest, group: str, package: str, **more: Any) -> str:
    """The event of an approved package; returns the execution that it starts."""
    detail = {
        "ModelPackageGroupName": group,
        "ModelPackageArn": package,
        "ModelPackageStatus": "Completed",
        "ModelApprovalStatus": "Approved",
        **more,
    }
    before = set(stack.executions("NightlyStateMachine"))
    for status in ("Rejected", "Approved"):
        event = {**detail, "ModelApprovalStatus": status}
        events.publish("aws.sagemaker", "SageMaker Model Package State Change", event)
    [started] = set(stack.executions("NightlyStateMachine")) - before
    return started


def test_an_approved_package_is_sized_with_its_groups_profile(
    stack: StackUnderTest, profiles: Any
) -> None:
    package = profiles("model", json.dumps(PROFILE))
    before = len(stack.executions("SizingStateMachine"))
    of_status = {"UpdatedModelPackageFields": ["ModelApprovalStatus"]}
    execution = stack.wait(approved(stack, "model", package, **of_status))
    assert execution.output["sizings"][0]["status"] == "SIZED"
    # What else is changed of it starts nothing, also where the event does not say what that was.
    again = stack.wait(approved(stack, "model", package))
    assert again.output["sizings"][0]["status"] == "SKIPPED"
    assert len(stack.executions("SizingStateMachine")) == before + 1
    # The sizing has told of itself, and nobody needs to hear of the rest.
    [(subject, _)] = stack.news()
    assert subject.startswith("SIZED: 2 x ")
    [sizing, *_] = stack.executions("SizingStateMachine")
    described = stack.aws.client("stepfunctions").describe_execution(executionArn=sizing)
    assert json.loads(described["input"])["model"] == {"model_package_arn": package}
    # Where the answer is found by the group's name, and by the package's.
    ssm, sagemaker = stack.aws.client("ssm"), stack.aws.client("sagemaker")
    answer = ssm.get_parameter(Name="/endpoint-sizer/answers/model")["Parameter"]["Value"]
    assert json.loads(answer)["package_arn"] == package
    written = sagemaker.describe_model_package(ModelPackageName=package)
    assert written["CustomerMetadataProperties"]["endpoint-sizer:instance-count"] == "2"
    assert written["ModelApprovalStatus"] == "Approved"


def test_an_approved_package_without_a_profile_is_skipped(stack: StackUnderTest) -> None:
    package = models.register_package(stack.aws.client("sagemaker"), "without-profile")
    execution = stack.wait(approved(stack, "without-profile", package))
    assert (execution.status, execution.output) == ("SUCCEEDED", {"sizings": [], "cost_usd": 0})
    assert stack.news() == []


def test_profiles_that_cannot_be_read_fail_the_night(stack: StackUnderTest) -> None:
    with stack.refused("ssm", "GetParametersByPath", "AccessDeniedException", "not allowed"):
        execution = stack.run("NightlyStateMachine", {})
    assert (execution.status, execution.error) == ("FAILED", "AccessDenied")
    # It could not speak for itself.
    [(_, text)] = stack.news()
    assert text.startswith(
        '"arn:aws:states:us-east-1:123456789012:execution:endpoint-sizer-nightly:'
    )
    assert " is FAILED. Its cause says what is left" in text


def test_a_night_of_which_nobody_can_be_told_fails(stack: StackUnderTest, profiles: Any) -> None:
    profiles("not-json", "{")
    with stack.refused("sns", "Publish", "AuthorizationErrorException"):
        execution = stack.run("NightlyStateMachine", {})
    assert (execution.status, execution.error) == ("FAILED", "NobodyWasTold")
    assert execution.cause.startswith("the message was not sent: ")
    assert "not-json: profile: must be" in execution.cause


# --- All of them --------------------------------------------------------------------------------


def test_every_state_of_every_machine_was_entered(
    whole_stack: StackUnderTest, request: pytest.FixtureRequest
) -> None:
    here = [item for item in request.session.items if item.path == Path(__file__)]
    defined = {
        name
        for name, test in globals().items()
        if name.startswith("test_")
        and not any(mark.name == "faults" for mark in getattr(test, "pytestmark", ()))
    }
    if {item.originalname for item in here if isinstance(item, pytest.Function)} != defined:
        pytest.skip("needs all tests of this file")
    for machine in whole_stack.aws.stack.state_machines():
        entered = {
            state
            for arn, states in whole_stack.entered.items()
            if f":{machine.name}:" in arn
            for state in states
        }
        assert all_states(machine.definition) - entered == set(), machine.name
