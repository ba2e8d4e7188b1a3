"""Whole load tests: a leader and its workers as processes, against a server on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import socket
import time
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from benchmarks.load.processes import Outcome
from benchmarks.load.scripted_server import Request, ScriptedServer, answer
from tests.local.load_tests import completed, run, specification


def _statistics(outcome: Outcome, name: str = "my-endpoint") -> tuple[int, int]:
    """Requests and failures of the table that Locust itself prints at the end.

    Locust waits half a second for its workers' last ones, so some may be missing.
    """
    found = re.search(rf"^POST +{name} +(\d+) +(\d+)\(", outcome.logs[0], re.MULTILINE)
    assert found is not None, outcome.logs[0]
    return int(found[1]), int(found[2])


def test_a_load_test_of_two_workers_with_a_burst_and_steps(tmp_path: Path) -> None:
    async def some_fail(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(answer() if request.number % 200 else answer(status="503 Unavailable"))

    with ScriptedServer(some_fail) as server:
        outcome = run(
            specification(
                workers=2,
                burst={"start_concurrency": 2, "max_concurrency": 2, "stage_seconds": 1},
                steps=[{"saturation_fraction": 0.01}, {"offered_tps": 50}],
            ),
            url=server.url,
            directory=tmp_path,
        )
        document = completed(outcome)
        arrived = len(server.requests)
    saturation = document["saturation"]
    assert [stage["concurrency"] for stage in saturation["stages"]] == [2]
    assert saturation["tps"] > 0
    first, second = document["steps"]
    assert first["offered_tps"] == pytest.approx(saturation["tps"] / 100, abs=0.001)
    assert second["offered_tps"] == 50
    assert second["workers"]["count"] == 2
    # Nothing is lost: every request that arrived is in the books.
    timeline = document["timeline"]
    failures = sum(moment["error_tps"] for moment in timeline)
    assert sum(moment["achieved_tps"] for moment in timeline) + failures == arrived
    assert sum(moment["offered_tps"] for moment in timeline) == arrived
    assert failures == -(-arrived // 200)
    requests, failed = _statistics(outcome)
    assert 0 < requests <= arrived
    assert 0 < failed <= failures
    assert "service_unavailable" in outcome.logs[0]


def test_locusts_web_ui_is_there_while_it_runs(tmp_path: Path) -> None:
    # The port that is asked for is taken: it is at one of the next.
    with socket.create_server(("127.0.0.1", 0)) as taken, ScriptedServer(answer()) as server:
        port, over = taken.getsockname()[1], Event()
        with ThreadPoolExecutor(1) as looking:
            seen = looking.submit(_statistics_of_web_ui, range(port + 1, port + 5), over)
            try:
                outcome = run(
                    specification(steady_seconds=8),  # workers report to Locust each 3 s
                    url=server.url,
                    directory=tmp_path,
                    environment={"WEB_PORT": str(port)},
                )
            finally:
                over.set()
        completed(outcome)
        found, statistics = seen.result()
    assert [each["name"] for each in statistics["stats"]] == ["my-endpoint", "Aggregated"]
    assert f"Web UI: http://127.0.0.1:{found}" in outcome.logs[0]


def _statistics_of_web_ui(ports: Iterable[int], over: Event) -> tuple[int, Any]:
    """Where Locust's web UI is, and what it shows once requests are sent."""
    while not over.is_set():
        for port in ports:  # others may be taken, too, by whoever
            with contextlib.suppress(OSError, ValueError):
                where = f"http://127.0.0.1:{port}/stats/requests"
                with urllib.request.urlopen(where, timeout=5) as found:
                    statistics = json.load(found)
                if any(each["num_requests"] for each in statistics["stats"]):
                    return port, statistics
        time.sleep(0.05)
    raise AssertionError("no web UI that shows requests")


