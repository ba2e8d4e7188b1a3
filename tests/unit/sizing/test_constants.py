"""The table of constants in docs/search.md holds what the code holds: no more, no less."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
DOMAIN = ROOT / "functions" / "sizing"
MODULES = (
    *sorted((DOMAIN / "fits").glob("*.py")),
    *sorted((DOMAIN / "search").glob("*.py")),
    DOMAIN / "load_test" / "verdict.py",
)
#: A row: name, value, unit, meaning, how it was chosen.
ROW = re.compile(
    r"^\| `([a-z_]+\.[A-Z0-9_]+)` \| `([^`]+)` \|([^|]+)\|([^|]+)\|([^|]+)\|$", re.MULTILINE
)

Number = int | float | tuple[float, ...]


def constants(module: str, source: str) -> dict[str, Number]:
    """The numbers that a module names at its top level."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            targets, value = [node.target], node.value
        elif isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        else:
            continue
        for target in targets:
            if isinstance(target, ast.Name) and target.id.strip("_").isupper():
                number = number_of(value)
                if number is not None:
                    found[f"{module}.{target.id}"] = number
    return found


def number_of(node: ast.expr) -> Number | None:
    """The number, or tuple of numbers, that an expression is; None if it is something else."""
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if isinstance(value, tuple) and all(isinstance(each, int | float) for each in value):
        return value
    return None


def in_code() -> dict[str, Number]:
    return {
        name: value
        for path in MODULES
        for name, value in constants(path.stem, path.read_text()).items()
    }


def in_table() -> dict[str, tuple[Number, tuple[str, ...]]]:
    rows = ROW.findall((ROOT / "docs" / "search.md").read_text())
    assert len(rows) == len({name for name, *_ in rows}), "a constant has two rows"
    return {
        name: (ast.literal_eval(value), tuple(each.strip() for each in rest))
        for name, value, *rest in rows
    }


def test_the_table_names_every_constant_of_the_search_and_no_other() -> None:
    assert set(in_table()) == set(in_code())


def test_the_table_says_the_values_that_the_code_has() -> None:
    assert {name: value for name, (value, _) in in_table().items()} == in_code()


def test_each_has_a_unit_a_meaning_and_a_reason() -> None:
    for name, (_, texts) in in_table().items():
        assert all(texts), name


def test_no_number_hides_in_a_tuple_of_names() -> None:
    for path in MODULES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign):
                assert all(isinstance(target, ast.Name) for target in node.targets), path.name


def test_what_counts_as_a_constant() -> None:
    source = "A = 1\n_B: float = -2.5\nC = (1, 2.0)\nD = 'text'\ne = 3\nF = A * 2\n"
    assert constants("m", source) == {"m.A": 1, "m._B": -2.5, "m.C": (1, 2.0)}
