"""The engine that makes calls of the user's own: any client library, on the same schedule.

Each call has a greenlet, so it may wait. That, and the library, cost more than connections of the
engine's own; the schedule, the books and the verdict on the client are the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import gevent

from load_generator import answers
from load_generator.engine import Engine, Role
from load_generator.invocation import PayloadSet


class CallFailed(Exception):
    """Raised by a call to count it as a failure of a kind of one's own."""

    def __init__(self, kind: str, *, invoked: bool = False) -> None:
        """Name the kind, such as ``throttled``.

        Args:
            kind: As it appears among the errors of a step.
            invoked: The model answered, if with an error.
        """
        super().__init__(kind)
        self.kind = kind
        self.invoked = invoked


class CallEngine(Engine):
    """Makes calls, each in a greenlet of its own."""

    def __init__(
        self,
        role: Role,
        call: Callable[[bytes], int | None],
        payloads: PayloadSet,
        *,
        timeout: float,
        at_once: int,
    ) -> None:
        """Prepare.

        Args:
            role: In the fleet.
            call: Sends a payload and waits for the answer; gives the answer's size, if it likes.
            payloads: What to send.
            timeout: Of a call, from its intended start, seconds.
            at_once: Calls that may be going at once; further ones wait.
        """
        super().__init__(role)
        self._call = call
        self._payloads = payloads
        self._timeout = timeout
        self._at_once = at_once
        self._going: set[gevent.Greenlet[..., None]] = set()
        self._waiting: deque[tuple[float, float]] = deque()

    @property
    def outstanding(self) -> int:
        """Calls that were started and have not ended."""
        return len(self._going) + len(self._waiting)

    def warm(self) -> None:
        """Nothing is needed: the user's ``on_start`` has made its client."""

    def stop(self) -> None:
        """Start nothing more and abandon what is going."""
        super().stop()
        self._waiting.clear()
        gevent.killall(list(self._going), block=False)
        self._going.clear()

    def _start(self, intended: float, now: float) -> None:
        if len(self._going) >= self._at_once:
            self._waiting.append((intended, now))
            return
        greenlet = gevent.spawn(self._make, intended)
        self._going.add(greenlet)
        greenlet.link(self._made)

    def _make(self, intended: float) -> None:
        sent_at = self._now()
        self._record.sent += 1
        size: int | None = None
        kind: str | None = None
        invoked = answered = False
        try:
            with gevent.Timeout(max(0.001, intended + self._timeout - sent_at)):
                size = self._call(self._payloads.draw().body)
        except gevent.Timeout:
            kind = answers.TIMEOUT
        except CallFailed as failure:
            kind, invoked, answered = failure.kind, failure.invoked, True
        except Exception as error:  # noqa: BLE001 - a failed call is a figure, whatever failed
            kind = type(error).__name__
        if size is not None and not isinstance(size, int):
            raise TypeError(f"call returned {type(size).__name__}, not the answer's size in bytes")
        now = self._now()
        if kind is None:
            self._succeeded(intended, sent_at, now, size or 0)
        else:
            self._failed(intended, now, kind)
            self._record.answered += answered
            self._record.invoked += invoked

    def _made(self, greenlet: gevent.Greenlet[..., None]) -> None:
        self._going.discard(greenlet)
        if isinstance(greenlet.exception, Exception):
            self.crashed(greenlet.exception)
        if self.stopped:
            return
        now = self._now()
        if self._waiting:
            intended, since = self._waiting.popleft()
            self._wait.append(now - since)
            self._start(intended, now)
        elif self._start_another():
            self._start(now, now)

    def _look_after(self, now: float) -> None:
        while self._waiting and self._waiting[0][0] < now - self._timeout:
            intended, _ = self._waiting.popleft()
            self._never_sent(intended, now, answers.TIMEOUT)
