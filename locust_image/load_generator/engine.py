"""The engine of a worker: starts requests on a schedule, and books what becomes of them.

All of it is callbacks on gevent's event loop. A request costs a callback of the timer, a send, a
callback of its connection and a receive; a greenlet for each request would cost three times that.
Durations are appended to lists, and folded into histograms ten times a second.
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

import gevent
from gevent.event import Event

from load_generator import addresses, answers
from load_generator.connection import Address, Connection
from load_generator.invocation import Credentials, PayloadSet, PreparedPayload, Signer
from load_generator.ledger import Second
from load_generator.schedule import Plateau
from load_generator.timer import PreciseTimer

#: The leader must be heard from, and this process must have run, within so many seconds.
LEASE_SECONDS = 5.0
_HOUSEKEEPING = 0.1
#: Connections opened a second and at once. A verified TLS handshake costs a millisecond of CPU.
_GROWTH = 2000.0
_GROWTH_TLS = 300.0
_GROWTH_BURST = 64.0
_GROWTH_BURST_TLS = 8.0
_CONNECT_TIMEOUT = 10.0
#: Connections older than this are replaced in time, seconds: see load_generator.addresses.
_CONNECTION_AGE = 180.0
_OK = 200


class EngineError(Exception):
    """The engine cannot go on; ``name`` is the error's name in ``load_test.json``."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


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


@dataclass(frozen=True, slots=True)
class Ended:
    """One request that ended, for those who listen to every request."""

    #: Epoch seconds.
    started_at: float
    #: From the intended start, seconds.
    duration: float
    size: int
    #: None of a success.
    error: str | None


