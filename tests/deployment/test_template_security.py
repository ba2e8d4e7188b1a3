"""Rules that every resource of template.yaml keeps to, those that are yet to come included.

Each rule is shown to bite: the template is changed as a mistake would, and the rule must say so.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from local.cloudformation import load_template

TEMPLATE: dict[str, Any] = load_template(Path(__file__).parents[2] / "template.yaml")
ACCOUNT = {"Ref": "AWS::AccountId"}
TLS_ONLY = {"Bool": {"aws:SecureTransport": "false"}}

Resources = Mapping[str, Any]
Named = Iterator[tuple[str, Any]]


def of_type(resources: Resources, *types: str) -> Named:
    """Names and properties of the resources of some types."""
    for name, each in resources.items():
        if each["Type"] in types:
            yield name, each.get("Properties", {})


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Statements of a policy, those behind a condition too."""
    for each in as_list(document["Statement"]):
        branches = each["Fn::If"][1:] if "Fn::If" in each else [each]
        yield from (branch for branch in branches if "Effect" in branch)


def of_role(role: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for policy in role.get("Policies", []):
        yield from statements(policy["PolicyDocument"])


def resource_policies(resources: Resources) -> Named:
    """Names and statements of the policies of buckets, topics and queues."""
    for name, policy in of_type(
        resources, "AWS::S3::BucketPolicy", "AWS::SNS::TopicPolicy", "AWS::SQS::QueuePolicy"
    ):
        yield from ((name, each) for each in statements(policy["PolicyDocument"]))


# --- The rules: each gives the names of the resources that break it ----------------------------


def roles_trust_a_service_of_this_account(resources: Resources) -> Iterator[str]:
    """The confused deputy: a service must not act for another account, nor for any resource."""
    for name, role in of_type(resources, "AWS::IAM::Role"):
        for each in statements(role["AssumeRolePolicyDocument"]):
            condition = each.get("Condition", {})
            service = each["Principal"].get("Service")
            # Which function Lambda assumes a role for, it does not tell.
            named = service == "lambda.amazonaws.com" or "aws:SourceArn" in json.dumps(condition)
            of_account = condition.get("StringEquals", {}).get("aws:SourceAccount") == ACCOUNT
            if set(each["Principal"]) != {"Service"} or not of_account or not named:
                yield name


def roles_allow_no_wildcard_action(resources: Resources) -> Iterator[str]:
    for name, role in of_type(resources, "AWS::IAM::Role"):
        for each in of_role(role):
            if {"NotAction", "NotResource"} & each.keys() or "*" in json.dumps(each["Action"]):
                yield name
        if role.get("ManagedPolicyArns"):
            yield name  # AWS's own are wider than any of ours


def only_one_s_own_objects_are_read(resources: Resources) -> Iterator[str]:
    """By bucket names that are not the stack's: they might belong to somebody else."""
    for name, role in of_type(resources, "AWS::IAM::Role"):
        for each in of_role(role):
            if not any(action.startswith("s3:") for action in as_list(each["Action"])):
                continue
            written = json.dumps(each["Resource"])
            if "ResultsBucket" in written or "ModelDataArns" in written:
                continue  # the stack's own, and what the deployer named for the models
            equal = each.get("Condition", {}).get("StringEquals", {})
            if equal.get("aws:ResourceAccount") != ACCOUNT:
                yield name


def roles_are_passed_to_one_service(resources: Resources) -> Iterator[str]:
    for name, role in of_type(resources, "AWS::IAM::Role"):
        for each in of_role(role):
            condition = each.get("Condition", {}).get("StringEquals", {})
            if "iam:PassRole" in as_list(each["Action"]) and (
                "*" in json.dumps(each["Resource"]) or "iam:PassedToService" not in condition
            ):
                yield name


def resources_are_closed_to_other_accounts(resources: Resources) -> Iterator[str]:
    for name, each in resource_policies(resources):
        if each["Effect"] == "Deny":
            continue
        principal = each["Principal"]
        if principal == "*" or "*" in as_list(principal.get("AWS", [])):
            yield name
        elif "Service" in principal:
            equal = each.get("Condition", {}).get("StringEquals", {})
            if equal.get("aws:SourceAccount") != ACCOUNT:
                yield name


def _with_tls_alone(resources: Resources, kind: str, policy: str, field: str) -> Iterator[str]:
    closed = [
        reference.get("Ref")
        for _, properties in of_type(resources, policy)
        for reference in as_list(properties[field])
        for each in statements(properties["PolicyDocument"])
        if each["Effect"] == "Deny" and each["Principal"] == "*" and each["Condition"] == TLS_ONLY
    ]
    yield from (name for name, _ in of_type(resources, kind) if name not in closed)


def buckets_are_private_and_encrypted(resources: Resources) -> Iterator[str]:
    for name, bucket in of_type(resources, "AWS::S3::Bucket"):
        blocked = bucket.get("PublicAccessBlockConfiguration", {})
        ownership = json.dumps(bucket.get("OwnershipControls", {}))
        if (
            "BucketEncryption" not in bucket
            or list(blocked.values()) != [True] * 4
            or "BucketOwnerEnforced" not in ownership
        ):
            yield name
    yield from _with_tls_alone(resources, "AWS::S3::Bucket", "AWS::S3::BucketPolicy", "Bucket")


def topics_are_encrypted_where_a_key_is_given(resources: Resources) -> Iterator[str]:
    key = {"Fn::If": ["HasKmsKey", {"Ref": "KmsKeyArn"}, {"Ref": "AWS::NoValue"}]}
    for name, topic in of_type(resources, "AWS::SNS::Topic"):
        if topic.get("KmsMasterKeyId") != key:
            yield name
    yield from _with_tls_alone(resources, "AWS::SNS::Topic", "AWS::SNS::TopicPolicy", "Topics")


def queues_are_encrypted(resources: Resources) -> Iterator[str]:
    for name, queue in of_type(resources, "AWS::SQS::Queue"):
        if queue.get("SqsManagedSseEnabled") is not True and not queue.get("KmsMasterKeyId"):
            yield name
    yield from _with_tls_alone(resources, "AWS::SQS::Queue", "AWS::SQS::QueuePolicy", "Queues")


def tables_are_encrypted_and_can_be_restored(resources: Resources) -> Iterator[str]:
    for name, table in of_type(resources, "AWS::DynamoDB::Table"):
        recovery = table.get("PointInTimeRecoverySpecification", {})
        encryption = table.get("SSESpecification", {})
        both = [each.get("SSEEnabled") for each in encryption.get("Fn::If", [{}, {}])[1:]]
        if [*both, recovery.get("PointInTimeRecoveryEnabled")] != [True] * 3:
            yield name


def nothing_connects_from_the_internet(resources: Resources) -> Iterator[str]:
    rules = [
        (name, rule)
        for name, group in of_type(resources, "AWS::EC2::SecurityGroup")
        for rule in group.get("SecurityGroupIngress", [])
    ]
    for name, rule in [*rules, *of_type(resources, "AWS::EC2::SecurityGroupIngress")]:
        if "SourceSecurityGroupId" not in rule:
            yield name
    for name, subnet in of_type(resources, "AWS::EC2::Subnet"):
        if subnet.get("MapPublicIpOnLaunch") is not False:
            yield name


def nothing_is_called_from_the_internet(resources: Resources) -> Iterator[str]:
    kinds = ("AWS::ApiGateway", "AWS::AppSync", "AWS::ElasticLoadBalancing", "AWS::Lambda::Url")
    kinds += ("AWS::Serverless::Api", "AWS::Serverless::HttpApi", "AWS::Serverless::WebSocketApi")
    yield from (name for name, each in resources.items() if each["Type"].startswith(kinds))
    for name, function in of_type(resources, "AWS::Serverless::Function"):
        if {"FunctionUrlConfig", "Events"} & function.keys():
            yield name
    for name, permission in of_type(resources, "AWS::Lambda::Permission"):
        if permission.get("SourceAccount") != ACCOUNT:
            yield name


def containers_have_no_rights(resources: Resources) -> Iterator[str]:
    for name, task in of_type(resources, "AWS::ECS::TaskDefinition"):
        for container in task["ContainerDefinitions"]:
            capabilities = container.get("LinuxParameters", {}).get("Capabilities", {})
            if (
                container.get("ReadonlyRootFilesystem") is not True
                or capabilities != {"Drop": ["ALL"]}
                or container.get("Privileged")
                or container.get("User", "0").split(":")[0] in ("0", "root")
            ):
                yield name


def images_are_what_they_were(resources: Resources) -> Iterator[str]:
    for name, repository in of_type(resources, "AWS::ECR::Repository"):
        scanned = repository.get("ImageScanningConfiguration", {}).get("ScanOnPush")
        if repository.get("ImageTagMutability") != "IMMUTABLE" or scanned is not True:
            yield name


def payloads_are_in_no_log(resources: Resources) -> Iterator[str]:
    """What state machines hand on holds payloads; their log would, too."""
    for name, machine in of_type(resources, "AWS::Serverless::StateMachine"):
        if "Logging" in machine:
            yield name
    for name, group in of_type(resources, "AWS::Logs::LogGroup"):
        if "RetentionInDays" not in group:
            yield name


Rule = Callable[[Resources], Iterator[str]]
Mistake = Callable[[Any], Any]


def _without(*path: str | int) -> Mistake:
    def mistake(resource: Any) -> None:
        for key in path[:-1]:
            resource = resource[key]
        del resource[path[-1]]

    return mistake


def _with(*path_and_value: Any) -> Mistake:
    *path, last, value = path_and_value

    def mistake(resource: Any) -> None:
        for key in path:
            resource = resource[key]
        resource[last] = value

    return mistake


_P = "Properties"
_TRUST = (_P, "AssumeRolePolicyDocument", "Statement", 0)
_FIRST = (_P, "Policies", 0, "PolicyDocument", "Statement", 0)
#: Each rule with mistakes that it must notice: the resource, and what is wrong with it.
RULES: dict[Rule, list[tuple[str, Mistake]]] = {
    roles_trust_a_service_of_this_account: [
        ("MeasureRole", _without(*_TRUST, "Condition")),
        ("SizingRole", _without(*_TRUST, "Condition", "ArnLike")),
        ("SizingRole", _with(*_TRUST, "Principal", {"AWS": "*"})),
    ],
    roles_allow_no_wildcard_action: [
        ("MeasureRole", _with(*_FIRST, "Action", "logs:*")),
        ("MeasureRole", _with(*_FIRST, "NotResource", "x")),
        ("MeasureRole", _with(_P, "ManagedPolicyArns", ["AdministratorAccess"])),
    ],
    only_one_s_own_objects_are_read: [
        (
            "MeasureRole",
            _with(*_FIRST, {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}),
        ),
    ],
    roles_are_passed_to_one_service: [
        (
            "MeasureRole",
            _with(*_FIRST, {"Effect": "Allow", "Action": "iam:PassRole", "Resource": "x"}),
        ),
    ],
    resources_are_closed_to_other_accounts: [
        ("TopicPolicy", _with(_P, "PolicyDocument", "Statement", 1, "Principal", "*")),
        ("TopicPolicy", _without(_P, "PolicyDocument", "Statement", 2, "Condition")),
    ],
    buckets_are_private_and_encrypted: [
        ("ResultsBucket", _without(_P, "BucketEncryption")),
        ("ResultsBucket", _without(_P, "PublicAccessBlockConfiguration", "BlockPublicAcls")),
        ("ResultsBucketPolicy", _with(_P, "Bucket", {"Ref": "AnotherBucket"})),
    ],
    topics_are_encrypted_where_a_key_is_given: [
        ("Topic", _without(_P, "KmsMasterKeyId")),
        ("TopicPolicy", _without(_P, "PolicyDocument", "Statement", 0)),
    ],
    queues_are_encrypted: [
        ("DeadLetters", _with(_P, "SqsManagedSseEnabled", False)),
        ("DeadLettersPolicy", _without(_P, "PolicyDocument", "Statement", 0)),
    ],
    tables_are_encrypted_and_can_be_restored: [
        ("SizingTable", _without(_P, "SSESpecification")),
        ("SizingTable", _without(_P, "PointInTimeRecoverySpecification")),
    ],
    nothing_connects_from_the_internet: [
        (
            "LeaderSecurityGroup",
            _with(_P, "SecurityGroupIngress", [{"CidrIp": "0.0.0.0/0", "IpProtocol": "-1"}]),
        ),
        ("SubnetA", _with(_P, "MapPublicIpOnLaunch", True)),
    ],
    nothing_is_called_from_the_internet: [
        ("MeasureFunction", _with(_P, "FunctionUrlConfig", {"AuthType": "NONE"})),
        ("Topic", _with("Type", "AWS::Serverless::HttpApi")),
    ],
    containers_have_no_rights: [
        ("LoadTestTaskDefinition", _with(_P, "ContainerDefinitions", 0, "Privileged", True)),
        ("LoadTestTaskDefinition", _with(_P, "ContainerDefinitions", 0, "User", "0")),
        ("LoadTestTaskDefinition", _without(_P, "ContainerDefinitions", 0, "LinuxParameters")),
    ],
    images_are_what_they_were: [("Repository", _with(_P, "ImageTagMutability", "MUTABLE"))],
    payloads_are_in_no_log: [
        ("SizingStateMachine", _with(_P, "Logging", {"IncludeExecutionData": True})),
        ("FunctionLogs", _without(_P, "RetentionInDays")),
    ],
}
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)


@each_rule
def test_every_resource_keeps_to(rule: Rule) -> None:
    assert list(rule(TEMPLATE["Resources"])) == []


@each_rule
def test_a_mistake_is_noticed_by(rule: Rule) -> None:
    for name, mistake in RULES[rule]:
        resources = copy.deepcopy(TEMPLATE["Resources"])
        mistake(resources[name])
        assert list(rule(resources)), name
