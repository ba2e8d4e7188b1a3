"""Small documents in S3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from aws.clients import client

_CHUNK_BYTES = 1 << 20


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of an ``s3://bucket/key``."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def read_json(bucket: str, key: str) -> Any:
    """An object's content as JSON.

    Raises:
        botocore.exceptions.ClientError: ``NoSuchKey`` and the like.
        ValueError: It is not JSON.
    """
    with _naming(bucket, key):
        return json.loads(client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())


@dataclass(frozen=True)
class ObjectFacts:
    """What is known of an object without reading it."""

    size_bytes: int
    #: The same as long as the content is; see S3's documentation of ETag.
    entity_tag: str


def describe(uri: str, account: str) -> ObjectFacts:
    """Size and entity tag of an object.

    Raises:
        botocore.exceptions.ClientError: It is missing, may not be read, or its bucket is not
            the account's.
    """
    bucket, key = split_uri(uri)
    with _naming(bucket, key):
        head = client("s3").head_object(Bucket=bucket, Key=key, ExpectedBucketOwner=account)
    return ObjectFacts(int(head["ContentLength"]), str(head.get("ETag", "")))


def lines(uri: str, account: str | None = None) -> Iterator[bytes]:
    """An object's lines, read as they are asked for.

    Args:
        uri: The object's ``s3://`` URI.
        account: The bucket must be this account's, if given.

    Raises:
        botocore.exceptions.ClientError: As for ``describe``.
    """
    bucket, key = split_uri(uri)
    owner = {"ExpectedBucketOwner": account} if account else {}
    with _naming(bucket, key):
        body = client("s3").get_object(Bucket=bucket, Key=key, **owner)["Body"]
    try:
        yield from body.iter_lines(chunk_size=_CHUNK_BYTES)
    finally:
        body.close()


def write(bucket: str, key: str, content: bytes, content_type: str) -> str:
    """Write an object; the bucket encrypts it. Returns its URI."""
    with _naming(bucket, key):
        client("s3").put_object(Bucket=bucket, Key=key, Body=content, ContentType=content_type)
    return f"s3://{bucket}/{key}"


def write_json(bucket: str, key: str, document: object) -> str:
    """Write a document that people read, too. Returns its URI."""
    content = json.dumps(document, indent=2, allow_nan=False).encode()
    return write(bucket, key, content, "application/json")


def remove(bucket: str, key: str) -> None:
    """Remove an object with all its versions, if there is one.

    Raises:
        botocore.exceptions.ClientError: The bucket could not be listed, or a version not deleted.
    """
    with _naming(bucket, key):
        s3 = client("s3")
        found = s3.list_object_versions(Bucket=bucket, Prefix=key)
        every = [*found.get("Versions", ()), *found.get("DeleteMarkers", ())]
        named = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in every]
        if named:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": named, "Quiet": True})


@contextmanager
def _naming(bucket: str, key: str) -> Iterator[None]:
    """Let a refusal say of which object: S3 says "Access Denied" or "Forbidden", and no more."""
    try:
        yield
    except ClientError as error:
        said = error.response["Error"]
        named = {**said, "Message": f"{said.get('Message', '')} (s3://{bucket}/{key})"}
        response: Any = {**error.response, "Error": named}
        raise ClientError(response, error.operation_name) from error
