"""The load test's files in S3: read and written over a real socket, and the time AWS says it is."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path

import botocore.session
import pytest

from benchmarks.load.scripted_server import Request, ScriptedServer, answer
from load_generator import spec
from load_generator.storage import StorageError, open_storage, read_uri
from tests.local.load_tests import run, specification

#: How far the server's clock is behind.
BEHIND = 30.0
LINES = b'{"body": "one", "weight": 2}\n\n{"body": "AAEC", "base64": true}\n'


class Bucket:
    """A little of S3."""

    def __init__(self) -> None:
        self.objects = {"/bucket/prefix/payloads.jsonl": LINES}
        self.requests: list[Request] = []
        self.url = ""

    async def __call__(self, request: Request, writer: asyncio.StreamWriter) -> None:
        self.requests.append(request)
        path = request.path.partition("?")[0]
        status, body = "200 OK", b""
        if path.endswith("secret.json"):
            status = "403 Forbidden"
            body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
        elif request.body:
            self.objects[path] = request.body
        elif path in self.objects:
            body = self.objects[path]
        else:
            status = "404 Not Found"
            body = b"<Error><Code>NoSuchKey</Code><Message>none</Message></Error>"
        date = formatdate(time.time() - BEHIND, usegmt=True)
        writer.write(answer(body, status=status, headers={"Date": date}))


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    made = Bucket()
    with ScriptedServer(made) as server:
        made.url = server.url
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        # Its answers are not those of S3 in every respect.
        monkeypatch.setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")
        monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
        yield made


def test_files_are_written_and_read(bucket: Bucket) -> None:
    storage = open_storage("s3://bucket/prefix/", botocore.session.get_session())
    assert storage.read("leader.json") is None
    storage.write("leader.json", b'{"port": 5557}')
    assert storage.read("leader.json") == b'{"port": 5557}'
    assert all("AWS4-HMAC-SHA256" in each.headers["authorization"] for each in bucket.requests)
    with pytest.raises(StorageError, match=r"s3://bucket/prefix/secret\.json.*AccessDenied"):
        storage.read("secret.json")


def test_payload_sets_come_as_json_lines(bucket: Bucket) -> None:
    uri = "s3://bucket/prefix/payloads.jsonl"
    content = read_uri(uri, botocore.session.get_session())
    assert spec.parse_json_lines(content, source=uri) == [
        spec.Payload(b"one", weight=2.0),
        spec.Payload(b"\x00\x01\x02"),
    ]
    assert [each.path for each in bucket.requests] == ["/bucket/prefix/payloads.jsonl"]
    with pytest.raises(StorageError, match=r"s3://bucket/prefix/others\.jsonl: no such file"):
        read_uri("s3://bucket/prefix/others.jsonl", botocore.session.get_session())


def test_answers_tell_how_far_awss_clock_is_ahead(bucket: Bucket) -> None:
    storage = open_storage("s3://bucket/prefix/", botocore.session.get_session())
    assert storage.clock.offset is None
    storage.write("leader.json", b"{}")
    known = storage.clock.offset
    assert known is not None
    assert abs(known.offset + BEHIND) <= known.uncertainty


def test_a_load_test_that_is_kept_in_s3_says_what_the_time_is_there(
    bucket: Bucket, tmp_path: Path
) -> None:
    bucket.objects["/bucket/prefix/spec.json"] = json.dumps(
        specification(payloads={"s3_uri": "s3://bucket/prefix/payloads.jsonl"})
    ).encode()
    with ScriptedServer(answer()) as endpoint:
        outcome = run(
            specification(),
            url=endpoint.url,
            directory=tmp_path,
            environment={
                "LOAD_TEST_URI": "s3://bucket/prefix",
                "AWS_ENDPOINT_URL_S3": bucket.url,
            },
        )
        bodies = {request.body for request in endpoint.requests}
    assert outcome.leader_exit_code == 0, outcome.logs
    assert outcome.worker_exit_codes == [0]
    assert bodies == {b"one", b"\x00\x01\x02"}
    document = json.loads(bucket.objects["/bucket/prefix/load_test.json"])
    assert document["status"] == "COMPLETED"
    clock = document["clock"]
    assert abs(clock["offset_seconds"] + BEHIND) <= clock["uncertainty_seconds"] + 0.001


def test_two_that_write_a_file_at_once_leave_a_whole_one(tmp_path: Path) -> None:
    """Leader and worker may both report why they could not start."""
    folder = tmp_path / "a name with spaces"
    folder.mkdir()
    storage = open_storage(folder.as_uri(), botocore.session.get_session())
    reports = [b"leader" * 20_000, b"worker" * 50_000]

    def write(content: bytes) -> None:
        for _ in range(100):
            storage.write("load_test.json", content)

    with ThreadPoolExecutor() as pool:
        written = [pool.submit(write, each) for each in reports]
        while not all(each.done() for each in written):
            assert storage.read("load_test.json") in (None, *reports)
    for each in written:
        each.result()
    assert storage.read("load_test.json") in reports
    assert [each.name for each in folder.iterdir()] == ["load_test.json"]
