"""``endpoint-sizer validate`` and ``schema``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from endpoint_sizer.__main__ import run
from endpoint_sizer.validate import request_schema
from sizing.request.request import parse_request

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").rglob("*.json"))
REQUEST: dict[str, Any] = json.loads((ROOT / "examples" / "distilbert.json").read_text())


def written(folder: Path, content: object, name: str = "request.json") -> str:
    path = folder / name
    path.write_text(json.dumps(content))
    return str(path)


def changed(**fields: Any) -> dict[str, Any]:
    return {**REQUEST, **fields}


def test_the_examples_are_valid(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", *map(str, EXAMPLES)]) == 0
    lines = capsys.readouterr().out.splitlines()
    profiles = [line for line in lines if "a valid profile" in line]
    assert [Path(line.partition(":")[0]).name for line in profiles] == ["profile.json"]
    assert len(lines) - len(profiles) == sum("a valid request" in line for line in lines)
    assert len(lines) == len(EXAMPLES)


def test_each_file_has_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = written(tmp_path, REQUEST, "good.json")
    bad = written(tmp_path, changed(target={"tps": 0}), "bad.json")
    assert run(["validate", bad, good, str(tmp_path / "missing.json")]) == 64
    output = capsys.readouterr()
    assert output.out == f"{good}: a valid request\n"
    assert output.err == (
        f"error: {bad}: target.tps: must be greater than 0, got 0\n"
        f"error: {tmp_path}/missing.json: no such file or directory\n"
    )


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"colour": "red"}, "colour: unknown field; allowed here: "),
        ({"model": {}}, "model: exactly one of "),
        (
            {"model": {"hugging_face": {**REQUEST["model"]["hugging_face"], "py_version": "py27"}}},
            "model.hugging_face.py_version: must be one of ",
        ),
        ({"instance_types": ["ml.m6g.large"]}, "instance_types: ml.m6g.large can't run "),
        (
            {"payloads": {"inline": [{"body": "not base64", "base64": True}]}},
            "payloads.inline.0.body: body is not valid base64",
        ),
    ],
)
def test_what_needs_no_account_is_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, Any], said: str
) -> None:
    path = written(tmp_path, changed(**fields))
    assert run(["validate", path]) == 64
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(f"error: {path}: {said}")
    assert output.err.count("\n") == 1


def test_a_profile_in_error_is_refused_like_a_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = {name: value for name, value in REQUEST.items() if name != "model"}
    path = written(tmp_path, {**profile, "routing": "NEAREST"})
    assert run(["validate", path]) == 64
    assert f"{path}: routing: must be one of " in capsys.readouterr().err


# --- The schema ---------------------------------------------------------------------------------


def accepted(request: object) -> bool:
    validator = jsonschema.Draft202012Validator(request_schema())
    return bool(validator.is_valid(request))


@pytest.mark.parametrize("what, name", [("request", "request"), ("output", "command")])
def test_the_schema_in_docs_is_the_one_that_is_printed(
    capsys: pytest.CaptureFixture[str], what: str, name: str
) -> None:
    assert run(["schema", what]) == 0
    printed = capsys.readouterr().out
    assert (ROOT / "docs" / f"{name}.schema.json").read_text() == printed, (
        f"endpoint-sizer schema {what} > docs/{name}.schema.json"
    )
    jsonschema.Draft202012Validator.check_schema(json.loads(printed))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_schema_takes_the_examples(path: Path) -> None:
    document = json.loads(path.read_text())
    assert accepted({"model": {"model_package_group": "group"}, **document})


@pytest.mark.parametrize(
    "fields",
    [
        {"content_type": "text/csv", "accept": "text/csv"},
        {"model": {"model_name": "mine", "container": None}},
        {"limits": {"max_cost_usd": None}},
    ],
)
def test_the_schema_takes_what_the_sizing_takes(fields: dict[str, Any]) -> None:
    parse_request(changed(**fields))
    assert accepted(changed(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"colour": "red"},
        {"target": {"tps": 0}},
        {"target": {"tps": "1000"}},
        {"model": {}},
        {"model": {"model_name": "mine", "model_package_group": "ours"}},
        {"payloads": {}},
        {"payloads": {"inline": [{"body": "x"}], "s3_uri": "s3://bucket/key"}},
        {"instance_types": []},
        {"instance_types": ["m5.large"]},
        {"measurement": {"metric_period_seconds": 20}},
    ],
)
def test_the_schema_refuses_what_the_sizing_refuses(fields: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=":"):
        parse_request(changed(**fields))
    assert not accepted(changed(**fields))
