"""Files that SageMaker's Data Capture wrote, read for a sample of what production is asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from botocore.exceptions import ClientError

from aws import refusals
from aws.availability import is_denied, is_transient
from aws.clients import client
from aws.production import may_not_be_read
from aws.s3_documents import split_uri
from sizing.errors import InvalidRequest
from sizing.production.captures import CaptureFile, Sampler, chosen, lines
from sizing.request.request import DataCapture, Payload
from sizing.request.sizing import CapturedPayloads

_FIELD: Final = "payloads.data_capture"
#: So that the function, which has ten minutes, ends by itself.
_MOST_SECONDS: Final = 300.0
_CHUNK_BYTES: Final = 1 << 20
_DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class Captured:
    """A sample of captured requests.

    Args:
        payloads: The requests, at least one.
        summary: What was found.
    """

    payloads: list[Payload]
    summary: CapturedPayloads


def read(asked: DataCapture, account: str, now: float) -> Captured:
    """A uniform sample of the requests that were captured.

    Args:
        asked: What the request asks for.
        account: The bucket must be this account's.
        now: Epoch seconds.

    Raises:
        InvalidRequest: The endpoint captures nothing, the files can't be read, or hold no request.
        botocore.exceptions.ClientError: AWS refused a call for another reason.
    """
    sampler = Sampler(asked.sample, asked.seed)
    source = f"{(asked.s3_uri or _destination(asked)).rstrip('/')}/"  # not its neighbours
    try:
        files = list(_files(source, account, now - asked.days * _DAY_SECONDS))
        read_files = 0
        for file in chosen(files, asked.seed):
            if time.time() - now > _MOST_SECONDS:
                break
            for line in _lines(file, account):
                sampler.show(line)
            read_files += 1
    except ClientError as error:
        if is_transient(error):
            raise
        raise InvalidRequest(
            f"{_FIELD}.{'s3_uri' if asked.s3_uri else 'endpoint'}",
            f"{source} can't be read ({refusals.code_of(error)}); it must be in a bucket of "
            f"account {account} that the stack's parameter DataCaptureBucket names",
        ) from None
    return Captured(sampler.payloads(), sampler.summary(source, len(files), read_files))


def _destination(asked: DataCapture) -> str:
    """Where an endpoint's captures are."""
    name = str(asked.endpoint)
    try:
        endpoint = client("sagemaker").describe_endpoint(EndpointName=name)
    except ClientError as error:
        if refusals.is_gone(error):
            raise InvalidRequest(f"{_FIELD}.endpoint", f"there is no endpoint {name}") from None
        if not is_denied(error):
            raise
        raise may_not_be_read(f"{_FIELD}.endpoint", name, error) from None
    capture: dict[str, Any] = endpoint.get("DataCaptureConfig") or {}
    where = capture.get("DestinationS3Uri", "")
    if not where.startswith("s3://"):
        raise InvalidRequest(f"{_FIELD}.endpoint", f"{name} captures no data")
    variants = [each["VariantName"] for each in endpoint.get("ProductionVariants", ())]
    if asked.variant is not None and asked.variant not in variants:
        raise InvalidRequest(
            f"{_FIELD}.variant", f"{name} has no {asked.variant}; it has {', '.join(variants)}"
        )
    return f"{where.rstrip('/')}/{name}/{asked.variant or ''}"


def _files(source: str, account: str, since: float) -> Iterator[CaptureFile]:
    """Files of the days asked for, as S3 says when they were written."""
    bucket, prefix = split_uri(source)
    pages = client("s3").get_paginator("list_objects_v2")
    begin = datetime.fromtimestamp(since, UTC)
    for page in pages.paginate(Bucket=bucket, Prefix=prefix, ExpectedBucketOwner=account):
        for each in page.get("Contents", ()):
            if each["Key"].endswith(".jsonl") and each["LastModified"] >= begin:
                yield CaptureFile(bucket, each["Key"], each["Size"])


def _lines(file: CaptureFile, account: str) -> Iterator[bytes | None]:
    body = client("s3").get_object(Bucket=file.bucket, Key=file.key, ExpectedBucketOwner=account)
    with closing(body["Body"]) as content:
        yield from lines(content.iter_chunks(_CHUNK_BYTES))
