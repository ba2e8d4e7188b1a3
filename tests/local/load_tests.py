"""Load tests for tests: short ones, and what is to be seen of how they ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.load.processes import Outcome, run_load_test
from tests.measuring import environment

#: Longer than anything takes on any machine, seconds.
PATIENCE = 120.0
#: Of tasks that may get little of a CPU that others want as well.
PATIENT = {"START_TIMEOUT_SECONDS": "120", "LEASE_SECONDS": "60"} | environment()


def specification(**fields: Any) -> dict[str, Any]:
    """A load test of one step of a few seconds."""
    return {
        "load_test_id": "test",
        "endpoint_name": "my-endpoint",
        "payloads": {"inline": [{"body": '{"inputs": "happy"}'}]},
        "request_timeout_seconds": PATIENCE,
        "metric_period_seconds": 1,
        "settle_seconds": 1,
        "steady_seconds": 2,
        "steps": [{"offered_tps": 200}],
        "workers": 1,
    } | fields


def long_specification(**fields: Any) -> dict[str, Any]:
    """A load test that goes on for longer than any test waits."""
    return specification(steady_seconds=120, workers=2) | fields


def run(
    specification: Mapping[str, Any],
    *,
    url: str,
    directory: Path,
    environment: Mapping[str, str] | None = None,
) -> Outcome:
    """Run a load test to its end, with patience: see ``run_load_test``."""
    return run_load_test(
        specification,
        url=url,
        directory=directory,
        environment=PATIENT | dict(environment or {}),
        timeout=5 * PATIENCE,
    )


def completed(outcome: Outcome) -> dict[str, Any]:
    """The document of a load test that went well in every respect."""
    assert outcome.leader_exit_code == 0, outcome.logs
    assert set(outcome.worker_exit_codes) == {0}, outcome.logs
    assert outcome.document is not None
    assert outcome.document["status"] == "COMPLETED"
    assert outcome.document["error"] is None
    return outcome.document


def failed(outcome: Outcome, name: str) -> dict[str, Any]:
    """The document of a load test that failed for the right reason."""
    assert outcome.document is not None, outcome.logs
    assert outcome.document["status"] == "FAILED"
    assert outcome.document["error"]["name"] == name, outcome.document["error"]
    return outcome.document
