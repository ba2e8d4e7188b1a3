"""``endpoint-sizer size --local`` as a user runs it: real load, real endpoints, real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from sizing.result.result import Result
from sizing.search.answer import Status
from tests.statemachine.stack import a_request

ROOT = Path(__file__).parents[2]

#: Longer than anything here takes on any machine, seconds.
PATIENCE = 900

# Two vCPUs of 20 ms saturate at 100 TPS; 65 TPS are 65 % of one instance.
MODELS = """
model:
  cpu_ms: 20
  startup_seconds: 0.1
"""

#: Of a user who works with AWS: nothing that runs here may care.
AN_ACCOUNT = {
    "AWS_PROFILE": "that-is-not-here",
    "AWS_REGION": "eu-west-3",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
}

#: What the command will have said, to standard output and error, and its exit code.
Running = Future[tuple[str, str, int]]


def files(folder: Path, **changes: Any) -> list[str]:
    """Arguments of the command, with the files they name."""
    request = a_request(instance_types=["ml.m5.large"], target={"tps": 65}, **changes)
    (folder / "request.json").write_text(json.dumps(request))
    (folder / "models.yaml").write_text(MODELS)
    return [
        str(folder / "request.json"),
        "--local",
        "--models",
        str(folder / "models.yaml"),
        "--out",
        str(folder / "out"),
    ]


@contextmanager
def started(arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    # In a session of its own, as in a terminal: a signal to its group is Ctrl-C.
    with subprocess.Popen(
        [sys.executable, "-m", "endpoint_sizer", "size", *arguments],
        env={**os.environ, **AN_ACCOUNT, "NO_COLOR": "1", "PYTHONPATH": str(ROOT / "cli")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def finished(arguments: list[str]) -> tuple[int, str, str]:
    with started(arguments) as process:
        out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


@pytest.fixture(scope="module", autouse=True)
def sizing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Running]]:
    """A whole sizing, which takes a minute and a half of waiting: the other tests run meanwhile."""
    folder = tmp_path_factory.mktemp("sizing")
    with started(files(folder)) as process, ThreadPoolExecutor(1) as reader:
        # Read from the start: a full pipe would stop it.
        yield (
            folder,
            reader.submit(lambda: (*process.communicate(timeout=PATIENCE), process.returncode)),
        )
        process.kill()


def test_a_dry_run_takes_seconds_and_creates_nothing(tmp_path: Path) -> None:
    code, out, err = finished(files(tmp_path, dry_run=True))
    assert (code, err) == (0, "")
    assert "Dry run: the request is valid" in out
    assert json.loads((tmp_path / "out" / "result.json").read_text())["status"] == "DRY_RUN"
    assert not list((tmp_path / "out" / "logs").glob("task-*.log"))


def test_a_request_that_only_the_sizing_finds_wrong(tmp_path: Path) -> None:
    # Whether a package exists is looked up in the account: not before the embedded AWS runs.
    arn = "arn:aws:sagemaker:us-east-1:999999999999:model-package/model/1"
    request = [*files(tmp_path)]
    document = json.loads(Path(request[0]).read_text())
    Path(request[0]).write_text(json.dumps({**document, "model": {"model_package_arn": arn}}))
    code, _, err = finished(request)
    assert code == 64
    assert err.startswith("error: InvalidRequest: model.model_package_arn: ")
    assert err.count("\n") == 1
    assert json.loads((tmp_path / "out" / "result.json").read_text())["status"] == "FAILED"


def test_ctrl_c_under_load_leaves_no_process(tmp_path: Path) -> None:
    with started(files(tmp_path)) as process:
        children = wait_for_load(process, tmp_path / "out" / "logs")
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert err == "interrupted: nothing is left running\n"
    assert psutil.wait_procs(children, timeout=PATIENCE)[1] == []


def test_an_end_while_it_starts_leaves_no_process(tmp_path: Path) -> None:
    with started(files(tmp_path)) as process:
        whole = psutil.Process(process.pid)
        deadline = time.monotonic() + PATIENCE
        while not (children := whole.children(recursive=True)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (130, "interrupted: nothing is left running\n")
    assert psutil.wait_procs(children, timeout=PATIENCE)[1] == []


def wait_for_load(process: subprocess.Popen[str], logs: Path) -> list[psutil.Process]:
    """Wait until requests have been sent; returns all processes below the command."""
    deadline = time.monotonic() + PATIENCE
    # The leader says so when the first stage of the burst is over.
    while not any("Burst: " in log.read_text() for log in logs.glob("task-*.log")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return psutil.Process(process.pid).children(recursive=True)


def test_a_sizing_from_the_request_to_the_result(sizing: tuple[Path, Running]) -> None:
    folder, running = sizing
    out, err, code = running.result()
    result = Result.model_validate_json((folder / "out" / "result.json").read_text())
    # What it is found to need is as good as the machine is idle; `make examples` holds the answers.
    codes = {Status.SIZED: 0, Status.TARGET_NOT_MET: 2, Status.FAILED: 1}
    assert code == codes[result.status]
    assert (err == "") == (code == 0)
    assert result.sizing.load_tests > 0
    assert "<html" in (folder / "out" / "report.html").read_text()

    assert (result.recommendation is not None) == (code == 0)
    if result.recommendation is not None:
        assert f"{result.recommendation.instance_count} ml.m5.large instance" in out
    assert "step 1 of" in out
    assert str(folder / "out" / "result.json") in out
    assert "\x1b" not in out
    events = (folder / "out" / "logs" / "state-machines.jsonl").read_text().splitlines()
    assert json.loads(events[-1])["type"] == "ExecutionSucceeded"
