"""The rule that tells a slow client from a slow endpoint."""

from __future__ import annotations

from dataclasses import replace

import pytest

from load_generator.limits import ClientFigures, client_limited

FINE = ClientFigures(
    offered=10_000,
    sent=10_000,
    lag_ms_p99=0.08,
    cpu_percent_max=64.0,
    connection_wait_ms_p99=0.15,
    latency_ms_p50=20.0,
    service_ms_p50=20.0,
    best_service_ms_p50=19.0,
    workers_reporting=2,
    workers=2,
)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({}, id="one core at 10,000/s"),
        pytest.param({"lag_ms_p99": 4.9}, id="lag within the tolerance"),
        pytest.param(
            {"lag_ms_p99": 14.0, "latency_ms_p50": 300.0, "service_ms_p50": 300.0}, id="5 % of p50"
        ),
        pytest.param({"sent": 9_991}, id="nearly all started"),
        pytest.param(
            {
                "lag_ms_p99": 3.0,
                "connection_wait_ms_p99": 1_730.0,
                "latency_ms_p50": 1_500.0,
                "service_ms_p50": 110.0,
            },
            id="slow endpoint, every connection taken",
        ),
        pytest.param(
            {"sent": 6_000, "connection_wait_ms_p99": 9e3, "service_ms_p50": 4_000.0},
            id="endpoint far too slow",
        ),
        pytest.param(
            {"sent": 0, "service_ms_p50": None, "latency_ms_p50": None}, id="nothing succeeded"
        ),
    ],
)
def test_the_endpoint_is_shown(change: dict[str, float]) -> None:
    assert client_limited(replace(FINE, **change)) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change, words",
    [
        pytest.param(
            {"lag_ms_p99": 23.0, "cpu_percent_max": 100.0}, "late", id="one core, 30,000/s"
        ),
        pytest.param({"lag_ms_p99": 27.0, "cpu_percent_max": 98.0}, "late", id="half a core"),
        pytest.param({"lag_ms_p99": 5.1}, "5.1 ms, more than 5.0 ms", id="late alone"),
        pytest.param({"cpu_percent_max": 85.1}, "85 % of its CPU share", id="busy alone"),
        pytest.param({"sent": 9_989}, "only 9989 of 10000", id="not all started"),
        pytest.param({"connection_wait_ms_p99": 50.0}, "pool is too small", id="small pool"),
        pytest.param({"workers_reporting": 1}, "only 1 of 2 workers", id="a worker gone"),
        pytest.param(
            {"lag_ms_p99": 50.0, "service_ms_p50": 4_000.0, "latency_ms_p50": 500.0},
            "late",
            id="late, whatever the endpoint does",
        ),
    ],
)
def test_the_client_is_to_blame(change: dict[str, float], words: str) -> None:
    reason = client_limited(replace(FINE, **change))  # type: ignore[arg-type]
    assert reason is not None
    assert words in reason
