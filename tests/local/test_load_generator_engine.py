"""The engine against servers on real sockets: what arrives, what is counted, and as what."""

from __future__ import annotations

import asyncio
import base64
import calendar
import json
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import gevent
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.eventstream import EventStreamBuffer

from benchmarks.load.certificate import write_certificate
from benchmarks.load.scripted_server import BODY, Request, ScriptedServer, always, answer
from load_generator import addresses, invocation, ledger, spec
from load_generator.call_engine import CallEngine, CallFailed
from load_generator.engine import Engine, Role
from load_generator.errors import LoadTestFailed
from load_generator.http_engine import HttpEngine, Target
from load_generator.schedule import Plateau
from tests.measuring import measured

#: Longer than anything here takes on any machine, seconds.
PATIENCE = 120.0
CREDENTIALS = invocation.Credentials("AKIAIOSFODNN7EXAMPLE", "secret", None)


@pytest.fixture(scope="module", autouse=True)
def _measured() -> Iterator[None]:
    with measured():
        yield


class Bench:
    """An engine, and what its seconds add up to."""

    def __init__(self, engine: HttpEngine, stopped: list[LoadTestFailed]) -> None:
        self.engine = engine
        self.stopped = stopped
        self.seconds: list[tuple[int, ledger.Second]] = []

    def offer(self, rate: float, seconds: float) -> ledger.Second:
        """Offer a constant rate, wait until all has ended, and say what has happened so far."""
        follow(self.engine, rate, seconds)
        self.seconds += self.engine.take_seconds(final=True)
        return ledger.total(second for _, second in self.seconds)


