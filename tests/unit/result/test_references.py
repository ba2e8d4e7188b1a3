"""Types, ranges and defaults of docs/result.md are the schemas'."""

from __future__ import annotations

from typing import Any

import pytest

from tools import references


@pytest.mark.parametrize(
    "field, words",
    [
        ({"type": "boolean"}, "boolean"),
        ({"type": "integer", "minimum": 1, "maximum": 1000}, "integer, 1-1,000"),
        ({"type": "integer", "minimum": 1}, "integer, 1 or more"),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 2.5}, "number > 0, up to 2.5"),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 100}, "number > 0, < 100"),
        ({"type": "number"}, "number"),
        ({"type": "string", "enum": ["a", "b", "c"]}, "`a`, `b` or `c`"),
        ({"type": "integer", "enum": [1, 2]}, "1 or 2"),
        ({"anyOf": [{"type": "integer", "maximum": 9}, {"type": "null"}]}, "integer, up to 9"),
        ({"type": "integer", "minimum": 0, "maximum": 2**31}, "integer, 0-2^31"),
        ({"$ref": "#/$defs/Kind"}, "`one` or `other`"),
        # What the schema can't say well, or leaves open, is said by hand.
        ({"type": "string"}, None),
        ({"type": "array", "items": {"type": "integer"}}, None),
        ({"anyOf": [{"type": "string"}, {"type": "number"}]}, None),
    ],
)
def test_a_type_in_words(field: dict[str, Any], words: str | None) -> None:
    root = {"$defs": {"Kind": {"type": "string", "enum": ["one", "other"]}}}
    assert references.type_words(field, root) == words


def test_the_tables_are_the_schemas() -> None:
    text = references.DOCUMENT.read_text()
    assert references.with_tables(text) == text


@pytest.mark.parametrize(
    "right, wrong",
    [
        ("`limits.max_instances` | integer, 1-1,000 | 20 |", "integer, 1-100 | 20 |"),
        ("`limits.max_instances` | integer, 1-1,000 | 20 |", "integer, 1-1,000 | 30 |"),
        ("`dry_run` | boolean | `false` |", "boolean | `true` |"),
        ("`routing` | `LEAST_OUTSTANDING_REQUESTS` or `RANDOM` |", "`RANDOM` |"),
        ("`target.from_endpoint.name` | string | required |", "string | none |"),
        ("`limit` | string | null |", "string | always there |"),
        ("`reason` | string | always there |", "string | null |"),
    ],
)
def test_a_row_that_is_not_as_the_schema_is_written_anew(right: str, wrong: str) -> None:
    text = references.DOCUMENT.read_text()
    name = right.partition(" | ")[0]
    assert text.count(f"| {right}") == 1, right
    changed = text.replace(f"| {right}", f"| {name} | {wrong}")
    assert changed != text
    assert references.with_tables(changed) == text
