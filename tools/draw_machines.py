"""Draw the state machines into the pages that show them, from the states language itself.

A page shows one between two marks, ``<!-- NAME: drawn by ... -->`` and ``<!-- end of NAME -->``.
Lint and a test hold the pages against the machines. Run it after a change of a machine::

    python -m tools.draw_machines            # writes the pages
    python -m tools.draw_machines --check    # says which drawing is old, and exits with 1
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any, Final

from tools.state_machines.definition import load

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = (ROOT / "docs" / "architecture.md", ROOT / "README.md")

#: ``NAME`` is a machine's; what a page shows to newcomers leaves out the ways of what fails.
_DRAWING: Final = re.compile(
    r"(?P<begin><!-- (?P<name>\w+)(?P<main>, the main way)?: "
    r"drawn by tools/draw_machines\.py -->\n)"
    r"(?P<drawn>.*?)"
    r"(?P<end><!-- end of (?P=name) -->)",
    re.DOTALL,
)
_WRAP_AT: Final = 24
_INDENT: Final = "    "


@dataclass(frozen=True)
class Edge:
    """One way from a state to another."""

    source: str
    target: str
    label: str = ""
    of_failure: bool = False


def flowchart(definition: Mapping[str, Any], *, failures: bool = True) -> str:
    """A state machine as a Mermaid flowchart.

    Tasks are rectangles, nested executions with double edges, Choices diamonds, waits hexagons,
    ends round, dashed where they fail; Map and Parallel are boxes around what they run. The way of
    a Choice's rule carries the rule's Comment. A Catch is dotted, with the errors' names where it
    is not for all. Retry is left out: it leads nowhere.

    Args:
        definition: The machine, in the states language.
        failures: Whether to draw Catch, and the states that only a Catch leads to.
    """
    lines = ["flowchart TD", f'{_INDENT}start((" ")) --> {_id("", definition["StartAt"])}']
    lines += _scope("", definition, failures=failures, indent=_INDENT)
    if any(line.endswith(":::fail") for line in lines):
        lines.append(f"{_INDENT}classDef fail stroke-dasharray: 4")
    return "\n".join(lines)


def with_drawings(page: str, definitions: Mapping[str, Mapping[str, Any]]) -> str:
    """A page with its drawings as the machines are.

    Args:
        page: The text of the page.
        definitions: The machines by name.

    Raises:
        ValueError: A mark names a machine that is not there.
    """

    def drawn(mark: re.Match[str]) -> str:
        name = mark["name"]
        if name not in definitions:
            known = ", ".join(sorted(definitions))
            raise ValueError(f"no state machine is called {name}; there are {known}")
        chart = flowchart(definitions[name], failures=mark["main"] is None)
        return f"{mark['begin']}\n```mermaid\n{chart}\n```\n\n{mark['end']}"

    return _DRAWING.sub(drawn, page)


def drawn_in(page: str) -> set[str]:
    """Names of the machines that a page shows whole."""
    return {mark["name"] for mark in _DRAWING.finditer(page) if mark["main"] is None}


def definitions(template: Path = ROOT / "template.yaml") -> dict[str, Mapping[str, Any]]:
    """The machines of the template by name: that of their file."""
    machines, _ = load(template)
    return {Path(each.file).name.partition(".")[0]: each.definition for each in machines}


# --- States --------------------------------------------------------------------------------------


def _scope(
    path: str, definition: Mapping[str, Any], *, failures: bool, indent: str
) -> Iterator[str]:
    """The states at one level, each with what is inside it, then the ways between them."""
    states = definition["States"]
    edges = [edge for edge in _edges(states) if failures or not edge.of_failure]
    drawn = _reachable(definition["StartAt"], edges)
    for name, state in states.items():
        if name in drawn:
            yield from _state(path, name, state, failures=failures, indent=indent)
    for edge in edges:
        if edge.source in drawn:
            yield indent + _arrow(path, edge)


def _state(
    path: str, name: str, state: Mapping[str, Any], *, failures: bool, indent: str
) -> Iterator[str]:
    identity = _id(path, name)
    kind = state["Type"]
    if kind not in ("Map", "Parallel"):
        yield f"{indent}{identity}{_shape(name, state)}"
        return
    title = f"{name}, for each" if kind == "Map" else f"{name}, all at once"
    yield f'{indent}subgraph {identity} ["{title}"]'
    yield f"{indent}{_INDENT}direction TB"
    inner = (
        {f"{path}{name}.": state["ItemProcessor"]}
        if kind == "Map"
        else {f"{path}{name}.{i}.": branch for i, branch in enumerate(state["Branches"], 1)}
    )
    for below, definition in inner.items():
        yield from _scope(below, definition, failures=failures, indent=indent + _INDENT)
    yield f"{indent}end"


def _shape(name: str, state: Mapping[str, Any]) -> str:
    kind = state["Type"]
    if kind == "Choice":
        return f"{{{name}}}"
    if kind == "Wait":
        return f"{{{{{name}}}}}"
    if kind == "Succeed":
        return f"([{name}])"
    if kind == "Fail":
        return f"([{name}]):::fail"
    if kind == "Task" and ":states:startExecution" in state["Resource"]:
        return f"[[{name}]]"
    return f"[{name}]" if kind == "Task" else f"({name})"


def _id(path: str, name: str) -> str:
    """Names are unique at one level only, ids in the whole drawing."""
    return re.sub(r"\W", "_", path + name)


# --- Ways ----------------------------------------------------------------------------------------


def _edges(states: Mapping[str, Mapping[str, Any]]) -> list[Edge]:
    """All ways between states at one level; those that differ by their label alone are one."""
    merged: dict[tuple[str, str, bool], list[str]] = {}
    for name, state in states.items():
        for edge in _ways(name, state):
            labels = merged.setdefault((edge.source, edge.target, edge.of_failure), [])
            if edge.label not in labels:
                labels.append(edge.label)
    return [
        Edge(source, target, "" if "" in labels else ", or ".join(labels), of_failure)
        for (source, target, of_failure), labels in merged.items()
    ]


def _ways(name: str, state: Mapping[str, Any]) -> Iterator[Edge]:
    for rule in state.get("Choices", []):
        yield Edge(name, rule["Next"], rule.get("Comment", ""))
    for field in ("Default", "Next"):
        if field in state:
            yield Edge(name, state[field])
    for catcher in state.get("Catch", []):
        errors = [each for each in catcher["ErrorEquals"] if each != "States.ALL"]
        yield Edge(name, catcher["Next"], ", ".join(errors), of_failure=True)


def _reachable(start: str, edges: Iterable[Edge]) -> set[str]:
    reached: set[str] = set()
    todo = [start]
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            todo += [edge.target for edge in edges if edge.source == name]
    return reached


def _arrow(path: str, edge: Edge) -> str:
    line = "-.->" if edge.of_failure else "-->"
    # Mermaid ends a label at the first double quote.
    wrapped = wrap(edge.label.replace('"', "'"), _WRAP_AT, break_long_words=False)
    label = f'|"{"<br>".join(wrapped)}"|' if wrapped else ""
    return f"{_id(path, edge.source)} {line}{label} {_id(path, edge.target)}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.draw_machines")
    parser.add_argument("--check", action="store_true", help="write nothing, exit with 1 if old")
    check = parser.parse_args().check
    machines = definitions()
    old = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        drawn = with_drawings(text, machines)
        if drawn != text:
            old.append(page.relative_to(ROOT).as_posix())
            if not check:
                page.write_text(drawn, encoding="utf-8")
    if check and old:
        print(f"old drawings: {', '.join(old)}. `python -m tools.draw_machines` draws them anew")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
