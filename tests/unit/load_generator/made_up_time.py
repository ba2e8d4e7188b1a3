"""Whole load tests in made-up time: real leader and workers, but no clock, socket or process.

Time stands still while anything runs, and then goes on to the next moment at which something is to
happen. What a load test does is so the same on every machine, however busy, and takes milliseconds.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import gevent
import pytest
from botocore.session import Session
from gevent.event import Event
from locust import User
from locust.event import Events
from locust.rpc.protocol import Message
from locust.stats import RequestStats

from load_generator import addresses, answers, http_engine
from load_generator.clocks import ServerClock
from load_generator.connection import Address, Connection
from load_generator.leader import Leader
from load_generator.spec import parse_spec
from load_generator.task import LEASE_SECONDS, Role, Task
from load_generator.worker import Worker

#: How long a message takes, and how often Locust's heartbeat comes, seconds.
_ON_ITS_WAY = 0.001
_HEARTBEAT = 1.0


class MadeUpTime:
    """A ``TimeSource`` whose time passes only in ``run``."""

    def __init__(self, epoch: float = 1_700_000_000.25) -> None:
        self._now = 5000.0
        self._epoch = epoch - self._now
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()

    def monotonic(self) -> float:
        return self._now

    def epoch(self) -> float:
        return self._now + self._epoch

    def cpu(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        self.wait(Event(), seconds)

    def wait(self, event: Event, seconds: float) -> None:
        over = Event()
        self.call_at(self.monotonic() + seconds, over.set)
        gevent.wait([event, over], count=1)

    def timer(self, callback: Callable[[], None]) -> MadeUpTimer:
        return MadeUpTimer(self, callback)

    def call_at(self, when: float, callback: Callable[[], object]) -> None:
        """Call back at ``when``, after all that is due before or was asked for earlier."""
        heapq.heappush(self._due, (max(when, self._now), next(self._numbers), callback))

    def run(self, until: Callable[[], bool]) -> None:
        """Let time pass until it is enough.

        Raises:
            AssertionError: Nothing is left to happen.
        """
        while not self._is_enough(until):
            assert self._due, "everybody waits, and nothing is left to happen"
            self._now, _, callback = heapq.heappop(self._due)
            callback()

    def pass_by(self, seconds: float) -> None:
        """Let so much time pass."""
        over = Event()
        self.call_at(self._now + seconds, over.set)
        self.run(over.is_set)

    @staticmethod
    def _is_enough(until: Callable[[], bool]) -> bool:
        # All greenlets run until they wait for time to pass.
        gevent.idle()
        return until()


class MadeUpTimer:
    """A timer of ``MadeUpTime``."""

    def __init__(self, time: MadeUpTime, callback: Callable[[], None]) -> None:
        self._time = time
        self._callback = callback
        self._setting = 0

    def at(self, when: float) -> None:
        self._setting += 1
        setting = self._setting
        self._time.call_at(when, lambda: self._fire(setting))

    def off(self) -> None:
        self._setting += 1

    close = off

    def _fire(self, setting: int) -> None:
        if setting == self._setting:
            self._callback()


class TimeOfProcess(MadeUpTime):
    """The same time, for a process that does not run whenever it should."""

    def __init__(self, time: MadeUpTime, *, late: float = 0.0, cpu_share: float = 0.0) -> None:
        """Give a process its time.

        Args:
            time: Everybody's.
            late: How late whatever it waits for is, seconds.
            cpu_share: CPU seconds that it uses a second.
        """
        self._time = time
        self._cpu_share = cpu_share
        self.late = late
        #: Until when it stands still, as ``monotonic``.
        self.still_until = 0.0
        #: How far its clock is ahead, seconds.
        self.ahead = 0.0

    def monotonic(self) -> float:
        return self._time.monotonic()

    def epoch(self) -> float:
        return self._time.epoch() + self.ahead

    def cpu(self) -> float:
        return self._cpu_share * self.monotonic()

    def call_at(self, when: float, callback: Callable[[], object]) -> None:
        def call() -> None:
            if self.still_until > self.monotonic():
                if self.still_until < math.inf:
                    self._time.call_at(self.still_until, call)
            else:
                callback()

        self._time.call_at(max(when, self.monotonic()) + self.late, call)


@dataclass(frozen=True)
class Arrival:
    """A request as it came to an endpoint."""

    #: From 0, and epoch seconds.
    number: int
    at: float


@dataclass(frozen=True)
class Answer:
    """What an endpoint makes of a request."""

    #: From the request's arrival to its answer, seconds.
    after: float
    status: int = 200


Rule = Callable[[Arrival], Answer]


@dataclass
class MadeUpEndpoint:
    """Answers by a rule."""

    time: MadeUpTime
    rule: Rule
    arrivals: list[Arrival] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    connections: int = 0
    #: When it closes a connection on which nothing is sent, seconds; never if None.
    closes_after: float | None = None
    #: How many of the next requests meet a connection that has just been closed.
    closing: int = 0

    def stand_in(self, patch: pytest.MonkeyPatch) -> None:
        """Be what every connection leads to."""
        connections = type("Connections", (MadeUpConnection,), {"endpoint": self})
        patch.setattr(http_engine, "Connection", connections)
        patch.setattr(addresses, "resolve", lambda *_: [(2, ("127.0.0.1", 80))])

    def take(self, connection: MadeUpConnection) -> None:
        """A request came in."""
        if self.closing:
            self.closing -= 1
            self.time.call_at(self.time.monotonic(), connection.break_off)
            return
        number = connection.requests
        arrival = Arrival(len(self.arrivals), self.time.epoch())
        self.arrivals.append(arrival)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        answer = self.rule(arrival)

        def give() -> None:
            self.at_once -= 1
            connection.receive(number, answer.status)

        self.time.call_at(self.time.monotonic() + answer.after, give)


def always(after: float) -> Rule:
    """Every answer takes as long, however many are asked for."""
    return lambda _arrival: Answer(after)


def served_by(slots: int, seconds: float) -> Rule:
    """So many requests are served at once, each for so long; others queue."""
    free = [0.0] * slots

    def answer(arrival: Arrival) -> Answer:
        done = max(arrival.at, heapq.heappop(free)) + seconds
        heapq.heappush(free, done)
        return Answer(done - arrival.at)

    return answer


class MadeUpConnection:
    """Stands in for ``Connection``."""

    endpoint: MadeUpEndpoint

    def __init__(self, owner: Any, address: Address, *, now: float, **_: object) -> None:
        self._owner = owner
        self.address = address
        self.opened_at = now
        self.intended = self.sent_at = 0.0
        self.requests = 0
        self.rests_since: float | None = None
        self.is_silent = True
        self.busy = self.closed = self.retired = self.resent = False
        self.reusable = True
        self.status = 0
        self.body = b'[{"label": "POSITIVE"}]'
        self.size = len(self.body)
        self.first_byte_at = 0.0
        self.endpoint.connections += 1
        self.endpoint.time.call_at(now + _ON_ITS_WAY, self._open)

    def _open(self) -> None:
        if not self.closed:
            self._owner.opened(self)

    def send(self, _request: bytes) -> None:
        self.busy = True
        number = self.requests
        self.endpoint.take(self)
        if self.endpoint.closes_after is not None:
            when = self.endpoint.time.monotonic() + self.endpoint.closes_after
            self.endpoint.time.call_at(when, lambda: self._close_at_rest(number))

    def _close_at_rest(self, number: int) -> None:
        """The endpoint closes it, unless it has been used since."""
        if self.requests == number and not self.closed:
            self.closed = True
            self._owner.broke(cast("Connection", self), answers.CONNECTION)

    def break_off(self) -> None:
        """It was closed before the request came."""
        self.closed = True
        self._owner.broke(cast("Connection", self), answers.CONNECTION)

    def receive(self, number: int, status: int) -> None:
        """The answer to a request is on its way to whoever sent it."""

        def received() -> None:
            if self.requests == number and not self.closed:
                self.status = status
                self._owner.answered(cast("Connection", self))

        process: MadeUpTime = self._owner.time
        process.call_at(process.monotonic(), received)

    def headers(self) -> dict[str, str]:
        return {}

    def close(self) -> None:
        self.closed = True


class InMemory:
    """The files of a load test."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.clock = ServerClock()

    def read(self, name: str) -> bytes | None:
        return self.files.get(name)

    def write(self, name: str, content: bytes) -> None:
        self.files[name] = content


