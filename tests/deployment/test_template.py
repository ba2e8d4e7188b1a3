"""What template.yaml must keep to: one build, narrow roles, nothing public, logs that end."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from local.cloudformation import load_template
from tools.state_machines import integrations
from tools.state_machines.definition import load

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "template.yaml").read_text()
TEMPLATE = load_template(ROOT / "template.yaml")
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]


def resources(kind: str) -> dict[str, dict[str, Any]]:
    """Properties of all resources of a type, by logical id."""
    return {
        name: each.get("Properties", {}) for name, each in RESOURCES.items() if each["Type"] == kind
    }


FUNCTIONS = resources("AWS::Serverless::Function")
ROLES = resources("AWS::IAM::Role")


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements(role: str) -> Iterator[dict[str, Any]]:
    """Statements of a role's policies, those behind a condition too."""
    for policy in ROLES[role].get("Policies", []):
        for each in policy["PolicyDocument"]["Statement"]:
            branches = each["Fn::If"][1:] if "Fn::If" in each else [each]
            yield from (branch for branch in branches if "Effect" in branch)


def allowed(role: str) -> set[str]:
    return {action for each in statements(role) for action in as_list(each["Action"])}


def test_there_is_something_to_check() -> None:
    assert len(FUNCTIONS) >= 5
    assert len(ROLES) >= 10


# --- Functions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_s_handler_exists(name: str) -> None:
    module, _, handler = FUNCTIONS[name]["Handler"].rpartition(".")
    path = ROOT / "functions" / (module.replace(".", "/") + ".py")
    assert path.is_file(), f"{path} is missing"
    tree = ast.parse(path.read_text())
    assert handler in {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_all_functions_are_one_artifact(name: str) -> None:
    """What differs from function to function would need a build of its own."""
    assert RESOURCES[name].get("Metadata") == {"BuildMethod": "makefile"}
    assert not {"CodeUri", "Runtime", "Architectures", "Environment"} & set(FUNCTIONS[name])


def test_the_build_is_for_the_functions_runtime() -> None:
    of_all = TEMPLATE["Globals"]["Function"]
    makefile = (ROOT / "functions/Makefile").read_text()
    version = re.search(r"^PYTHON_VERSION\s*:= (\S+)$", makefile, re.MULTILINE)
    platform = re.search(r"^PYTHON_PLATFORM\s*:= (\S+)$", makefile, re.MULTILINE)
    assert version is not None
    assert platform is not None
    assert of_all["CodeUri"] == "functions/"
    assert of_all["Runtime"] == f"python{version[1]}"
    assert of_all["Architectures"] == ["arm64"]
    assert platform[1].startswith("aarch64-manylinux")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_logs_where_the_log_ends(name: str) -> None:
    logs = FUNCTIONS[name]["LoggingConfig"]["LogGroup"]["Ref"]
    assert logs in resources("AWS::Logs::LogGroup")


def test_every_log_ends() -> None:
    for name, properties in resources("AWS::Logs::LogGroup").items():
        assert "RetentionInDays" in properties, name


# --- Permissions -------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_no_role_may_do_everything_of_a_service(role: str) -> None:
    assert [action for action in allowed(role) if "*" in action] == []


@pytest.mark.parametrize("role", ROLES)
def test_only_this_account_s_services_take_a_role(role: str) -> None:
    """Else a service could be made to act for somebody else: the confused deputy."""
    for each in ROLES[role]["AssumeRolePolicyDocument"]["Statement"]:
        assert "aws:SourceAccount" in each["Condition"]["StringEquals"], role


def test_every_wildcard_resource_says_why() -> None:
    lines = TEXT.splitlines()
    wildcards = [i for i, line in enumerate(lines) if re.search(r'Resource: "\*"', line)]
    assert wildcards
    unexplained = [
        f"line {i + 1}: {lines[i].strip()}"
        for i in wildcards
        if "#" not in lines[i] and not lines[i - 1].lstrip().startswith("#")
    ]
    assert unexplained == []


#: Prefixes of IAM's actions where they differ from botocore's service name.
IAM_PREFIX = {"stepfunctions": "states"}
#: What an integration needs besides its own action.
SYNC = {"events:DescribeRule", "events:PutRule", "events:PutTargets"}
NEEDS = {
    "states:StartExecution": SYNC | {"states:DescribeExecution", "states:StopExecution"},
    "ecs:RunTask": SYNC | {"ecs:DescribeTasks", "ecs:StopTask", "ecs:TagResource", "iam:PassRole"},
    "sagemaker:CreateModel": {"sagemaker:AddTags", "iam:PassRole"},
    "sns:Publish": {"kms:Decrypt", "kms:GenerateDataKey"},
}


def actions_of_calls(file: str) -> set[str]:
    """IAM actions that the API calls of a state machine need."""
    needed = set()
    for machine in load(ROOT / "template.yaml")[0]:
        if machine.file != file:
            continue
        for call in integrations.calls(machine)[0]:
            operation = "InvokeFunction" if call.client == "lambda" else call.operation.name
            action = f"{IAM_PREFIX.get(call.client, call.client)}:{operation}"
            needed |= {action, *NEEDS.get(action, ())}
    return needed


@pytest.mark.parametrize("machine", resources("AWS::Serverless::StateMachine"))
def test_a_state_machine_may_do_what_it_does_and_no_more(machine: str) -> None:
    properties = resources("AWS::Serverless::StateMachine")[machine]
    role = properties["Role"]["Fn::GetAtt"].removesuffix(".Arn")
    assert allowed(role) == actions_of_calls(properties["DefinitionUri"])


# --- Network and storage -----------------------------------------------------------------------


def test_nothing_can_be_reached_from_outside() -> None:
    for name, properties in resources("AWS::EC2::SecurityGroup").items():
        for rule in properties.get("SecurityGroupIngress", []):
            assert not {"CidrIp", "CidrIpv6"} & set(rule), name
    for name, properties in resources("AWS::EC2::SecurityGroupIngress").items():
        assert "SourceSecurityGroupId" in properties, name


def test_every_bucket_is_encrypted_private_and_for_tls_only() -> None:
    policies = resources("AWS::S3::BucketPolicy").values()
    for name, properties in resources("AWS::S3::Bucket").items():
        assert "BucketEncryption" in properties
        assert set(properties["PublicAccessBlockConfiguration"].values()) == {True}
        denied = [
            each["Condition"]
            for policy in policies
            if policy["Bucket"] == {"Ref": name}
            for each in policy["PolicyDocument"]["Statement"]
            if each["Effect"] == "Deny"
        ]
        assert {"Bool": {"aws:SecureTransport": "false"}} in denied
