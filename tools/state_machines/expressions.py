"""JSONata expressions of a state machine: parsed, and what they refer to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from jsonata import Jsonata
from jsonata.jexception import JException

OPEN, CLOSE = "{%", "%}"

#: JSONata's functions, and those that Step Functions adds. It does not have $eval.
_ADDED = {"partition", "range", "hash", "random", "uuid", "parse"}
FUNCTIONS = frozenset({*Jsonata.static_frame.bindings, *_ADDED} - {"eval"})


class ExpressionError(Exception):
    """An expression that Step Functions would not accept."""


@dataclass
class References:
    """What an expression refers to outside itself."""

    #: Names of variables, without the dollar sign.
    variables: set[str] = field(default_factory=set)
    #: Variables that it only asks for by ``$exists($name)``.
    asked_for: set[str] = field(default_factory=set)
    #: First fields of ``$states``, such as ``input``.
    states: set[str] = field(default_factory=set)
    #: Uses of a context that a state does not have, as they are written.
    context: set[str] = field(default_factory=set)


def is_expression(text: str) -> bool:
    """Whether Step Functions takes a string for an expression."""
    return text.startswith(OPEN) and text.endswith(CLOSE)


def parse(text: str) -> Any:
    """The syntax tree of a string such as ``{% $x + 1 %}``.

    Raises:
        ExpressionError: The string is no valid expression.
    """
    try:
        return Jsonata(text.removeprefix(OPEN).removesuffix(CLOSE).strip()).ast
    except JException as error:
        raise ExpressionError(f"JSONata: {error}") from None


def references(tree: Any) -> References:
    """What a syntax tree refers to."""
    found = References()
    _visit(tree, frozenset(_names_bound_in_paths(tree)), False, found)
    return found


class _Unknown:
    def __repr__(self) -> str:
        return "(known at run time)"


UNKNOWN = _Unknown()  # a value that only a run can tell


class Incomplete(dict[str, Any]):
    """The known members of an object that may have more, or may lack some of these."""


def known_part(tree: Any) -> Any:
    """What an expression evaluates to as far as it is written out, ``UNKNOWN`` for the rest.

    An object that is partly known is ``Incomplete``.
    """
    kind = tree.type
    if kind in ("string", "number", "value"):
        return tree.value
    if kind == "unary" and tree.value == "{":
        pairs = [(known_part(key), known_part(value)) for key, value in tree.lhs_object]
        known = {key: value for key, value in pairs if isinstance(key, str)}
        return known if len(known) == len(pairs) else Incomplete(known)
    if kind == "unary" and tree.value == "[":
        return [known_part(each) for each in tree.expressions]
    if kind == "block" and len(tree.expressions) == 1:
        return known_part(tree.expressions[0])
    if kind == "condition":
        return _either(known_part(tree.then), known_part(tree._else) if tree._else else {})  # noqa: SLF001 - else is a word of Python
    if kind == "function" and tree.procedure.value == "merge" and len(tree.arguments) == 1:
        merged = known_part(tree.arguments[0])
        return _merged(merged) if isinstance(merged, list) else UNKNOWN
    return UNKNOWN


def _either(one: Any, other: Any) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        return Incomplete({**one, **other})
    return UNKNOWN


def _merged(objects: list[Any]) -> Any:
    known = [each for each in objects if isinstance(each, dict)]
    if not known:
        return UNKNOWN
    members = {key: value for each in known for key, value in each.items()}
    complete = len(known) == len(objects) and not any(isinstance(o, Incomplete) for o in known)
    return members if complete else Incomplete(members)


def _children(node: Any) -> Iterator[tuple[str, Any]]:
    """All nodes directly below one, with the name of the attribute that holds them."""
    for name, value in vars(node).items():
        if name in ("_outer_instance", "ancestor", "symbol", "seeking_parent"):
            continue
        yield from ((name, each) for each in _nodes(value))


def _nodes(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for each in value:
            yield from _nodes(each)
    elif hasattr(value, "type") and hasattr(value, "value"):
        yield value


def _names_bound_in_paths(node: Any) -> Iterator[str]:
    """Names of ``@$name`` and ``#$name`` anywhere in an expression."""
    for bound in (getattr(node, "focus", None), getattr(node, "index", None)):
        if isinstance(bound, str):
            yield bound
    for _, child in _children(node):
        yield from _names_bound_in_paths(child)


def _visit(node: Any, bound: frozenset[str], has_context: bool, found: References) -> None:
    """Collect the references of a node.

    Args:
        node: A node of the syntax tree.
        bound: Names that the expression itself has given a value.
        has_context: Whether there is a context item here, as there is in a filter.
        found: What was found so far; added to.
    """
    match node.type:
        case "path":
            _visit_path(node, bound, has_context, found)
        case "variable":
            _visit_variable(str(node.value), bound, has_context, found)
            _visit_filters(node, bound, found)
        case "block":
            _visit_block(node, bound, has_context, found)
        case "bind":
            _visit(node.rhs, bound, has_context, found)
        case "lambda":
            inner = bound | {str(argument.value) for argument in node.arguments}
            _visit(node.body, inner, has_context, found)
        case "transform":
            for _, child in _children(node):
                _visit(child, bound, True, found)
        case "wildcard" | "descendant" | "parent" if not has_context:
            found.context.add(str(node.value))
        case "function" if (name := _asked_for(node)) is not None and name not in bound:
            found.asked_for.add(name)
        case _:
            for name, child in _children(node):
                inside = has_context or name in ("predicate", "stages", "group", "terms")
                _visit(child, bound, inside, found)


def _asked_for(node: Any) -> str | None:
    """The variable in ``$exists($variable)``; None for any other call."""
    is_question = node.procedure.type == "variable" and node.procedure.value == "exists"
    if is_question and [argument.type for argument in node.arguments] == ["variable"]:
        return str(node.arguments[0].value)
    return None


def _visit_path(node: Any, bound: frozenset[str], has_context: bool, found: References) -> None:
    first, *rest = node.steps
    if first.type == "name" and not has_context:
        found.context.add(".".join(str(step.value) for step in node.steps if step.type == "name"))
    if first.type == "variable" and first.value == "states" and "states" not in bound:
        if rest and rest[0].type == "name":
            found.states.add(str(rest[0].value))
        _visit_filters(first, bound, found)
    elif first.type == "name":
        _visit_filters(first, bound, found)
    else:
        _visit(first, bound, has_context, found)
    for step in rest:
        _visit(step, bound, True, found) if step.type != "name" else _visit_filters(
            step, bound, found
        )
    if getattr(node, "group", None) is not None:
        _visit(node.group, bound, True, found)


def _visit_filters(node: Any, bound: frozenset[str], found: References) -> None:
    for _, child in _children(node):
        _visit(child, bound, True, found)


def _visit_variable(name: str, bound: frozenset[str], has_context: bool, found: References) -> None:
    if name == "$" or (name == "" and not has_context):
        found.context.add("$" + name)
    elif name and name not in bound and name not in FUNCTIONS and name != "states":
        found.variables.add(name)


def _visit_block(node: Any, bound: frozenset[str], has_context: bool, found: References) -> None:
    inner = bound
    for expression in node.expressions:
        if expression.type == "bind":
            # A function may call itself.
            recursive = {str(expression.lhs.value)} if expression.rhs.type == "lambda" else set()
            _visit(expression.rhs, inner | recursive, has_context, found)
            inner = inner | {str(expression.lhs.value)}
        else:
            _visit(expression, inner, has_context, found)
