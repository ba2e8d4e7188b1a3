"""A keep-alive connection that carries one request at a time, as callbacks on the event loop.

Answers are parsed by httptools (llhttp). Nothing here decides or counts: a connection tells its
owner that it is open, that an answer is complete, or that it broke.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, Protocol

import gevent
from gevent import monkey
from httptools import HttpParserError, HttpResponseParser

from load_generator import answers

_READ = 1
_WRITE = 2
_CHUNK = 1 << 16
#: How much of an answer that is not a success is kept to name its error.
_ERROR_BODY = 1 << 16

#: The sockets of the standard library, not gevent's: nothing here may wait.
_socket: type[socket.socket] = monkey.get_original("socket", "socket")

#: What ``getaddrinfo`` gives to connect to: family and socket address.
Address = tuple[int, tuple[Any, ...]]


class Owner(Protocol):
    """Who a connection reports to."""

    def opened(self, connection: Connection) -> None:
        """The connection is ready for its first request."""

    def answered(self, connection: Connection) -> None:
        """The answer is complete: ``status``, ``size`` and, where kept, ``body`` are set."""

    def broke(self, connection: Connection, kind: str) -> None:
        """The connection is closed, whether it was opening, idle or busy."""

    def crashed(self, error: Exception) -> None:
        """A callback raised what it should not have."""


class _TlsSocket:
    """TLS over a non-blocking socket, with the calls of a socket that a connection needs."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> None:
        self._socket = sock
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._unsent: bytes | memoryview = b""

    def handshake(self) -> bool:
        """Go on with the handshake; True when it is done.

        Raises:
            ssl.SSLError: The peer is not who it should be, or speaks no TLS.
            OSError: The connection broke.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                try:
                    data = self._socket.recv(_CHUNK)
                except BlockingIOError:
                    return False
                if not data:
                    raise ConnectionResetError(
                        errno.ECONNRESET, "closed in the handshake"
                    ) from None
                self._incoming.write(data)
            else:
                self.flush()
                return True

    def recv(self, size: int) -> bytes:
        data = self._socket.recv(size)
        if not data:
            return b""
        self._incoming.write(data)
        parts = []
        try:
            while self._incoming.pending or self._tls.pending():
                part = self._tls.read(_CHUNK)
                if not part:
                    break
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            # The peer said good-bye; what came before it counts, the end is seen as the socket's.
            pass
        if not parts:
            raise BlockingIOError
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def send(self, data: bytes) -> int:
        self._tls.write(data)
        self.flush()
        # Encrypted is as good as sent: what the socket did not take is flushed later.
        return len(data)

    def flush(self) -> bool:
        """Send what is encrypted; True when nothing is left."""
        data: bytes | memoryview = self._unsent
        if not data:
            data = self._outgoing.read()
        elif self._outgoing.pending:
            data = b"".join((data, self._outgoing.read()))
        if not data:
            return True
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        self._unsent = memoryview(data)[sent:]
        return not self._unsent


class Connection:
    """One connection. The attributes of the request it carries are the owner's to set."""

    __slots__ = (
        "_chunks",
        "_keep_body",
        "_kept",
        "_owner",
        "_parser",
        "_raw",
        "_reader",
        "_receive",
        "_rest",
        "_send",
        "_socket",
        "_streaming",
        "_tls",
        "_writer",
        "address",
        "body",
        "busy",
        "closed",
        "complete",
        "first_byte_at",
        "intended",
        "opened_at",
        "requests",
        "resent",
        "rests_since",
        "retired",
        "reusable",
        "sent_at",
        "size",
        "status",
    )

    def __init__(
        self,
        owner: Owner,
        address: Address,
        *,
        tls: ssl.SSLContext | None,
        host: str,
        keep_body: bool,
        streaming: bool,
        now: float,
    ) -> None:
        """Begin to connect.

        Args:
            owner: Who is told what happens.
            address: Where to.
            tls: How to encrypt and verify; None for plain HTTP.
            host: The name that the peer's certificate must carry.
            keep_body: Whether ``body`` is kept of successes too.
            streaming: Whether ``first_byte_at`` is taken.
            now: The time, ``time.monotonic``.
        """
        self._owner = owner
        self.address = address
        self._keep_body = keep_body
        self._streaming = streaming
        #: The request: when it should have started, when it was sent (``time.monotonic``).
        self.intended = 0.0
        self.sent_at = 0.0
        #: It was sent before, on a connection that broke.
        self.resent = False
        self.busy = False
        #: How many requests it has carried, and since when it last rested (``time.monotonic``).
        self.requests = 0
        self.rests_since: float | None = None
        self.closed = False
        #: Not to be used for another request, by the peer's wish or ours.
        self.reusable = True
        self.retired = False
        self.opened_at = now
        #: The answer.
        self.status = 0
        self.size = 0
        self.body = b""
        self.first_byte_at = 0.0
        self.complete = False
        #: Of the answer: new parts of its body, those put aside, and its first bytes as received.
        self._chunks: list[bytes] = []
        self._kept: list[bytes] = []
        self._raw: list[bytes] = []
        self._rest: bytes | memoryview = b""
        self._parser = HttpResponseParser(self)

        family, sockaddr = address
        self._socket = _socket(family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tls = _TlsSocket(self._socket, tls, host) if tls is not None else None
        transport = self._tls or self._socket
        self._receive: Callable[[int], bytes] = transport.recv
        self._send: Callable[[bytes], int] = transport.send
        loop = gevent.get_hub().loop
        self._reader = loop.io(self._socket.fileno(), _READ)
        self._writer = loop.io(self._socket.fileno(), _WRITE)
        status = self._socket.connect_ex(sockaddr)
        if status not in {0, errno.EINPROGRESS}:
            # Told later, so that the owner has the connection in its books by then.
            loop.run_callback(self._fail, _connect_error(status))
            return
        self._writer.start(self._connected)

    # What the parser calls. It looks these names up once, when it is made.

    @property
    def on_body(self) -> Callable[[bytes], None]:
        """Collects the parts of the body: the list's own method, as it is called most often."""
        return self._on_streamed_body if self._streaming else self._chunks.append

    def _on_streamed_body(self, part: bytes) -> None:
        if not self.first_byte_at:
            self.first_byte_at = time.monotonic()
        self._chunks.append(part)

    def on_message_complete(self) -> None:
        """The answer is complete."""
        status = self._parser.get_status_code()
        if status < answers.SUCCESSES.start:
            # 100 Continue and the like: the answer is still to come.
            return
        if self.complete:
            raise ValueError("an answer that nobody asked for")
        self.status = status
        self.reusable = self._parser.should_keep_alive()
        self.complete = True

    # What the owner calls.

    def send(self, request: bytes) -> None:
        """Send a request; if the connection is broken, the owner is told later, not now."""
        self.busy = True
        self.size = 0
        self.first_byte_at = 0.0
        if self._raw:
            self._raw.clear()
        try:
            sent = self._send(request)
        except BlockingIOError:
            sent = 0
        except OSError:
            gevent.get_hub().loop.run_callback(self._fail, answers.CONNECTION)
            return
        if sent != len(request) or (self._tls is not None and not self._tls.flush()):
            self._rest = memoryview(request)[sent:]
            self._writer.start(self._writable)

    def close(self) -> None:
        """Close at once; the owner is not told."""
        if self.closed:
            return
        self.closed = True
        for watcher in (self._reader, self._writer):
            watcher.stop()
            watcher.close()
        self._socket.close()

    @property
    def is_silent(self) -> bool:
        """Whether nothing of the answer has come yet."""
        return not self._raw

    def headers(self) -> dict[str, str]:
        """The headers of an answer that is not a success, by lower-case name."""
        return _Head(self._raw).fields

    # What the event loop calls.

    def _connected(self) -> None:
        try:
            status = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if status:
                self._fail(_connect_error(status))
                return
            self._writer.stop()
            if self._tls is None:
                self._open()
            else:
                self._reader.start(self._handshake)
                self._handshake()
        except Exception as error:  # noqa: BLE001 - told to the owner, who fails the test
            self._owner.crashed(error)

    def _handshake(self) -> None:
        assert self._tls is not None
        try:
            if self._tls.handshake():
                self._reader.stop()
                self._open()
        except ssl.SSLError:
            self._fail(answers.TLS)
        except OSError:
            self._fail(answers.CONNECTION)
        except Exception as error:  # noqa: BLE001 - told to the owner, who fails the test
            self._owner.crashed(error)

    def _open(self) -> None:
        self._reader.start(self._readable)
        self._owner.opened(self)

    def _writable(self) -> None:
        try:
            if self._tls is not None:
                if self._tls.flush():
                    self._writer.stop()
                return
            sent = self._socket.send(self._rest)
            self._rest = self._rest[sent:]
            if not self._rest:
                self._writer.stop()
        except BlockingIOError:
            return
        except OSError:
            self._fail(answers.CONNECTION)

    def _readable(self) -> None:
        try:
            try:
                data = self._receive(_CHUNK)
            except BlockingIOError:
                return
            except OSError:
                self._fail(answers.CONNECTION)
                return
            if not data:
                self._ended()
                return
            if not self.busy:
                # Nobody asked: a good-bye such as 408, or a peer out of step.
                self._fail(answers.BAD_ANSWER)
                return
            self._parser.feed_data(data)
            chunks = self._chunks
            if (
                self.complete
                and self.status in answers.SUCCESSES
                and len(chunks) == 1
                and not self._raw
            ):
                # One part, received at once: nearly every answer.
                self.body = chunks.pop()
                self.size = len(self.body)
                self.complete = False
                self._owner.answered(self)
                return
            if len(self._raw) * _CHUNK < _ERROR_BODY:
                self._raw.append(data)
            self._keep()
            if self.complete:
                self._complete()
        except HttpParserError:
            self._fail(answers.BAD_ANSWER)
        except Exception as error:  # noqa: BLE001 - told to the owner, who fails the test
            self._owner.crashed(error)

    def _keep(self) -> None:
        """Put the body's new parts aside, and those of large successes away."""
        chunks = self._chunks
        received = sum(map(len, chunks))
        if self._keep_body or (
            self._parser.get_status_code() not in answers.SUCCESSES
            and self.size + received <= _ERROR_BODY
        ):
            self._kept += chunks
        self.size += received
        chunks.clear()

    def _complete(self) -> None:
        self.body = b"".join(self._kept)
        self._kept.clear()
        self.complete = False
        self._owner.answered(self)

    def _ended(self) -> None:
        """The peer closed the connection: some answers end so, most break off."""
        if self.busy and self._raw:
            head = _Head(self._raw)
            if head.complete and not ({"content-length", "transfer-encoding"} & head.fields.keys()):
                self.status = self._parser.get_status_code()
                self.reusable = False
                self._complete()
                return
        self._fail(answers.CONNECTION)

    def _fail(self, kind: str) -> None:
        if self.closed:
            return
        self.close()
        self._owner.broke(self, kind)


class _Head:
    """The header fields of an answer's first bytes: read again, as few answers need them."""

    def __init__(self, raw: list[bytes]) -> None:
        self.fields: dict[str, str] = {}
        self.complete = False
        parser = HttpResponseParser(self)
        with contextlib.suppress(HttpParserError):
            for data in raw:
                parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.complete = True


def _connect_error(status: int) -> str:
    if status == errno.ECONNREFUSED:
        return answers.REFUSED
    if status == errno.ETIMEDOUT:
        return answers.TIMEOUT
    return answers.CONNECTION