class _Member:
    """The leader or a worker, with what Locust gives it."""

    def __init__(self, fleet: Fleet, name: str, time: TimeOfProcess) -> None:
        self.name = name
        self.time = time
        self.environment = SimpleNamespace(
            events=Events(),
            stats=RequestStats(),
            process_exit_code=None,
            shape_class=object(),
        )
        self.server = SimpleNamespace(port=5557)
        self.has_quit = False
        #: How many of the next messages to it get lost.
        self.deaf = 0
        self._fleet = fleet
        self._handlers: dict[str, Callable[..., None]] = {}

    # What it uses of Locust's runner.

    def register_message(self, name: str, handler: Callable[..., None]) -> None:
        self._handlers[name] = handler

    def send_message(self, name: str, data: Mapping[str, Any], client_id: str = "leader") -> None:
        # As it travels: a copy, of what msgpack knows.
        message = Message(name, data, self.name).serialize()
        other = self._fleet.members[client_id]
        other.soon(lambda: other.hear(Message.unserialize(message)))

    def spawn_users(self, counts: Mapping[str, int], wait: bool = False) -> list[User]:
        """Users are made by the tests."""
        return []

    def quit(self) -> None:
        self.has_quit = True
        self.environment.events.quitting.fire(environment=self.environment)
        if self.name != "leader":
            # Its process ends.
            self.stand_still()
            return
        for worker in self._fleet.workers:
            worker.soon(worker.quit)

    # What happens to it.

    def soon(self, call: Callable[[], object]) -> None:
        """Call, in a greenlet, when a message has had time to arrive."""
        self.time.call_at(self.time.monotonic() + _ON_ITS_WAY, lambda: gevent.spawn(call))

    def hear(self, message: Message) -> None:
        if self.deaf:
            self.deaf -= 1
        elif not self.has_quit:
            self._handlers[message.type](msg=message)

    def stand_still(self, seconds: float = math.inf) -> None:
        """Be frozen, or killed."""
        self.time.still_until = self.time.monotonic() + seconds


