"""``endpoint-sizer compare``: two results side by side, for people and pull requests."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from endpoint_sizer import project
from endpoint_sizer.documents import read_json
from endpoint_sizer.endings import Exit, WrongUse
from endpoint_sizer.formats import Column, output_option, show
from endpoint_sizer.gate import FAIL_ON
from endpoint_sizer.stack import Place, Stack, in_stack

if TYPE_CHECKING:
    from endpoint_sizer.printed import Comparison, Figure
    from sizing.result.change import Change
    from sizing.result.result import Result

#: Results of many load tests have some 100 KB.
_LARGEST_RESULT: Final = 1 << 26
_OF_RECOMMENDATION: Final = (
    "instance_type",
    "instance_count",
    "hourly_cost_usd",
    "cost_per_million_usd",
    "utilization_percent",
    "model_latency_ms.p50",
    "model_latency_ms.p99",
    "client_latency_ms.p99",
    "error_percent",
)
_COLUMNS: Final = (
    Column("", "label"),
    Column("A", "a_shown", right=True),
    Column("B", "b_shown", right=True),
    Column("A to B", "delta", right=True),
)


@click.command(
    epilog="""\b
Examples:
  endpoint-sizer compare 0123456789ab ba9876543210
  endpoint-sizer compare main/result.json out/result.json \\
      --fail-on regressed
  endpoint-sizer compare main/result.json out/result.json \\
      --output markdown >> "$GITHUB_STEP_SUMMARY"

Exit codes: 0 done, 3 what --fail-on names, 1 failed, 64 wrong use."""
)
@click.argument("a")
@click.argument("b")
@in_stack()
@FAIL_ON
@output_option("markdown")
def compare(a: str, b: str, place: Place, fail_on: frozenset[str], output: str) -> int:
    """Compare result A, the former one, with result B.

    Each is a result.json, a folder that holds one, or the id of a sizing of the stack. What differs
    by no more than noise and tolerance is said to be unchanged.
    """
    project.make_importable()
    stack: list[Stack] = []

    def opened() -> Stack:
        if not stack:
            stack.append(place.open())
        return stack[0]

    before, after = read_result(a, opened), read_result(b, opened)
    from sizing.result.change import sentence

    change = changed(before, after)
    _print(output, _comparison(before, after, change), change)
    if change.kind in fail_on:
        click.echo(sentence(change), err=True)
        return Exit.REFUSED
    return Exit.DONE


def read_result(reference: str, stack: Callable[[], Stack | None]) -> Result:
    """A result that the user names.

    Args:
        reference: A file, a folder with ``result.json``, or the id of a sizing.
        stack: Gives the stack whose sizing it is; None if there is none.

    Raises:
        WrongUse: There is none, or it is no result.
    """
    from pydantic import ValidationError

    from sizing.clean_up.names import RESULT_FILE
    from sizing.result.result import Result

    path = Path(reference)
    if path.is_dir():
        path /= RESULT_FILE
    if path.exists():
        try:
            return Result.model_validate(read_json(path, most_bytes=_LARGEST_RESULT))
        except ValidationError as error:
            field = ".".join(map(str, error.errors()[0]["loc"]))
            raise WrongUse(f"{path}: not a result: {field}: {error.errors()[0]['msg']}") from None
    if len(path.parts) > 1 or path.suffix or (of_stack := stack()) is None:
        raise WrongUse(f"{reference}: no such file")
    from endpoint_sizer import sizings

    return sizings.result(of_stack, sizings.id_of(of_stack, reference))


def changed(before: Result, after: Result) -> Change:
    """What changed from one result to another, beyond noise and the latter's tolerance.

    Raises:
        WrongUse: They answer different questions, or one has no answer.
    """
    from sizing.result import change, history

    for each in (before, after):
        if not change.is_answer(each.status):
            raise WrongUse(f"sizing {each.sizing.id} is {each.status}: there is nothing to compare")
    if before.local != after.local:
        raise WrongUse("a result of this machine and one of AWS tell nothing about each other")
    if before.sizing.comparable_key != after.sizing.comparable_key:
        raise WrongUse(
            f"sizings {before.sizing.id} and {after.sizing.id} answer different questions: another "
            "model, instance types, payload, target, band, limits or routing"
        )
    tolerance = float(after.sizing.request["tolerance"])
    return change.compare(history.outcome(before), history.outcome(after), tolerance)


def _comparison(before: Result, after: Result, change: Change) -> Comparison:
    from endpoint_sizer.printed import Comparison

    return Comparison(
        a=before.sizing.id,
        b=after.sizing.id,
        kind=change.kind,
        what=change.what,
        figures=tuple(_figures(before, after)),
    )


def _figures(before: Result, after: Result) -> Iterator[Figure]:
    from endpoint_sizer.printed import Figure

    for (name, former), (_, latter) in zip(_facts(before), _facts(after), strict=True):
        delta = None
        if isinstance(former, int | float) and isinstance(latter, int | float) and former:
            delta = round(100 * (latter / former - 1), 3)
        if former is not None or latter is not None:
            yield Figure(name=name, a=former, b=latter, delta_percent=delta)


def _facts(result: Result) -> Iterator[tuple[str, float | str | None]]:
    """All that is compared, by its name in the result."""
    seen = result.recommendation
    capacity = next(
        (
            each.tps_per_instance_at_band_middle
            for each in result.candidates
            if seen is None or each.instance_type == seen.instance_type
        ),
        None,
    )
    yield "status", result.status
    yield "package_version", result.model.package_version if result.model else None
    for name in _OF_RECOMMENDATION:
        value: Any = seen
        for part in name.split("."):
            value = getattr(value, part) if value is not None else None
        yield name, value
    yield "tps_per_instance_at_band_middle", capacity
    yield "sizing.cost_usd", result.sizing.cost_usd


def _label(name: str) -> str:
    """A figure's name for people: ``model_latency_ms.p99`` is model latency p99, ms."""
    words, unit = re.sub(r"_(usd|percent|ms)\b(.*)", r"\2", name), ""
    for part, said in (("_usd", ", USD"), ("_percent", ", %"), ("_ms", ", ms")):
        unit = said if part in name else unit
    return re.sub(r"[_.]", " ", words).replace("tps", "TPS") + unit


def _shown(value: float | str | None) -> str:
    return "-" if value is None else value if isinstance(value, str) else f"{value:,.4g}"


def _print(output: str, comparison: Comparison, change: Change) -> None:
    from sizing.result.change import sentence

    rows = [
        {
            **each.model_dump(),
            "label": _label(each.name),
            "a_shown": _shown(each.a),
            "b_shown": _shown(each.b),
            "delta": "" if each.delta_percent is None else f"{each.delta_percent:+.1f} %",
        }
        for each in comparison.figures
    ]
    if output == "text":
        show(output, comparison, [Column("", key) for key in ("name", "a", "b")], rows)
    elif output == "markdown":
        click.echo(f"{sentence(change)}\n")
        click.echo(f"| | {comparison.a} | {comparison.b} | change |\n|---|--:|--:|--:|")
        for row in rows:
            cells = (row[key] for key in ("label", "a_shown", "b_shown", "delta"))
            click.echo("| " + " | ".join(str(each).replace("|", "\\|") for each in cells) + " |")
    else:
        if output == "table":
            click.echo(sentence(change))
        show(output, comparison, _COLUMNS, rows)
