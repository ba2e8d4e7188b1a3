"""The fast part of the fault matrix; ``make faults`` runs all of it."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.faults.cases import (
    CLEAN_UP,
    ERROR_NAMES,
    FAULTS,
    SIZING,
    STATES,
    Case,
    all_cases,
    fast_cases,
    integration,
    resources,
)
from tests.faults.check import Report
from tests.faults.run import run_cases

CASES = {case.name: case for case in fast_cases()}


def test_every_state_that_calls_something_meets_every_fault() -> None:
    met = Counter(case.state for case in all_cases() if case.machine == SIZING and case.state)
    assert met == dict.fromkeys(resources(SIZING), len(FAULTS))
    assert {case.state for case in all_cases() if case.machine == CLEAN_UP} == set(
        resources(CLEAN_UP)
    )


def test_every_integration_has_its_errors_named() -> None:
    called = {*resources(SIZING).values(), *resources(CLEAN_UP).values()}
    assert {integration(each) for each in called} <= set(ERROR_NAMES)


def test_no_two_cases_have_the_same_name() -> None:
    assert Counter(case.name for case in all_cases()).most_common(1)[0][1] == 1


def test_the_fast_part_has_each_kind_of_case() -> None:
    in_states = [case for case in CASES.values() if case.machine == SIZING and case.state]
    assert {case.state for case in in_states} == {*[*STATES][::2]}
    assert {case.fault for case in in_states} == set(FAULTS)
    assert any(case.scenario.metrics for case in CASES.values())
    assert any(case.scenario.load_tests for case in CASES.values())
    assert any(case.cleaned_up_later for case in CASES.values())


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    ran = run_cases(list(CASES.values()), tmp_path_factory.mktemp("faults"))
    return {report.case.name: report for report in ran}


@pytest.mark.slow
@pytest.mark.parametrize("case", [*CASES.values()], ids=[*CASES])
def test_nothing_is_left_and_nothing_wrong_is_reported(
    case: Case, reports: dict[str, Report]
) -> None:
    assert reports[case.name].faults == ()


@pytest.mark.slow
def test_nothing_is_left_of_anyone(reports: dict[str, Report]) -> None:
    assert reports["the sweep at last"].faults == ()
