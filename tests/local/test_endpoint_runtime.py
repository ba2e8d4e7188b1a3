"""boto3's sagemaker-runtime client works against a local endpoint as it does against SageMaker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local.endpoint.behaviour import ModelBehaviour
from local.endpoint.client import EndpointServer
from local.endpoint.endpoint import EndpointStatus
from local.endpoint.figures import LiveFigures
from local.endpoint.method import wait_for_status
from local.endpoint.open_loop import OfferedLoad, offer

#: Longer than anything here takes on any machine, seconds.
PATIENCE = 120.0
FAST = ModelBehaviour(cpu_ms=1, wait_ms=0, startup_seconds=0)
JSON = {"ContentType": "application/json", "Body": b'{"inputs": "I am super happy right now."}'}


@pytest.fixture(scope="module")
def server() -> Iterator[EndpointServer]:
    with EndpointServer.start(cloudwatch_url=None, region="eu-west-1") as running:
        yield running


@pytest.fixture(scope="module")
def runtime(server: EndpointServer) -> Iterator[Any]:
    """The client, unchanged: where the endpoint is, it takes from the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", server.url)
        patch.setenv("AWS_ACCESS_KEY_ID", "local")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "local")
        # SDK retries would hide throttling.
        config = Config(retries={"total_max_attempts": 1})
        yield boto3.client("sagemaker-runtime", region_name="eu-west-1", config=config)


@contextlib.contextmanager
def endpoint(
    server: EndpointServer,
    name: str,
    behaviour: ModelBehaviour,
    *,
    until: EndpointStatus = EndpointStatus.IN_SERVICE,
    vcpus: int = 2,
) -> Iterator[None]:
    server.create(
        name,
        variant_name="AllTraffic",
        instance_type="ml.m5.large",
        vcpus=vcpus,
        instance_count=1,
        behaviour=behaviour,
        routing="LEAST_OUTSTANDING_REQUESTS",
        metric_period_seconds=60,
    )
    wait_for_status(server, name, PATIENCE, until)
    yield
    server.delete(name)


@pytest.fixture(scope="module")
def fast(server: EndpointServer) -> Iterator[str]:
    with endpoint(server, "fast", FAST):
        yield "fast"


def test_success(runtime: Any, fast: str) -> None:
    answer = runtime.invoke_endpoint(EndpointName=fast, **JSON)
    assert json.loads(answer["Body"].read()) == [{"label": "POSITIVE", "score": 0.9998}]
    assert answer["ContentType"] == "application/json"
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    assert answer["ResponseMetadata"]["RequestId"]


def test_a_named_variant(runtime: Any, fast: str) -> None:
    runtime.invoke_endpoint(EndpointName=fast, TargetVariant="AllTraffic", **JSON)
    with pytest.raises(runtime.exceptions.ValidationError, match="no variant Other"):
        runtime.invoke_endpoint(EndpointName=fast, TargetVariant="Other", **JSON)


def test_response_stream_of_a_model_that_does_not_stream(runtime: Any, fast: str) -> None:
    answer = runtime.invoke_endpoint_with_response_stream(EndpointName=fast, **JSON)
    parts = [event["PayloadPart"]["Bytes"] for event in answer["Body"]]
    assert json.loads(b"".join(parts))[0]["label"] == "POSITIVE"
    assert answer["InvokedProductionVariant"] == "AllTraffic"


def test_bodies_that_are_not_json_are_the_containers_business(runtime: Any, fast: str) -> None:
    runtime.invoke_endpoint(EndpointName=fast, ContentType="text/csv", Body=b"1,2")
    runtime.invoke_endpoint(EndpointName=fast, ContentType="image/png", Body=b"\x89PNG" * 100_000)


@pytest.mark.parametrize("body", [b'{"inputs": ', b"[" * 100_000, b'"' + b"\xff" * 5000 + b'"'])
def test_json_that_is_none_is_a_model_error_400(runtime: Any, fast: str, body: bytes) -> None:
    with pytest.raises(runtime.exceptions.ModelError) as caught:
        runtime.invoke_endpoint(EndpointName=fast, ContentType="application/json", Body=body)
    assert caught.value.response["OriginalStatusCode"] == 400
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert "not JSON" in caught.value.response["OriginalMessage"]
    assert "endpoints/fast" in caught.value.response["LogStreamArn"].lower()


