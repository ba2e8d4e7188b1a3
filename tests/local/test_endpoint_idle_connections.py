"""Connections that nobody uses are closed by the local endpoint, as by SageMaker's front end."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from local.endpoint.runtime_api import RuntimeApi, RuntimeProtocol

ROOT = Path(__file__).parents[2]
REQUEST = b"POST /endpoints/e/invocations HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"


class Transport:
    """Takes what is written, and whether it was closed."""

    closed = False

    def write(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        self.closed = True


class Api:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []

    def handle(self, _: Any, respond: Any) -> None:
        self.waiting.append(respond)


class Connection:
    """A connection whose clock stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.api, self.transport = Api(), Transport()
        self.protocol = RuntimeProtocol(cast(RuntimeApi, self.api), set(), lambda: self.now)
        self.protocol.connection_made(cast(asyncio.Transport, self.transport))

    def is_closed_after(self, seconds: float) -> bool:
        self.now += seconds
        self.protocol.close_if_idle(60)
        return self.transport.closed


def test_is_closed_after_a_minute_without_a_request() -> None:
    connection = Connection()
    assert not connection.is_closed_after(59.9)
    assert connection.is_closed_after(0.1)


@pytest.mark.parametrize("sent", [REQUEST, REQUEST[:20]])
def test_is_not_closed_while_a_request_is_on_its_way(sent: bytes) -> None:
    connection = Connection()
    connection.protocol.data_received(sent)
    assert not connection.is_closed_after(600)


def test_counts_from_the_last_answer() -> None:
    connection = Connection()
    connection.protocol.data_received(REQUEST)
    connection.now += 50
    connection.api.waiting.pop()(b"answer")
    assert not connection.is_closed_after(59)
    assert connection.is_closed_after(1)


def test_the_server_looks_for_them_by_itself() -> None:
    command = [sys.executable, "-m", "local.endpoint", "--idle-seconds", "0.2"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        url = urlsplit(json.loads(server.stdout.readline())["url"])
        with socket.create_connection((str(url.hostname), url.port or 0)) as connection:
            connection.settimeout(60)
            assert connection.recv(1) == b"", "the server has not hung up"
        server.terminate()
