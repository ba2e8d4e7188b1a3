"""The tables of docs/result.md, whose types, ranges and defaults are those of the schemas.

``PYTHONPATH=functions python -m tools.references`` writes them anew; with ``--check`` it says what
differs. What a cell says where the schema knows no more than ``string``, ``list`` or ``object`` is
left as it is, and so are the caveats.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from sizing.request.request import Request
from sizing.result.result import Result

DOCUMENT: Final = Path(__file__).parents[1] / "docs" / "result.md"
#: What the half of the request ends with, and that of the result begins.
_RESULT: Final = "\n## Result\n"
_THERE: Final = "always there"
_ROW: Final = re.compile(r"^\| `([\w.]+)` \| (.*?) \| (.*?) \|(.*)$", re.MULTILINE)

Schema = Mapping[str, Any]


def with_tables(text: str) -> str:
    """The document with each row's type and default as the schemas have them."""
    request, found, result = text.partition(_RESULT)
    of_request = Request.model_json_schema()
    of_result = Result.model_json_schema(mode="serialization")
    return (
        _with_rows(request, of_request, in_result=False)
        + found
        + _with_rows(result, of_result, in_result=True)
    )


def _with_rows(text: str, schema: Schema, *, in_result: bool) -> str:
    def row(match: re.Match[str]) -> str:
        path, type_, default, rest = match.groups()
        found = _at(path, schema)
        if found is None:  # of another table
            return match[0]
        field, required = found
        type_ = type_words(field, schema) or type_
        said = _presence(field, default, required) if in_result else _default(field, required)
        return f"| `{path}` | {type_} | {said or default} |{rest}"

    return _ROW.sub(row, text)


def _at(path: str, schema: Schema) -> tuple[Schema, bool] | None:
    """The schema of a field, and whether its object must have it; None if there is none."""
    here: Schema = schema
    required = False
    for name in path.split("."):
        holder = next((each for each in _within(here, schema) if name in _fields(each)), None)
        if holder is None:
            return None
        required = name in holder.get("required", ())
        here = _fields(holder)[name]
    return here, required


def _fields(schema: Schema) -> Mapping[str, Schema]:
    fields: Mapping[str, Schema] = schema.get("properties", {})
    return fields


def _within(schema: Schema, root: Schema) -> Iterator[Schema]:
    """What a schema may stand for: behind references, in unions and as items of lists."""
    if "$ref" in schema:
        yield from _within(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    elif "anyOf" in schema:
        for each in schema["anyOf"]:
            yield from _within(each, root)
    elif schema.get("type") == "array" and "items" in schema:
        yield from _within(schema["items"], root)
    else:
        yield schema


def _kinds(schema: Schema, root: Schema) -> list[Schema]:
    """What a value may be, besides null."""
    if "$ref" in schema:
        return _kinds(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    kinds = schema.get("anyOf", [schema])
    if kinds == [schema]:
        return [schema]
    return [kind for each in kinds for kind in _kinds(each, root) if kind.get("type") != "null"]


def type_words(field: Schema, root: Schema) -> str | None:
    """A field's type and range, in words; None where the schema knows too little to say."""
    kinds = _kinds(field, root)
    if len(kinds) != 1:
        return None
    [kind] = kinds
    if "enum" in kind:
        return _one_of(
            [f"`{each}`" if isinstance(each, str) else f"{each}" for each in kind["enum"]]
        )
    if kind.get("type") == "boolean":
        return "boolean"
    if kind.get("type") in ("integer", "number"):
        return f"{kind['type']}{_range(kind)}"
    return None


def _range(kind: Schema) -> str:
    least, over = kind.get("minimum"), kind.get("exclusiveMinimum")
    most, under = kind.get("maximum"), kind.get("exclusiveMaximum")
    if least is not None and most is not None:
        return f", {_number(least)}-{_number(most)}"
    words = []
    if least is not None:
        words.append(f"{_number(least)} or more")
    if over is not None:
        words.append(f"> {_number(over)}")
    if most is not None:
        words.append(f"up to {_number(most)}")
    if under is not None:
        words.append(f"< {_number(under)}")
    separator = " " if over is not None else ", "
    return separator + ", ".join(words) if words else ""


def _presence(field: Schema, said: str, required: bool) -> str | None:
    """Whether a field of the result may be null, where the cell says that it is not, or is."""
    may_be = "null" in [each.get("type") for each in field.get("anyOf", ())]
    if said in ("null", _THERE):
        return "null" if may_be else _THERE if required else None
    return None


def _default(field: Schema, required: bool) -> str | None:
    """A default that is a value of its own, or that there is none."""
    if required:
        return "required"
    default = field.get("default")
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, int | float):
        return _number(default)
    return f"`{default}`" if isinstance(default, str) and default else None


def _number(value: float) -> str:
    return f"{value:,.10g}" if abs(value) < 1e9 else "2^31"


def _one_of(values: list[str]) -> str:
    return " or ".join([", ".join(values[:-1]), values[-1]]) if len(values) > 1 else values[0]


def main() -> int:
    """Write the tables, or with --check say that they are not as the schemas are."""
    text = DOCUMENT.read_text()
    made = with_tables(text)
    if "--check" not in sys.argv:
        DOCUMENT.write_text(made)
        return 0
    pairs = zip(text.splitlines(), made.splitlines(), strict=True)
    for here, there in pairs:
        if here != there:
            print(f"{DOCUMENT.name} has\n  {here}\nand the schema\n  {there}", file=sys.stderr)
    return int(text != made)


if __name__ == "__main__":
    sys.exit(main())
