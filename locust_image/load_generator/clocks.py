"""Whether the clocks of leader and worker agree, as far as messages between them can tell.

A schedule is absolute times, and seconds of several workers are added up, so clocks must agree. A
message that a worker stamped arrives after its stamp by the clocks' difference plus the time that
it took. That time varies and is never negative, so the least delay of several messages is the best
estimate of the difference.
"""

from __future__ import annotations

#: By how much the clocks may differ, seconds.
TOLERANCE = 0.5
#: Messages that are waited for before a delay is taken for a difference.
_ENOUGH = 5


class ClockWatch:
    """Watches the delays of one worker's messages."""

    def __init__(self) -> None:
        self._least: float | None = None
        self._seen = 0

    def saw(self, stamped: float, arrived: float) -> float | None:
        """Take in a message.

        Args:
            stamped: When it was sent by the worker's clock, epoch seconds.
            arrived: When it arrived by the leader's.

        Returns:
            By how much the worker's clock is behind the leader's, if that is too much, seconds;
            else None.
        """
        delay = arrived - stamped
        self._seen += 1
        self._least = delay if self._least is None else min(self._least, delay)
        ahead = self._least < -TOLERANCE
        behind = self._least > TOLERANCE and self._seen >= _ENOUGH
        return self._least if ahead or behind else None
