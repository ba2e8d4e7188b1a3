"""The result of a sizing: what ``result.json`` holds, as types, and how it is put together.

``docs/result.md`` describes every field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import floor, isfinite, log10
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from sizing import __version__
from sizing.catalogue import prices
from sizing.catalogue.instance import InstanceFacts
from sizing.load_test.cost import load_tests_run
from sizing.load_test.observation import Latency, LoadTestRecord, Observation, Verdict, together
from sizing.load_test.plan import Purpose
from sizing.load_test.verdict import (
    container_saturates,
    latency_binds,
    trusted_saturation,
    usable,
    verdict,
)
from sizing.production import autoscaling, comparison
from sizing.production.apply import Applied
from sizing.production.autoscaling import Autoscaling
from sizing.production.comparison import Production
from sizing.request.model_key import group_and_version
from sizing.request.sizing import CapturedPayloads, SizedModel, Sizing
from sizing.result.change import Change
from sizing.result.counts import Count, cost_per_million, counts_around
from sizing.result.failure import CATALOGUE, Failure, on_this_machine
from sizing.result.failure import failure as named
from sizing.search.answer import Answer, CandidateOutcome, CandidateStatus, Status
from sizing.search.diagnosis import Diagnosis

SCHEMA_VERSION = 1


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class Percentiles(_Frozen):
    """Milliseconds; None where CloudWatch published none."""

    p50: float | None = None
    p90: float | None = None
    p99: float | None = None


class Mean(_Frozen):
    """Milliseconds; OverheadLatency has no percentiles."""

    mean: float | None = None


class CountInterval(_Frozen):
    """Instance counts that the measurement's noise can't tell apart, inclusive."""

    min: int
    max: int


class Recommendation(_Frozen):
    """A verified answer: what was seen at this count under the full target."""

    instance_type: str
    instance_count: int = Field(ge=1)
    #: Successful answers per second, measured.
    tps: float
    utilization_percent: float
    limiting_resource: str | None
    model_latency_ms: Percentiles
    overhead_latency_ms: Mean
    client_latency_ms: Percentiles
    error_percent: float
    #: None where no source knows the price.
    hourly_cost_usd: float | None
    cost_per_million_usd: float | None
    in_band: bool
    #: Standard error of ``utilization_percent``, percent.
    utilization_standard_error: float | None = None
    #: Standard error of ``model_latency_ms.p99``, milliseconds, and the metric periods behind it.
    model_latency_p99_standard_error: float | None = None
    periods: int | None = None
    #: None where SageMaker does not scale the type.
    autoscaling: Autoscaling | None
    count_interval: CountInterval | None = None


class LoadTestResult(_Frozen):
    """One load test; ``error`` and ``cause`` if it could not be run."""

    load_test_id: str
    instance_count: int
    purpose: Purpose
    #: Of the step that decides: the target's; in a baseline, the one nearest to the band's middle.
    verdict: Verdict | None
    saturation_tps: float | None = None
    workers: int
    worker_vcpus: int
    #: Why it was run, and why with so many workers.
    reason: str = ""
    #: ISO 8601, UTC.
    started_at: str | None = None
    finished_at: str | None = None
    error: str | None = None
    cause: str | None = None
    files: str = ""
    observations: tuple[Observation, ...] = ()


class CandidateResult(_Frozen):
    """What became of an instance type."""

    instance_type: str
    status: CandidateStatus
    reason: str
    recommendation: Recommendation | None = None
    #: Smallest count known, or predicted, to serve the target; None if none is.
    instance_count: int | None = None
    count_interval: CountInterval | None = None
    #: Of that count.
    hourly_cost_usd: float | None = None
    limiting_resource: str | None = None
    #: Requests per second of one instance at the middle of the band.
    tps_per_instance_at_band_middle: float | None = None
    tps_per_instance_standard_error: float | None = None
    #: Of one instance per hour, and where that is from.
    hourly_price_usd: float | None = None
    price_source: str = ""
    #: Its container's, as far as they are known.
    image: str | None = None
    image_digest: str | None = None
    vcpus: int | None = None
    gpus: int | None = None
    memory_gib: float | None = None
    diagnosis: tuple[Diagnosis, ...] = ()
    #: What the counts around ``instance_count`` do, and the most that is allowed if that is less.
    counts: tuple[Count, ...] = ()
    load_tests: tuple[LoadTestResult, ...] = ()


class ModelFacts(_Frozen):
    """What was really sized."""

    #: The same for all sizings of the model, whichever version; see ``model_key``.
    key: str
    package_arn: str | None = None
    package_group: str | None = None
    package_version: int | None = None
    #: Of the recommended candidate's container, or else the first one's.
    image: str | None = None
    image_digest: str | None = None


class SizingFacts(_Frozen):
    """The sizing itself: when, at what cost, and what was asked for."""

    id: str
    #: ISO 8601, UTC; None if the execution did not say.
    started_at: str | None
    finished_at: str
    #: None where it could not be worked out.
    cost_usd: float | None
    #: Load tests that ran, as ``limits.max_load_tests`` counts them.
    load_tests: int
    region: str | None = None
    execution_arn: str | None = None
    #: The same for sizings that ask the same question, which alone are compared.
    comparable_key: str | None = None
    #: With all defaults where it is valid, as it came where it is not.
    request: Any = None


class Result(_Frozen):
    """``result.json``."""

    #: Raised when a field is renamed, dropped or means something else; not when one is added.
    schema_version: int = SCHEMA_VERSION
    #: Of the endpoint-sizer that made it.
    version: str = __version__
    status: Status
    #: Whether it was measured on somebody's machine, on local endpoints.
    local: bool = False
    #: Why the search ended as it did, in a sentence.
    reason: str
    #: Name of the limit that ended the search, such as ``limits.max_instances``.
    limit: str | None = None
    #: None where the request could not be resolved.
    model: ModelFacts | None = None
    recommendation: Recommendation | None = None
    #: What the endpoint in production has that the target was taken from.
    production: Production | None = None
    #: What of production's captured requests was sent.
    captured: CapturedPayloads | None = None
    #: What became of the request's ``apply``; None without it.
    applied: Applied | None = None
    #: Beside the last answer to the same question; None if this is no answer.
    change: Change | None = None
    candidates: tuple[CandidateResult, ...] = ()
    sizing: SizingFacts
    #: Of a FAILED sizing.
    error: Failure | None = None
    #: Of a dry run: {cost_usd, minutes, load_tests}.
    estimate: dict[str, Any] | None = None
    #: What the reader must know besides: what is missing, and why; limits that were lowered.
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Execution:
    """A sizing as the state machine ran it.

    Args:
        sizing_id: Id of the sizing, known even where its request could not be resolved.
        finished_at: Epoch seconds.
        started_at: Epoch seconds, where the sizing itself does not say.
        arn: Of the state machine's execution.
        request: The request as it came.
        cost_usd: What the sizing itself has cost; None if unknown.
        local: Whether it ran on an embedded AWS.
        notes: What is missing, for the reader.
    """

    sizing_id: str
    finished_at: float
    started_at: float | None = None
    arn: str | None = None
    request: object = None
    cost_usd: float | None = None
    local: bool = False
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Ending:
    """How a sizing ended.

    Args:
        answer: What the search concluded; None if it did not get that far.
        failure: What ended the sizing early, if something did.
        dry_run: Only an estimate was asked for.
        estimate: {cost_usd, minutes, load_tests}, worked out before anything is created.
    """

    answer: Answer | None = None
    failure: Failure | None = None
    dry_run: bool = False
    estimate: dict[str, Any] | None = None


def build_result(
    execution: Execution,
    ending: Ending,
    sizing: Sizing | None = None,
    history: Sequence[LoadTestRecord] = (),
) -> dict[str, Any]:
    """Put ``result.json`` together; ``Result.model_validate`` reads it back.

    A sizing is SIZED only with a candidate verified by an observation: an answer that claims it
    without one, or no answer at all, is a FAILED sizing.

    Args:
        execution: The sizing as it ran.
        ending: How it ended.
        sizing: The resolved sizing; None if the request could not be resolved.
        history: All load tests, in the order they ran.
    """
    answer, winner = ending.answer, _winner(ending.answer)
    sizing = sizing and _as_deployed(sizing, history)
    failure = ending.failure or _contradiction(answer, winner, ending.dry_run)
    if failure is not None and execution.local:
        failure = on_this_machine(failure)
    status = _status(answer, failure)
    request, started_at = execution.request, execution.started_at
    if sizing is not None:
        request = _request(sizing)
        started_at = sizing.started_at
    candidates = _candidates(sizing, history, answer, failure, ending.dry_run)
    recommended = _recommended(status, winner, candidates)
    result = Result(
        status=status,
        local=execution.local,
        reason=_reason(answer, failure),
        limit=answer.limit if answer is not None and failure is None else None,
        model=_model(sizing, winner),
        recommendation=recommended,
        production=_production(sizing, recommended, candidates),
        captured=sizing.captured if sizing is not None else None,
        candidates=candidates,
        sizing=SizingFacts(
            id=execution.sizing_id,
            started_at=_iso(started_at),
            finished_at=_iso(execution.finished_at) or "",
            cost_usd=execution.cost_usd,
            load_tests=load_tests_run(history),
            region=sizing.region if sizing is not None else None,
            execution_arn=execution.arn,
            comparable_key=sizing.comparable_key if sizing is not None else None,
            request=request,
        ),
        error=failure,
        estimate=ending.estimate,
        notes=(
            *(sizing.notes if sizing is not None else ()),
            *(sizing.production.notes if sizing is not None and sizing.production else ()),
            *_price_notes(sizing, execution.cost_usd),
            *execution.notes,
        ),
    )
    return _document(result)


def _request(sizing: Sizing) -> dict[str, Any]:
    """The request as it can be sent again: the sample of captured requests ends with the sizing."""
    request = sizing.request.model_dump(mode="json", exclude_none=True)
    if sizing.data_capture is not None:
        request["payloads"].pop("s3_uri", None)  # a dry run has taken none
        asked = sizing.data_capture.model_dump(mode="json", exclude_none=True)
        request["payloads"]["data_capture"] = asked
    return request


def _as_deployed(sizing: Sizing, history: Sequence[LoadTestRecord]) -> Sizing:
    """With the digests that SageMaker made of tags, as far as load tests met them."""
    seen = {each.instance_type: each.image_digest for each in history if each.image_digest}
    digests = {**seen, **sizing.model.image_digests}
    model = sizing.model.model_copy(update={"image_digests": digests})
    return sizing.model_copy(update={"model": model})


def _model(sizing: Sizing | None, winner: CandidateOutcome | None) -> ModelFacts | None:
    if sizing is None:
        return None
    model, arn = sizing.model, sizing.model.package_arn
    shown = winner.instance_type if winner is not None else sizing.request.instance_types[0]
    group, version = group_and_version(arn) if arn is not None else (None, None)
    return ModelFacts(
        key=sizing.model_key,
        package_arn=arn,
        package_group=group,
        package_version=version,
        image=model.images.get(shown),
        image_digest=model.image_digests.get(shown),
    )


def _production(
    sizing: Sizing | None,
    recommended: Recommendation | None,
    candidates: Sequence[CandidateResult],
) -> Production | None:
    if sizing is None or sizing.production is None:
        return None
    answer, capacity = None, None
    if recommended is not None:
        name = recommended.instance_type
        answer = (name, recommended.instance_count, recommended.hourly_cost_usd)
        [capacity] = [
            each.tps_per_instance_at_band_middle
            for each in candidates
            if each.instance_type == name
        ]
    band = sizing.request.target.utilization_percent
    return comparison.compare(sizing.production, band, answer, capacity)


def _price_notes(sizing: Sizing | None, cost_usd: float | None) -> list[str]:
    """What to know of the sizing's own cost, where it has one."""
    note = prices.note(sizing.region) if sizing is not None and cost_usd else None
    return [note] if note else []


