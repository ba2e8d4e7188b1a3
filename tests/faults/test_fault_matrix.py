"""The fast part of the fault matrix; ``make faults`` runs all of it."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.faults.cases import (
    CLEAN_UP,
    ERROR_NAMES,
    FAULTS_OF_A_FUNCTION,
    PROBE,
    SIZING,
    STATES,
    Case,
    all_cases,
    fast_cases,
    faults_of,
    integration,
    resources,
)
from tests.faults.check import Report
from tests.faults.run import run_cases

CASES = {case.name: case for case in fast_cases()}


def test_every_state_that_calls_something_meets_every_fault() -> None:
    for machine in (SIZING, PROBE):
        met = [case for case in all_cases() if case.machine == machine and case.state]
        assert {(case.state, case.fault) for case in met} == {
            (state, fault) for state in resources(machine) for fault in faults_of(machine, state)
        }
    assert {case.state for case in all_cases() if case.machine == CLEAN_UP} == set(
        resources(CLEAN_UP)
    )


def test_every_integration_has_its_errors_named() -> None:
    called = {each for machine in (SIZING, PROBE, CLEAN_UP) for each in resources(machine).values()}
    assert {integration(each) for each in called} <= set(ERROR_NAMES)


def test_no_two_cases_have_the_same_name() -> None:
    assert Counter(case.name for case in all_cases()).most_common(1)[0][1] == 1


def test_the_fast_part_has_each_kind_of_case() -> None:
    in_states = [case for case in CASES.values() if case.machine != CLEAN_UP and case.state]
    assert {case.name.partition(":")[0] for case in in_states} == {*[*STATES][::2]}
    assert {case.fault for case in in_states} >= set(FAULTS_OF_A_FUNCTION)
    assert any(case.scenario.metrics for case in CASES.values())
    assert any(case.scenario.load_tests for case in CASES.values())
    assert any(case.cleaned_up_later for case in CASES.values())


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    ran = run_cases(list(CASES.values()), tmp_path_factory.mktemp("faults"))
    return {report.case.name: report for report in ran}


@pytest.mark.parametrize("case", [*CASES.values()], ids=[*CASES])
def test_nothing_is_left_and_nothing_wrong_is_reported(
    case: Case, reports: dict[str, Report]
) -> None:
    assert reports[case.name].faults == ()


def test_nothing_is_left_of_anyone(reports: dict[str, Report]) -> None:
    assert reports["the sweep at last"].faults == ()
