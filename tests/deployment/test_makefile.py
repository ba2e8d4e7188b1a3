"""The exit codes of ``make size``, which make by itself can't give, and how it is interrupted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Stands in for the command: does what its request says.
COMMAND = """
import os, signal, sys, time
print("arguments", *sys.argv[1:], sep="|", flush=True)
what = sys.argv[2]
if what == "wait":
    received = []
    signal.signal(signal.SIGINT, lambda *_: received.append(1))
    print("waiting", os.getpid(), flush=True)
    while not received:
        time.sleep(0.05)
    time.sleep(0.5)
    print("interrupts", len(received), flush=True)
    sys.exit(1)
if what == "crash":
    raise ValueError("crashed")
if what == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if what == "said":
    sys.exit("request: is wrong")
sys.exit(int(what))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with the Makefile, an environment that counts as installed, and the stand-in."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    for folder in ("tools", "requirements", "local", ".venv/bin"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(ROOT / "tools/run_for_make.py", tmp_path / "tools")
    (tmp_path / "local/__init__.py").touch()
    (tmp_path / "local/__main__.py").write_text(COMMAND)
    for name in ("uv", "local"):
        (tmp_path / f"requirements/{name}.txt").touch()
    for name in (".uv", ".local"):
        (tmp_path / f".venv/{name}").touch()
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    return tmp_path


def environment() -> dict[str, str]:
    """This one, without what a make around the tests leaves in it."""
    asked = ("REQUEST", "MODELS", "OUT", "MODEL", "TYPE", "COUNT")
    ours = {*asked, "MAKEFLAGS", "MFLAGS", "MAKELEVEL"}
    return {name: value for name, value in os.environ.items() if name not in ours}


def make(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments],
        cwd=project,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "request_file, status",
    [("0", 0), ("1", 1), ("2", 2), ("3", 1), ("130", 1), ("crash", 1), ("said", 1), ("killed", 1)],
)
def test_make_size_ends_as_the_sizing_does(project: Path, request_file: str, status: int) -> None:
    assert make(project, "size", f"REQUEST={request_file}").returncode == status


def test_make_adds_no_word_to_success_or_error(project: Path) -> None:
    assert make(project, "size", "REQUEST=0").stderr == ""
    done = make(project, "size", "REQUEST=said")
    assert (done.returncode, done.stderr) == (1, "request: is wrong\n")


def test_the_last_run_s_status_does_not_stay(project: Path) -> None:
    assert make(project, "size", "REQUEST=2").returncode == 2
    assert make(project, "size", "REQUEST=killed").returncode == 1
    assert make(project, "size", "REQUEST=0").returncode == 0


def test_sizings_side_by_side_keep_their_own_status(project: Path) -> None:
    running = [
        subprocess.Popen(
            ["make", "size", f"REQUEST={status}"],
            cwd=project,
            env=environment(),
            stderr=subprocess.DEVNULL,
        )
        for status in (0, 1, 2, 0, 1, 2)
    ]
    assert [each.wait(timeout=60) for each in running] == [0, 1, 2, 0, 1, 2]
    assert list(project.glob(".venv/.size-status*")) == []


def test_other_goals_beside_a_sizing_are_made(project: Path) -> None:
    done = make(project, "help", "size", "REQUEST=0")
    assert done.returncode == 0
    assert "list the targets" in done.stdout
    assert "arguments|size|0" in done.stdout
    assert make(project, "help", "size", "REQUEST=1").returncode != 0


def test_an_endpoint_needs_all_of_its_variables(project: Path) -> None:
    done = make(project, "endpoint", "MODEL=m", "TYPE=ml.m5.large")
    assert done.stderr.startswith("make endpoint MODEL=<id> TYPE=<ml.x> COUNT=<n>")
    assert done.returncode != 0


def test_arguments_reach_the_command_as_they_are(project: Path) -> None:
    done = make(project, "size", "REQUEST=0", "MODELS=a b'c.yaml", 'OUT=out "1" $$HOME')
    assert done.stdout == 'arguments|size|0|--models|a b\'c.yaml|--out|out "1" $HOME\n'


def test_demo_sizes_the_example(project: Path) -> None:
    done = make(project, "demo", "OUT=elsewhere")
    assert done.stdout == "arguments|size|examples/distilbert.json|--out|elsewhere\n"


def test_a_missing_request_is_said_in_one_line(project: Path) -> None:
    done = make(project, "size")
    assert done.returncode == 1
    assert done.stderr == (
        "REQUEST is missing: make size REQUEST=<file> [MODELS=<file>] [OUT=<dir>]\n"
    )


def test_an_installation_that_fails_is_no_missed_target(project: Path) -> None:
    time.sleep(0.01)
    (project / "requirements/local.txt").write_text("changed\n")
    assert make(project, "size", "REQUEST=0").returncode == 1


def test_a_dry_make_runs_nothing(project: Path) -> None:
    done = make(project, "-n", "size", "REQUEST=0")
    assert "arguments|" not in done.stdout


@pytest.mark.parametrize("whole_group", [True, False], ids=["Ctrl-C", "only make"])
def test_an_interrupt_reaches_the_command_once(project: Path, whole_group: bool) -> None:
    process = subprocess.Popen(
        ["make", "size", "REQUEST=wait"],
        cwd=project,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("arguments")
    command = int(process.stdout.readline().split()[1])
    if whole_group:
        os.killpg(process.pid, signal.SIGINT)
    else:  # then the command must be told by someone else, and make must still wait for it
        os.kill(process.pid, signal.SIGINT)
        os.kill(command, signal.SIGINT)
    rest, _ = process.communicate(timeout=30)
    assert "interrupts 1" in rest
    assert process.returncode != 0
    with pytest.raises(ProcessLookupError):
        os.kill(command, 0)


def test_help_lists_every_target(project: Path) -> None:
    listed = make(project).stdout
    for name in ("demo", "size", "endpoint", "test", "lint", "build", "lock", "clean", "help"):
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
