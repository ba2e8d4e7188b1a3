"""The fault matrix is whole; ``make faults-fast`` runs a part of it, ``make faults`` all."""

from __future__ import annotations

from collections import Counter

import pytest

from local.cloudformation import load_template
from local.embedded import ROOT
from tests.faults.cases import (
    CLEAN_UP,
    ERROR_NAMES,
    FAULTS_OF_A_CALL,
    FAULTS_OF_A_FUNCTION,
    PROBE,
    SIZING,
    STATES,
    Case,
    FunctionCall,
    Scenario,
    all_cases,
    fast_cases,
    faults_of,
    in_functions,
    integration,
    resources,
)
from tests.faults.check import Report
from tests.faults.run import calls_of_functions, run_cases
from tools.permissions import IAM_ACTIONS, IAM_SERVICES, grants

CASES = {case.name: case for case in fast_cases()}


def test_every_state_that_calls_something_meets_every_fault() -> None:
    for machine in (SIZING, PROBE):
        met = [case for case in all_cases({}) if case.machine == machine and case.state]
        assert {(case.state, case.fault) for case in met} == {
            (state, fault) for state in resources(machine) for fault in faults_of(machine, state)
        }
    assert {case.state for case in all_cases({}) if case.machine == CLEAN_UP} == set(
        resources(CLEAN_UP)
    )


def test_every_integration_has_its_errors_named() -> None:
    called = {each for machine in (SIZING, PROBE, CLEAN_UP) for each in resources(machine).values()}
    assert {integration(each) for each in called} <= set(ERROR_NAMES)


def test_no_two_cases_have_the_same_name() -> None:
    assert Counter(case.name for case in all_cases({})).most_common(1)[0][1] == 1


def test_the_fast_part_has_each_kind_of_case() -> None:
    in_states = [case for case in CASES.values() if case.machine != CLEAN_UP and case.state]
    assert {case.name.partition(":")[0] for case in in_states} == {*[*STATES][::2]}
    assert {case.fault for case in in_states} >= set(FAULTS_OF_A_FUNCTION)
    assert any(case.scenario.metrics for case in CASES.values())
    assert any(case.scenario.load_tests for case in CASES.values())
    assert any(case.cleaned_up_later for case in CASES.values())


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> dict[FunctionCall, Scenario]:
    return calls_of_functions(tmp_path_factory.mktemp("calls"))


#: Allowed, and no call of its own: logs, what comes with a create call, how S3 says "missing". And
#: what is asked for only where the first of two lists lacks a quota.
NO_CALL = {
    *("logs:CreateLogStream", "logs:PutLogEvents", "sagemaker:AddTags", "iam:PassRole"),
    *("s3:ListBucket", "servicequotas:ListAWSDefaultServiceQuotas"),
    *("kms:Decrypt", "kms:GenerateDataKey"),  # of an encrypted topic
    # Of the sweep alone, where they keep nothing: tests/unit/functions/test_remove_leftovers.py.
    *("logs:DescribeLogGroups", "logs:DeleteLogGroup"),
    # What Application Auto Scaling does in the name of who sets up a policy.
    *("cloudwatch:PutMetricAlarm", "cloudwatch:DescribeAlarms", "cloudwatch:DeleteAlarms"),
    "iam:CreateServiceLinkedRole",
    # Of captured requests, which none of the matrix sends.
    *("s3:DeleteObject", "s3:DeleteObjectVersion"),
}
#: Of a request that gives no rate, which none of the matrix is: they are met one by one in
#: tests/unit/functions/test_resolve_request_production.py.
OF_PRODUCTION = {"cloudwatch:GetMetricData"}


def actions(call: FunctionCall) -> tuple[str, ...]:
    service, operation, *_ = call.call.split()
    name = f"{IAM_SERVICES.get(service, service)}:{operation}"
    return IAM_ACTIONS.get(name, (name,))


@pytest.mark.faults
def test_every_call_that_a_function_may_make_meets_every_fault(
    calls: dict[FunctionCall, Scenario],
) -> None:
    made: dict[str, set[str]] = {}
    for call in calls:
        made.setdefault(call.function, set()).update(actions(call))
    template = load_template(ROOT / "template.yaml")
    for logical_id, resource in template["Resources"].items():
        # The matrix is about sizings: PlanNight is at work around them, CloudFormation calls SetUp.
        others = ("PlanNightFunction", "SetUpFunction")
        if resource["Type"] == "AWS::Serverless::Function" and logical_id not in others:
            role = logical_id.removesuffix("Function") + "Role"
            allowed = {each.action for each in grants(template, role)}
            name = resource["Properties"]["FunctionName"]["Fn::Sub"].partition("-")[2]
            elsewhere = NO_CALL | (OF_PRODUCTION if name == "resolve-request" else set())
            assert allowed - elsewhere == made.get(name, set()), name
    met = Counter(case.call for case in in_functions(calls))
    assert met == dict.fromkeys(calls, len(FAULTS_OF_A_CALL))


@pytest.fixture(scope="module")
def reports(
    calls: dict[FunctionCall, Scenario], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Report]:
    """Of the fast part, and of seven calls of functions, each with another fault."""
    cases = [*CASES.values(), *list(in_functions(calls))[::46]]
    ran = run_cases(cases, tmp_path_factory.mktemp("faults"))
    return {report.case.name: report for report in ran}


@pytest.mark.faults
@pytest.mark.parametrize("case", [*CASES.values()], ids=[*CASES])
def test_nothing_is_left_and_nothing_wrong_is_reported(
    case: Case, reports: dict[str, Report]
) -> None:
    assert reports[case.name].faults == ()


@pytest.mark.faults
def test_nor_where_a_function_can_not_make_its_call(reports: dict[str, Report]) -> None:
    of_calls = {name: each.faults for name, each in reports.items() if each.case.call}
    assert {each.case.fault for each in reports.values() if each.case.call} == set(FAULTS_OF_A_CALL)
    assert of_calls == dict.fromkeys(of_calls, ())


@pytest.mark.faults
def test_nothing_is_left_of_anyone(reports: dict[str, Report]) -> None:
    assert reports["the sweep at last"].faults == ()
