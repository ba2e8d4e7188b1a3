"""What happened in each second of a load test, on one worker and over all of them.

Everything that is reported comes from these records: the timeline, the steps' figures, the stages
of the burst. What was asked for is entered in the second in which it was due, what came of it in
the second in which it ended, and sums over seconds and over workers are exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from load_generator.histogram import Histogram


@dataclass(slots=True)
class Second:
    """One second of one worker, or the sum of several. Counts are requests."""

    #: Due in this second by the schedule, and seen to, whenever that was.
    offered: int = 0
    #: Of those, the ones that ended without having been handed to a connection.
    unsent: int = 0
    #: Handed to a connection.
    sent: int = 0
    #: Sent once more, as the connection had been closed before a byte of the answer came.
    resent: int = 0
    #: Answered with success.
    succeeded: int = 0
    #: Answered by the endpoint, with success or with an error.
    answered: int = 0
    #: Answered by the model, with success or with an error: what CloudWatch counts as Invocations.
    invoked: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    #: Of successes, from the intended start to the last byte.
    latency: Histogram = field(default_factory=Histogram)
    #: Of successes, from sending to the last byte.
    service: Histogram = field(default_factory=Histogram)
    #: Of streamed successes, from the intended start to the first byte of the body.
    first_byte: Histogram = field(default_factory=Histogram)
    #: How late the scheduler was for each request asked for.
    lag: Histogram = field(default_factory=Histogram)
    #: How long requests waited for a connection; those that did not wait are not in it.
    connection_wait: Histogram = field(default_factory=Histogram)
    #: CPU time of the process, seconds.
    cpu: float = 0.0
    #: Bytes of the answers' bodies.
    bytes_received: int = 0

    @property
    def failed(self) -> int:
        """Requests that ended without success."""
        return sum(self.errors.values())

    @property
    def error_percent(self) -> float:
        """Failures among all requests that ended; 0 of none."""
        ended = self.succeeded + self.failed
        return 100.0 * self.failed / ended if ended else 0.0

    def count_error(self, kind: str, count: int = 1) -> None:
        """Enter failures of one kind."""
        self.errors[kind] = self.errors.get(kind, 0) + count

    def merge(self, other: Second) -> None:
        """Add another second, or the same second of another worker."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _HISTOGRAMS:
            getattr(self, name).merge(getattr(other, name))
        for kind, count in other.errors.items():
            self.count_error(kind, count)

    def to_message(self) -> dict[str, object]:
        """As it travels from worker to leader: plain types, without what is nought."""
        message: dict[str, object] = {
            name: value for name in _SUMS if (value := getattr(self, name))
        }
        message |= {
            name: histogram.to_message()
            for name in _HISTOGRAMS
            if (histogram := getattr(self, name)).counts
        }
        if self.errors:
            message["errors"] = self.errors
        return message

    @classmethod
    def from_message(cls, message: dict[str, object]) -> Second:
        """What ``to_message`` made."""
        second = cls()
        for name, value in message.items():
            if name in _HISTOGRAMS:
                assert isinstance(value, list)
                setattr(second, name, Histogram.from_message(value))
            else:
                setattr(second, name, value)
        return second


_HISTOGRAMS = ("latency", "service", "first_byte", "lag", "connection_wait")
_SUMS = tuple(
    item.name for item in fields(Second) if item.name not in _HISTOGRAMS and item.name != "errors"
)


def total(seconds: Iterable[Second]) -> Second:
    """The sum of seconds."""
    result = Second()
    for second in seconds:
        result.merge(second)
    return result


class Ledger:
    """The leader's book: what all workers did in every second, and how each of them fared."""

    def __init__(self) -> None:
        self._seconds: dict[int, Second] = {}
        #: Of each worker only what is not to be lost among others: its CPU time and its lag.
        self._workers: dict[int, dict[int, Second]] = {}

    def enter(self, worker: int, epoch_second: int, second: Second) -> None:
        """Enter one second of one worker, or a further part of it."""
        self._seconds.setdefault(epoch_second, Second()).merge(second)
        workers = self._workers.setdefault(epoch_second, {})
        fared = workers.setdefault(worker, Second())
        fared.cpu += second.cpu
        fared.lag.merge(second.lag)

    def span(self) -> range:
        """Every epoch second from the first that was entered to the last."""
        if not self._seconds:
            return range(0)
        return range(min(self._seconds), max(self._seconds) + 1)

    def between(self, start: int, end: int) -> Second:
        """What all workers did from ``start`` to ``end`` (exclusive), epoch seconds."""
        return total(
            self._seconds[second] for second in range(start, end) if second in self._seconds
        )

    def each(self, start: int, end: int) -> list[Second]:
        """What all workers did in each second from ``start`` to ``end`` (exclusive)."""
        return [self.between(second, second + 1) for second in range(start, end)]

    def of_worker(self, worker: int, start: int, end: int) -> Second:
        """CPU time and lag, alone, of one worker from ``start`` to ``end`` (exclusive)."""
        return total(
            workers[worker]
            for second in range(start, end)
            if worker in (workers := self._workers.get(second, {}))
        )

    def workers_in(self, epoch_second: int) -> int:
        """Number of workers that entered this second."""
        return len(self._workers.get(epoch_second, {}))
