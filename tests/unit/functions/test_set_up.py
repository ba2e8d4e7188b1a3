"""SetUp: CloudFormation is answered, whatever becomes of the image and of the results."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from botocore.exceptions import ClientError
from pydantic import ValidationError

from set_up import app, source
from tests.unit.functions.conftest import BUCKET, Answer, Requests

Client = Callable[[str], Any]
Answered = Callable[[str, str, Answer], Requests]
ROOT = Path(__file__).parents[3]
REPOSITORY = "endpoint-sizer/load-generator"
URI = f"123456789012.dkr.ecr.us-east-1.amazonaws.com/{REPOSITORY}"
PROJECT = "endpoint-sizer-image"
BUILD = f"{PROJECT}:3f2a"
BUILD_ARN = f"arn:aws:codebuild:us-east-1:123456789012:build/{BUILD}"


@dataclass
class CloudFormation:
    """Keeps what it is answered."""

    url: str
    answers: list[dict[str, Any]] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    types: list[str | None] = field(default_factory=list)


@pytest.fixture
def cloudformation() -> Iterator[CloudFormation]:
    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.answers.append(json.loads(body))
            told.sizes.append(len(body))
            told.types.append(self.headers.get("Content-Type"))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    told = CloudFormation(f"http://127.0.0.1:{server.server_port}/answer?signed=secret")
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield told
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def packaged(monkeypatch: pytest.MonkeyPatch) -> None:
    """In an artifact the source lies beside the functions; here it is the repository's."""
    monkeypatch.setattr(app, "_SOURCE", ROOT)


@pytest.fixture
def repository(aws: Client) -> Client:
    aws("ecr").create_repository(repositoryName=REPOSITORY)
    return aws


def request(told: CloudFormation, kind: str, how: str, **properties: str) -> dict[str, Any]:
    return {
        "RequestType": how,
        "ResponseURL": told.url,
        "StackId": "arn:aws:cloudformation:us-east-1:123456789012:stack/endpoint-sizer/1",
        "RequestId": f"request-{how}",
        "LogicalResourceId": kind,
        "ResourceType": f"Custom::{kind}",
        "ResourceProperties": {"ServiceToken": "arn", **properties},
    }


def image(told: CloudFormation, how: str, architecture: str = "X86_64") -> dict[str, Any]:
    return request(
        told,
        "LoadGeneratorImage",
        how,
        Architecture=architecture,
        RepositoryUri=URI,
        Project=PROJECT,
        Source="arn:version:1",
    )


def results(told: CloudFormation, how: str, keep: str) -> dict[str, Any]:
    return request(told, "ResultsRemoval", how, Bucket=BUCKET, Keep=keep)


def ended(status: str) -> dict[str, Any]:
    return {
        "source": "aws.codebuild",
        "detail-type": "CodeBuild Build State Change",
        "detail": {"build-id": BUILD_ARN, "build-status": status, "project-name": PROJECT},
    }


def push(aws: Client, architecture: str = "X86_64") -> str:
    tag = source.tag(source.read(ROOT), architecture)
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    content = {"schemaVersion": 2, "mediaType": kind, "config": {"digest": "sha256:0"}}
    manifest = json.dumps({**content, "layers": []})
    aws("ecr").put_image(repositoryName=REPOSITORY, imageManifest=manifest, imageTag=tag)
    return tag


def call(event: dict[str, Any]) -> None:
    app.handler(event, None)  # type: ignore[arg-type]


def starts(answered: Answered, started: Requests | None = None) -> Requests:
    requests = answered("codebuild", "StartBuild", lambda _: {"build": {"id": BUILD}})

    def build(_: Any) -> dict[str, Any]:
        return {
            "builds": [
                {
                    "id": BUILD,
                    "buildStatus": "FAILED",
                    "environment": {
                        "environmentVariables": requests[-1]["environmentVariablesOverride"]
                        if requests
                        else []
                    },
                    "phases": [{"contexts": [{"message": "exit status 1"}]}, {}],
                    "logs": {"groupName": "/aws/codebuild/x", "streamName": "3f2a"},
                }
            ]
        }

    answered("codebuild", "BatchGetBuilds", build)
    return requests


def test_an_image_that_is_there_is_not_built_again(
    repository: Client, answered: Answered, cloudformation: CloudFormation
) -> None:
    tag, started = push(repository), starts(answered)
    call(image(cloudformation, "Create"))
    call(image(cloudformation, "Update"))
    assert started == []
    first, second = cloudformation.answers
    assert (first["Status"], first["Data"]) == ("SUCCESS", {"ImageUri": f"{URI}:{tag}"})
    assert first["PhysicalResourceId"] == second["PhysicalResourceId"]
    assert first["RequestId"] == "request-Create"
    assert cloudformation.types == ["", ""]  # or S3 would not take the signature


def test_another_architecture_is_another_image(
    repository: Client, answered: Answered, cloudformation: CloudFormation
) -> None:
    push(repository, "X86_64")
    started = starts(answered)
    call(image(cloudformation, "Update", "ARM64"))
    assert len(started) == 1
    assert cloudformation.answers == []


