"""Shows a sizing's progress: in place on a terminal, as plain lines anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from local.size.progress import LoadTestView, Progress, Stage, title
from sizing.result.message import model_label

#: How often a line about running load is written where nothing can be shown in place, seconds.
_PLAIN_SECONDS: Final = 10.0
_REFRESHES_PER_SECOND: Final = 4
_BAR_WIDTH: Final = 40
_CURVE_WIDTH: Final = 40
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"


class Display(Protocol):
    """Where progress is shown, between entering and leaving it as a context."""

    def __enter__(self) -> object: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def update(self) -> None:
        """Show what is new; called a few times a second."""


def display_for(console: Console, progress: Progress, clock: Callable[[], float]) -> Display:
    """The display that suits a console.

    Args:
        console: Where to show it.
        progress: What to show.
        clock: Tells the time on the clock that the progress is told in, seconds.
    """
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveDisplay(console, progress, clock)
    return PlainDisplay(console, progress, clock)


class PlainDisplay(AbstractContextManager["PlainDisplay"]):
    """A line for each thing that happens, and one every ten seconds while load runs."""

    def __init__(self, console: Console, progress: Progress, clock: Callable[[], float]) -> None:
        self._console, self._progress, self._clock = console, progress, clock
        self._last_figures: dict[str, float] = {}

    def __exit__(self, *_: object) -> None:
        """Write what is left to write."""
        self.update()

    def update(self) -> None:
        """Write what is new."""
        progress, now = self._progress, self._clock()
        for line in progress.take_news():
            self._write(line, now)
        for load_test in progress.load_tests.values():
            last = self._last_figures.setdefault(load_test.load_test_id, now)
            if load_test.samples and now - last >= _PLAIN_SECONDS:
                self._last_figures[load_test.load_test_id] = now
                left = minutes_seconds(progress.seconds_left(now))
                self._write(
                    f"{title(load_test)}: {load_test.doing}, {_figures(load_test)}, "
                    f"about {left} left",
                    now,
                )

    def _write(self, line: str, now: float) -> None:
        elapsed = minutes_seconds(now - self._progress.started)
        self._console.print(f"{elapsed:>6}  {line}", markup=False, highlight=False, soft_wrap=True)


class LiveDisplay(AbstractContextManager["LiveDisplay"]):
    """A panel that is drawn over itself, by a thread of its own."""

    def __init__(self, console: Console, progress: Progress, clock: Callable[[], float]) -> None:
        self._live = Live(
            console=console,
            get_renderable=lambda: panel(progress, clock()),
            refresh_per_second=_REFRESHES_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> LiveDisplay:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def update(self) -> None:
        """Nothing: what is drawn is always new."""


def panel(progress: Progress, now: float) -> RenderableType:
    """All that is shown of a sizing under way."""
    parts: list[RenderableType] = [_head(progress, now), _stages(progress), Text("")]
    band = progress.request["target"]["utilization_percent"]
    parts += [_done(load_test) for load_test in progress.done]
    running = list(progress.load_tests.values())
    parts += [_load_test(load_test, band["min"], band["max"]) for load_test in running]
    if not running:
        parts.append(Text(f"  {progress.state} ...", style="dim"))
    return Padding(Group(*parts), (1, 0, 1, 0))


def _head(progress: Progress, now: float) -> RenderableType:
    target = progress.request["target"]
    band = target["utilization_percent"]
    grid = Table.grid(expand=True)
    grid.add_column(ratio=1)
    grid.add_column(justify="right")
    grid.add_row(
        Text.assemble(
            (model_label(progress.request), "bold"),
            f"  {target['tps']:g} TPS at {band['min']:g}-{band['max']:g} % utilization",
        ),
        Text.assemble(
            minutes_seconds(now - progress.started),
            (f"   about {minutes_seconds(progress.seconds_left(now))} left", "dim"),
        ),
    )
    return grid


def _stages(progress: Progress) -> Text:
    text = Text()
    stages = list(Stage)
    current = stages.index(progress.stage)
    for index, stage in enumerate(stages):
        if index < current:
            text.append(f"✓ {stage}   ", style="green")
        elif index == current:
            text.append(f"● {stage}   ", style="bold cyan")
        else:
            text.append(f"○ {stage}   ", style="dim")
    return text


def _done(load_test: LoadTestView) -> Text:
    text = Text.assemble(("✓ ", "green"), title(load_test))
    for step in load_test.begun:
        text.append(f"   {step.offered_tps:,.0f} TPS: ", style="dim")
        text.append(f"{step.utilization_percent:.1f} %")
    return text


def _load_test(load_test: LoadTestView, low: float, high: float) -> RenderableType:
    head = Text.assemble(("● ", "cyan"), (title(load_test), "bold"), f"   {load_test.doing}")
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", min_width=11)
    rows.add_column(justify="right", min_width=11)
    rows.add_column()
    if load_test.samples:
        sample = load_test.samples[-1]
        offered = "" if load_test.offered_tps is None else f"{load_test.offered_tps:,.1f} TPS"
        rows.add_row("offered", offered, "")
        achieved = [each.achieved_tps for each in list(load_test.samples)]
        rows.add_row(
            "achieved", f"{sample.achieved_tps:,.1f} TPS", Text(_curve(achieved), style="cyan")
        )
        rows.add_row(
            "utilization",
            f"{sample.utilization_percent:.1f} %",
            _bar(sample.utilization_percent, low, high),
        )
        if sample.errors_per_second:
            rows.add_row("errors", Text(f"{sample.errors_per_second:,.1f} /s", style="red"), "")
    return Group(head, Padding(rows, (0, 0, 0, 2)))


def _figures(load_test: LoadTestView) -> str:
    sample = load_test.samples[-1]
    offered = "" if load_test.offered_tps is None else f"{load_test.offered_tps:.1f} TPS offered, "
    errors = f", {sample.errors_per_second:.1f} errors/s" if sample.errors_per_second else ""
    return (
        f"{offered}{sample.achieved_tps:.1f} achieved, "
        f"{sample.utilization_percent:.1f} % utilization{errors}"
    )


def _curve(values: Sequence[float]) -> str:
    """The last values as a line of blocks, the highest as a full one."""
    shown = list(values)[-_CURVE_WIDTH:]
    top = max(shown) or 1.0
    return "".join(_BLOCKS[round(value / top * (len(_BLOCKS) - 1))] for value in shown)


def _bar(percent: float, low: float, high: float) -> Text:
    """Utilization as a bar, with the band marked on it."""
    filled = round(min(percent, 100.0) / 100 * _BAR_WIDTH)
    style = "green" if low <= percent <= high else "red" if percent > high else "yellow"
    text = Text()
    for cell in range(_BAR_WIDTH):
        middle = (cell + 0.5) / _BAR_WIDTH * 100
        in_band = low <= middle <= high
        text.append("━", style=style if cell < filled else "grey62" if in_band else "grey23")
    text.append(f"  {low:g}-{high:g} %", style="dim")
    return text


def minutes_seconds(seconds: float) -> str:
    """Minutes and seconds: ``2:05``."""
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02d}"
