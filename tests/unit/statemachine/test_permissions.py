"""Each role may do what its state machine or function does, on what bears the stack's prefix."""

from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from sizing.clean_up import names
from tools import permissions
from tools.permissions import as_list, of_type, statements

ROOT = Path(__file__).parents[3]
ROLES = {
    "sizing": "SizingRole",
    "probe": "ProbeRole",
    "load_test": "LoadTestRole",
    "clean_up": "CleanUpRole",
    "nightly": "NightlyRole",
}


def roles(template: dict[str, Any]) -> dict[str, Any]:
    return of_type(template, "AWS::IAM::Role")


def test_every_action_that_is_called_is_allowed_and_no_other(template):
    assert permissions.problems(template) == []


def test_the_document_says_so(template):
    text = permissions.DOCUMENT.read_text()
    assert permissions.with_table(text, permissions.table(template)) == text


#: Roles with an action that is taken away, or added, and what must be said.
MISTAKES = [
    ("RemoveLeftovers", "-dynamodb:DeleteItem", "is called (aws/sizing_table.py: release) and"),
    ("SetUp", "-ecr:DescribeImages", "is called (aws/images.py: is_pushed) and not allowed"),
    ("EnsureEndpoint", "-iam:PassRole", "is called (hands on the models' role) and not allowed"),
    ("RemoveLeftovers", "+sagemaker:ListApps", "is allowed and never called"),
    ("Measure", "+sagemaker:DeleteEndpoint", "is allowed and never called"),  # others call it
    ("PlanNight", "-ssm:GetParametersByPath", "is called ("),
    ("LoadTest", "-ecs:StopTask", "is called (RunLeader: stops the task when aborted; RunWorker:"),
    ("Sizing", "+events:DeleteRule", "is allowed and never called"),
    ("ImageProject", "-ecr:PutImage", "is called (docker push) and not allowed"),
    ("Rule", "-states:StartExecution", "is called (ModelPackageRule; SizingEndedRule) and not"),
    ("Schedule", "+sns:Publish", "is allowed and never called"),
]


@pytest.mark.parametrize("role, change, said", MISTAKES)
def test_a_mistake_is_said(role, change, said, template):
    changed, action = json.loads(json.dumps(template)), change[1:]  # shares no statement
    for each in statements(changed, f"{role}Role"):
        actions = as_list(each["Action"])
        each["Action"] = [kept for kept in actions if kept != action]
        if change.startswith("+"):
            each["Action"].append(action)
    [problem] = permissions.problems(changed)
    assert problem.startswith(f"{role}Role: {action} {said}")


@pytest.mark.parametrize("role, said", [("SmokeTest", "is missing"), ("Probe", "encrypts nothing")])
def test_who_uses_the_key_is_held_too(role, said, template):
    changed = copy.deepcopy(template)
    holders = changed["Resources"]["KeyUse"]["Properties"]["Roles"]
    reference = {"Ref": f"{role}Role"}
    holders.remove(reference) if reference in holders else holders.append(reference)
    assert permissions.problems(changed) == [f"KeyUse: {role}Role {said}"]


def test_a_call_that_code_makes_newly_is_said(template, tmp_path):
    """And one that it no longer makes, however far from the handler."""
    shutil.copytree(ROOT / "functions", tmp_path / "functions")
    (tmp_path / "statemachine").symlink_to(ROOT / "statemachine")
    changed = tmp_path / "functions" / "aws" / "endpoints.py"
    text = changed.read_text().replace(".delete_endpoint(", ".stop_pipeline_execution(")
    changed.write_text(text)
    assert permissions.problems(template, tmp_path) == [
        f"{role}: sagemaker:{action}"
        for role in ("EnsureEndpointRole", "RemoveLeftoversRole")
        for action in (
            "StopPipelineExecution is called (aws/endpoints.py: delete) and not allowed",
            "DeleteEndpoint is allowed and never called",
        )
    ]


def test_a_state_machine_may_call_the_functions_it_calls_and_no_others(each_machine, template):
    called = {
        state["Arguments"]["FunctionName"].removesuffix("Arn")
        for state in each_machine.states().values()
        if state.get("Resource", "").endswith("lambda:invoke")
    }
    allowed = {
        resource["Fn::GetAtt"].removesuffix(".Arn")
        for statement in statements(template, ROLES[each_machine.name])
        if statement["Action"] == "lambda:InvokeFunction"
        for resource in as_list(statement["Resource"])
    }
    assert allowed == called


def test_each_state_machine_and_function_has_a_role_of_its_own(template):
    used = [
        resource["Properties"]["Role"]["Fn::GetAtt"]
        for resource in template["Resources"].values()
        if resource["Type"] in ("AWS::Serverless::StateMachine", "AWS::Serverless::Function")
    ]
    assert len(used) == len(set(used)) == 18


