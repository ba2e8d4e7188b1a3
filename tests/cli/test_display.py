"""What a sizing shows while it runs and at its end, in colours and without, wide and narrow."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from endpoint_sizer import summary
from endpoint_sizer.display import LiveDisplay, PlainDisplay, display_for, panel
from endpoint_sizer.layout import Packed, console_of_stdout, labelled
from local.size.progress import Progress
from sizing.load_test.observation import Verdict
from sizing.result.result import Result
from tests.unit.local.sizing_events import begun, entered, live, started
from tests.unit.result import sample_sizings

WIDTHS = [40, 60, 80, 120]


@pytest.fixture
def progress() -> Progress:
    return begun()


@pytest.fixture
def under_load(progress: Progress) -> Progress:
    """A sizing that offers its target to eight instances."""
    progress.handle(entered("PlanLoadTest"), now=101.0)
    progress.handle(started(), now=101.0)
    [view] = progress.load_tests.values()
    progress.leader_said(view, ["Step 1: 1000.0/s"], now=102.0)
    return progress


def see(
    progress: Progress,
    *rates: float,
    utilization: float = 62.5,
    errors: float = 0.0,
    others: float = 0.0,
) -> None:
    [view] = progress.load_tests.values()
    for tps in rates:
        progress.seen(view, live(tps, utilization, errors, others))


class Output(io.StringIO):
    """A file of another encoding."""

    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override] # io.StringIO has none
        return self._encoding


def plain(width: int = 120, encoding: str = "utf-8") -> tuple[Console, io.StringIO]:
    output = Output(encoding)
    return Console(file=output, width=width), output


def words(text: str) -> list[str]:
    return text.split()


# --- While it runs --------------------------------------------------------------------------------


def test_plain_lines_without_a_terminal(progress: Progress) -> None:
    console, output = plain()
    now = [100.0]
    display = display_for(console, progress, lambda: now[0])
    assert isinstance(display, PlainDisplay)
    with display:
        progress.handle(entered("ResolveRequest"), now=101.0)
        progress.handle(started(), now=102.0)
        [view] = progress.load_tests.values()
        progress.leader_said(view, ["Step 1: 1000.0/s"], now=103.0)
        for second in range(25):
            now[0] = 103.0 + second
            see(progress, 999.4, errors=1.5 if second > 15 else 0.0)
            display.update()
    lines = output.getvalue().splitlines()
    assert "  0:03  checking the request" in lines
    running = [line for line in lines if "utilization" in line]
    assert len(running) == 2  # one for every ten seconds of 24
    assert "1000.0 TPS offered, 999.4 achieved, 62.5 % utilization" in running[0]
    assert "1.5 errors/s" in running[1]
    assert "\x1b" not in output.getvalue()


@pytest.mark.parametrize("others, shown", [(10.0, False), (34.5, True)])
def test_what_disturbs_a_model_server_is_shown(
    under_load: Progress, others: float, shown: bool
) -> None:
    console, output = plain(200)
    now = [100.0]
    with PlainDisplay(console, under_load, lambda: now[0]) as display:
        display.update()
        see(under_load, 999.4, others=others)
        now[0] = 110.0
    assert ("62.5 % utilization, 34 % used by others, about" in output.getvalue()) is shown
    console, output = plain()
    console.print(panel(under_load, 110.0, console.options))
    assert bool(re.search(r"others +34\.5 %", output.getvalue())) is shown


def test_in_place_on_a_terminal(under_load: Progress) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=100)
    see(under_load, 1000.0, utilization=72.0)
    with display_for(console, under_load, lambda: 110.0) as display:
        assert isinstance(display, LiveDisplay)
    assert "\x1b[" in output.getvalue()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("utilization", [0.0, 40.0, 65.0, 99.9, 140.0])
def test_the_panel_shows_the_figures_at_any_width(
    under_load: Progress, utilization: float, width: int
) -> None:
    see(under_load, 0.0, 400.0, 1000.0, utilization=utilization, errors=3.0)
    [view] = under_load.load_tests.values()
    under_load.done.append(view)
    console, output = plain(width)
    console.print(panel(under_load, 110.0, console.options))
    text = output.getvalue()
    assert "1,000.0 TPS" in text
    assert f"{utilization:.1f} %" in text
    assert f"1,000 TPS: {utilization:.1f} %" in text
    assert " ▃█" in text
    for word in ("distilbert-base-uncased", "deploy", "baseline", "verify", "offered", "achieved"):
        assert word in words(text)
    assert "ml.m5.12xlarge x 8 verify" in text
    if width >= 60:
        assert max(map(len, text.splitlines())) <= width


def bar(progress: Progress, utilization: float, *, encoding: str = "utf-8") -> str:
    see(progress, 1000.0, utilization=utilization)
    console, output = plain(100, encoding)
    console.print(panel(progress, 110.0, console.options))
    [line] = [line for line in output.getvalue().splitlines() if line.startswith("  utilization")]
    return line.partition(" %  ")[2].strip()


@pytest.mark.parametrize(
    "utilization, place", [(20.0, "under"), (60.0, "in"), (70.0, "in"), (75.0, "over")]
)
def test_the_bar_tells_full_from_empty_without_a_colour(
    under_load: Progress, utilization: float, place: str
) -> None:
    cells, _, said = bar(under_load, utilization).partition("  ")
    assert said == f"{place} 60-70 %"
    assert cells.count("█") == round(utilization / 100 * len(cells))
    assert set(cells[cells.rindex("█") + 1 :]) <= {"░", "·"}
    if utilization < 60:
        assert cells.count("░") == len(cells) // 10


def test_the_bar_is_read_in_ascii_too(under_load: Progress) -> None:
    assert bar(under_load, 65.0, encoding="ascii").startswith("#" * 26 + "::" + "." * 12)


def test_a_terminal_of_ascii_gets_nothing_else(under_load: Progress) -> None:
    see(under_load, 10.0, 1000.0)
    console, output = plain(100, "ascii")
    console.print(panel(under_load, 110.0, console.options))
    assert output.getvalue().isascii()


def test_no_colour_where_none_is_wanted(
    under_load: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    see(under_load, 1000.0)
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=100)
    console.print(panel(under_load, 110.0, console.options))
    assert not re.search(r"\x1b\[[0-9;]*(3[0-9]|9[0-7])", output.getvalue())


# --- At its end -----------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [*WIDTHS, 10_000])
@pytest.mark.parametrize("name", sample_sizings.ALL)
def test_the_summary_cuts_no_word_at_any_width(name: str, width: int) -> None:
    result = Result.model_validate(sample_sizings.ALL[name]().document())
    console, output = plain(width)
    summary.show(console, result, files=[])
    text = output.getvalue()
    wide_console, wide = plain(10_000)
    summary.show(wide_console, result, files=[])
    longer = {word for word in words(text) if word not in words(wide.getvalue())}
    # Below each other, each figure has its name.
    assert longer <= {"offered", "achieved", "utilization", "model", "p99", "errors"}
    for verdict in Verdict:
        assert text.count(verdict) == wide.getvalue().count(verdict)
    assert max(map(len, text.splitlines())) <= width


def test_the_summary_is_a_table_where_there_is_room() -> None:
    result = Result.model_validate(sample_sizings.sized().document())
    console, output = plain(100)
    summary.show(console, result, files=[])
    assert re.search(r"^load test +offered +achieved +utilization", output.getvalue(), re.MULTILINE)


def test_a_disturbed_sizing_says_so_at_its_end() -> None:
    console, output = plain(200)
    summary.show_disturbed(console, 34.4)
    assert output.getvalue().startswith("disturbed      other programs used 34 % of the cores")


def test_why_there_is_no_answer_is_left_to_standard_error() -> None:
    result = Result.model_validate(sample_sizings.failed().document())
    console, output = plain(100)
    summary.show(console, result, files=[])
    assert "what to do" in output.getvalue()
    assert "Failed (" not in output.getvalue()


# --- Layout ---------------------------------------------------------------------------------------


def test_a_pipe_has_the_width_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert console_of_stdout().width == 10_000
    monkeypatch.setenv("COLUMNS", "60")
    assert console_of_stdout().width == 60
    monkeypatch.setenv("COLUMNS", "wide")
    assert console_of_stdout().width == 10_000


def test_parts_are_packed_and_never_broken() -> None:
    console, output = plain(20)
    console.print(Packed(["three words here", "two words", "six", "much longer than a line"]))
    assert output.getvalue().splitlines() == [
        "three words here",
        "  two words   six",
        "  much longer than a",
        "line",
    ]


def test_a_text_stays_beside_its_label() -> None:
    console, output = plain(30)
    console.print(labelled("cost", "a dollar and some more words"))
    assert [line.rstrip() for line in output.getvalue().splitlines()] == [
        "cost           a dollar and",
        "               some more words",
    ]
