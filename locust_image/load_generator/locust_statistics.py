"""Keeps Locust's own statistics alive, in bulk.

Locust's ``request`` event costs as much as the whole of a request here. So a second's requests are
entered into Locust's statistics at once, unless somebody besides Locust listens to the event: then
it is fired for every request, and Locust's own listener does the statistics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from locust.stats import StatsEntry, StatsError

from load_generator.histogram import Histogram
from load_generator.ledger import Second
from load_generator.locust_events import METHOD

if TYPE_CHECKING:
    from locust.stats import RequestStats


def enter(stats: RequestStats, name: str, epoch_second: int, second: Second) -> None:
    """Enter a second's requests into Locust's statistics.

    Args:
        stats: Of the environment.
        name: What is invoked, as in Locust's table.
        epoch_second: Which second.
        second: What happened in it.
    """
    _extend(stats, name, epoch_second, second.latency, second.failed, second.bytes_received)
    if second.first_byte.counts:
        _extend(stats, f"{name} first byte", epoch_second, second.first_byte, 0, 0)
    for kind, count in second.errors.items():
        key = StatsError.create_key(METHOD, name, kind)
        error = stats.errors.setdefault(key, StatsError(METHOD, name, kind))
        error.occurrences += count


def _extend(
    stats: RequestStats,
    name: str,
    epoch_second: int,
    durations: Histogram,
    failed: int,
    bytes_received: int,
) -> None:
    requests = durations.count + failed
    if not requests:
        return
    entry = StatsEntry(stats, name, METHOD)
    entry.start_time = epoch_second
    entry.last_request_timestamp = epoch_second + 1
    entry.num_requests = requests
    # Requests that failed have no latency: Locust calls it None.
    entry.num_none_requests = entry.num_failures = failed
    entry.total_content_length = bytes_received
    entry.num_reqs_per_sec[epoch_second] = requests
    if failed:
        entry.num_fail_per_sec[epoch_second] = failed
    milliseconds = {bucket / 1e3: count for bucket, count in durations.counts.items()}
    if milliseconds:
        # Locust annotates them as int; it computes with, and prints, any number.
        entry.response_times.update(milliseconds)  # type: ignore[arg-type]
        entry.total_response_time = durations.total * 1e3  # type: ignore[assignment]
        entry.min_response_time = min(milliseconds)  # type: ignore[assignment]
        entry.max_response_time = durations.longest * 1e3  # type: ignore[assignment]
    stats.total.extend(entry)
    stats.get(name, METHOD).extend(entry)
