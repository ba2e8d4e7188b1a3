"""SageMaker Runtime over HTTP/1.1: InvokeEndpoint and InvokeEndpointWithResponseStream.

Names of operations, headers and errors are those of botocore's service model ``sagemaker-runtime``.
Signatures are not checked, so that curl works as well. Bodies are not kept.

This is the platform's side of an invocation: what comes from a model, or is the endpoint's own
answer for it, is translated into answers of the service.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import struct
import time
import uuid
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import httptools

from local.endpoint.endpoint import THROTTLED, Endpoint, EndpointStatus, Payload, Reply
from local.endpoint.simulation import Simulation

_log = logging.getLogger(__name__)

#: SageMaker's limit of a real-time payload ("Amazon SageMaker hosting FAQs").
MAX_BODY_BYTES = 25 * 1024 * 1024

#: The account that moto makes resources in.
ACCOUNT_ID = "123456789012"

_SERVING = (EndpointStatus.IN_SERVICE, EndpointStatus.UPDATING)
_JSON = "application/json"
_EVENT_STREAM = "application/vnd.amazon.eventstream"
_STREAM_SUFFIX = "-response-stream"
#: What is handed on to the model: "Custom Inference Code with Hosting Services" (Developer Guide).
_HANDED_ON = {
    b"accept": "Accept",
    b"x-amzn-sagemaker-custom-attributes": "X-Amzn-SageMaker-Custom-Attributes",
}
_HEADERS_READ = frozenset(
    (b"content-type", b"expect", b"x-amzn-sagemaker-target-variant", *_HANDED_ON)
)
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 424: "Failed Dependency", 500: "Error"}

#: An answer that is an error is told of as far as this.
_ORIGINAL_MESSAGE_BYTES = 4096

#: How long a connection may be idle: as long as at SageMaker's front end, which clients that reuse
#: older ones have found out (https://github.com/boto/boto3/issues/4021).
IDLE_SECONDS = 60.0

#: Requests that a client may send ahead on one connection before it is made to wait.
_PIPELINED_MAX = 32


class Clockwork(Protocol):
    """Drives a simulation on a real clock."""

    simulation: Simulation

    def advance(self) -> float:
        """Process what is due; returns the time, epoch seconds."""

    def arm(self) -> None:
        """Wake up for the next event."""


@dataclass(frozen=True, slots=True)
class ServiceError:
    """An error answer of the service: ``code`` is the exception's name in every SDK."""

    status: int
    code: str
    message: str
    members: dict[str, object] = field(default_factory=dict)


def _validation_error(message: str) -> ServiceError:
    return ServiceError(400, "ValidationError", message)


def _model_error(endpoint_name: str, region: str, status: int, message: str) -> ServiceError:
    side = "client" if 400 <= status < 500 else "server"
    return ServiceError(
        424,
        "ModelError",
        f'Received {side} error ({status}) from primary with message "{message}"',
        {
            "OriginalStatusCode": status,
            "OriginalMessage": message,
            "LogStreamArn": f"arn:aws:logs:{region}:{ACCOUNT_ID}:log-group:"
            f"/aws/sagemaker/Endpoints/{endpoint_name}",
        },
    )