def _winner(answer: Answer | None) -> CandidateOutcome | None:
    """The outcome that the answer recommends, if it is shown by an observation."""
    for outcome in answer.candidates if answer is not None else ():
        if answer is not None and outcome.instance_type == answer.instance_type:
            return outcome if _verified(outcome) else None
    return None


def _verified(outcome: CandidateOutcome) -> bool:
    return (
        outcome.status is CandidateStatus.VERIFIED
        and outcome.instance_count is not None
        and outcome.observation is not None
        and usable(outcome.observation)
    )


def _contradiction(
    answer: Answer | None, winner: CandidateOutcome | None, dry_run: bool
) -> Failure | None:
    """The failure of a sizing that ended without one, and without an answer to stand on."""
    if dry_run:
        return None
    if answer is None:
        return named("NoAnswer", CATALOGUE["NoAnswer"].meaning)
    if answer.status is Status.SIZED and winner is None:
        return named("NotVerified", f"No load test stands behind the answer: {answer.reason}")
    if answer.status is Status.FAILED:
        return named("NoCandidateMeasured", answer.reason)
    return None


def _status(answer: Answer | None, failure: Failure | None) -> Status:
    if failure is not None:
        return Status.FAILED
    return Status.DRY_RUN if answer is None else answer.status


def _reason(answer: Answer | None, failure: Failure | None) -> str:
    if failure is not None:
        return failure.cause
    if answer is not None:
        return answer.reason
    return "Dry run: the request is valid; nothing was created or invoked."


