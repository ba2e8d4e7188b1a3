"""EventBridge: rules that start state machines and publish messages, which moto's rules can't.

Every end of an execution is an event, as on AWS; so the rules of the template react to it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError
from moto.events.models import Rule
from moto.events.utils import EventTemplateParser

from local.casing import timestamp
from local.clients import client
from local.patches import Patch
from local.stepfunctions import ExecutionEnd

_logger = logging.getLogger(__name__)


def patches() -> Iterator[Patch]:
    """What to replace in moto."""
    yield Patch(Rule, "send_to_targets", _send_to_targets)


def publish_execution_end(end: ExecutionEnd) -> None:
    """Put the event ``Step Functions Execution Status Change``."""
    detail = {
        "executionArn": end.execution_arn,
        "stateMachineArn": end.state_machine_arn,
        "name": end.name,
        "status": end.status,
        "input": end.input,
        "output": end.output,
        "error": end.error,
        "cause": end.cause,
    }
    publish("aws.states", "Step Functions Execution Status Change", detail)


def publish(source: str, detail_type: str, detail: Mapping[str, Any]) -> None:
    """Put an event on the default bus."""
    client("events").put_events(
        Entries=[{"Source": source, "DetailType": detail_type, "Detail": json.dumps(detail)}]
    )


def _send_to_targets(
    rule: Any, original_event: Mapping[str, Any], transform_input: bool = True
) -> None:
    del transform_input  # of replays, which there are none of
    if not rule.event_pattern.get_pattern() or not rule.event_pattern.matches_event(original_event):
        return
    event = {
        **{name: value for name, value in original_event.items() if name != "ingestion-time"},
        "time": timestamp(datetime.fromtimestamp(float(original_event["time"]), UTC)),
    }
    for target in rule.targets:
        arn = str(target["Arn"])
        service = arn.split(":")[2]
        try:
            given = json.dumps(_input(target, event, original_event))
            if service == "states":
                client("stepfunctions").start_execution(stateMachineArn=arn, input=given)
            elif service == "sns":
                client("sns").publish(TopicArn=arn, Message=given)
            else:
                _logger.info("rule %s: target %s is not local", rule.name, arn)
        except ClientError:
            _logger.exception("rule %s could not reach %s", rule.name, arn)


def _input(
    target: Mapping[str, Any], event: Mapping[str, Any], original_event: Mapping[str, Any]
) -> Any:
    if "Input" in target:
        return json.loads(target["Input"])
    if "InputPath" in target:
        value: Any = event
        for part in target["InputPath"].removeprefix("$").strip(".").split("."):
            value = value[part] if part else value
        return value
    if transformer := target.get("InputTransformer"):
        return EventTemplateParser.parse(
            input_template=transformer["InputTemplate"],
            input_paths_map=transformer.get("InputPathsMap", {}),
            event=dict(original_event),  # type: ignore[arg-type] # any event is one of moto's
        )
    return event
