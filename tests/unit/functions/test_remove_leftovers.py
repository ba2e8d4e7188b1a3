"""RemoveLeftovers removes a sizing's resources through the APIs, and nothing of anyone else's."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError
from pydantic import ValidationError

from aws import sizing_table
from remove_leftovers.app import handler
from sizing.clean_up import lock, names
from sizing.errors import AccessDenied
from tests.unit.functions.conftest import BUCKET, EXECUTION, TABLE

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
        self.probe_arn = create(name="probe", **machine)["stateMachineArn"]
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

    def load(self, arn: str, load_test_id: str = "ml-m5-large-1-baseline-1") -> tuple[str, ...]:
        """Start a probe, its load test and a task of that; returns their ARNs."""
        load_test = {"tags": self.tags(arn)}
        executions = [
            self.aws("stepfunctions").start_execution(
                stateMachineArn=machine,
                name=f"{names.sizing_id(arn)}-{load_test_id}",
                input=json.dumps(given),
            )
            for machine, given in (
                (self.probe_arn, {"load_test": load_test}),
                (self.load_test_arn, load_test),
            )
        ]
        task = self.aws("ecs").run_task(
            cluster="endpoint-sizer",
            taskDefinition="load-test",
            launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": self.network},
            tags=[{"key": key, "value": value} for key, value in self.tags(arn).items()],
        )["tasks"][0]
        return *(each["executionArn"] for each in executions), task["taskArn"]

    def remove(self, **scope: Any) -> dict[str, Any]:
        """One round of a clean-up."""
        event = {
            "state_machine_arns": [self.probe_arn, self.load_test_arn],
            "started_at": datetime.now(UTC).isoformat(),
            "timeout_minutes": 120,
            **scope,
        }
        answer: dict[str, Any] = handler(event, LambdaContext())
        return answer

    def left(self) -> set[str]:
        """What is there of anyone: kind and name of what is no load, ARNs of what is."""
        sagemaker, sfn = self.aws("sagemaker"), self.aws("stepfunctions")
        tasks = self.aws("ecs").list_tasks(cluster="endpoint-sizer")["taskArns"]
        running = [
            each["executionArn"]
            for machine in (self.probe_arn, self.load_test_arn)
            for each in sfn.list_executions(stateMachineArn=machine, statusFilter="RUNNING")[
                "executions"
            ]
        ]
        return {
            *(f"endpoint/{e['EndpointName']}" for e in sagemaker.list_endpoints()["Endpoints"]),
            *(
                f"endpoint-config/{e['EndpointConfigName']}"
                for e in sagemaker.list_endpoint_configs()["EndpointConfigs"]
            ),
            *(f"model/{e['ModelName']}" for e in sagemaker.list_models()["Models"]),
            *running,
            *(
                each["taskArn"]
                for each in (
                    self.aws("ecs").describe_tasks(cluster="endpoint-sizer", tasks=tasks)["tasks"]
                    if tasks
                    else ()
                )
                if each["desiredStatus"] == "RUNNING"
            ),
        }


def all_of(name: str) -> set[str]:
    return {f"{kind}/{name}" for kind in ("endpoint", "endpoint-config", "model")}


@pytest.fixture
def sizings(aws: Client) -> Sizings:
    return Sizings(aws)


def test_nothing_was_created(sizings: Sizings) -> None:
    answer = sizings.remove(execution_arn=sizings.start("one"))
    assert (answer["status"], answer["names"], answer["rounds"]) == ("GONE", [], 0)


@pytest.mark.parametrize("by", ["execution_arn", "sizing_id"])
def test_one_sizing_by_execution_or_id(sizings: Sizings, by: str) -> None:
    one, other = sizings.start("one"), sizings.start("two")
    name, second = sizings.deploy(one), sizings.deploy(one, "ml.m5.xlarge")
    load = sizings.load(one)
    of_other = {*all_of(sizings.deploy(other)), *sizings.load(other)}
    assert sizings.left() == {*all_of(name), *all_of(second), *load} | of_other

    answer = sizings.remove(**{by: one if by == "execution_arn" else names.sizing_id(one)})
    assert (answer["status"], answer["rounds"], answer["problems"]) == ("WAIT", 1, [])
    assert answer["wait_seconds"] == 2
    assert len(answer["names"]) == len(answer["described"]) == 9
    line = f"endpoint/{second}: 1 x ml.m5.xlarge, InService, about $0.23 per hour"
    assert line in answer["described"]
    assert answer["costs"].startswith("about $")
    assert sizings.left() == of_other

    former = json.loads(json.dumps(answer))
    again = sizings.remove(execution_arn=one, former=former)
    assert (again["status"], again["rounds"]) == ("GONE", 1)


def test_a_lock_is_the_last_to_go(sizings: Sizings) -> None:
    arn = sizings.start("one")
    sizings.deploy(arn)
    item = lock.item(
        lock.LockTerms(model_key="m", when_locked="WAIT", wait_seconds=1), arn, "", 2e9
    )
    sizing_table.put(TABLE, {**item, "sizing_id": names.sizing_id(arn)})
    assert "lock/m" in sizings.remove(execution_arn=arn)["names"]
    second = sizings.remove(execution_arn=arn)
    assert second["names"] == ["lock/m"]
    assert second["wait_seconds"] == 1
    assert sizings.remove(execution_arn=arn)["status"] == "GONE"


def test_what_is_refused_is_a_problem_and_stays(
    sizings: Sizings, answered: Callable[..., Any]
) -> None:
    arn = sizings.start("one")
    name = sizings.deploy(arn)
    refusal = {"Code": "AccessDeniedException", "Message": "not allowed"}
    for operation in ("DeleteEndpoint", "DeleteModel"):
        answered("sagemaker", operation, lambda _: ClientError({"Error": refusal}, "Delete"))
    answer = sizings.remove(execution_arn=arn)
    assert sizings.left() == {f"endpoint/{name}", f"model/{name}"}
    assert len(answer["problems"]) == 2
    assert all(each.startswith(f"{name}: ") for each in answer["problems"])
    assert all("not allowed" in each for each in answer["problems"])
    assert answer["rounds_with_problems"] == 1


@pytest.mark.parametrize(
    "code, message",
    [
        ("ValidationException", 'Could not find endpoint "arn".'),
        ("ValidationException", 'Cannot update in-progress endpoint "arn".'),
    ],
)
def test_what_is_gone_or_busy_is_no_problem(
    sizings: Sizings, answered: Callable[..., Any], code: str, message: str
) -> None:
    arn = sizings.start("one")
    sizings.deploy(arn)
    said = {"Error": {"Code": code, "Message": message}}
    answered("sagemaker", "DeleteEndpoint", lambda _: ClientError(said, "DeleteEndpoint"))
    assert sizings.remove(execution_arn=arn)["problems"] == []


def test_it_gives_up_in_the_end(sizings: Sizings) -> None:
    arn = sizings.start("one")
    name = sizings.deploy(arn)
    late = (datetime.now(UTC) - timedelta(minutes=121)).isoformat()
    answer = sizings.remove(execution_arn=arn, started_at=late)
    assert answer["status"] == "GIVE_UP"
    stuck = {"rounds": 30, "rounds_with_problems": 10, "problems": ["x: not allowed"]}
    answer = sizings.remove(execution_arn=arn, former=stuck)
    assert (answer["status"], answer["problems"]) == ("GIVE_UP", ["x: not allowed"])
    assert sizings.left() == all_of(name)


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
    found = [each for each in sizings.remove(execution_arn=arn)["names"] if "endpoint/" in each]
    assert sorted(found) == sorted(f"endpoint/{each}" for each in created)


def test_a_name_alone_is_not_enough(sizings: Sizings) -> None:
    arn = sizings.start("one")
    sizings.deploy(arn, tags={})
    sizings.deploy(arn, name=f"my-endpoint-sizer-{names.sizing_id(arn)}-x")
    assert sizings.remove(execution_arn=arn)["names"] == []


def test_a_sweep_takes_only_what_no_longer_runs(
    sizings: Sizings, capsys: pytest.CaptureFixture[str]
) -> None:
    ended, live = sizings.start("ended"), sizings.start("live")
    gone = live.replace(":live", ":gone")
    for each in (ended, gone):
        sizings.deploy(each)
        sizings.load(each)
    of_live = {*all_of(sizings.deploy(live)), *sizings.load(live)}
    sizings.aws("stepfunctions").stop_execution(executionArn=ended)

    sizings.remove(sweep=True)
    assert sizings.left() == of_live
    assert '"Leftovers":[12.0]' in capsys.readouterr().out


def test_a_sweep_leaves_alone_what_name_and_tags_disagree_on(sizings: Sizings) -> None:
    ended, live = sizings.start("ended"), sizings.start("live")
    sizings.aws("stepfunctions").stop_execution(executionArn=ended)
    sizings.deploy(live, tags=sizings.tags(ended))
    assert sizings.remove(sweep=True)["names"] == []


def test_a_resource_that_vanishes_meanwhile_is_no_error(
    sizings: Sizings, answered: Callable[..., Any]
) -> None:
    arn = sizings.start("one")
    sizings.deploy(arn)
    said = {"Error": {"Code": "ValidationException", "Message": "Could not find model."}}
    gone = ClientError(said, "ListTags")
    answered("sagemaker", "ListTags", lambda _: gone)
    assert sizings.remove(execution_arn=arn)["names"] == []


@pytest.fixture
def log_groups(answered: Callable[..., Any]) -> Any:
    """Log groups in two pages, of 31 and of 29 days, and those that were deleted."""
    day = 86_400_000
    ages = {
        "endpoint-sizer-0123456789ab-ml-m5-large": 31,
        "endpoint-sizer-0123456789ac-ml-m5-large": 29,
        "endpoint-sizer-of-somebody-else": 31,
        "endpoint-sizer-0123456789ad-ml-m5-large": 400,
    }
    groups = [
        {
            "logGroupName": f"/aws/sagemaker/Endpoints/{name}",
            "creationTime": round(time.time() * 1000) - age * day,
        }
        for name, age in ages.items()
    ]

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        assert request["logGroupNamePrefix"] == "/aws/sagemaker/Endpoints/endpoint-sizer-"
        if "nextToken" in request:
            return {"logGroups": groups[2:]}
        return {"logGroups": groups[:2], "nextToken": "more"}

    answered("logs", "DescribeLogGroups", answer)
    return answered("logs", "DeleteLogGroup", lambda _: {})


def test_the_sweep_deletes_old_logs_of_endpoints(sizings: Sizings, log_groups: Any) -> None:
    assert sizings.remove(sweep=True)["status"] == "GONE"
    assert [each["logGroupName"].rpartition("/")[2] for each in log_groups] == [
        "endpoint-sizer-0123456789ab-ml-m5-large",
        "endpoint-sizer-0123456789ad-ml-m5-large",
    ]


def test_a_clean_up_leaves_the_logs_to_be_read(sizings: Sizings, log_groups: Any) -> None:
    sizings.remove(execution_arn=sizings.start("one"))
    assert log_groups == []


def test_logs_that_stay_keep_nothing_else(
    sizings: Sizings, answered: Callable[..., Any], log_groups: Any
) -> None:
    denied = ClientError({"Error": {"Code": "AccessDeniedException"}}, "DeleteLogGroup")
    answered("logs", "DeleteLogGroup", lambda _: denied)
    sizings.deploy(EXECUTION)  # of an execution that no longer exists
    assert sizings.remove(sweep=True)["status"] == "WAIT"
    assert sizings.left() == set()


def _captured(aws: Any) -> list[str]:
    versions = aws("s3").list_object_versions(Bucket=BUCKET)
    return [
        each["Key"] for each in (*versions.get("Versions", ()), *versions.get("DeleteMarkers", ()))
    ]


@pytest.fixture
def sample(sizings: Sizings) -> str:
    """A sizing's sample of production's requests, beside what stays; returns its key."""
    folder = names.sizing_folder(names.sizing_id(EXECUTION))
    for name in (names.CAPTURED_FILE, names.RESULT_FILE):
        sizings.aws("s3").put_object(Bucket=BUCKET, Key=folder + name, Body=b"{}")
    return folder + names.CAPTURED_FILE


def test_captured_requests_go_when_nothing_else_is_left(sizings: Sizings, sample: str) -> None:
    sizings.deploy(EXECUTION)
    assert sizings.remove(execution_arn=EXECUTION)["status"] == "WAIT"
    assert sample in _captured(sizings.aws)
    assert sizings.remove(execution_arn=EXECUTION)["status"] == "GONE"
    assert [each.rpartition("/")[2] for each in _captured(sizings.aws)] == [names.RESULT_FILE]


def test_captured_requests_that_stay_hold_up_no_clean_up(
    sizings: Sizings, sample: str, answered: Callable[..., Any]
) -> None:
    denied = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "ListObjectVersions")
    answered("s3", "ListObjectVersions", lambda _: denied)
    assert sizings.remove(execution_arn=EXECUTION)["status"] == "GONE"


def test_what_cant_be_listed_is_an_error(sizings: Sizings, answered: Callable[..., Any]) -> None:
    denied = ClientError({"Error": {"Code": "AccessDeniedException"}}, "ListTags")
    arn = sizings.start("one")
    sizings.deploy(arn)
    answered("sagemaker", "ListTags", lambda _: denied)
    with pytest.raises(AccessDenied, match="ListTags"):
        sizings.remove(execution_arn=arn)


@pytest.mark.parametrize("scope", [{}, {"sweep": True, "sizing_id": "x"}, {"sweep": False}])
def test_the_scope_must_be_clear(sizings: Sizings, scope: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        sizings.remove(**scope)
