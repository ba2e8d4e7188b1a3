"""A request, resolved: what all decisions of a sizing depend on besides the observations."""

from __future__ import annotations

import hashlib
import json

from pydantic import BaseModel, ConfigDict, Field

from sizing.catalogue.burstable import baseline_percent
from sizing.catalogue.instance import InstanceFacts
from sizing.request.request import Band, DataCapture, Request

_DIGITS = 16


class SizedModel(BaseModel):
    """What is really deployed, as it was found before anything was created."""

    model_config = ConfigDict(frozen=True)

    #: ARN of the model package; None for a model that is none.
    package_arn: str | None = None
    #: Container image and its digest (``sha256:...``) by instance type, as far as they are known.
    images: dict[str, str] = Field(default_factory=dict)
    image_digests: dict[str, str] = Field(default_factory=dict)


class ProductionTraffic(BaseModel):
    """What an endpoint in production gets and has, and the target that was made of it."""

    model_config = ConfigDict(frozen=True)

    endpoint: str
    variant: str
    instance_type: str
    instance_count: int
    #: Between which counts a policy scales it; None if none does.
    min_instances: int | None = None
    max_instances: int | None = None
    #: Of one instance, USD; None where no source knows it.
    hourly_price_usd: float | None = None
    #: Highest of all five minutes but one of a hundred; None where it has no metrics.
    peak_utilization_percent: float | None = None
    #: Days that were looked at: fewer than asked for where the endpoint is younger.
    days: float
    #: The percentile of all minutes, requests per second, and the target with its headroom.
    peak_tps: float
    target_tps: float
    #: The same percentile of each hour of the day, UTC, requests per second.
    tps_by_hour: tuple[float, ...]
    #: And of each day of the week, from Monday on.
    tps_by_weekday: tuple[float, ...] = ()
    #: How many times busier the busiest seconds of the last hours were than their minutes.
    burst_factor: float = 1.0
    #: What to know of it.
    notes: tuple[str, ...] = ()


class CapturedPayloads(BaseModel):
    """What of production's captured requests is sent."""

    model_config = ConfigDict(frozen=True)

    #: Where the files are.
    source: str
    #: Files of the days asked for, and how many of them were read.
    files: int
    files_read: int
    #: Requests in the files that were read, and how many of them are sent.
    records: int
    sampled: int
    #: Lines that gave no request, by the reason.
    skipped: dict[str, int] = Field(default_factory=dict)
    #: Requests that are sent, by their content type; empty for none.
    content_types: dict[str, int] = Field(default_factory=dict)
    #: Of the bodies that are sent.
    body_bytes_p50: float
    body_bytes_p99: float


class Sizing(BaseModel):
    """One sizing, resolved: everything its decisions depend on besides the observations."""

    model_config = ConfigDict(frozen=True)

    sizing_id: str
    #: The execution whose id it is; tags carry it, so that a sweep can ask whether it still runs.
    execution_arn: str = ""
    #: When the execution started, epoch seconds; bounds the time that is left.
    started_at: float
    region: str
    request: Request
    #: The candidates, in the order of the request's ``instance_types``.
    candidates: tuple[InstanceFacts, ...]
    model: SizedModel = SizedModel()
    #: Of the model; the same for all its sizings. And of what is sent to it.
    model_key: str = ""
    payload_fingerprint: str = ""
    #: Mean size of a request body, weighted as it is sent; the bodies themselves may lie in S3.
    body_bytes: float = 0.0
    #: Instance count to try first, by type, from an earlier sizing of the same model and payload.
    prior_counts: dict[str, int] = Field(default_factory=dict)
    #: Workers that the earlier sizing's load test at that count needed, by type.
    prior_workers: dict[str, int] = Field(default_factory=dict)
    #: Of a request whose target is that of an endpoint in production.
    production: ProductionTraffic | None = None
    #: Of a request whose payloads are those that production was sent.
    captured: CapturedPayloads | None = None
    #: Where they come from: the request itself names the sample, which ends with the sizing.
    data_capture: DataCapture | None = None
    #: What the result must say about how the sizing was set up.
    notes: tuple[str, ...] = ()

    @property
    def comparable_key(self) -> str:
        """The same for sizings that ask the same question: 16 hexadecimal digits.

        The model, instance types, payload, target with its band and limits, routing, and where the
        search stops, and arrivals that are not evenly spaced; not its version, the load generator's
        size and how long is measured.
        """
        asked = self.request.model_dump(
            mode="json", include={"instance_types", "target", "limits", "routing"}
        )
        asked["instance_types"].sort()
        if self.request.load.arrivals != "constant":
            asked["arrivals"] = self.request.load.arrivals
        if self.request.target.from_endpoint is not None:
            del asked["target"]["tps"]  # what it comes to differs from night to night
        question = json.dumps([self.model_key, self.payload_fingerprint, asked], sort_keys=True)
        return hashlib.sha256(question.encode()).hexdigest()[:_DIGITS]

    def max_instances(self, instance_type: str) -> int:
        """Instances that a candidate may have at the most: the request's limit, or the quota's."""
        lowered = self.facts(instance_type).max_instances
        limit = self.request.limits.max_instances
        return limit if lowered is None else min(limit, lowered)

    def request_for(self, instance_type: str) -> Request:
        """The request as it applies to a candidate.

        A burstable type holds a part of its CPU for good, and a load test of minutes may run on
        credits: the band is that of the part.
        """
        baseline = baseline_percent(instance_type)
        if baseline is None:
            return self.request
        asked = self.request.target.utilization_percent
        band = Band(min=asked.min * baseline / 100, max=asked.max * baseline / 100)
        target = self.request.target.model_copy(update={"utilization_percent": band})
        return self.request.model_copy(update={"target": target})

    def facts(self, instance_type: str) -> InstanceFacts:
        """The facts of a candidate.

        Raises:
            KeyError: No candidate has that type.
        """
        for candidate in self.candidates:
            if candidate.instance_type == instance_type:
                return candidate
        raise KeyError(instance_type)
