"""A sizing under way, wherever it runs: what is shown of it, and how the command ends with it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from endpoint_sizer import summary
from endpoint_sizer.display import Display, display_for
from endpoint_sizer.endings import Exit, Failed, WrongUse
from endpoint_sizer.formats import Column, show
from endpoint_sizer.gate import Gate
from endpoint_sizer.layout import console_of_stdout
from endpoint_sizer.printed import Execution
from local.size.outcome import Outcome
from local.size.progress import Progress
from sizing import errors
from sizing.clean_up.names import RESULT_FILE, sizing_id
from sizing.result.message import model_label, sentence, usd
from sizing.result.result import Result
from sizing.search.answer import Status

RESULT_COLUMNS = (
    Column("sizing", "sizing_id"),
    Column("status", "status"),
    Column("type", "instance_type"),
    Column("count", "instance_count", right=True),
    Column("per hour", "hourly_cost_usd", usd, right=True),
    Column("model", "model"),
)
_EXECUTION_COLUMNS = (
    Column("sizing", "sizing_id"),
    Column("status", "status"),
    Column("execution", "execution_arn"),
)


class _Nothing(AbstractContextManager["_Nothing"]):
    """No display: a program reads what comes at the end."""

    def __exit__(self, *_: Any) -> None:
        pass

    def update(self) -> None:
        pass


class Shown:
    """What is shown of a sizing while it runs.

    JSON and text have standard output for themselves; progress then goes to standard error, and
    only to a terminal.

    Args:
        progress: What to show, if anything.
        output: The format of the end.
    """

    def __init__(self, progress: Progress | None, output: str) -> None:
        self.console = console_of_stdout() if output == "table" else Console(stderr=True)
        self.display: Display = _Nothing()
        if progress is not None and (output == "table" or sys.stderr.isatty()):
            self.display = display_for(self.console, progress, time.monotonic)


def print_end(outcome: Outcome, output: str, written: Sequence[Path | str]) -> None:
    """Print what a sizing came to; why there is no answer is told on standard error, not here."""
    if outcome.result is not None:
        content = outcome.files.get(RESULT_FILE, b"")
        print_result(content, outcome.result, output, [*map(str, written)])


def print_result(content: bytes, result: Result, output: str, written: Sequence[str]) -> None:
    """Print a result.

    Args:
        content: ``result.json``.
        result: The same, read.
        output: The format.
        written: Where result and report are.
    """
    if output == "json":
        click.echo(content)
    elif output == "text":
        seen = result.recommendation
        row = {
            "sizing_id": result.sizing.id,
            "status": result.status,
            "model": model_label(result.sizing.request),
            "instance_type": seen and seen.instance_type,
            "instance_count": seen and seen.instance_count,
            "hourly_cost_usd": seen and seen.hourly_cost_usd,
        }
        show(output, result, RESULT_COLUMNS, [row])
    else:
        summary.show(console_of_stdout(), result, files=written)


def print_execution(output: str, arn: str, status: str = "RUNNING") -> None:
    """Print which sizing was started, or stopped."""
    row = Execution(sizing_id=sizing_id(arn), execution_arn=arn, status=status)
    show(output, row, _EXECUTION_COLUMNS, [row.model_dump()])


def ended(outcome: Outcome, gate: Gate) -> Exit:
    """The exit code; says why on standard error unless there is an answer that passes the gate."""
    result, error = outcome.result, outcome.error
    if error is None and result is not None:
        if result.status in (Status.SIZED, Status.DRY_RUN):
            if refusal := gate.refusal(result):
                click.echo(" ".join(refusal.split()), err=True)
                return Exit.REFUSED
            return Exit.DONE
        if result.status is Status.TARGET_NOT_MET:
            click.echo(" ".join(sentence(result).split()), err=True)
            return Exit.TARGET_NOT_MET
        error = sentence(result)
    name = result.error.name if result is not None and result.error is not None else ""
    if issubclass(getattr(errors, name, object), errors.InvalidRequest):
        raise WrongUse(error or "the request is invalid")
    raise Failed(error or "the sizing has no result")