def _recommended(
    status: Status, winner: CandidateOutcome | None, candidates: Sequence[CandidateResult]
) -> Recommendation | None:
    if status is not Status.SIZED or winner is None:
        return None
    return next(
        each.recommendation for each in candidates if each.instance_type == winner.instance_type
    )


def _candidates(
    sizing: Sizing | None,
    history: Sequence[LoadTestRecord],
    answer: Answer | None,
    failure: Failure | None,
    dry_run: bool,
) -> tuple[CandidateResult, ...]:
    """One for each type, in the request's order."""
    facts = {each.instance_type: each for each in sizing.candidates} if sizing is not None else {}
    outcomes: dict[str, CandidateOutcome] = {}
    for outcome in answer.candidates if answer is not None else ():
        outcomes.setdefault(outcome.instance_type, outcome)
    types = dict.fromkeys([*facts, *outcomes, *(record.instance_type for record in history)])
    return tuple(
        _candidate(
            sizing,
            facts.get(instance_type),
            outcomes.get(instance_type)
            or _unfinished(instance_type, history, failure, dry_run=dry_run),
            [record for record in history if record.instance_type == instance_type],
        )
        for instance_type in types
    )


def _unfinished(
    instance_type: str, history: Sequence[LoadTestRecord], failure: Failure | None, *, dry_run: bool
) -> CandidateOutcome:
    """The outcome of a candidate about which no search had the last word."""
    for record in history:
        if record.instance_type == instance_type and record.error is not None:
            return CandidateOutcome(
                instance_type=instance_type,
                status=CandidateStatus.FAILED,
                reason=f"{record.error}: {record.cause or 'no cause was given'}",
            )
    reason = "The sizing ended before it could be verified."
    if dry_run and failure is None:
        reason = "A dry run verifies nothing."
    return CandidateOutcome(
        instance_type=instance_type, status=CandidateStatus.NOT_VERIFIED, reason=reason
    )