def test_a_build_is_given_the_whole_source_and_answered_at_its_end(
    repository: Client, answered: Answered, cloudformation: CloudFormation, tmp_path: Path
) -> None:
    started = starts(answered)
    call(image(cloudformation, "Create"))
    assert cloudformation.answers == []  # CloudFormation waits
    [build] = started
    given = {each["name"]: each["value"] for each in build["environmentVariablesOverride"]}
    assert build["idempotencyToken"] == "request-Create"
    assert cloudformation.url not in json.dumps(started)  # whoever sees the build could answer
    bucket, _, key = given["SOURCE"].removeprefix("s3://").partition("/")
    archive = tmp_path / "source.zip"
    repository("s3").download_file(bucket, key, str(archive))
    zipfile.ZipFile(archive).extractall(tmp_path / "source")
    dockerfile = (ROOT / source.DOCKERFILE).read_text()
    copied = [
        word
        for line in dockerfile.splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    ]
    assert len(copied) == 3
    for path in [source.DOCKERFILE, *copied]:
        assert (tmp_path / "source" / path).exists(), path
    assert source.read(tmp_path / "source") == source.read(ROOT)

    tag = push(repository)
    call(ended("SUCCEEDED"))
    [answer] = cloudformation.answers
    assert answer["Data"] == {"ImageUri": f"{URI}:{tag}"} == {"ImageUri": given["IMAGE"]}
    assert answer["RequestId"] == "request-Create"


@pytest.mark.parametrize("status", ["FAILED", "FAULT", "STOPPED", "TIMED_OUT", "SUCCEEDED"])
def test_a_build_that_pushed_nothing_fails_with_the_end_of_its_log(
    repository: Client, answered: Answered, cloudformation: CloudFormation, status: str
) -> None:
    starts(answered)
    lines = [f"\x1b[31mline {number}\x1b[0m {'é' * 90}\n" for number in range(200)]
    asked = answered(
        "logs",
        "GetLogEvents",
        lambda wanted: {"events": [{"message": each} for each in lines[-wanted["limit"] :]]},
    )
    call(image(cloudformation, "Create"))
    call(ended(status))
    [answer] = cloudformation.answers
    assert answer["Status"] == "FAILED"
    assert "line 199" in answer["Reason"]
    assert "\x1b" not in answer["Reason"]
    assert asked[0]["logStreamName"] == "3f2a"
    assert cloudformation.sizes[0] <= 4096


def test_a_build_without_a_log_fails_by_what_codebuild_says(
    repository: Client, answered: Answered, cloudformation: CloudFormation
) -> None:
    starts(answered)
    error = ClientError({"Error": {"Code": "ResourceNotFoundException"}}, "GetLogEvents")
    answered("logs", "GetLogEvents", lambda _: error)
    call(image(cloudformation, "Create"))
    call(ended("FAULT"))
    assert cloudformation.answers[0]["Reason"] == f"{BUILD} is FAULT: exit status 1"


def test_two_builds_of_one_image_at_a_time_both_succeed(
    repository: Client, answered: Answered, cloudformation: CloudFormation
) -> None:
    """The second can't push, as tags don't change; what it would have pushed is there."""
    starts(answered)
    call(image(cloudformation, "Create"))
    push(repository)
    call(ended("FAILED"))
    assert cloudformation.answers[0]["Status"] == "SUCCESS"


def test_a_build_that_somebody_else_started_is_nobody_s_answer(
    repository: Client, answered: Answered, cloudformation: CloudFormation
) -> None:
    starts(answered)
    call(ended("SUCCEEDED"))
    assert cloudformation.answers == []


def refused(operation: str, code: str = "AccessDeniedException") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, operation)


@pytest.mark.parametrize(
    "service, operation",
    [("ecr", "DescribeImages"), ("s3", "PutObject"), ("codebuild", "StartBuild")],
)
def test_whatever_is_refused_is_answered(
    repository: Client,
    answered: Answered,
    cloudformation: CloudFormation,
    service: str,
    operation: str,
) -> None:
    starts(answered)
    answered(service, operation, lambda _: refused(operation))
    call(image(cloudformation, "Create"))
    [answer] = cloudformation.answers
    assert answer["Status"] == "FAILED"
    assert operation in answer["Reason"]


def test_a_source_that_was_not_packaged_is_answered(
    repository: Client, cloudformation: CloudFormation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "_SOURCE", ROOT / "functions" / "image")
    call(image(cloudformation, "Create"))
    assert cloudformation.answers[0]["Status"] == "FAILED"
    assert "Dockerfile" in cloudformation.answers[0]["Reason"]


def test_an_answer_that_is_not_taken_fails_so_that_lambda_tries_again(
    repository: Client, cloudformation: CloudFormation
) -> None:
    push(repository)
    event = image(cloudformation, "Create")
    event["ResponseURL"] = "http://127.0.0.1:9/answer"
    with pytest.raises(OSError, match="refused"):
        call(event)
    event["ResponseURL"] = cloudformation.url
    call(event)
    assert cloudformation.answers[0]["Status"] == "SUCCESS"