def until(holds: Callable[[], bool]) -> None:
    """Let the event loop run until something holds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        gevent.sleep(0.005)


def follow(engine: Engine, rate: float, seconds: float) -> None:
    """Offer a constant rate, and wait until all has ended."""
    start = time.time() + 0.05
    engine.follow([Plateau(start, start + seconds, rate)])
    until(lambda: engine._plateau is None and not engine.outstanding)


MakeBench = Callable[..., Bench]


@pytest.fixture
def bench() -> Iterator[MakeBench]:
    benches: list[Bench] = []

    def make(
        url: str,
        *,
        tls: ssl.SSLContext | None = None,
        payloads: list[dict[str, Any]] | None = None,
        credentials: invocation.Credentials = CREDENTIALS,
        timeout: float = PATIENCE,
        max_connections: int = 200,
        check: Callable[[bytes], str | None] | None = None,
        warm: int = 2,
        listening: bool = False,
        **fields: Any,
    ) -> Bench:
        document = {
            "load_test_id": "test",
            "endpoint_name": "my-endpoint",
            "payloads": {"inline": payloads or [{"body": '{"inputs": "happy"}'}]},
            "steps": [{"offered_tps": 1}],
            **fields,
        }
        specification = spec.parse_spec(json.dumps(document).encode())
        endpoint = invocation.Endpoint.from_url(url, "eu-west-1")
        signer = invocation.Signer(
            endpoint,
            invocation.invocation_path(specification),
            invocation.invocation_headers(specification),
        )
        assert specification.payloads.inline is not None
        target = Target(
            host=endpoint.host,
            port=endpoint.port,
            tls=tls,
            signer=signer,
            payloads=invocation.PayloadSet(
                spec.decode_inline(specification.payloads.inline), seed=1
            ),
            request_timeout=timeout,
            max_connections=max_connections,
            streaming=specification.streaming,
            check=check,
        )
        stopped: list[LoadTestFailed] = []
        role = Role(worker=0, workers=1, on_stop=stopped.append, listening=listening)
        engine = HttpEngine(role, target, credentials)
        made = Bench(engine, stopped)
        benches.append(made)
        if warm:
            engine.warm(warm, timeout=PATIENCE)
        return made

    yield make
    for made in benches:
        if not made.engine.stopped:
            made.engine.stop()


# --- Answers ------------------------------------------------------------------------------------


def test_success_is_counted_with_its_latency(bench: MakeBench) -> None:
    with ScriptedServer(always(answer(), delay=0.02)) as server:
        seen = bench(server.url).offer(100, 1)
    assert seen.offered == seen.sent == seen.succeeded == seen.answered == seen.invoked == 100
    assert not seen.errors
    assert seen.bytes_received == 100 * len(BODY)
    assert seen.latency.count == seen.service.count == 100
    assert (seen.latency.percentile_ms(1) or 0) >= 20
    assert len(server.requests) == 100


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_chunked_answers(bench: MakeBench) -> None:
    content = CHUNKED + b"5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n"
    with ScriptedServer(content) as server:
        seen = bench(server.url).offer(100, 0.25)
    assert seen.succeeded == 25
    assert seen.bytes_received == 25 * 12


def test_answers_that_arrive_byte_by_byte(bench: MakeBench) -> None:
    async def trickle(_request: Request, writer: asyncio.StreamWriter) -> None:
        for position in range(len(answer())):
            writer.write(answer()[position : position + 1])
            await asyncio.sleep(0.001)

    with ScriptedServer(trickle) as server:
        seen = bench(server.url).offer(40, 0.25)
    assert seen.succeeded == 10
    assert seen.bytes_received == 10 * len(BODY)
    assert (seen.latency.percentile_ms(50) or 0) >= len(answer())


def test_empty_bodies(bench: MakeBench) -> None:
    with ScriptedServer(answer(b"")) as server:
        seen = bench(server.url).offer(100, 0.25)
    assert seen.succeeded == 25
    assert seen.bytes_received == 0


def test_bodies_of_20_megabytes(bench: MakeBench) -> None:
    body = bytes(20_000_000)
    with ScriptedServer(answer(body)) as server:
        seen = bench(server.url).offer(4, 1)
    assert seen.succeeded == 4
    assert seen.bytes_received == 4 * len(body)


def test_requests_of_20_megabytes(bench: MakeBench) -> None:
    body = "x" * 20_000_000
    with ScriptedServer(answer()) as server:
        seen = bench(server.url, payloads=[{"body": body}]).offer(4, 1)
    assert seen.succeeded == 4
    assert all(request.body == body.encode() for request in server.requests)


def test_an_interim_answer_is_not_the_answer(bench: MakeBench) -> None:
    with ScriptedServer(b"HTTP/1.1 100 Continue\r\n\r\n" + answer()) as server:
        seen = bench(server.url).offer(40, 0.25)
    assert seen.succeeded == 10
    assert seen.bytes_received == 10 * len(BODY)


def test_an_answer_that_ends_with_its_connection(bench: MakeBench) -> None:
    async def until_closed(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nhello")
        writer.close()

    with ScriptedServer(until_closed) as server:
        seen = bench(server.url).offer(40, 0.25)
    assert seen.succeeded == 10
    assert seen.bytes_received == 50


def test_connection_close_is_honoured(bench: MakeBench) -> None:
    async def one_each(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(headers={"Connection": "close"}))
        await asyncio.sleep(0.01)
        writer.close()

    with ScriptedServer(one_each) as server:
        seen = bench(server.url).offer(50, 1)
    assert seen.succeeded == 50
    assert not seen.errors
    assert len({request.connection for request in server.requests}) == 50


def test_a_connection_closed_between_answers_is_replaced(bench: MakeBench) -> None:
    async def tired(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(answer())
        if request.number % 5 == 4:
            await writer.drain()
            writer.close()

    with ScriptedServer(tired) as server:
        seen = bench(server.url).offer(50, 1)
    assert seen.succeeded == 50
    assert not seen.errors
    assert server.connections > 5


@pytest.mark.parametrize(
    "half",
    [
        pytest.param(answer()[:20], id="inside the head"),
        pytest.param(answer()[:-5], id="inside the body"),
        pytest.param(CHUNKED + b"5\r\nhello\r\n", id="between chunks"),
    ],
)
def test_a_connection_closed_inside_an_answer_is_an_error(bench: MakeBench, half: bytes) -> None:
    async def break_off(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.number % 2:
            writer.write(answer())
        else:
            writer.write(half)
            await writer.drain()
            writer.close()

    with ScriptedServer(break_off) as server:
        seen = bench(server.url).offer(80, 0.25)
    assert seen.succeeded == 10
    assert seen.errors == {"connection": 10}
    assert seen.answered == 10
    # Each was sent once: nothing of which an answer began is sent again.
    assert len(server.requests) == 20


def test_a_connection_closed_before_an_answer_is_tried_once_more(bench: MakeBench) -> None:
    async def close(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.close()

    with ScriptedServer(close) as server:
        seen = bench(server.url).offer(80, 0.25)
        arrived = len(server.requests)
    assert seen.errors == {"connection": 20}
    assert (seen.sent, seen.answered) == (20, 0)
    # Those that found a connection that was open already; each of them once.
    assert 2 <= seen.resent <= 20
    assert arrived == 20 + seen.resent


def test_a_half_sent_answer_times_out(bench: MakeBench) -> None:
    async def stop_halfway(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(answer()[:-5])
        await asyncio.sleep(PATIENCE)

    with ScriptedServer(stop_halfway) as server:
        seen = bench(server.url, timeout=0.5).offer(40, 0.25)
    assert seen.errors == {"timeout": 10}
    assert seen.succeeded == 0


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01garbage", id="not HTTP"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", id="bad length"),
        pytest.param(answer() + answer(), id="an answer nobody asked for"),
    ],
)
def test_what_is_not_an_answer_is_not_a_success(bench: MakeBench, content: bytes) -> None:
    with ScriptedServer(content) as server:
        seen = bench(server.url).offer(40, 0.25)
    assert seen.errors == {"bad_answer": 10}
    assert seen.succeeded == 0


@pytest.mark.parametrize("status", ["201 Created", "202 Accepted", "204 No Content"])
def test_what_the_sdks_take_for_a_success_is_one(bench: MakeBench, status: str) -> None:
    content = answer(b"" if status.startswith("204") else b"{}", status=status)
    with ScriptedServer(content) as server:
        seen = bench(server.url).offer(40, 0.25)
        client = boto3.client(
            "sagemaker-runtime",
            region_name="us-east-1",
            endpoint_url=server.url,
            aws_access_key_id="AKID",
            aws_secret_access_key="secret",
        )
        client.invoke_endpoint(EndpointName="e", Body=b"{}")
    assert (seen.succeeded, seen.errors) == (10, {})


@pytest.mark.parametrize(
    "status, error_type, document, kind, invoked",
    [
        ("400 Bad Request", "ThrottlingException", {}, "throttled", False),
        ("400 Bad Request", "ThrottlingException:http://internal/", {}, "throttled", False),
        ("400 Bad Request", "ValidationError", {}, "validation_error", False),
        (
            "424 Failed Dependency",
            "ModelError",
            {"OriginalStatusCode": 500},
            "model_error_500",
            True,
        ),
        ("424 Failed Dependency", None, {"OriginalStatusCode": 503}, "model_error_503", True),
        ("429 Too Many Requests", "ModelNotReadyException", {}, "model_not_ready", False),
        ("500 Internal Server Error", "InternalFailure", {}, "internal_failure", False),
        ("503 Service Unavailable", None, {}, "service_unavailable", False),
        ("530 Dependency", "InternalDependencyException", {}, "internal_dependency", False),
        ("403 Forbidden", "ExpiredTokenException", {}, "expired_credentials", False),
        ("418 Teapot", None, {}, "http_418", False),
        ("400 Bad Request", None, {"__type": "a.b#ThrottlingException"}, "throttled", False),
    ],
)
def test_errors_are_named_and_never_retried(
    bench: MakeBench,
    status: str,
    error_type: str | None,
    document: dict[str, Any],
    kind: str,
    invoked: bool,
) -> None:
    headers = {"x-amzn-ErrorType": error_type} if error_type else {}
    content = answer(json.dumps(document).encode(), status=status, headers=headers)
    with ScriptedServer(content) as server:
        seen = bench(server.url).offer(40, 0.25)
    assert seen.errors == {kind: 10}
    assert seen.succeeded == 0
    assert seen.answered == 10
    assert seen.invoked == (10 if invoked else 0)
    assert len(server.requests) == 10


def test_a_model_error_in_pieces_is_named_too(bench: MakeBench) -> None:
    body = json.dumps({"OriginalStatusCode": 507, "OriginalMessage": "x" * 5000}).encode()
    content = answer(body, status="424 Failed Dependency")

    async def in_pieces(_request: Request, writer: asyncio.StreamWriter) -> None:
        for start in range(0, len(content), 1000):
            writer.write(content[start : start + 1000])
            await asyncio.sleep(0.002)

    with ScriptedServer(in_pieces) as server:
        seen = bench(server.url).offer(40, 0.25)
    assert seen.errors == {"model_error_507": 10}


def test_a_refused_connection_is_an_error_of_each_request(bench: MakeBench) -> None:
    with ScriptedServer(answer()) as server:
        made = bench(server.url)
        assert made.offer(40, 0.25).succeeded == 10
        server.stop()
        seen = made.offer(40, 0.25)
    assert seen.succeeded == 10
    assert seen.errors == {"connection_refused": 10}
    assert not made.stopped


def test_an_endpoint_that_is_not_there_is_said_at_once(bench: MakeBench) -> None:
    with ScriptedServer(answer()) as server:
        url = server.url
    with pytest.raises(LoadTestFailed, match="connection_refused") as caught:
        bench(url)
    assert caught.value.name == "EndpointUnreachable"


def test_a_name_without_an_address_is_said_at_once(bench: MakeBench) -> None:
    with pytest.raises(LoadTestFailed, match="cannot be resolved"):
        bench("http://no-such-host.invalid")


# --- Requests -----------------------------------------------------------------------------------


def _sign_as_botocore(request: Request, host: str, credentials: invocation.Credentials) -> str:
    """The Authorization header that botocore gives the same request at the same time."""
    signed = next(
        part.removeprefix("SignedHeaders=")
        for part in request.headers["authorization"].split(", ")
        if part.startswith("SignedHeaders=")
    ).split(";")
    skip = {"host", "x-amz-date", "x-amz-security-token"}
    again = AWSRequest(
        method="POST",
        url=f"http://{host}{request.path}",
        data=request.body,
        headers={name: request.headers[name] for name in signed if name not in skip},
    )
    signer = SigV4Auth(
        BotocoreCredentials(credentials.access_key, credentials.secret_key, credentials.token),
        "sagemaker",
        "eu-west-1",
    )
    again.context["timestamp"] = request.headers["x-amz-date"]
    signer._modify_request_before_signing(again)
    canonical = signer.canonical_request(again)
    to_sign = signer.string_to_sign(again, canonical)
    signer._inject_signature_to_request(again, signer.signature(to_sign, again))
    return str(again.headers["Authorization"])


def test_every_signature_is_what_botocore_gives(bench: MakeBench) -> None:
    credentials = invocation.Credentials("AKID", "secret", "a-session-token")
    begun = time.time()
    with ScriptedServer(answer()) as server:
        bench(
            server.url,
            credentials=credentials,
            payloads=[{"body": '{"inputs": "é"}'}, {"body": "second"}],
            custom_attributes="trace  id=7",
            target_variant="blue",
            target_model="model-1.tar.gz",
            content_type="application/json",
            accept="text/csv;q=1",
        ).offer(20, 1.05)
        host = f"127.0.0.1:{server.port}"
    assert len(server.requests) == 21
    assert len({request.headers["x-amz-date"] for request in server.requests}) >= 2
    for request in server.requests:
        assert request.path == "/endpoints/my-endpoint/invocations"
        assert request.headers["host"] == host
        assert request.headers["x-amz-security-token"] == "a-session-token"
        assert request.headers["x-amzn-sagemaker-custom-attributes"] == "trace  id=7"
        assert request.headers["x-amzn-sagemaker-target-variant"] == "blue"
        assert request.headers["x-amzn-sagemaker-target-model"] == "model-1.tar.gz"
        assert request.headers["content-type"] == "application/json"
        assert request.headers["accept"] == "text/csv;q=1"
        assert request.headers["authorization"] == _sign_as_botocore(request, host, credentials)
        stamp = calendar.timegm(time.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ"))
        assert begun - 1 < stamp <= request.at


def test_new_credentials_are_used_from_the_next_second_on(bench: MakeBench) -> None:
    with ScriptedServer(answer()) as server:
        made = bench(server.url)
        made.offer(100, 0.25)
        made.engine.credentials = invocation.Credentials("ASIANEW", "other", "new-token")
        gevent.sleep(1.01 - time.time() % 1)
        made.offer(100, 0.25)
    before, after = server.requests[:25], server.requests[25:]
    assert all("AKIAIOSFODNN7EXAMPLE" in each.headers["authorization"] for each in before)
    assert all("ASIANEW" in each.headers["authorization"] for each in after)
    assert all(each.headers["x-amz-security-token"] == "new-token" for each in after)


def test_payloads_by_weight_and_binary_ones_byte_for_byte(bench: MakeBench) -> None:
    binary = bytes(range(256))
    payloads = [
        {"body": base64.b64encode(binary).decode(), "base64": True, "weight": 3},
        {"body": "plain", "weight": 1},
    ]
    with ScriptedServer(answer()) as server:
        seen = bench(server.url, payloads=payloads).offer(1600, 0.25)
    assert seen.succeeded == 400
    bodies = [request.body for request in server.requests]
    assert set(bodies) == {binary, b"plain"}
    # Three of four, within five standard deviations.
    assert abs(bodies.count(binary) - 300) < 5 * (400 * 0.75 * 0.25) ** 0.5


def test_a_check_of_ones_own_turns_a_success_into_an_error(bench: MakeBench) -> None:
    async def every_third_wrong(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(b"NEGATIVE" if request.number % 3 == 0 else b"POSITIVE"))

    def check(body: bytes) -> str | None:
        return None if body == b"POSITIVE" else "wrong_answer"

    with ScriptedServer(every_third_wrong) as server:
        seen = bench(server.url, check=check).offer(120, 0.25)
    assert seen.succeeded == 20
    assert seen.errors == {"wrong_answer": 10}
    assert seen.answered == seen.invoked == 30


def test_a_check_that_raises_stops_the_engine(bench: MakeBench) -> None:
    def check(_body: bytes) -> str | None:
        raise KeyError("label")

    with ScriptedServer(answer()) as server:
        made = bench(server.url, check=check)
        start = time.time() + 0.05
        made.engine.follow([Plateau(start, start + 5, 20)])
        until(lambda: made.engine.stopped)
    assert [error.name for error in made.stopped] == ["EngineFailed"]
    assert "KeyError" in str(made.stopped[0])


def test_a_check_that_says_neither_nothing_nor_a_kind_stops_the_engine(bench: MakeBench) -> None:
    with ScriptedServer(answer()) as server:
        made = bench(server.url, check=lambda _body: False)  # type: ignore[arg-type,return-value]
        start = time.time() + 0.05
        made.engine.follow([Plateau(start, start + 5, 20)])
        until(lambda: made.engine.stopped)
    assert [str(error) for error in made.stopped] == [
        "TypeError: check returned False, neither None nor a kind of error"
    ]


def test_whoever_listens_is_told_of_every_request(bench: MakeBench) -> None:
    async def every_second_fails(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(status="503 Service Unavailable") if request.number % 2 else answer())

    with ScriptedServer(every_second_fails) as server:
        made = bench(server.url, listening=True)
        begun = time.time()
        made.offer(80, 0.25)
        ended = made.engine.take_ended()
    assert len(ended) == 20
    assert sum(each.error == "service_unavailable" for each in ended) == 10
    assert all(each.size == len(BODY) for each in ended if each.error is None)
    assert all(begun < each.started_at < time.time() and each.duration > 0 for each in ended)


# --- Streams ------------------------------------------------------------------------------------


def _event(headers: dict[str, str], payload: bytes) -> bytes:
    """One message of an event stream, as Amazon's encoding has it."""
    import struct
    import zlib

    encoded = b"".join(
        bytes([len(name)])
        + name.encode()
        + b"\x07"
        + struct.pack("!H", len(value))
        + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", 16 + len(encoded) + len(payload), len(encoded))
    prelude += struct.pack("!I", zlib.crc32(prelude))
    message = prelude + encoded + payload
    return message + struct.pack("!I", zlib.crc32(message))


def _part(payload: bytes) -> bytes:
    return _event(
        {
            ":message-type": "event",
            ":event-type": "PayloadPart",
            ":content-type": "application/octet-stream",
        },
        payload,
    )


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def test_the_test_encodes_events_as_botocore_reads_them() -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(_part(b"hello"))
    assert [event.payload for event in buffer] == [b"hello"]


def test_streams_have_a_first_byte_and_a_total(bench: MakeBench) -> None:
    async def stream(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)
        await asyncio.sleep(0.05)
        writer.write(_chunk(_part(b"hello")))
        await asyncio.sleep(0.1)
        writer.write(_chunk(_part(b" exception")) + b"0\r\n\r\n")

    with ScriptedServer(stream) as server:
        seen = bench(server.url, streaming=True, accept="text/plain").offer(20, 1)
    assert seen.succeeded == seen.first_byte.count == 20
    assert (seen.first_byte.percentile_ms(1) or 0) >= 50
    assert (seen.latency.percentile_ms(1) or 0) >= 150
    # From byte to byte it is 100 ms, or more.
    assert (seen.latency.mean_ms or 0) >= (seen.first_byte.mean_ms or 0) + 99
    assert server.requests[0].path == "/endpoints/my-endpoint/invocations-response-stream"
    assert server.requests[0].headers["x-amzn-sagemaker-accept"] == "text/plain"


def test_an_error_inside_a_stream_is_an_error(bench: MakeBench) -> None:
    failure = _event(
        {":message-type": "exception", ":exception-type": "ModelStreamError"},
        json.dumps({"Message": "gone", "ErrorCode": "ModelInvocationTimeExceeded"}).encode(),
    )
    content = CHUNKED + _chunk(_part(b"hello")) + _chunk(failure) + b"0\r\n\r\n"
    with ScriptedServer(content) as server:
        seen = bench(server.url, streaming=True).offer(40, 0.25)
    assert seen.errors == {"model_stream_error_ModelInvocationTimeExceeded": 10}
    assert seen.succeeded == 0
    assert seen.invoked == 10


# --- TLS and names ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A server's TLS context for the name localhost, and the certificate to verify it by."""
    directory = tmp_path_factory.mktemp("tls")
    certificate_file = directory / "certificate.pem"
    key_file = directory / "key.pem"
    write_certificate(certificate_file, key_file)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate_file, key_file)
    return {
        "server": server,
        "client": ssl.create_default_context(cafile=str(certificate_file)),
    }


