"""Each role may do what its state machine or function does, on what bears the stack's prefix."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import botocore
import botocore.session
import pytest

from sizing.clean_up import names

ROOT = Path(__file__).parents[3]
ROLES = {
    "sizing": "SizingRole",
    "probe": "ProbeRole",
    "load_test": "LoadTestRole",
    "clean_up": "CleanUpRole",
    "nightly": "NightlyRole",
}
#: What a state's integration needs besides the action of its name.
ALSO_NEEDED = {
    "lambda:invoke": ["lambda:InvokeFunction"],
    "sns:publish": ["sns:Publish", "kms:Decrypt", "kms:GenerateDataKey"],
    "ecs:runTask.sync": [
        *("ecs:RunTask", "ecs:StopTask", "ecs:DescribeTasks", "ecs:TagResource", "iam:PassRole"),
        *("events:PutTargets", "events:PutRule", "events:DescribeRule"),
    ],
    "states:startExecution.sync:2": [
        *("states:StartExecution", "states:DescribeExecution", "states:StopExecution"),
        *("events:PutTargets", "events:PutRule", "events:DescribeRule"),
    ],
}
#: IAM's name of a service or action where it is not that of the integration.
IAM_SERVICES = {"sfn": "states"}


def actions_of(resource: str) -> list[str]:
    integration = resource.removeprefix("arn:aws:states:::")
    needed = list(ALSO_NEEDED.get(integration, []))
    if integration.startswith("aws-sdk:"):
        _, service, action = integration.split(":")
        needed.append(f"{IAM_SERVICES.get(service, service)}:{action[0].upper()}{action[1:]}")
    return needed


def statements(template: Mapping[str, Any], role: str) -> Iterator[Mapping[str, Any]]:
    for policy in template["Resources"][role]["Properties"]["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            yield statement["Fn::If"][1] if "Fn::If" in statement else statement


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def roles(template: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {
        name: resource["Properties"]
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::IAM::Role"
    }


def test_a_state_machine_may_do_what_its_states_do_and_no_more(each_machine, template):
    allowed = {
        action
        for statement in statements(template, ROLES[each_machine.name])
        for action in as_list(statement["Action"])
    }
    needed = {
        action
        for state in each_machine.states().values()
        for action in actions_of(state.get("Resource", ""))
    }
    assert allowed == needed


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
    assert len(used) == len(set(used)) == 16


def test_no_action_is_a_wildcard(template):
    for name in roles(template):
        for statement in statements(template, name):
            assert statement["Effect"] == "Allow"
            for action in as_list(statement["Action"]):
                assert "*" not in action, name


def test_each_bare_star_says_why(template_text):
    """As a resource: on the same line or the one above."""
    lines = template_text.splitlines()
    for number, line in enumerate(lines):
        if re.search(r'Resource: "\*"', line):
            assert "#" in line or "#" in lines[number - 1], f"line {number + 1}: {line.strip()}"


def test_only_what_has_no_name_of_ours_is_allowed_everywhere(template):
    everywhere = {
        action
        for name in roles(template)
        for statement in statements(template, name)
        if statement["Resource"] == "*"
        for action in as_list(statement["Action"])
    }
    assert everywhere == {
        "cloudwatch:GetMetricData",
        "cloudwatch:PutMetricData",
        "ec2:DescribeInstanceTypes",
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
    """But the metadata of a package, which is the user's own, and only if the stack says so."""
    reading = ("sagemaker:Describe", "sagemaker:List", "sagemaker:UpdateModelPackage")
    (metadata,) = (
        statement
        for policy in template["Resources"]["RecordResultRole"]["Properties"]["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
        if "sagemaker:UpdateModelPackage" in json.dumps(statement)
    )
    assert metadata["Fn::If"][0] == "WritesPackageMetadata"
    for name in roles(template):
        for statement in statements(template, name):
            actions = [each for each in as_list(statement["Action"]) if "sagemaker:" in each]
            if not actions or all(each.startswith(reading) for each in actions):
                continue
            for resource in as_list(statement["Resource"]):
                assert resource["Fn::Sub"].endswith("/${NamePrefix}-*"), name


def test_only_services_of_this_account_may_assume_the_roles(template):
    for name, role in roles(template).items():
        (statement,) = role["AssumeRolePolicyDocument"]["Statement"]
        condition = json.dumps(statement["Condition"])
        assert '"aws:SourceAccount": {"Ref": "AWS::AccountId"}' in condition, name
        assert set(statement["Principal"]) == {"Service"}, name
        if statement["Principal"]["Service"] != "lambda.amazonaws.com":
            assert "aws:SourceArn" in condition, name


def test_a_passed_role_is_for_one_service(template):
    for name in roles(template):
        for statement in statements(template, name):
            if statement["Action"] == "iam:PassRole":
                assert statement["Condition"]["StringEquals"]["iam:PassedToService"], name


def test_all_that_is_stored_is_encrypted_and_reached_by_tls_alone(template):
    resources = template["Resources"]
    for policy in ("ResultsBucketPolicy", "TopicPolicy", "DeadLettersPolicy"):
        denied = [
            statement
            for statement in resources[policy]["Properties"]["PolicyDocument"]["Statement"]
            if statement["Effect"] == "Deny"
        ]
        assert denied[0]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}, policy
        assert denied[0]["Principal"] == "*", policy
    assert "BucketEncryption" in resources["ResultsBucket"]["Properties"]
    assert "KmsMasterKeyId" in resources["Topic"]["Properties"]
    assert resources["DeadLetters"]["Properties"]["SqsManagedSseEnabled"] is True


