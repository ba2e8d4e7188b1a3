"""The addresses of the endpoint: resolved again and again, and used in turn.

Keep-alive pins whatever address was resolved first, while AWS answers with a few of many addresses,
different ones each time. So the name is resolved again while the test runs, new connections are
spread over what the answers of the last minutes named, and connections to others are given up.
"""

from __future__ import annotations

import socket

import gevent.socket

from load_generator.connection import Address

#: Between two resolutions, seconds.
RESOLVE_EVERY = 30.0
#: For how long an address that was named once is used, seconds.
_REMEMBERED = 300.0


def resolve(host: str, port: int) -> list[Address]:
    """The addresses of a name now; waits in its greenlet alone.

    Raises:
        OSError: The name has no address, or no name server answered.
    """
    found = gevent.socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    return list(
        dict.fromkeys((int(family), tuple(sockaddr)) for family, _, _, _, sockaddr in found)
    )


class AddressBook:
    """What to connect to next."""

    def __init__(self) -> None:
        self._seen: dict[Address, float] = {}
        self._turn = 0

    def learn(self, addresses: list[Address], now: float) -> None:
        """Take in the answer of a resolution, at ``time.monotonic``; an empty one is ignored."""
        if not addresses:
            return
        self._seen |= dict.fromkeys(addresses, now)
        self._seen = {
            address: seen for address, seen in self._seen.items() if now - seen < _REMEMBERED
        }

    def __contains__(self, address: Address) -> bool:
        return address in self._seen

    def __len__(self) -> int:
        return len(self._seen)

    def next(self) -> Address:
        """The next address in turn."""
        addresses = list(self._seen)
        self._turn += 1
        return addresses[self._turn % len(addresses)]
