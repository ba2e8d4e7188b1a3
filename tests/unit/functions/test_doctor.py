"""``endpoint-sizer doctor`` and ``image``: each thing that can be missing, and what mends it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from endpoint_sizer import checks
from endpoint_sizer.__main__ import run
from endpoint_sizer.checks import Finding, Verdict
from endpoint_sizer.stack import Stack
from local.cloudformation import load_template
from set_up import source
from sizing.request.request import parse_request
from tests.unit.functions.conftest import ACCOUNT, REGION, ROLE, Answer, Requests

Client = Callable[[str], Any]
Answered = Callable[[str, str, Answer], Requests]
ROOT = Path(__file__).parents[3]
REPOSITORY = "endpoint-sizer/load-generator"
REGISTRY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
TAG = source.tag(source.read(ROOT), "X86_64")
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:endpoint-sizer"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
REQUEST = {
    "model": {
        "container": {"image_uri": f"{REGISTRY}/mine:1", "model_data_url": "s3://data/m.tar.gz"}
    },
    "instance_types": ["ml.m5.xlarge"],
    "payloads": {"inline": [{"body": "{}"}]},
    "target": {"tps": 1000},
    "limits": {"max_instances": 20},
}


@pytest.fixture
def stack(aws: Client, answered: Answered, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """A stack that lacks nothing."""
    aws("ecr").create_repository(repositoryName=REPOSITORY)
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": {"digest": "x"}, "layers": []}
    aws("ecr").put_image(
        repositoryName=REPOSITORY, imageManifest=json.dumps(manifest), imageTag=TAG
    )
    aws("sns").create_topic(Name="endpoint-sizer")
    aws("sns").subscribe(TopicArn=TOPIC, Protocol="email", Endpoint="me@example.com")
    vpc = aws("ec2").create_vpc(CidrBlock="10.255.240.0/20")["Vpc"]["VpcId"]
    subnets = [
        aws("ec2").create_subnet(VpcId=vpc, CidrBlock=block, AvailabilityZone=f"{REGION}{zone}")
        for zone, block in (("a", "10.255.240.0/21"), ("b", "10.255.248.0/21"))
    ]
    quotas = [
        {"QuotaName": "Fargate vCPUs", "QuotaCode": "L-3032A538", "Value": 6},
        {"QuotaName": "ml.m5.xlarge for endpoint usage", "QuotaCode": "L-1", "Value": 20},
    ]
    answered("service-quotas", "ListServiceQuotas", lambda _: {"Quotas": quotas})
    allowing(answered, "allowed")
    outputs = {
        "LoadGeneratorImageUri": f"{REGISTRY}/{REPOSITORY}:{TAG}",
        "LoadGeneratorArchitecture": "X86_64",
        "LoadGeneratorSubnetIds": ",".join(each["Subnet"]["SubnetId"] for each in subnets),
        "TopicArn": TOPIC,
        "ModelsRoleArn": ROLE,
        "RepositoryUri": f"{REGISTRY}/{REPOSITORY}",
    }
    given = [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()]
    answered("cloudformation", "DescribeStacks", lambda _: {"Stacks": [{"Outputs": given}]})
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "made-up")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made-up")
    return Stack("endpoint-sizer", REGION, outputs)


def allowing(answered: Answered, decision: str) -> Requests:
    return answered(
        "iam",
        "SimulatePrincipalPolicy",
        lambda asked: {
            "EvaluationResults": [
                {"EvalActionName": asked["ActionNames"][0], "EvalDecision": decision}
            ]
        },
    )


def missing(stack: Stack, request: Any = REQUEST) -> list[Finding]:
    found = checks.run(stack, parse_request(request))
    return [each for each in found if each.verdict is not Verdict.OK]


def changed(stack: Stack, **outputs: str) -> Stack:
    return Stack(stack.name, stack.region, {**stack.outputs, **outputs})


def test_the_template_has_the_outputs_that_are_asked_for(stack: Stack) -> None:
    assert stack.outputs.keys() <= load_template(ROOT / "template.yaml")["Outputs"].keys()


def test_nothing_is_missing(stack: Stack, answered: Answered) -> None:
    asked = allowing(answered, "allowed")
    assert missing(stack) == []
    assert {each["ActionNames"][0]: each["ResourceArns"][0] for each in asked} == {
        "ecr:BatchGetImage": f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/mine",
        "s3:GetObject": "arn:aws:s3:::data/m.tar.gz",
    }
    assert {each["PolicySourceArn"] for each in asked} == {ROLE}


def test_the_image_is_missing(stack: Stack) -> None:
    uri = f"{REGISTRY}/{REPOSITORY}"
    [found] = missing(changed(stack, LoadGeneratorImageUri=f"{uri}:other"))
    assert found.what == f"the load generator's image: there is no {uri}:other"
    assert found.mend == f"endpoint-sizer image --repository {uri} --architecture X86_64"
    [found] = missing(changed(stack, LoadGeneratorImageUri=f"{REGISTRY}/other:1"))
    assert "there is no" in found.what


def test_nobody_has_subscribed(stack: Stack, answered: Answered) -> None:
    answered("sns", "ListSubscriptionsByTopic", lambda _: {"Subscriptions": []})
    [found] = missing(stack)
    assert "nobody" in found.what
    assert found.mend.startswith("sam deploy --stack-name endpoint-sizer --parameter-overrides")
    assert "NotificationEmail=" in found.mend


def test_a_subscription_is_not_confirmed(stack: Stack, answered: Answered) -> None:
    waiting = {"SubscriptionArn": "PendingConfirmation", "Protocol": "email", "Endpoint": "a@b.c"}
    answered("sns", "ListSubscriptionsByTopic", lambda _: {"Subscriptions": [waiting]})
    [found] = missing(stack)
    assert found.what == "a@b.c has not confirmed yet"
    assert "aws sns subscribe" in found.mend


@pytest.mark.parametrize(
    "region, zone, architecture, has",
    [
        ("us-east-1", "use1-az3", "ARM64", False),
        ("us-east-1", "use1-az3", "X86_64", True),
        ("us-east-1", "use1-az1", "ARM64", True),
        ("us-west-1", "usw1-az2", "X86_64", False),
        ("ap-northeast-1", "apne1-az4", "ARM64", True),
        ("eu-west-1", "euw1-az1", "X86_64", True),
    ],
)
def test_zones_without_fargate_are_known(
    stack: Stack, answered: Answered, region: str, zone: str, architecture: str, has: bool
) -> None:
    subnet = {
        "AvailabilityZoneId": zone,
        "AvailabilityZone": "the-zone",
        "AvailableIpAddressCount": 99,
    }
    zones = [
        {"ZoneName": "the-zone", "ZoneId": zone},
        {"ZoneName": "good-1", "ZoneId": "usw1-az1"},
        {"ZoneName": "good-2", "ZoneId": "usw1-az3"},
    ]
    answered("ec2", "DescribeSubnets", lambda _: {"Subnets": [subnet]})
    answered("ec2", "DescribeAvailabilityZones", lambda _: {"AvailabilityZones": zones})
    there = Stack(stack.name, region, {**stack.outputs, "LoadGeneratorArchitecture": architecture})
    found = [each for each in missing(there) if "Fargate in" in each.what]
    assert bool(found) is not has
    for each in found:
        assert each.what.endswith("in the-zone")
        assert 'Zones="good-1,good-2"' in each.mend
        assert ("CpuArchitecture=X86_64" in each.mend) is (architecture == "ARM64")


def test_subnets_are_too_small(stack: Stack, answered: Answered) -> None:
    subnet = {
        "AvailabilityZoneId": "use1-az1",
        "AvailabilityZone": "us-east-1a",
        "AvailableIpAddressCount": 20,
    }
    answered("ec2", "DescribeSubnets", lambda _: {"Subnets": [subnet]})
    [found] = missing(stack, {**REQUEST, "target": {"tps": 100_000}})[:1]
    assert found.what.endswith("have 20 free addresses, 21 are needed")


def test_quotas_are_too_low(stack: Stack, answered: Answered) -> None:
    quotas = [
        {"QuotaName": "Fargate vCPUs", "QuotaCode": "L-3032A538", "Value": 1},
        {"QuotaName": "ml.m5.xlarge for endpoint usage", "QuotaCode": "L-1", "Value": 0},
    ]
    answered("service-quotas", "ListServiceQuotas", lambda _: {"Quotas": quotas})
    fargate, endpoints = missing(stack)
    assert fargate.what == "the quota of vCPUs of Fargate is 1, 2 are needed"
    assert endpoints.what == "the quota of ml.m5.xlarge for endpoints is 0, 20 are needed"
    assert endpoints.mend == (
        "aws service-quotas request-service-quota-increase --service-code sagemaker "
        "--quota-code L-1 --desired-value 20"
    )


def test_the_models_role_may_not_read(stack: Stack, answered: Answered) -> None:
    allowing(answered, "implicitDeny")
    image, data = missing(stack)
    assert "ecr:BatchGetImage" in image.what
    assert data.mend.endswith('ModelDataArns="arn:aws:s3:::data/m.tar.gz"')


def test_the_model_is_not_there(stack: Stack) -> None:
    [found] = missing(stack, {**REQUEST, "model": {"model_name": "gone"}})
    assert "gone" in found.what


def test_what_may_not_be_looked_at_is_not_known(stack: Stack, answered: Answered) -> None:
    denied = ClientError({"Error": {"Code": "AccessDenied"}}, "x")
    for service, operation in (
        ("ecr", "DescribeImages"),
        ("sns", "ListSubscriptionsByTopic"),
        ("ec2", "DescribeSubnets"),
        ("service-quotas", "ListServiceQuotas"),
        ("service-quotas", "ListAWSDefaultServiceQuotas"),
        ("iam", "SimulatePrincipalPolicy"),
    ):
        answered(service, operation, lambda _: denied)
    found = missing(stack)
    assert {each.verdict for each in found} == {Verdict.UNKNOWN}
    assert len(found) == 6


def test_the_command_says_what_is_missing_and_fails(
    stack: Stack, answered: Answered, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", "--region", REGION]) == 0
    assert capsys.readouterr().out.count("\nok ") >= 3
    path = tmp_path / "request.json"
    path.write_text(json.dumps({**REQUEST, "limits": {"max_instances": 21}}))
    assert run(["doctor", str(path), "--region", REGION]) == 1
    said = capsys.readouterr()
    assert "missing  the quota of ml.m5.xlarge for endpoints is 20, 21 are needed\n" in said.out
    assert "\n         aws service-quotas request-" in said.out
    assert said.err == "error: 1 of 8 are missing for a sizing\n"


# --- The image -----------------------------------------------------------------------------------


@pytest.fixture
def builders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Programs that write down what they are called with; returns where."""
    log = tmp_path / "log"
    monkeypatch.setenv("LOG", str(log))

    def make(*names: str, fails_at: str = "none") -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in names:
            program = folder / name
            program.write_text(
                f'#!/bin/sh\necho {name} "$@" >> "$LOG"\n'
                'for last in "$@"; do :; done\n'
                '[ "$1" = login ] && { cat >> "$LOG"; echo >> "$LOG"; }\n'
                '[ "$1" = build ] && (cd "$last" && find . -type f | wc -l >> "$LOG")\n'
                f'[ "$1" != {fails_at} ]\n'
            )
            program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        monkeypatch.setattr(
            "shutil.which", lambda name: str(folder / name) if name in names else None
        )
        return log

    return make


