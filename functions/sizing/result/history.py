"""What earlier sizings came to: a summary of each, and what follows from it for the next one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from sizing.load_test.fleet import worker_vcpus
from sizing.load_test.observation import LoadTestRecord
from sizing.load_test.plan import Purpose
from sizing.request.request import Request
from sizing.request.sizing import Sizing
from sizing.result import change
from sizing.result.change import Kind, Outcome
from sizing.result.result import Result
from sizing.search.answer import Status

_PARTITION_PREFIX: Final = "model#"

#: Farthest target that an earlier count is scaled to, as a factor either way. Beyond it a baseline
#: on one instance costs less than a fleet of the wrong size.
_FARTHEST: Final = 2.0
#: Share of the band's upper edge that a scaled count aims under: between two rates a fleet's cost
#: of a request differs by a percent or two.
_AIM: Final = 0.98
#: Resources whose use grows with the rate per instance, so that it tells the count.
_UTILIZATION: Final = ("CPU", "GPU")


class Summary(Outcome):
    """A sizing in the history: an item of the table, without its keys."""

    execution_arn: str
    model_key: str
    #: ISO 8601, UTC.
    started_at: str
    #: Which sizings it is compared with, and what came of that; see ``change.compare``.
    comparable_key: str | None = None
    change: Kind | None = None
    package_arn: str | None = None
    image: str | None = None
    image_digest: str | None = None
    #: What the sizing itself has cost.
    sizing_cost_usd: float | None = None
    #: Name of the error of one that failed.
    error: str | None = None
    load_tests: int
    # What was asked for.
    instance_types: tuple[str, ...]
    payload_fingerprint: str
    routing: str
    target_tps: float
    band_min_percent: float
    band_max_percent: float
    model_latency_p99_limit_ms: float | None = None
    error_percent_limit: float
    # What was found; only of one that is SIZED.
    in_band: bool | None = None
    limiting_resource: str | None = None
    #: Load generator of the load test that verified it.
    workers: int | None = None
    worker_vcpus: int | None = None
    #: When it is deleted, epoch seconds.
    expires_at: int

    def item(self) -> dict[str, Any]:
        """The item: what has a value, under keys that are the same for the same sizing.

        The sort key begins with the start, in whose order sizings of one model also end: they run
        one at a time. When one ended would not be the same if it is recorded twice.
        """
        return {
            "pk": partition(self.model_key),
            "sk": f"{self.started_at}#{self.sizing_id}",
            **self.model_dump(mode="json", exclude_none=True),
        }


class Priors(BaseModel):
    """Where a sizing starts, by instance type."""

    model_config = ConfigDict(frozen=True)

    counts: dict[str, int]
    workers: dict[str, int]


def partition(model_key: str) -> str:
    """Partition key of a model's history."""
    return _PARTITION_PREFIX + model_key


def outcome(result: Result, result_uri: str | None = None) -> Outcome:
    """A result as it is compared with others.

    Args:
        result: The result.
        result_uri: Where it is.
    """
    found = result.recommendation
    measured = [each for each in result.candidates if each.tps_per_instance_at_band_middle]
    if found is not None:
        measured = [e for e in result.candidates if e.instance_type == found.instance_type]
    candidate = measured[0] if measured and change.is_answer(result.status) else None
    interval = candidate.count_interval if candidate else None
    return Outcome(
        sizing_id=result.sizing.id,
        status=result.status,
        finished_at=result.sizing.finished_at,
        package_version=result.model.package_version if result.model else None,
        result_uri=result_uri,
        instance_type=candidate.instance_type if candidate else None,
        instance_count=found.instance_count if found else None,
        least_count=interval.min if interval else None,
        most_count=interval.max if interval else None,
        hourly_cost_usd=found.hourly_cost_usd if found else None,
        model_latency_p99_ms=found.model_latency_ms.p99 if found else None,
        model_latency_p99_standard_error=(
            found.model_latency_p99_standard_error if found else None
        ),
        periods=found.periods if found else None,
        tps=found.tps if found else None,
        utilization_percent=found.utilization_percent if found else None,
        utilization_standard_error=found.utilization_standard_error if found else None,
        tps_per_instance_at_band_middle=(
            candidate.tps_per_instance_at_band_middle if candidate else None
        ),
        tps_per_instance_standard_error=(
            candidate.tps_per_instance_standard_error if candidate else None
        ),
    )


def last_comparable(result: Result, earlier: Iterable[Mapping[str, Any]]) -> Outcome | None:
    """The last answer to the same question; None if there is none.

    Args:
        result: The result, which may be among them already.
        earlier: Items of the model's history, the latest first; read no further than needed.
    """
    for item in earlier:
        if item.get("sizing_id") == result.sizing.id:
            continue
        if item.get("comparable_key") != result.sizing.comparable_key:
            continue
        found = Outcome.model_validate({k: v for k, v in item.items() if k in Outcome.model_fields})
        if change.is_answer(found.status):
            return found
    return None


