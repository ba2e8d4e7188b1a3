"""The Makefile: what a target runs, what it installs first, and what it says when it can't."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Stands in for the command: tells its arguments, and ends as the last of them says.
COMMAND = r"""#!/bin/sh
printf 'arguments'; printf '|%s' "$@"; echo
eval "exit \${$#}"
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the Makefile, an environment that counts as installed, and the stand-in."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for folder in ("requirements", ".venv/bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    for name in ("uv", "local"):
        (tmp_path / f"requirements/{name}.txt").touch()
    for name in (".uv", ".local"):
        (tmp_path / f".venv/{name}").touch()
    command = tmp_path / ".venv/bin/endpoint-sizer"
    command.write_text(COMMAND)
    command.chmod(0o755)
    return tmp_path


def make(
    project: Path, *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run make, without what a make around the tests leaves in the environment."""
    ours = {"ARGS", "MAKEFLAGS", "MFLAGS", "MAKELEVEL"}
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    return subprocess.run(
        ["make", *arguments],
        cwd=project,
        env=inherited if environment is None else environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_demo_is_the_command_s(project: Path) -> None:
    done = make(project, "demo", "ARGS=--out 'a b' 0")
    assert (done.returncode, done.stdout, done.stderr) == (0, "arguments|demo|--out|a b|0\n", "")


def test_the_real_demo_is_the_command_s(project: Path) -> None:
    done = make(project, "demo-real", "ARGS=0")
    assert (done.returncode, done.stdout, done.stderr) == (0, "arguments|demo|--real|0\n", "")


@pytest.mark.parametrize("code", ["1", "2", "130"])
def test_a_demo_that_fails_fails_make(project: Path, code: str) -> None:
    assert make(project, "demo", f"ARGS={code}").returncode == 2


def test_the_command_is_installed_anew_when_the_project_changes(project: Path) -> None:
    assert make(project, "demo", "ARGS=0").returncode == 0
    newer = (project / ".venv/.local").stat().st_mtime + 10
    os.utime(project / "pyproject.toml", (newer, newer))
    done = make(project, "demo", "ARGS=0")
    assert "installing requirements/local.txt" in done.stdout
    assert "arguments" not in done.stdout
    assert done.returncode != 0  # there is nothing to install with


@pytest.mark.parametrize(
    "said, told",
    [
        ({}, "|1"),
        ({"PIP_INDEX_URL": "https://pip.example/simple"}, "https://pip.example/simple|1"),
        ({"UV_EXCLUDE_NEWER": "2024-01-01", "PYTHONPATH": "/elsewhere", "PIP_USER": "1"}, "|1"),
        (
            {
                "PIP_INDEX_URL": "https://pip.example/simple",
                "UV_DEFAULT_INDEX": "https://uv.example/simple",
                "UV_SYSTEM_CERTS": "0",
            },
            "https://uv.example/simple|0",
        ),
    ],
)
def test_packages_come_from_where_pip_is_told_and_are_those_pinned(
    project: Path, said: dict[str, str], told: str
) -> None:
    tools = project / ".venv/bin"
    for name, does in {
        "python": f'exec {shlex.quote(sys.executable)} "$@"',
        "uv": 'echo "$UV_DEFAULT_INDEX|$UV_SYSTEM_CERTS$UV_EXCLUDE_NEWER$PYTHONPATH${PIP_USER#0}"',
    }.items():
        (tools / name).write_text(f"#!/bin/sh\n{does}\n")
        (tools / name).chmod(0o755)
    (project / ".venv/.local").unlink()
    alone = {"PATH": os.environ["PATH"], "HOME": str(project), "PIP_CONFIG_FILE": os.devnull}
    done = make(project, "install", environment=alone | said)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.splitlines()[1:]) == {told}


def test_help_lists_every_target(project: Path) -> None:
    listed = make(project).stdout
    for name in ("install", "demo", "test", "lint", "build", "lock", "clean", "help"):
        assert f"  {name} " in listed


@pytest.mark.parametrize("name", ["python-that-is-not-there", "false"])
def test_an_unsuitable_python_is_said_in_one_line(project: Path, name: str) -> None:
    shutil.rmtree(project / ".venv")
    done = make(project, "install", f"PYTHON={name}")
    assert done.returncode != 0
    first, *_ = done.stderr.splitlines()
    assert first == (
        f"{name}: Python 3.11, 3.12 or 3.13 with its venv module is needed; name one by PYTHON="
    )
