"""Small state machines, made and started by tests of the interpreter."""

from __future__ import annotations

import itertools
import json
from typing import Any

from tests.statemachine.stack import StackUnderTest

NUMBERS = itertools.count()


def start(stack: StackUnderTest, states: dict[str, Any], given: Any = None, **machine: Any) -> str:
    """Start a machine of these states; returns the execution's ARN."""
    client = stack.aws.client("stepfunctions")
    definition = {
        "QueryLanguage": "JSONata",
        "StartAt": next(iter(states)),
        "States": states,
        **machine,
    }
    arn = client.create_state_machine(
        name=f"test-{next(NUMBERS)}",
        definition=json.dumps(definition),
        roleArn="arn:aws:iam::123456789012:role/test",
    )["stateMachineArn"]
    return str(
        client.start_execution(stateMachineArn=arn, input=json.dumps(given or {}))["executionArn"]
    )


def output(stack: StackUnderTest, states: dict[str, Any], given: Any = None) -> Any:
    execution = stack.wait(start(stack, states, given))
    assert execution.status == "SUCCEEDED", (execution.error, execution.cause)
    return execution.output


def history(stack: StackUnderTest, arn: str) -> list[dict[str, Any]]:
    """All events of an execution, the first one first."""
    pages = stack.aws.client("stepfunctions").get_paginator("get_execution_history")
    return [event for page in pages.paginate(executionArn=arn) for event in page["events"]]


def task(resource: str, arguments: Any, **fields: Any) -> dict[str, Any]:
    return {
        "Type": "Task",
        "Resource": f"arn:aws:states:::{resource}",
        "Arguments": arguments,
        "End": True,
        **fields,
    }


DONE = {"Type": "Succeed"}