class Fleet:
    """A leader and its workers, which run a load test."""

    def __init__(
        self,
        patch: pytest.MonkeyPatch,
        specification: Mapping[str, Any],
        rule: Rule,
        *,
        max_connections: int = 4096,
        late: float = 0.0,
        cpu_share: float = 0.0,
        connect: int | None = None,
    ) -> None:
        """Start them.

        Args:
            patch: Undoes what stands in for sockets.
            specification: The content of ``spec.json``.
            rule: By which the endpoint answers.
            max_connections: Of each worker.
            late: How late the workers' processes are, seconds.
            cpu_share: CPU seconds that each of them uses a second.
            connect: How many workers come; all if None.
        """
        self.time = MadeUpTime()
        self.endpoint = MadeUpEndpoint(self.time, rule)
        self.storage = InMemory()
        self.endpoint.stand_in(patch)
        patch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", "http://127.0.0.1:80")
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "eu-west-1")

        spec = parse_spec(json.dumps(specification).encode())
        task = Task(
            uri="file:///none/",
            role=Role.LEADER,
            worker=0,
            process=None,
            host="127.0.0.1",
            port=5557,
            vcpus=None,
            locustfile=Path("locustfile.py"),
            start_timeout=30.0,
            lease=LEASE_SECONDS,
            max_connections=max_connections,
        )
        self.leader = _Member(self, "leader", TimeOfProcess(self.time))
        self.workers: list[_Member] = []
        self.members = {"leader": self.leader}
        leader = Leader(task, spec, self.storage, self.leader.time)
        #: As SIGTERM does.
        self.interrupt = leader.interrupt
        gevent.spawn(self._attach, leader)
        gevent.idle()
        session = Session()
        self._users = []
        for number in range(spec.processes if connect is None else connect):
            time = TimeOfProcess(self.time, late=late, cpu_share=cpu_share)
            member = _Member(self, f"worker-{number}", time)
            self.workers.append(member)
            self.members[member.name] = member
            of_worker = replace(task, role=Role.WORKER, worker=number)
            worker = Worker(of_worker, spec, self.storage, session, time)
            worker.attach(cast("Any", member.environment), cast("Any", member))
            self.leader.environment.events.worker_connect.fire(client_id=member.name)
            self._users.append(gevent.spawn(worker.invoke, None))
        self._beat()

    def _attach(self, leader: Leader) -> None:
        with contextlib.suppress(SystemExit):
            leader.attach(cast("Any", self.leader.environment), cast("Any", self.leader))

    def _beat(self) -> None:
        """Locust's heartbeat, from the leader to the workers."""
        if not self.leader.has_quit:
            for worker in self.workers:
                worker.soon(worker.environment.events.heartbeat_received.fire)
            self.leader.time.call_at(self.time.monotonic() + _HEARTBEAT, self._beat)

    def run(self, until: Callable[[], bool] | None = None) -> None:
        """Let the load test go on until it is over, or so far."""
        self.time.run(until or self._is_over)

    def _is_over(self) -> bool:
        alive = (each for each in self.members.values() if each.time.still_until < math.inf)
        return all(each.has_quit for each in alive)

    @property
    def document(self) -> Any:
        """``load_test.json``."""
        return json.loads(self.storage.files["load_test.json"])

    @property
    def exit_codes(self) -> list[int]:
        """Of the leader and the workers; of one that was killed, what it would have been."""
        return [each.environment.process_exit_code for each in self.members.values()]
