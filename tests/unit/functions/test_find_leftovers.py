"""FindLeftovers finds a sizing's resources through the APIs, and nothing of anyone else's."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError
from pydantic import ValidationError

from find_leftovers.app import handler
from sizing.clean_up import names

Client = Callable[[str], Any]
ROLE = "arn:aws:iam::123456789012:role/r"
DEFINITION = {"StartAt": "A", "States": {"A": {"Type": "Wait", "Seconds": 600, "End": True}}}


class Sizings:
    """Executions of the embedded Step Functions, and resources as sizings make them."""

    def __init__(self, aws: Client) -> None:
        self.aws = aws
        machine = {"definition": json.dumps(DEFINITION), "roleArn": ROLE}
        create = aws("stepfunctions").create_state_machine
        self.sizing_arn = create(name="sizing", **machine)["stateMachineArn"]
        self.load_test_arn = create(name="load-test", **machine)["stateMachineArn"]
        self.cluster = aws("ecs").create_cluster(clusterName="endpoint-sizer")["cluster"]
        self.network = {
            "subnets": [aws("ec2").describe_subnets()["Subnets"][0]["SubnetId"]],
            "securityGroups": [
                aws("ec2").describe_security_groups()["SecurityGroups"][0]["GroupId"]
            ],
        }
        aws("ecs").register_task_definition(
            family="load-test",
            requiresCompatibilities=["FARGATE"],
            networkMode="awsvpc",
            cpu="1024",
            memory="2048",
            containerDefinitions=[{"name": "load-generator", "image": "i", "memory": 2048}],
        )

    def start(self, name: str) -> str:
        answer = self.aws("stepfunctions").start_execution(
            stateMachineArn=self.sizing_arn, name=name
        )
        return str(answer["executionArn"])

    def tags(self, arn: str) -> dict[str, str]:
        return {names.SIZING_TAG: names.sizing_id(arn), names.EXECUTION_TAG: arn}

    def deploy(self, arn: str, instance_type: str = "ml.m5.large", **changes: Any) -> str:
        name = names.resource_name("endpoint-sizer", names.sizing_id(arn), instance_type)
        name = changes.get("name", name)
        own = {**self.tags(arn), names.INSTANCE_TYPE_TAG: instance_type}
        pairs = changes.get("tags", own).items()
        tags = [{"Key": key, "Value": value} for key, value in pairs]
        sagemaker = self.aws("sagemaker")
        sagemaker.create_model(
            ModelName=name, PrimaryContainer={"Image": "i"}, ExecutionRoleArn=ROLE, Tags=tags
        )
        variant = {
            "VariantName": "AllTraffic",
            "ModelName": name,
            "InstanceType": instance_type,
            "InitialInstanceCount": 1,
        }
        sagemaker.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[variant], Tags=tags
        )
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name, Tags=tags)
        return name

    def load(self, arn: str, load_test_id: str = "ml-m5-large-1-baseline-1") -> tuple[str, str]:
        execution = self.aws("stepfunctions").start_execution(
            stateMachineArn=self.load_test_arn,
            name=f"{names.sizing_id(arn)}-{load_test_id}",
            input=json.dumps({"tags": self.tags(arn)}),
        )
        task = self.aws("ecs").run_task(
            cluster="endpoint-sizer",
            taskDefinition="load-test",
            launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": self.network},
            tags=[{"key": key, "value": value} for key, value in self.tags(arn).items()],
        )["tasks"][0]
        return execution["executionArn"], task["taskArn"]

    def find(self, **scope: Any) -> dict[str, Any]:
        event = {**scope, "load_test_state_machine_arn": self.load_test_arn}
        answer: dict[str, Any] = handler(event, LambdaContext())
        return answer


@pytest.fixture
def sizings(aws: Client) -> Sizings:
    return Sizings(aws)


def test_nothing_was_created(sizings: Sizings) -> None:
    answer = sizings.find(execution_arn=sizings.start("one"))
    assert answer["anything"] is False
    assert answer["names"] == []


@pytest.mark.parametrize("by", ["execution_arn", "sizing_id"])
def test_one_sizing_by_execution_or_id(sizings: Sizings, by: str) -> None:
    one, other = sizings.start("one"), sizings.start("two")
    name, second = sizings.deploy(one), sizings.deploy(one, "ml.m5.xlarge")
    execution, task = sizings.load(one)
    sizings.deploy(other)
    sizings.load(other)
    answer = sizings.find(**{by: one if by == "execution_arn" else names.sizing_id(one)})
    assert answer["anything"] is True
    assert sorted(answer["delete_endpoints"]) == sorted([name, second])
    assert sorted(answer["delete_endpoint_configs"]) == sorted([name, second])
    assert sorted(answer["delete_models"]) == sorted([name, second])
    assert answer["stop_executions"] == [execution]
    assert answer["stop_tasks"] == [{"cluster": sizings.cluster["clusterArn"], "task": task}]
    assert len(answer["names"]) == len(answer["described"]) == 8
    line = f"endpoint/{second}: 1 x ml.m5.xlarge, InService, about $0.23 per hour"
    assert line in answer["described"]
    assert answer["costs"].startswith("about $")


def test_what_was_removed_is_found_no_more(sizings: Sizings) -> None:
    arn = sizings.start("one")
    sizings.deploy(arn)
    sizings.load(arn)
    answer = sizings.find(execution_arn=arn)
    for each in answer["stop_executions"]:
        sizings.aws("stepfunctions").stop_execution(executionArn=each)
    for each in answer["stop_tasks"]:
        sizings.aws("ecs").stop_task(**each)
    sagemaker = sizings.aws("sagemaker")
    for each in answer["delete_endpoints"]:
        sagemaker.delete_endpoint(EndpointName=each)
    for each in answer["delete_endpoint_configs"]:
        sagemaker.delete_endpoint_config(EndpointConfigName=each)
    for each in answer["delete_models"]:
        sagemaker.delete_model(ModelName=each)
    assert sizings.find(execution_arn=arn)["names"] == []


def test_more_than_one_page(sizings: Sizings, answered: Callable[..., Any]) -> None:
    arn = sizings.start("one")
    created = [sizings.deploy(arn, each) for each in ("ml.m5.large", "ml.m5.xlarge")]
    endpoints = sizings.aws("sagemaker").list_endpoints()["Endpoints"]

    def page(request: dict[str, Any]) -> dict[str, Any]:
        assert request["NameContains"] == f"endpoint-sizer-{names.sizing_id(arn)}-"
        if "NextToken" in request:
            return {"Endpoints": endpoints[1:]}
        return {"Endpoints": endpoints[:1], "NextToken": "next"}

    answered("sagemaker", "ListEndpoints", page)
    assert sorted(sizings.find(execution_arn=arn)["delete_endpoints"]) == sorted(created)


def test_a_name_alone_is_not_enough(sizings: Sizings) -> None:
    arn = sizings.start("one")
    sizings.deploy(arn, tags={})
    sizings.deploy(arn, name=f"my-endpoint-sizer-{names.sizing_id(arn)}-x")
    assert sizings.find(execution_arn=arn)["names"] == []


def test_a_sweep_takes_only_what_no_longer_runs(
    sizings: Sizings, capsys: pytest.CaptureFixture[str]
) -> None:
    ended, live = sizings.start("ended"), sizings.start("live")
    gone = live.replace(":live", ":gone")
    names_of_dead = {sizings.deploy(ended), sizings.deploy(gone)}
    sizings.deploy(live)
    executions = [sizings.load(ended)[0], sizings.load(gone)[0]]
    sizings.load(live)
    sizings.aws("stepfunctions").stop_execution(executionArn=ended)

    answer = sizings.find(sweep=True)
    assert set(answer["delete_endpoints"]) == names_of_dead
    assert set(answer["delete_models"]) == names_of_dead
    assert set(answer["stop_executions"]) == set(executions)
    assert len(answer["stop_tasks"]) == 2
    assert '"Leftovers":[10.0]' in capsys.readouterr().out


def test_a_sweep_leaves_alone_what_name_and_tags_disagree_on(sizings: Sizings) -> None:
    ended, live = sizings.start("ended"), sizings.start("live")
    sizings.aws("stepfunctions").stop_execution(executionArn=ended)
    sizings.deploy(live, tags=sizings.tags(ended))
    assert sizings.find(sweep=True)["names"] == []


def test_a_resource_that_vanishes_meanwhile_is_no_error(
    sizings: Sizings, answered: Callable[..., Any]
) -> None:
    arn = sizings.start("one")
    sizings.deploy(arn)
    gone = ClientError({"Error": {"Code": "ValidationException"}}, "ListTags")
    answered("sagemaker", "ListTags", lambda _: gone)
    assert sizings.find(execution_arn=arn)["names"] == []


def test_what_cant_be_listed_is_an_error(sizings: Sizings, answered: Callable[..., Any]) -> None:
    denied = ClientError({"Error": {"Code": "AccessDeniedException"}}, "ListTags")
    arn = sizings.start("one")
    sizings.deploy(arn)
    answered("sagemaker", "ListTags", lambda _: denied)
    with pytest.raises(ClientError):
        sizings.find(execution_arn=arn)


@pytest.mark.parametrize("scope", [{}, {"sweep": True, "sizing_id": "x"}, {"sweep": False}])
def test_the_scope_must_be_clear(sizings: Sizings, scope: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        sizings.find(**scope)