def _candidate(
    sizing: Sizing | None,
    facts: InstanceFacts | None,
    outcome: CandidateOutcome,
    records: Sequence[LoadTestRecord],
) -> CandidateResult:
    interval = _interval(outcome)
    model = sizing.model if sizing is not None else SizedModel()
    return CandidateResult(
        instance_type=outcome.instance_type,
        status=outcome.status,
        reason=outcome.reason,
        recommendation=_recommendation(sizing, facts, outcome, records),
        instance_count=outcome.instance_count,
        count_interval=interval,
        hourly_cost_usd=_hourly_cost(facts, outcome),
        limiting_resource=outcome.limiting_resource,
        tps_per_instance_at_band_middle=outcome.tps_per_instance_at_band_middle,
        tps_per_instance_standard_error=outcome.tps_per_instance_standard_error,
        hourly_price_usd=facts.hourly_price_usd if facts is not None else None,
        price_source=facts.price_source if facts is not None else "",
        image=model.images.get(outcome.instance_type),
        image_digest=model.image_digests.get(outcome.instance_type),
        vcpus=facts.vcpus if facts is not None else None,
        gpus=facts.gpus if facts is not None else None,
        memory_gib=facts.memory_gib if facts is not None else None,
        diagnosis=outcome.diagnosis,
        counts=_counts(sizing, facts, outcome, records),
        load_tests=tuple(_load_test(sizing, record, outcome) for record in records),
    )


