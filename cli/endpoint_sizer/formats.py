"""``--output``: what a verb found, as a table for people, JSON for programs, text for the shell."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from pydantic import BaseModel

_FORMATS: Final = ("table", "json", "text")


def output_option(*others: str) -> Callable[[Any], Any]:
    """The option ``--output``, with formats of a command's own."""
    return click.option(
        "--output",
        type=click.Choice([*_FORMATS, *others]),
        default="table",
        show_default=True,
        help="Text is one line for each, its fields apart by tabs.",
    )


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Args:
        title: What stands above it.
        key: The field that it shows.
        shown: How a value that is there is shown to people.
        right: Whether it is ranged right, as figures are.
    """

    title: str
    key: str
    shown: Callable[[Any], str] = str
    right: bool = False


def show(
    output: str,
    document: BaseModel,
    columns: Sequence[Column],
    rows: Sequence[Mapping[str, Any]],
    *,
    none: str = "",
) -> None:
    """Print a document in the format asked for.

    Args:
        output: The format: table, json or text.
        document: All of it; what JSON shows.
        columns: What table and text show of each row.
        rows: The rows, with plain values.
        none: Said in the place of a table without rows.
    """
    if output == "json":
        show_json(document.model_dump(mode="json"))
    elif output == "text":
        for row in rows:
            click.echo("\t".join(_plain(row.get(column.key)) for column in columns))
    elif rows:
        _print_table(columns, rows)
    elif none:
        click.echo(none)


def show_json(document: Any) -> None:
    """Print JSON."""
    click.echo(json.dumps(document, indent=2))


def _plain(value: Any) -> str:
    return "" if value is None else " ".join(str(value).split())


def _print_table(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from endpoint_sizer.layout import console_of_stdout

    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column.title, justify="right" if column.right else "left")
    for row in rows:
        cells = ((column, row.get(column.key)) for column in columns)
        table.add_row(
            *(Text("" if value is None else column.shown(value)) for column, value in cells)
        )
    console_of_stdout().print(table)
