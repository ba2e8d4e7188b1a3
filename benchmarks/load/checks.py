"""What holds in real time, on a machine with little else to do: ``make bench-load`` checks it.

``make test`` has the same in made-up time. Here a real scheduler, real sockets and real CPU time
say whether the load generator keeps its rate, blames the right side, notices a loss soon, and
whether a local endpoint serves what arithmetic says.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load.processes import LoadTestProcesses, run_load_test
from benchmarks.load.scripted_server import ScriptedServer, always, answer, served_by
from local.endpoint.behaviour import DEFAULT_MODELS_FILE, ModelBehaviour, load_models
from local.endpoint.client import EndpointServer
from local.endpoint.method import INSTANCE_TYPE, MODEL, Row, measure, wait_for_status
from local.endpoint.open_loop import offer

#: A locustfile whose look at each answer takes a given CPU time.
_LOCUSTFILE = """
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


@dataclass(frozen=True, slots=True)
class Check:
    """Something that must hold."""

    what: str
    #: What was seen, in words.
    seen: str
    holds: bool


def checks(directory: Path) -> Iterator[Check]:
    """Make all checks, one after the other."""
    yield from _rates(directory)
    yield from _who_is_slow(directory)
    yield from _losses(directory)
    yield from _local_endpoint()


def _specification(**fields: Any) -> dict[str, Any]:
    return {
        "load_test_id": "check",
        "endpoint_name": "my-endpoint",
        "payloads": {"inline": [{"body": "{}"}]},
        "request_timeout_seconds": 20,
        "metric_period_seconds": 1,
        "settle_seconds": 1,
        "steady_seconds": 2,
        "steps": [],
        "workers": 1,
    } | fields


def _load_test(
    directory: Path,
    server: ScriptedServer,
    *,
    check_ms: float | None = None,
    max_connections: int = 4096,
    prefix: tuple[str, ...] = (),
    **fields: Any,
) -> dict[str, Any]:
    """``load_test.json`` of a load test that went well."""
    # Of its own: what one leaves ends another that starts at once.
    directory = Path(tempfile.mkdtemp(dir=directory))
    environment = {"MAX_CONNECTIONS": str(max_connections)}
    if check_ms is not None:
        locustfile = directory / "locustfile.py"
        locustfile.write_text(_LOCUSTFILE)
        environment |= {"LOCUSTFILE": str(locustfile), "CHECK_SECONDS": str(check_ms / 1e3)}
    outcome = run_load_test(
        _specification(**fields),
        url=server.url,
        directory=directory,
        environment=environment,
        prefix=prefix,
    )
    if outcome.document is None or outcome.leader_exit_code:
        raise RuntimeError("\n".join(outcome.logs))
    return outcome.document


# --- Rates --------------------------------------------------------------------------------------


def _rates(directory: Path) -> Iterator[Check]:
    steps = [{"offered_tps": 101}, {"offered_tps": 300}]
    with ScriptedServer(always(answer(), delay=0.01)) as server:
        document = _load_test(directory, server, workers=2, metric_period_seconds=2, steps=steps)
        arrivals = [request.at for request in server.requests]
    for step in document["steps"]:
        start, end = step["window"]["start"], step["window"]["end"]
        offered, achieved = step["offered_tps"], step["achieved_tps"]
        arrived = sum(start <= at < end for at in arrivals) / (end - start)
        yield Check(
            f"{offered:g} requests/s are offered exactly by two workers",
            f"{achieved:.1f} answered, {arrived:.1f} arrived",
            abs(achieved - offered) <= 2 and abs(arrived - achieved) <= 3,
        )
    burst = {"start_concurrency": 4, "max_concurrency": 64, "stage_seconds": 3}
    with ScriptedServer(served_by(8, 0.04, answer())) as server:
        steps_of_burst = [{"saturation_fraction": 0.5}]
        document = _load_test(directory, server, burst=burst, steps=steps_of_burst)
    saturation = document["saturation"]
    stages = [stage["concurrency"] for stage in saturation["stages"]]
    yield Check(
        "a burst finds 8 slots of 40 ms, 200 requests/s, in three or four stages",
        f"{saturation['tps']:.1f} requests/s, stages {stages}",
        abs(saturation["tps"] - 195) <= 10 and stages in ([4, 8, 16], [4, 8, 16, 32]),
    )


