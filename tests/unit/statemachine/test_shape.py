"""The machines are small, and their states are named as the functions that they call."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.unit.statemachine.conftest import MACHINES, ROOT, Machine

FOLDER = ROOT / "statemachine"
#: States that bring something to another state than the function's name says.
ALSO_CALLED = {"ReleaseEndpoint": "ensure_endpoint", "ShrinkFormer": "ensure_endpoint"}


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_every_machine_fits_two_screens() -> None:
    files = sorted(FOLDER.iterdir())
    assert [each.name for each in files] == sorted(f"{name}.asl.yaml" for name in MACHINES)
    assert max(map(lines, files)) <= 250
    assert sum(map(lines, files)) <= 800


def has_pattern(expression: str) -> bool:
    """Whether a JSONata expression matches, or replaces, by a regular expression."""
    outside_strings = re.sub(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'", "''", expression)
    # A slash that no value stands before begins one.
    begins = re.search(r"(?:^|[(,=:?&\[{]|\b(?:in|and|or))\s*/", outside_strings)
    return bool(begins) or "$match(" in expression


def test_no_text_is_matched_by_a_pattern(each_machine: Machine) -> None:
    """What AWS says is read in Python."""
    text = (FOLDER / f"{each_machine.name}.asl.yaml").read_text()
    expressions = re.findall(r"\{%(.*?)%\}", text, re.DOTALL)
    assert expressions
    assert [each for each in expressions if has_pattern(each)] == []


def test_a_pattern_is_seen() -> None:
    assert has_pattern(" $contains($cause, /could not find|in.progress/i) ")
    assert has_pattern(" $match($cause, $pattern) ")
    assert not has_pattern(' $count($split(name, "/")) / 40 ')


def folder(function_arn: str) -> str:
    """``${EnsureEndpointFunctionArn}``, as the tests fill it in, is ``ensure_endpoint``."""
    name = function_arn.removesuffix("FunctionArn")
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def test_a_states_name_leads_to_its_function(
    machine: Callable[[str], Machine], template: dict[str, Any]
) -> None:
    called = set()
    for each in MACHINES:
        for name, state in machine(each).states().items():
            if state.get("Resource", "").endswith("lambda:invoke"):
                function = folder(state["Arguments"]["FunctionName"])
                assert function == ALSO_CALLED.get(name, folder(f"{name}FunctionArn")), name
                assert (ROOT / "functions" / function / "app.py").is_file()
                called.add(function)
    deployed = {
        each["Properties"]["Handler"].partition(".")[0]
        for each in template["Resources"].values()
        if each["Type"] == "AWS::Serverless::Function"
    }
    assert called == deployed - {"set_up"}  # which CloudFormation calls
