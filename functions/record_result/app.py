"""RecordResult: writes result.json and report.html, and says what a sizing has come to.

It is the way out of every sizing, so nothing in its input makes it fail: what can't be read is
left out, and the result says so.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import BaseModel, ValidationError

from aws import load_test_records, model_packages, parameters, s3_documents, sizing_table
from aws.availability import naming_errors
from aws.environment import Environment
from aws.telemetry import MetricUnit, logger, publish
from report.timeline import Timeline, read_timeline
from sizing.clean_up import names
from sizing.load_test.cost import sizing_cost
from sizing.load_test.observation import LoadTestRecord
from sizing.request.sizing import Sizing
from sizing.result import change, events, history, message
from sizing.result.failure import Failure, failure
from sizing.result.result import Ending, Execution, Result, build_result, tidy
from sizing.search.answer import Answer, Status

_Model = TypeVar("_Model", bound=BaseModel)

_WHY = "the log of the function that records results says why."
_NOT_IN_HISTORY = (
    "This sizing could not be put into the history, so the next one of the model does not start "
    f"where it ended: {_WHY}"
)
_NOT_COMPARED = (
    f"The history could not be read, so this result is compared with no earlier one: {_WHY}"
)
_NO_REPORT = f"The report could not be made: {_WHY}"
_NOT_AN_ANSWER = f"The parameter with the group's answer could not be written: {_WHY}"
_NOT_IN_REGISTRY = f"The model package's metadata could not be written: {_WHY}"
_NOT_LATEST = f"The copy under latest/ could not be written: {_WHY}"


@naming_errors
def handler(event: Mapping[str, Any], _context: LambdaContext) -> dict[str, Any]:
    """Record a sizing's result.

    Args:
        event: ``execution`` {arn, name, started_at}, ``request``, ``sizing``, ``estimate``,
            ``history`` (the load tests of the last round), ``answer``, ``failure`` {error, cause}
            and ``dry_run``; any may be null.

    Returns:
        ``{"status", "result_uri", "report_uri", "applies", "notify", "subject", "message",
        "detail", "failure"}``; ``report_uri`` is null if there is no report, ``failure`` {error,
        cause} if nothing failed; ``applies`` says whether an endpoint is to get the answer.
    """
    notes: list[str] = []
    event = _object(event)
    execution = _object(event.get("execution"))
    arn = execution.get("arn")
    sizing = _read(Sizing, event.get("sizing"), "sizing", notes)
    # Its own id even where nobody told who it is, and the same one if it is told again.
    known_by = arn if isinstance(arn, str) and arn else json.dumps(event, default=str)
    sizing_id = sizing.sizing_id if sizing is not None else names.sizing_id(known_by)
    logger.set_correlation_id(sizing_id)

    records = _records(sizing_id, event.get("history"), notes)
    finished_at = time.time()
    timelines = _timelines(records, notes)
    ending = Ending(
        answer=_read(Answer, event.get("answer"), "answer", notes),
        failure=_failure(event.get("failure")),
        dry_run=event.get("dry_run") is True,
        estimate=_object(_written(event.get("estimate"), "estimate", notes)) or None,
    )
    ran = Execution(
        sizing_id=sizing_id,
        finished_at=finished_at,
        started_at=_epoch(execution.get("started_at")),
        arn=_text(arn),
        request=_written(event.get("request"), "request", notes),
        cost_usd=_cost(sizing, records, finished_at),
        local=Environment.read().local,
        notes=notes,
    )
    document = build_result(ran, ending, sizing, records)
    _compare(document, sizing)
    return _recorded(document, timelines, sizing, records)


def _recorded(
    document: dict[str, Any],
    timelines: Mapping[str, Timeline],
    sizing: Sizing | None,
    records: Sequence[LoadTestRecord],
) -> dict[str, Any]:
    """Write the result first, since it is what counts, then all that it can do without."""
    environment = Environment.read()
    folder = names.sizing_folder(document["sizing"]["id"])
    result_uri = _write_result(environment, folder, document)
    page, report_uri = b"", None

    def report() -> None:
        nonlocal page, report_uri
        from report.page import render  # a report that can't even be imported is no worse

        page = render(document, timelines).encode("utf-8", "replace")
        report_uri = _write_report(environment, folder, page)

    steps: tuple[tuple[Callable[[], None], str], ...] = (
        (lambda: _remember(document, sizing, records, result_uri), _NOT_IN_HISTORY),
        (report, _NO_REPORT),
        (lambda: _answer(document, result_uri), _NOT_AN_ANSWER),
        (lambda: _tell_registry(document, result_uri), _NOT_IN_REGISTRY),
        (lambda: _latest(document, page), _NOT_LATEST),
    )
    for step, note in steps:
        try:
            step()
        except Exception:  # noqa: BLE001 - the result stands without
            logger.exception(note)
            document["notes"].append(note)
            _write_result(environment, folder, document)

    result = Result.model_validate(document)
    _publish_metrics(result)
    logger.info("result recorded", extra={"status": result.status, "load_tests": len(timelines)})
    detail = events.finished(result, result_uri=result_uri, report_uri=report_uri)
    failed = result.status is Status.FAILED
    asked = sizing.request.apply if sizing is not None else None
    return {
        "status": str(result.status),
        "result_uri": result_uri,
        "report_uri": report_uri,
        "applies": asked is not None and _is_answer(result),
        "notify": message.is_wanted(result),
        "subject": message.subject(result),
        "message": message.message(result, result_uri=result_uri, report_uri=report_uri),
        "detail": detail,
        "failure": {"error": detail["error"], "cause": detail["cause"]} if failed else None,
    }


def _publish_metrics(result: Result) -> None:
    """How many failed and regressed in all; and of each model what it needs and what that cost."""
    regressed = result.change is not None and result.change.kind is change.Kind.REGRESSED
    publish("SizingsFailed", float(result.status is Status.FAILED))
    publish("Regressions", float(regressed))
    found = history.outcome(result)
    of_the_model = (
        ("InstanceCount", found.instance_count, MetricUnit.Count),
        ("HourlyCost", found.hourly_cost_usd, MetricUnit.NoUnit),
        ("TpsPerInstance", found.tps_per_instance_at_band_middle, MetricUnit.CountPerSecond),
        ("ModelLatencyP99", found.model_latency_p99_ms, MetricUnit.Milliseconds),
        ("SizingCost", result.sizing.cost_usd, MetricUnit.NoUnit),
        ("LoadTests", result.sizing.load_tests, MetricUnit.Count),
    )
    if result.model is None or result.status is Status.DRY_RUN:
        return
    for name, value, unit in of_the_model:
        if value is not None:
            publish(name, value, unit, dimensions={"ModelKey": result.model.key})


def _answer(document: Mapping[str, Any], result_uri: str) -> None:
    """Write the answer of a model package group where infrastructure as code reads it."""
    result = Result.model_validate(document)
    answer = events.answer(result, result_uri)
    if answer is None or result.model is None:
        return
    name = names.answer_parameter(Environment.read().name_prefix, result.model.key)
    if name is not None:
        parameters.write(name, answer, "The last answer of endpoint-sizer that meets its target")


def _tell_registry(document: Mapping[str, Any], result_uri: str) -> None:
    """Write the answer into the metadata of the model package, if the stack may."""
    result = Result.model_validate(document)
    arn = result.model.package_arn if result.model is not None else None
    if arn is not None and Environment.read().writes_package_metadata and _is_answer(result):
        model_packages.describe_in_registry(arn, events.package_metadata(result, result_uri))


def _latest(document: Mapping[str, Any], page: bytes) -> None:
    """Write an answer a second time, under its model's name."""
    result = Result.model_validate(document)
    if result.model is not None and _is_answer(result):
        environment, folder = Environment.read(), names.latest_folder(result.model.key)
        _write_result(environment, folder, document)
        if page:
            _write_report(environment, folder, page)


