"""When requests are to start: plateaus of constant rate, on an absolute clock.

A fleet of n workers shares one sequence of starts. Request number j of a plateau starts at
``start + j / rate`` and belongs to worker ``j mod n``, so the fleet offers evenly spaced requests
however many workers there are.

As a Poisson process, each worker has a sequence of its own, at its share of the rate: what many
independent users send. Such processes add up to one of the sum of their rates (Kingman, Poisson
Processes, 1993).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plateau:
    """A constant offered rate of the whole fleet from ``start`` to ``end``, epoch seconds."""

    start: float
    end: float
    rate: float

    def count(self, worker: int, workers: int) -> int:
        """How many requests of this plateau belong to one worker."""
        total = max(0, math.ceil((self.end - self.start) * self.rate - 1e-6))
        return (total - worker + workers - 1) // workers

    def start_of(self, number: int, worker: int, workers: int) -> float:
        """When a worker's request ``number`` (from 0) is to start, epoch seconds."""
        return self.start + (number * workers + worker) / self.rate


def poisson_gaps(seed: int, worker: int) -> Callable[[float], float]:
    """Gives the next gap between a worker's requests, seconds, at its share of the rate.

    Args:
        seed: The same for all workers; the same one gives the same gaps, relative to the rate.
        worker: Which worker, from 0.
    """
    return random.Random(f"{seed}-{worker}").expovariate


@dataclass(frozen=True, slots=True)
class StepWindow:
    """When a step runs, and its steady window: epoch seconds, multiples of the metric period."""

    start: float
    steady_start: int
    steady_end: int


def step_window(start: float, *, settle: float, steady: float, period: int) -> StepWindow:
    """The window of a step that starts at ``start``.

    The steady window begins at the first multiple of the metric period at least ``settle`` after
    the start, and lasts ``steady`` rounded up to a multiple of the period. The next step starts at
    its end.
    """
    steady_start = math.ceil((start + settle) / period - 1e-9) * period
    return StepWindow(
        start=start,
        steady_start=steady_start,
        steady_end=steady_start + math.ceil(steady / period - 1e-9) * period,
    )
