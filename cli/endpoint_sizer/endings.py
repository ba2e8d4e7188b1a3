"""How the command ends: its exit codes, and what ends it early."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from enum import IntEnum
from types import FrameType

_INTERRUPTED = b"interrupted: nothing is left running\n"
_SHOW_CURSOR = b"\x1b[?25h"
_STDOUT, _STDERR = 1, 2


class Exit(IntEnum):
    """Exit codes. For all but the first, one line on standard error says why."""

    #: SIZED or DRY_RUN; of other commands, done.
    DONE = 0
    FAILED = 1
    TARGET_NOT_MET = 2
    #: Wrong use of the command, or an invalid request (EX_USAGE of sysexits.h).
    WRONG_USE = 64
    INTERRUPTED = 130


class WrongUse(Exception):
    """The command can't be carried out as it was given; the message says why."""


class Failed(Exception):
    """The command did not do what it was asked to; the message says why."""


class Interrupted(BaseException):
    """The user, or the system, wants the command to end now."""


def end_at_once() -> None:
    """Let signals end the process where it stands: as long as nothing runs that is to be stopped.

    An exception in the middle of the imports would end up in whatever is being imported.
    """
    for number in _numbers():
        signal.signal(number, _end_now)


@contextlib.contextmanager
def in_good_order() -> Iterator[None]:
    """The first signal raises ``Interrupted`` here; the next one ends the process at once.

    Children don't outlive this process: they end when their pipes to it close.
    """

    def end(_number: int, _frame: FrameType | None) -> None:
        end_at_once()
        raise Interrupted

    before = {number: signal.signal(number, end) for number in _numbers()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _numbers() -> Iterator[signal.Signals]:
    # A shell starts what runs in the background with SIGINT ignored, which is not meant. Where
    # SIGHUP is ignored, someone asked for that, by nohup.
    yield from (signal.SIGINT, signal.SIGTERM)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        yield signal.SIGHUP


def _end_now(_number: int, _frame: FrameType | None) -> None:
    if os.isatty(_STDOUT):
        os.write(_STDOUT, _SHOW_CURSOR)
    os.write(_STDERR, _INTERRUPTED)
    os._exit(Exit.INTERRUPTED)
