"""The rooms of the domain: each imports only from those before it, and none is crowded."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

DOMAIN = Path(__file__).parents[3] / "functions" / "sizing"
#: The order that ``functions/sizing/__init__.py`` tells of.
ROOMS = (
    "catalogue",
    "request",
    "clean_up",
    "endpoint",
    "load_test",
    "fits",
    "search",
    "production",
    "result",
)
MOST_FILES = 10


def rooms_imported(source: str) -> set[str]:
    """The rooms that a module's imports name."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        modules = (
            [node.module]
            if isinstance(node, ast.ImportFrom) and node.module
            else [each.name for each in node.names]
            if isinstance(node, ast.Import)
            else []
        )
        found |= {module.split(".")[1] for module in modules if module.startswith("sizing.")}
    return found


def test_every_room_is_in_the_order() -> None:
    folders = {each.parent.name for each in DOMAIN.glob("*/__init__.py")}
    assert folders == set(ROOMS)
    assert {each.name for each in DOMAIN.glob("*.py")} == {"__init__.py", "errors.py"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_those_before_it(room: str) -> None:
    allowed = {"errors", *ROOMS[: ROOMS.index(room) + 1]}
    for module in (DOMAIN / room).glob("*.py"):
        assert rooms_imported(module.read_text()) <= allowed, module.name


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_is_small_and_says_who_lives_there(room: str) -> None:
    files = [each for each in (DOMAIN / room).iterdir() if each.suffix == ".py"]
    assert len(files) <= MOST_FILES
    assert ast.get_docstring(ast.parse((DOMAIN / room / "__init__.py").read_text()))


def test_an_import_of_a_later_room_is_seen() -> None:
    assert rooms_imported("from sizing.search.seen import x") == {"search"}
    assert rooms_imported("def f():\n    from sizing.result import message") == {"result"}