def test_a_worker_with_two_vcpus_is_two_processes_and_streams_have_a_first_byte(
    tmp_path: Path,
) -> None:
    async def stream(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await asyncio.sleep(0.03)
        writer.write(b"5\r\nfirst\r\n")
        await asyncio.sleep(0.12)
        writer.write(b"4\r\nlast\r\n0\r\n\r\n")

    with ScriptedServer(stream) as server:
        outcome = run(
            specification(worker_vcpus=2, streaming=True, steps=[{"offered_tps": 50}]),
            url=server.url,
            directory=tmp_path,
        )
        document = completed(outcome)
        # Each opens connections of its own before the test.
        assert server.connections >= 8
        arrived = len(server.requests)
        paths = {request.path for request in server.requests}
    (step,) = document["steps"]
    assert document["workers"] == step["workers"]["count"] == 1
    assert document["worker_vcpus"] == 2
    assert paths == {"/endpoints/my-endpoint/invocations-response-stream"}
    assert step["first_byte_ms"]["p50"] >= 30
    assert step["client_latency_ms"]["p50"] >= 150
    # Two rows in Locust's own table, too.
    assert 0 < _statistics(outcome)[0] <= arrived
    assert 0 < _statistics(outcome, "my-endpoint first byte")[0] <= arrived


# --- Credentials, payload sets, Locust ----------------------------------------------------------


def test_a_task_roles_credentials_are_renewed_and_payloads_come_from_json_lines(
    tmp_path: Path,
) -> None:
    """Credentials that last for seconds, from an endpoint like that of ECS."""
    lines = [{"body": "one", "weight": 2}, {"body": "AAEC", "base64": True}]
    file = tmp_path / "payloads.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    numbers = itertools.count()

    async def give(_request: Request, writer: asyncio.StreamWriter) -> None:
        number = next(numbers)
        expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 20))
        document = {
            "AccessKeyId": f"ASIA{number:04}",
            "SecretAccessKey": "secret",
            "Token": f"token-{number:04}",
            "Expiration": expires,
        }
        writer.write(answer(json.dumps(document).encode()))

    with ScriptedServer(give) as role, ScriptedServer(answer()) as server:
        completed(
            run(
                specification(steady_seconds=3, payloads={"s3_uri": file.as_uri()}),
                url=server.url,
                directory=tmp_path,
                environment={
                    "AWS_ACCESS_KEY_ID": "",
                    "AWS_SECRET_ACCESS_KEY": "",
                    "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{role.url}/credentials",
                    "AWS_EC2_METADATA_DISABLED": "true",
                },
            )
        )
        keys = {}
        for request in server.requests:
            found = re.search(r"Credential=ASIA(\d+)/", request.headers["authorization"])
            assert found is not None
            # Key and token are of the same credentials.
            assert request.headers["x-amz-security-token"] == f"token-{found[1]}"
            keys[int(found[1])] = request.at
    assert len(keys) >= 2
    assert list(keys) == sorted(keys)
    bodies = [request.body for request in server.requests]
    assert set(bodies) == {b"one", b"\x00\x01\x02"}
    # Two of three, within five standard deviations.
    share = bodies.count(b"one") / len(bodies)
    assert share == pytest.approx(2 / 3, abs=5 * (2 / 9 / len(bodies)) ** 0.5)


LOCUSTFILE = """
import json
import os
import pathlib

from locust import events

from load_generator.user import EndpointUser

seen = []


class Invoke(EndpointUser):
    def check(self, body):
        return None if b"POSITIVE" in body else "wrong_answer"


@events.request.add_listener
def on_request(request_type, name, response_time, response_length, exception, start_time, **_):
    seen.append([request_type, name, response_time, response_length, exception, start_time])


@events.quitting.add_listener
def on_quitting(environment, **_):
    directory = pathlib.Path(os.environ["SEEN"])
    total = environment.stats.total
    role = os.environ["LOAD_TEST_ROLE"]
    (directory / f"seen-{role}.json").write_text(json.dumps(seen))
    if role == "leader":
        (directory / "stats.json").write_text(
            json.dumps([total.num_requests, total.num_failures, total.median_response_time])
        )
"""


