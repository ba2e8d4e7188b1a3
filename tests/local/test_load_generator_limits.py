"""Who is slow, the client or the endpoint: whole load tests in which one of them is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.load.processes import run_load_test
from tests.local.scripted_server import ScriptedServer, always, answer, served_by

pytestmark = [pytest.mark.load, pytest.mark.slow]

#: A locustfile whose look at each answer takes a given CPU time.
LOCUSTFILE = """
import os
import time

from load_generator.user import EndpointUser, OneUserPerWorker

SECONDS = float(os.environ["CHECK_SECONDS"])


class Invoke(EndpointUser):
    def check(self, body):
        end = time.thread_time() + SECONDS
        while time.thread_time() < end:
            pass


class Shape(OneUserPerWorker):
    pass
"""


def step(
    directory: Path,
    server: ScriptedServer,
    *,
    rate: float,
    check_ms: float | None = None,
    max_connections: int = 4096,
    prefix: tuple[str, ...] = (),
    **fields: Any,
) -> dict[str, Any]:
    """The only step of a load test."""
    environment = {"MAX_CONNECTIONS": str(max_connections)}
    if check_ms is not None:
        locustfile = directory / "locustfile.py"
        locustfile.write_text(LOCUSTFILE)
        environment |= {"LOCUSTFILE": str(locustfile), "CHECK_SECONDS": str(check_ms / 1e3)}
    specification = {
        "load_test_id": "test",
        "endpoint_name": "my-endpoint",
        "payloads": {"inline": [{"body": "{}"}]},
        "request_timeout_seconds": 20,
        "metric_period_seconds": 1,
        "settle_seconds": 1,
        "steady_seconds": 2,
        "steps": [{"offered_tps": rate}],
        "workers": 1,
    } | fields
    outcome = run_load_test(
        specification, url=server.url, directory=directory, environment=environment, prefix=prefix
    )
    assert outcome.document is not None, outcome.logs
    assert outcome.document["status"] == "COMPLETED", outcome.document["error"]
    assert outcome.leader_exit_code == 0
    (only,) = outcome.document["steps"]
    assert isinstance(only, dict)
    return only


def test_a_core_that_is_too_little(tmp_path: Path) -> None:
    """300 requests a second of 4 ms each are 1.2 cores, and a worker has one thread."""
    with ScriptedServer(answer()) as server:
        seen = step(tmp_path, server, rate=300, check_ms=4)
    assert seen["client_limited"] is not None
    assert "late" in seen["client_limited"]
    assert seen["workers"]["lag_ms_p99"] > 20
    # The latency says what the client did, which is why the step must not be used.
    assert seen["client_latency_ms"]["p99"] > 20


def test_half_a_core_that_is_too_little(tmp_path: Path) -> None:
    """A core shared with another process: 0.7 cores are needed, half of one is to be had."""
    core = max(os.sched_getaffinity(0))
    other = subprocess.Popen(["taskset", "-c", str(core), sys.executable, "-c", "while True: pass"])
    try:
        with ScriptedServer(answer()) as server:
            seen = step(
                tmp_path,
                server,
                rate=350,
                check_ms=2,
                prefix=("taskset", "-c", str(core)),
                worker_vcpus=0.5,
            )
    finally:
        other.kill()
        other.wait()
    assert seen["client_limited"] is not None
    assert seen["workers"]["lag_ms_p99"] > 5


def test_a_cpu_share_that_is_nearly_used_up(tmp_path: Path) -> None:
    """Half of what one core does, of a task that may use a quarter of one."""
    with ScriptedServer(answer()) as server:
        seen = step(tmp_path, server, rate=100, check_ms=3, worker_vcpus=0.25)
    assert seen["workers"]["cpu_percent_max"] > 100
    assert seen["client_limited"] is not None


def test_a_pool_that_is_too_small(tmp_path: Path) -> None:
    """100 a second of 60 ms each need six connections, and three are allowed."""
    with ScriptedServer(always(answer(), delay=0.06)) as server:
        seen = step(tmp_path, server, rate=100, max_connections=3)
    assert seen["client_limited"] is not None
    assert "pool is too small" in seen["client_limited"]
    assert seen["achieved_tps"] < 60


@pytest.mark.parametrize("max_connections", [4096, 64])
def test_a_slow_endpoint_is_not_blamed_on_the_client(tmp_path: Path, max_connections: int) -> None:
    """An endpoint that serves 100 a second is offered 160: its queue grows, and with it latency."""
    with ScriptedServer(served_by(4, 0.04, answer())) as server:
        seen = step(tmp_path, server, rate=160, max_connections=max_connections)
    assert seen["achieved_tps"] < 110
    assert seen["client_latency_ms"]["p50"] > 300
    assert seen["client_limited"] is None
