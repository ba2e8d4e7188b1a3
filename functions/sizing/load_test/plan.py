"""A load test as it is planned: one run of the Locust fleet at one instance count."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Purpose(StrEnum):
    """Why a load test is run."""

    BASELINE = "baseline"
    VERIFY = "verify"


class Burst(BaseModel):
    """A closed-loop burst that finds the saturation rate: concurrency doubles stage by stage."""

    model_config = ConfigDict(frozen=True)

    start_concurrency: int = Field(ge=1)
    max_concurrency: int = Field(ge=1)
    stage_seconds: float = Field(gt=0)


class Step(BaseModel):
    """A plateau of constant offered rate: absolute, or a fraction of the saturation rate.

    With both it is the absolute rate, and is left out where that is over the fraction.
    """

    model_config = ConfigDict(frozen=True)

    offered_tps: float | None = Field(default=None, gt=0)
    saturation_fraction: float | None = Field(default=None, gt=0)


class LoadTestPlan(BaseModel):
    """The next load test, as the search decides it."""

    model_config = ConfigDict(frozen=True)

    instance_type: str
    instance_count: int = Field(ge=1)
    purpose: Purpose
    burst: Burst | None = None
    steps: tuple[Step, ...]
    workers: int = Field(ge=1)
    worker_vcpus: int = Field(ge=1)
    #: Why this one, in a sentence for the operator.
    reason: str

    def load_test_id(self, attempt: int) -> str:
        """Identifier unique inside one sizing, such as ``ml-m5-12xlarge-8-verify-2``."""
        return (
            f"{self.instance_type.replace('.', '-')}-{self.instance_count}-{self.purpose}-{attempt}"
        )