def _is_answer(result: Result) -> bool:
    return change.is_answer(result.status)


def _compare(document: dict[str, Any], sizing: Sizing | None) -> None:
    """Put the result beside the last answer to the same question."""
    result = Result.model_validate(document)
    if sizing is None or not change.is_answer(result.status):
        return
    try:
        earlier = sizing_table.items(
            Environment.read().table_name, history.partition(sizing.model_key), newest_first=True
        )
        before = history.last_comparable(result, earlier)
    except (BotoCoreError, ClientError, ValidationError):
        logger.exception("not compared")
        document["notes"].append(_NOT_COMPARED)
        return
    found = change.compare(before, history.outcome(result), sizing.request.tolerance)
    document["change"] = tidy(found.model_dump(mode="json"))


def _remember(
    document: Mapping[str, Any],
    sizing: Sizing | None,
    records: Sequence[LoadTestRecord],
    result_uri: str,
) -> None:
    """Put a sizing into the history; a dry run, or a request that was no valid one, is none."""
    result = Result.model_validate(document)
    if sizing is None or result.status is Status.DRY_RUN:
        return
    environment = Environment.read()
    ended = datetime.fromisoformat(result.sizing.finished_at).timestamp()
    summary = history.summary(
        sizing,
        result,
        records,
        result_uri=result_uri,
        expires_at=ended + environment.result_retention_seconds,
    )
    sizing_table.put(environment.table_name, summary.item())


