"""SetUp: what the stack needs and CloudFormation has no resource for. CloudFormation calls it.

A build may take longer than a function may run, so the end of the build, which CodeBuild tells
EventBridge of however it came about, calls the function again to answer. That needs nothing of the
container that builds: one that never starts would never call back.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError

from aws import images, s3_documents
from aws.clients import client
from aws.telemetry import logger
from set_up import source, stack_request
from set_up.stack_request import ImageRequest, ResultsRequest

#: Where the Makefile of the functions puts the image's source.
_SOURCE = Path(__file__).parents[1] / "image"
_FOLDER = "images/"
_LOG_LINES = 40
#: Objects that one DeleteObjects takes.
_AT_ONCE = 1000


def handler(event: dict[str, Any], _context: LambdaContext) -> None:
    """Do what CloudFormation asks, or answer it about a build that has ended.

    Whatever goes wrong is answered, too: a stack never waits for an answer that does not come.

    Raises:
        OSError: CloudFormation could not be answered; Lambda tries the whole again.
        pydantic.ValidationError: The event is neither.
    """
    if event.get("source") == "aws.codebuild":
        _build_ended(event["detail"]["build-id"], event["detail"]["build-status"])
        return
    request = stack_request.parse(event)
    logger.info("asked", extra={"what": request.resource_type, "how": request.request_type})
    try:
        if isinstance(request, ImageRequest):
            data = _image(request)
            if data is None:  # the build's end answers
                return
        else:
            data = _results(request)
    except Exception as error:  # noqa: BLE001 - whatever it is, the stack waits for an answer
        logger.exception("not done")
        stack_request.answer(request, failure=f"{type(error).__name__}: {error}")
        return
    stack_request.answer(request, data=data)


def _image(request: ImageRequest) -> dict[str, str] | None:
    """The image's URI; None while it is built."""
    properties = request.properties
    if request.request_type == "Delete":
        _stop_builds(properties.project)  # the repository goes next, with all that is in it
        return {}
    files = source.read(_SOURCE)
    tag = source.tag(files, properties.architecture)
    uri = f"{properties.repository_uri}:{tag}"
    if images.is_pushed(uri):
        return {"ImageUri": uri}
    bucket = os.environ["RESULTS_BUCKET"]
    archive = s3_documents.write(
        bucket, f"{_FOLDER}{tag}.zip", source.zipped(files), "application/zip"
    )
    s3_documents.write(
        bucket,
        _pending(request.request_id),
        request.model_dump_json(by_alias=True).encode(),
        "application/json",
    )
    variables = {"SOURCE": archive, "IMAGE": uri, "REQUEST": request.request_id}
    build = client("codebuild").start_build(
        projectName=properties.project,
        environmentVariablesOverride=[
            {"name": name, "value": value, "type": "PLAINTEXT"} for name, value in variables.items()
        ],
        idempotencyToken=request.request_id,  # Lambda may call twice for one request
    )["build"]
    logger.info("building", extra={"build": build["id"], "image": uri})
    return None


def _build_ended(build_arn: str, status: str) -> None:
    """Answer the request that a build was started for."""
    build_id = build_arn.rpartition("/")[2]
    [build] = client("codebuild").batch_get_builds(ids=[build_id])["builds"]
    given = {each["name"]: each["value"] for each in build["environment"]["environmentVariables"]}
    if "REQUEST" not in given:
        logger.info("nobody's build", extra={"build": build_id})
        return
    pending = s3_documents.read_json(os.environ["RESULTS_BUCKET"], _pending(given["REQUEST"]))
    request = stack_request.parse(pending)
    uri = given["IMAGE"]
    if images.is_pushed(uri):  # also by another build at the same time, which failed this one
        stack_request.answer(request, data={"ImageUri": uri})
        return
    stack_request.answer(request, failure=f"{build_id} is {status}: {_log_tail(build)}")


def _log_tail(build: dict[str, Any]) -> str:
    """The last lines of a build's log; what CodeBuild says itself, where there is no log."""
    said = [
        context["message"]
        for phase in build.get("phases", [])
        for context in phase.get("contexts", [])
        if context.get("message")
    ]
    logs = build.get("logs", {})
    try:
        events = client("logs").get_log_events(
            logGroupName=logs["groupName"], logStreamName=logs["streamName"], limit=_LOG_LINES
        )["events"]
    except (ClientError, KeyError):
        logger.exception("log not read")
        events = []
    return "\n".join([*said, *(each["message"].rstrip() for each in events)])


def _stop_builds(project: str) -> None:
    """Stop what still builds; a stack that is being deleted is kept by no trouble with it."""
    codebuild = client("codebuild")
    try:
        ids = codebuild.list_builds_for_project(projectName=project)["ids"]
        for build in codebuild.batch_get_builds(ids=ids[:10])["builds"] if ids else []:
            if build["buildStatus"] == "IN_PROGRESS":
                codebuild.stop_build(id=build["id"])
    except ClientError:
        logger.exception("builds not stopped")


def _results(request: ResultsRequest) -> dict[str, str]:
    """Remove the bucket with the stack, unless it is to be kept."""
    if request.request_type != "Delete" or request.properties.keep:
        return {}
    s3, bucket = client("s3"), request.properties.bucket
    try:
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
            named = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]
            for start in range(0, len(named), _AT_ONCE):
                some = named[start : start + _AT_ONCE]
                answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": some, "Quiet": True})
                if answer.get("Errors"):
                    raise RuntimeError(f"not deleted: {answer['Errors'][0]}")
        s3.delete_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchBucket":
            raise
    return {}


def _pending(request_id: str) -> str:
    return f"{_FOLDER}requests/{request_id}.json"