def _counts(
    sizing: Sizing | None,
    facts: InstanceFacts | None,
    outcome: CandidateOutcome,
    records: Sequence[LoadTestRecord],
) -> tuple[Count, ...]:
    count, most = outcome.instance_count, _most_instances(sizing, outcome.instance_type)
    if sizing is None or facts is None or count is None or most is None:
        return ()
    request = sizing.request_for(outcome.instance_type)
    return counts_around(request, facts, records, count, also=[most] if most < count else [])


def _interval(outcome: CandidateOutcome) -> CountInterval | None:
    if outcome.count_interval is None:
        return None
    low, high = outcome.count_interval
    return CountInterval(min=low, max=high)


def _hourly_cost(facts: InstanceFacts | None, outcome: CandidateOutcome) -> float | None:
    if outcome.hourly_cost_usd is not None:
        return outcome.hourly_cost_usd
    if facts is None or facts.hourly_price_usd is None or outcome.instance_count is None:
        return None
    return facts.hourly_price_usd * outcome.instance_count


def _recommendation(
    sizing: Sizing | None,
    facts: InstanceFacts | None,
    outcome: CandidateOutcome,
    records: Sequence[LoadTestRecord],
) -> Recommendation | None:
    seen, count = outcome.observation, outcome.instance_count
    if not _verified(outcome) or seen is None or count is None:
        return None
    hourly_cost = _hourly_cost(facts, outcome)
    saturation = [
        tps / record.instance_count
        for record in records
        if (tps := trusted_saturation(record)) is not None
    ]
    return Recommendation(
        instance_type=outcome.instance_type,
        instance_count=count,
        tps=seen.achieved_tps,
        utilization_percent=seen.utilization_percent,
        limiting_resource=outcome.limiting_resource,
        model_latency_ms=_percentiles(seen.model_latency_ms),
        overhead_latency_ms=Mean(mean=seen.overhead_latency_ms.mean),
        client_latency_ms=_percentiles(seen.client_latency_ms),
        error_percent=seen.error_percent,
        hourly_cost_usd=hourly_cost,
        cost_per_million_usd=cost_per_million(hourly_cost, seen.offered_tps),
        in_band=outcome.in_band,
        utilization_standard_error=seen.utilization_standard_error,
        model_latency_p99_standard_error=seen.model_latency_p99_standard_error,
        periods=seen.samples // seen.instances_reporting if seen.instances_reporting else None,
        autoscaling=autoscaling.advise(
            instance_type=outcome.instance_type,
            instance_count=count,
            max_instances=_most_instances(sizing, outcome.instance_type) or count,
            tps_per_instance=outcome.tps_per_instance_at_band_middle,
            most_tps=outcome.most_tps_per_instance,
            saturation_tps=max(saturation, default=None),
            model_latency_ms=_usual_latency(outcome, seen, count, records),
        ),
        count_interval=_interval(outcome),
    )


def _usual_latency(
    outcome: CandidateOutcome, seen: Observation, count: int, records: Sequence[LoadTestRecord]
) -> float | None:
    """Mean latency of an instance with so much to do, milliseconds: the lowest that was seen.

    A stall or a cold instance makes it longer; nothing makes it shorter, and it grows with load. A
    stall moves the mean, but neither p50 nor p90, between which the mean lies without one. Where an
    instance is to hold less than it has to do here, it is that of the next lower rate.
    """
    here = seen.offered_tps / count * (1 - 1e-6)
    steps = [
        (each.offered_tps / record.instance_count, each)
        for record in records
        for each in record.observations
        if usable(each)
    ]
    most = outcome.most_tps_per_instance
    if most is not None and most < here:
        here = max((rate for rate, _ in steps if rate <= most), default=here)
    latencies = [
        latency
        for rate, each in steps
        if rate >= here
        for latency in (each.model_latency_ms.mean, _middle(each.model_latency_ms))
    ]
    return min((each for each in latencies if each is not None), default=None)