def test_deleting_stops_what_still_builds(
    repository: Client, answered: Answered, cloudformation: CloudFormation
) -> None:
    answered("codebuild", "ListBuildsForProject", lambda _: {"ids": [BUILD, "done"]})
    builds = [
        {"id": BUILD, "buildStatus": "IN_PROGRESS"},
        {"id": "done", "buildStatus": "SUCCEEDED"},
    ]
    answered("codebuild", "BatchGetBuilds", lambda _: {"builds": builds})
    stopped = answered("codebuild", "StopBuild", lambda _: {})
    call(image(cloudformation, "Delete"))
    assert [each["id"] for each in stopped] == [BUILD]
    assert cloudformation.answers[0]["Status"] == "SUCCESS"


@pytest.mark.parametrize("code", ["ResourceNotFoundException", "AccessDeniedException"])
def test_deleting_a_half_made_stack_is_kept_by_nothing(
    aws: Client, answered: Answered, cloudformation: CloudFormation, code: str
) -> None:
    error = refused("ListBuildsForProject", code)
    answered("codebuild", "ListBuildsForProject", lambda _: error)
    call(image(cloudformation, "Delete"))
    assert cloudformation.answers[0]["Status"] == "SUCCESS"


@pytest.mark.parametrize(
    "how, keep", [("Create", "false"), ("Update", "false"), ("Delete", "true")]
)
def test_results_stay_until_the_stack_goes_and_they_are_not_to_be_kept(
    aws: Client, cloudformation: CloudFormation, how: str, keep: str
) -> None:
    aws("s3").put_object(Bucket=BUCKET, Key="sizings/1/result.json", Body=b"{}")
    call(results(cloudformation, how, keep))
    assert cloudformation.answers[0]["Status"] == "SUCCESS"
    assert aws("s3").list_objects_v2(Bucket=BUCKET)["KeyCount"] == 1


def test_results_that_are_not_kept_go_with_all_their_versions(
    aws: Client, cloudformation: CloudFormation
) -> None:
    s3 = aws("s3")
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    for number in range(3):
        s3.put_object(Bucket=BUCKET, Key="sizings/1/result.json", Body=str(number).encode())
    s3.put_object(Bucket=BUCKET, Key="images/1.zip", Body=b"")
    s3.delete_object(Bucket=BUCKET, Key="images/1.zip")
    call(results(cloudformation, "Delete", "false"))
    assert cloudformation.answers[0]["Status"] == "SUCCESS"
    assert BUCKET not in [each["Name"] for each in s3.list_buckets()["Buckets"]]
    call(results(cloudformation, "Delete", "false"))  # called twice
    assert cloudformation.answers[1]["Status"] == "SUCCESS"


def test_what_could_not_be_deleted_fails_the_deletion(
    aws: Client, answered: Answered, cloudformation: CloudFormation
) -> None:
    aws("s3").put_object(Bucket=BUCKET, Key="kept", Body=b"")
    errors = [{"Key": "kept", "Code": "AccessDenied"}]
    answered("s3", "DeleteObjects", lambda _: {"Errors": errors})
    call(results(cloudformation, "Delete", "false"))
    assert cloudformation.answers[0]["Status"] == "FAILED"
    assert "AccessDenied" in cloudformation.answers[0]["Reason"]


@pytest.mark.parametrize(
    "change",
    [
        {"ResourceType": "Custom::Other"},
        {"RequestType": "Read"},
        {"ResponseURL": "file:///etc/passwd"},
        {"ResourceProperties": {}},
    ],
)
def test_nothing_else_is_taken_for_a_request(
    cloudformation: CloudFormation, change: dict[str, Any]
) -> None:
    with pytest.raises(ValidationError):
        call({**image(cloudformation, "Create"), **change})


def test_the_tag_follows_from_content_and_architecture(tmp_path: Path) -> None:
    files = {"a": b"1", "b": b"2"}
    tags = {
        source.tag(files, "X86_64"),
        source.tag(files, "ARM64"),
        source.tag({"a": b"12", "b": b""}, "X86_64"),
        source.tag({"a": b"1", "c": b"2"}, "X86_64"),
    }
    assert len(tags) == 4
    assert source.tag(dict(reversed(files.items())), "X86_64") in tags
    assert source.zipped(files) == source.zipped(dict(reversed(files.items())))


def test_bytecode_is_no_source(tmp_path: Path) -> None:
    for name in (source.DOCKERFILE, "requirements/locust.txt", "locust_image/locustfile.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(name)
    before = source.read(tmp_path)
    (tmp_path / "locust_image/__pycache__").mkdir()
    (tmp_path / "locust_image/__pycache__/locustfile.cpython-313.pyc").write_bytes(b"\0")
    assert source.read(tmp_path) == before
    assert len(before) == 3
