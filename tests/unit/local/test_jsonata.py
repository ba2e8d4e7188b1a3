"""JSONata as Step Functions evaluates it."""

from __future__ import annotations

from typing import Any

import pytest

from local.jsonata import QueryError, evaluate


@pytest.mark.parametrize(
    "expression, variables, value",
    [
        ("$name", {"name": 'quotes " and\nlines'}, 'quotes " and\nlines'),
        ("$states.input.a[1]", {"states": {"input": {"a": [1, 2]}}}, 2),
        ("$items[size > 1]", {"items": [{"size": 1}, {"size": 2}]}, {"size": 2}),
        ("[$items[size > 1]]", {"items": [{"size": 1}, {"size": 2}]}, [{"size": 2}]),
        ("[1..3]", {}, [1, 2, 3]),
        ("10 / 4", {}, 2.5),
        ("10 / 5", {}, 2),
        ("$nothing", {"nothing": None}, None),
        ("$nothing = null", {"nothing": None}, True),
        ("{'a': $object.x, 'b': $missing}", {"object": {"x": None}}, {"a": None}),
        ("$merge([$object, {'b': 2}])", {"object": {"a": None}}, {"a": None, "b": 2}),
    ],
)
def test_gives_plain_json(expression: str, variables: dict[str, Any], value: Any) -> None:
    result = evaluate(expression, variables)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    "expression, value",
    [
        ("$partition([1,2,3,4,5], 2)", [[1, 2], [3, 4], [5]]),
        ("$range(0, 10, 5)", [0, 5, 10]),
        ("$range(5, 1, -2)", [5, 3, 1]),
        ("$range(5, 1, 2)", []),
        ("$parse('{\"a\": [1, null]}').a", [1, None]),
        ("$hash('abc', 'MD5')", "900150983cd24fb0d6963f7d28e17f72"),
        (
            "$hash('abc')",
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ),
        ("$random(1) = $random(1)", True),
        ("$random(1) = $random(2)", False),
        ("$random() < 1", True),
        ("$length($uuid())", 36),
    ],
)
def test_has_the_functions_that_step_functions_adds(expression: str, value: Any) -> None:
    assert evaluate(expression, {}) == value


@pytest.mark.parametrize(
    "expression, reason",
    [
        ("$missing", "returned nothing"),
        ("$a.b", "returned nothing"),
        ("1 +", "Unexpected end of expression"),
        ("$a + 1", "must evaluate to a number"),
        ("function($x) { $x }", "is a function"),
        ("$parse('{')", "not JSON"),
        ("$eval('1')", "no \\$eval"),
        ("$error('broken')", "broken"),
        ("$partition([1], 0)", "greater than 0"),
        ("$range(1, 2, 0)", "other than 0"),
        ("$range(0, 5000, 1)", "at most 1000"),
        ("$hash('a', 'CRC')", "MD5, SHA-1, SHA-256, SHA-384, SHA-512"),
    ],
)
def test_says_what_is_wrong_with_an_expression(expression: str, reason: str) -> None:
    with pytest.raises(QueryError, match=reason):
        evaluate(expression, {"a": {}})


def test_shares_nothing_with_the_variables() -> None:
    variables = {"list": [{"a": None}]}
    result = evaluate("$list", variables)
    result[0]["a"] = 1
    assert variables == {"list": [{"a": None}]}
