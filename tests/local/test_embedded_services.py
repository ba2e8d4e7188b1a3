"""Endpoints, tasks, rules and processes of the embedded AWS."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.s3.models import FakeKey

from local import events
from local.ecs import Task
from tests.statemachine.stack import StackUnderTest, stack_under_test

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackUnderTest]:
    with stack_under_test(tmp_path_factory.mktemp("stack")) as running:
        yield running


def eventually(holds: Callable[[], bool], seconds: float = 120) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


# --- SageMaker ----------------------------------------------------------------------------------


def create(stack: StackUnderTest, name: str, model_id: str, **variant: Any) -> None:
    sagemaker = stack.aws.client("sagemaker")
    container = {"Image": "image", "Environment": {"HF_MODEL_ID": model_id}}
    sagemaker.create_model(ModelName=name, PrimaryContainer=container)
    sagemaker.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[
            {
                "VariantName": "AllTraffic",
                "ModelName": name,
                "InstanceType": "ml.c7i.xlarge",
                "InitialInstanceCount": 1,
                **variant,
            }
        ],
        MetricsConfig={"MetricPublishFrequencyInSeconds": 10},
    )
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)


def status(stack: StackUnderTest, name: str) -> str:
    return str(stack.aws.client("sagemaker").describe_endpoint(EndpointName=name)["EndpointStatus"])


def remove(stack: StackUnderTest, name: str) -> None:
    sagemaker = stack.aws.client("sagemaker")
    sagemaker.delete_endpoint(EndpointName=name)
    sagemaker.delete_endpoint_config(EndpointConfigName=name)
    sagemaker.delete_model(ModelName=name)


def refusal(call: Callable[..., Any], **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    return str(caught.value.response["Error"]["Message"])


def test_an_endpoint_is_created_scaled_and_deleted(stack: StackUnderTest) -> None:
    sagemaker = stack.aws.client("sagemaker")
    create(stack, "one", "model")
    assert eventually(lambda: status(stack, "one") == "InService")

    answer = stack.aws.client("sagemaker-runtime").invoke_endpoint(EndpointName="one", Body=b"{}")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200

    sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="one",
        DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredInstanceCount": 3}],
    )
    assert eventually(lambda: status(stack, "one") == "InService")
    [variant] = sagemaker.describe_endpoint(EndpointName="one")["ProductionVariants"]
    assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]) == (3, 3)

    config = sagemaker.describe_endpoint_config(EndpointConfigName="one")
    assert config["MetricsConfig"] == {"MetricPublishFrequencyInSeconds": 10}

    remove(stack, "one")
    assert "Could not find endpoint" in refusal(sagemaker.describe_endpoint, EndpointName="one")
    assert stack.aws.endpoints.status("one") is None


def test_an_endpoint_in_progress_refuses_changes(stack: StackUnderTest) -> None:
    sagemaker = stack.aws.client("sagemaker")
    create(stack, "slow", "slow-start")
    assert status(stack, "slow") == "Creating"
    desired = [{"VariantName": "AllTraffic", "DesiredInstanceCount": 2}]
    for call, arguments in (
        (sagemaker.delete_endpoint, {}),
        (
            sagemaker.update_endpoint_weights_and_capacities,
            {"DesiredWeightsAndCapacities": desired},
        ),
    ):
        said = refusal(call, EndpointName="slow", **arguments)
        assert "Cannot update in-progress endpoint" in said
    stack.aws.endpoints.delete("slow")  # it would take an hour


def test_an_endpoint_that_cannot_start_fails_with_its_reason(stack: StackUnderTest) -> None:
    create(stack, "failing", "broken")
    assert eventually(lambda: status(stack, "failing") == "Failed")
    described = stack.aws.client("sagemaker").describe_endpoint(EndpointName="failing")
    assert described["FailureReason"] == "the container did not answer /ping"
    remove(stack, "failing")


def test_a_model_that_the_models_file_does_not_know_fails_and_says_so(
    stack: StackUnderTest,
) -> None:
    create(stack, "unknown", "unheard-of")
    assert eventually(lambda: status(stack, "unknown") == "Failed")
    described = stack.aws.client("sagemaker").describe_endpoint(EndpointName="unknown")
    assert "is not in" in described["FailureReason"]
    remove(stack, "unknown")


def test_the_stack_tells_its_outputs(stack: StackUnderTest) -> None:
    describe = stack.aws.client("cloudformation").describe_stacks
    [described] = describe(StackName="endpoint-sizer")["Stacks"]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in described["Outputs"]}
    assert outputs["SizingStateMachineArn"] == stack.aws.state_machine_arn("SizingStateMachine")
    assert outputs["ProfilesPath"] == "/endpoint-sizer/profiles"
    with pytest.raises(ClientError, match="Stack with id other does not exist"):
        describe(StackName="other")


def test_names_are_taken_once(stack: StackUnderTest) -> None:
    sagemaker = stack.aws.client("sagemaker")
    create(stack, "twice", "model")
    assert "already existing model" in refusal(sagemaker.create_model, ModelName="twice")
    variant = {"VariantName": "v", "ModelName": "twice", "InstanceType": "ml.m5.large"}
    for call, arguments in (
        (
            sagemaker.create_endpoint_config,
            {"EndpointConfigName": "twice", "ProductionVariants": [variant]},
        ),
        (sagemaker.create_endpoint, {"EndpointName": "twice", "EndpointConfigName": "twice"}),
    ):
        assert "already existing" in refusal(call, **arguments)
    assert eventually(lambda: status(stack, "twice") == "InService")
    remove(stack, "twice")


# --- Tasks --------------------------------------------------------------------------------------


def run_task(stack: StackUnderTest, name: str, role: str = "leader") -> Task:
    bucket = stack.aws.stack.ref("ResultsBucket")
    stack.aws.client("s3").put_object(
        Bucket=bucket,
        Key=f"{name}/spec.json",
        Body=json.dumps({"load_test_id": name, "endpoint_name": "any"}),
    )
    environment = {"LOAD_TEST_URI": f"s3://{bucket}/{name}/", "LOAD_TEST_ROLE": role}
    override = {
        "name": "load-generator",
        "environment": [{"name": key, "value": value} for key, value in environment.items()],
    }
    answer = stack.aws.client("ecs").run_task(
        cluster=stack.aws.stack.ref("Cluster"),
        taskDefinition=stack.aws.stack.ref("LoadTestTaskDefinition"),
        launchType="FARGATE",
        overrides={"containerOverrides": [override], "cpu": "4096", "memory": "8192"},
        tags=[{"key": "of", "value": name}],
    )
    task = stack.aws.tasks.get(answer["tasks"][0]["taskArn"].rpartition("/")[2])
    assert task is not None
    return task


def environment_of(task: Task) -> dict[str, str]:
    """The environment of the process that the guard has started."""
    children = Path(f"/proc/{task.process.pid}/task/{task.process.pid}/children")
    assert eventually(lambda: bool(children.read_text().split()))
    text = Path(f"/proc/{children.read_text().split()[0]}/environ").read_text()
    return dict(pair.split("=", 1) for pair in text.split("\0") if pair)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_task_is_told_about_itself_as_on_fargate(stack: StackUnderTest) -> None:
    stack.load_tests(told="hangs")
    tasks = [run_task(stack, "told") for _ in range(2)]
    environment = environment_of(tasks[0])
    uri = environment["ECS_CONTAINER_METADATA_URI_V4"]
    with urllib.request.urlopen(uri) as answer:
        container = json.load(answer)
    with urllib.request.urlopen(f"{uri}/task") as answer:
        task = json.load(answer)
    with urllib.request.urlopen(environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"]) as answer:
        assert {"AccessKeyId", "SecretAccessKey", "Token", "Expiration"} <= set(json.load(answer))
    [address] = container["Networks"][0]["IPv4Addresses"]
    assert address.startswith("127.")
    assert address != tasks[1].address
    assert task["Limits"] == {"CPU": 4.0, "Memory": 8192}
    assert environment["AWS_REGION"] == "us-east-1"
    assert environment["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"] == stack.aws.endpoints.url
    assert "AWS_ACCESS_KEY_ID" not in environment
    for each in tasks:
        stack.aws.tasks.stop(each, reason="done")
    assert eventually(lambda: not stack.aws.tasks.running())


def test_tasks_are_found_by_their_tags_and_stopped(stack: StackUnderTest) -> None:
    stack.load_tests(found="hangs")
    task = run_task(stack, "found")
    ecs = stack.aws.client("ecs")
    cluster = stack.aws.stack.ref("Cluster")
    running = ecs.list_tasks(cluster=cluster, desiredStatus="RUNNING")["taskArns"]
    assert running == [task.task_arn]
    [described] = ecs.describe_tasks(cluster=cluster, tasks=running, include=["TAGS"])["tasks"]
    assert described["tags"] == [{"key": "of", "value": "found"}]
    assert described["lastStatus"] == "RUNNING"

    ecs.stop_task(cluster=cluster, task=task.task_arn, reason="enough")
    assert eventually(lambda: task.last_status == "STOPPED")
    [described] = ecs.describe_tasks(cluster=cluster, tasks=[task.task_arn])["tasks"]
    assert (described["stopCode"], described["stoppedReason"]) == ("UserInitiated", "enough")
    assert described["containers"][0]["exitCode"] == 128 + signal.SIGTERM
    with pytest.raises(ClientError, match="not found"):
        ecs.stop_task(cluster=cluster, task="none")


# --- The table ----------------------------------------------------------------------------------


def test_of_many_who_write_on_condition_one_succeeds(stack: StackUnderTest) -> None:
    table, client = stack.aws.stack.ref("SizingTable"), stack.aws.client("dynamodb")
    key = {"pk": {"S": "test"}, "sk": {"S": "one"}}

    def write(number: int) -> int:
        item = {**key, "by": {"N": str(number)}}
        try:
            client.put_item(
                TableName=table, Item=item, ConditionExpression="attribute_not_exists(pk)"
            )
        except client.exceptions.ConditionalCheckFailedException:
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(write, range(24))) == 1
    client.delete_item(TableName=table, Key=key, ConditionExpression="attribute_exists(pk)")


# --- Rules --------------------------------------------------------------------------------------


def test_the_end_of_a_sizing_starts_the_clean_up(stack: StackUnderTest) -> None:
    before = stack.executions("CleanUpStateMachine")
    details = {
        "executionArn": "arn:aws:states:us-east-1:123456789012:execution:endpoint-sizer-sizing:x",
        "stateMachineArn": stack.aws.state_machine_arn("SizingStateMachine"),
        "name": "x",
        "status": "SUCCEEDED",
    }
    events.publish("aws.states", "Step Functions Execution Status Change", details)
    assert stack.executions("CleanUpStateMachine") == before

    ended = {**details, "status": "TIMED_OUT"}
    events.publish("aws.states", "Step Functions Execution Status Change", ended)
    [started] = set(stack.executions("CleanUpStateMachine")) - set(before)
    assert stack.wait(started).status == "SUCCEEDED"


# --- Processes ----------------------------------------------------------------------------------

PROGRAM = """
import sys, time
from pathlib import Path
from tests.statemachine.stack import stack_under_test
from tests.local.test_embedded_services import run_task

