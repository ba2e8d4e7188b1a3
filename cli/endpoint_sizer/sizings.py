"""Finds sizings of a stack: their executions, what they came to, and what the table knows."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from botocore.exceptions import ClientError

from aws import sizing_table
from aws.refusals import code_of
from endpoint_sizer.endings import WrongUse
from endpoint_sizer.printed import SizingRow
from endpoint_sizer.stack import Stack
from local.size.outcome import Outcome, outcome
from sizing.clean_up.names import REPORT_FILE, RESULT_FILE, sizing_folder, sizing_id
from sizing.errors import InvalidRequest
from sizing.request.request import Request, parse_request
from sizing.result.history import Summary, partition
from sizing.result.message import model_label
from sizing.result.result import Result

#: A history keeps a model under its kind; who asks for one may leave that out.
_KINDS: Final = ("", "model_package_group/", "hugging_face/", "model_name/")
_ID: Final = re.compile(r"[0-9a-f]{12}")
_AT_ONCE: Final = 8
RUNNING: Final = "RUNNING"


def execution_arn(stack: Stack, name: str) -> str:
    """ARN of a sizing's execution by its name."""
    return stack.sizing_machine.replace(":stateMachine:", ":execution:") + f":{name}"


def find(stack: Stack, reference: str) -> str:
    """ARN of a sizing's execution.

    Args:
        stack: The stack.
        reference: The sizing's id, or name or ARN of its execution.

    Raises:
        WrongUse: There is none.
    """
    if reference.startswith("arn:"):
        return reference
    if not _ID.fullmatch(reference):
        return execution_arn(stack, reference)
    for each in executions(stack):
        if sizing_id(each["executionArn"]) == reference:
            return str(each["executionArn"])
    # Step Functions forgets executions after 90 days; results stay longer.
    arn = result(stack, reference).sizing.execution_arn
    if arn is None:
        raise _unknown(reference, stack)
    return arn


def executions(stack: Stack, status: str | None = None) -> Iterator[dict[str, Any]]:
    """Executions of sizings, the latest first; pages are read as they are asked for."""
    wanted = {"statusFilter": status} if status else {}
    pages = stack.client("stepfunctions").get_paginator("list_executions")
    for page in pages.paginate(stateMachineArn=stack.sizing_machine, **wanted):
        yield from page["executions"]


def describe(stack: Stack, arn: str) -> dict[str, Any]:
    """A sizing's execution.

    Raises:
        WrongUse: There is none.
    """
    try:
        described: dict[str, Any] = stack.client("stepfunctions").describe_execution(
            executionArn=arn
        )
    except ClientError as error:
        if code_of(error) not in ("ExecutionDoesNotExist", "InvalidArn"):
            raise
        raise _unknown(arn.rpartition(":")[2], stack) from None
    return described


def rows(stack: Stack, *, limit: int, status: str | None, model: str | None) -> list[SizingRow]:
    """The latest sizings.

    Args:
        stack: The stack.
        limit: How many at the most.
        status: Only those that came to this, or are RUNNING.
        model: Only those of this model, by its key or name.
    """
    found: Iterator[SizingRow] = _of_executions(stack, running_only=status == RUNNING)
    if model is not None:
        found = map(_of_summary, history(stack, model))
    matching = (row for row in found if status is None or row.status == status)
    return list(itertools.islice(matching, limit))


def history(stack: Stack, model: str) -> Iterator[Summary]:
    """The sizings of a model that have ended, the latest first.

    Args:
        stack: The stack.
        model: Its key (``model_package_group/sentiment``), or its name alone.

    Raises:
        WrongUse: There is none.
    """
    for kind in _KINDS:
        items = sizing_table.items(stack.table, partition(kind + model), newest_first=True)
        if (first := next(items, None)) is not None:
            return map(Summary.model_validate, itertools.chain([first], items))
    raise WrongUse(
        f"--model {model}: no sizing of it has ended; name a model package group, a model of the "
        "Hugging Face hub, a SageMaker model or a key of the history"
    )


def since(stack: Stack, start: str) -> list[Summary]:
    """The sizings in the history that started at a time or later.

    Args:
        stack: The stack.
        start: ISO 8601, UTC, as the history has it.
    """
    pages = (
        stack.client("dynamodb")
        .get_paginator("scan")
        .paginate(
            TableName=stack.table,
            FilterExpression="begins_with(pk, :prefix) AND sk >= :first",
            ExpressionAttributeValues={":prefix": {"S": partition("")}, ":first": {"S": start}},
        )
    )
    found = [each for page in pages for each in page["Items"]]
    return [Summary.model_validate(sizing_table.plain(each)) for each in found]


