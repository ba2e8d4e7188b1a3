"""A worker with several vCPUs: a process for each, as an engine is one thread."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from types import FrameType

import gevent

_POLL = 0.1
_PR_SET_PDEATHSIG = 1


def run(count: int, environment_of: Callable[[int], Mapping[str, str]]) -> int:
    """Run this program again so many times, each with its environment, until all have ended.

    If one fails, or this process is told to stop, the others are told to stop.

    Returns:
        The exit code: 0 if all of them ended with 0, else 1.
    """
    children: list[subprocess.Popen[bytes]] = []

    def stop(_number: int = 0, _frame: FrameType | None = None) -> None:
        for child in children:
            if child.poll() is None:
                child.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    for number in range(count):
        environment = os.environ | environment_of(number)
        # The program and its arguments are this process's own.
        command = [sys.executable, "-m", "load_generator"]
        children.append(subprocess.Popen(command, env=environment))
    while any(child.poll() is None for child in children):
        if any(child.poll() for child in children):
            stop()
        gevent.sleep(_POLL)
    return int(any(child.returncode for child in children))


def die_with_parent() -> None:
    """Be told to stop when the process that started this one ends, however it ends."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
