"""Where the load test's files are: in S3, or in a directory for runs without AWS."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from load_generator.clocks import ServerClock


class StorageError(Exception):
    """A file cannot be read or written; names it and says why."""


class Storage(Protocol):
    """The files of a load test, by name under its URI."""

    #: The clock of whoever keeps them, as far as their answers told.
    clock: ServerClock

    def read(self, name: str) -> bytes | None:
        """A file's content; None if there is no such file."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in place of one that is there."""


class S3Storage:
    """Files under a prefix in a bucket."""

    def __init__(self, uri: str, session: botocore.session.Session) -> None:
        parts = urlsplit(uri)
        self._bucket = parts.netloc
        self._prefix = parts.path.lstrip("/")
        config = Config(
            connect_timeout=5,
            read_timeout=10,
            retries={"mode": "standard", "total_max_attempts": 4},
        )
        # Its methods are made at run time, of the service's model.
        self._s3: Any = session.create_client("s3", config=config)
        self.clock = ServerClock()

    def read(self, name: str) -> bytes | None:
        key = self._prefix + name
        try:
            answer = self._call(self._s3.get_object, Bucket=self._bucket, Key=key)
            content: bytes = answer["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] in {"NoSuchKey", "404"}:
                return None
            raise StorageError(f"s3://{self._bucket}/{key}: {error}") from error
        except BotoCoreError as error:
            raise StorageError(f"s3://{self._bucket}/{key}: {error}") from error
        return content

    def write(self, name: str, content: bytes) -> None:
        key = self._prefix + name
        try:
            self._call(
                self._s3.put_object,
                Bucket=self._bucket,
                Key=key,
                Body=content,
                ContentType="application/json",
            )
        except (ClientError, BotoCoreError) as error:
            raise StorageError(f"s3://{self._bucket}/{key}: {error}") from error

    def _call(self, operation: Callable[..., Any], **parameters: str | bytes) -> Any:
        sent = time.time()
        answer = operation(**parameters)
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        self.clock.answered(headers.get("date"), sent, time.time())
        return answer


class DirectoryStorage:
    """Files in a directory."""

    def __init__(self, uri: str) -> None:
        # This machine's own, of which there is nothing to learn.
        self.clock = ServerClock()
        self._directory = Path(unquote(urlsplit(uri).path))

    def read(self, name: str) -> bytes | None:
        try:
            return (self._directory / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{self._directory / name}: {error.strerror}") from error

    def write(self, name: str, content: bytes) -> None:
        try:
            # Whole or not at all: others poll for it, and leader and worker may write it at once.
            part = self._directory / f".{name}.{secrets.token_hex(4)}.part"
            part.write_bytes(content)
            part.replace(self._directory / name)
        except OSError as error:
            raise StorageError(f"{self._directory / name}: {error.strerror}") from error


def open_storage(uri: str, session: botocore.session.Session) -> Storage:
    """The storage of a URI: ``s3://bucket/prefix/`` or ``file:///directory/``."""
    return S3Storage(uri, session) if uri.startswith("s3://") else DirectoryStorage(uri)


def read_uri(uri: str, session: botocore.session.Session) -> bytes:
    """The content of one file by its URI.

    Raises:
        StorageError: There is none, or it cannot be read.
    """
    folder, _, name = uri.rpartition("/")
    content = open_storage(f"{folder}/", session).read(name)
    if content is None:
        raise StorageError(f"{uri}: no such file")
    return content
