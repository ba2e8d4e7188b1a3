"""``endpoint-sizer list``, ``show`` and ``report``: what sizings of the stack came to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import click

from endpoint_sizer.endings import WrongUse
from endpoint_sizer.formats import Column, output_option, show
from endpoint_sizer.stack import Place, Stack, in_stack

_STATUSES: Final = (
    "RUNNING",
    "SIZED",
    "TARGET_NOT_MET",
    "DRY_RUN",
    "FAILED",
    "ABORTED",
    "TIMED_OUT",
)


def _usd(amount: float) -> str:
    return f"${amount:,.2f}"


_COLUMNS: Final = (
    Column("sizing", "sizing_id"),
    Column("started", "started_at"),
    Column("status", "status"),
    Column("TPS", "target_tps", "{:,g}".format, right=True),
    Column("type", "instance_type"),
    Column("count", "instance_count", right=True),
    Column("per hour", "hourly_cost_usd", _usd, right=True),
    Column("change", "change"),
    Column("model", "model"),
    Column("error", "error"),
)


@click.command(
    "list",
    epilog="""\b
Examples:
  endpoint-sizer list
  endpoint-sizer list --status RUNNING --output text
  endpoint-sizer list --model sentiment --limit 5""",
)
@in_stack()
@click.option("--model", metavar="M", help="Only of this model; those that have ended.")
@click.option("--status", type=click.Choice(_STATUSES), help="Only those of this status.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    metavar="N",
    help="How many at the most.",
)
@output_option()
def list_sizings(
    place: Place, model: str | None, status: str | None, limit: int, output: str
) -> None:
    """List sizings, the latest first."""
    stack = place.open()
    from endpoint_sizer import sizings
    from endpoint_sizer.printed import Sizings

    found = sizings.rows(stack, limit=limit, status=status, model=model)
    document = Sizings(sizings=tuple(found))
    rows = [each.model_dump() for each in found]
    show(output, document, _COLUMNS, rows, none=f"Stack {stack.name} has no such sizing.")


@click.command(
    "show",
    epilog="""\b
Examples:
  endpoint-sizer show 0123456789ab
  endpoint-sizer show --model sentiment
  endpoint-sizer show --latest --output json | jq .recommendation""",
)
@click.argument("sizing", metavar="[ID]", required=False)
@in_stack()
@click.option("--model", metavar="M", help="The last sizing of this model.")
@click.option("--latest", is_flag=True, help="The last sizing that has ended.")
@output_option()
def show_sizing(
    sizing: str | None, place: Place, model: str | None, latest: bool, output: str
) -> None:
    """Show what a sizing came to.

    Its ID is what list shows; its execution's name or ARN does as well.
    """
    _one_of(sizing, model, latest)
    stack = place.open()
    from endpoint_sizer import running, sizings
    from sizing.clean_up.names import REPORT_FILE, RESULT_FILE, sizing_folder
    from sizing.result.result import Result

    this = _id(stack, sizing, model)
    content = sizings.result_bytes(stack, this)
    folder = f"s3://{stack.bucket}/{sizing_folder(this)}"
    result = Result.model_validate_json(content)
    running.print_result(content, result, output, [folder + RESULT_FILE, folder + REPORT_FILE])


@click.command(
    epilog="""\b
Examples:
  endpoint-sizer report 0123456789ab
  endpoint-sizer report --latest --out report.html
  endpoint-sizer report --model sentiment --history"""
)
@click.argument("sizing", metavar="[ID]", required=False)
@in_stack()
@click.option("--model", metavar="M", help="The last sizing of this model.")
@click.option("--latest", is_flag=True, help="The last sizing that has ended.")
@click.option("--history", is_flag=True, help="All sizings of the model, on one page.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Save it there, and don't open it.",
)
@output_option()
def report(
    sizing: str | None,
    place: Place,
    model: str | None,
    latest: bool,
    history: bool,
    out: Path | None,
    output: str,
) -> None:
    """Open the report of a sizing in the browser, or save it.

    Where nobody watches, in a pipe or a script, it is only saved: to report-ID.html, or
    history-ID.html where ID is the last sizing's.
    """
    _one_of(sizing, model, latest)
    if history and model is None:
        raise WrongUse("--history: needs --model")
    stack = place.open()
    from endpoint_sizer import printed, sizings
    from endpoint_sizer.documents import reason

    if history:
        from report.history import render

        every = list(sizings.history(stack, str(model)))
        this = every[0].sizing_id
        path = out or Path(f"history-{this}.html")
        content = render(every[0].model_key, every).encode()
    else:
        this = _id(stack, sizing, model)
        path = out or Path(f"report-{this}.html")
        content = sizings.report_bytes(stack, this)
    try:
        path.write_bytes(content)
    except OSError as error:
        raise WrongUse(f"--out {path}: {reason(error)}") from None
    opened = out is None and sys.stdout.isatty() and click.launch(path.resolve().as_uri()) == 0
    done = printed.Report(sizing_id=this, path=str(path), opened=opened)
    if output == "table":
        click.echo(path)
    else:
        show(output, done, [Column("", "path")], [done.model_dump()])


def _one_of(sizing: str | None, model: str | None, latest: bool) -> None:
    if [sizing is not None, model is not None, latest].count(True) != 1:
        raise WrongUse("name one of ID, --model and --latest")


def _id(stack: Stack, sizing: str | None, model: str | None) -> str:
    from endpoint_sizer import sizings

    if sizing is not None:
        return sizings.id_of(stack, sizing)
    if model is not None:
        return next(sizings.history(stack, model)).sizing_id
    return sizings.latest(stack)
