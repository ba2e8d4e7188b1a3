"""How the command ends: its exit codes, and what ends it early."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from enum import IntEnum
from types import FrameType
from typing import Final

NOTHING_IS_LEFT: Final = "nothing is left running"
_SHOW_CURSOR = b"\x1b[?25h"
_STDOUT, _STDERR = 1, 2


class Exit(IntEnum):
    """Exit codes. For all but the first, one line on standard error says why."""

    #: SIZED or DRY_RUN; of other commands, done.
    DONE = 0
    FAILED = 1
    TARGET_NOT_MET = 2
    #: A regression, or whatever else the user has named as a reason to fail.
    REFUSED = 3
    #: Wrong use of the command, or an invalid request (EX_USAGE of sysexits.h).
    WRONG_USE = 64
    INTERRUPTED = 130


class WrongUse(Exception):
    """The command can't be carried out as it was given; the message says why."""


class Failed(Exception):
    """The command did not do what it was asked to; the message says why."""


class Interrupted(BaseException):
    """The user, or the system, wants the command to end now.

    Args:
        left: What is left running, in words.
    """

    def __init__(self, left: str = NOTHING_IS_LEFT) -> None:
        super().__init__(left)


class HungUp(Interrupted):
    """The terminal is gone, which says nothing about what its user wants."""


def end_at_once(left: str = NOTHING_IS_LEFT) -> None:
    """Let signals end the process where it stands: as long as nothing runs that is to be stopped.

    An exception in the middle of the imports would end up in whatever is being imported.

    Args:
        left: What the user is told.
    """

    def end(_number: int, _frame: FrameType | None) -> None:
        if os.isatty(_STDOUT):
            os.write(_STDOUT, _SHOW_CURSOR)
        os.write(_STDERR, f"interrupted: {left}\n".encode())
        os._exit(Exit.INTERRUPTED)

    for number in _numbers():
        signal.signal(number, end)


@contextlib.contextmanager
def in_good_order(left: str = NOTHING_IS_LEFT) -> Iterator[None]:
    """The first signal raises ``Interrupted`` here; the next one ends the process at once.

    Children don't outlive this process: they end when their pipes to it close. What breaks while
    all is stopped, such as a child that the same signal has met, does not take its place.

    Args:
        left: What the user is told of what a second signal leaves behind.
    """

    ending: list[Interrupted] = []

    def end(number: int, _frame: FrameType | None) -> None:
        end_at_once(left)
        ending.append(HungUp(left) if number == signal.SIGHUP else Interrupted(left))
        raise ending[0]

    before = {number: signal.signal(number, end) for number in _numbers()}
    try:
        yield
    except Exception:
        if not ending:
            raise
        raise ending[0] from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _numbers() -> Iterator[signal.Signals]:
    # A shell starts what runs in the background with SIGINT ignored, which is not meant. Where
    # SIGHUP is ignored, someone asked for that, by nohup.
    yield from (signal.SIGINT, signal.SIGTERM)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        yield signal.SIGHUP
