"""What a process and all that it started use of this machine."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Usage:
    """CPU time so far, and memory now."""

    #: Of all processes of the tree, and of those of its past that were waited for.
    cpu_seconds: float
    #: Pages that processes share count once (proportional set size).
    memory_bytes: int


def usage(pid: int, *, with_memory: bool) -> Usage:
    """What the tree under a process uses; nothing once the process is gone.

    Args:
        pid: Its root.
        with_memory: Whether memory is asked for as well, which takes some ms for each process.
    """
    cpu_seconds, memory_bytes = 0.0, 0
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                times = process.cpu_times()
                cpu_seconds += times.user + times.system
                cpu_seconds += times.children_user + times.children_system
                if with_memory:
                    memory_bytes += process.memory_full_info().pss
    return Usage(cpu_seconds, memory_bytes)