def summary(
    sizing: Sizing,
    result: Result,
    history: Sequence[LoadTestRecord],
    *,
    result_uri: str,
    expires_at: float,
) -> Summary:
    """The summary of a sizing that has ended.

    Args:
        sizing: The sizing.
        result: What it came to.
        history: Its load tests.
        result_uri: Where the whole result is.
        expires_at: When the result is deleted, epoch seconds.
    """
    request, found = sizing.request, result.recommendation
    verified = [
        record
        for record in history
        if found is not None
        and record.observations
        and record.purpose is Purpose.VERIFY
        and (record.instance_type, record.instance_count)
        == (found.instance_type, found.instance_count)
    ]
    return Summary(
        **outcome(result, result_uri).model_dump(),
        execution_arn=sizing.execution_arn,
        model_key=sizing.model_key,
        started_at=result.sizing.started_at or result.sizing.finished_at,
        comparable_key=result.sizing.comparable_key,
        change=result.change.kind if result.change else None,
        package_arn=sizing.model.package_arn,
        image=result.model.image if result.model else None,
        image_digest=result.model.image_digest if result.model else None,
        sizing_cost_usd=result.sizing.cost_usd,
        error=result.error.name if result.error is not None else None,
        load_tests=result.sizing.load_tests,
        instance_types=tuple(request.instance_types),
        payload_fingerprint=sizing.payload_fingerprint,
        routing=request.routing,
        target_tps=request.target.tps,
        band_min_percent=request.target.utilization_percent.min,
        band_max_percent=request.target.utilization_percent.max,
        model_latency_p99_limit_ms=request.target.model_latency_p99_ms,
        error_percent_limit=request.target.error_percent,
        in_band=found.in_band if found else None,
        limiting_resource=found.limiting_resource if found else None,
        workers=verified[-1].workers if verified else None,
        worker_vcpus=verified[-1].worker_vcpus if verified else None,
        expires_at=int(expires_at),
    )


def priors(sizing: Sizing, earlier: Iterable[Mapping[str, Any]]) -> Priors:
    """The counts that earlier sizings of the same model found for the same payload.

    A count is taken from the latest one that also had the same routing and the same conditions on
    utilization, latency and errors; it is scaled to the target where that is not far. It is only
    where the search starts: a load test verifies it like any other count.

    Args:
        sizing: The sizing.
        earlier: Items of the model's history, the latest first; read no further than needed.
    """
    request = sizing.request
    counts: dict[str, int] = {}
    workers: dict[str, int] = {}
    for item in earlier:
        if len(counts) == len(request.instance_types):
            break
        if (
            item.get("status") != Status.SIZED
            or item.get("payload_fingerprint") != sizing.payload_fingerprint
        ):
            continue
        found = Summary.model_validate(item)
        if found.instance_type not in request.instance_types or found.instance_type in counts:
            continue
        count = _scaled_count(request, found)
        if count is not None:
            counts[found.instance_type] = count
            workers[found.instance_type] = _scaled_workers(sizing, found)
    return Priors(counts=counts, workers=workers)


def _scaled_count(request: Request, found: Summary) -> int | None:
    """The count to start at for the request's target; None if the earlier one tells nothing."""
    target = request.target
    asked = (
        request.routing,
        target.utilization_percent.min,
        target.utilization_percent.max,
        target.model_latency_p99_ms,
        target.error_percent,
    )
    answered = (
        found.routing,
        found.band_min_percent,
        found.band_max_percent,
        found.model_latency_p99_limit_ms,
        found.error_percent_limit,
    )
    ratio = target.tps / found.target_tps
    if asked != answered or found.instance_count is None:
        return None
    if not 1 / _FARTHEST <= ratio <= _FARTHEST:
        return None
    if ratio == 1:
        return found.instance_count
    if found.limiting_resource in _UTILIZATION and found.utilization_percent is not None:
        # What one instance does at the same rate, it does in a fleet of any size.
        busy = found.utilization_percent * found.instance_count * ratio
        return max(math.ceil(busy / (target.utilization_percent.max * _AIM)), 1)
    return max(math.ceil(found.instance_count * ratio), 1)


def _scaled_workers(sizing: Sizing, found: Summary) -> int:
    target = sizing.request.target.tps
    vcpus = (found.workers or 1) * (found.worker_vcpus or 1) * target / found.target_tps
    of_one = worker_vcpus(sizing.request.load, sizing.body_bytes, target)
    return max(math.ceil(vcpus / of_one), 1)
