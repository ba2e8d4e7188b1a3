"""Links into CloudWatch's console: the right endpoint, and the right time."""

from __future__ import annotations

from urllib.parse import unquote

import pytest

from report.console import log_link, metrics_link
from sizing.clean_up import names
from sizing.result.result import Result
from tests.unit.result import sample_sizings

CONSOLE = "https://us-east-1.console.aws.amazon.com/cloudwatch/home?region=us-east-1"


def sized(**sizing: object) -> Result:
    document = sample_sizings.sized().document()
    document["sizing"] |= sizing
    return Result.model_validate(document)


def endpoint(result: Result, instance_type: str) -> str:
    machine = (result.sizing.execution_arn or "").split(":")[6]
    return names.resource_name(names.name_prefix(machine), result.sizing.id, instance_type)


def test_metrics_are_those_of_the_endpoint_over_its_load_tests() -> None:
    result = sized()
    candidate = result.candidates[0]
    first, second = (
        candidate.load_tests[0].model_copy(update={"started_at": start, "finished_at": end})
        for start, end in (
            ("2026-11-25T10:59:30Z", "2026-11-25T11:05:00Z"),
            ("2026-11-25T11:06:00Z", "2026-11-25T11:09:30Z"),
        )
    )
    candidate = candidate.model_copy(update={"load_tests": (first, second)})
    link = metrics_link(result, candidate)
    name = endpoint(result, candidate.instance_type)
    of_endpoint = f"~'EndpointName~'{name}~'VariantName~'AllTraffic~(stat~'"
    assert link == (
        f"{CONSOLE}#metricsV2:graph=~(metrics~("
        f"~(~'AWS*2fSageMaker~'Invocations{of_endpoint}Sum))"
        f"~(~'AWS*2fSageMaker~'ModelLatency{of_endpoint}p99))"
        f"~(~'*2faws*2fsagemaker*2fEndpoints~'CPUUtilization{of_endpoint}Average)))"
        "~view~'timeSeries~stacked~false~region~'us-east-1~period~60"
        "~start~'2026-11-25T10*3a57*3a30.000Z~end~'2026-11-25T11*3a11*3a30.000Z)"
    )


def test_a_load_test_that_never_ran_has_no_metrics() -> None:
    result = sized()
    candidate = result.candidates[0]
    never = candidate.load_tests[0].model_copy(update={"started_at": None})
    assert metrics_link(result, candidate.model_copy(update={"load_tests": (never,)})) is None
    without = candidate.model_copy(update={"load_tests": ()})
    assert (metrics_link(result, without), log_link(result, without)) == (None, None)


def test_the_log_group_is_written_as_the_page_reads_it() -> None:
    result = sized()
    candidate = result.candidates[0]
    link = log_link(result, candidate) or ""
    page, _, group = link.partition("#logsV2:log-groups/log-group/")
    assert page == CONSOLE
    assert "/" not in group
    read = unquote(unquote(group.replace("$", "%")))
    assert read == f"/aws/sagemaker/Endpoints/{endpoint(result, candidate.instance_type)}"


@pytest.mark.parametrize("arn", [None, "arn:aws:states:x:1:execution:a", "javascript:alert(1)"])
def test_without_an_execution_there_is_no_link(arn: str | None) -> None:
    result = sized(execution_arn=arn)
    candidate = result.candidates[0]
    assert metrics_link(result, candidate) is None
    assert log_link(result, candidate) is None


def test_a_local_sizing_has_no_link() -> None:
    result = sized().model_copy(update={"local": True})
    candidate = result.candidates[0]
    assert metrics_link(result, candidate) is None
