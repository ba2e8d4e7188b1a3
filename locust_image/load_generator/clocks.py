"""Whether clocks agree, as far as messages can tell: those of leader and workers, and AWS's.

A schedule is absolute times, and seconds of several workers are added up, so the clocks of leader
and workers must agree. A message that a worker stamped arrives after its stamp by the clocks'
difference plus the time that it took. That time varies and is never negative, so the least delay of
several messages is the best estimate of the difference.

CloudWatch's figures of the same window are by AWS's clock. AWS says what it is in the Date header
of each answer, to the second: see ``ServerClock``.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import parsedate_to_datetime

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


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """How far a server's clock is ahead of this machine's, seconds; negative if it is behind."""

    offset: float
    #: The truth lies so far to either side at the most.
    uncertainty: float


class ServerClock:
    """Works out how far a server's clock is ahead, from the times that its answers state.

    A Date of d seconds was true at some time d to d + 1 of the server's clock, between the request
    and the answer by ours. So the offset lies between d - received and d + 1 - sent; each further
    answer, at another part of a second, narrows that down (Cristian's algorithm).
    """

    def __init__(self) -> None:
        self._least = float("-inf")
        self._most = float("inf")

    def answered(self, date: str | None, sent: float, received: float) -> None:
        """Take in an answer.

        Args:
            date: Its Date header (RFC 9110, 5.6.7); None or unreadable tells nothing.
            sent: When the request was sent, epoch seconds by this machine's clock.
            received: When the answer was there.
        """
        try:
            stated = parsedate_to_datetime(date).timestamp() if date else None
        except ValueError:
            return
        if stated is not None:
            self._least = max(self._least, stated - received)
            self._most = min(self._most, stated + 1.0 - sent)

    @property
    def offset(self) -> ClockOffset | None:
        """What is known; None before the first answer.

        Answers that contradict each other, because a clock was set meanwhile, leave all open that
        lies between them.
        """
        if self._least == float("-inf"):
            return None
        return ClockOffset((self._least + self._most) / 2, abs(self._most - self._least) / 2)
