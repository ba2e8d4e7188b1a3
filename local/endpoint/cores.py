"""Cores of this machine: some for the instances that are real servers, the rest for all else.

A server that shares its core with the load generator, or with another instance, would be slowed by
what it is measured with.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

#: One core in so many is left to the load generator and everything else, and at least one.
_ONE_OF: Final = 4


class CapacityError(RuntimeError):
    """There are too few cores; the message says how many are needed and how many there are."""


@dataclass(frozen=True)
class Division:
    """Who gets which of this machine's cores."""

    for_instances: tuple[int, ...]
    for_the_rest: tuple[int, ...]

    @classmethod
    def of(cls, cores: Collection[int]) -> Self:
        """Divide some cores, by their numbers."""
        in_order = sorted(cores)
        rest = max(1, len(in_order) // _ONE_OF)
        return cls(tuple(in_order[rest:]), tuple(in_order[:rest]))

    def check(self, instances: int, vcpus: int, taken: int = 0) -> None:
        """Check that so many instances fit, with so many cores each.

        Args:
            instances: How many.
            vcpus: Cores of each.
            taken: Cores that are taken already.

        Raises:
            CapacityError: They don't fit.
        """
        needed = instances * vcpus + taken
        if needed > len(self.for_instances):
            rest = len(self.for_the_rest)
            others = f", other endpoints with {taken}" if taken else ""
            raise CapacityError(
                f"{_count(instances, 'instance')} with {_count(vcpus, 'core')} each{others}"
                f" and the load generator with {rest} need {_count(needed + rest, 'core')};"
                f" this machine has {len(self.for_instances) + rest}"
            )


def of_this_process() -> set[int]:
    """The cores that this process may use.

    Raises:
        CapacityError: The operating system does not let a process choose.
    """
    if not hasattr(os, "sched_getaffinity"):
        raise CapacityError("this system can't keep processes to cores of their own; Linux can")
    return os.sched_getaffinity(0)


def keep_to(cores: Collection[int]) -> None:
    """Keep all threads of this process, and what they start from now on, to some cores."""
    for thread in Path("/proc/self/task").iterdir():
        try:
            os.sched_setaffinity(int(thread.name), cores)
        except ProcessLookupError:  # it has just ended
            continue


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
