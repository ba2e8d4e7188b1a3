"""The engine of a worker: starts requests on a schedule, and books what becomes of them.

All of it is callbacks on gevent's event loop. Durations are appended to lists, and folded into
histograms ten times a second. How a request is sent is a subclass's affair: by the connections of
``load_generator.http_engine``, or by a call of the user's own in ``load_generator.call_engine``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from load_generator.errors import LoadTestFailed
from load_generator.ledger import Second
from load_generator.schedule import Plateau, poisson_gaps
from load_generator.task import LEASE_SECONDS
from load_generator.time_source import MACHINE_TIME, TimeSource

_HOUSEKEEPING = 0.1
#: Requests started before the event loop sees to answers again: an engine that is late must not
#: turn its back on what comes in.
_AT_ONCE = 32


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


@dataclass(frozen=True, slots=True)
class Role:
    """What an engine has to know of the fleet, and the fleet of it."""

    #: Which worker this is, from 0, and how many there are.
    worker: int
    workers: int
    #: Called once, on the event loop, if the engine stopped by itself.
    on_stop: Callable[[LoadTestFailed], None]
    #: Keep every request that ended until ``Engine.take_ended``.
    listening: bool = False
    #: The leader must be heard from, and this process must have run, within so many seconds.
    lease: float = LEASE_SECONDS
    #: Of arrivals that are a Poisson process; None of those that are evenly spaced.
    seed: int | None = None
    time: TimeSource = MACHINE_TIME


class Engine(ABC):
    """Starts requests: at the starts of plateaus, or so that a number of them is always going."""

    def __init__(self, role: Role) -> None:
        self._role = role
        self.time = role.time
        #: Asked several times a request.
        self._now = role.time.monotonic
        self._clock_offset = role.time.epoch() - self._now()
        self.stopped = False
        #: Until when the leader's word holds, as ``TimeSource.monotonic``; None before the first.
        self.lease_until: float | None = None

        self._timer = role.time.timer(self._tick)
        self._plateaus: deque[Plateau] = deque()
        self._plateau: Plateau | None = None
        self._number = 0
        self._count = 0
        self._due = 0.0
        #: Of a Poisson process: the next gap at a rate; when the next request is due, be it after
        #: the plateau's end; and that end: epoch seconds.
        self._gap = None if role.seed is None else poisson_gaps(role.seed, role.worker)
        self._arrival = self._end = 0.0

        self._concurrency = 0
        self._ramp: deque[float] = deque()

        now = self._now()
        self._seconds: list[tuple[int, Second]] = []
        self._record = Second()
        self._epoch_second = int(now + self._clock_offset)
        self._second_start = self._epoch_second - self._clock_offset
        self._second_end = self._second_start + 1
        #: Of seconds that have passed: what is only now known of requests that were due in them.
        self._afterwards: dict[int, Second] = {}
        self._cpu = role.time.cpu()
        self._latency: list[float] = []
        self._service: list[float] = []
        self._first_byte: list[float] = []
        self._lag: list[float] = []
        self._wait: list[float] = []
        self._ended: list[Ended] = []
        self._alive_at = now
        self._housekeeper = role.time.timer(self._keep_house)
        self._housekeeper.at(now + _HOUSEKEEPING)

    # --- What the worker asks for ---------------------------------------------------------------

    @property
    @abstractmethod
    def outstanding(self) -> int:
        """Requests that were started and have not ended."""

    @abstractmethod
    def warm(self) -> None:
        """Get ready for the first request; may wait.

        Raises:
            LoadTestFailed: The endpoint cannot be reached, or is not who it should be.
        """

    def follow(self, plateaus: Sequence[Plateau]) -> None:
        """Start requests on a schedule; replaces the one before from now on.

        A plateau that is already being followed goes on where it is, so that its end can be moved.
        """
        self._concurrency = 0
        self._ramp.clear()
        now = self._now() + self._clock_offset
        self._plateaus = deque(plateau for plateau in plateaus if plateau.end > now)
        current = self._plateau
        if current is not None and self._plateaus:
            first = self._plateaus[0]
            if (first.start, first.rate) == (current.start, current.rate):
                self._plateau = self._plateaus.popleft()
                self._count = first.count(self._role.worker, self._role.workers)
                if self._gap is not None:
                    self._await_arrival()
                    self._timer.at(self._due)
                    return
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
        self._timer.at(self._ramp[0])

    def take_seconds(self, *, final: bool = False) -> list[tuple[int, Second]]:
        """The seconds that have passed since they were taken last, by epoch second.

        Seconds that were taken before can come once more, with what has become of the requests
        that were due in them. They come first.

        Args:
            final: Take the second that is running too, as nothing will happen any more.
        """
        now = self._now()
        if final or now >= self._second_end:
            self._turn(now)
        seconds = [*sorted(self._afterwards.items()), *self._seconds]
        self._seconds, self._afterwards = [], {}
        return seconds

    def take_ended(self) -> list[Ended]:
        """The requests that ended since they were taken last, if anybody listens."""
        ended, self._ended = self._ended, []
        return ended

    def stop(self) -> None:
        """Start nothing more and abandon what is going."""
        self.stopped = True
        self._plateaus.clear()
        self._plateau = None
        self._ramp.clear()
        self._concurrency = 0
        self._housekeeper.close()
        self._timer.close()

    def crashed(self, error: Exception) -> None:
        """A callback raised what it should not have: the test fails."""
        if not self.stopped:
            self.stop()
            self._role.on_stop(LoadTestFailed("EngineFailed", f"{type(error).__name__}: {error}"))

    # --- For subclasses -------------------------------------------------------------------------

    @abstractmethod
    def _start(self, intended: float, now: float) -> None:
        """Start a request that was due at ``intended``; both are of ``TimeSource.monotonic``."""

    @abstractmethod
    def _look_after(self, now: float) -> None:
        """Called ten times a second: time-outs and the like."""

    def _succeeded(self, intended: float, sent_at: float, now: float, size: int) -> None:
        """Book a success."""
        if now >= self._second_end:
            self._turn(now)
        record = self._record
        record.succeeded += 1
        record.bytes_received += size
        self._latency.append(now - intended)
        self._service.append(now - sent_at)
        if self._role.listening:
            self._note(intended, now, size, None)

    def _failed(self, intended: float, now: float, kind: str) -> None:
        """Book a request that ended without success."""
        if now >= self._second_end:
            self._turn(now)
        self._record.count_error(kind)
        if self._role.listening:
            self._note(intended, now, 0, kind)

    def _never_sent(self, intended: float, now: float, kind: str) -> None:
        """Book a request that ended while it waited to be sent."""
        self._failed(intended, now, kind)
        self._second_of(intended).unsent += 1

    def _second_of(self, intended: float) -> Second:
        """The books of the second that a request was due in."""
        if intended >= self._second_start:
            return self._record
        return self._afterwards.setdefault(int(intended + self._clock_offset), Second())

    def _start_another(self) -> bool:
        """Whether a closed loop has room for one more request; it is entered as asked for."""
        if self.outstanding < self._concurrency:
            self._record.offered += 1
            return True
        return False

    # --- Starting requests ----------------------------------------------------------------------

    def _tick(self) -> None:
        try:
            now = self._now()
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
        for _ in range(_AT_ONCE):
            due = self._due
            if due > now:
                break
            if self._gap is not None and self._arrival >= self._end:
                self._next_plateau()
                return
            self._second_of(due).offered += 1
            self._lag.append(now - due)
            self._start(due, now)
            self._number += 1
            if self._gap is None and self._number == self._count:
                self._plateau = None
                self._next_plateau()
                return
            self._set_due()
            now = self._now()
        self._timer.at(self._due)

    def _set_due(self) -> None:
        plateau = self._plateau
        assert plateau is not None
        role = self._role
        if self._gap is not None:
            self._arrival += self._gap(plateau.rate / role.workers)
            self._await_arrival()
            return
        start = plateau.start_of(self._number, role.worker, role.workers)
        self._due = start - self._clock_offset

    def _await_arrival(self) -> None:
        """Be woken for the next request of a Poisson process, or at the plateau's end."""
        assert self._plateau is not None
        self._end = self._plateau.end
        self._due = min(self._arrival, self._end) - self._clock_offset

    def _next_plateau(self) -> None:
        role = self._role
        while self._plateaus:
            plateau = self._plateaus.popleft()
            count = plateau.count(role.worker, role.workers)
            if count or self._gap is not None:
                self._plateau, self._number, self._count = plateau, 0, count
                self._arrival = plateau.start
                self._set_due()
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

    # --- Books ----------------------------------------------------------------------------------

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
        cpu = self.time.cpu()
        record.cpu = cpu - self._cpu
        self._cpu = cpu
        self._seconds.append((self._epoch_second, record))
        self._record = Second()
        self._epoch_second = int(now + self._clock_offset)
        self._second_start = self._epoch_second - self._clock_offset
        self._second_end = self._second_start + 1

    # --- Keeping house --------------------------------------------------------------------------

    def _may_go_on(self, now: float) -> bool:
        """Stop if this process was frozen, or the leader has not been heard from for too long."""
        if now - self._alive_at > self._role.lease:
            reason = f"the worker stood still for {now - self._alive_at:.1f} s"
            name = "WorkerLost"
        elif self.lease_until is not None and now > self.lease_until:
            reason = f"nothing was heard from the leader for {self._role.lease:g} s"
            name = "LeaderLost"
        else:
            return True
        self.stop()
        self._role.on_stop(LoadTestFailed(name, reason))
        return False

    def _keep_house(self) -> None:
        try:
            now = self._now()
            if not self._may_go_on(now):
                return
            self._alive_at = now
            if now >= self._second_end:
                self._turn(now)
            self._fold()
            self._look_after(now)
            if not self.stopped:
                self._housekeeper.at(now + _HOUSEKEEPING)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must fail
            self.crashed(error)
