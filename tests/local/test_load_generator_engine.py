"""The engine against servers on real sockets: what arrives, what is counted, and as what."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.eventstream import EventStreamBuffer

from benchmarks.load.certificate import write_certificate
from load_generator import addresses, invocation, ledger, spec
from load_generator.call_engine import CallEngine, CallFailed
from load_generator.engine import LEASE_SECONDS, Role
from load_generator.errors import LoadTestFailed
from load_generator.http_engine import HttpEngine, Target
from load_generator.schedule import Plateau
from tests.local.scripted_server import BODY, Request, ScriptedServer, always, answer

pytestmark = pytest.mark.load

CREDENTIALS = invocation.Credentials("AKIAIOSFODNN7EXAMPLE", "secret", None)


class Bench:
    """An engine, and what its seconds add up to."""

    def __init__(self, engine: HttpEngine, stopped: list[LoadTestFailed]) -> None:
        self.engine = engine
        self.stopped = stopped
        self.seconds: list[tuple[int, ledger.Second]] = []

    def offer(self, rate: float, seconds: float, *, wait: float = 5.0) -> ledger.Second:
        """Offer a constant rate, and wait until all has ended."""
        start = time.time() + 0.05
        self.engine.follow([Plateau(start, start + seconds, rate)])
        gevent.sleep(seconds + 0.06)
        return self.total(wait=wait)

    def total(self, *, wait: float = 5.0) -> ledger.Second:
        """What has happened so far, once nothing is outstanding."""
        deadline = time.monotonic() + wait
        while self.engine.outstanding and time.monotonic() < deadline:
            gevent.sleep(0.01)
        assert not self.engine.outstanding
        self.seconds += self.engine.take_seconds(final=True)
        return ledger.total(second for _, second in self.seconds)


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
        timeout: float = 5.0,
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
            engine.warm(warm, timeout=3)
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
    assert 20 <= (seen.latency.percentile_ms(50) or 0) < 40
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
        seen = bench(server.url, timeout=20).offer(4, 1, wait=20)
    assert seen.succeeded == 4
    assert seen.bytes_received == 4 * len(body)


def test_requests_of_20_megabytes(bench: MakeBench) -> None:
    body = "x" * 20_000_000
    with ScriptedServer(answer()) as server:
        seen = bench(server.url, payloads=[{"body": body}], timeout=20).offer(4, 1, wait=20)
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
        pytest.param(b"", id="before the first byte"),
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
    # Each was sent once: nothing is retried.
    assert len(server.requests) == 20


def test_a_half_sent_answer_times_out(bench: MakeBench) -> None:
    async def stop_halfway(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.number % 2:
            writer.write(answer())
        else:
            writer.write(answer()[:-5])
            await asyncio.sleep(60)

    with ScriptedServer(stop_halfway) as server:
        seen = bench(server.url, timeout=0.5).offer(40, 0.25)
    assert seen.errors == {"timeout": 5}
    assert seen.succeeded == 5
    assert len(server.requests) == 10


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
        ).offer(40, 2)
        host = f"127.0.0.1:{server.port}"
    assert len(server.requests) == 80
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
        stamp = time.mktime(time.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ"))
        assert abs(stamp - time.timezone - request.at) < 2


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
        seen = bench(server.url, payloads=payloads).offer(400, 2)
    assert seen.succeeded == 800
    bodies = [request.body for request in server.requests]
    assert set(bodies) == {binary, b"plain"}
    # Three of four, within five standard deviations.
    assert abs(bodies.count(binary) - 600) < 5 * (800 * 0.75 * 0.25) ** 0.5


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
        gevent.sleep(0.3)
    assert made.engine.stopped
    assert [error.name for error in made.stopped] == ["EngineFailed"]
    assert "KeyError" in str(made.stopped[0])


def test_whoever_listens_is_told_of_every_request(bench: MakeBench) -> None:
    async def every_second_fails(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(answer(status="503 Service Unavailable") if request.number % 2 else answer())

    with ScriptedServer(every_second_fails) as server:
        made = bench(server.url, listening=True)
        made.offer(80, 0.25)
        ended = made.engine.take_ended()
    assert len(ended) == 20
    assert sum(each.error == "service_unavailable" for each in ended) == 10
    assert all(each.size == len(BODY) for each in ended if each.error is None)
    assert all(abs(each.started_at - time.time()) < 5 and each.duration > 0 for each in ended)


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
    assert 50 <= (seen.first_byte.percentile_ms(50) or 0) < 90
    assert 150 <= (seen.latency.percentile_ms(50) or 0) < 200
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


# --- The schedule -------------------------------------------------------------------------------


def test_latency_counts_from_the_intended_start(bench: MakeBench) -> None:
    """A server that stalls half a second shows it to every request that was due meanwhile."""

    async def stall(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.number == 20:
            # The whole server stands still, not this request alone.
            time.sleep(0.5)
        writer.write(answer())

    with ScriptedServer(stall) as server:
        seen = bench(server.url).offer(200, 1)
    assert seen.succeeded == 200
    # Due each 5 ms during the stall: 100 requests that wait 500, 495, 490 ... ms.
    late = sum(count for bucket, count in seen.latency.counts.items() if bucket > 50_000)
    assert 85 <= late <= 115
    assert 480 <= (seen.latency.percentile_ms(99.5) or 0) <= 560


def test_a_schedule_is_followed_to_the_request(bench: MakeBench) -> None:
    with ScriptedServer(answer()) as server:
        made = bench(server.url)
        start = time.time() + 0.1
        made.engine.follow(
            [
                Plateau(start, start + 1, 50),
                Plateau(start + 1, start + 2, 200),
                Plateau(start + 2.5, start + 3, 100),
            ]
        )
        gevent.sleep(3.2)
        seen = made.total()
    assert seen.succeeded == 50 + 200 + 50
    moments = [request.at - start for request in server.requests]
    assert sum(moment < 1 for moment in moments) == pytest.approx(50, abs=2)
    assert sum(1 <= moment < 2 for moment in moments) == pytest.approx(200, abs=3)
    assert not any(2.1 < moment < 2.5 for moment in moments)
    assert (seen.lag.percentile_ms(50) or 0) < 5


def test_requests_belong_to_the_second_they_were_due_in(bench: MakeBench) -> None:
    """A process that stands still while a second ends sends late what was due, and books it so."""
    with ScriptedServer(answer()) as server:
        made = bench(server.url)
        start = int(time.time()) + 1.5
        made.engine.follow([Plateau(start, start + 2, 200)])
        gevent.sleep(start + 0.4 - time.time())
        time.sleep(0.2)
        gevent.sleep(start + 2.1 - time.time())
        made.total()
    offered: dict[int, int] = {}
    for epoch_second, second in made.seconds:
        offered[epoch_second] = offered.get(epoch_second, 0) + second.offered
    first = int(start)
    assert [offered[first], offered[first + 1], offered[first + 2]] == [100, 200, 100]
    seen = made.total()
    assert seen.sent == 400
    assert seen.unsent == 0
    assert (seen.lag.max_ms or 0) > 150


def test_the_end_of_a_plateau_can_be_moved_while_it_runs(bench: MakeBench) -> None:
    with ScriptedServer(answer()) as server:
        made = bench(server.url)
        start = time.time() + 0.1
        made.engine.follow([Plateau(start, start + 30, 100)])
        gevent.sleep(0.6)
        made.engine.follow([Plateau(start, start + 1, 100), Plateau(start + 1, start + 1.5, 20)])
        gevent.sleep(1.2)
        seen = made.total()
    assert seen.succeeded == 100 + 10


def test_a_closed_loop_holds_its_concurrency(bench: MakeBench) -> None:
    with ScriptedServer(always(answer(), delay=0.05)) as server:
        made = bench(server.url)
        made.engine.hold(8, start=time.time(), ramp=0.1)
        gevent.sleep(1)
        assert server.most_at_once == 8
        made.engine.hold(16, start=time.time(), ramp=0.1)
        gevent.sleep(1)
        assert server.most_at_once == 16
        made.engine.hold(0, start=time.time(), ramp=0)
        seen = made.total()
    assert seen.succeeded == seen.offered == seen.sent == len(server.requests)
    # Two seconds of 8, then 16 at once, 50 ms each.
    assert 350 <= seen.succeeded <= 480


def test_a_pool_that_is_too_small_makes_requests_wait_and_loses_none(bench: MakeBench) -> None:
    with ScriptedServer(always(answer(), delay=0.05)) as server:
        seen = bench(server.url, max_connections=2).offer(100, 0.5)
    assert server.connections == 2
    assert seen.succeeded == 50
    assert seen.connection_wait.count >= 40
    # Fifty requests of 50 ms over two connections last 1.25 s, of which they were due in 0.5 s.
    assert 600 <= (seen.latency.max_ms or 0) <= 1000
    assert (seen.service.percentile_ms(99) or 0) < 100
    assert (seen.lag.percentile_ms(90) or 0) < 20


def test_a_request_that_waits_too_long_for_a_connection_times_out(bench: MakeBench) -> None:
    with ScriptedServer(always(answer(), delay=0.4)) as server:
        seen = bench(server.url, max_connections=1, timeout=1).offer(10, 1)
    assert seen.succeeded + seen.failed == 10
    assert seen.errors == {"timeout": seen.failed}
    assert seen.failed >= 6
    assert seen.offered == 10
    assert seen.sent == len(server.requests) == 10 - seen.unsent
    assert (seen.latency.max_ms or 0) < 1200


def test_the_pool_grows_with_need_and_no_further(bench: MakeBench) -> None:
    with ScriptedServer(always(answer(), delay=0.1)) as server:
        bench(server.url).offer(200, 1)
    # 200/s of 100 ms each need 20 connections.
    assert 20 <= server.connections <= 40


def test_nothing_is_sent_once_the_leader_is_silent(bench: MakeBench) -> None:
    with ScriptedServer(answer()) as server:
        made = bench(server.url)
        made.engine.lease_until = time.monotonic() + 0.5
        start = time.time()
        made.engine.follow([Plateau(start, start + 30, 100)])
        gevent.sleep(1.2)
        sent = len(server.requests)
        gevent.sleep(0.3)
        assert len(server.requests) == sent <= 60
    assert made.engine.stopped
    assert [error.name for error in made.stopped] == ["LeaderLost"]


def test_an_engine_that_stood_still_does_not_catch_up(bench: MakeBench) -> None:
    with ScriptedServer(answer()) as server:
        made = bench(server.url)
        start = time.time()
        made.engine.follow([Plateau(start, start + 30, 100)])
        gevent.sleep(0.3)
        sent = len(server.requests)
        time.sleep(LEASE_SECONDS + 0.2)
        gevent.sleep(0.3)
        assert len(server.requests) <= sent + 5
    assert [error.name for error in made.stopped] == ["WorkerLost"]


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
        made = bench(url, tls=authority["client"], payloads=[{"body": "x" * 300_000}])
        seen = made.offer(50, 1)
    assert seen.succeeded == 50
    assert not seen.errors
    assert seen.bytes_received == 5 * 3_000_000 + 45 * len(BODY)
    assert all(len(request.body) == 300_000 for request in server.requests)
    assert server.connections < 50


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
        made.offer(200, 1)
        counts = {
            host: sum(request.local_address == host for request in server.requests)
            for host in hosts
        }
    assert all(50 < count < 85 for count in counts.values()), counts


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
        for _ in range(6):
            made.engine.learn([second])
            gevent.sleep(0.1)
        seen = made.offer(100, 0.25)
    assert not seen.errors
    assert {request.local_address for request in server.requests[before:]} == {"127.0.0.2"}


# --- Calls of the user's own --------------------------------------------------------------------


@pytest.fixture
def calls() -> Iterator[Callable[..., tuple[CallEngine, list[LoadTestFailed]]]]:
    engines: list[CallEngine] = []

    def make(
        call: Callable[[bytes], int | None], *, timeout: float = 5.0, at_once: int = 100
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
    start = time.time() + 0.05
    engine.follow([Plateau(start, start + seconds, rate)])
    gevent.sleep(seconds + 0.1)
    deadline = time.monotonic() + 5
    while engine.outstanding and time.monotonic() < deadline:
        gevent.sleep(0.01)
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
    assert 50 <= (seen.latency.percentile_ms(50) or 0) < 80


def test_calls_that_fail_are_counted_by_kind(calls: Any) -> None:
    count = 0

    def call(_payload: bytes) -> None:
        nonlocal count
        count += 1
        if count % 4 == 1:
            raise CallFailed("model_error_500", invoked=True)
        if count % 4 == 2:
            raise ConnectionResetError
        if count % 4 == 3:
            gevent.sleep(60)

    engine, stopped = calls(call, timeout=0.3)
    seen = _offer(engine, 80, 0.5)
    assert seen.errors == {"model_error_500": 10, "ConnectionResetError": 10, "timeout": 10}
    assert seen.succeeded == 10
    assert seen.answered == seen.invoked == 20
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
    engine.hold(2, start=time.time(), ramp=0)
    most = 0
    gevent.sleep(0.5)
    engine.hold(0, start=time.time(), ramp=0)
    gevent.sleep(0.1)
    assert most == 2
    assert not engine.outstanding
