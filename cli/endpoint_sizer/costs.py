"""``endpoint-sizer costs``: what sizings of the stack have cost."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Final

import click

from endpoint_sizer.formats import Column, output_option, show
from endpoint_sizer.stack import Place, Stack, in_stack

if TYPE_CHECKING:
    from endpoint_sizer.printed import Costs

_DAYS: Final = re.compile(r"([1-9]\d{0,3})d")


def _since(_context: click.Context, _parameter: click.Parameter, given: str) -> dt.datetime:
    if match := _DAYS.fullmatch(given):
        return dt.datetime.now(dt.UTC) - dt.timedelta(days=int(match[1]))
    try:
        moment = dt.datetime.fromisoformat(given)
    except ValueError:
        raise click.BadParameter(
            f"{given!r} is neither a date (2026-11-30) nor days (7d)."
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


@click.command(
    epilog="""\b
Examples:
  endpoint-sizer costs --since 1d
  endpoint-sizer costs --since 2026-11-01 --output json"""
)
@in_stack()
@click.option(
    "--since",
    default="30d",
    show_default=True,
    callback=_since,
    metavar="WHEN",
    help="A date, in UTC, or a number of days: 7d.",
)
@output_option()
def costs(place: Place, since: dt.datetime, output: str) -> None:
    """Say what sizings have cost, by model; those that have ended.

    These are the sizings' own estimates, from list prices; the bill comes with the stack's tag.
    """
    document = _costs(place.open(), since)
    from sizing.result.message import usd

    total = {"model_key": "total", **document.model_dump()}
    columns = (
        Column("model", "model_key"),
        Column("sizings", "sizings", right=True),
        Column("load tests", "load_tests", right=True),
        Column("cost", "cost_usd", usd, right=True),
    )
    rows = [each.model_dump() for each in document.models]
    show(output, document, columns, [*rows, total] if output == "table" else rows)
    if document.unknown and output == "table":
        click.echo(f"The cost of {document.unknown} more is not known.")


def _costs(stack: Stack, since: dt.datetime) -> Costs:
    from endpoint_sizer import sizings
    from endpoint_sizer.printed import Costs, ModelCosts

    start = since.astimezone(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    found = sizings.since(stack, start)
    known = [each for each in found if each.sizing_cost_usd is not None]
    models = [
        ModelCosts(
            model_key=key,
            sizings=len(of_it := [each for each in known if each.model_key == key]),
            load_tests=sum(each.load_tests for each in of_it),
            cost_usd=sum(each.sizing_cost_usd or 0.0 for each in of_it),
        )
        for key in sorted({each.model_key for each in known})
    ]
    return Costs(
        since=start,
        sizings=len(known),
        load_tests=sum(each.load_tests for each in models),
        cost_usd=sum(each.cost_usd for each in models),
        unknown=len(found) - len(known),
        models=tuple(models),
    )