def test_tls_is_spoken_and_verified(bench: MakeBench, authority: dict[str, Any]) -> None:
    big = answer(bytes(3_000_000))

    async def small_and_big(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(big if request.number % 10 == 0 else answer())

    with ScriptedServer(small_and_big, tls=authority["server"]) as server:
        url = f"https://localhost:{server.port}"
        made = bench(
            url, tls=authority["client"], payloads=[{"body": "x" * 300_000}], max_connections=8
        )
        seen = made.offer(50, 1)
    assert seen.succeeded == 50
    assert not seen.errors
    assert seen.bytes_received == 5 * 3_000_000 + 45 * len(BODY)
    assert all(len(request.body) == 300_000 for request in server.requests)
    assert server.connections <= 8


def test_a_wrong_name_is_refused(bench: MakeBench, authority: dict[str, Any]) -> None:
    with (
        ScriptedServer(answer(), tls=authority["server"]) as server,
        pytest.raises(LoadTestFailed, match="tls"),
    ):
        bench(f"https://127.0.0.1:{server.port}", tls=authority["client"])
    assert not server.requests


def test_an_unknown_authority_is_refused(bench: MakeBench, authority: dict[str, Any]) -> None:
    with (
        ScriptedServer(answer(), tls=authority["server"]) as server,
        pytest.raises(LoadTestFailed, match="tls"),
    ):
        bench(f"https://localhost:{server.port}", tls=ssl.create_default_context())
    assert not server.requests


def test_connections_are_spread_over_all_addresses(
    bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
    with ScriptedServer(always(answer(), delay=0.05), hosts=hosts) as server:
        found = [(2, (host, server.port)) for host in hosts]
        monkeypatch.setattr(addresses, "resolve", lambda _host, _port: list(found))
        made = bench(f"http://endpoint.test:{server.port}", warm=9)
        made.engine.hold(9, start=time.time(), ramp=0)
        # A closed loop of as many as there are connections uses each of them.
        until(lambda: len({request.connection for request in server.requests}) == 9)
        made.engine.hold(0, start=time.time(), ramp=0)
        until(lambda: not made.engine.outstanding)
        connections = {(each.local_address, each.connection) for each in server.requests}
    assert Counter(host for host, _ in connections) == dict.fromkeys(hosts, 3)


def test_addresses_that_are_no_longer_named_are_given_up(
    bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = ("127.0.0.1", "127.0.0.2")
    with ScriptedServer(answer(), hosts=hosts) as server:
        first, second = [(2, (host, server.port)) for host in hosts]
        monkeypatch.setattr(addresses, "resolve", lambda _host, _port: [first])
        monkeypatch.setattr(addresses, "_REMEMBERED", 0.2)
        made = bench(f"http://endpoint.test:{server.port}", warm=4)
        made.offer(100, 0.25)
        assert {request.local_address for request in server.requests} == {"127.0.0.1"}
        before = len(server.requests)

        def is_given_up() -> bool:
            made.engine.learn([second])
            addresses = {each.address for each in made.engine._connections}
            return bool(addresses) and first not in addresses

        until(is_given_up)
        seen = made.offer(100, 0.25)
    assert not seen.errors
    assert {request.local_address for request in server.requests[before:]} == {"127.0.0.2"}


# --- Calls of the user's own --------------------------------------------------------------------


@pytest.fixture
def calls() -> Iterator[Callable[..., tuple[CallEngine, list[LoadTestFailed]]]]:
    engines: list[CallEngine] = []

    def make(
        call: Callable[[bytes], int | None], *, timeout: float = PATIENCE, at_once: int = 100
    ) -> tuple[CallEngine, list[LoadTestFailed]]:
        stopped: list[LoadTestFailed] = []
        payloads = invocation.PayloadSet([spec.Payload(b"payload")], seed=0)
        role = Role(worker=0, workers=1, on_stop=stopped.append)
        engine = CallEngine(role, call, payloads, timeout=timeout, at_once=at_once)
        engines.append(engine)
        engine.warm()
        return engine, stopped

    yield make
    for engine in engines:
        if not engine.stopped:
            engine.stop()


def _offer(engine: CallEngine, rate: float, seconds: float) -> ledger.Second:
    follow(engine, rate, seconds)
    return ledger.total(second for _, second in engine.take_seconds(final=True))


def test_calls_follow_the_schedule_and_may_wait(calls: Any) -> None:
    bodies: list[bytes] = []

    def call(payload: bytes) -> int:
        bodies.append(payload)
        gevent.sleep(0.05)
        return 7

    engine, _ = calls(call)
    seen = _offer(engine, 100, 1)
    assert bodies == [b"payload"] * 100
    assert seen.succeeded == seen.answered == seen.invoked == seen.sent == seen.offered == 100
    assert seen.bytes_received == 700
    assert (seen.latency.percentile_ms(1) or 0) >= 50


def test_calls_that_fail_are_counted_by_kind(calls: Any) -> None:
    count = 0

    def call(_payload: bytes) -> None:
        nonlocal count
        count += 1
        if count % 4 == 1:
            raise CallFailed("model_error_500", invoked=True)
        if count % 4 == 2:
            raise ConnectionResetError

    engine, stopped = calls(call)
    seen = _offer(engine, 80, 0.5)
    assert seen.errors == {"model_error_500": 10, "ConnectionResetError": 10}
    assert seen.succeeded == 20
    assert seen.answered == seen.invoked == 30
    assert not stopped


def test_a_call_that_returns_no_size_stops_the_engine(calls: Any) -> None:
    engine, stopped = calls(lambda payload: payload)
    start = time.time() + 0.05
    engine.follow([Plateau(start, start + 5, 20)])
    until(lambda: engine.stopped)
    assert [(error.name, str(error)) for error in stopped] == [
        ("EngineFailed", "TypeError: call returned bytes, not the answer's size in bytes")
    ]


def test_calls_that_take_too_long_time_out(calls: Any) -> None:
    engine, stopped = calls(lambda _payload: gevent.sleep(PATIENCE), timeout=0.3, at_once=3)
    seen = _offer(engine, 80, 0.5)
    # Some while they were going, some while they waited for their turn.
    assert seen.errors == {"timeout": 40}
    assert seen.sent == 40 - seen.unsent
    assert not stopped


def test_no_more_calls_at_once_than_allowed(calls: Any) -> None:
    going = most = 0

    def call(_payload: bytes) -> None:
        nonlocal going, most
        going += 1
        most = max(most, going)
        gevent.sleep(0.05)
        going -= 1

    engine, _ = calls(call, at_once=3)
    seen = _offer(engine, 100, 0.5)
    assert most == 3
    assert seen.succeeded == 50
    assert seen.connection_wait.count >= 40
    most = 0
    engine.hold(2, start=time.time(), ramp=0)
    until(lambda: going == 2)
    engine.hold(0, start=time.time(), ramp=0)
    until(lambda: not engine.outstanding)
    assert most == 2