def latest(stack: Stack) -> str:
    """Id of the sizing that has a result and started last.

    Raises:
        WrongUse: There is none.
    """
    for each in executions(stack):
        this = sizing_id(each["executionArn"])
        if each["status"] != RUNNING and _has_result(stack, this):
            return this
    raise WrongUse(f"stack {stack.name} has no sizing with a result yet")


def id_of(stack: Stack, reference: str) -> str:
    """Id of a sizing, which may be named by its execution's name or ARN as well."""
    if _ID.fullmatch(reference):
        return reference
    return sizing_id(reference if reference.startswith("arn:") else execution_arn(stack, reference))


def result_bytes(stack: Stack, sizing: str) -> bytes:
    """``result.json`` of a sizing.

    Raises:
        WrongUse: There is none.
    """
    return _file(stack, sizing, RESULT_FILE, "result")


def report_bytes(stack: Stack, sizing: str) -> bytes:
    """``report.html`` of a sizing.

    Raises:
        WrongUse: There is none.
    """
    return _file(stack, sizing, REPORT_FILE, "report")


def _file(stack: Stack, sizing: str, name: str, what: str) -> bytes:
    s3 = stack.client("s3")
    try:
        answer = s3.get_object(Bucket=stack.bucket, Key=sizing_folder(sizing) + name)
    except s3.exceptions.NoSuchKey:
        raise WrongUse(
            f"sizing {sizing} has no {what} in stack {stack.name}: it runs, was stopped, or is "
            "another stack's (see endpoint-sizer list)"
        ) from None
    return bytes(answer["Body"].read())


def result(stack: Stack, sizing: str) -> Result:
    """What a sizing came to.

    Raises:
        WrongUse: There is no result.
    """
    return Result.model_validate_json(result_bytes(stack, sizing))


def ended(stack: Stack, execution: Mapping[str, Any]) -> Outcome:
    """What an execution that no longer runs came to, with its files."""
    return outcome(stack.client("s3"), stack.bucket, execution)


def request_of(execution: Mapping[str, Any]) -> Request | None:
    """The request of an execution; None if it is not valid, which the sizing will say itself."""
    try:
        return parse_request(_object(execution.get("input")))
    except InvalidRequest:
        return None


def uris(stack: Stack, arn: str, outcome: Outcome) -> list[str]:
    """Where the files of a sizing are."""
    folder = f"s3://{stack.bucket}/{sizing_folder(sizing_id(arn))}"
    return [folder + name for name in outcome.files]


def _has_result(stack: Stack, sizing: str) -> bool:
    key = sizing_folder(sizing) + RESULT_FILE
    listed = stack.client("s3").list_objects_v2(Bucket=stack.bucket, Prefix=key, MaxKeys=1)
    return bool(listed["KeyCount"])


def _of_executions(stack: Stack, *, running_only: bool) -> Iterator[SizingRow]:
    found = executions(stack, RUNNING if running_only else None)
    with ThreadPoolExecutor(_AT_ONCE) as asking:
        while some := list(itertools.islice(found, _AT_ONCE)):
            arns = [each["executionArn"] for each in some]
            yield from map(_of_execution, asking.map(lambda arn: describe(stack, arn), arns))


def _of_execution(execution: Mapping[str, Any]) -> SizingRow:
    arn, output = execution["executionArn"], _object(execution.get("output"))
    request = _object(execution.get("input"))
    target = request.get("target")
    stopped = execution.get("stopDate")
    return SizingRow(
        sizing_id=sizing_id(arn),
        execution_arn=arn,
        status=output.get("status") or execution["status"],
        model=model_label(request),
        target_tps=target.get("tps") if isinstance(target, dict) else None,
        instance_type=output.get("instance_type"),
        instance_count=output.get("instance_count"),
        hourly_cost_usd=output.get("hourly_cost_usd"),
        change=output.get("change"),
        started_at=execution["startDate"].isoformat(timespec="seconds"),
        finished_at=stopped.isoformat(timespec="seconds") if stopped else None,
        error=execution.get("error"),
    )


def _of_summary(found: Summary) -> SizingRow:
    return SizingRow(
        sizing_id=found.sizing_id,
        execution_arn=found.execution_arn,
        status=found.status,
        model=found.model_key,
        target_tps=found.target_tps,
        instance_type=found.instance_type,
        instance_count=found.instance_count,
        hourly_cost_usd=found.hourly_cost_usd,
        change=None,
        started_at=found.started_at,
        finished_at=found.finished_at,
        error=found.error,
    )


def _object(text: str | None) -> dict[str, Any]:
    try:
        decoded = json.loads(text or "{}")
    except ValueError:
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _unknown(reference: str, stack: Stack) -> WrongUse:
    return WrongUse(f"stack {stack.name} has no sizing {reference} (see endpoint-sizer list)")
