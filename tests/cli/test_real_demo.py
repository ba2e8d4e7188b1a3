"""``endpoint-sizer demo --real``: what it installs, where, how often, and what it says it can't."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from endpoint_sizer import project, real_server
from endpoint_sizer.__main__ import run
from local.endpoint.behaviour import ServedModel
from local.size.outcome import Outcome
from sizing.result.result import Result, SizingFacts
from sizing.search.answer import Status

ROOT = Path(__file__).parents[2]

#: Stands in for the environment's Python: notes what it is run with, and installs a uvicorn.
PYTHON = """#!/bin/sh
echo "$@" >> "$(dirname "$0")/../../asked"
echo "user $PIP_USER$PIP_TARGET$PIP_PREFIX$PYTHONPATH$PYTHONHOME" > "$(dirname "$0")/../../astray"
[ -z "$PIP_FAILS" ] || { echo "some words" >&2; echo "$PIP_FAILS" >&2; exit 1; }
printf '#!/bin/sh\\n' > "$(dirname "$0")/uvicorn"
chmod +x "$(dirname "$0")/uvicorn"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the environment goes; nothing is really installed."""

    def create(folder: Path, *, with_pip: bool) -> None:
        assert with_pip
        python = folder / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(PYTHON)
        python.chmod(0o755)

    monkeypatch.setattr("venv.create", create)
    monkeypatch.setattr(project, "IS_CHECKOUT", False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    return tmp_path / "endpoint-sizer" / "real"


@pytest.fixture
def sized(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The documents and models that were sized."""
    given: list[Any] = []
    facts = SizingFacts(
        id="0" * 12, started_at=None, finished_at="2026-01-01T00:00:00Z", cost_usd=0, load_tests=1
    )

    def noting(_request: Any, document: Any, **named: Any) -> Outcome:
        given.append((document, named["models"].behaviour("magika", "ml.c8g.medium")))
        result = Result(status=Status.SIZED, reason="because", sizing=facts)
        return Outcome(result, {"result.json": b"{}"}, None)

    monkeypatch.setattr("local.size.run.run", noting)
    return given


def demo(tmp_path: Path) -> int:
    return run(["demo", "--real", "--out", str(tmp_path / "out")])


def test_it_says_what_it_is_installs_it_once_and_sizes_it(
    tmp_path: Path,
    folder: Path,
    sized: list[Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])  # which the demo adds to
    assert demo(tmp_path) == 0
    said = capsys.readouterr().out
    assert "A real model on a real server: Magika" in said
    assert f"installing magika, onnxruntime and uvicorn (170 MB) into {folder}" in said
    [(document, model)] = sized
    assert document == json.loads((ROOT / "examples/real/request.json").read_text())
    assert isinstance(model, ServedModel)
    assert model.folder == str(ROOT / "examples" / "real")
    asked = folder.parent / "asked"
    assert asked.read_text() == (
        "-m pip --disable-pip-version-check install --quiet --require-hashes "
        f"--only-binary :all: -r {ROOT}/requirements/real.txt\n"
    )
    assert shutil.which("uvicorn") == str(folder / "bin" / "uvicorn")

    assert demo(tmp_path) == 0
    assert "installing" not in capsys.readouterr().out
    assert len(sized) == 2

    (folder / "installed").write_text("of older requirements")
    (folder / "bin" / "old").touch()
    assert demo(tmp_path) == 0
    assert not (folder / "bin" / "old").exists()
    assert len(asked.read_text().splitlines()) == 2


def test_what_can_t_be_installed_is_told_and_tried_again_the_next_time(
    tmp_path: Path,
    folder: Path,
    sized: list[Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])
    monkeypatch.setenv("PIP_FAILS", "ERROR: no route to the index")
    assert demo(tmp_path) == 1
    assert capsys.readouterr().err == (
        f"error: {ROOT}/requirements/real.txt could not be installed: ERROR: no route to the "
        "index\n"
    )
    assert sized == []
    monkeypatch.delenv("PIP_FAILS")
    assert demo(tmp_path) == 0


def test_it_is_installed_there_whatever_pip_and_python_are_told(
    tmp_path: Path, folder: Path, sized: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.environ["PATH"])
    for name in ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PYTHONPATH"):
        monkeypatch.setenv(name, "1")
    assert demo(tmp_path) == 0
    assert (folder.parent / "astray").read_text() == "user 0\n"


def test_a_folder_that_can_t_be_made_is_told(
    tmp_path: Path,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("venv.create", full)
    assert demo(tmp_path) == 1
    assert capsys.readouterr().err.startswith(f"error: {folder} could not be made: ")


def test_too_few_cores_are_told_before_anything_is_installed(
    tmp_path: Path,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0}, raising=False)
    assert demo(tmp_path) == 64
    output = capsys.readouterr()
    assert output.err.endswith(
        "models.yaml: magika: serve: vcpus: 1 instance with 1 core each and the load generator "
        "with 1 need 2 cores; this machine has 1\n"
    )
    assert "installing" not in output.out
    assert not folder.exists()


def test_in_a_checkout_it_is_beside_the_other_environments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(project, "IS_CHECKOUT", True)
    assert real_server._folder() == ROOT / ".venv-real"


def test_without_a_folder_for_caches_it_is_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "IS_CHECKOUT", False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert real_server._folder() == tmp_path / ".cache" / "endpoint-sizer" / "real"
