"""The end of a sizing on a terminal: its load tests, the answer, its costs, its files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sizing.load_test.observation import Observation, Verdict
from sizing.result.failure import RETRY_IN_WORDS
from sizing.result.message import milliseconds, sentence, usd
from sizing.result.result import Result
from sizing.search.answer import Status

_STYLES = {Verdict.IN_BAND: "green", Verdict.UNDERUSED: "yellow", Verdict.OVERLOADED: "red"}


def show(console: Console, result: Result, *, files: list[Path]) -> None:
    """Print the summary."""
    table = _table(result)
    if table.row_count:
        console.print()
        console.print(table)
    console.print()
    style = "bold green" if result.status in (Status.SIZED, Status.DRY_RUN) else "bold yellow"
    console.print(Text(sentence(result), style=style), soft_wrap=True)
    if result.recommendation is not None:
        console.print(Text(result.reason, style="dim"), soft_wrap=True)
    console.print()
    for label, text in _facts(result):
        console.print(Text.assemble((f"{label:<15}", "dim"), text), soft_wrap=True)
    for note in result.notes:
        console.print(Text.assemble((f"{'note':<15}", "dim"), note), soft_wrap=True)
    for path in files:
        label = "report" if path.suffix == ".html" else "result"
        console.print(Text.assemble((f"{label:<15}", "dim"), str(path)), soft_wrap=True)


def _table(result: Result) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("load test")
    for name in ("offered", "achieved", "utilization", "model p99", "errors"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for candidate in result.candidates:
        for load_test in candidate.load_tests:
            name = f"{candidate.instance_type} x {load_test.instance_count} {load_test.purpose}"
            if load_test.error is not None:
                table.add_row(name, *[""] * 5, Text(load_test.error, style="red"))
            for observation in load_test.observations:
                table.add_row(name, *_figures(observation), _verdict(observation))
                name = ""
    return table


def _figures(seen: Observation) -> Iterator[str]:
    yield f"{seen.offered_tps:,.1f}"
    yield f"{seen.achieved_tps:,.1f}"
    yield f"{seen.utilization_percent:.1f} %"
    yield milliseconds(seen.model_latency_ms.p99)
    yield f"{seen.error_percent:.3g} %"


def _verdict(seen: Observation) -> Text:
    if seen.verdict is None:
        return Text("")
    return Text(str(seen.verdict), style=_STYLES.get(seen.verdict, "red"))


def _facts(result: Result) -> Iterator[tuple[str, str]]:
    answer = result.recommendation
    if answer is not None:
        million = answer.cost_per_million_usd
        per_million = "" if million is None else f", {usd(million)} per million requests"
        yield "cost", f"{usd(answer.hourly_cost_usd)} per hour{per_million}"
    if result.error is not None:
        yield "what to do", result.error.advice
        yield "start again", RETRY_IN_WORDS[result.error.retry]
    if result.sizing.cost_usd is not None and result.status is not Status.DRY_RUN:
        yield (
            "this sizing",
            f"{usd(result.sizing.cost_usd)} on AWS for the same load tests; nothing here",
        )


def show_logs(console: Console, logs: list[Path], lines: int = 10) -> None:
    """Print the ends of logs that may tell what went wrong."""
    for path in logs:
        end = path.read_text(errors="replace").splitlines()[-lines:]
        console.print()
        console.print(Text(str(path), style="dim"))
        for line in end:
            console.print(Text(f"  {line}"), soft_wrap=True)
