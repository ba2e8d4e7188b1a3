"""Shows a sizing's progress: in place on a terminal, as plain lines anywhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Protocol

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.text import Text

from endpoint_sizer.layout import Packed, labelled
from local.size.progress import (
    DISTURBED_PERCENT,
    LoadTestView,
    Progress,
    Sample,
    Stage,
    title,
)
from sizing.result.message import model_label

#: How often a line about running load is written where nothing can be shown in place, seconds.
_PLAIN_SECONDS: Final = 10.0
_REFRESHES_PER_SECOND: Final = 4
#: Cells of a bar or a curve, at the least and at the most.
_CELLS: Final = (10, 40)
_GAP: Final = 2
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
#: A bar's cells without colours: filled, empty inside the band, empty outside of it.
_BAR: Final = "█░·"
_BAR_IN_ASCII: Final = "#:."
#: Marks of what is done, under way and to come.
_MARKS: Final = "✓●○"
_MARKS_IN_ASCII: Final = "+>-"


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
        self._console.print(labelled(f"{elapsed:>6}", Text(line), 8))


class LiveDisplay(AbstractContextManager["LiveDisplay"]):
    """A panel that is drawn over itself, by a thread of its own."""

    def __init__(self, console: Console, progress: Progress, clock: Callable[[], float]) -> None:
        self._live = Live(
            console=console,
            get_renderable=lambda: panel(progress, clock(), console.options),
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


def panel(progress: Progress, now: float, options: ConsoleOptions) -> RenderableType:
    """All that is shown of a sizing under way.

    Args:
        progress: The sizing.
        now: Seconds on the progress's clock.
        options: What the console can show.
    """
    marks = _MARKS_IN_ASCII if options.ascii_only else _MARKS
    parts: list[RenderableType] = [_head(progress, now), _stages(progress, marks), Text("")]
    band = progress.request["target"]["utilization_percent"]
    parts += [_done(load_test, marks[0]) for load_test in progress.done]
    for load_test in list(progress.load_tests.values()):
        parts += _load_test(load_test, band["min"], band["max"], marks[1], options)
    if not progress.load_tests:
        parts.append(Text(f"  {progress.state} ...", style="dim"))
    return Padding(Group(*parts), (1, 0, 1, 0))


def _head(progress: Progress, now: float) -> RenderableType:
    target = progress.request["target"]
    band = target["utilization_percent"]
    passed, left = now - progress.started, progress.seconds_left(now)
    return Packed(
        [
            Text(model_label(progress.request), style="bold"),
            f"{target['tps']:g} TPS at {band['min']:g}-{band['max']:g} % utilization",
            Text.assemble(
                minutes_seconds(passed), (f", about {minutes_seconds(left)} left", "dim")
            ),
        ]
    )


def _stages(progress: Progress, marks: str) -> RenderableType:
    stages = list(Stage)
    current = stages.index(progress.stage)
    return Packed(
        Text(f"{marks[0]} {stage}", style="green")
        if index < current
        else Text(f"{marks[1]} {stage}", style="bold cyan")
        if index == current
        else Text(f"{marks[2]} {stage}", style="dim")
        for index, stage in enumerate(stages)
    )


def _done(load_test: LoadTestView, mark: str) -> RenderableType:
    steps = [
        Text.assemble(
            (f"{step.offered_tps:,.0f} TPS: ", "dim"), f"{step.utilization_percent:.1f} %"
        )
        for step in load_test.begun
    ]
    return Packed([Text.assemble((f"{mark} ", "green"), title(load_test)), *steps])


def _load_test(
    load_test: LoadTestView, low: float, high: float, mark: str, options: ConsoleOptions
) -> Iterator[RenderableType]:
    yield Packed([Text.assemble((f"{mark} ", "cyan"), (title(load_test), "bold")), load_test.doing])
    if not load_test.samples:
        return
    sample = load_test.samples[-1]
    if load_test.offered_tps is not None:
        yield _row("offered", f"{load_test.offered_tps:,.1f} TPS")
    achieved = _row("achieved", f"{sample.achieved_tps:,.1f} TPS")
    utilization = _row("utilization", f"{sample.utilization_percent:.1f} %")
    room = options.max_width - len(utilization) - _GAP
    if not options.ascii_only:
        rates = [each.achieved_tps for each in list(load_test.samples)]
        achieved = Text.assemble(achieved, " " * _GAP, (_curve(rates, _cells(room)), "cyan"))
    yield achieved
    bar = _bar(sample.utilization_percent, low, high, room, ascii_only=options.ascii_only)
    yield Packed([utilization, bar], indent=15, gap=_GAP)
    if _is_disturbed(sample):
        yield _row("others", f"{sample.others_percent:.1f} %", style="yellow")
    if sample.errors_per_second:
        yield _row("errors", f"{sample.errors_per_second:,.1f} /s", style="red")


def _row(label: str, figure: str, style: str = "") -> Text:
    return Text.assemble((f"  {label:<13}", "dim"), (f"{figure:>11}", style))


def _figures(load_test: LoadTestView) -> str:
    sample = load_test.samples[-1]
    offered = "" if load_test.offered_tps is None else f"{load_test.offered_tps:.1f} TPS offered, "
    errors = f", {sample.errors_per_second:.1f} errors/s" if sample.errors_per_second else ""
    others = f", {sample.others_percent:.0f} % used by others" if _is_disturbed(sample) else ""
    return (
        f"{offered}{sample.achieved_tps:.1f} achieved, "
        f"{sample.utilization_percent:.1f} % utilization{others}{errors}"
    )


def _is_disturbed(sample: Sample) -> bool:
    return sample.others_percent > DISTURBED_PERCENT


def _cells(room: int) -> int:
    least, most = _CELLS
    return max(least, min(most, room))


def _curve(values: Sequence[float], cells: int) -> str:
    """The last values as a line of blocks, the highest as a full one."""
    shown = values[-cells:]
    top = max(shown) or 1.0
    return "".join(_BLOCKS[round(value / top * (len(_BLOCKS) - 1))] for value in shown)


def _bar(percent: float, low: float, high: float, room: int, *, ascii_only: bool) -> Text:
    """Utilization as a bar, with the band marked on it and its place told in a word."""
    place, style = "in", "green"
    if percent < low:
        place, style = "under", "yellow"
    elif percent > high:
        place, style = "over", "red"
    words = f"  {place} {low:g}-{high:g} %"
    cells = _cells(room - len(words))
    full, inside, outside = _BAR_IN_ASCII if ascii_only else _BAR
    filled = round(min(percent, 100.0) / 100 * cells)
    bar = Text(full * filled, style=style)
    for cell in range(filled, cells):
        in_band = low <= (cell + 0.5) / cells * 100 <= high
        bar.append(inside if in_band else outside, style="dim")
    return bar.append(words, style="dim")


def minutes_seconds(seconds: float) -> str:
    """Minutes and seconds: ``2:05``."""
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02d}"
