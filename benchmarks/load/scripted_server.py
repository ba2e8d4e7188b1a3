"""An HTTP server on a real socket that answers, byte for byte, what a test tells it to."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

BODY = b'[{"label": "POSITIVE", "score": 0.99}]'


def answer(
    body: bytes = BODY, *, status: str = "200 OK", headers: dict[str, str] | None = None
) -> bytes:
    """The bytes of an answer with a Content-Length."""
    fields = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    lines = [f"{name}: {value}" for name, value in (fields | (headers or {})).items()]
    return (
        f"HTTP/1.1 {status}\r\n{chr(10).join(f'{line}{chr(13)}' for line in lines)}\n\r\n".encode()
        + body
    )


@dataclass
class Request:
    """One request as it came in."""

    number: int
    connection: int
    local_address: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.time)


Handler = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


def always(content: bytes, *, delay: float = 0.0) -> Handler:
    """A handler that sends the same bytes each time."""

    async def handle(_request: Request, writer: asyncio.StreamWriter) -> None:
        if delay:
            await asyncio.sleep(delay)
        writer.write(content)

    return handle


def served_by(slots: int, seconds: float, content: bytes) -> Handler:
    """A handler that serves so many requests at once, and lets the others queue.

    A slot is free again when its time is over, not when this thread has noticed: on a machine that
    is busy, answers are late, but no fewer are served.
    """
    free = [0.0] * slots

    async def handle(_request: Request, writer: asyncio.StreamWriter) -> None:
        now = time.monotonic()
        done = max(now, heapq.heappop(free)) + seconds
        heapq.heappush(free, done)
        await asyncio.sleep(done - now)
        writer.write(content)

    return handle


class ScriptedServer:
    """Serves in a thread of its own; a context manager."""

    def __init__(
        self,
        handler: Handler | bytes,
        *,
        tls: ssl.SSLContext | None = None,
        hosts: tuple[str, ...] = ("127.0.0.1",),
        port: int = 0,
    ) -> None:
        self.handler = always(handler) if isinstance(handler, bytes) else handler
        self.requests: list[Request] = []
        self.connections = 0
        self.open_connections = 0
        self.most_at_once = 0
        self.port = port
        self._at_once = 0
        self._tls = tls
        self._hosts = hosts
        self._numbers = itertools.count()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://{self._hosts[0]}:{self.port}"

    def __enter__(self) -> ScriptedServer:
        self._thread.start()
        assert self._ready.wait(120)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close the listening sockets and every connection."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(120)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda _loop, _context: None)
        self._loop.run_until_complete(self._listen())
        self._ready.set()
        self._loop.run_forever()
        for server in self._servers:
            server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.01))
        self._loop.close()

    async def _listen(self) -> None:
        for host in self._hosts:
            server = await asyncio.start_server(
                self._serve, host, self.port, ssl=self._tls, backlog=1024
            )
            self._servers.append(server)
            self.port = server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        connection = self.connections
        try:
            while not writer.is_closing():
                request = await self._read(reader, writer, connection)
                self.requests.append(request)
                self._at_once += 1
                self.most_at_once = max(self.most_at_once, self._at_once)
                try:
                    await self.handler(request, writer)
                finally:
                    self._at_once -= 1
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self.open_connections -= 1
            with contextlib.suppress(Exception):
                writer.close()

    async def _read(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> Request:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = (line.split(": ", 1) for line in head[1:] if line)
        headers = {name.lower(): value for name, value in fields}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Request(
            number=next(self._numbers),
            connection=connection,
            local_address=writer.get_extra_info("sockname")[0],
            path=head[0].split(" ")[1],
            headers=headers,
            body=body,
        )
