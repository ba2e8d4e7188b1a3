"""The engine that invokes endpoints over HTTP: a pool of connections, as callbacks.

A request costs a callback of the timer, a send, a callback of its connection and a receive; a
greenlet for each request would cost three times that.
"""

from __future__ import annotations

import contextlib
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import gevent
from gevent.event import Event

from load_generator import addresses, answers
from load_generator.connection import Address, Connection
from load_generator.engine import Engine, Role
from load_generator.errors import LoadTestFailed
from load_generator.invocation import Credentials, PayloadSet, PreparedPayload, Signer

#: Connections opened a second, and at once. A verified TLS handshake costs a millisecond of CPU.
_GROWTH = 2000.0
_GROWTH_TLS = 300.0
_GROWTH_BURST = 64.0
_GROWTH_BURST_TLS = 8.0
_CONNECT_TIMEOUT = 10.0
#: Connections older than this are replaced in time, seconds: see load_generator.addresses.
_CONNECTION_AGE = 180.0
#: Connections that have rested for so long are closed, seconds: AWS does so after 60, and a request
#: sent at that moment is lost.
_REST = 50.0
_WARM_CONNECTIONS = 4
_WARM_POLL = 0.05


@dataclass(frozen=True, slots=True)
class Target:
    """What is invoked, and how."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    signer: Signer
    payloads: PayloadSet
    request_timeout: float
    max_connections: int
    streaming: bool = False
    #: Looks at the body of each success: None if it is right, else the kind of error to count.
    check: Callable[[bytes], str | None] | None = None


class HttpEngine(Engine):
    """Invokes a target over a pool of keep-alive connections."""

    def __init__(self, role: Role, target: Target, credentials: Credentials) -> None:
        """Prepare; nothing is opened yet.

        Args:
            role: In the fleet.
            target: What is invoked.
            credentials: What to sign with; may be set anew at any time.
        """
        super().__init__(role)
        self.credentials = credentials
        self._target = target
        self._checking = target.streaming or target.check is not None
        self._book = addresses.AddressBook()
        self._connections: set[Connection] = set()
        self._opening: set[Connection] = set()
        #: Those that rest, the last used at the end.
        self._idle: deque[Connection] = deque()
        #: Requests without a connection: intended start, since when they wait, whether sent before.
        self._waiting: deque[tuple[float, float, bool]] = deque()
        self._busy = 0
        #: Connections to keep open, needed or not.
        self._wanted = 0
        #: Connections that may be opened now; grows with time.
        self._growth = 0.0
        self._grown_at = 0.0
        self._opened = Event()
        self._open_failures: list[str] = []
        self._resolver: gevent.Greenlet[[], None] | None = None

    @property
    def outstanding(self) -> int:
        """Requests that were started and have not ended."""
        return self._busy + len(self._waiting)

    def warm(self, count: int = _WARM_CONNECTIONS, timeout: float = _CONNECT_TIMEOUT) -> None:
        """Resolve the name and open connections; waits until they are open.

        Raises:
            LoadTestFailed: The endpoint cannot be reached, or is not who it should be.
        """
        target = self._target
        try:
            found = addresses.resolve(target.host, target.port)
        except OSError as error:
            raise LoadTestFailed(
                "EndpointUnreachable", f"{target.host} cannot be resolved: {error}"
            ) from error
        self._book.learn(found, self._now())
        if self._resolver is None:
            self._resolver = gevent.spawn(self._keep_resolving)
        count = min(count, target.max_connections)
        deadline = self._now() + timeout
        self._open_failures.clear()
        while len(self._connections) < count:
            self._wanted = count
            self._opened.clear()
            self._grow(self._now())
            self.time.wait(self._opened, _WARM_POLL)
            if self._connections and self._now() > deadline:
                return
            if not self._connections and (self._open_failures or self._now() > deadline):
                reason = [*self._open_failures, f"none within {timeout:g} s"][0]
                raise LoadTestFailed(
                    "EndpointUnreachable", f"no connection to {target.host}:{target.port}: {reason}"
                )

    def hold(self, concurrency: int, *, start: float, ramp: float) -> None:
        """Keep so many requests going, as a closed loop: see ``Engine``."""
        super().hold(concurrency, start=start, ramp=ramp)
        self._wanted = min(concurrency, self._target.max_connections)

    def stop(self) -> None:
        """Send nothing more and close every connection."""
        super().stop()
        if self._resolver is not None:
            self._resolver.kill(block=False)
        for connection in self._connections | self._opening:
            connection.close()
        for books in (self._connections, self._opening, self._idle, self._waiting):
            books.clear()
        self._busy = 0

    # --- Requests -------------------------------------------------------------------------------

    def _start(self, intended: float, now: float) -> None:
        if self._idle:
            # The last used: the others rest, and those not needed are closed in time.
            self._send(self._idle.pop(), intended, now)
        else:
            self._waiting.append((intended, now, False))
            self._grow(now)

    def _send(
        self, connection: Connection, intended: float, now: float, *, again: bool = False
    ) -> None:
        target = self._target
        payload = target.payloads.single or target.payloads.draw()
        if payload.second != self._epoch_second:
            self._render(payload)
        connection.intended = intended
        connection.sent_at = now
        connection.resent = again
        connection.requests += 1
        self._busy += 1
        if again:
            self._record.resent += 1
        else:
            self._record.sent += 1
        connection.send(payload.request)

    def _render(self, payload: PreparedPayload) -> None:
        payload.request = self._target.signer.render(payload, self._epoch_second, self.credentials)
        payload.second = self._epoch_second

    def _free(self, connection: Connection, now: float) -> None:
        """Give a connection its next request, or let it rest."""
        if self._waiting:
            intended, since, again = self._waiting.popleft()
            self._wait.append(now - since)
            self._send(connection, intended, now, again=again)
        elif self._concurrency and self._start_another():
            self._send(connection, now, now)
        else:
            connection.rests_since = now
            self._idle.append(connection)

    def _after_end(self, now: float) -> None:
        """A request ended and left no connection free: go on all the same."""
        if self._waiting:
            self._grow(now)
        elif self._start_another():
            self._start(now, now)

    # --- What connections tell ------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """A connection is ready for its first request."""
        self._opening.discard(connection)
        self._connections.add(connection)
        self._opened.set()
        self._free(connection, self._now())

    def answered(self, connection: Connection) -> None:
        """An answer is complete."""
        now = self._now()
        self._busy -= 1
        connection.busy = False
        if connection.status in answers.SUCCESSES:
            check = self._check(connection) if self._checking else None
            if check is None:
                self._succeeded(connection.intended, connection.sent_at, now, connection.size)
            else:
                self._answered_wrongly(connection, now, check)
        else:
            self._answered_wrongly(
                connection,
                now,
                answers.failure(connection.status, connection.headers(), connection.body),
            )
        if connection.reusable and not connection.retired:
            self._free(connection, now)
        else:
            self._connections.discard(connection)
            connection.close()
            self._after_end(now)

    def broke(self, connection: Connection, kind: str) -> None:
        """A connection is closed, whether it was opening, idle or busy."""
        now = self._now()
        if connection in self._opening:
            self._opening.discard(connection)
            self._open_failures.append(kind)
            self._opened.set()
            if self._waiting:
                self._give_up_waiting(now, kind)
            else:
                # Nobody is waiting for it: do not knock at a closed door for ever.
                self._wanted = 0
            return
        self._connections.discard(connection)
        if connection.busy:
            self._busy -= 1
            if kind == answers.CONNECTION and _was_closed_at_rest(connection):
                self._waiting.appendleft((connection.intended, now, True))
            else:
                self._failed(connection.intended, now, kind)
            self._after_end(now)
        else:
            with contextlib.suppress(ValueError):
                self._idle.remove(connection)

    # --- What is wrong with an answer -----------------------------------------------------------

    def _check(self, connection: Connection) -> answers.Failure | None:
        target = self._target
        if target.streaming:
            failure = answers.stream_failure(connection.body)
            if failure is not None:
                return failure
            if connection.first_byte_at:
                self._first_byte.append(connection.first_byte_at - connection.intended)
        if target.check is not None:
            kind = target.check(connection.body)
            if kind is not None and not isinstance(kind, str):
                raise TypeError(f"check returned {kind!r:.40}, neither None nor a kind of error")
            if kind is not None:
                return answers.Failure(kind=kind, invoked=True)
        return None

    def _answered_wrongly(
        self, connection: Connection, now: float, failure: answers.Failure
    ) -> None:
        if now >= self._second_end:
            self._turn(now)
        record = self._record
        record.answered += 1
        record.invoked += failure.invoked
        record.bytes_received += connection.size
        self._failed(connection.intended, now, failure.kind)

    # --- The pool -------------------------------------------------------------------------------

    def _grow(self, now: float) -> None:
        """Open as many connections as are needed and allowed."""
        target = self._target
        total = len(self._connections) + len(self._opening)
        needed = max(len(self._waiting), self._wanted - len(self._connections))
        room = min(needed - len(self._opening), target.max_connections - total)
        if room <= 0:
            return
        rate, most = (
            (_GROWTH, _GROWTH_BURST) if target.tls is None else (_GROWTH_TLS, _GROWTH_BURST_TLS)
        )
        self._growth = min(self._growth + (now - self._grown_at) * rate, most)
        self._grown_at = now
        for _ in range(min(room, int(self._growth))):
            self._growth -= 1
            self._opening.add(
                Connection(
                    self,
                    self._book.next(),
                    tls=target.tls,
                    host=target.host,
                    keep_body=self._checking,
                    streaming=target.streaming,
                    now=now,
                )
            )

    def _keep_resolving(self) -> None:
        """Resolve the name again and again, and replace connections that are old or astray."""
        target = self._target
        while True:
            self.time.sleep(addresses.RESOLVE_EVERY)
            try:
                found = addresses.resolve(target.host, target.port)
            except OSError:
                # What is known goes on serving.
                continue
            self.learn(found)

    def learn(self, found: list[Address]) -> None:
        """Take in addresses, and give up connections to those not named for a while, or old."""
        now = self._now()
        self._book.learn(found, now)
        limit = max(1, len(self._connections) // 4)
        for connection in sorted(self._connections, key=lambda each: each.opened_at):
            astray = connection.address not in self._book
            if (astray or now - connection.opened_at > _CONNECTION_AGE) and limit > 0:
                limit -= 1
                connection.retired = True
        retired = [connection for connection in self._idle if connection.retired]
        for connection in retired:
            self._idle.remove(connection)
            self._connections.discard(connection)
            connection.close()
        self._wanted = max(self._wanted, len(self._connections) + len(retired))
        self._grow(now)

    def _look_after(self, now: float) -> None:
        self._time_out(now)
        self._close_those_at_rest(now)
        if self._waiting or self._wanted > len(self._connections):
            self._grow(now)

    def _close_those_at_rest(self, now: float) -> None:
        while self._idle and (self._idle[0].rests_since or now) < now - _REST:
            connection = self._idle.popleft()
            self._connections.discard(connection)
            connection.close()
            self._wanted = min(self._wanted, len(self._connections))

    def _give_up_waiting(self, now: float, kind: str) -> None:
        """End the request that has waited longest, without a connection."""
        intended, _, again = self._waiting.popleft()
        if again:
            self._failed(intended, now, kind)
        else:
            self._never_sent(intended, now, kind)
        self._after_end(now)

    def _time_out(self, now: float) -> None:
        limit = now - self._target.request_timeout
        late = [each for each in self._connections if each.busy and each.intended < limit]
        for connection in late:
            connection.close()
            self.broke(connection, answers.TIMEOUT)
        while self._waiting and self._waiting[0][0] < limit:
            self._give_up_waiting(now, answers.TIMEOUT)
        stuck = [each for each in self._opening if now - each.opened_at > _CONNECT_TIMEOUT]
        for connection in stuck:
            connection.close()
            self.broke(connection, answers.TIMEOUT)


def _was_closed_at_rest(connection: Connection) -> bool:
    """Whether the peer had closed a connection, as far as one can tell, before a request came.

    It had rested or been used before, and not a byte of the answer came. Such a request is sent
    once more, but only once.
    """
    was_open_before = connection.requests > 1 or connection.rests_since is not None
    return was_open_before and connection.is_silent and not connection.resent
