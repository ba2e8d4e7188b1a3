"""The router's connections to a model server: kept, broken, and answers of every shape."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from local.endpoint.container_client import ContainerClient
from local.endpoint.endpoint import Payload, Reply

PAYLOAD = Payload(b"in", (("Accept", "a/b"),), "c/d")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: x/y\r\n\r\nhi"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Answers each request with the next of some answers; None hangs up instead."""

    def __init__(self, *answers: bytes | None, close_after: bool = False) -> None:
        self._answers = list(answers)
        self._close_after = close_after
        self.requests: list[bytes] = []
        self.connections = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        while head := await reader.read(65536):
            self.requests.append(head)
            answer = self._answers.pop(0)
            if answer is not None:
                writer.write(answer)
                await writer.drain()
            if answer is None or self._close_after:
                break
        writer.close()


def play(server: Server, scenario: Callable[[ContainerClient], Awaitable[None]]) -> None:
    async def run() -> None:
        listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        client = ContainerClient(listening.sockets[0].getsockname()[1])
        try:
            await scenario(client)
        finally:
            client.close()
            listening.close()

    asyncio.run(run())


def test_a_connection_is_kept_and_used_again() -> None:
    server = Server(OK, OK, OK)

    async def scenario(client: ContainerClient) -> None:
        assert await client.ping()
        assert await client.invoke(PAYLOAD) == Reply(200, "x/y", b"hi")
        assert await client.invoke(PAYLOAD) == Reply(200, "x/y", b"hi")

    play(server, scenario)
    assert server.connections == 1
    assert server.requests[0].startswith(b"GET /ping HTTP/1.1\r\nHost: 127.0.0.1:")
    assert server.requests[1].startswith(b"POST /invocations HTTP/1.1\r\n")
    for part in (b"Content-Type: c/d\r\n", b"Accept: a/b\r\n", b"Content-Length: 2\r\n\r\nin"):
        assert part in server.requests[1]


def test_requests_at_the_same_time_have_a_connection_each() -> None:
    server = Server(OK, OK, OK)

    async def scenario(client: ContainerClient) -> None:
        replies = await asyncio.gather(*(client.invoke(PAYLOAD) for _ in range(3)))
        assert [each.status for each in replies] == [200] * 3

    play(server, scenario)
    assert server.connections == 3


@pytest.mark.parametrize(
    "answer, expected",
    [
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            Reply(200, "", b"hi"),
        ),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Reply(204, "", b"")),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nno", Reply(500, "", b"no")),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, Reply(200, "x/y", b"hi")),
        (OK.replace(b"1.1", b"1.0"), Reply(200, "x/y", b"hi")),
    ],
)
def test_an_answer_of_any_shape_is_read(answer: bytes, expected: Reply) -> None:
    server = Server(answer, OK)

    async def scenario(client: ContainerClient) -> None:
        assert await client.invoke(PAYLOAD) == expected
        assert (await client.invoke(PAYLOAD)).status == 200

    play(server, scenario)


def test_a_body_without_length_ends_with_its_connection() -> None:
    async def scenario(client: ContainerClient) -> None:
        assert await client.invoke(PAYLOAD) == Reply(200, "", b"all of it")

    play(Server(b"HTTP/1.0 200 OK\r\n\r\nall of it", close_after=True), scenario)


def test_a_kept_connection_that_the_server_has_closed_is_replaced() -> None:
    server = Server(OK, OK, OK)

    async def scenario(client: ContainerClient) -> None:
        await asyncio.gather(client.invoke(PAYLOAD), client.invoke(PAYLOAD))
        for writer in server.writers:
            writer.close()  # it may or may not have reached the client by the next request
        assert (await client.invoke(PAYLOAD)).status == 200

    play(server, scenario)
    assert server.connections == 3


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"220 smtp.example.com\r\n",
    ],
)
def test_a_connection_that_breaks_in_the_middle_is_an_error_and_not_tried_again(
    answer: bytes | None,
) -> None:
    server = Server(answer, close_after=True)

    async def scenario(client: ContainerClient) -> None:
        with pytest.raises(ConnectionError):
            await client.invoke(PAYLOAD)

    play(server, scenario)
    assert len(server.requests) == 1


def test_nobody_there_is_an_error_and_no_ping() -> None:
    async def scenario() -> None:
        listening = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        client = ContainerClient(listening.sockets[0].getsockname()[1])
        listening.close()
        await listening.wait_closed()
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await client.invoke(PAYLOAD)
        assert not await client.ping()

    asyncio.run(scenario())


def test_a_request_given_up_takes_its_connection_along() -> None:
    server = Server(b"", OK)  # says nothing to the first one

    async def scenario(client: ContainerClient) -> None:
        waiting = asyncio.create_task(client.invoke(PAYLOAD))
        while not server.requests:
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await client.invoke(PAYLOAD)).status == 200

    play(server, scenario)
    assert server.connections == 2
