"""The rule that tells a slow client from a slow endpoint."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from load_generator.limits import ClientFigures, Delay, client_limited

FINE = ClientFigures(
    offered=10_000,
    started=10_000,
    lag=Delay(0.08, 0.08),
    cpu_percent_max=64.0,
    connection_wait=Delay(0.15, 0.0),
    service_ms_p50=20.0,
    best_service_ms_p50=19.0,
    workers_reporting=2,
    workers=2,
)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({}, id="one core at 10,000/s"),
        pytest.param({"lag": Delay(4.9, 4.9)}, id="lag within the tolerance"),
        pytest.param(
            {"lag": Delay(119.0, 59.0), "service_ms_p50": 300.0, "best_service_ms_p50": 290.0},
            id="a fifth of the time of service",
        ),
        # As seen on a busy machine: the other seconds were as they should be.
        pytest.param(
            {"lag": Delay(90.0, 14.0), "service_ms_p50": 240.0, "best_service_ms_p50": 240.0},
            id="late in one second of ten",
        ),
        pytest.param({"lag": Delay(19.0, 0.4)}, id="a stall"),
        pytest.param({"connection_wait": Delay(18.0, 0.0)}, id="connections opened after a stall"),
        pytest.param({"started": 9_991}, id="nearly all started"),
        pytest.param(
            {
                "lag": Delay(3.0, 0.06),
                "connection_wait": Delay(1_730.0, 1_500.0),
                "service_ms_p50": 110.0,
            },
            id="slow endpoint, every connection taken",
        ),
        pytest.param(
            {"started": 6_000, "connection_wait": Delay(9e3, 9e3), "service_ms_p50": 4_000.0},
            id="endpoint far too slow",
        ),
        pytest.param({"started": 0, "service_ms_p50": None}, id="nothing succeeded"),
    ],
)
def test_the_endpoint_is_shown(change: dict[str, Any]) -> None:
    assert client_limited(replace(FINE, **change)) is None


@pytest.mark.parametrize(
    "change, words",
    [
        pytest.param(
            {"lag": Delay(23.0, 20.0), "cpu_percent_max": 100.0}, "late", id="one core, 30,000/s"
        ),
        pytest.param({"lag": Delay(27.0, 25.0), "cpu_percent_max": 98.0}, "late", id="half a core"),
        pytest.param(
            {"lag": Delay(5.1, 5.1)}, "5.1 ms in most seconds, more than 5.0 ms", id="late alone"
        ),
        # One in a hundred requests that late is in the latency's p99, and in the model's.
        pytest.param({"lag": Delay(20.1, 0.3)}, "20.1 ms, more than 20.0 ms", id="a long stall"),
        pytest.param(
            {"lag": Delay(97.0, 14.0), "service_ms_p50": 240.0, "best_service_ms_p50": 240.0},
            "97.0 ms, more than 96.0 ms",
            id="a long stall of a slower endpoint",
        ),
        pytest.param({"cpu_percent_max": 85.1}, "85 % of its CPU share", id="busy alone"),
        pytest.param({"started": 9_989}, "only 9989 of 10000", id="not all started"),
        pytest.param({"connection_wait": Delay(50.0, 48.0)}, "pool is too small", id="small pool"),
        pytest.param(
            {"connection_wait": Delay(50.0, 0.0)}, "pool is too small", id="small pool at times"
        ),
        pytest.param({"workers_reporting": 1}, "only 1 of 2 workers", id="a worker gone"),
        pytest.param(
            {"lag": Delay(2_000.0, 900.0), "service_ms_p50": 4_000.0},
            "late",
            id="late, whatever the endpoint does",
        ),
    ],
)
def test_the_client_is_to_blame(change: dict[str, Any], words: str) -> None:
    reason = client_limited(replace(FINE, **change))
    assert reason is not None
    assert words in reason