with stack_under_test(Path(sys.argv[1])) as stack:
    stack.load_tests(left="hangs")
    task = run_task(stack, "left")
    while not task.log.exists():
        time.sleep(0.05)
    print(stack.aws.endpoints.pid, task.process.pid, flush=True)
    time.sleep(60)
"""


def test_no_process_outlives_it_even_if_it_is_killed(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'functions'}"}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        children = [int(pid) for pid in process.stdout.readline().split()]
        assert len(children) == 2
        assert all(is_alive(pid) for pid in children)
        process.kill()
        process.wait(120)
    assert eventually(lambda: not any(is_alive(pid) for pid in children))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_looking_at_versions_keeps_no_copies_of_all_objects(stack: StackUnderTest) -> None:
    """Each clean-up looks; a stack that lives for a night would fill the memory."""
    client = stack.aws.client("s3")
    client.create_bucket(Bucket="versions")
    client.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    for content in (b"first", b"second one"):
        client.put_object(Bucket="versions", Key="one", Body=content)
    client.put_object(Bucket="versions", Key="other", Body=b"x")
    made = len(FakeKey.instances_tracked)
    for _ in range(3):
        found = client.list_object_versions(Bucket="versions", Prefix="one")["Versions"]
    assert len(FakeKey.instances_tracked) == made
    assert [(each["Size"], each["IsLatest"]) for each in found] == [(10, True), (5, False)]
    assert found[0]["ETag"] == f'"{hashlib.md5(b"second one").hexdigest()}"'
    client.delete_object(Bucket="versions", Key="one", VersionId=found[0]["VersionId"])
    assert client.get_object(Bucket="versions", Key="one")["Body"].read() == b"first"
    assert client.get_object(Bucket="versions", Key="other")["Body"].read() == b"x"
