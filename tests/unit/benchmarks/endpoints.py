"""Endpoints made up for tests of the benchmark's worlds."""

from __future__ import annotations

from benchmarks.search.worlds.truth import Truth


def an_endpoint(**changes: object) -> Truth:
    facts: dict[str, object] = {
        "vcpus": 8,
        "cpu_ms": 40.0,
        "concurrency": 8,
        "slope": 0.0,
        "curvature": 1.0,
        "fleet_cost": 0.0,
        "fleet_logarithmic": False,
        "sample_noise": 0.01,
        "warm_up": 0.0,
        "warm_up_seconds": 10.0,
        "hot": 0.0,
        "random_routing": True,
        "client_tps": 1e6,
        "burst_share": 1.0,
        "tps": 500.0,
    }
    return Truth(**{**facts, **changes})  # type: ignore[arg-type]
