"""PlanLoadTest: decides from the load tests so far what to load-test next, if anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext

from aws.environment import Environment
from aws.telemetry import Event, logger
from sizing.clean_up import names
from sizing.endpoint.deployment import update_capacity
from sizing.load_test.observation import LoadTestRecord
from sizing.load_test.run import load_test_input
from sizing.request.sizing import Sizing
from sizing.search import search
from sizing.search.answer import Answer


class PlanLoadTestEvent(Event):
    """A sizing and its load tests so far, in the order they ran."""

    sizing: Sizing
    history: tuple[LoadTestRecord, ...]


@event_parser(model=PlanLoadTestEvent)
def handler(event: PlanLoadTestEvent, _context: LambdaContext) -> dict[str, Any]:
    """Decide the next load test.

    Returns:
        ``{"action": "LOAD_TEST", ...}`` with the request that scales the endpoint (None if it has
        that many instances) and the load test's input, or ``{"action": "DONE", "answer": ...}``.
    """
    sizing, environment = event.sizing, Environment.read()
    logger.set_correlation_id(sizing.sizing_id)
    decided = search.next_load_test(sizing, event.history)
    logger.info("load test planned", extra={"reason": decided.reason})
    if isinstance(decided, Answer):
        return {"action": "DONE", "answer": decided.model_dump(mode="json")}

    endpoint_name = names.resource_name(
        environment.name_prefix, sizing.sizing_id, decided.instance_type
    )
    of_type = [each for each in event.history if each.instance_type == decided.instance_type]
    needs_scaling = _known_count(event.history, decided.instance_type) != decided.instance_count
    return {
        "action": "LOAD_TEST",
        "reason": decided.reason,
        "plan": decided.model_dump(mode="json"),
        "endpoint_name": endpoint_name,
        "scale": update_capacity(endpoint_name, decided.instance_count) if needs_scaling else None,
        "load_test": load_test_input(
            sizing,
            decided,
            attempt=len(of_type) + 1,
            name_prefix=environment.name_prefix,
            bucket=environment.results_bucket,
        ),
    }


def _known_count(history: Sequence[LoadTestRecord], instance_type: str) -> int | None:
    """Instances that a type's endpoint has; None when that is open."""
    of_type = [each for each in history if each.instance_type == instance_type]
    if not of_type or of_type[-1].error is not None:
        return None  # scaling may have failed half-way
    last = of_type[-1]
    # The fleet of a type that the search turned away from is shrunk meanwhile, if that works.
    return last.instance_count if last is history[-1] or last.instance_count == 1 else None
