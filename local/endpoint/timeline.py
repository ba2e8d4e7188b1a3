"""What is to happen when: events in order of time, on whatever clock drives them."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any


class Timeline:
    """Events, each of which happens at its own exact time, however late ``advance`` is called."""

    def __init__(self, now: float) -> None:
        """Begin at a time, epoch seconds."""
        self.now = now
        self._events: list[tuple[float, int, Callable[[float, Any], None], Any]] = []
        self._scheduled = 0

    def schedule(self, at: float, action: Callable[[float, Any], None], argument: object) -> None:
        """Have ``action(at, argument)`` called when the time has come."""
        self._scheduled += 1
        heappush(self._events, (at, self._scheduled, action, argument))

    def advance(self, now: float) -> None:
        """Let everything happen that is due by now, each at its own time."""
        self.now = now
        events = self._events
        while events and events[0][0] <= now:
            at, _, action, argument = heappop(events)
            action(at, argument)

    def next_event_at(self) -> float | None:
        """When the next thing happens; None if nothing will."""
        return self._events[0][0] if self._events else None