class Engine:
    """Sends requests to a target: at the starts of plateaus, or at a held concurrency."""

    def __init__(
        self,
        target: Target,
        credentials: Credentials,
        *,
        worker: int,
        workers: int,
        on_stop: Callable[[EngineError], None],
        listening: bool = False,
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            target: What is invoked.
            credentials: What to sign with; ``credentials`` may be set anew at any time.
            worker: Which worker of the fleet this is, from 0.
            workers: How many there are.
            on_stop: Called once, on the event loop, if the engine stopped by itself.
            listening: Keep every request that ended until ``take_ended``.
        """
        self.credentials = credentials
        self._target = target
        self._worker = worker
        self._workers = workers
        self._on_stop = on_stop
        self._listening = listening
        self._checking = target.streaming or target.check is not None
        self._clock_offset = time.time() - monotonic()
        self.stopped = False
        #: Until when the leader's word holds, ``time.monotonic``; None before the first.
        self.lease_until: float | None = None

        self._book = addresses.AddressBook()
        self._connections: set[Connection] = set()
        self._opening: set[Connection] = set()
        self._idle: deque[Connection] = deque()
        #: Requests without a connection: intended start, and since when they wait.
        self._waiting: deque[tuple[float, float]] = deque()
        self._busy = 0
        self._wanted = 0
        self._growth = _GROWTH_BURST if target.tls is None else _GROWTH_BURST_TLS
        self._opened = Event()
        self._open_failures: list[str] = []

        self._timer = PreciseTimer(self._tick)
        self._plateaus: deque[Plateau] = deque()
        self._plateau: Plateau | None = None
        self._number = 0
        self._count = 0
        self._due = 0.0

        self._concurrency = 0
        self._ramp: deque[float] = deque()

        now = monotonic()
        self._seconds: list[tuple[int, Second]] = []
        self._record = Second()
        self._epoch_second = int(now + self._clock_offset)
        self._second_end = self._epoch_second + 1 - self._clock_offset
        self._cpu = time.process_time()
        self._latency: list[float] = []
        self._service: list[float] = []
        self._first_byte: list[float] = []
        self._lag: list[float] = []
        self._wait: list[float] = []
        self._ended: list[Ended] = []
        self._alive_at = now
        loop = gevent.get_hub().loop
        self._housekeeper = loop.timer(_HOUSEKEEPING, _HOUSEKEEPING)
        self._housekeeper.start(self._keep_house)
        self._resolver: gevent.Greenlet[[], None] | None = None

    # --- What the worker asks for ---------------------------------------------------------------

    @property
    def outstanding(self) -> int:
        """Requests that were started and have not ended."""
        return self._busy + len(self._waiting)

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._connections)

    def warm(self, count: int, timeout: float = 10.0) -> None:
        """Resolve the name and open connections; waits until they are open.

        Raises:
            EngineError: The endpoint cannot be reached, or is not who it should be.
        """
        target = self._target
        try:
            found = addresses.resolve(target.host, target.port)
        except OSError as error:
            raise EngineError(
                "EndpointUnreachable", f"{target.host} cannot be resolved: {error}"
            ) from error
        self._book.learn(found, monotonic())
        if self._resolver is None:
            self._resolver = gevent.spawn(self._keep_resolving)
        count = min(count, target.max_connections)
        deadline = monotonic() + timeout
        self._open_failures.clear()
        while len(self._connections) < count:
            self._wanted = count
            self._opened.clear()
            self._grow(monotonic())
            self._opened.wait(_HOUSEKEEPING)
            if self._open_failures and not self._connections:
                raise EngineError(
                    "EndpointUnreachable",
                    f"no connection to {target.host}:{target.port}: {self._open_failures[0]}",
                )
            if monotonic() > deadline:
                if self._connections:
                    return
                raise EngineError(
                    "EndpointUnreachable",
                    f"no connection to {target.host}:{target.port} within {timeout:g} s",
                )

    def follow(self, plateaus: Sequence[Plateau]) -> None:
        """Start requests on a schedule; replaces the one before from now on.

        A plateau that is already being followed goes on where it is, so that its end can be moved.
        """
        self._concurrency = 0
        self._ramp.clear()
        now = monotonic() + self._clock_offset
        self._plateaus = deque(plateau for plateau in plateaus if plateau.end > now)
        current = self._plateau
        if current is not None and self._plateaus:
            first = self._plateaus[0]
            if (first.start, first.rate) == (current.start, current.rate):
                self._plateau = self._plateaus.popleft()
                self._count = first.count(self._worker, self._workers)
                if self._number < self._count:
                    return
        self._next_plateau()

    def hold(self, concurrency: int, *, start: float, ramp: float) -> None:
        """Keep so many requests going, as a closed loop.

        Args:
            concurrency: Of this worker; nought ends the loop, what is going is let finish.
            start: When to change to it, epoch seconds.
            ramp: Over how long further requests are added, seconds.
        """
        self._plateaus.clear()
        self._plateau = None
        added = concurrency - self._concurrency
        self._ramp.clear()
        if added <= 0:
            self._concurrency = concurrency
            self._timer.off()
            return
        begin = start - self._clock_offset
        self._ramp.extend(begin + ramp * number / added for number in range(added))
        self._wanted = min(concurrency, self._target.max_connections)
        self._timer.at(self._ramp[0])

    def take_seconds(self, *, final: bool = False) -> list[tuple[int, Second]]:
        """The seconds that have passed since they were taken last, by epoch second.

        Args:
            final: Take the second that is running too, as nothing will happen any more.
        """
        now = monotonic()
        if final or now >= self._second_end:
            self._turn(now)
        seconds, self._seconds = self._seconds, []
        return seconds

    def take_ended(self) -> list[Ended]:
        """The requests that ended since they were taken last, if anybody listens."""
        ended, self._ended = self._ended, []
        return ended

    def stop(self) -> None:
        """Send nothing more and close every connection."""
        self.stopped = True
        self._plateaus.clear()
        self._plateau = None
        self._ramp.clear()
        self._waiting.clear()
        self._concurrency = 0
        self._housekeeper.stop()
        self._housekeeper.close()
        self._timer.close()
        if self._resolver is not None:
            self._resolver.kill(block=False)
        for connection in self._connections | self._opening:
            connection.close()
        self._connections.clear()
        self._opening.clear()
        self._idle.clear()
        self._busy = 0

    # --- Starting requests ----------------------------------------------------------------------

    def _tick(self) -> None:
        try:
            now = monotonic()
            if not self._may_go_on(now):
                return
            if now >= self._second_end:
                self._turn(now)
            if self._plateau is not None:
                self._start_due(now)
            elif self._ramp:
                self._start_ramp(now)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must fail
            self.crashed(error)

    def _start_due(self, now: float) -> None:
        record = self._record
        while self._due <= now:
            due = self._due
            record.offered += 1
            self._lag.append(now - due)
            self._start(due, now)
            self._number += 1
            if self._number < self._count:
                plateau = self._plateau
                assert plateau is not None
                self._due = (
                    plateau.start_of(self._number, self._worker, self._workers) - self._clock_offset
                )
            else:
                self._plateau = None
                self._next_plateau()
                return
            now = monotonic()
        self._timer.at(self._due)

    def _next_plateau(self) -> None:
        while self._plateaus:
            plateau = self._plateaus.popleft()
            count = plateau.count(self._worker, self._workers)
            if count:
                self._plateau, self._number, self._count = plateau, 0, count
                # A plateau that began before it was heard of is joined where it is by now.
                behind = monotonic() + self._clock_offset - plateau.start
                if behind > LEASE_SECONDS:
                    self._number = min(int(behind * plateau.rate / self._workers), count - 1)
                self._due = (
                    plateau.start_of(self._number, self._worker, self._workers) - self._clock_offset
                )
                self._timer.at(self._due)
                return
        self._plateau = None
        self._timer.off()

    def _start_ramp(self, now: float) -> None:
        while self._ramp and self._ramp[0] <= now:
            self._ramp.popleft()
            self._concurrency += 1
            self._record.offered += 1
            self._start(now, now)
        if self._ramp:
            self._timer.at(self._ramp[0])

    def _start(self, intended: float, now: float) -> None:
        if self._idle:
            self._send(self._idle.popleft(), intended, now)
        else:
            self._waiting.append((intended, now))
            self._grow(now)

    def _send(self, connection: Connection, intended: float, now: float) -> None:
        target = self._target
        payload = target.payloads.single or target.payloads.draw()
        if payload.second != self._epoch_second:
            self._render(payload)
        connection.intended = intended
        connection.sent_at = now
        self._busy += 1
        self._record.sent += 1
        connection.send(payload.request)

    def _render(self, payload: PreparedPayload) -> None:
        payload.request = self._target.signer.render(
            payload.body, payload.sha256, self._epoch_second, self.credentials
        )
        payload.second = self._epoch_second

    # --- What connections tell ------------------------------------------------------------------

    def opened(self, connection: Connection) -> None:
        """A connection is ready for its first request."""
        self._opening.discard(connection)
        self._connections.add(connection)
        self._opened.set()
        self._free(connection, monotonic())

    def answered(self, connection: Connection) -> None:
        """An answer is complete."""
        now = monotonic()
        if now >= self._second_end:
            self._turn(now)
        self._busy -= 1
        connection.busy = False
        if connection.status == _OK:
            check = self._check(connection) if self._checking else None
            if check is None:
                record = self._record
                record.succeeded += 1
                record.bytes_received += connection.size
                self._latency.append(now - connection.intended)
                self._service.append(now - connection.sent_at)
                if self._listening:
                    self._note(connection.intended, now, connection.size, None)
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
        now = monotonic()
        if connection in self._opening:
            self._opening.discard(connection)
            self._open_failures.append(kind)
            self._opened.set()
            if self._waiting:
                intended, _ = self._waiting.popleft()
                self._failed(intended, now, kind)
                self._after_end(now)
            else:
                # Nobody is waiting for it: do not knock at a closed door for ever.
                self._wanted = 0
            return
        self._connections.discard(connection)
        if connection.busy:
            self._busy -= 1
            self._failed(connection.intended, now, kind)
            self._after_end(now)
        else:
            with contextlib.suppress(ValueError):
                self._idle.remove(connection)

    def crashed(self, error: Exception) -> None:
        """A callback raised what it should not have: the test fails."""
        if not self.stopped:
            self.stop()
            self._on_stop(EngineError("EngineFailed", f"{type(error).__name__}: {error}"))

    # --- Books ----------------------------------------------------------------------------------

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
            if kind is not None:
                return answers.Failure(kind=kind, invoked=True)
        return None

    def _answered_wrongly(
        self, connection: Connection, now: float, failure: answers.Failure
    ) -> None:
        record = self._record
        record.answered += 1
        record.invoked += failure.invoked
        record.bytes_received += connection.size
        self._failed(connection.intended, now, failure.kind)

    def _failed(self, intended: float, now: float, kind: str) -> None:
        if now >= self._second_end:
            self._turn(now)
        self._record.count_error(kind)
        if self._listening:
            self._note(intended, now, 0, kind)

    def _note(self, intended: float, now: float, size: int, error: str | None) -> None:
        self._ended.append(Ended(intended + self._clock_offset, now - intended, size, error))

    def _fold(self) -> None:
        """Move the durations into the histograms of the second that is running."""
        record = self._record
        record.latency.add(self._latency)
        record.service.add(self._service)
        record.first_byte.add(self._first_byte)
        record.lag.add(self._lag)
        record.connection_wait.add(self._wait)
        for durations in (self._latency, self._service, self._first_byte, self._lag, self._wait):
            durations.clear()

    def _turn(self, now: float) -> None:
        """Close the second that has passed and open the next."""
        self._fold()
        record = self._record
        record.answered += record.succeeded
        record.invoked += record.succeeded
        cpu = time.process_time()
        record.cpu = cpu - self._cpu
        self._cpu = cpu
        self._seconds.append((self._epoch_second, record))
        self._record = Second()
        self._epoch_second = int(now + self._clock_offset)
        self._second_end = self._epoch_second + 1 - self._clock_offset

    # --- Connections ----------------------------------------------------------------------------

    def _free(self, connection: Connection, now: float) -> None:
        """Give a connection its next request, or let it rest."""
        if self._waiting:
            intended, since = self._waiting.popleft()
            self._wait.append(now - since)
            self._send(connection, intended, now)
        elif self._busy < self._concurrency:
            self._record.offered += 1
            self._send(connection, now, now)
        else:
            self._idle.append(connection)

    def _after_end(self, now: float) -> None:
        """A request ended and left no connection free: go on all the same."""
        if self._waiting:
            self._grow(now)
        elif self._busy + len(self._waiting) < self._concurrency:
            self._record.offered += 1
            self._start(now, now)

    def _grow(self, now: float) -> None:
        """Open as many connections as are needed and allowed."""
        target = self._target
        total = len(self._connections) + len(self._opening)
        needed = max(len(self._waiting), self._wanted - len(self._connections))
        allowed = min(
            needed - len(self._opening), target.max_connections - total, int(self._growth)
        )
        for _ in range(allowed):
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
            gevent.sleep(addresses.RESOLVE_EVERY)
            try:
                found = addresses.resolve(target.host, target.port)
            except OSError:
                # What is known goes on serving.
                continue
            self.learn(found)

    def learn(self, found: list[Address]) -> None:
        """Take in addresses, and give up connections to those not named for a while, or old."""
        now = monotonic()
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

    # --- Keeping house --------------------------------------------------------------------------

    def _may_go_on(self, now: float) -> bool:
        """Stop if this process was frozen, or the leader has not been heard from for too long."""
        if now - self._alive_at > LEASE_SECONDS:
            reason = f"the worker stood still for {now - self._alive_at:.1f} s"
            name = "WorkerLost"
        elif self.lease_until is not None and now > self.lease_until:
            reason = f"nothing was heard from the leader for {LEASE_SECONDS:g} s"
            name = "LeaderLost"
        else:
            return True
        self.stop()
        self._on_stop(EngineError(name, reason))
        return False

    def _keep_house(self) -> None:
        try:
            now = monotonic()
            if not self._may_go_on(now):
                return
            tls = self._target.tls is not None
            self._growth = min(
                self._growth + (now - self._alive_at) * (_GROWTH_TLS if tls else _GROWTH),
                _GROWTH_BURST_TLS if tls else _GROWTH_BURST,
            )
            self._alive_at = now
            if now >= self._second_end:
                self._turn(now)
            self._fold()
            self._time_out(now)
            if self._waiting or self._wanted > len(self._connections):
                self._grow(now)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must fail
            self.crashed(error)

    def _time_out(self, now: float) -> None:
        limit = now - self._target.request_timeout
        late = [each for each in self._connections if each.busy and each.intended < limit]
        for connection in late:
            connection.close()
            self.broke(connection, answers.TIMEOUT)
        while self._waiting and self._waiting[0][0] < limit:
            intended, _ = self._waiting.popleft()
            self._failed(intended, now, answers.TIMEOUT)
            self._after_end(now)
        stuck = [each for each in self._opening if now - each.opened_at > _CONNECT_TIMEOUT]
        for connection in stuck:
            connection.close()
            self.broke(connection, answers.TIMEOUT)
