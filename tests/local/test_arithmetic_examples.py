"""examples/arithmetic: real load on the embedded AWS, and the answers that arithmetic gives.

All sizings run side by side, each of a model of its own: most of each is waiting.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.embedded import EmbeddedAws
from local.endpoint.behaviour import DEFAULT_MODELS_FILE, ModelCatalogue, load_models
from local.models import register
from sizing.clean_up import names
from sizing.request.request import parse_request
from sizing.result.result import Result
from tests.local import arithmetic_answers

pytestmark = pytest.mark.examples

ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "endpoint_sizer", "size", "--local")
#: Of a target that is not met.
EXIT_CODE = 2
#: Sized by the command itself, for its exit code.
BY_COMMAND = "limit-of-three"
ON_ONE_STACK = [each for each in arithmetic_answers.names() if each != BY_COMMAND]
#: Between one start and the next, so that the load generators don't all start at once.
APART_SECONDS = 1.5
WAIT_SCALE = 0.2
SECONDS = 900
#: Load average for each CPU over which nothing can be measured here.
BUSY_PER_CPU = 3.0
#: What a sizing says when the machine under it was too busy to measure.
TOO_BUSY = ("the load generator was the limit", "the measurement was not valid")


@dataclass(frozen=True)
class Sizings:
    """How the examples' sizings ended, and the command that ran one of them."""

    results: dict[str, Result]
    exit_code: int
    stderr: str


class Stack:
    """Sizings of examples on one embedded AWS."""

    def __init__(self, aws: EmbeddedAws) -> None:
        self._aws = aws

    def start(self, example: str) -> str:
        return str(
            self._aws.client("stepfunctions").start_execution(
                stateMachineArn=self._aws.state_machine_arn("SizingStateMachine"),
                input=json.dumps(document(example)),
            )["executionArn"]
        )

    def result(self, arn: str, deadline: float) -> Result:
        client = self._aws.client("stepfunctions")
        while client.describe_execution(executionArn=arn)["status"] == "RUNNING":
            assert time.monotonic() < deadline, f"{arn} still runs"
            time.sleep(0.5)
        bucket, _ = self._aws.stack.only("AWS::S3::Bucket")
        key = names.sizing_folder(names.sizing_id(arn)) + names.RESULT_FILE
        body = self._aws.client("s3").get_object(Bucket=self._aws.stack.ref(bucket), Key=key)
        return Result.model_validate_json(body["Body"].read())

    def left(self) -> list[str]:
        sagemaker = self._aws.client("sagemaker")
        return [
            *(each["EndpointName"] for each in sagemaker.list_endpoints()["Endpoints"]),
            *(task.task_arn for task in self._aws.tasks.running()),
        ]


def document(example: str) -> dict[str, Any]:
    """An example's request, of a model named as the example: a model is sized once at a time."""
    return {**arithmetic_answers.document(example), "model": {"model_name": example}}


def models(folder: Path) -> ModelCatalogue:
    """The local models, each example's by the example's name."""
    known = yaml.safe_load(DEFAULT_MODELS_FILE.read_text())
    for example in arithmetic_answers.names():
        known[example] = known[arithmetic_answers.document(example)["model"]["model_name"]]
    file = folder / "models.yaml"
    file.write_text(yaml.safe_dump(known))
    return load_models(file)


@contextmanager
def by_command(out: Path) -> Iterator[subprocess.Popen[str]]:
    """The command that sizes the one example, while the others are sized."""
    with subprocess.Popen(
        [*COMMAND, str(arithmetic_answers.EXAMPLES / f"{BY_COMMAND}.json"), "--out", str(out)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sizings]:
    """All examples, sized."""
    if os.getloadavg()[0] > BUSY_PER_CPU * (os.cpu_count() or 1):
        pytest.skip("other programs keep this machine too busy to measure seven endpoints at once")
    folder = tmp_path_factory.mktemp("arithmetic")
    deadline = time.monotonic() + SECONDS
    with (
        by_command(folder / "out") as command,
        EmbeddedAws(models=models(folder), logs=folder / "logs", wait_scale=WAIT_SCALE) as aws,
    ):
        stack = Stack(aws)
        started = {}
        for example in ON_ONE_STACK:
            register(aws.client("sagemaker"), parse_request(document(example)).model)
            started[example] = stack.start(example)
            time.sleep(APART_SECONDS)
        found = {example: stack.result(arn, deadline) for example, arn in started.items()}
        # Once more where this machine, busy with other things, could not measure.
        again = {
            example: stack.start(example)
            for example, result in found.items()
            if any(reason in result.reason for reason in TOO_BUSY)
        }
        found |= {example: stack.result(arn, deadline) for example, arn in again.items()}
        _, stderr = command.communicate(timeout=deadline - time.monotonic())
        assert command.returncode == EXIT_CODE, stderr
        written = (folder / "out" / names.RESULT_FILE).read_text()
        assert stack.left() == []
        found[BY_COMMAND] = Result.model_validate_json(written)
        yield Sizings(found, command.returncode, stderr)


@pytest.mark.parametrize("example", arithmetic_answers.names())
def test_the_answer_is_what_arithmetic_says(ended: Sizings, example: str) -> None:
    arithmetic_answers.check(example, ended.results[example])


def test_a_target_that_is_not_met_is_exit_code_2(ended: Sizings) -> None:
    assert ended.exit_code == EXIT_CODE
    assert ended.stderr.startswith("Target not met (limits.max_instances): ml.m5.xlarge: about 7")
    assert ended.stderr.count("\n") == 1
