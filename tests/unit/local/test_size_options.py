"""What ``make size`` refuses before anything is started: one line, exit code 1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from local.size import command

ROOT = Path(__file__).parents[3]
REQUEST: dict[str, Any] = json.loads((ROOT / "examples" / "distilbert.json").read_text())


def with_request(folder: Path, **changes: Any) -> list[str]:
    path = folder / "request.json"
    path.write_text(json.dumps({**REQUEST, **changes}))
    return [str(path), "--out", str(folder / "out")]


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"colour": "red"}, "colour: unknown field; allowed here: "),
        ({"target": {"tps": -5}}, "target.tps: must be greater than 0, got -5"),
        ({"instance_types": ["m5.large"]}, "instance_types.0: must be a SageMaker instance type"),
        (
            {"target": {"tps": 5, "utilization_percent": {"min": 70, "max": 60}}},
            "target.utilization_percent: min (70) must be less than max (60)",
        ),
        ({"model": {"model_name": "unheard-of"}}, "model.model_name: model 'unheard-of' is not in"),
        ({"model": {"model_package_group": "group"}}, "model.model_package_group: "),
    ],
)
def test_a_request_in_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], named: str
) -> None:
    assert command.main(with_request(tmp_path, **changes)) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"error: {named}")
    assert output.err.count("\n") == 1
    assert not (tmp_path / "out" / "logs").exists()


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "REQUEST"),
        (["{tmp}/missing.json"], "missing.json: no such file"),
        (["{tmp}"], "is a directory"),
        (["{tmp}/text.json"], "text.json: not JSON"),
        (["{tmp}/binary.json"], "binary.json: not JSON"),
        (["{request}", "--models", "{tmp}/missing.yaml"], "missing.yaml"),
        (["{request}", "--models", "{tmp}/text.json"], "text.json"),
        (["{request}", "--out", "{tmp}/text.json"], "--out"),
        (["{request}", "--out", "/proc/none"], "--out"),
        (["{request}", "--frobnicate"], "--frobnicate"),
    ],
)
def test_files_and_arguments_in_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    (tmp_path / "text.json").write_text("{not json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    [request, *_] = with_request(tmp_path)
    places = {"tmp": str(tmp_path), "request": request}
    assert command.main([each.format(**places) for each in arguments]) == 1
    output = capsys.readouterr()
    assert said in output.err
    assert output.err.count("\n") == 1


@pytest.mark.parametrize(
    "content, said",
    [
        (b" " * 262_145, "has more than 262,144 bytes"),
        (b'{"model": "\xff"}', "not JSON: byte 11 is not UTF-8"),
        (b"\xff\xfe{\x00", "not JSON: "),
        (b"", "not JSON: Expecting value in line 1, column 1"),
        (b'{"a": 1\n}}', "in line 2, column 2"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 50_000, "nested too deeply"),
        (b'{"model": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested too deeply"),
        (b'{"target": {"tps": 1, "tps": 1000}}', "tps is written twice in one object"),
        (b'{"x\\ny": 1, "x\\ny": 2}', r"x\ny is written twice"),
        (b'{"target": {"tps": NaN}}', "NaN is no number"),
        (b'{"target": {"tps": -Infinity}}', "-Infinity is no number"),
        (b'{"target": {"tps": ' + b"9" * 5000 + b"}}", "thousands of digits"),
        (b"[]", "request: must be a JSON object, got list"),
        (b"null", "request: must be a JSON object"),
        (b'"text"', "request: must be a JSON object"),
    ],
    ids=range(16),
)
def test_files_that_mean_harm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, said: str
) -> None:
    path = tmp_path / "request.json"
    path.write_bytes(content)
    assert command.main([str(path), "--out", str(tmp_path / "out")]) == 1
    output = capsys.readouterr()
    assert output.out == ""
    assert said in output.err
    assert output.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_no_more_of_a_file_is_read_than_can_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "request.json"
    with path.open("wb") as file:
        file.truncate(100 * 1024**3)  # sparse: takes no room
    assert command.main([str(path), "--out", str(tmp_path / "out")]) == 1
    assert "has more than 262,144 bytes" in capsys.readouterr().err


def test_what_it_is_given_is_taken(tmp_path: Path) -> None:
    options = command.read_options(with_request(tmp_path))
    assert options.document == REQUEST
    assert options.request.target.tps == 1000
    assert options.out == tmp_path / "out"


def test_results_of_a_former_run_do_not_pass_for_this_one(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    kept = tmp_path / "notes.txt"
    stale = [tmp_path / "result.json", tmp_path / "report.html", tmp_path / "logs" / "task-00.log"]
    for path in [kept, *stale]:
        path.touch()
    command._fresh(tmp_path)
    assert kept.exists()
    assert not any(path.exists() for path in stale)
