"""Whether the load generator, rather than the endpoint, limited a step.

The rule and its thresholds are measured ones, and docs/load-generator.md says why each is what it
is: a scheduler that wakes late means the generator; a long wait for a connection with little lag
means the endpoint, or a pool that is too small. What a short stall of a busy machine does to a
window is not enough: it is told from a generator that is at its end by how many seconds it lasts.
"""

from __future__ import annotations

from dataclasses import dataclass

#: CPU of a worker, percent of its task's share, above which it may start requests late.
CPU_PERCENT = 85.0
#: Delay (p99 of a second) that is tolerated in most seconds of a step, and over the whole step:
#: milliseconds, or a share of the endpoint's median time of service if that is more.
#:
#: What a delay holds back comes in a heap. By Little's law it is to what is in flight as the delay
#: is to the time of service, so these shares take a fleet that is used at 70 % to 84 and to 98 %,
#: and neither makes a queue.
USUAL_MS, USUAL_SHARE = 5.0, 0.2
STALL_MS, STALL_SHARE = 20.0, 0.4
#: Share of the requests asked for that must have been sent at some time.
STARTED = 0.999
#: An endpoint is slow if its median time of service is this many times what it was at its best.
SLOW = 3.0


@dataclass(frozen=True, slots=True)
class Delay:
    """How much later than it should something was done: 99th percentiles, milliseconds."""

    #: Over the whole step.
    p99_ms: float
    #: Of the median second of the step.
    usual_p99_ms: float

    def too_long(self, service_ms_p50: float) -> str | None:
        """How it is longer than what is tolerated, in words; None if it is not."""
        usual = max(USUAL_MS, USUAL_SHARE * service_ms_p50)
        stall = max(STALL_MS, STALL_SHARE * service_ms_p50)
        if self.usual_p99_ms > usual:
            return f"{self.usual_p99_ms:.1f} ms in most seconds, more than {usual:.1f} ms"
        if self.p99_ms > stall:
            return f"{self.p99_ms:.1f} ms, more than {stall:.1f} ms"
        return None


ON_TIME = Delay(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class ClientFigures:
    """How the workers fared during a step."""

    #: Requests that were due in the step, and those of them that were sent, whenever that was.
    offered: int
    started: int
    #: How late the scheduler of the worst worker was.
    lag: Delay
    cpu_percent_max: float
    #: How long requests waited for a connection.
    connection_wait: Delay
    #: Median time from sending to the last byte.
    service_ms_p50: float | None
    #: The least median time from sending to the last byte in any second of the load test so far.
    best_service_ms_p50: float | None
    #: Workers that reported in every second, of those there should be.
    workers_reporting: int
    workers: int


def client_limited(figures: ClientFigures) -> str | None:
    """Why the step shows the client and not the endpoint; None if it shows the endpoint."""
    if figures.workers_reporting < figures.workers:
        return f"only {figures.workers_reporting} of {figures.workers} workers ran all the time"
    late = figures.lag.too_long(figures.service_ms_p50 or 0.0)
    if late is not None:
        return f"requests were started late: schedule lag p99 {late}"
    if figures.cpu_percent_max > CPU_PERCENT:
        return (
            f"a worker used {figures.cpu_percent_max:.0f} % of its CPU share, "
            f"more than {CPU_PERCENT:.0f} %"
        )
    if _endpoint_is_slow(figures):
        return None
    if figures.offered and figures.started < STARTED * figures.offered:
        return (
            f"only {figures.started} of {figures.offered} requests were ever sent, "
            "although the endpoint was not slow: the connection pool is too small"
        )
    waited = figures.connection_wait.too_long(figures.service_ms_p50 or 0.0)
    if waited is not None:
        return (
            f"requests waited for a connection, p99 {waited}, "
            "although the endpoint was not slow: the connection pool is too small"
        )
    return None


def _endpoint_is_slow(figures: ClientFigures) -> bool:
    if figures.service_ms_p50 is None or figures.best_service_ms_p50 is None:
        # Nothing succeeded: there is nothing to blame the client for.
        return True
    return figures.service_ms_p50 > SLOW * figures.best_service_ms_p50
