"""What was measured on somebody's machine says so: the result, the report and the message."""

from __future__ import annotations

from typing import Any

import pytest

from report.page import render
from sizing.result.failure import CATALOGUE, failure, on_this_machine
from sizing.result.message import locally, message
from sizing.result.result import Ending, Execution, Result, build_result
from tests.unit.result import sample_sizings
from tests.unit.result.sample_sizings import Made

ESTIMATE = {"cost_usd": 21.4521, "minutes": 33.7, "load_tests": 3}
TEXT = "on this machine, with local endpoints; on AWS it would take up to 34 min and $21.45"


def document(made: Made, *, local: bool = True, **ending: Any) -> dict[str, Any]:
    execution = Execution(
        sizing_id=sample_sizings.SIZING_ID,
        finished_at=sample_sizings.STARTED + 100,
        started_at=sample_sizings.STARTED,
        cost_usd=0.37,
        local=local,
    )
    given = {"answer": made.answer, "failure": made.failure, "dry_run": made.dry_run, **ending}
    return build_result(execution, Ending(**given), made.sizing, made.history)


@pytest.mark.parametrize("name", sorted(set(sample_sizings.ALL) - {"dry_run"}))
def test_it_is_said_everywhere(name: str) -> None:
    made = sample_sizings.ALL[name]()
    written = document(made, estimate=ESTIMATE)
    result = Result.model_validate(written)
    assert written["local"] is True
    assert locally(result) == TEXT
    told = message(result, result_uri="result.json", report_uri=None)
    assert f"Measured:    {TEXT}\n" in told
    page = render(written, made.timelines())
    assert f"Measured {TEXT}." in page
    for text in (told, page):  # what it would cost there is told by the estimate alone
        assert "about $0.37" not in text


def test_on_aws_nothing_of_it_is_said() -> None:
    made = sample_sizings.sized()
    written = document(made, local=False, estimate=ESTIMATE)
    assert written["local"] is False
    assert locally(Result.model_validate(written)) is None
    assert "on this machine" not in render(written, made.timelines())


@pytest.mark.parametrize("estimate", [None, {}, {"cost_usd": None, "minutes": 3}])
def test_without_an_estimate_it_is_said_all_the_same(estimate: dict[str, Any] | None) -> None:
    result = Result.model_validate(document(sample_sizings.sized(), estimate=estimate))
    assert locally(result) == "on this machine, with local endpoints"


def test_a_dry_run_has_measured_nothing() -> None:
    written = document(sample_sizings.dry_run(), estimate=ESTIMATE)
    assert locally(Result.model_validate(written)) is None


@pytest.mark.parametrize("name", CATALOGUE)
def test_no_advice_leads_to_cloudwatch(name: str) -> None:
    here = on_this_machine(failure(name, "cause"))
    assert "CloudWatch under" not in here.advice
    assert here.name == name


def test_too_few_cores_are_mended_by_another_machine_not_by_a_quota() -> None:
    here = on_this_machine(failure("CapacityUnavailable", "2 instances need 3 cores"))
    assert "Service Quotas" not in here.advice
    assert "machine with more of them" in here.advice


def test_a_failure_s_advice_is_the_one_for_this_machine() -> None:
    failed = document(sample_sizings.failed(), failure=failure("SmokeTestFailed", "it said no"))
    assert "endpoint-sizer serve" in failed["error"]["advice"]
