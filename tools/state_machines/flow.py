"""The states of a machine: where they lead, what they may refer to, which variables have a value.

Rules: https://states-language.net and the developer guide's pages "Transforming data with JSONata"
and "Passing data between states with variables".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tools.state_machines.definition import Problem, StateMachine
from tools.state_machines.expressions import (
    CLOSE,
    FUNCTIONS,
    OPEN,
    ExpressionError,
    References,
    is_expression,
    parse,
    references,
)

#: Fields that hold states of their own or names of states; the rest may hold expressions.
_NESTED = ("ItemProcessor", "Iterator", "Branches")
_STATIC = ("Type", "Comment", "Next", "Default", "QueryLanguage", "Resource", "ErrorEquals")
#: Types whose Assign and Output see a result.
_WITH_RESULT = ("Task", "Map", "Parallel")
_TERMINAL = ("Succeed", "Fail")


@dataclass(frozen=True)
class Scope:
    """A set of states with one start: a machine, a branch, or the inside of a Map."""

    file: str
    path: str
    definition: Mapping[str, Any]
    #: Variables that surely have a value on the way in.
    given: frozenset[str] = frozenset()
    #: Variables that belong to the scopes around this one.
    outer: frozenset[str] = frozenset()

    @property
    def states(self) -> Mapping[str, Mapping[str, Any]]:
        states: Mapping[str, Mapping[str, Any]] = self.definition.get("States", {})
        return states

    def problem(self, state: str, message: str) -> Problem:
        return Problem(self.file, self.path + state, message)


@dataclass(frozen=True)
class Text:
    """A string of a state and the fields of ``$states`` that it may use."""

    where: str
    text: str
    states: frozenset[str]


def check(machine: StateMachine) -> list[Problem]:
    """Everything that is wrong with a machine's flow, expressions and variables."""
    problems = []
    if machine.definition.get("QueryLanguage") != "JSONata":
        problems.append(Problem(machine.file, "QueryLanguage", "must be JSONata"))
    if "TimeoutSeconds" not in machine.definition:
        problems.append(Problem(machine.file, "TimeoutSeconds", "is missing"))
    return sorted([*problems, *_check_scope(Scope(machine.file, "", machine.definition))])


