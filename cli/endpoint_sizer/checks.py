"""What a first sizing needs of a deployed stack and its account, looked at one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from aws import images, instance_types, models, quotas
from aws.refusals import code_of
from endpoint_sizer.stack import Stack
from sizing.errors import InvalidRequest
from sizing.load_test.fleet import LEADER_VCPUS, plan_fleet
from sizing.load_test.quota import (
    FARGATE,
    FARGATE_VCPUS,
    Quota,
    QuotaKey,
    UnknownQuota,
    endpoint_usage,
)
from sizing.request.payloads import mean_body_bytes
from sizing.request.request import Request

#: Zones with Fargate, of regions where some have none, and zones where it has no ARM64, as of
#: 2026-11-25: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/AWS_Fargate-Regions.html
WITH_FARGATE: Final = {
    "ap-northeast-1": {"apne1-az1", "apne1-az2", "apne1-az4"},
    "us-west-1": {"usw1-az1", "usw1-az3"},
}
WITHOUT_ARM64: Final = {"use1-az3"}
#: Of bodies that are not looked at here.
_ASSUMED_BODY_BYTES: Final = 10_000.0


class Verdict(StrEnum):
    """What came of looking at one thing."""

    OK = "ok"
    MISSING = "missing"
    #: It could not be looked at, which stops no sizing.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """One thing that a sizing needs."""

    verdict: Verdict
    what: str
    #: What mends it, a command where there is one; empty where nothing needs mending.
    mend: str = ""


def run(stack: Stack, request: Request | None) -> list[Finding]:
    """Look at all that a sizing needs.

    Args:
        stack: The deployed stack.
        request: The sizing's; without one, what every sizing needs.
    """
    found: list[Finding] = []
    for name, check in {
        "the load generator's image": _image,
        "the topic's subscriptions": _subscriptions,
        "the load generators' subnets": _subnets,
        "the quotas": _quotas,
        "the model": _model,
    }.items():
        try:
            found += check(stack, request)
        except (BotoCoreError, ClientError) as error:
            found.append(Finding(Verdict.UNKNOWN, f"{name}: {error}"))
    return found


def _deploy(stack: Stack, **parameters: str) -> str:
    given = " ".join(f"{name}={value}" for name, value in parameters.items())
    return f"sam deploy --stack-name {stack.name} --parameter-overrides {given}"


def _image(stack: Stack, _request: Request | None) -> Iterator[Finding]:
    uri = stack.output("LoadGeneratorImageUri")
    try:
        there = images.is_pushed(uri)
    except ClientError as error:
        if code_of(error) != "RepositoryNotFoundException":
            raise
        there = False
    if there:
        yield Finding(Verdict.OK, f"the load generator's image is there: {uri}")
        return
    mend = f"endpoint-sizer image --repository {uri.rpartition(':')[0]} --architecture "
    mend += stack.output("LoadGeneratorArchitecture")
    yield Finding(Verdict.MISSING, f"the load generator's image: there is no {uri}", mend)


def _subscriptions(stack: Stack, _request: Request | None) -> Iterator[Finding]:
    topic = stack.output("TopicArn")
    pages = stack.client("sns").get_paginator("list_subscriptions_by_topic")
    found = [each for page in pages.paginate(TopicArn=topic) for each in page["Subscriptions"]]
    waiting = [each for each in found if each["SubscriptionArn"] == "PendingConfirmation"]
    if not found:
        mend = _deploy(stack, NotificationEmail="YOU@EXAMPLE.COM")
        yield Finding(Verdict.MISSING, "nobody gets the messages of the stack", mend)
    for each in waiting:
        mend = (
            f"follow the link in the mail of AWS Notifications; to have it sent again:\n"
            f"aws sns subscribe --region {stack.region} --topic-arn {topic} "
            f"--protocol {each['Protocol']} --notification-endpoint {each['Endpoint']}"
        )
        yield Finding(Verdict.MISSING, f"{each['Endpoint']} has not confirmed yet", mend)
    if confirmed := [each["Endpoint"] for each in found if each not in waiting]:
        yield Finding(Verdict.OK, f"messages go to {', '.join(confirmed)}")


def _subnets(stack: Stack, request: Request | None) -> Iterator[Finding]:
    ec2, ids = stack.client("ec2"), stack.output("LoadGeneratorSubnetIds").split(",")
    subnets = ec2.describe_subnets(SubnetIds=ids)["Subnets"]
    arm = stack.output("LoadGeneratorArchitecture") == "ARM64"
    zones = {each["AvailabilityZoneId"]: each["AvailabilityZone"] for each in subnets}
    bad = sorted(name for zone, name in zones.items() if not _has_fargate(stack.region, zone, arm))
    if bad:
        found = ec2.describe_availability_zones(
            Filters=[{"Name": "zone-type", "Values": ["availability-zone"]}]
        )
        good = [
            each["ZoneName"]
            for each in found["AvailabilityZones"]
            if _has_fargate(stack.region, each["ZoneId"], arm)
        ]
        mend = _deploy(stack, Zones=f'"{",".join(good[:2])}"')
        if arm:
            mend += f"\nor {_deploy(stack, CpuArchitecture='X86_64')}"
        kind = "ARM64 Fargate" if arm else "Fargate"
        yield Finding(Verdict.MISSING, f"there is no {kind} in {', '.join(bad)}", mend)
    else:
        yield Finding(Verdict.OK, f"Fargate is in the load generators' zones: {', '.join(zones)}")
    free, needed = sum(each["AvailableIpAddressCount"] for each in subnets), _tasks(request)
    if free < needed:
        what = f"the load generators' subnets have {free} free addresses, {needed} are needed"
        yield Finding(Verdict.MISSING, what, _deploy(stack, SubnetIds='"LARGER,SUBNETS"'))
    else:
        yield Finding(Verdict.OK, f"the load generators' subnets have {free} free addresses")


def _has_fargate(region: str, zone: str, arm: bool) -> bool:
    return zone in WITH_FARGATE.get(region, {zone}) and not (arm and zone in WITHOUT_ARM64)


def _fleet(request: Request | None) -> tuple[int, int]:
    """Workers of a load test at the target, and vCPUs of each; one where it is not known yet."""
    if request is None or request.target.given_tps is None:
        return 1, 1
    inline = request.payloads.inline
    size = mean_body_bytes(inline) if inline else _ASSUMED_BODY_BYTES
    fleet = plan_fleet(request.load, size, request.target.tps)
    return fleet.workers, fleet.worker_vcpus


def _tasks(request: Request | None) -> int:
    return _fleet(request)[0] + 1


def _quotas(_stack: Stack, request: Request | None) -> Iterator[Finding]:
    """All in one call: the quotas of SageMaker come in dozens of pages."""
    workers, each = _fleet(request)
    needs = {QuotaKey(FARGATE, FARGATE_VCPUS): (workers * each + LEADER_VCPUS, "vCPUs of Fargate")}
    if request is not None:
        most = request.limits.max_instances
        needs |= {
            endpoint_usage(it): (most, f"{it} for endpoints") for it in request.instance_types
        }
    values = quotas.read(list(needs))
    for key, (needed, what) in needs.items():
        yield _quota(key, values[key], needed, what)


def _quota(key: QuotaKey, quota: Quota | UnknownQuota, needed: int, what: str) -> Finding:
    if isinstance(quota, UnknownQuota):
        return Finding(Verdict.UNKNOWN, f"the quota of {what}: {quota.why}")
    text = f"the quota of {what} is {quota.value:g}, {needed} are needed"
    if quota.value >= needed:
        return Finding(Verdict.OK, text)
    mend = (
        f"aws service-quotas request-service-quota-increase --service-code {key.service} "
        f"--quota-code {quota.code} --desired-value {needed}"
    )
    return Finding(Verdict.MISSING, text, mend)


def _model(stack: Stack, request: Request | None) -> Iterator[Finding]:
    """Whether the models' role may pull the image and read the data, by IAM's own simulation."""
    if request is None:
        return
    try:
        instance_types.describe(request.instance_types)
        source = models.resolve(request.model, request.instance_types[0], stack.region)
    except InvalidRequest as error:
        yield Finding(Verdict.MISSING, f"the request: {error}")
        return
    if source.image is None or source.model_name is not None:
        yield Finding(Verdict.OK, "the model is there, with a role of its own")
        return
    role = stack.output("ModelsRoleArn")
    data = (source.container or {}).get("ModelDataUrl", "")
    partition = role.split(":")[1]
    wanted = {"ecr:BatchGetImage": _repository_arn(partition, source.image)}
    if data.startswith("s3://"):
        wanted["s3:GetObject"] = f"arn:{partition}:s3:::{data.removeprefix('s3://')}"
    for action, resource in wanted.items():
        if _is_allowed(stack.client("iam"), role, action, resource):
            yield Finding(Verdict.OK, f"the models' role may {action} {resource}")
            continue
        mend = _deploy(stack, ModelDataArns=f'"{resource}"')
        if action != "s3:GetObject":
            mend = f"allow it {action} on {resource}, and in that repository's policy"
        yield Finding(Verdict.MISSING, f"the models' role may not {action} {resource}", mend)


def _repository_arn(partition: str, image: str) -> str:
    registry, _, name = image.partition("/")
    account, _, _, region, *_ = registry.split(".")
    name = name.partition("@")[0].partition(":")[0]
    return f"arn:{partition}:ecr:{region}:{account}:repository/{name}"


def _is_allowed(iam: Any, role: str, action: str, resource: str) -> bool:
    """What the role's own policies say; that of a bucket or repository is its owner's."""
    account = role.split(":")[4]
    answer = iam.simulate_principal_policy(
        PolicySourceArn=role,
        ActionNames=[action],
        ResourceArns=[resource],
        ContextEntries=[
            {
                "ContextKeyName": "aws:ResourceAccount",
                "ContextKeyValues": [account],
                "ContextKeyType": "string",
            }
        ],
    )
    return all(each["EvalDecision"] == "allowed" for each in answer["EvaluationResults"])