def test_a_locustfile_of_ones_own_checks_answers_and_listens_to_events(tmp_path: Path) -> None:
    async def every_fourth_wrong(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.02)
        writer.write(answer(b"NEGATIVE" if request.number % 4 == 0 else b"POSITIVE"))

    locustfile = tmp_path / "my_locustfile.py"
    locustfile.write_text(LOCUSTFILE)
    with ScriptedServer(every_fourth_wrong) as server:
        document = completed(
            run(
                specification(),
                url=server.url,
                directory=tmp_path,
                environment={"LOCUSTFILE": str(locustfile), "SEEN": str(tmp_path)},
            )
        )
        count = len(server.requests)
    assert document["steps"][0]["errors"].keys() == {"wrong_answer"}
    seen = json.loads((tmp_path / "seen-worker.json").read_text())
    assert len(seen) == count
    assert sum(each[4] == "wrong_answer" for each in seen) == pytest.approx(count / 4, abs=1)
    assert all(each[0] == "POST" and each[1] == "my-endpoint" for each in seen)
    assert all(each[2] >= 20 for each in seen if each[4] is None)
    requests, failures, median = json.loads((tmp_path / "stats.json").read_text())
    assert 0 < requests <= count
    assert 0 < failures <= -(-count // 4)
    assert median >= 20


CALLS = """
import json
import os
import pathlib

import locust  # before boto3
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from load_generator.call_engine import CallFailed
from load_generator.user import CallUser


class Call(CallUser):
    def on_start(self):
        config = Config(retries={"total_max_attempts": 1}, max_pool_connections=50)
        self.client = boto3.client("sagemaker-runtime", config=config)

    def call(self, payload):
        try:
            answer = self.client.invoke_endpoint(EndpointName="my-endpoint", Body=payload)
        except ClientError as error:
            raise CallFailed(error.response["Error"]["Code"], invoked=True) from error
        return len(answer["Body"].read())


class Shape(locust.LoadTestShape):
    # One of its own, which is asked all the time.

    ticks = 0

    def tick(self):
        Shape.ticks += 1
        return 2, 2.0


told = []


@locust.events.request.add_listener
def on_request(name, exception, **_):
    told.append([name, exception])


@locust.events.quitting.add_listener
def on_quitting(environment, **_):
    role = os.environ["LOAD_TEST_ROLE"] + os.environ["WORKER_INDEX"]
    document = {
        "told": told,
        "ticks": Shape.ticks,
        "users": environment.runner.user_count,
        "requests": environment.stats.total.num_requests,
        "failures": environment.stats.total.num_failures,
    }
    (pathlib.Path(os.environ["SEEN"]) / f"{role}.json").write_text(json.dumps(document))
"""


def test_a_locustfile_of_ones_own_brings_user_shape_library_and_listeners(tmp_path: Path) -> None:
    """All of it is Locust's: user class, two workers, shape, events and merged statistics."""

    async def some_fail(request: Request, writer: asyncio.StreamWriter) -> None:
        failure = {"x-amzn-ErrorType": "ModelError"}
        body = b'{"OriginalStatusCode": 500, "Message": "m"}'
        writer.write(
            answer()
            if request.number % 10
            else answer(body, status="424 Failed Dependency", headers=failure)
        )

    locustfile = tmp_path / "calls.py"
    locustfile.write_text(CALLS)
    with ScriptedServer(some_fail) as server:
        document = completed(
            run(
                specification(steps=[{"offered_tps": 50}], workers=2),
                url=server.url,
                directory=tmp_path,
                environment={"LOCUSTFILE": str(locustfile), "SEEN": str(tmp_path)},
            )
        )
        arrived = len(server.requests)
        bodies = {request.body for request in server.requests}
    (step,) = document["steps"]
    assert bodies == {b'{"inputs": "happy"}'}
    assert step["answers"] == step["invocations"]
    assert step["errors"].keys() == {"ModelError"}
    timeline = document["timeline"]
    assert sum(each["achieved_tps"] + each["error_tps"] for each in timeline) == arrived
    leader, *workers = (
        json.loads((tmp_path / f"{name}.json").read_text())
        for name in ("leader0", "worker0", "worker1")
    )
    assert leader["ticks"] >= 3
    assert leader["told"] == []
    assert 0 < leader["requests"] <= arrived
    assert 0 < leader["failures"] <= -(-arrived // 10)
    assert sum(len(each["told"]) for each in workers) == arrived
    # Half of the schedule each.
    assert all(len(each["told"]) == pytest.approx(arrived / 2, abs=1) for each in workers)
    assert {exception for each in workers for _, exception in each["told"]} == {None, "ModelError"}
