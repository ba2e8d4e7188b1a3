"""Load tests that lose a task or cannot start: they end soon, not with 0, and say why."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from benchmarks.load.processes import LoadTestProcesses, Outcome
from tests.local.load_tests import failed, long_specification, specification
from tests.local.scripted_server import ScriptedServer, answer

pytestmark = [pytest.mark.offers_load, pytest.mark.slow]

#: Scenarios at once: most of each is waiting.
_AT_ONCE = 3

Harm = Callable[[LoadTestProcesses], None]


def _freeze(processes: LoadTestProcesses, which: int) -> None:
    process = processes.leader if which < 0 else processes.workers[which]
    process.send_signal(signal.SIGSTOP)
    # Longer than anybody waits for it, and then it goes on.
    Timer(8, process.send_signal, [signal.SIGCONT]).start()


def _join_late(processes: LoadTestProcesses) -> None:
    processes.add_worker(1)
    # It takes a while to start.
    processes.wait_for_log("WorkersChanged", 60)


def _send(number: signal.Signals, which: int) -> Harm:
    def send(processes: LoadTestProcesses) -> None:
        (processes.leader if which < 0 else processes.workers[which]).send_signal(number)

    return send


@dataclass(frozen=True)
class Loss:
    """What is done to a load test that runs, and the error that it must end in."""

    harm: Harm
    error: str
    fields: dict[str, Any] = field(default_factory=dict)


LOSSES = {
    "worker killed": Loss(_send(signal.SIGKILL, 1), "WorkerLost"),
    "worker frozen": Loss(lambda processes: _freeze(processes, 1), "WorkerLost"),
    "worker told to stop": Loss(_send(signal.SIGTERM, 1), "Interrupted"),
    "leader killed": Loss(_send(signal.SIGKILL, -1), "LeaderLost"),
    "leader frozen": Loss(lambda processes: _freeze(processes, -1), "LeaderLost"),
    "leader told to stop": Loss(_send(signal.SIGTERM, -1), "Interrupted"),
    "worker joined late": Loss(_join_late, "WorkersChanged"),
    "worker with processes killed": Loss(
        _send(signal.SIGKILL, 0), "Interrupted", {"workers": 1, "worker_vcpus": 2}
    ),
    "worker with processes told to stop": Loss(
        _send(signal.SIGTERM, 0), "Interrupted", {"workers": 1, "worker_vcpus": 2}
    ),
}


@dataclass(frozen=True)
class Lost:
    """What came of a load test that lost a task."""

    outcome: Outcome
    seconds: float
    sent_before: int
    sent_by_orphans: int
    open_connections: int


def _lose(loss: Loss, directory: Path) -> Lost:
    with (
        ScriptedServer(answer()) as server,
        LoadTestProcesses(
            long_specification(**loss.fields), url=server.url, directory=directory
        ) as processes,
    ):
        processes.wait_for_log("Step 1", 60)
        time.sleep(1.5)
        before = len(server.requests)
        loss.harm(processes)
        harmed_at = time.monotonic()
        outcome = processes.wait(30)
        seconds = time.monotonic() - harmed_at
        # A process that was started by another ends right after it.
        time.sleep(0.3)
        after = len(server.requests)
        time.sleep(0.3)
        orphaned = len(server.requests) - after
        return Lost(outcome, seconds, before, orphaned, server.open_connections)


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Future[Lost]]:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return {
            name: pool.submit(_lose, loss, tmp_path_factory.mktemp("lost"))
            for name, loss in LOSSES.items()
        }


@pytest.mark.parametrize("name", LOSSES)
def test_a_lost_task_ends_the_test_at_once_with_the_reason(
    lost: dict[str, Future[Lost]], name: str
) -> None:
    seen = lost[name].result()
    assert seen.sent_before > 50
    assert seen.seconds < 10
    assert seen.sent_by_orphans == 0
    assert seen.open_connections == 0
    document = failed(seen.outcome, LOSSES[name].error)
    assert document["steps"] == []
    assert document["timeline"] or name == "leader killed"
    assert seen.outcome.leader_exit_code != 0
    assert 0 not in seen.outcome.worker_exit_codes


@dataclass(frozen=True)
class FalseStart:
    """A load test that cannot start, and what it must say."""

    error: str
    words: str
    fields: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    locustfile: str | None = None
    start_workers: int | None = None
    kill_leader: bool = False
    #: The worker fails before the leader has started.
    late_leader: bool = False
    server: bool = True


FALSE_STARTS = {
    "spec in error": FalseStart(
        "InvalidSpec", "$.steps[0].offered_tps", {"steps": [{"offered_tps": -5}]}
    ),
    "payload in error": FalseStart(
        "InvalidPayloads",
        "payloads.inline[0].body is not base64",
        {"payloads": {"inline": [{"body": "not base64!", "base64": True}]}},
    ),
    "payload in error, late leader": FalseStart(
        "InvalidPayloads",
        "payloads.inline[0].body is not base64",
        {"payloads": {"inline": [{"body": "not base64!", "base64": True}]}},
        late_leader=True,
    ),
    "payloads missing": FalseStart(
        "InvalidPayloads", "no such file", {"payloads": {"s3_uri": "file:///no/such/file.jsonl"}}
    ),
    "endpoint out of reach": FalseStart("EndpointUnreachable", "connection_refused", server=False),
    "worker missing": FalseStart(
        "WorkersMissing",
        "1 of 2 workers",
        {"workers": 2},
        {"START_TIMEOUT_SECONDS": "8"},
        start_workers=1,
    ),
    "leader missing": FalseStart(
        "LeaderLost", "no leader", environment={"START_TIMEOUT_SECONDS": "6"}, kill_leader=True
    ),
    "locustfile of another kind": FalseStart(
        "InvalidLocustfile",
        "derives from EndpointUser or CallUser",
        locustfile="from locust import HttpUser\n\n\nclass Any(HttpUser):\n    host = 'http://x'\n",
    ),
    "locustfile in error": FalseStart(
        "LeaderFailed", "no_such_module", locustfile="import no_such_module\n"
    ),
}


def _start(false_start: FalseStart, directory: Path) -> tuple[Outcome, int]:
    environment = dict(false_start.environment)
    if false_start.locustfile is not None:
        locustfile = directory / "locustfile.py"
        locustfile.write_text(false_start.locustfile)
        environment["LOCUSTFILE"] = str(locustfile)
    # What an earlier attempt left says nothing about this one.
    (directory / "load_test.json").write_text('{"status": "COMPLETED", "finished_at": 1.0}')
    (directory / "leader.json").write_text('{"host": "127.0.0.1", "port": 9}')
    with ScriptedServer(answer()) as server:
        if not false_start.server:
            server.stop()
        with LoadTestProcesses(
            specification(**false_start.fields),
            url=server.url,
            directory=directory,
            environment=environment,
            start_workers=false_start.start_workers,
        ) as processes:
            if false_start.kill_leader:
                processes.leader.kill()
            if false_start.late_leader:
                # Longer than a worker takes to start, and than clocks may differ.
                processes.leader.send_signal(signal.SIGSTOP)
                Timer(6, processes.leader.send_signal, [signal.SIGCONT]).start()
            return processes.wait(60), len(server.requests)


@pytest.fixture(scope="module")
def false_starts(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Future[tuple[Outcome, int]]]:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return {
            name: pool.submit(_start, false_start, tmp_path_factory.mktemp("start"))
            for name, false_start in FALSE_STARTS.items()
        }


@pytest.mark.parametrize("name", FALSE_STARTS)
def test_what_cannot_start_says_why_and_sends_nothing(
    false_starts: dict[str, Future[tuple[Outcome, int]]], name: str
) -> None:
    outcome, requests = false_starts[name].result()
    document = failed(outcome, FALSE_STARTS[name].error)
    assert FALSE_STARTS[name].words in document["error"]["message"]
    assert requests == 0
    assert document["steps"] == []
    assert outcome.leader_exit_code != 0
    assert 0 not in outcome.worker_exit_codes