def all_states(machine: StateMachine) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every state of a machine at any depth, with its path, such as ``Baselines.CreateModel``."""

    def below(path: str, definition: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for name, state in definition.get("States", {}).items():
            yield path + name, state
            for inner_path, inner in _nested(f"{path}{name}", state):
                yield from below(inner_path, inner)

    yield from below("", machine.definition)


def expressions(machine: StateMachine) -> Iterator[tuple[str, str]]:
    """Every JSONata expression of a machine, with its path."""
    if is_expression(str(machine.definition.get("TimeoutSeconds", ""))):
        yield "TimeoutSeconds", machine.definition["TimeoutSeconds"]
    for path, state in all_states(machine):
        for each in _texts(state):
            if is_expression(each.text):
                yield f"{path}.{each.where}", each.text


def _nested(path: str, state: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name in ("ItemProcessor", "Iterator"):
        if name in state:
            yield f"{path}.", state[name]
    branches = state.get("Branches", [])
    for index, branch in enumerate(branches):
        yield f"{path}[{index}].", branch


def _check_scope(scope: Scope) -> Iterator[Problem]:
    yield from _check_targets(scope)
    mine = frozenset(_assigned_in(scope))
    for name in sorted(mine & scope.outer):
        yield scope.problem("States", f"assigns ${name}, a variable of the state machine around it")
    for name in sorted(mine & FUNCTIONS):
        yield scope.problem("States", f"assigns ${name}, the name of a function")
    entering = _variables_on_entry(scope)
    for name, state in scope.states.items():
        if state.get("Type") == "Task" and "TimeoutSeconds" not in state:
            yield scope.problem(name, "TimeoutSeconds is missing; by default it is three years")
        for index, rule in enumerate(state.get("Choices", [])):
            if "Comment" not in rule:
                yield scope.problem(name, f"Choices[{index}].Comment is missing: drawings show it")
        on_entry = entering.get(name, frozenset())
        for each in _texts(state):
            for message in _check_text(each, on_entry, mine | scope.outer):
                yield scope.problem(name, f"{each.where}: {message}")
        for path, definition in _nested(scope.path + name, state):
            yield from _check_scope(
                Scope(scope.file, path, definition, on_entry, mine | scope.outer)
            )


# --- Where states lead -----------------------------------------------------------------------


def _targets(state: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """The states that may follow: the field, the name, and the variables assigned on the way."""
    assigned = state.get("Assign", {})
    if "Next" in state:
        yield "Next", state["Next"], assigned
    if "Default" in state:
        yield "Default", state["Default"], assigned
    for index, choice in enumerate(state.get("Choices", [])):
        # A rule's own Assign takes the place of the state's, which is for Default.
        if "Next" in choice:
            yield f"Choices[{index}].Next", choice["Next"], choice.get("Assign", {})
    for index, catcher in enumerate(state.get("Catch", [])):
        if "Next" in catcher:
            yield f"Catch[{index}].Next", catcher["Next"], catcher.get("Assign", {})


def _check_targets(scope: Scope) -> Iterator[Problem]:
    states = scope.states
    start = str(scope.definition.get("StartAt"))
    if start not in states:
        yield scope.problem("StartAt", f"{start} is no state here")
        return
    for name, state in states.items():
        for field, target, _ in _targets(state):
            if target not in states:
                yield scope.problem(name, f"{field}: {target} is no state here")
        leads_on = "Next" in state or state.get("End") is True
        if state.get("Type") not in (*_TERMINAL, "Choice") and not leads_on:
            yield scope.problem(name, "has neither Next nor End")
    reached: set[str] = set()
    todo = [start]
    while todo:
        name = todo.pop()
        if name in states and name not in reached:
            reached.add(name)
            todo += [target for _, target, _ in _targets(states[name])]
    for name in states:
        if name not in reached:
            yield scope.problem(name, "can't be reached")


# --- Variables -------------------------------------------------------------------------------


def _assigned_in(scope: Scope) -> Iterator[str]:
    for state in scope.states.values():
        yield from state.get("Assign", {})
        for each in (*state.get("Choices", []), *state.get("Catch", [])):
            yield from each.get("Assign", {})


def _variables_on_entry(scope: Scope) -> dict[str, frozenset[str]]:
    """For each reachable state, the variables that have a value whichever way led there."""
    entering: dict[str, frozenset[str]] = {}
    start = str(scope.definition.get("StartAt"))
    todo = [(start, scope.given)] if start in scope.states else []
    while todo:
        name, arriving = todo.pop()
        known = entering[name] & arriving if name in entering else arriving
        if name in entering and known == entering[name]:
            continue
        entering[name] = known
        todo += [
            (target, known | set(assigned))
            for _, target, assigned in _targets(scope.states[name])
            if target in scope.states
        ]
    return entering


# --- Expressions -----------------------------------------------------------------------------


def _texts(state: Mapping[str, Any]) -> Iterator[Text]:
    """Every string of a state itself, without those of states inside it."""
    always = frozenset({"input", "context"})
    for field, value in state.items():
        if field in (*_NESTED, *_STATIC):
            continue
        if field == "Catch":
            for index, catcher in enumerate(value):
                yield from _strings(f"Catch[{index}]", catcher, always | {"errorOutput"})
        elif field in ("Assign", "Output") and state.get("Type") in _WITH_RESULT:
            yield from _strings(field, value, always | {"result"})
        else:
            yield from _strings(field, value, always)


def _strings(where: str, value: Any, states: frozenset[str]) -> Iterator[Text]:
    if isinstance(value, str):
        yield Text(where, value, states)
    elif isinstance(value, Mapping):
        for key, each in value.items():
            if key not in _STATIC:
                yield from _strings(f"{where}.{key}", each, states)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _strings(f"{where}[{index}]", each, states)


def _check_text(
    each: Text, on_entry: frozenset[str], assigned_somewhere: frozenset[str]
) -> Iterator[str]:
    if not is_expression(each.text):
        if OPEN in each.text or CLOSE in each.text:
            yield f"{OPEN} and {CLOSE} must be the first and last characters: {each.text!r}"
        return
    try:
        found = references(parse(each.text))
    except ExpressionError as error:
        yield f"{error}: {each.text!r}"
        return
    yield from _check_references(found, each, on_entry, assigned_somewhere)


def _check_references(
    found: References, each: Text, on_entry: frozenset[str], assigned_somewhere: frozenset[str]
) -> Iterator[str]:
    for name in sorted(found.variables - on_entry):
        if name in assigned_somewhere:
            yield f"${name} has no value yet on some way here"
        else:
            yield f"${name} is neither assigned anywhere nor a function"
    for name in sorted(found.asked_for - assigned_somewhere):
        yield f"${name} is assigned nowhere"
    for name in sorted(found.states - each.states):
        allowed = ", ".join(f"$states.{field}" for field in sorted(each.states))
        yield f"$states.{name} does not exist here; there are {allowed}"
    for text in sorted(found.context):
        yield f"{text} refers to nothing: a state has no context item, only $states and variables"
