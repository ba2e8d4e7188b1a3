"""PlanLoadTest: decides from the load tests so far what to load-test next, if anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import TypeAdapter

from aws import load_test_records
from aws.availability import naming_errors
from aws.environment import Environment
from aws.telemetry import Event, logger
from sizing.clean_up import names
from sizing.load_test.observation import LoadTestRecord
from sizing.load_test.run import load_test_input, record_beforehand
from sizing.request.sizing import Sizing
from sizing.search import search
from sizing.search.answer import Answer, Status

_Records = TypeAdapter(tuple[LoadTestRecord, ...])


class PlanLoadTestEvent(Event):
    """A sizing and the load tests since the last call, in the order they ran."""

    sizing: Sizing
    history: tuple[LoadTestRecord, ...]


@naming_errors
@event_parser(model=PlanLoadTestEvent)
def handler(event: PlanLoadTestEvent, _context: LambdaContext) -> dict[str, Any]:
    """Decide the next load test, and keep the records of those that ran.

    Returns:
        ``{"action": "LOAD_TEST", ...}`` with what a probe of a candidate that was probed before is
        given, save its endpoint; or ``{"action": "DONE", "answer": ..., "failure": ...}``: without
        an answer the sizing fails, by the name of the first candidate's failure.

    Raises:
        AwsUnavailable: S3 throttled or failed a call.
    """
    sizing, environment = event.sizing, Environment.read()
    logger.set_correlation_id(sizing.sizing_id)
    newest = [each.model_dump(mode="json") for each in event.history]
    records = load_test_records.read(environment.results_bucket, sizing.sizing_id, newest)
    load_test_records.write(environment.results_bucket, sizing.sizing_id, records)
    history = _Records.validate_python(records)
    decided = search.next_load_test(sizing, history)
    logger.info("load test planned", extra={"reason": decided.reason})
    if isinstance(decided, Answer):
        failure = _failure(decided, history)
        return {"action": "DONE", "answer": decided.model_dump(mode="json"), "failure": failure}

    def endpoint_name(instance_type: str) -> str:
        return names.resource_name(environment.name_prefix, sizing.sizing_id, instance_type)

    former = _former(history, decided.instance_type)
    of_type = [each for each in history if each.instance_type == decided.instance_type]
    load_test = load_test_input(
        sizing,
        decided,
        attempt=len(of_type) + 1,
        name_prefix=environment.name_prefix,
        bucket=environment.results_bucket,
    )
    return {
        "action": "LOAD_TEST",
        "reason": decided.reason,
        "endpoint_name": endpoint_name(decided.instance_type),
        "smoke_test": None,
        "former": former and {"endpoint_name": endpoint_name(former)},
        "plan": decided.model_dump(mode="json"),
        "load_test": load_test,
        "record": record_beforehand(decided, load_test),
    }


def _former(history: Sequence[LoadTestRecord], instance_type: str) -> str | None:
    """The other type that had more than one instance last: the search has turned away from it."""
    counts = {each.instance_type: each.instance_count for each in history}
    latest_first = dict.fromkeys(each.instance_type for each in reversed(history))
    fleets = (each for each in latest_first if each != instance_type and counts[each] > 1)
    return next(fleets, None)


def _failure(answer: Answer, history: Sequence[LoadTestRecord]) -> dict[str, str] | None:
    if answer.status is not Status.FAILED:
        return None
    errors = (each.error for each in history if each.error is not None)
    return {"error": next(errors, "NoCandidateMeasured"), "cause": answer.reason}
