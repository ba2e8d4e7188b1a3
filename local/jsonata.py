"""JSONata as Step Functions evaluates it: the language, AWS's functions, JSON in and out.

The evaluator is jsonata-python. Variables are handed over as native bindings rather than written
into the expression, so that any string survives and a loop costs no parsing of its own state.

Functions: https://docs.aws.amazon.com/step-functions/latest/dg/transforming-data.html
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import jsonata as jsonata_python
from jsonata.utils import Utils


class QueryError(Exception):
    """The expression can't be parsed, failed, or gave nothing that JSON can hold."""


def evaluate(expression: str, variables: Mapping[str, Any]) -> Any:
    """Value of a JSONata expression.

    Args:
        expression: JSONata, without the delimiters ``{%`` and ``%}``.
        variables: JSON values by name, without the leading ``$``. Left as they are.

    Returns:
        A JSON value that shares nothing with the variables.

    Raises:
        QueryError: With the reason, as a sentence.
    """
    bindings = {name: _bound(value) for name, value in variables.items()}
    try:
        program = jsonata_python.Jsonata(expression)
        program.set_output_convert_nulls(False)  # None stays apart from null: it is "undefined"
        result = program.evaluate(None, {**_FUNCTIONS, **bindings})
        if result is None:
            raise QueryError(f"The JSONata expression '{expression}' returned nothing (undefined).")
        return _as_json(result)
    except (QueryError, RecursionError) as error:
        raise QueryError(str(error)) from None
    except Exception as error:
        reason = f"The JSONata expression '{expression}' threw an error: {error}"
        raise QueryError(reason) from error


def _bound(value: Any) -> Any:
    return Utils.NULL_VALUE if value is None else value


def _as_json(value: Any) -> Any:
    """A copy of a result as plain JSON; whole numbers are integers, as in JavaScript."""
    if value is Utils.NULL_VALUE or value is None:
        return None
    if isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise QueryError(f"the number {value} is not a JSON value")
        return int(value) if value.is_integer() else value
    if isinstance(value, Utils.RangeList):
        # Its own iterator leaves the last one out.
        return [value[index] for index in range(len(value))]
    if isinstance(value, Mapping):
        return {str(key): _as_json(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(each) for each in value]
    raise QueryError("the result is a function, which is not a JSON value")


def _partition(array: list[Any], size: int) -> list[list[Any]]:
    if size <= 0:
        raise QueryError("$partition needs a chunk size greater than 0")
    return [array[start : start + size] for start in range(0, len(array), int(size))]


def _range(first: float, last: float, step: float) -> list[float]:
    if step == 0:
        raise QueryError("$range needs a step other than 0")
    count = max(0, math.floor((last - first) / step) + 1)
    if count > 1000:
        raise QueryError(f"$range gives at most 1000 values, not {count}")
    return [first + index * step for index in range(count)]


_HASHES = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384"}
_HASHES["SHA-512"] = "sha512"


def _hash(value: Any, algorithm: str = "SHA-256") -> str:
    if algorithm not in _HASHES:
        raise QueryError(f"$hash takes one of {', '.join(_HASHES)}, not {algorithm}")
    text = value if isinstance(value, str) else json.dumps(_as_json(value), separators=(",", ":"))
    return hashlib.new(_HASHES[algorithm], text.encode(), usedforsecurity=False).hexdigest()


def _random(seed: float | None = None) -> float:
    return random.Random(seed).random()


def _uuid() -> str:
    return str(uuid.uuid4())


def _parse(text: str) -> Any:
    try:
        return _bound(json.loads(text))
    except ValueError as error:
        raise QueryError(f"$parse was given a string that is not JSON: {error}") from None


def _eval(*_: Any) -> Any:
    raise QueryError("Step Functions has no $eval; $parse reads JSON")


_IMPLEMENTATIONS: dict[str, Callable[..., Any]] = {
    "partition": _partition,
    "range": _range,
    "hash": _hash,
    "random": _random,
    "uuid": _uuid,
    "parse": _parse,
    "eval": _eval,
}
_FUNCTIONS = {
    name: jsonata_python.Jsonata.JLambda(function) for name, function in _IMPLEMENTATIONS.items()
}
