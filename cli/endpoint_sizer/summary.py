"""The end of a sizing: its load tests, the answer, its costs, its files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from endpoint_sizer.layout import ANY_WIDTH, Packed, labelled
from sizing.load_test.observation import Observation, Verdict
from sizing.result.failure import RETRY_IN_WORDS
from sizing.result.message import locally, milliseconds, sentence, usd
from sizing.result.result import LoadTestResult, Result
from sizing.search.answer import Status

_STYLES = {Verdict.IN_BAND: "green", Verdict.UNDERUSED: "yellow", Verdict.OVERLOADED: "red"}
_FIGURES = ("offered", "achieved", "utilization", "model p99", "errors")


def show(console: Console, result: Result, *, files: Sequence[str]) -> None:
    """Print the summary; why there is no answer is told on standard error, not here."""
    for each in _load_tests(console, result):
        console.print(each)
    console.print()
    if result.status in (Status.SIZED, Status.DRY_RUN):
        console.print(Text(sentence(result), style="bold green"))
        if result.recommendation is not None:
            console.print(Text(result.reason, style="dim"))
        console.print()
    for label, text in _facts(result):
        console.print(labelled(Text(label, style="dim"), text))
    for note in result.notes:
        console.print(labelled(Text("note", style="dim"), note))
    for path in files:
        label = "report" if path.endswith(".html") else "result"
        console.print(Text.assemble((f"{label:<15}", "dim"), path), soft_wrap=True)


def _load_tests(console: Console, result: Result) -> Iterator[RenderableType]:
    """All load tests as a table, or, where that is too wide, one below the other."""
    named = [
        (f"{candidate.instance_type} x {each.instance_count} {each.purpose}", each)
        for candidate in result.candidates
        for each in candidate.load_tests
    ]
    if not named:
        return
    yield ""
    table = _table(named)
    if (
        console.measure(table, options=console.options.update_width(ANY_WIDTH)).maximum
        <= console.width
    ):
        yield table
        return
    for name, load_test in named:
        yield Text(name)
        if load_test.error is not None:
            yield labelled("", Text(load_test.error, style="red"), 2)
        for seen in load_test.observations:
            figures = [
                Text.assemble((f"{label} ", "dim"), figure)
                for label, figure in zip(_FIGURES, _figures(seen), strict=True)
            ]
            yield Packed(
                [Text.assemble("  ", figures[0]), *figures[1:], _verdict(seen)], indent=4, gap=2
            )


def _table(named: list[tuple[str, LoadTestResult]]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("load test", no_wrap=True)
    for figure in _FIGURES:
        table.add_column(figure, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for name, load_test in named:
        if load_test.error is not None:
            table.add_row(name, *[""] * len(_FIGURES), Text(load_test.error, style="red"))
        for seen in load_test.observations:
            table.add_row(name, *_figures(seen), _verdict(seen))
            name = ""
    return table


def _figures(seen: Observation) -> tuple[str, ...]:
    return (
        f"{seen.offered_tps:,.1f}",
        f"{seen.achieved_tps:,.1f}",
        f"{seen.utilization_percent:.1f} %",
        milliseconds(seen.model_latency_ms.p99),
        f"{seen.error_percent:.3g} %",
    )


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
    if text := locally(result):
        yield "measured", text


def show_disturbed(console: Console, others_percent: float) -> None:
    """Print that others used the cores of the model servers, in percent of them."""
    text = (
        f"other programs used {others_percent:.0f} % of the cores that are the model servers': "
        "what was measured is what they left. End what else runs on this machine, and size again."
    )
    console.print(labelled(Text("disturbed", style="bold yellow"), text))


def show_web_ui(console: Console, url: str) -> None:
    """Print where Locust's web UI is."""
    console.print(labelled(Text("web UI", style="bold"), f"{url}, while a load test runs"))


def show_logs(console: Console, logs: list[Path], lines: int = 10) -> None:
    """Print the ends of logs that may tell what went wrong."""
    for path in logs:
        end = path.read_text(errors="replace").splitlines()[-lines:]
        console.print()
        console.print(Text(str(path), style="dim"))
        for line in end:
            console.print(Text(f"  {line}"), soft_wrap=True)
