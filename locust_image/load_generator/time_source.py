"""Time as the load generator sees it: this machine's, or one that a test makes up.

Schedules, leases and windows ask a ``TimeSource`` and nothing else, so that a whole load test can
run in made-up time, in which a busy machine is late for nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import gevent
from gevent.event import Event

from load_generator.timer import PreciseTimer


class Timer(Protocol):
    """Calls back on the event loop."""

    def at(self, when: float) -> None:
        """Call back at ``when``, as ``TimeSource.monotonic`` counts; at once if that has passed."""

    def off(self) -> None:
        """Do not call back."""

    def close(self) -> None:
        """Release what it holds."""


class TimeSource(Protocol):
    """Tells the time and lets it pass. All times are in seconds."""

    def monotonic(self) -> float:
        """Of a clock that nobody sets."""

    def epoch(self) -> float:
        """Since 1970, as clocks of other machines have it."""

    def cpu(self) -> float:
        """CPU time of this process so far."""

    def sleep(self, seconds: float) -> None:
        """Let other greenlets run meanwhile."""

    def wait(self, event: Event, seconds: float) -> None:
        """Sleep, or until ``event`` is set."""

    def timer(self, callback: Callable[[], None]) -> Timer:
        """A timer that is not set yet."""


class MachineTime:
    """The time of this machine."""

    monotonic = staticmethod(time.monotonic)
    epoch = staticmethod(time.time)
    cpu = staticmethod(time.process_time)

    def sleep(self, seconds: float) -> None:
        gevent.sleep(seconds)

    def wait(self, event: Event, seconds: float) -> None:
        event.wait(seconds)

    def timer(self, callback: Callable[[], None]) -> Timer:
        return PreciseTimer(callback)


MACHINE_TIME = MachineTime()
