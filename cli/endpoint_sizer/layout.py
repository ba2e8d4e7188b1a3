"""What output of any width has in common: lines break between words, and only where they must."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Final

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

#: Where nobody has set a width: a pipe's reader breaks lines by itself.
ANY_WIDTH: Final = 10_000
_LABEL_WIDTH: Final = 15


def console_of_stdout() -> Console:
    """The console of standard output; a file or pipe has a width only if COLUMNS gives it one."""
    given = os.environ.get("COLUMNS", "")
    wide = not sys.stdout.isatty() and not given.isdigit()
    return Console(file=sys.stdout, width=ANY_WIDTH if wide else None, highlight=False)


def labelled(label: str | Text, text: str | Text, width: int = _LABEL_WIDTH) -> RenderableType:
    """A label with a text beside it, which stays beside it however many lines it takes."""
    grid = Table.grid(padding=0)
    grid.add_column(width=width, no_wrap=True)
    grid.add_column()
    grid.add_row(label, text)
    return grid


class Packed:
    """Parts of a line, as many of them in one as there is room for; none is ever broken in two.

    Args:
        parts: In their order.
        indent: Of the lines but the first.
        gap: Between parts of a line.
    """

    def __init__(self, parts: Iterable[str | Text], *, indent: int = 2, gap: int = 3) -> None:
        self._parts = [Text.assemble(part) for part in parts]
        self._indent, self._gap = indent, gap

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        line = Text()
        for part in self._parts:
            if line and cell_len(line.plain) + self._gap + cell_len(part.plain) > options.max_width:
                yield line
                line = Text(" " * self._indent)
            elif line:
                line.append(" " * self._gap)
            line.append_text(part)
        yield line