@pytest.mark.parametrize(
    "name, body, complaint",
    [
        ("nobody", b"{}", "Endpoint nobody of account 123456789012 not found"),
        ("fast", b"", "must not be empty"),
        ("fast", bytes(25 * 1024 * 1024 + 1), "larger than 26214400 bytes"),
    ],
)
def test_validation_errors(runtime: Any, fast: str, name: str, body: bytes, complaint: str) -> None:
    with pytest.raises(runtime.exceptions.ValidationError, match=complaint) as caught:
        runtime.invoke_endpoint(EndpointName=name, Body=body)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_a_body_of_the_largest_size_is_taken(runtime: Any, fast: str) -> None:
    runtime.invoke_endpoint(
        EndpointName=fast, ContentType="application/x-npy", Body=bytes(25 * 1024 * 1024)
    )


@pytest.mark.parametrize(
    "behaviour, status",
    [
        (ModelBehaviour(startup_seconds=3600), EndpointStatus.CREATING),
        (ModelBehaviour(startup_seconds=0, fail_startup="no ping"), EndpointStatus.FAILED),
    ],
)
def test_an_endpoint_that_is_not_in_service(
    server: EndpointServer, runtime: Any, behaviour: ModelBehaviour, status: EndpointStatus
) -> None:
    with (
        endpoint(server, "starting", behaviour, until=status),
        pytest.raises(runtime.exceptions.ValidationError, match=f"is {status.value}, not InSer"),
    ):
        runtime.invoke_endpoint(EndpointName="starting", **JSON)


def test_an_endpoint_serves_while_it_is_updating(server: EndpointServer, runtime: Any) -> None:
    with endpoint(server, "growing", ModelBehaviour(cpu_ms=1, startup_seconds=2)):
        server.scale("growing", 2)
        runtime.invoke_endpoint(EndpointName="growing", **JSON)


def test_a_full_queue_is_a_model_error_503(server: EndpointServer, runtime: Any) -> None:
    slow = ModelBehaviour(cpu_ms=1500, cpu_ms_cv=0, queue_size=1, startup_seconds=0)

    def invoke(_: int) -> int:
        try:
            return int(
                runtime.invoke_endpoint(EndpointName="slow", **JSON)["ResponseMetadata"][
                    "HTTPStatusCode"
                ]
            )
        except runtime.exceptions.ModelError as error:
            return int(error.response["OriginalStatusCode"])

    with endpoint(server, "slow", slow, vcpus=1), ThreadPoolExecutor(5) as threads:
        assert sorted(threads.map(invoke, range(5))) == [200, 200, 503, 503, 503]


def test_throttling_has_its_own_code(server: EndpointServer, runtime: Any) -> None:
    with endpoint(server, "throttled", FAST.model_copy(update={"throttle_tps": 0.001})):
        errors: list[ClientError] = []
        for _ in range(6):
            try:
                runtime.invoke_endpoint(EndpointName="throttled", **JSON)
            except ClientError as error:
                errors.append(error)
    # The first may pass, and by its rate the next one in a quarter of an hour.
    assert len(errors) == 5
    for error in errors:
        # The service model lists no class for it: boto3 raises ClientError itself.
        assert type(error) is ClientError
        assert error.response["Error"]["Code"] == "ThrottlingException"
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_sdk_retries_get_over_throttling(server: EndpointServer) -> None:
    with endpoint(server, "patient", FAST.model_copy(update={"throttle_tps": 5.0})):
        retrying = boto3.client(
            "sagemaker-runtime",
            region_name="eu-west-1",
            endpoint_url=server.url,
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=Config(retries={"mode": "standard", "total_max_attempts": 8}),
        )
        for _ in range(8):
            retrying.invoke_endpoint(EndpointName="patient", **JSON)


