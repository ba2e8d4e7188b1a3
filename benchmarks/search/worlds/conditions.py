"""What goes wrong around an endpoint while it is measured; its truth knows nothing of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

#: How an instance gets warm: in proportion to time, fast at first, or all at once at the end.
Warming = Literal["ramp", "decay", "step"]
#: Time constants in which what decays is gone.
_DECAYS = 3.0


@dataclass(frozen=True)
class Conditions:
    """Faults and noise of one endpoint.

    Args:
        stalls_per_hour: Freezes of the whole endpoint, at random.
        stall_seconds: Shortest and longest of them.
        stall_fails: What arrives meanwhile fails; else it waits.
        cold_cost: What a request costs more on an instance that has just begun, relative.
        cold_seconds: After how long under load that has gone, but for a twentieth of what decays.
        warming: How it goes.
        start_error_share: Share of requests that fail on an instance that has just begun.
        start_error_seconds: For how long under load.
        own_phase: Each instance publishes its samples on a phase of its own; else all with the
            period.
        sample_jitter_seconds: Standard deviation of when it does.
        sample_missing: Share of samples that never come.
        noise_correlation: Of a sample's noise with that of the sample before: AR(1).
        shared_noise: Standard deviation of noise that all instances' samples share, relative.
        gpu_memory_percent: What the framework takes of the GPUs' memory, whatever the rate.
    """

    stalls_per_hour: float = 0.0
    stall_seconds: tuple[float, float] = (1.0, 4.0)
    stall_fails: bool = False
    cold_cost: float = 0.0
    cold_seconds: float = 0.0
    warming: Warming = "ramp"
    start_error_share: float = 0.0
    start_error_seconds: float = 0.0
    own_phase: bool = False
    sample_jitter_seconds: float = 0.0
    sample_missing: float = 0.0
    noise_correlation: float = 0.0
    shared_noise: float = 0.0
    gpu_memory_percent: float = 40.0

    def slowness(self, age: float) -> float:
        """What a request costs on an instance that was under load for so long, relative."""
        if not self.cold_cost:
            return 1.0
        gone = age / self.cold_seconds
        if self.warming == "decay":
            return 1.0 + self.cold_cost * math.exp(-_DECAYS * gone)
        if gone >= 1:
            return 1.0
        return 1.0 + self.cold_cost * (1 - gone if self.warming == "ramp" else 1.0)

    def start_errors(self, age: float) -> float:
        """Share of requests that fail on an instance that was under load for so long."""
        return self.start_error_share if age < self.start_error_seconds else 0.0
