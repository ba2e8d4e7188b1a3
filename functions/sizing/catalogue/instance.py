"""What a sizing knows about an instance type."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class InstanceFacts(BaseModel):
    """An instance type's resources and price."""

    model_config = ConfigDict(frozen=True)

    instance_type: str
    vcpus: int = Field(gt=0)
    gpus: int = Field(default=0, ge=0)
    memory_gib: float = Field(gt=0)
    #: On-Demand hosting price of one instance, USD per hour; None where no source knows it.
    hourly_price_usd: float | None = Field(default=None, gt=0)
    #: Where the price is from, such as "Price List API" or "bundled table of 2026-09-27".
    price_source: str = ""
    #: Instances that the account's quota allows, where that is less than the request's limit.
    max_instances: int | None = Field(default=None, ge=1)
