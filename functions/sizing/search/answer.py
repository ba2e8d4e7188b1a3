"""What the search concludes: the recommendation and what became of every candidate."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from sizing.load_test.observation import Observation


class Status(StrEnum):
    """How a sizing ended."""

    SIZED = "SIZED"
    TARGET_NOT_MET = "TARGET_NOT_MET"
    FAILED = "FAILED"
    DRY_RUN = "DRY_RUN"


class CandidateStatus(StrEnum):
    """What became of a candidate."""

    #: Serves the target, shown by a load test at this count.
    VERIFIED = "VERIFIED"
    #: Was not verified: another candidate is cheaper, or a limit was reached first.
    NOT_VERIFIED = "NOT_VERIFIED"
    #: Was load-tested and can't serve the target within the limits.
    TARGET_NOT_MET = "TARGET_NOT_MET"
    #: Could not be load-tested.
    FAILED = "FAILED"


class Diagnosis(BaseModel):
    """One finding about a candidate, with the figures that led to it and what to do."""

    model_config = ConfigDict(frozen=True)

    finding: str
    figures: dict[str, float]
    advice: str


class CandidateOutcome(BaseModel):
    """A candidate's part of the answer."""

    model_config = ConfigDict(frozen=True)

    instance_type: str
    status: CandidateStatus
    reason: str
    #: Smallest count known, or predicted, to serve the target; None if none is.
    instance_count: int | None = None
    #: Range of counts that the noise can't tell apart, inclusive; equal ends if there is none.
    count_interval: tuple[int, int] | None = None
    #: What was seen at that count under the full target; only of a verified candidate.
    observation: Observation | None = None
    in_band: bool = False
    #: What keeps the count from being smaller, or the target from being met by any count: CPU,
    #: GPU, GPU memory, memory, latency, errors, container.
    limiting_resource: str | None = None
    #: Requests per second of one instance at the middle of the band, as measured (from the fit).
    tps_per_instance_at_band_middle: float | None = None
    hourly_cost_usd: float | None = None
    diagnosis: tuple[Diagnosis, ...] = ()


class Answer(BaseModel):
    """What the search concludes when no further load test is needed, or none is allowed."""

    model_config = ConfigDict(frozen=True)

    status: Status
    reason: str
    #: The winner's type; None if no candidate meets the target.
    instance_type: str | None = None
    #: Name of the limit that ended the search (``limits.max_instances`` ...), if one did.
    limit: str | None = None
    candidates: tuple[CandidateOutcome, ...]
