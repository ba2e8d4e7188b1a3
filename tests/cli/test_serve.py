"""``endpoint-sizer serve``: what it prints, how it ends, and what it says of bad arguments."""

from __future__ import annotations

import io
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from endpoint_sizer import serve
from endpoint_sizer.__main__ import run
from endpoint_sizer.layout import Packed
from local.endpoint.behaviour import ModelBehaviour
from local.endpoint.figures import LiveFigures
from local.endpoint.instance_types import Processors

ROOT = Path(__file__).parents[2]
DISTILBERT = "distilbert-base-uncased"


def test_it_prints_how_to_call_it_and_its_figures_until_ctrl_c() -> None:
    arguments = ["--model", DISTILBERT, "--type", "ml.m5.12xlarge", "--count", "2"]
    command = subprocess.Popen(
        [sys.executable, "-m", "endpoint_sizer", "serve", *arguments],
        # Of a user who works with AWS.
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT / "cli"),
            "AWS_PROFILE": "that-is-not-here",
            "HTTP_PROXY": "http://127.0.0.1:9",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with command:
        assert command.stdout is not None
        printed = ""
        for line in command.stdout:
            printed += line
            if "CPUUtilization" in line:
                break
        invocation = re.search(r"^  curl .*?'$", printed, re.DOTALL | re.MULTILINE)
        assert invocation
        answer = subprocess.run(
            ["bash", "-c", invocation[0]], capture_output=True, text=True, timeout=300, check=False
        )
        assert answer.stdout == '[{"label":"POSITIVE","score":0.9998}]'
        python = re.search(r"^  python3 (-c '.*')$", printed, re.DOTALL | re.MULTILINE)
        exports = re.findall(r"export (.*)", printed)
        assert python
        answer = subprocess.run(
            ["bash", "-c", f"{' '.join(exports)} {shlex.quote(sys.executable)} {python[1]}"],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert "POSITIVE" in answer.stdout, answer.stderr
        # As a terminal does it: to the whole group.
        os.killpg(command.pid, signal.SIGINT)
        _, errors = command.communicate(timeout=300)
    assert command.returncode == 130
    assert errors == "interrupted: nothing is left running\n"
    assert f"Endpoint {DISTILBERT}: 2 x ml.m5.12xlarge (48 vCPUs each)" in printed
    assert re.search(r"CPUUtilization 0 % of 4800 % \(0\.0 %\)  TPS 0\.0  errors 0", printed)


GOOD = {"--model": "fast-ranker", "--type": "ml.m5.large", "--count": "1"}


@pytest.mark.parametrize(
    "changed, complaint",
    [
        ({"--model": "gpt"}, r"model 'gpt' is not in .*models\.yaml; known: distilbert.*, slow-"),
        ({"--model": ""}, r"model '' is not in .*models\.yaml; known: distilbert"),
        ({"--type": ""}, r"instance type '' must start with ml\."),
        ({"--type": "m5.large"}, r"instance type 'm5\.large' must start with ml\."),
        ({"--type": "ml.m5.huge"}, r"'ml\.m5\.huge' is unknown; known of ml\.m5: .*ml\.m5\.large"),
        ({"--type": "ml.m55.large"}, r"'ml\.m55\.large' is unknown; known families are .*ml\.m5,"),
        ({"--count": "0"}, r"'--count': 0 is not in the range 1<=x<=1000"),
        ({"--count": "many"}, r"'--count': 'many' is not a valid integer"),
        ({"--count": ""}, r"'--count': '' is not a valid integer"),
        ({"--port": "http"}, r"'--port': 'http' is not a valid integer"),
        ({"--port": "65536"}, r"'--port': 65536 is not in the range"),
        ({"--models": "nope.yaml"}, r"nope\.yaml: No such file"),
        ({"--colour": "red"}, r"No such option '--colour'"),
    ],
)
def test_a_bad_argument_is_one_line_and_64(
    changed: dict[str, str], complaint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [part for pair in (GOOD | changed).items() for part in pair]
    assert run(["serve", *arguments]) == 64
    output = capfd.readouterr()
    assert output.out == ""
    assert re.fullmatch(rf"error: .*{complaint}.*\n", output.err), output.err


@pytest.mark.parametrize("missing", GOOD)
def test_a_missing_option_is_named(missing: str, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = [part for pair in GOOD.items() if pair[0] != missing for part in pair]
    assert run(["serve", *arguments]) == 64
    assert f"Missing option '{missing}'" in capfd.readouterr().err


def test_an_endpoint_that_fails_is_1_with_its_reason(capfd: pytest.CaptureFixture[str]) -> None:
    arguments = [part for pair in (GOOD | {"--model": "broken-container"}).items() for part in pair]
    assert run(["serve", *arguments]) == 1
    output = capfd.readouterr()
    assert output.out == "Endpoint broken-container: 1 x ml.m5.large (2 vCPUs each)\n"
    assert re.fullmatch(
        r"error: broken-container is Failed: The primary container .*\n", output.err
    )


def test_its_figures_break_between_figures_alone() -> None:
    live = LiveFigures(1234.5, 1234.5, 0.0, 61.0, tuple([2928.0] * 8))
    figures = serve._figures(live, Processors(48, 0, 196_608), ModelBehaviour())
    for width in (20, 60, 200):
        console = Console(file=io.StringIO(), width=width)
        with console.capture() as shown:
            console.print(Packed(figures))
        rest = shown.get()
        for figure in figures:
            if len(figure) <= width - 2:
                assert figure in rest
