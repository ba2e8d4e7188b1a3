"""Why a request is refused, in one line: the field, what is allowed there, and what was given.

What was given is shown only where it can't be a payload or a secret; of those, and of whatever is
large, only its kind is told. Nothing of a request reaches a log or a message by another way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from sizing.errors import InvalidRequest

Location = Sequence[int | str]

#: What stands under these may be a payload, or a secret of a container, however misplaced it is.
_CONFIDENTIAL = (("payloads",), ("model", "container", "environment"))

_LONGEST_PART = 60
_LONGEST_FIELD = 200
_LARGEST_SHOWN = 10**18

_WHAT_IS_ALLOWED = {
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be {ge:g} or more",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be {le:g} or less",
    "missing": "is missing",
    "too_short": "needs at least {min_length}",
    "too_long": "takes at most {max_length}",
    "string_too_short": "needs at least {min_length} characters",
    "string_too_long": "takes at most {max_length} characters",
    "string_unicode": "must be text without halves of surrogate pairs",
    "literal_error": "must be one of {expected}",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "invalid_key": "must have strings as its fields' names",
}


def refusal(
    error: ValidationError, schema: Mapping[str, Any], patterns: Mapping[str, str]
) -> InvalidRequest:
    """What an operator reads of a failed validation: its first error.

    Args:
        error: Of the whole request.
        schema: The request's JSON schema; it knows which fields are allowed where.
        patterns: What each pattern of the request's strings allows, in words.
    """
    # An unknown field is often a misspelt one, whose right name is "missing": name it first.
    errors = sorted(
        error.errors(include_url=False), key=lambda each: each["type"] != "extra_forbidden"
    )
    first: Any = errors[0]
    location = [part for part in first["loc"] if part != "[key]"]
    kind, context = first["type"], first.get("ctx", {})
    field = field_path(location) or "request"
    if kind == "extra_forbidden":
        allowed = ", ".join(_fields_at(location[:-1], schema))
        return InvalidRequest(field, f"unknown field; allowed here: {allowed}")
    if kind == "value_error":
        return InvalidRequest(field, str(context["error"]))
    if kind == "string_pattern_mismatch":
        message = patterns[context["pattern"]]
    else:
        message = _WHAT_IS_ALLOWED.get(kind, "").format(**context) or first["msg"]
    got = "" if kind == "missing" else f", got {_given(first['input'], location)}"
    return InvalidRequest(field, message + got)


def field_path(location: Location) -> str:
    """A field's path, such as ``payloads.inline.0.body``, on one line however it was written.

    What is not ASCII is escaped: a letter that only looks like the right one shows.
    """
    parts = (_shortened(ascii(str(part))[1:-1], _LONGEST_PART) for part in location)
    return _shortened(".".join(parts), _LONGEST_FIELD)


def _given(value: object, location: Location) -> str:
    """A value as it is shown: as JSON where that is short and tells no secret, else its kind."""
    match value:
        case None | bool() | float():
            return json.dumps(value)
        case int():  # not all digits of a huge one: Python refuses to write thousands
            digits = "a whole number of more than 18 digits"
            return json.dumps(value) if abs(value) < _LARGEST_SHOWN else digits
        case str() if any(tuple(location[: len(each)]) == each for each in _CONFIDENTIAL):
            return f"a string of {len(value):,} characters"
        case str():
            return _shortened(json.dumps(value[:_LONGEST_PART]), _LONGEST_PART)
        case Mapping():
            return "an object"
        case Sequence():
            return "a list"
        case _:
            return f"a {type(value).__name__}"


def _fields_at(location: Location, schema: Mapping[str, Any]) -> list[str]:
    """Names of the fields allowed at a path of the request."""
    node = schema
    for part in location:
        node = _resolved(node, schema)
        node = node["items"] if isinstance(part, int) else node["properties"][part]
    return list(_resolved(node, schema).get("properties", {}))


def _resolved(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The object or array a schema node stands for, behind ``$ref`` and ``anyOf [..., null]``."""
    for alternative in node.get("anyOf", ()):
        if alternative.get("type") != "null":
            return _resolved(alternative, schema)
    if "$ref" in node:
        return _resolved(schema["$defs"][node["$ref"].rpartition("/")[2]], schema)
    return node


def _shortened(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 3] + "..."
