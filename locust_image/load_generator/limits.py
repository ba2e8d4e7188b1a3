"""Whether the load generator, rather than the endpoint, limited a step.

The rule and its thresholds are measured ones (docs/load-generator.md): a scheduler that wakes late
means the generator; a long wait for a connection with little lag means the endpoint, or a pool that
is too small.
"""

from __future__ import annotations

from dataclasses import dataclass

#: CPU of a worker, percent of its task's share, above which it may start requests late.
CPU_PERCENT = 85.0
#: Schedule lag (p99) that is always tolerated, milliseconds.
LAG_MS = 5.0
#: Schedule lag (p99) that is tolerated, as a share of the endpoint's median latency.
LAG_SHARE = 0.05
#: Share of the requests asked for that must have been started.
STARTED = 0.999
#: An endpoint is slow if its median time of service is this many times what it was at its best.
SLOW = 3.0


@dataclass(frozen=True, slots=True)
class ClientFigures:
    """How the workers fared during a step."""

    offered: int
    sent: int
    lag_ms_p99: float
    cpu_percent_max: float
    connection_wait_ms_p99: float
    #: Median latency from the intended start, and median time from sending to the last byte.
    latency_ms_p50: float | None
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
    lag_limit = max(LAG_MS, LAG_SHARE * (figures.latency_ms_p50 or 0.0))
    if figures.lag_ms_p99 > lag_limit:
        return (
            f"requests were started late: schedule lag p99 {figures.lag_ms_p99:.1f} ms, "
            f"more than {lag_limit:.1f} ms"
        )
    if figures.cpu_percent_max > CPU_PERCENT:
        return (
            f"a worker used {figures.cpu_percent_max:.0f} % of its CPU share, "
            f"more than {CPU_PERCENT:.0f} %"
        )
    if _endpoint_is_slow(figures):
        return None
    if figures.offered and figures.sent < STARTED * figures.offered:
        return (
            f"only {figures.sent} of {figures.offered} requests were sent, "
            "although the endpoint was not slow: the connection pool is too small"
        )
    if figures.connection_wait_ms_p99 > lag_limit:
        return (
            f"requests waited {figures.connection_wait_ms_p99:.1f} ms (p99) for a connection, "
            "although the endpoint was not slow: the connection pool is too small"
        )
    return None


def _endpoint_is_slow(figures: ClientFigures) -> bool:
    if figures.service_ms_p50 is None or figures.best_service_ms_p50 is None:
        # Nothing succeeded: there is nothing to blame the client for.
        return True
    return figures.service_ms_p50 > SLOW * figures.best_service_ms_p50
