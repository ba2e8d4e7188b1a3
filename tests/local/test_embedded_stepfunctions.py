"""The interpreter answers as Step Functions does, where the shipped machines rely on it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.local.machines import DONE, output, start, task
from tests.statemachine.stack import StackUnderTest, stack_under_test


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackUnderTest]:
    with stack_under_test(tmp_path_factory.mktemp("stack")) as running:
        yield running


# --- Variables and expressions ------------------------------------------------------------------


def test_variables_hold_any_string(stack: StackUnderTest) -> None:
    text = "quotes \" ' \\ and\nlines, and {% a delimiter %}"
    states = {
        "Set": {"Type": "Pass", "Assign": {"text": "{% $states.input.text %}"}, "Next": "Use"},
        "Use": {"Type": "Pass", "Output": {"same": "{% $text %}", "null": None}, "End": True},
    }
    assert output(stack, states, {"text": text}) == {"same": text, "null": None}


def test_output_sees_the_old_value_of_a_variable_that_the_state_assigns(
    stack: StackUnderTest,
) -> None:
    states = {
        "First": {"Type": "Pass", "Assign": {"x": 1}, "Next": "Second"},
        "Second": {
            "Type": "Pass",
            "Assign": {"x": 2, "y": "{% $x %}"},
            "Output": "{% $x %}",
            "Next": "Third",
        },
        "Third": {
            "Type": "Pass",
            "Output": {"before": "{% $states.input %}", "x": "{% $x %}", "y": "{% $y %}"},
            "End": True,
        },
    }
    assert output(stack, states) == {"before": 1, "x": 2, "y": 1}


def test_iterations_read_outer_variables(stack: StackUnderTest) -> None:
    states = {
        "Set": {"Type": "Pass", "Assign": {"factor": 3}, "Next": "Each"},
        "Each": {
            "Type": "Map",
            "Items": "{% [1..4] %}",
            "MaxConcurrency": 2,
            "ItemProcessor": {
                "ProcessorConfig": {"Mode": "INLINE"},
                "StartAt": "Times",
                "States": {
                    "Times": {
                        "Type": "Pass",
                        "Output": "{% $states.input * $factor %}",
                        "End": True,
                    }
                },
            },
            "End": True,
        },
    }
    assert output(stack, states) == [3, 6, 9, 12]


def test_the_context_tells_the_execution(stack: StackUnderTest) -> None:
    seen = output(
        stack,
        {
            "Look": {
                "Type": "Pass",
                "Output": {
                    "name": "{% $states.context.Execution.Name %}",
                    "id": "{% $states.context.Execution.Id %}",
                    "age": "{% $millis() - $toMillis($states.context.Execution.StartTime) %}",
                    "state": "{% $states.context.State.Name %}",
                },
                "End": True,
            }
        },
    )
    assert seen["id"].endswith(f":{seen['name']}")
    assert seen["name"] != "None"
    assert 0 <= seen["age"] < 10_000
    assert seen["state"] == "Look"


@pytest.mark.parametrize("expression", ["{% $missing %}", "{% $states.input.a.b.c %}", "{% 1 + %}"])
def test_a_query_that_gives_nothing_is_named_and_caught(
    stack: StackUnderTest, expression: str
) -> None:
    states = {
        "Ask": task(
            "lambda:invoke",
            {"FunctionName": "x", "Payload": expression},
            Catch=[
                {
                    "ErrorEquals": ["States.QueryEvaluationError"],
                    "Output": "{% $states.errorOutput.Error %}",
                    "Next": "Done",
                }
            ],
        ),
        "Done": DONE,
    }
    assert output(stack, states) == "States.QueryEvaluationError"


# --- Errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "resource, arguments, error",
    [
        (
            "aws-sdk:sagemaker:describeEndpoint",
            {"EndpointName": "none"},
            "SageMaker.SageMakerException",
        ),
        ("aws-sdk:ssm:getParameter", {"Name": "/none"}, "Ssm.ParameterNotFoundException"),
        ("aws-sdk:s3:getObject", {"Bucket": "none-here", "Key": "x"}, "S3.NoSuchBucketException"),
        (
            "aws-sdk:ecs:stopTask",
            {"Cluster": "none", "Task": "x"},
            "Ecs.ClusterNotFoundException",
        ),
        (
            "ecs:runTask.sync",
            {"Cluster": "none", "TaskDefinition": "x"},
            "ECS.ClusterNotFoundException",
        ),
        (
            "lambda:invoke",
            {"FunctionName": "none", "Payload": {}},
            "Lambda.ResourceNotFoundException",
        ),
    ],
)
def test_errors_of_services_have_the_names_that_step_functions_gives_them(
    stack: StackUnderTest, resource: str, arguments: dict[str, Any], error: str
) -> None:
    states = {
        "Call": task(
            resource,
            arguments,
            Catch=[
                {
                    "ErrorEquals": ["States.ALL"],
                    "Output": "{% $states.errorOutput.Error %}",
                    "Next": "Done",
                }
            ],
        ),
        "Done": DONE,
    }
    assert output(stack, states) == error


def test_a_functions_error_has_its_class_as_name(stack: StackUnderTest) -> None:
    name = next(each.name for each in stack.aws.stack.functions() if "resolve" in each.name)
    arguments = {
        "FunctionName": name,
        "Payload": {
            "execution": {"arn": "a:b:c:d:123456789012:x", "started_at": "2026-01-01T00:00:00Z"},
            "request": {"colour": "red"},
        },
    }
    execution = stack.wait(start(stack, {"Call": task("lambda:invoke", arguments)}))
    assert (execution.status, execution.error) == ("FAILED", "InvalidRequest")
    assert json.loads(execution.cause)["errorMessage"].startswith("colour: unknown field")


@pytest.mark.parametrize(
    "caught, status",
    [
        ("States.ALL", "SUCCEEDED"),
        ("States.TaskFailed", "SUCCEEDED"),
        ("Other", "FAILED"),
    ],
)
def test_wildcards_match_any_error(stack: StackUnderTest, caught: str, status: str) -> None:
    states = {
        "Call": task(
            "aws-sdk:ssm:getParameter",
            {"Name": "/none"},
            Catch=[{"ErrorEquals": [caught], "Next": "Done"}],
        ),
        "Done": DONE,
    }
    assert stack.wait(start(stack, states)).status == status


def test_nothing_catches_a_call_that_the_api_does_not_have(stack: StackUnderTest) -> None:
    # On AWS this is refused when the machine is made, or States.Runtime: never caught.
    states = {
        "Call": task(
            "aws-sdk:sagemaker:describeEndpoint",
            {"EndpointName": "a", "Colour": "red"},
            Catch=[{"ErrorEquals": ["States.ALL"], "Next": "Done"}],
        ),
        "Done": DONE,
    }
    execution = stack.wait(start(stack, states))
    assert (execution.status, execution.error) == ("FAILED", "States.Runtime")
    assert "Colour" in execution.cause


def endpoint_config(**fields: Any) -> dict[str, Any]:
    name = "test-sdk"
    return {"EndpointConfigName": name, "ProductionVariants": [{"VariantName": "v"}], **fields}


@pytest.mark.parametrize(
    "action, arguments, unsupported",
    [
        ("createEndpointConfig", endpoint_config(MetricsConfig={}), 'field "MetricsConfig"'),
        (
            "createEndpointConfig",
            endpoint_config(ProductionVariants=[{"VariantName": "v", "NewerThanThat": 1}]),
            'field "NewerThanThat"',
        ),
        ("deleteEndpoint", {"EndpointName": "none"}, "sagemaker:deleteEndpoint"),
    ],
)
def test_nothing_catches_what_the_sdk_of_step_functions_may_not_know(
    stack: StackUnderTest, action: str, arguments: dict[str, Any], unsupported: str
) -> None:
    catch = [{"ErrorEquals": ["States.ALL"], "Next": "Done"}]
    call = task(f"aws-sdk:sagemaker:{action}", arguments, Catch=catch)
    execution = stack.wait(start(stack, {"Call": call, "Done": DONE}))
    assert (execution.status, execution.error) == ("FAILED", "States.Runtime")
    assert unsupported in execution.cause


@pytest.mark.parametrize("kind", ["Parallel", "Map"])
def test_an_error_keeps_its_name_on_the_way_out(stack: StackUnderTest, kind: str) -> None:
    inner = {
        "StartAt": "Ask",
        "States": {"Ask": {"Type": "Pass", "Output": "{% $missing %}", "End": True}},
    }
    outer: dict[str, Any] = {
        "Parallel": {"Branches": [inner]},
        "Map": {
            "Items": [1],
            "ItemProcessor": {"ProcessorConfig": {"Mode": "INLINE"}, **inner},
        },
    }[kind]
    catch = {
        "ErrorEquals": ["States.QueryEvaluationError"],
        "Output": "{% $states.errorOutput.Error %}",
        "Next": "Done",
    }
    states = {"Outer": {"Type": kind, **outer, "Catch": [catch], "End": True}, "Done": DONE}
    assert output(stack, states) == "States.QueryEvaluationError"


# --- Retries, waits, time-outs ------------------------------------------------------------------


def test_retries_wait_less_in_tests_and_end_with_the_execution(stack: StackUnderTest) -> None:
    retry = [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 100, "MaxAttempts": 3}]
    states = {"Call": task("aws-sdk:ssm:getParameter", {"Name": "/none"}, Retry=retry)}
    with stack.refused("ssm", "GetParameter", "Unlucky") as refused:
        assert stack.wait(start(stack, states)).error == "Ssm.SsmException"
    assert len(refused) == 4

    long = {**retry[0], "IntervalSeconds": 1_000_000}  # some 2,000 s, however scaled
    states = {"Call": task("aws-sdk:ssm:getParameter", {"Name": "/none"}, Retry=[long])}
    arn = start(stack, states)
    stack.wait_for_state(arn, "Call")
    stack.aws.client("stepfunctions").stop_execution(executionArn=arn)
    assert stack.wait(arn, seconds=5).status == "ABORTED"


def test_a_stopped_execution_does_not_wait_on(stack: StackUnderTest) -> None:
    arn = start(stack, {"Wait": {"Type": "Wait", "Seconds": 1_000_000, "End": True}})
    stack.wait_for_state(arn, "Wait")
    stack.aws.client("stepfunctions").stop_execution(executionArn=arn)
    assert stack.wait(arn, seconds=5).status == "ABORTED"


def test_a_machine_times_out(stack: StackUnderTest) -> None:
    wait = {"Wait": {"Type": "Wait", "Seconds": 1_000_000, "End": True}}
    assert stack.wait(start(stack, wait, TimeoutSeconds=1), seconds=10).status == "TIMED_OUT"


# --- Jobs ---------------------------------------------------------------------------------------


def run_task(stack: StackUnderTest, load_test_id: str, role: str) -> dict[str, Any]:
    environment = {
        "LOAD_TEST_URI": f"s3://{stack.aws.stack.ref('ResultsBucket')}/{load_test_id}/",
        "LOAD_TEST_ROLE": role,
    }
    stack.aws.client("s3").put_object(
        Bucket=stack.aws.stack.ref("ResultsBucket"),
        Key=f"{load_test_id}/spec.json",
        Body=json.dumps({"load_test_id": load_test_id, "endpoint_name": "any"}),
    )
    override = {
        "Name": "load-generator",
        "Environment": [{"Name": name, "Value": value} for name, value in environment.items()],
    }
    return task(
        "ecs:runTask.sync",
        {
            "Cluster": stack.aws.stack.arn("Cluster"),
            "TaskDefinition": stack.aws.stack.ref("LoadTestTaskDefinition"),
            "LaunchType": "FARGATE",
            "Overrides": {"ContainerOverrides": [override], "Cpu": "2048"},
            "Tags": [{"Key": "purpose", "Value": "test"}],
        },
    )


def test_a_task_that_ends_well_gives_its_description(stack: StackUnderTest) -> None:
    stack.load_tests(good="ok")
    described = output(stack, {"Run": run_task(stack, "good", "worker")})
    assert described["LastStatus"] == "STOPPED"
    assert described["Containers"][0]["ExitCode"] == 0
    assert described["Cpu"] == "2048"
    assert described["Tags"] == [{"Key": "purpose", "Value": "test"}]
    assert described["StoppedAt"].endswith("Z")


def test_a_task_that_fails_fails_its_state_with_itself_as_the_cause(stack: StackUnderTest) -> None:
    stack.load_tests(bad="killed")
    execution = stack.wait(start(stack, {"Run": run_task(stack, "bad", "worker")}))
    assert execution.error == "States.TaskFailed"
    described = json.loads(execution.cause)
    assert described["Containers"][0]["ExitCode"] == 137
    assert described["StoppedReason"] == "Essential container in task exited"


def test_a_task_that_finds_no_place_is_named_as_on_aws(stack: StackUnderTest) -> None:
    answer = {"tasks": [], "failures": [{"reason": "RESOURCE:CPU"}], "ResponseMetadata": {}}
    http = SimpleNamespace(status_code=200)
    with stack.before("ecs", "RunTask", lambda **_: (http, answer)):
        execution = stack.wait(start(stack, {"Run": run_task(stack, "none", "worker")}))
    assert execution.error == "AmazonECS.Unknown"
    assert "RESOURCE:CPU" in execution.cause


def test_a_failure_stops_the_jobs_beside_it(stack: StackUnderTest) -> None:
    stack.load_tests(slow="hangs", bad="killed")
    branches = [
        {"StartAt": name, "States": {name: run_task(stack, name, role)}}
        for name, role in (("slow", "leader"), ("bad", "worker"))
    ]
    states = {"Both": {"Type": "Parallel", "Branches": branches, "End": True}}
    assert stack.wait(start(stack, states)).error == "States.TaskFailed"
    assert none_running(stack)


def test_stopping_an_execution_stops_its_jobs(stack: StackUnderTest) -> None:
    stack.load_tests(slow="hangs")
    inner = start(stack, {"Run": run_task(stack, "slow", "leader")})
    machine = stack.aws.client("stepfunctions").describe_execution(executionArn=inner)
    stack.aws.client("stepfunctions").stop_execution(executionArn=inner)
    assert stack.wait(inner).status == "ABORTED"  # however soon it was told
    arguments = {"StateMachineArn": machine["stateMachineArn"], "Input": {}}
    outer = start(stack, {"Nested": task("states:startExecution.sync:2", arguments)})
    deadline = time.monotonic() + 120
    while not stack.aws.tasks.running() and time.monotonic() < deadline:
        time.sleep(0.05)
    stack.aws.client("stepfunctions").stop_execution(executionArn=outer)
    assert stack.wait(outer).status == "ABORTED"
    assert none_running(stack)


def none_running(stack: StackUnderTest, seconds: float = 120) -> bool:
    deadline = time.monotonic() + seconds
    while stack.aws.tasks.running():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_a_nested_execution_gives_its_output_as_json(stack: StackUnderTest) -> None:
    inner = start(stack, {"Give": {"Type": "Pass", "Output": {"a": [1]}, "End": True}})
    machine = stack.aws.client("stepfunctions").describe_execution(executionArn=inner)
    arguments = {"StateMachineArn": machine["stateMachineArn"], "Input": {"x": 1}, "Name": "named"}
    nested = task(
        "states:startExecution.sync:2",
        arguments,
        Output={"output": "{% $states.result.Output %}", "name": "{% $states.result.Name %}"},
    )
    assert output(stack, {"Nested": nested}) == {"output": {"a": [1]}, "name": "named"}


def test_names_of_executions_are_taken_once(stack: StackUnderTest) -> None:
    states = {
        "Give": {
            "Type": "Pass",
            "Output": {"started": "{% $states.context.Execution.Input.started %}"},
            "End": True,
        }
    }
    client = stack.aws.client("stepfunctions")
    arn = start(stack, states, {"started": 1})
    machine = client.describe_execution(executionArn=arn)["stateMachineArn"]
    client.start_execution(stateMachineArn=machine, name="once", input='{"started": 2}')
    with pytest.raises(client.exceptions.ExecutionAlreadyExists):
        client.start_execution(stateMachineArn=machine, name="once", input='{"started": 3}')


def test_a_history_is_read_from_either_end_and_by_pages(stack: StackUnderTest) -> None:
    states = {"Give": {"Type": "Pass", "End": True}}
    arn = start(stack, states, {})
    assert stack.wait(arn).status == "SUCCEEDED"
    history = stack.aws.client("stepfunctions").get_execution_history
    whole = [each["id"] for each in history(executionArn=arn)["events"]]
    assert len(whole) == 4
    page = history(executionArn=arn, reverseOrder=True, maxResults=3)
    rest = history(executionArn=arn, reverseOrder=True, nextToken=page["nextToken"])
    assert [each["id"] for each in page["events"] + rest["events"]] == whole[::-1]
    assert "nextToken" not in rest
