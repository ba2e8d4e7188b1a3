"""``endpoint-sizer local-aws``: what it says, and how it ends; what it runs is tested elsewhere."""

from __future__ import annotations

import socket
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from endpoint_sizer.__main__ import run
from endpoint_sizer.endings import Interrupted

MODELS = '{"model": {"cpu_ms": 1}}'


@pytest.fixture
def models(tmp_path: Path) -> list[str]:
    path = tmp_path / "models.yaml"
    path.write_text(MODELS)
    return ["--models", str(path), "--out", str(tmp_path / "out")]


def test_it_says_how_to_use_it_until_it_is_interrupted(
    models: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[dict[str, Any]] = []
    looked: list[datetime] = []

    def embedded(**given: Any) -> Any:
        started.append(given)
        scheduler = SimpleNamespace(run_due=looked.append)
        return nullcontext(SimpleNamespace(scheduler=lambda _now: scheduler))

    def interrupted(_seconds: float) -> None:
        raise Interrupted

    monkeypatch.setattr("local.embedded.EmbeddedAws", embedded)
    monkeypatch.setattr("time.sleep", interrupted)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert run(["local-aws", *models, "--port", str(port)]) == 130
    said = capsys.readouterr()
    assert said.err == "interrupted: nothing is left running\n"
    assert f"export AWS_ENDPOINT_URL=http://127.0.0.1:{port} AWS_REGION=us-east-1" in said.out
    [given] = started
    assert len(looked) == 1  # at what is due
    assert (given["port"], given["models"].models) == (port, ("model",))


def test_a_port_that_is_taken_is_wrong_use(
    models: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert run(["local-aws", *models, "--port", str(port)]) == 64
    assert capsys.readouterr().err == f"error: --port {port}: address already in use\n"


def test_this_machine_has_no_regions(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "--local", "--region", "eu-west-1"]) == 64
    assert "--region and --profile mean AWS, --local this machine" in capsys.readouterr().err