def logged_in(answered: Answered) -> None:
    token = base64.b64encode(b"AWS:a-password").decode()
    data = {"authorizationData": [{"authorizationToken": token}]}
    answered("ecr", "GetAuthorizationToken", lambda _: data)


def test_an_image_is_built_and_pushed(
    stack: Stack, answered: Answered, builders: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    log = builders("podman", "buildah")
    logged_in(answered)
    arguments = ["image", "--region", REGION, "--architecture", "ARM64"]
    assert run(arguments) == 0
    uri = f"{REGISTRY}/{REPOSITORY}:{source.tag(source.read(ROOT), 'ARM64')}"
    build, files, login, password, push = log.read_text().splitlines()
    assert build.startswith("podman build --platform linux/arm64 --file ")
    assert f" --tag {uri} " in build
    assert int(files) == len(source.read(ROOT))
    assert login == f"podman login --username AWS --password-stdin {REGISTRY}"
    assert password == "a-password"
    assert push == f"podman push {uri}"
    assert capsys.readouterr().out.startswith(uri)


def test_an_image_that_is_there_is_not_built(stack: Stack, builders: Any) -> None:
    log = builders("docker")
    assert run(["image", "--region", REGION]) == 0
    assert not log.exists()


def test_a_builder_that_is_named_is_taken(stack: Stack, answered: Answered, builders: Any) -> None:
    log = builders("docker", "buildah")
    logged_in(answered)
    uri = f"{REGISTRY}/{REPOSITORY}"
    options = ["--repository", uri, "--builder", "buildah", "--architecture", "ARM64"]
    assert run(["image", *options]) == 0
    assert log.read_text().startswith("buildah build --format docker --platform linux/arm64")


@pytest.mark.parametrize("step", ["build", "login", "push"])
def test_a_step_that_fails_ends_the_command(
    stack: Stack,
    answered: Answered,
    builders: Any,
    step: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = builders("docker", fails_at=step)
    logged_in(answered)
    assert run(["image", "--region", REGION, "--architecture", "ARM64"]) == 1
    assert capsys.readouterr().err == f"error: docker {step} ended with 1\n"
    commands = [line for line in log.read_text().splitlines() if line.startswith("docker")]
    assert commands[-1].startswith(f"docker {step}")


@pytest.mark.parametrize(
    "programs, options, said",
    [
        ((), [], "none of docker, podman, buildah is on the PATH"),
        (("docker",), ["--builder", "podman"], "--builder: podman is not on the PATH"),
        (("docker",), ["--repository", "mine"], "--repository: must be the URI of an ECR"),
        (("docker",), ["--repository", f"{REGISTRY}/gone"], "there is no repository gone"),
    ],
)
def test_wrong_use_is_said(
    stack: Stack,
    builders: Any,
    capsys: pytest.CaptureFixture[str],
    programs: tuple[str, ...],
    options: list[str],
    said: str,
) -> None:
    builders(*programs)
    assert run(["image", *options]) == 64
    assert said in capsys.readouterr().err
