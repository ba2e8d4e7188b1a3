"""What a process and all that it started use of this machine, and what others use beside it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

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


def busy_seconds(cores: Collection[int]) -> float:
    """How long some cores have been busy since the machine started, whoever used them.

    Time that a hypervisor gave to another machine counts as well: nobody here could use it.
    """
    return busy_seconds_of(Path("/proc/stat").read_text("ascii"), cores)


def busy_seconds_of(stat: str, cores: Collection[int]) -> float:
    """The same from the text of ``/proc/stat``, as proc(5) describes it."""
    ticks = 0
    for line in stat.splitlines():
        name, *counts = line.split()
        if name.startswith("cpu") and name != "cpu" and int(name[3:]) in cores:
            # user nice system idle iowait irq softirq steal; guests are part of user.
            ticks += sum(map(int, [*counts[:3], *counts[5:8]]))
    return ticks / os.sysconf("SC_CLK_TCK")
