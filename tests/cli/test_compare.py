"""``endpoint-sizer compare``: what differs, by how much, and whether that is a reason to fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from endpoint_sizer.__main__ import run
from tests.cli.made_up_aws import Account
from tests.unit.result import sample_sizings

Printed = Callable[..., Any]
SIZED = json.dumps(sample_sizings.sized().document())


@pytest.fixture
def results(tmp_path: Path) -> Callable[..., str]:
    """Write a result, made worse or better by a factor; returns its path."""

    def write(name: str, capacity: float = 1.0, **changes: Any) -> str:
        document = json.loads(SIZED)
        document["sizing"] |= {"id": name.ljust(12, "0"), "comparable_key": "same"}
        for candidate in document["candidates"]:
            candidate["tps_per_instance_at_band_middle"] *= capacity
            candidate["tps_per_instance_standard_error"] = 0.5
        (folder := tmp_path / name).mkdir()
        (folder / "result.json").write_text(json.dumps({**document, **changes}))
        return str(folder / "result.json")

    return write


def test_the_same_is_unchanged(results: Callable[..., str], printed: Printed) -> None:
    said = printed("compare", results("a"), results("b"), "--fail-on", "regressed,changed")
    assert (said["kind"], said["what"]) == ("unchanged", [])
    assert {each["name"]: each["delta_percent"] for each in said["figures"]}[
        "instance_count"
    ] == 0.0


def test_a_lost_capacity_is_a_regression_though_the_count_is_the_same(
    results: Callable[..., str], printed: Printed
) -> None:
    before, after = results("a"), results("b", capacity=0.85)
    said = printed("compare", before, after, "--fail-on", "regressed", code=3)
    assert said["kind"] == "regressed"
    [figure] = [e for e in said["figures"] if e["name"] == "tps_per_instance_at_band_middle"]
    assert figure["delta_percent"] == -15.0
    assert printed("compare", after, before, "--fail-on", "regressed")["kind"] == "improved"


def test_why_it_fails_is_a_line(
    results: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compare", results("a"), results("b", capacity=0.85)]
    assert run([*arguments, "--fail-on", "regressed"]) == 3
    said = capsys.readouterr()
    assert said.err.startswith("regressed since a00000000000 of ")
    assert said.err.count("\n") == 1
    assert "A to B" in said.out


def test_a_folder_stands_for_its_result(
    results: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [str(Path(results(name)).parent) for name in "ab"]
    assert run(["compare", *folders, "--output", "text"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert ["status", "SIZED", "SIZED"] in lines


def test_a_pull_request_gets_a_table_of_markdown(
    results: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compare", results("a"), results("b", capacity=0.85), "--output", "markdown"]
    assert run(arguments) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("regressed since a00000000000 of ")
    assert said[2:4] == ["| | a00000000000 | b00000000000 | change |", "|---|--:|--:|--:|"]
    assert any(line.startswith("| TPS per instance at band middle |") for line in said)
    assert all(line.count("|") == 5 for line in said[2:])


def test_sizings_of_the_stack_are_named_by_their_ids(
    account: Account, results: Callable[..., str], printed: Printed
) -> None:
    document = json.loads(Path(results("a")).read_text())
    this = account.result("one", document)
    said = printed("compare", this, results("b"))
    assert (said["a"], said["kind"]) == (this, "unchanged")


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"status": "FAILED"}, "is FAILED: there is nothing to compare"),
        ({"local": True}, "a result of this machine and one of AWS"),
        ({"sizing": {**json.loads(SIZED)["sizing"], "comparable_key": "x"}}, "different questions"),
        ({"status": "SO-SO"}, "result.json: not a result: status: "),
    ],
)
def test_what_tells_nothing_about_the_other_is_refused(
    results: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    said: str,
) -> None:
    assert run(["compare", results("a"), results("b", **changes)]) == 64
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.count("\n") == 1


def test_a_file_that_is_not_there_is_no_sizing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for missing in ("nowhere.json", str(tmp_path / "nowhere"), str(tmp_path)):
        assert run(["compare", missing, missing]) == 64
        assert "no such file" in capsys.readouterr().err
