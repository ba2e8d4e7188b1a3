"""A small open-loop client: offers a constant rate, whatever the endpoint makes of it.

It shows what a local endpoint does under load, in tests and in ``local.endpoint.method``. Sizings
use the load generator of ``locust_image/`` instead.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit

import httptools

#: Wake-ups of the schedule. Requests that fell due meanwhile go out together.
_TICK_SECONDS = 0.002
_LAST_ANSWERS_SECONDS = 10.0


@dataclass
class OfferedLoad:
    """What became of the requests of one run."""

    offered_tps: float
    seconds: float
    #: How late the latest request was sent, seconds: much of it, and the rate was not constant.
    lag_seconds: float = 0.0
    #: Answers by HTTP status; 0 for a connection that broke.
    statuses: Counter[int] = field(default_factory=Counter)
    #: Of all answers by when they came, seconds after the start: (time, latency, status).
    answers: list[tuple[float, float, int]] = field(default_factory=list)

    def rate(self, status: int, start: float, end: float) -> float:
        """Answers of a status per second, of those that came in a part of the run."""
        return sum(
            1 for at, _, answer in self.answers if answer == status and start <= at < end
        ) / (end - start)

    def latency_ms(self, percent: float, start: float, end: float) -> float:
        """Percentile of the latency of the successes that came in a part of the run, ms."""
        latencies = sorted(
            latency for at, latency, answer in self.answers if answer == 200 and start <= at < end
        )
        return 1000 * latencies[min(len(latencies) - 1, int(len(latencies) * percent / 100))]


class _Connection(asyncio.Protocol):
    def __init__(self, run: _Run) -> None:
        self._run = run
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._due: float | None = None

    def send(self, due: float) -> None:
        self._due = due
        if self._transport is not None:
            self._transport.write(self._run.request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        due, self._due = self._due, None
        if due is not None:
            self._run.answered(due, self._parser.get_status_code())
            self._run.idle.append(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio passes it
        if self._due is not None:
            self._run.answered(self._due, 0)
        if self in self._run.idle:
            self._run.idle.remove(self)

    def close(self) -> None:
        self._due = None
        if self._transport is not None:
            self._transport.abort()


class _Run:
    def __init__(self, url: str, endpoint_name: str, body: bytes, load: OfferedLoad) -> None:
        split = urlsplit(url)
        self.host, self.port = split.hostname or "", split.port or 80
        self.request = (
            f"POST /endpoints/{endpoint_name}/invocations HTTP/1.1\r\nHost: {split.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        self.load = load
        self.idle: list[_Connection] = []
        self.connections: list[_Connection] = []
        self.started_at = time.perf_counter()
        self.unanswered = 0
        self.opening: set[asyncio.Task[None]] = set()

    def answered(self, due: float, status: int) -> None:
        now = time.perf_counter()
        self.unanswered -= 1
        self.load.statuses[status] += 1
        self.load.answers.append((now - self.started_at, now - due, status))

    def send(self, due: float) -> None:
        self.unanswered += 1
        if self.idle:
            self.idle.pop().send(due)
        else:
            task = asyncio.ensure_future(self._send_on_new_connection(due))
            self.opening.add(task)
            task.add_done_callback(self.opening.discard)

    async def _send_on_new_connection(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: _Connection(self), self.host, self.port
            )
        except OSError:
            self.answered(due, 0)
            return
        self.connections.append(connection)
        connection.send(due)


async def offer(
    url: str, endpoint_name: str, body: bytes, tps: float, seconds: float
) -> OfferedLoad:
    """Send ``tps`` requests a second for some seconds, and wait for the answers.

    Args:
        url: Value of AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME.
        endpoint_name: Endpoint to invoke.
        body: Request body, JSON.
        tps: Requests per second, evenly spaced. Latency counts from when each is due.
        seconds: How long.
    """
    load = OfferedLoad(tps, seconds)
    run = _Run(url, endpoint_name, body, load)
    sent, total = 0, round(tps * seconds)
    try:
        while sent < total:
            await asyncio.sleep(_TICK_SECONDS)
            elapsed = time.perf_counter() - run.started_at
            load.lag_seconds = max(load.lag_seconds, elapsed - sent / tps)
            due_by_now = min(total, int(elapsed * tps) + 1)
            for number in range(sent, due_by_now):
                run.send(run.started_at + number / tps)
            sent = due_by_now
        deadline = time.perf_counter() + _LAST_ANSWERS_SECONDS
        while run.unanswered and time.perf_counter() < deadline:
            await asyncio.sleep(_TICK_SECONDS)
    finally:
        for connection in run.connections:
            connection.close()
    return load