def _write_result(environment: Environment, folder: str, document: Mapping[str, Any]) -> str:
    key = folder + names.RESULT_FILE
    return s3_documents.write_json(environment.results_bucket, key, document)


def _write_report(environment: Environment, folder: str, page: bytes) -> str:
    key = folder + names.REPORT_FILE
    return s3_documents.write(environment.results_bucket, key, page, "text/html; charset=utf-8")


def _read(model: type[_Model], value: object, what: str, notes: list[str]) -> _Model | None:
    """A part of the event; None, with a note, if it is not what it should be."""
    if value is None:
        return None
    try:
        json.dumps(value, allow_nan=False)  # NaN is no figure
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        why = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except (TypeError, ValueError, RecursionError) as error:
        why = str(error)
    logger.warning("unreadable part of the event", extra={"part": what, "why": why})
    notes.append(f"The {what} could not be read and is left out ({why}).")
    return None


def _records(sizing_id: str, newest: object, notes: list[str]) -> tuple[LoadTestRecord, ...]:
    # JSONata gives a sequence of one as its only member.
    each_of = newest if isinstance(newest, list) else [newest]
    try:
        each_of = load_test_records.read(Environment.read().results_bucket, sizing_id, each_of)
    except (BotoCoreError, ClientError, ValueError, RecursionError) as error:
        logger.exception("records not read")
        notes.append(
            f"{names.RECORDS_FILE} could not be read ({type(error).__name__}): the load tests "
            "before the last are left out."
        )
    records = [
        _read(LoadTestRecord, each, f"load test number {number}", notes)
        for number, each in enumerate(each_of, start=1)
    ]
    return tuple(record for record in records if record is not None)


def _timelines(history: Sequence[LoadTestRecord], notes: list[str]) -> dict[str, Timeline]:
    """The load tests over time, from the files that are there."""
    timelines = {}
    for record in history:
        if not record.files.startswith("s3://"):
            continue
        bucket, prefix = s3_documents.split_uri(record.files)
        try:
            file = s3_documents.read_json(bucket, f"{prefix.rstrip('/')}/{names.LOAD_TEST_FILE}")
        except (BotoCoreError, ClientError, ValueError, RecursionError) as error:
            if record.error is None:
                why = type(error).__name__
                if isinstance(error, ClientError):
                    why = error.response["Error"]["Code"]
                notes.append(
                    f"{names.LOAD_TEST_FILE} of {record.load_test_id} could not be read ({why}): "
                    "the report does not show that load test over time."
                )
        else:
            timelines[record.load_test_id] = read_timeline(file)
    return timelines


def _cost(
    sizing: Sizing | None, history: Sequence[LoadTestRecord], finished_at: float
) -> float | None:
    """What the sizing has cost; None where a price is missing that it depends on."""
    if sizing is None:
        return None if history else 0.0
    started = {each.instance_type for each in history if each.observations or not each.error}
    prices = {each.instance_type: each.hourly_price_usd for each in sizing.candidates}
    if any(prices.get(each) is None for each in started):
        return None
    return sizing_cost(sizing, history, finished_at)


def _written(value: object, what: str, notes: list[str]) -> object:
    """A part of the event that goes into the result as it is; None if JSON can't hold it."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        notes.append(f"The {what} can't be written as JSON and is left out ({error}).")
        return None
    return value


def _failure(value: object) -> Failure | None:
    if not value:
        return None
    if not isinstance(value, Mapping):
        return failure(None, _text(value))
    return failure(_text(value.get("error")), _text(value.get("cause")))


def _object(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, default=str)


def _epoch(value: object) -> float | None:
    """Epoch seconds of an ISO 8601 time; None if it is none."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        return moment.timestamp() if moment is not None else None
    except (ValueError, OverflowError):
        return None
