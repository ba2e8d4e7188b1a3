"""A sizing of a model that was sized before: it starts at the count that was found then."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aws import s3_documents, sizing_table
from endpoint_sizer.__main__ import run
from local import models
from sizing.clean_up import names
from sizing.result import history, night
from tests.statemachine.stack import (
    MODELS,
    Datum,
    Execution,
    StackUnderTest,
    a_request,
    as_they_are,
    stack_under_test,
)

PROFILES_PATH = "/endpoint-sizer/profiles"
PROFILE = {name: value for name, value in a_request(use_history=True).items() if name != "model"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackUnderTest]:
    groups = dict.fromkeys(("improved", "mine", "new", "regressed", "unchanged"), MODELS["model"])
    with stack_under_test(tmp_path_factory.mktemp("stack"), MODELS | groups) as running:
        yield running


@pytest.fixture(scope="module")
def first(stack: StackUnderTest) -> Execution:
    """The sizing before."""
    return stack.run("SizingStateMachine", a_request(use_history=True))


def load_tests(result: dict[str, Any]) -> list[tuple[str, int, str]]:
    """Type, count and purpose of each load test."""
    return [
        (each["instance_type"], test["instance_count"], test["purpose"])
        for each in result["candidates"]
        for test in each["load_tests"]
    ]


def test_the_first_load_test_verifies_what_was_found_before(
    stack: StackUnderTest, first: Execution
) -> None:
    assert load_tests(stack.result(first)) == [
        ("ml.m5.xlarge", 1, "baseline"),
        ("ml.m5.xlarge", 2, "verify"),
    ]
    again = stack.run("SizingStateMachine", a_request(use_history=True))
    assert again.output["status"] == "SIZED", again.cause
    found = stack.result(again)
    assert load_tests(found) == [("ml.m5.xlarge", 2, "verify")]
    assert found["recommendation"]["instance_count"] == 2
    assert found["sizing"]["load_tests"] == 1
    # Its endpoint was created with two instances, so that nothing had to be scaled.
    assert len(stack.probes_of(again)) == 1
    assert stack.settle() == []


def test_a_fleet_that_is_turned_away_from_is_shrunk(
    stack: StackUnderTest, first: Execution
) -> None:
    # At a higher target one type's fleet of before breaks; the other type is load-tested then.
    stack.load_tests(**{r"ml-m5-xlarge-\d+-verify": "5xx"})
    changed = a_request(
        use_history=True, instance_types=["ml.m5.xlarge", "ml.c5.xlarge"], target={"tps": 270}
    )
    ended = stack.run("SizingStateMachine", changed)
    assert ended.output["status"] == "SIZED", ended.cause
    found = stack.result(ended)
    tested = load_tests(found)
    assert tested[0] == ("ml.m5.xlarge", 2, "verify")
    assert ("ml.c5.xlarge", 1, "baseline") in tested
    assert found["recommendation"]["instance_type"] == "ml.c5.xlarge"
    assert "ShrinkFormer" in stack.probed(ended)
    assert stack.settle() == []


def test_the_command_sizes_compares_and_finds_again(
    stack: StackUnderTest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def said(*arguments: str) -> Any:
        assert run([*arguments, "--output", "json"]) == 0
        return json.loads(capsys.readouterr().out)

    monkeypatch.setattr("endpoint_sizer.on_aws._LOOK_SECONDS", 0.1)
    stack.load_tests()
    first = stack.result(stack.run("SizingStateMachine", a_request(use_history=True)))
    before = first["sizing"]["id"]
    request = tmp_path / "request.json"
    request.write_text(json.dumps(a_request(use_history=True)))
    gate = ["--fail-on", "regressed", "--max-count", "2"]
    assert run(["size", str(request), "--out", str(tmp_path / "again"), *gate]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    for told in ("ml.m5.xlarge x 2 verify: starting", "writing result and report", "per hour"):
        assert told in shown.out
    again = said("show", "--latest")
    this = again["sizing"]["id"]
    assert (again["change"]["kind"], again["change"]["previous"]["sizing_id"]) == (
        "unchanged",
        before,
    )
    assert json.loads((tmp_path / "again" / "result.json").read_text()) == again
    assert said("watch", this) == again
    assert [each["sizing_id"] for each in said("list", "--limit", "2")["sizings"]] == [this, before]
    assert said("compare", before, str(tmp_path / "again"))["kind"] == "unchanged"
    assert said("costs", "--since", "1d")["models"][0]["model_key"] == "hugging_face/model"


def test_a_model_that_is_registered_is_sized_and_its_answer_is_everywhere(
    stack: StackUnderTest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.load_tests()
    stack.told = len(stack.messages())
    nights, ssm = len(stack.executions("NightlyStateMachine")), stack.aws.client("ssm")
    ssm.put_parameter(Name=f"{PROFILES_PATH}/mine", Value=json.dumps(PROFILE), Type="String")
    request = tmp_path / "request.json"
    request.write_text(json.dumps(a_request()))

    def shown_now() -> Any:
        capsys.readouterr()
        assert run(["show", "--model", "mine", "--output", "json"]) == 0
        return json.loads(capsys.readouterr().out)

    assert run(["register", "mine", str(request)]) == 0
    assert len(stack.executions("NightlyStateMachine")) == nights  # nobody has approved it
    assert run(["register", "mine", str(request), "--approve"]) == 0
    stack.wait_for_all("NightlyStateMachine")
    sagemaker = stack.aws.client("sagemaker")
    listed = sagemaker.list_model_packages(ModelPackageGroupName="mine")["ModelPackageSummaryList"]
    pending, package = sorted(each["ModelPackageArn"] for each in listed)

    shown = shown_now()
    assert (shown["status"], shown["model"]["package_arn"]) == ("SIZED", package)
    assert shown["recommendation"]["instance_count"] == 2
    [(subject, text)] = stack.news()
    assert subject.startswith("SIZED: 2 x ml.m5.xlarge")
    assert "mine" in text
    bucket = stack.aws.stack.ref("ResultsBucket")
    latest = names.latest_folder("model_package_group/mine")
    assert s3_documents.read_json(bucket, f"{latest}result.json") == shown
    answer = ssm.get_parameter(Name="/endpoint-sizer/answers/mine")["Parameter"]["Value"]
    assert json.loads(answer)["instance_count"] == 2
    described = sagemaker.describe_model_package(ModelPackageName=package)
    assert "2" in described["CustomerMetadataProperties"].values()
    # Neither that, nor what others write of an approved package, starts another sizing.
    sagemaker.update_model_package(ModelPackageArn=package, ApprovalDescription="as it was")
    assert len(stack.executions("NightlyStateMachine")) == nights + 1
    sagemaker.update_model_package(ModelPackageArn=pending, ModelApprovalStatus="Approved")
    assert len(stack.executions("NightlyStateMachine")) == nights + 2
    stack.wait_for_all("NightlyStateMachine")
    assert shown_now()["change"]["kind"] == "unchanged"
    ssm.delete_parameter(Name=f"{PROFILES_PATH}/mine")
    assert stack.settle() == []


def test_a_night_over_seven_profiles_gives_one_summary(stack: StackUnderTest) -> None:
    written = {
        "broken": "{",
        "capped": json.dumps(PROFILE),
        "improved": json.dumps(PROFILE),
        "new": json.dumps(PROFILE),
        "paused": json.dumps({**PROFILE, "enabled": False}),
        "regressed": json.dumps(PROFILE),
        "unchanged": json.dumps(PROFILE),
    }
    ssm = stack.aws.client("ssm")
    for group, content in written.items():
        ssm.put_parameter(Name=f"{PROFILES_PATH}/{group}", Value=content, Type="String")
        models.register_package(stack.aws.client("sagemaker"), group)
    stack.load_tests()
    sized_before = ["improved", "regressed", "unchanged"]
    before = stack.run("NightlyStateMachine", {"profiles": sized_before})
    assert before.status == "SUCCEEDED", before.cause
    table = stack.aws.stack.ref("SizingTable")
    dear = {
        "pk": history.partition("model_package_group/capped"),
        "sk": "1",
        "sizing_cost_usd": 900,
    }
    sizing_table.put(table, dear)
    stack.told = len(stack.messages())

    machine = stack.aws.state_machine_arn("SizingStateMachine")

    def sizing_id(group: str) -> str:
        """The id that the sizing of a profile has in the night that comes."""
        arn = machine.replace(":stateMachine:", ":execution:")
        return names.sizing_id(f"{arn}:{night.execution_name(group, 'the-night')}")

    def half_as_busy(spec: Mapping[str, Any], data: list[Datum]) -> list[Datum]:
        if sizing_id("improved") not in spec["endpoint_name"]:
            return data
        return [
            replace(each, value=each.value / 2) if each.name == "CPUUtilization" else each
            for each in data
        ]

    stack.load_tests(**{sizing_id("regressed"): "5xx"})
    stack.alter_metrics = half_as_busy
    ended = stack.wait(stack.start("NightlyStateMachine", {"max_cost_usd": 500}, name="the-night"))
    stack.alter_metrics = as_they_are

    assert (ended.status, ended.error) == ("FAILED", "SizingsFailed")
    assert ended.cause.startswith("broken: profile: must be a JSON object")
    [(subject, text)] = stack.news()
    assert (
        subject
        == (
            "Endpoint sizing: 1 FAILED, 1 regressed, 1 improved, 1 first, 1 unchanged, 2 SKIPPED "
            "of 7 profiles"
        )[:99]
    )
    told = dict(line.split(": ", 1) for line in text.splitlines()[2:])
    assert told["broken"].startswith("FAILED; profile: must be a JSON object")
    assert told["capped"] == (
        "SKIPPED; the run may cost $500.00, $0.00 are spent, and its last sizing cost $900.00"
    )
    assert told["improved"].startswith("SIZED; 1 x ml.m5.xlarge")
    assert told["new"].startswith("SIZED; 2 x ml.m5.xlarge")
    assert told["paused"] == "SKIPPED; paused"
    assert told["regressed"].startswith("TARGET_NOT_MET; ")
    assert told["unchanged"].startswith("SIZED; 2 x ml.m5.xlarge")
    costs = [float(each) for each in re.findall(r"the sizing cost \$([\d.]+)", text)]
    [total] = re.findall(r"The sizings cost \$([\d.]+)\.", text)
    assert len(costs) == 4
    assert float(total) == pytest.approx(sum(costs), rel=0.02)  # each is rounded
    bucket = stack.aws.stack.ref("ResultsBucket")
    found = s3_documents.read_json(
        bucket, f"{names.sizing_folder(sizing_id('unchanged'))}result.json"
    )
    assert load_tests(found) == [("ml.m5.xlarge", 2, "verify")]
    assert stack.settle() == []