def _middle(latency: Latency) -> float | None:
    """Halfway between p50 and p90, milliseconds."""
    if latency.p50 is None or latency.p90 is None:
        return None
    return (latency.p50 + latency.p90) / 2


def _most_instances(sizing: Sizing | None, instance_type: str) -> int | None:
    """Instances that a candidate may have; None where that is not known."""
    types = [each.instance_type for each in sizing.candidates] if sizing is not None else []
    return sizing.max_instances(instance_type) if sizing and instance_type in types else None


def _percentiles(latency: Latency) -> Percentiles:
    return Percentiles(p50=latency.p50, p90=latency.p90, p99=latency.p99)


def _load_test(
    sizing: Sizing | None, record: LoadTestRecord, outcome: CandidateOutcome
) -> LoadTestResult:
    judged = _load_test_verdict(sizing, record)
    seen = outcome.observation
    shows_the_answer = seen is not None and any(
        each.window.end == seen.window.end for each in record.observations
    )
    if seen is not None and shows_the_answer and record.instance_count == outcome.instance_count:
        judged = seen.verdict  # by all load tests together
    return LoadTestResult(
        load_test_id=record.load_test_id,
        instance_count=record.instance_count,
        purpose=record.purpose,
        verdict=judged,
        saturation_tps=record.saturation_tps,
        workers=record.workers,
        worker_vcpus=record.worker_vcpus,
        reason=record.reason,
        started_at=_iso(record.started_at),
        finished_at=_iso(record.finished_at),
        error=record.error,
        cause=record.cause,
        files=record.files,
        observations=record.observations,
    )


def _load_test_verdict(sizing: Sizing | None, record: LoadTestRecord) -> Verdict | None:
    """The verdict of the step that says most about this instance count."""
    steps = record.observations
    if sizing is None or not steps:
        return steps[-1].verdict if steps else None
    target = sizing.request_for(record.instance_type).target
    if record.purpose is Purpose.VERIFY:
        # Neighbours that went well do not make good a spoilt step at the target.
        nearest = min(abs(each.offered_tps - target.tps) for each in steps)
        steps = tuple(each for each in steps if abs(each.offered_tps - target.tps) == nearest)
    good = [each for each in steps if usable(each)]
    if len(good) > 1 and record.purpose is Purpose.VERIFY:
        # The target was held several times: they count as one.
        return verdict(
            target,
            together(good),
            container=container_saturates(record, target),
            latency=latency_binds(record, target),
        )
    middle = target.utilization_percent.middle
    return min(good or steps, key=lambda each: abs(each.utilization_percent - middle)).verdict


def _iso(epoch: float | None) -> str | None:
    """ISO 8601 in UTC, to the second; None for a time that is not known."""
    if epoch is None or epoch <= 0:
        return None
    return datetime.fromtimestamp(epoch, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _document(result: Result) -> dict[str, Any]:
    """The result as JSON holds it: figures rounded, no recommendation where there is none."""
    document: dict[str, Any] = result.model_dump(mode="json", exclude={"sizing": {"request"}})
    document = tidy(document)
    document["sizing"]["request"] = result.sizing.request
    for candidate in document["candidates"]:
        if candidate["recommendation"] is None:
            del candidate["recommendation"]
    return document


def tidy(value: Any) -> Any:
    """Numbers as they are worth reading: 3 decimals, and never under 4 significant digits."""
    if isinstance(value, dict):
        return {key: tidy(each) for key, each in value.items()}
    if isinstance(value, list):
        return [tidy(each) for each in value]
    if isinstance(value, float):
        if not isfinite(value):
            return None
        digits = 3 if abs(value) >= 1 or value == 0 else 3 - floor(log10(abs(value)))
        return round(value, digits)
    return value
