"""make endpoint: what it prints, how it ends, and what it says of bad arguments."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from local.endpoint.command import main
from local.endpoint.instance_types import Processors, UnknownInstanceTypeError, processors

ROOT = Path(__file__).parents[2]
DISTILBERT = "distilbert-base-uncased-finetuned-sst-2-english"


def test_it_prints_how_to_call_it_and_its_figures_until_ctrl_c() -> None:
    arguments = ["--model", DISTILBERT, "--type", "ml.m5.12xlarge", "--count", "2"]
    command = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from local.endpoint.command import main; sys.exit(main(sys.argv[1:]))",
            *arguments,
        ],
        cwd=ROOT,
        # Of a user who works with AWS.
        env={**os.environ, "AWS_PROFILE": "that-is-not-here", "HTTP_PROXY": "http://127.0.0.1:9"},
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
            ["bash", "-c", invocation[0]], capture_output=True, text=True, timeout=10, check=False
        )
        assert answer.stdout == '[{"label":"POSITIVE","score":0.9998}]'
        python = re.search(r"^  python3 (-c '.*')$", printed, re.DOTALL | re.MULTILINE)
        exports = re.findall(r"export (.*)", printed)
        assert python
        answer = subprocess.run(
            ["bash", "-c", f"{' '.join(exports)} {sys.executable} {python[1]}"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert "POSITIVE" in answer.stdout, answer.stderr
        # As a terminal does it: to the whole group.
        os.killpg(command.pid, signal.SIGINT)
        _, errors = command.communicate(timeout=10)
    assert command.returncode == 0
    assert errors == ""
    assert f"Endpoint {DISTILBERT}: 2 x ml.m5.12xlarge (48 vCPUs each)" in printed
    assert re.search(r"CPUUtilization 0 % of 4800 % \(0\.0 %\)  TPS 0\.0  errors 0", printed)


GOOD = {"--model": "fast-ranker", "--type": "ml.m5.large", "--count": "1"}


@pytest.mark.parametrize(
    "changed, complaint",
    [
        ({"--model": "gpt"}, r"model 'gpt' is not in .*models\.yaml; known: distilbert.*, slow-"),
        ({"--model": ""}, r"MODEL \(--model\) is missing; known: distilbert"),
        ({"--type": ""}, r"TYPE \(--type\) is missing"),
        ({"--type": "m5.large"}, r"instance type 'm5\.large' must start with ml\."),
        ({"--type": "ml.m5.huge"}, r"'ml\.m5\.huge' is unknown; known of ml\.m5: .*ml\.m5\.large"),
        ({"--type": "ml.m55.large"}, r"'ml\.m55\.large' is unknown; known families are .*ml\.m5,"),
        ({"--count": "0"}, r"COUNT \(--count\) must be a whole number from 1 to 1000, got '0'"),
        ({"--count": "many"}, r"COUNT \(--count\) must be a whole number .* got 'many'"),
        ({"--count": ""}, r"COUNT \(--count\) must be a whole number .* got ''"),
        ({"--port": "http"}, r"--port must be a whole number from 0 to 65535, got 'http'"),
        ({"--models": "nope.yaml"}, r"nope\.yaml: No such file"),
        ({"--colour": "red"}, r"unrecognized arguments: --colour red"),
        ({"--model": "broken-container"}, r"broken-container is Failed: The primary container"),
    ],
)
def test_a_bad_argument_is_one_line_and_exit_code_1(
    changed: dict[str, str], complaint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [part for pair in (GOOD | changed).items() for part in pair]
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert main(arguments) == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    errors = capfd.readouterr().err
    assert re.fullmatch(rf"endpoint: .*{complaint}.*\n", errors), errors


def test_processors_are_those_of_ec2() -> None:
    assert processors("ml.m5.12xlarge") == Processors(vcpus=48, gpus=0, memory_mib=196608)
    assert processors("ml.g5.12xlarge") == Processors(vcpus=48, gpus=4, memory_mib=196608)
    with pytest.raises(UnknownInstanceTypeError):
        processors("ml.m5.13xlarge")
