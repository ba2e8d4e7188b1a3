"""A sizing of a model that was sized before: it starts at the count that was found then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from endpoint_sizer.__main__ import run
from tests.statemachine.stack import Execution, StackUnderTest, a_request, stack_under_test


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackUnderTest]:
    with stack_under_test(tmp_path_factory.mktemp("stack")) as running:
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
