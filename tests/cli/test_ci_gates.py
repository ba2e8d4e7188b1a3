"""The jobs of docs/ci.md, run line by line as they are written: on a base and a pull request.

Only the sizing itself is made up: its capacity is what the models file's ``cpu_ms`` gives. But for
one, by ``make examples``, in which each side is sized under real load.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from endpoint_sizer.__main__ import run
from local.size.outcome import Outcome
from sizing.result.result import Result
from tests.unit.result import sample_sizings

ROOT = Path(__file__).parents[2]
REQUEST = (ROOT / "examples" / "distilbert.json").read_text()
#: That two instances meet, quickly measured.
SMALL = {
    "instance_types": ["ml.m5.large"],
    "target": {"tps": 130},
    "measurement": {"metric_period_seconds": 10, "settle_seconds": 10, "steady_seconds": 20},
}
_BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "ci.md").read_text(), re.DOTALL)
_STEPS = [each.get("run", "") for each in yaml.safe_load(_BLOCKS[0])["jobs"]["size"]["steps"]]
_GITLAB = yaml.safe_load(_BLOCKS[1])["endpoint-size"]
#: The lines that size, and the one that tells the difference whatever they come to.
JOBS = {
    "github": (
        [each for each in _STEPS if " size " in each],
        next(each for each in _STEPS if " compare " in each),
    ),
    "gitlab": (_GITLAB["script"], _GITLAB["after_script"][0]),
}


def made_up(request: Any, _document: Any, *, models: Any, **_: Any) -> Outcome:
    """A sizing that ends at once."""
    document = {**sample_sizings.sized().document(), "local": True}
    model = models.behaviour(request.model.hugging_face.model_id, "ml.m5.large")
    for candidate in document["candidates"]:
        candidate["tps_per_instance_at_band_middle"] = 4800 / model.cpu_ms
        candidate["tps_per_instance_standard_error"] = 48 / model.cpu_ms
    content = json.dumps(document).encode()
    return Outcome(Result.model_validate_json(content), {"result.json": content}, None)


def git(*arguments: str) -> str:
    identity = ("-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *identity, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def commit(cpu_ms: float) -> str:
    """Commit a model that needs so much CPU; returns the commit."""
    models = {"distilbert-base-uncased": {"cpu_ms": cpu_ms}}
    Path("sizing/models.yaml").write_text(json.dumps(models))
    git("add", "-A")
    git("commit", "-qm", "x")
    return git("rev-parse", "HEAD")


def shell(script: str) -> int:
    """Run a script as a shell with -e does; returns its exit code."""
    for line in filter(str.strip, script.replace("\\\n", " ").splitlines()):
        program, *arguments = shlex.split(os.path.expandvars(line).partition(">>")[0])
        if program == "git":
            git(*arguments)
        elif code := run(arguments):
            return code
    return 0


@pytest.fixture
def pull_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float, str], None]:
    """Makes a repository with a base of 20 ms and a pull request of as many as are said."""

    def made(cpu_ms: float, request: str) -> None:
        monkeypatch.chdir(tmp_path)
        Path("sizing").mkdir()
        Path("sizing/request.json").write_text(request)
        git("init", "-q")
        base = commit(20.0)
        commit(cpu_ms)
        for variable in ("BASE", "CI_MERGE_REQUEST_DIFF_BASE_SHA"):
            monkeypatch.setenv(variable, base)

    return made


@pytest.mark.parametrize("cpu_ms, code", [(24.0, 3), (20.1, 0), (15.0, 0)])
@pytest.mark.parametrize("job", JOBS)
def test_a_pull_request_fails_on_a_regression_alone(
    pull_request: Callable[[float, str], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    job: str,
    cpu_ms: float,
    code: int,
) -> None:
    monkeypatch.setattr("local.size.run.run", made_up)
    pull_request(cpu_ms, REQUEST)
    sizing, telling = JOBS[job]
    assert shell("\n".join(sizing)) == code
    assert capsys.readouterr().err.startswith("regressed since" if code else "")
    assert shell(telling) == 0
    assert "| TPS per instance at band middle |" in capsys.readouterr().out


@pytest.mark.examples
@pytest.mark.parametrize("cpu_ms, code", [(24.0, 3), (20.1, 0)])
def test_so_does_one_that_is_sized_under_load(
    pull_request: Callable[[float, str], None],
    capfd: pytest.CaptureFixture[str],
    cpu_ms: float,
    code: int,
) -> None:
    pull_request(cpu_ms, json.dumps({**json.loads(REQUEST), **SMALL}))
    sizing, telling = JOBS["github"]
    assert shell("\n".join(sizing)) == code
    assert ("regressed since" in capfd.readouterr().err) is (code != 0)
    assert shell(telling) == 0
