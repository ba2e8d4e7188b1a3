"""Runs the command and says in one line why it did not do what it was asked to."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from endpoint_sizer.endings import Exit, Interrupted, WrongUse, end_at_once


def main() -> NoReturn:
    """Run the command with the arguments of this process, and end it with its exit code."""
    end_at_once()  # before the imports, which take a moment
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not if it was closed
            stream.reconfigure(errors="replace")
    code = run(sys.argv[1:])
    # All is closed and written by now; to take down what the embedded AWS holds takes seconds.
    os._exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run the command with these arguments; returns its exit code."""
    import click

    from endpoint_sizer.commands import NAME, endpoint_sizer

    try:
        ended: int | None = endpoint_sizer.main(
            list(arguments), prog_name=NAME, standalone_mode=False
        )
    except click.UsageError as error:
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        return _error(error.format_message() + hint, Exit.WRONG_USE)
    except WrongUse as error:
        return _error(str(error), Exit.WRONG_USE)
    except Interrupted as interrupted:
        return _line(f"interrupted: {interrupted}", Exit.INTERRUPTED)
    except SystemExit as ended_by_click:  # a completion, or a pipe whose reader has gone
        if ended_by_click.code == 0:
            return Exit.DONE
        return _error("whoever read the output has gone", Exit.FAILED)
    except Exception as error:  # noqa: BLE001 - whatever it is, one line tells it
        return _error(str(error) or type(error).__name__, Exit.FAILED)
    return Exit.DONE if ended is None else ended


def _error(reason: str, code: Exit) -> Exit:
    return _line("error: " + " ".join(reason.split()), code)


def _line(text: str, code: Exit) -> Exit:
    print(text, file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