_THROTTLED = ServiceError(400, "ThrottlingException", "Rate exceeded")
_UNKNOWN_OPERATION = ServiceError(404, "UnknownOperationException", "No such operation")
_INTERNAL_FAILURE = ServiceError(500, "InternalFailure", "The local endpoint failed; see its log")


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A parsed request."""

    method: bytes
    url: bytes
    headers: dict[bytes, str]
    body: bytes
    body_bytes: int
    keep_alive: bool

    def operation(self) -> tuple[str, bool] | None:
        """Endpoint name and whether the answer is to be streamed; None if it is no invocation."""
        parts = self.url.partition(b"?")[0].decode("latin-1").split("/")
        if self.method != b"POST" or len(parts) != 4 or parts[0] or parts[1] != "endpoints":
            return None
        streamed = parts[3].endswith(_STREAM_SUFFIX)
        if parts[3].removesuffix(_STREAM_SUFFIX) != "invocations":
            return None
        return parts[2], streamed


class RuntimeApi:
    """The service: takes parsed requests, answers with bytes."""

    def __init__(self, clockwork: Clockwork, region: str) -> None:
        self._clockwork = clockwork
        self._simulation = clockwork.simulation
        self._region = region
        self._request_ids = itertools.count(1)
        self._request_id_prefix = str(uuid.uuid4())[:24]

    def handle(self, request: HttpRequest, respond: Callable[[bytes], None]) -> None:
        """Take a request; ``respond`` is called once with the answer, now or later."""
        operation = request.operation()
        if operation is None:
            respond(self._error(_UNKNOWN_OPERATION, request))
            return
        name, streamed = operation
        endpoint = self._simulation.endpoints.get(name)
        invalid = self._invalid(name, endpoint, request)
        if invalid is not None or endpoint is None:
            if endpoint is not None:
                endpoint.reject()
            respond(self._error(invalid or _INTERNAL_FAILURE, request))
            return

        def replied(reply: Reply) -> None:
            if 200 <= reply.status < 300:
                respond(self._success(endpoint.spec.variant_name, streamed, reply, request))
            else:
                respond(self._error(self._failure(name, reply), request))

        handed_on = tuple(
            (name, request.headers[key])
            for key, name in _HANDED_ON.items()
            if key in request.headers
        )
        content_type = request.headers.get(b"content-type", _JSON)
        now = self._clockwork.advance()
        endpoint.take(now, Payload(request.body, handed_on, content_type), replied)
        self._clockwork.arm()

    def _invalid(
        self, name: str, endpoint: Endpoint[Any] | None, request: HttpRequest
    ) -> ServiceError | None:
        """Why the platform does not hand the request to the model; None if it does."""
        if endpoint is None:
            return _validation_error(f"Endpoint {name} of account {ACCOUNT_ID} not found.")
        if endpoint.status not in _SERVING:
            return _validation_error(
                f"Endpoint {name} of account {ACCOUNT_ID} is {endpoint.status}, not InService."
            )
        variant = request.headers.get(b"x-amzn-sagemaker-target-variant")
        if variant is not None and variant != endpoint.spec.variant_name:
            return _validation_error(f"Endpoint {name} has no variant {variant}.")
        if not request.body_bytes:
            return _validation_error("1 validation error detected: body must not be empty.")
        if request.body_bytes > MAX_BODY_BYTES:
            return _validation_error(
                f"1 validation error detected: body of {request.body_bytes} bytes is larger than "
                f"{MAX_BODY_BYTES} bytes."
            )
        return None

    def _failure(self, name: str, reply: Reply) -> ServiceError:
        if reply is THROTTLED:
            return _THROTTLED
        message = reply.body[:_ORIGINAL_MESSAGE_BYTES].decode(errors="replace")
        return _model_error(name, self._region, reply.status, message)

    def internal_failure(self, request: HttpRequest) -> bytes:
        """The answer where this program is at fault."""
        return self._error(_INTERNAL_FAILURE, request)

    def _success(
        self, variant_name: str, streamed: bool, reply: Reply, request: HttpRequest
    ) -> bytes:
        head, body = _success_parts(variant_name, streamed, reply)
        return head + self._last_headers(request) + body

    def _error(self, error: ServiceError, request: HttpRequest) -> bytes:
        body = json.dumps({"Message": error.message, **error.members}).encode()
        head = (
            f"HTTP/1.1 {error.status} {_REASONS[error.status]}\r\n"
            f"Content-Type: {_JSON}\r\nContent-Length: {len(body)}\r\n"
            f"x-amzn-ErrorType: {error.code}\r\n"
        )
        return head.encode() + self._last_headers(request) + body

    def _last_headers(self, request: HttpRequest) -> bytes:
        request_id = f"{self._request_id_prefix}{next(self._request_ids):012x}"
        closing = "" if request.keep_alive else "Connection: close\r\n"
        return f"x-amzn-RequestId: {request_id}\r\n{closing}\r\n".encode()


def _success_parts(variant_name: str, streamed: bool, reply: Reply) -> tuple[bytes, bytes]:
    """Status line with headers, and body, of a success."""
    body = _payload_part(reply.body) if streamed else reply.body
    content_type = (
        f"Content-Type: {_EVENT_STREAM}\r\nX-Amzn-SageMaker-Content-Type: {reply.content_type}\r\n"
        if streamed
        else f"Content-Type: {reply.content_type}\r\n"
    )
    head = (
        f"HTTP/1.1 200 OK\r\n{content_type}Content-Length: {len(body)}\r\n"
        f"x-Amzn-Invoked-Production-Variant: {variant_name}\r\n"
    )
    return head.encode(), body


def _payload_part(payload: bytes) -> bytes:
    """A PayloadPart in the ``vnd.amazon.eventstream`` encoding.

    Local models do not stream: the answer is a single part, sent when it is complete.
    """
    headers = b"".join(
        struct.pack("!B", len(name)) + name + struct.pack("!BH", 7, len(value)) + value
        for name, value in (
            (b":message-type", b"event"),
            (b":event-type", b"PayloadPart"),
            (b":content-type", b"application/octet-stream"),
        )
    )
    # Total length counts the prelude (8), its checksum (4) and the message's own checksum (4).
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + payload
    return message + struct.pack("!I", zlib.crc32(message))


class RuntimeProtocol(asyncio.Protocol):
    """One connection: requests are answered in the order they came.

    Args:
        api: The service.
        connections: Where the connection is kept while it is open.
        clock: Seconds.
    """

    def __init__(
        self,
        api: RuntimeApi,
        connections: set[RuntimeProtocol],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._connections = connections
        self._clock = clock
        #: Since when nothing has been asked; None while something is.
        self._idle_since: float | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[HttpRequest] = deque()
        self._current: HttpRequest | None = None
        self._url = b""
        self._headers: dict[bytes, str] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._paused = False

    # --- Connection -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)
        self._idle_since = self._clock()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio passes it
        self._transport = None
        self._waiting.clear()
        self._connections.discard(self)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def close_if_idle(self, seconds: float) -> None:
        """Hang up if nothing has been asked for so long, whatever may be on its way right now."""
        idle_since = self._idle_since
        if (
            self._transport is not None
            and idle_since is not None
            and self._clock() - idle_since >= seconds
        ):
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._idle_since = None
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self._transport is not None:
                self._transport.write(
                    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
                self._transport.close()

    # --- Parser's callbacks -----------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = {}
        self._body = []
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in _HEADERS_READ:
            self._headers[name] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if b"expect" in self._headers and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        # A body that is too large is read to its end all the same: a client that is cut off while
        # it sends sees a broken pipe instead of the error.
        self._body_bytes += len(body)
        if self._body_bytes <= MAX_BODY_BYTES:
            self._body.append(body)
        else:
            self._body.clear()

    def on_message_complete(self) -> None:
        body = self._body
        request = HttpRequest(
            self._parser.get_method(),
            self._url,
            self._headers,
            body[0] if len(body) == 1 else b"".join(body),
            self._body_bytes,
            self._parser.should_keep_alive(),
        )
        self._body = []
        if self._current is None:
            self._handle(request)
        else:
            self._waiting.append(request)
            if len(self._waiting) >= _PIPELINED_MAX:
                self._pause(True)

    # --- Requests ---------------------------------------------------------------------------

    def _handle(self, request: HttpRequest) -> None:
        self._current = request
        try:
            self._api.handle(request, self._respond)
        except Exception:  # noqa: BLE001 - whatever it is, the client gets an answer
            _log.exception("an invocation failed")
            self._respond(self._api.internal_failure(request))

    def _respond(self, answer: bytes) -> None:
        request, self._current = self._current, None
        transport = self._transport
        if transport is None or request is None:
            return
        transport.write(answer)
        if not request.keep_alive:
            transport.close()
        elif not self._waiting:
            self._idle_since = self._clock()
        else:
            # Not from here: this may be the simulation's call, which must not be entered twice.
            asyncio.get_running_loop().call_soon(self._handle_waiting)

    def _handle_waiting(self) -> None:
        if self._waiting and self._current is None and self._transport is not None:
            request = self._waiting.popleft()
            if len(self._waiting) < _PIPELINED_MAX:
                self._pause(False)
            self._handle(request)

    def _pause(self, paused: bool) -> None:
        if self._transport is not None and paused is not self._paused:
            self._paused = paused
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()
