"""What the Locust fleet reports of a load test: ``load_test.json``, as its leader writes it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from sizing.load_test.observation import Latency, Window, Workers


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class LocustError(_Frozen):
    """Why a load test did not run to its end."""

    name: str
    message: str


class WarmUp(_Frozen):
    """How a step came to its steady state."""

    #: From the start of the step to its window.
    seconds: float
    #: Whether it did; None where it was too short to tell.
    steady: bool | None = None


class Saturation(_Frozen):
    """What the burst found."""

    #: Best rate of successful answers of a stage, per second.
    tps: float
    #: Whether it ended while throughput still grew: at the most requests at once, or by errors.
    bounded: bool = False


class ClockOffset(_Frozen):
    """How far AWS's clock was ahead of the leader's, and how well that is known."""

    offset_seconds: float
    uncertainty_seconds: float


class LocustStep(_Frozen):
    """One step, over its steady window."""

    offered_tps: float
    #: Requests that were due in the window; None of evenly spaced ones.
    requests_due: int | None = None
    window: Window | None = None
    warm_up: WarmUp | None = None
    #: Successful answers per second.
    achieved_tps: float
    #: Requests the endpoint answered, with a success or an error.
    answers: int
    #: Those of them that reached the model.
    invocations: int
    error_percent: float
    errors: dict[str, int] = Field(default_factory=dict)
    client_latency_ms: Latency
    client_limited: str | None = None
    workers: Workers


class LocustResult(_Frozen):
    """A whole load test."""

    status: str
    error: LocustError | None = None
    started_at: float
    finished_at: float
    workers: int
    #: None where no answer of AWS's told the time.
    clock: ClockOffset | None = None
    saturation: Saturation | None = None
    steps: tuple[LocustStep, ...] = ()

    @property
    def completed(self) -> bool:
        """Whether its figures may be used."""
        return self.status == "COMPLETED"
