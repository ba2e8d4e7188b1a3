"""What must hold after every case, whatever went wrong in it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from sizing.clean_up import names
from tests.faults.cases import Case
from tests.faults.injection import FaultyStack, Run
from tests.statemachine.stack import Execution


@dataclass(frozen=True)
class Seen:
    """What there is to be seen of a sizing that has ended, and been cleaned up."""

    execution: Execution
    #: What of it is still there.
    left: tuple[str, ...]
    #: Subjects and texts of the messages about it.
    messages: tuple[tuple[str, str], ...]
    #: How its clean-ups ended.
    clean_ups: tuple[str, ...]
    #: Its result.json; None if there is none.
    result: Mapping[str, Any] | None


@dataclass(frozen=True)
class Report:
    """What a case came to, and what is wrong about it."""

    case: Case
    seconds: float
    #: How it ended.
    ended: str
    leaks: tuple[str, ...] = ()
    wrong_status: tuple[str, ...] = ()
    wrong_numbers: tuple[str, ...] = ()

    @property
    def faults(self) -> tuple[str, ...]:
        """All that is wrong."""
        return (*self.leaks, *self.wrong_status, *self.wrong_numbers)


def seen_of(stack: FaultyStack, run: Run, execution: Execution) -> Seen:
    """Look at a sizing through the APIs."""
    aws = stack.stack.aws
    key = names.sizing_folder(run.sizing_id) + names.RESULT_FILE
    bucket = aws.stack.ref("ResultsBucket")
    result = None
    try:
        body = aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"]
        result = json.loads(body.read())
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchKey":
            raise
    return Seen(
        execution=execution,
        left=tuple(stack.left(run)),
        clean_ups=tuple(stack.stack.wait(arn).status for arn in run.clean_ups),
        messages=tuple(each for each in stack.stack.messages() if run.arn in each[1]),
        result=result,
    )


def report(case: Case, seen: Seen, *, problems: list[str], seconds: float) -> Report:
    """Judge a case."""
    execution = seen.execution
    ended = execution.status
    if execution.status == "SUCCEEDED":
        ended += f" {execution.output['status']}"
    elif execution.error:
        ended += f" {execution.error}"
    return Report(
        case=case,
        seconds=seconds,
        ended=ended,
        leaks=tuple(f"left: {name}" for name in seen.left),
        wrong_status=(*problems, *_wrong_status(case, seen)),
        wrong_numbers=tuple(_wrong_numbers(case, seen)),
    )


def _wrong_status(case: Case, seen: Seen) -> Iterator[str]:
    """Where the execution, its result or what people were told is not what is right."""
    execution, expected = seen.execution, case.expected
    if execution.status != expected.status:
        yield f"ended {execution.status}, not {expected.status}: {execution.cause}"
        return
    told = [subject for subject, _ in seen.messages]
    if execution.status == "SUCCEEDED":
        for status in (execution.output["status"], (seen.result or {}).get("status")):
            if status != expected.name:
                yield f"came to {status}, not {expected.name}"
        if not any(subject.startswith(expected.name) for subject in told):
            yield f"nobody was told of {expected.name}: {told}"
    elif execution.status == "FAILED":
        yield from _wrong_failure(case, seen)
    elif not any(execution.status in subject for subject in told):
        yield f"nobody was told that it {execution.status}: {told}"


def _wrong_failure(case: Case, seen: Seen) -> Iterator[str]:
    error = case.expected.name
    if seen.execution.error != error:
        yield f"failed with {seen.execution.error}, not {error}: {seen.execution.cause}"
    if not seen.execution.cause:
        yield "failed without a cause"
    if case.silent:
        if not set(seen.clean_ups) & {"FAILED", "ABORTED"}:
            yield f"no alarm on clean-ups that ended {seen.clean_ups}"
    elif not any(error in subject + text for subject, text in seen.messages):
        yield f"nobody was told of {error}: {[subject for subject, _ in seen.messages]}"


def _wrong_numbers(case: Case, seen: Seen) -> Iterator[str]:
    """Where a count is reported that is not the one that is right."""
    right = case.expected.recommendation
    result = seen.result or {}
    reported = result.get("recommendation")
    if reported:
        count = (reported["instance_count"], reported["instance_type"])
        if count != right:
            yield f"result.json recommends {count}, right is {right}"
        elif not 60 <= reported["utilization_percent"] <= 70:
            yield f"result.json shows {reported['utilization_percent']} %"
        yield from _bad_windows(result, count)
    elif seen.execution.status == "SUCCEEDED" and right is not None:
        yield f"nothing is recommended, right is {right}"
    for subject, text in seen.messages:
        beginning = text[:200].rpartition(" ")[0]
        for count in re.findall(r"(\d+)(?: x)? (ml\.[a-z0-9.]+)", f"{subject}\n{beginning}"):
            if (int(count[0]), count[1]) != right:
                yield f"a message names {count}, right is {right}"


def _bad_windows(result: Mapping[str, Any], count: tuple[int, str]) -> Iterator[str]:
    """A recommendation must stand on an observation that is valid, at that very count."""
    observations = [
        seen
        for candidate in result["candidates"]
        if candidate["instance_type"] == count[1]
        for test in candidate["load_tests"]
        if test["instance_count"] == count[0]
        for seen in test["observations"]
    ]
    if not any(seen["verdict"] == "IN_BAND" for seen in observations):
        yield f"no valid observation stands behind {count}"
