"""The README's commands from a clone to the first sizing, as a user types them."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.second_judge.ministack import ROOT, SecondJudgeError, environment_of
from tests.second_judge.stories import Side, leave_metrics
from tests.statemachine.stack import a_request

#: As many as it may take.
MOST_COMMANDS: Final = 4
_COMMAND: Final = ".venv/bin/endpoint-sizer"
_PATIENCE_SECONDS: Final = 120


def commands(readme: str) -> list[list[str]]:
    """The commands of its section on deployment, without comments.

    Raises:
        SecondJudgeError: It has none.
    """
    _, found, section = readme.partition("\n## Deploy it\n")
    block = section.partition("```\n")[2].partition("```")[0]
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    if not found or not any(lines):
        raise SecondJudgeError("README.md: no commands under 'Deploy it'")
    return [line for line in lines if line]


def follow(
    side: Side, url: str, lent: Mapping[str, str], folder: Path
) -> dict[str, tuple[int, str]]:
    """Run what the README says after the deployment, which the real SAM CLI has done.

    Args:
        side: MiniStack.
        url: Its.
        lent: The environment by which services are found that MiniStack lacks.
        folder: For the request.

    Returns:
        Exit code and output, by command.

    Raises:
        SecondJudgeError: It says more, or other, than a clone, a deployment and commands of ours.
    """
    clone, deploy, *ours = commands((ROOT / "README.md").read_text())
    if (clone[:2], deploy) != (["git", "clone"], ["make", "deploy"]):
        raise SecondJudgeError(f"README.md: {shlex.join(clone)}, {shlex.join(deploy)}")
    if len(ours) + 2 > MOST_COMMANDS or any(each[0] != _COMMAND for each in ours):
        raise SecondJudgeError(f"README.md: {[shlex.join(each) for each in ours]}")
    (folder / "request.json").write_text(json.dumps(a_request(use_history=False)))
    environment = {**environment_of(url), **lent, "PYTHONPATH": str(ROOT / "cli")}
    measured = {each["executionArn"] for each in side.executions("load-test")}
    ended = {}
    for _, *arguments in ours:
        with (
            (folder / "said.txt").open("w+") as said,
            subprocess.Popen(
                [sys.executable, "-m", "endpoint_sizer", *arguments],
                cwd=folder,
                env=environment,
                stdout=said,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while process.poll() is None and time.monotonic() < deadline:
                leave_metrics(side, measured)
                time.sleep(0.1)
            process.kill()  # one that has ended does not mind
            said.seek(0)
            ended[shlex.join(arguments)] = (process.wait(), said.read())
    return ended
