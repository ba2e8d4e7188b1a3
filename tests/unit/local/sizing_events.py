"""Events of a sizing's executions and figures of its endpoint, as the progress is told of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from local.endpoint.figures import LiveFigures
from local.history_event import HistoryEvent
from local.size.progress import Progress
from sizing.request.request import parse_request

_EXAMPLE = Path(__file__).parents[3] / "examples" / "distilbert.json"
LOAD_TEST = {
    "load_test_id": "ml-m5-12xlarge-8-verify-2",
    "spec": {
        "endpoint_name": "endpoint-sizer-0123456789ab-ml-m5-12xlarge",
        "burst": None,
        "steps": [{"offered_tps": 1000.0}, {"offered_tps": 1142.9}],
    },
}


def begun() -> Progress:
    """A sizing of the example that has just begun, at 100 s."""
    return Progress(parse_request(json.loads(_EXAMPLE.read_text())).model_dump(mode="json"), 100.0)


def entered(state: str, machine: str = "sizing") -> HistoryEvent:
    """The sizing entered a state."""
    arn = f"arn:aws:states:us-east-1:1:execution:endpoint-sizer-{machine}:one"
    event = {"type": "TaskStateEntered", "stateEnteredEventDetails": {"name": state}}
    return HistoryEvent(arn, event)


def of_load_test(kind: str, **details: Any) -> HistoryEvent:
    """An event of the load test's execution."""
    arn = "arn:aws:states:us-east-1:1:execution:endpoint-sizer-load-test:0123-test"
    return HistoryEvent(arn, {"type": kind, **details})


def started() -> HistoryEvent:
    """The load test began."""
    details = {"executionStartedEventDetails": {"input": json.dumps(LOAD_TEST)}}
    return of_load_test("ExecutionStarted", **details)


def live(
    tps: float, utilization: float = 62.5, errors: float = 0.0, others: float = 0.0
) -> LiveFigures:
    """Live figures of the endpoint."""
    return LiveFigures(tps, tps, errors, utilization, (3000.0,), others)