class TestHttp:
    """What clients other than boto3 do to a connection."""

    @pytest.fixture
    def connection(self, server: EndpointServer, fast: str) -> Iterator[socket.socket]:
        split = urlsplit(server.url)
        with socket.create_connection((split.hostname, split.port), timeout=PATIENCE) as connected:
            yield connected

    @staticmethod
    def request(body: bytes = b"{}", *headers: str, target: str = "") -> bytes:
        target = target or "POST /endpoints/fast/invocations"
        lines = [f"{target} HTTP/1.1", "Host: x", "Content-Type: application/json", *headers]
        if not any(line.startswith("Transfer-Encoding") for line in headers):
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode() + body

    @staticmethod
    def read(connected: socket.socket, until: bytes, times: int = 1) -> bytes:
        received = b""
        while received.count(until) < times:
            chunk = connected.recv(65536)
            if not chunk:
                break
            received += chunk
        return received

    def test_pipelined_requests_are_answered_in_order(self, connection: socket.socket) -> None:
        many = 100
        requests = [self.request(b"{" if n % 10 == 3 else b"{}") for n in range(many)]
        connection.sendall(b"".join(requests))
        received = self.read(connection, b"HTTP/1.1 ", many)
        statuses = [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]]
        assert statuses == [b"424" if n % 10 == 3 else b"200" for n in range(many)]

    def test_a_request_in_small_pieces(self, connection: socket.socket) -> None:
        for byte in self.request(b'{"inputs": "x"}'):
            connection.send(bytes([byte]))
        assert self.read(connection, b"POSITIVE").startswith(b"HTTP/1.1 200 OK\r\n")

    def test_a_chunked_body(self, connection: socket.socket) -> None:
        body = b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n"
        connection.sendall(self.request(body, "Transfer-Encoding: chunked"))
        assert self.read(connection, b"POSITIVE").startswith(b"HTTP/1.1 200 OK\r\n")

    def test_expect_100_continue(self, connection: socket.socket) -> None:
        head, _, body = self.request(b"{}", "Expect: 100-continue").partition(b"{}")
        connection.sendall(head)
        assert self.read(connection, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}" + body)
        assert self.read(connection, b"POSITIVE").startswith(b"HTTP/1.1 200 OK\r\n")

    def test_connection_close(self, connection: socket.socket) -> None:
        connection.sendall(self.request(b"{}", "Connection: close"))
        received = self.read(connection, b"never")
        assert b"Connection: close" in received
        assert received.endswith(b"]")

    @pytest.mark.parametrize(
        "target",
        ["GET /ping", "POST /endpoints/fast/other", "GET /endpoints/fast/invocations", "POST /"],
    )
    def test_anything_else_is_no_operation(self, connection: socket.socket, target: str) -> None:
        connection.sendall(self.request(target=target))
        received = self.read(connection, b"No such operation")
        assert received.startswith(b"HTTP/1.1 404 ")
        assert b"x-amzn-ErrorType: UnknownOperationException" in received

    def test_no_http_at_all(self, connection: socket.socket) -> None:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert self.read(connection, b"never").startswith(b"HTTP/1.1 400 ")

    def test_clients_that_hang_up_harm_nobody(
        self, server: EndpointServer, runtime: Any, fast: str
    ) -> None:
        split = urlsplit(server.url)
        for _ in range(50):
            with socket.create_connection((split.hostname, split.port)) as leaving:
                leaving.sendall(self.request())
        runtime.invoke_endpoint(EndpointName=fast, **JSON)


def test_live_figures_come_from_the_running_server(server: EndpointServer) -> None:
    busy = ModelBehaviour(cpu_ms=20, startup_seconds=0)

    async def until(holds: Callable[[LiveFigures], bool]) -> LiveFigures:
        deadline = time.monotonic() + PATIENCE
        while not holds(live := server.live("live")):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        return live

    async def observe() -> tuple[LiveFigures, OfferedLoad]:
        load = asyncio.create_task(offer(server.url, "live", b"{}", tps=50, seconds=2.5))
        live = await until(lambda live: live.answers_per_second > 0)
        answers = await load
        await until(lambda live: live.answers_per_second == 0)
        return live, answers

    with endpoint(server, "live", busy, vcpus=2):
        live, load = asyncio.run(observe())
    assert load.statuses == {200: 125}
    assert live.arrivals_per_second > 0
    assert 0 < live.utilization_percent <= 100
    assert live.cpu_percent == pytest.approx((2 * live.utilization_percent,))