def test_only_what_has_no_name_of_ours_is_allowed_everywhere(template):
    everywhere = {
        action
        for name in roles(template)
        for statement in statements(template, name)
        if statement["Resource"] == "*"
        for action in as_list(statement["Action"])
    }
    assert everywhere == {
        "application-autoscaling:DescribeScalableTargets",
        "application-autoscaling:DescribeScalingPolicies",
        "cloudwatch:GetMetricData",
        "cloudwatch:PutMetricData",
        "ec2:DescribeInstanceTypes",
        "ec2:DescribeSubnets",
        "ecr:GetAuthorizationToken",
        "ecs:ListTasks",
        "pricing:GetProducts",
        "sagemaker:ListEndpointConfigs",
        "sagemaker:ListEndpoints",
        "sagemaker:ListModelPackages",
        "sagemaker:ListModels",
        "servicequotas:ListAWSDefaultServiceQuotas",
        "servicequotas:ListServiceQuotas",
    }


def test_whatever_changes_sagemaker_is_bound_to_the_prefix(template):
    """But the metadata of a package, and endpoints in production, if the stack's user says so."""
    reading = ("sagemaker:Describe", "sagemaker:List", "sagemaker:UpdateModelPackage")
    (metadata,) = (
        each for each in permissions.grants(template, "RecordResultRole") if "Update" in each.action
    )
    assert metadata.only_if == "WritesPackageMetadata"
    (production,) = (
        each for each in permissions.grants(template, "ApplyAnswerRole") if "Update" in each.action
    )
    assert (production.only_if, production.resource) == (
        "AppliesAnswers",
        {"Ref": "ApplyEndpoints"},
    )
    for name in roles(template):
        for statement in statements(template, name):
            actions = [each for each in as_list(statement["Action"]) if "sagemaker:" in each]
            if not actions or all(each.startswith(reading) for each in actions):
                continue
            for resource in as_list(statement["Resource"]):
                if resource == production.resource:
                    continue
                allowed = ("/${NamePrefix}-*", ":model-package/*")  # a model is made of a package
                assert resource["Fn::Sub"].endswith(allowed), name


def test_every_start_that_is_not_delivered_is_kept(template):
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        targets = {
            "AWS::Scheduler::Schedule": lambda each: [each["Target"]],
            "AWS::Events::Rule": lambda each: each["Targets"],
        }.get(resource["Type"], lambda _: [])(properties)
        for target in targets:
            assert target["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": "DeadLetters.Arn"}}, name
            assert target["RetryPolicy"]["MaximumRetryAttempts"] > 0, name


@pytest.mark.parametrize("type_", ["AWS::Serverless::Function", "AWS::Serverless::StateMachine"])
def test_names_of_functions_and_machines_begin_with_the_prefix(type_, template):
    for resource in template["Resources"].values():
        if resource["Type"] == type_:
            properties = resource["Properties"]
            name = properties.get("FunctionName") or properties.get("Name")
            assert name["Fn::Sub"].startswith("${NamePrefix}-")


def test_the_longest_prefix_leaves_room_for_the_longest_instance_type(template):
    """Else a sizing would fail by a name that SageMaker does not take."""
    pattern = template["Parameters"]["NamePrefix"]["AllowedPattern"]
    prices = json.loads((ROOT / "functions/sizing/catalogue/instance_prices.json").read_text())
    types = set(re.findall(r"ml\.[a-z0-9-]+\.[a-z0-9-]+", json.dumps(prices)))
    longest = max(types, key=len)
    prefix = "a" * 24
    assert re.match(pattern, prefix)
    assert not re.match(pattern, prefix + "a")
    assert names.resource_name(prefix, "3f2a9c1b7d4e", longest)


#: Services of resource types where IAM has another name for them.
IAM_NAMES = {"lambda": "lambda", "serverless": "lambda", "stepfunctions": "states"}


def test_who_deploys_may_make_every_type_of_resource(template):
    policy = json.loads((ROOT / "docs" / "deployer-policy.json").read_text())
    allowed = {
        action.partition(":")[0]
        for each in policy["Statement"]
        for action in as_list(each["Action"])
    }
    types = {each["Type"] for each in template["Resources"].values()}
    services = {each.split("::")[1].lower() for each in types if each.startswith("AWS::")}
    assert len(services) > 12
    assert {IAM_NAMES.get(each, each) for each in services} <= allowed
    # What has a name is bound to it; in each of these lists, every service is.
    for each in policy["Statement"]:
        if any(action.endswith(":*") for action in as_list(each["Action"])):
            bound = {resource.split(":")[2] for resource in as_list(each["Resource"])}
            assert bound == {action.partition(":")[0] for action in as_list(each["Action"])}