# --- The client or the endpoint -----------------------------------------------------------------


def _who_is_slow(directory: Path) -> Iterator[Check]:
    def step(server: ScriptedServer, rate: float, **fields: Any) -> dict[str, Any]:
        document = _load_test(directory, server, steps=[{"offered_tps": rate}], **fields)
        (only,) = document["steps"]
        assert isinstance(only, dict)
        return only

    def judged(what: str, seen: dict[str, Any], holds: bool) -> Check:
        limited = seen["client_limited"]
        return Check(what, f"the client: {limited}" if limited else "the endpoint", holds)

    with ScriptedServer(answer()) as server:
        seen = step(server, 300, check_ms=4)
    yield judged(
        "1.2 cores are needed, and a worker has one thread",
        seen,
        "late" in (seen["client_limited"] or "") and seen["workers"]["lag_ms_p99"] > 20,
    )
    with ScriptedServer(answer()) as server, _busy_core() as core:
        prefix = ("taskset", "-c", str(core))
        seen = step(server, 350, check_ms=2, prefix=prefix, worker_vcpus=0.5)
    yield judged(
        "0.7 cores are needed, and another process takes half of one",
        seen,
        seen["client_limited"] is not None and seen["workers"]["lag_ms_p99"] > 5,
    )
    with ScriptedServer(answer()) as server:
        seen = step(server, 100, check_ms=3, worker_vcpus=0.25)
    yield judged(
        "0.3 cores are needed of a task that has a quarter of one",
        seen,
        seen["client_limited"] is not None and seen["workers"]["cpu_percent_max"] > 100,
    )
    with ScriptedServer(always(answer(), delay=0.06)) as server:
        seen = step(server, 100, max_connections=3)
    yield judged(
        "six connections are needed, and three are allowed",
        seen,
        "pool is too small" in (seen["client_limited"] or "") and seen["achieved_tps"] < 60,
    )
    for connections in (4096, 64):
        with ScriptedServer(served_by(4, 0.04, answer())) as server:
            seen = step(server, 160, max_connections=connections)
        yield judged(
            f"100 requests/s are served of 160 ({connections} connections)",
            seen,
            seen["client_limited"] is None
            and seen["achieved_tps"] < 110
            and seen["client_latency_ms"]["p50"] > 300,
        )


@contextmanager
def _busy_core() -> Iterator[int]:
    """Keeps the last core busy; gives its number."""
    core = max(os.sched_getaffinity(0))
    pinned = ["taskset", "-c", str(core), sys.executable, "-c", "while True: pass"]
    with subprocess.Popen(pinned) as process:
        try:
            yield core
        finally:
            process.kill()


# --- Losses -------------------------------------------------------------------------------------

#: Within which the load test must be over, seconds: the lease of 5 s, and the end itself.
_NOTICED_SECONDS = 10.0


def _losses(directory: Path) -> Iterator[Check]:
    for what, which, error in (("worker", 1, "WorkerLost"), ("leader", 0, "LeaderLost")):
        specification = _specification(steady_seconds=120, workers=2, steps=[{"offered_tps": 200}])
        with (
            ScriptedServer(answer()) as server,
            LoadTestProcesses(
                specification, url=server.url, directory=directory / f"{what}-lost"
            ) as processes,
        ):
            _await_requests(server, 300)
            # The second worker, or the leader.
            processes.running[2 * which].send_signal(signal.SIGKILL)
            lost_at = time.monotonic()
            outcome = processes.wait(60)
            seconds = time.monotonic() - lost_at
        name = outcome.document["error"]["name"] if outcome.document else "nothing"
        yield Check(
            f"a {what} that is killed is noticed within {_NOTICED_SECONDS:g} s",
            f"{name} after {seconds:.1f} s",
            name == error and seconds < _NOTICED_SECONDS,
        )


