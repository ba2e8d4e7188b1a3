"""Load tests that lose a task or cannot start: they end, not with 0, and say why."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from benchmarks.load.processes import IMAGE, LoadTestProcesses, base_environment
from benchmarks.load.scripted_server import ScriptedServer, answer
from tests.local.load_tests import PATIENCE, PATIENT, failed, long_specification, specification

#: What each of them comes to is also shown in made-up time, in tests/unit/load_generator.
pytestmark = pytest.mark.faults

#: What is done to a load test that runs, to which of its tasks, and the error it must end in.
#: ``tests/unit/load_generator`` says how soon a loss is noticed, and has those that freeze.
LOSSES = {
    "worker killed": (signal.SIGKILL, 1, "WorkerLost", {}),
    "worker told to stop": (signal.SIGTERM, 1, "Interrupted", {}),
    "leader killed": (signal.SIGKILL, -1, "LeaderLost", {}),
    "leader told to stop": (signal.SIGTERM, -1, "Interrupted", {}),
    "worker with processes killed": (
        signal.SIGKILL,
        0,
        "Interrupted",
        {"workers": 1, "worker_vcpus": 2},
    ),
}


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("name", LOSSES)
def test_a_lost_task_ends_the_test_with_the_reason(name: str, tmp_path: Path) -> None:
    number, which, error, fields = LOSSES[name]
    with (
        ScriptedServer(answer()) as server,
        LoadTestProcesses(
            long_specification(**fields),
            url=server.url,
            directory=tmp_path,
            # Not measured: what it covers, made-up time covers in a tenth of the time.
            environment={"START_TIMEOUT_SECONDS": "120", "LEASE_SECONDS": "10"},
        ) as processes,
    ):
        until(lambda: len(server.requests) > 50)
        (processes.leader if which < 0 else processes.workers[which]).send_signal(number)
        outcome = processes.wait(PATIENCE)
        # A process that was started by another ends right after it, and none goes on sending.
        until(lambda: not server.open_connections)
    document = failed(outcome, error)
    assert document["steps"] == []
    assert outcome.leader_exit_code != 0
    assert 0 not in outcome.worker_exit_codes


@pytest.mark.parametrize(
    "changed, words",
    [
        ({"LOAD_TEST_URI": "ftp://host/"}, "LOAD_TEST_URI must be s3://"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": ""}, "AWS_REGION is not set"),
        ({}, "there is no file:///no/such/folder/spec.json"),
    ],
)
def test_a_task_that_does_not_know_what_to_do_says_so(changed: dict[str, str], words: str) -> None:
    environment = {"LOAD_TEST_ROLE": "leader", "LOAD_TEST_URI": "file:///no/such/folder"}
    done = subprocess.run(
        [sys.executable, "-m", "load_generator"],
        cwd=IMAGE,
        env=base_environment() | PATIENT | environment | changed,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@dataclass(frozen=True)
class FalseStart:
    """A load test that cannot start, and what it must say."""

    error: str
    words: str
    fields: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    locustfile: str | None = None
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
    "leader missing": FalseStart(
        "LeaderLost", "no leader", environment={"START_TIMEOUT_SECONDS": "6"}, kill_leader=True
    ),
    "locustfile of another kind": FalseStart(
        "InvalidLocustfile",
        "derives from EndpointUser or CallUser",
        locustfile="from locust import HttpUser\n\n\nclass Any(HttpUser):\n    host = 'http://x'\n",
    ),
    "user that can not start": FalseStart(
        "UserFailed",
        "worker 0: Any: KeyError: 'MY_URL'",
        locustfile="import os\n\nfrom load_generator.user import EndpointUser\n\n\n"
        "class Any(EndpointUser):\n    def on_start(self):\n        os.environ['MY_URL']\n",
    ),
    "user that can not be made": FalseStart(
        "UserFailed",
        "worker 0: Any: ZeroDivisionError: division by zero",
        locustfile="from load_generator.user import CallUser\n\n\n"
        "class Any(CallUser):\n    def __init__(self, environment):\n        1 / 0\n",
    ),
    "locustfile in error": FalseStart(
        "LeaderFailed", "no_such_module", locustfile="import no_such_module\n"
    ),
}


@pytest.mark.parametrize("name", FALSE_STARTS)
def test_what_cannot_start_says_why_and_sends_nothing(name: str, tmp_path: Path) -> None:
    false_start = FALSE_STARTS[name]
    environment = PATIENT | false_start.environment
    if false_start.locustfile is not None:
        locustfile = tmp_path / "locustfile.py"
        locustfile.write_text(false_start.locustfile)
        environment["LOCUSTFILE"] = str(locustfile)
    # What an earlier attempt left says nothing about this one.
    (tmp_path / "load_test.json").write_text('{"status": "COMPLETED", "finished_at": 1.0}')
    (tmp_path / "leader.json").write_text('{"host": "127.0.0.1", "port": 9}')
    with ScriptedServer(answer()) as server:
        if not false_start.server:
            server.stop()
        with LoadTestProcesses(
            specification(**false_start.fields),
            url=server.url,
            directory=tmp_path,
            environment=environment,
        ) as processes:
            if false_start.kill_leader:
                processes.leader.kill()
            if false_start.late_leader:
                # Longer than a worker takes to start, and than clocks may differ.
                processes.leader.send_signal(signal.SIGSTOP)
                Timer(6, processes.leader.send_signal, [signal.SIGCONT]).start()
            outcome = processes.wait(PATIENCE)
        assert not server.requests
    document = failed(outcome, false_start.error)
    assert false_start.words in document["error"]["message"]
    assert document["steps"] == []
    assert outcome.leader_exit_code != 0
    assert 0 not in outcome.worker_exit_codes