def test_nothing_can_connect_but_workers_to_their_leader(template):
    ingress = {
        name: resource["Properties"].get("SecurityGroupIngress", [])
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::EC2::SecurityGroup"
    }
    assert ingress["WorkerSecurityGroup"] == []
    (rule,) = ingress["LeaderSecurityGroup"]
    assert rule["SourceSecurityGroupId"] == {"Ref": "WorkerSecurityGroup"}
    assert (rule["FromPort"], rule["ToPort"]) == (5557, 5557)
    assert not [
        resource
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::EC2::SecurityGroupIngress"
    ]


def test_every_log_is_deleted_some_day(template):
    resources = template["Resources"]
    logs = [each for each in resources.values() if each["Type"] == "AWS::Logs::LogGroup"]
    functions = [each for each in resources.values() if each["Type"] == "AWS::Serverless::Function"]
    assert all(each["Properties"]["RetentionInDays"] for each in logs)
    named = {each["Properties"]["LoggingConfig"]["LogGroup"]["Ref"] for each in functions}
    assert named <= resources.keys()
    assert len(named) == len(functions)


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


# --- Functions -----------------------------------------------------------------------------------

#: IAM's names where they are not those of boto3.
IAM_CLIENTS = {
    "sagemaker-runtime": "sagemaker",
    "service-quotas": "servicequotas",
    "stepfunctions": "states",
}
IAM_ACTIONS = {"s3:HeadObject": "s3:GetObject"}
#: Allowed though no function asks for it by name: tags and a role come with a create call.
UNASKED = {
    *("logs:CreateLogStream", "logs:PutLogEvents", "s3:ListBucket"),
    *("sagemaker:AddTags", "iam:PassRole", "kms:Decrypt", "kms:GenerateDataKey"),
}


def modules_of(folder: str) -> set[Path]:
    """The modules of the project that a function imports, directly or not."""
    root = ROOT / "functions"
    found: set[Path] = set()
    ahead = [root / folder / "app.py"]
    while ahead:
        module = ahead.pop()
        if module in found or not module.is_file():
            continue
        found.add(module)
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                package = root / node.module.replace(".", "/")
                ahead.append(package.with_suffix(".py"))
                ahead += [package / f"{alias.name}.py" for alias in node.names]
    return found


@cache
def operations(service: str) -> list[str]:
    model = botocore.session.get_session().get_service_model(service)
    return list(model.operation_names)


@cache
def actions_called(module: Path) -> set[str]:
    """IAM's names of the operations of AWS that a module mentions."""
    tree = ast.parse(module.read_text())
    mentioned = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    mentioned |= {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    services = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "client"
        and isinstance(node.args[0], ast.Constant)
    }
    called = set()
    for service in services:
        for operation in operations(service):
            if botocore.xform_name(operation) in mentioned:
                action = f"{IAM_CLIENTS.get(service, service)}:{operation}"
                called.add(IAM_ACTIONS.get(action, action))
    return called


def test_functions_may_do_what_their_code_does_and_no_more(template):
    """A module that several functions share may do more than each of them asks of it."""
    functions = {
        resource["Properties"]["Handler"].partition(".")[0]: {
            action
            for statement in statements(template, logical_id.removesuffix("Function") + "Role")
            for action in as_list(statement["Action"])
        }
        for logical_id, resource in template["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }
    modules = {folder: modules_of(folder) for folder in functions}
    for module in set().union(*modules.values()):
        users = [folder for folder in functions if module in modules[folder]]
        allowed = set().union(*(functions[folder] for folder in users))
        assert actions_called(module) <= allowed, module.relative_to(ROOT)
    for folder, allowed in functions.items():
        called = set().union(*map(actions_called, modules[folder]))
        assert allowed - UNASKED <= called, folder
