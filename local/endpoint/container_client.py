"""Requests to one model server on this machine, over connections that are kept alive.

Responses are parsed by httptools (llhttp).
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

import httptools

from local.endpoint.endpoint import Payload, Reply

HOST: Final = "127.0.0.1"

#: "Custom Inference Code with Hosting Services" (Developer Guide): a ping is answered in 2 s.
PING_SECONDS: Final = 2.0


class _Connection(asyncio.Protocol):
    """Carries one exchange at a time."""

    def __init__(self) -> None:
        self.is_open = False
        self._transport: asyncio.Transport | None = None
        self._replied: asyncio.Future[Reply] | None = None
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._content_type = ""
        self._body: list[bytes] = []
        self._has_length = False
        self._ends_with_connection = False
        #: Whether anything of an answer has come.
        self.has_begun = False

    async def exchange(self, request: bytes) -> Reply:
        """Send a request and return its reply.

        Raises:
            ConnectionError: The connection broke; ``has_begun`` tells whether in an answer.
        """
        self._begin()
        if self._transport is None or not self.is_open:
            raise ConnectionResetError("the connection closed")
        self._replied = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._replied
        finally:
            if not self._replied.done() or self._replied.cancelled():
                self.close()
            self._replied = None

    def close(self) -> None:
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not inherit from asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        self.has_begun = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._break("its answer is no HTTP")

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._ends_with_connection and exc is None:
            self._complete()
        else:
            self._break("the connection closed")

    def on_message_begin(self) -> None:
        self._content_type = ""
        self._has_length = False

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in (b"content-length", b"transfer-encoding"):
            self._has_length = True
        elif name == b"content-type":
            self._content_type = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._ends_with_connection = not self._has_length

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() < 200:  # 100 Continue, and the like
            return
        if not self._parser.should_keep_alive():
            self.close()
        self._complete()

    def _complete(self) -> None:
        if self._replied is not None and not self._replied.done():
            status = self._parser.get_status_code()
            self._replied.set_result(Reply(status, self._content_type, b"".join(self._body)))

    def _break(self, reason: str) -> None:
        self.close()
        if self._replied is not None and not self._replied.done():
            self._replied.set_exception(ConnectionResetError(reason))


class ContainerClient:
    """Speaks SageMaker's container contract with the server on one port."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: set[_Connection] = set()
        self._idle: list[_Connection] = []

    async def invoke(self, payload: Payload) -> Reply:
        """POST /invocations.

        Raises:
            OSError: The server can't be reached, or hung up.
        """
        headers = {"Content-Type": payload.content_type, **dict(payload.headers)}
        return await self._exchange("POST", "/invocations", headers, payload.body)

    async def ping(self) -> bool:
        """GET /ping; whether it is answered with 200 within two seconds."""
        try:
            async with asyncio.timeout(PING_SECONDS):
                return (await self._exchange("GET", "/ping", {}, b"")).status == 200
        except OSError:
            return False

    def close(self) -> None:
        """Hang up; what waits for an answer gets an error."""
        for connection in list(self._open):
            connection.close()

    async def _exchange(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> Reply:
        fields = {"Host": f"{HOST}:{self._port}", **headers}
        if body:
            fields["Content-Length"] = str(len(body))
        lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items()), "\r\n"]
        request = "\r\n".join(lines).encode("latin-1") + body
        while self._idle:
            connection = self._idle.pop()
            try:
                return await self._on(connection, request)
            except ConnectionError:
                # A server may close an idle connection at any time; nobody has seen the request.
                if connection.has_begun:
                    raise
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, HOST, self._port)
        return await self._on(connection, request)

    async def _on(self, connection: _Connection, request: bytes) -> Reply:
        self._open.add(connection)
        try:
            reply = await connection.exchange(request)
        finally:
            if not connection.is_open:
                self._open.discard(connection)
        if connection.is_open:
            self._idle.append(connection)
        return reply