def _await_requests(server: ScriptedServer, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(server.requests) < count:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{len(server.requests)} requests in a minute")
        time.sleep(0.05)


# --- The local endpoint -------------------------------------------------------------------------


def _local_endpoint() -> Iterator[Check]:
    with EndpointServer.start(cloudwatch_url=None, region="us-east-1") as server:
        yield from _method(server)
        yield from _answers(server)


def _create(
    server: EndpointServer, name: str, instance_type: str, vcpus: int, behaviour: ModelBehaviour
) -> None:
    server.create(
        name,
        variant_name="AllTraffic",
        instance_type=instance_type,
        vcpus=vcpus,
        instance_count=1,
        behaviour=behaviour,
        routing="LEAST_OUTSTANDING_REQUESTS",
        metric_period_seconds=10,
    )
    wait_for_status(server, name, 5)


def _method(server: EndpointServer) -> Iterator[Check]:
    """The findings of docs/method.md: 200 TPS an instance; five saturate, eight are in the band."""
    method = load_models(DEFAULT_MODELS_FILE).behaviour(MODEL, INSTANCE_TYPE)
    assert isinstance(method, ModelBehaviour)
    quick = method.model_copy(update={"startup_seconds": 0.1})
    _create(server, "method", INSTANCE_TYPE, 48, quick)

    def observe(count: int, tps: float) -> Row:
        state = server.status("method")
        if state is not None and state.instance_count != count:
            server.scale("method", count)
            wait_for_status(server, "method", 5)
        return asyncio.run(measure(server, "method", tps, settle_seconds=1.2, steady_seconds=2.5))

    def said(row: Row) -> str:
        return (
            f"{row.answered_tps:.0f} TPS answered, {row.error_tps:.0f} refused, "
            f"{row.utilization_percent:.1f} % of all vCPUs, p50 {row.p50_ms:.0f} ms"
        )

    one, five, eight = observe(1, 350), observe(5, 1000), observe(8, 1000)
    yield Check(
        "one instance of the method's case, offered 350 TPS, answers 200",
        said(one),
        194 < one.answered_tps < 206 and 135 < one.error_tps < 165 and one.cpu_percent > 4790,
    )
    yield Check(
        "five, offered 1,000, are full",
        said(five),
        five.answered_tps > 960 and five.utilization_percent > 97,
    )
    yield Check(
        "eight, offered 1,000, are in the band",
        said(eight),
        960 < eight.answered_tps < 1040
        and eight.error_tps == 0
        and 60 < eight.utilization_percent < 65
        and eight.p50_ms < five.p50_ms < one.p50_ms,
    )


def _answers(server: EndpointServer) -> Iterator[Check]:
    steady = ModelBehaviour(cpu_ms=20, cpu_ms_cv=0, wait_ms=3, startup_seconds=0)
    _create(server, "steady", "ml.m5.large", 8, steady)
    load = asyncio.run(offer(server.url, "steady", b"{}", tps=100, seconds=2))
    median = load.latency_ms(50, 0, 2)
    yield Check(
        "answers that are due after 23 ms come by then, or within 10 ms",
        f"median {median:.1f} ms",
        load.statuses == {200: 200} and 22.5 <= median < 33,
    )

    async def observe() -> float:
        offering = asyncio.create_task(offer(server.url, "steady", b"{}", tps=200, seconds=2.5))
        await asyncio.sleep(2)
        live = server.live("steady")
        await offering
        return live.utilization_percent

    utilization = asyncio.run(observe())
    yield Check(
        "200 TPS of 20 ms on 8 vCPUs are live figures of 50 %",
        f"{utilization:.1f} %",
        abs(utilization - 50) < 10,
    )
