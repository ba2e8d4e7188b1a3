"""The state machines as they are written, and a way to evaluate one of their expressions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.cloudformation import load_template
from local.jsonata import evaluate

ROOT = Path(__file__).parents[3]
MACHINES = ("sizing", "probe", "load_test", "clean_up", "nightly")
#: What the tests put for ``${Name}``; others stand for themselves.
SUBSTITUTIONS = {
    "EndpointTimeoutMinutes": "60",
    "CleanUpTimeoutMinutes": "120",
    "Partition": "aws",
    "SubnetIds": "subnet-1,subnet-2",
}

States = Mapping[str, Mapping[str, Any]]


class Machine:
    """One state machine.

    Args:
        name: Of its file.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        text = (ROOT / "statemachine" / f"{name}.asl.yaml").read_text()
        filled = re.sub(r"\$\{(\w+)\}", lambda match: SUBSTITUTIONS.get(match[1], match[1]), text)
        self.definition: dict[str, Any] = yaml.safe_load(filled)

    def scopes(self) -> Iterator[tuple[str, States]]:
        """The first state and the states of the machine, of each Map and of each branch."""

        def below(definition: Mapping[str, Any]) -> Iterator[tuple[str, States]]:
            yield definition["StartAt"], definition["States"]
            for state in definition["States"].values():
                for inner in [state.get("ItemProcessor"), *state.get("Branches", [])]:
                    if inner:
                        yield from below(inner)

        yield from below(self.definition)

    def states(self) -> dict[str, Mapping[str, Any]]:
        """All states by name; the names are unique within a machine."""
        return {name: state for _, states in self.scopes() for name, state in states.items()}

    def evaluate(self, state: str, *path: str | int, **variables: Any) -> Any:
        """What a field of a state gives.

        Args:
            state: Name of the state.
            path: Keys down to the field, which may hold expressions at any depth.
            variables: Values by name; ``states`` is ``$states``.
        """
        field: Any = self.states()[state]
        for key in path:
            field = field[key]
        return _evaluate(field, variables)


def _evaluate(template: Any, variables: Mapping[str, Any]) -> Any:
    if isinstance(template, Mapping):
        return {key: _evaluate(value, variables) for key, value in template.items()}
    if isinstance(template, list):
        return [_evaluate(value, variables) for value in template]
    if isinstance(template, str) and template.startswith("{%"):
        return evaluate(template[2:-2], variables)
    return template


@pytest.fixture(scope="session")
def machine() -> Callable[[str], Machine]:
    machines = {name: Machine(name) for name in MACHINES}
    return machines.__getitem__


@pytest.fixture(scope="session", params=MACHINES)
def each_machine(request: pytest.FixtureRequest) -> Machine:
    return Machine(request.param)


@pytest.fixture(scope="session")
def template() -> dict[str, Any]:
    return load_template(ROOT / "template.yaml")


@pytest.fixture(scope="session")
def template_text() -> str:
    return (ROOT / "template.yaml").read_text()
