"""What machines are told of a sizing: events, the answer for infrastructure as code, metadata.

``docs/events.schema.json`` is the JSON Schema of the events, made from the types below.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from sizing.clean_up.names import sizing_id
from sizing.production.autoscaling import Autoscaling
from sizing.request.sizing import Sizing
from sizing.result.change import Kind, sentence
from sizing.result.history import outcome
from sizing.result.message import as_subject, model_label, one_line, target_tps
from sizing.result.result import SCHEMA_VERSION, Result
from sizing.search.answer import Status

SOURCE: Final = "endpoint-sizer"
STARTED: Final = "Endpoint Sizing Started"
FINISHED: Final = "Endpoint Sizing Finished"
CHANGED: Final = "Endpoint Sizing Changed"

#: Kinds of change that are worth an event of their own.
_CHANGES: Final = (Kind.IMPROVED, Kind.REGRESSED, Kind.CHANGED)
#: EventBridge takes entries of 256 KB; rules need no more than this of a sentence.
_LONGEST_SENTENCE: Final = 1000
#: SageMaker's bounds on a model package's metadata.
_LONGEST_PROPERTY: Final = 256
_NOT_IN_A_PROPERTY: Final = re.compile(r"[^\w\s.:/=+\-@]")


#: What the subject says of failures after the answer.
_UNDONE: Final = {"CleanUpFailed": "NOT CLEANED UP", "ApplyFailed": "NOT APPLIED"}


class _Detail(BaseModel):
    """Flat, so that a rule can match every field; null is what does not apply."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    sizing_id: str
    execution_arn: str | None
    #: What the request calls the model; its key; and, of a model package, its ARN.
    model: str
    model_key: str | None
    package_arn: str | None
    target_tps: float | None


class Started(_Detail):
    """Detail of ``Endpoint Sizing Started``: the model is this sizing's now."""

    instance_types: tuple[str, ...]
    estimated_cost_usd: float | None
    estimated_minutes: float | None


class Finished(_Detail):
    """Detail of ``Endpoint Sizing Finished``, and of ``Changed`` if its answer is another one."""

    status: Status
    reason: str
    limit: str | None = None
    package_version: int | None = None
    image: str | None = None
    image_digest: str | None = None
    instance_type: str | None = None
    instance_count: int | None = None
    tps: float | None = None
    utilization_percent: float | None = None
    in_band: bool | None = None
    tps_per_instance_at_band_middle: float | None = None
    model_latency_p99_ms: float | None = None
    hourly_cost_usd: float | None = None
    cost_per_million_usd: float | None = None
    autoscaling_metric: str | None = None
    autoscaling_target_value: float | None = None
    autoscaling_min_capacity: int | None = None
    autoscaling_max_capacity: int | None = None
    change: Kind | None = None
    #: The change in a line.
    change_summary: str | None = None
    previous_sizing_id: str | None = None
    previous_instance_type: str | None = None
    previous_instance_count: int | None = None
    previous_hourly_cost_usd: float | None = None
    #: Whether the answer was applied to ``applied_to``; None where nobody asked for it.
    applied: bool | None = None
    applied_to: str | None = None
    applied_summary: str | None = None
    sizing_cost_usd: float | None = None
    load_tests: int = 0
    error: str | None = None
    retry: str | None = None
    cause: str | None = None
    result_uri: str | None = None
    report_uri: str | None = None


class Answer(BaseModel):
    """What the SSM parameter of a model package group says: its last answer that is SIZED."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = SCHEMA_VERSION
    model_key: str
    package_arn: str | None
    package_version: int | None
    instance_type: str
    instance_count: int = Field(ge=1)
    #: Metric, target value and bounds of a target tracking policy; None for types without.
    autoscaling: dict[str, str | float | int] | None
    hourly_cost_usd: float | None
    target_tps: float | None
    #: ISO 8601, UTC.
    sized_at: str
    sizing_id: str
    result_uri: str


def started(sizing: Sizing, *, cost_usd: float | None, minutes: float | None) -> dict[str, Any]:
    """Detail of the event that a sizing begins.

    Args:
        sizing: The resolved sizing.
        cost_usd: Its estimated cost.
        minutes: And how long it is estimated to take.
    """
    return Started(
        sizing_id=sizing.sizing_id,
        execution_arn=sizing.execution_arn,
        model=model_label(sizing.request.model_dump(mode="json", exclude_none=True)),
        model_key=sizing.model_key,
        package_arn=sizing.model.package_arn,
        target_tps=sizing.request.target.tps,
        instance_types=tuple(sizing.request.instance_types),
        estimated_cost_usd=cost_usd,
        estimated_minutes=minutes,
    ).model_dump(mode="json")


def finished(result: Result, *, result_uri: str, report_uri: str | None) -> dict[str, Any]:
    """Detail of the event that a sizing has ended.

    Args:
        result: What it came to.
        result_uri: Where that is.
        report_uri: Where its report is; None if there is none.
    """
    seen, model, change = result.recommendation, result.model, result.change
    advice = seen.autoscaling if seen else None
    before = change.previous if change else None
    applied = result.applied
    return Finished(
        sizing_id=result.sizing.id,
        execution_arn=result.sizing.execution_arn,
        model=model_label(result.sizing.request),
        model_key=model.key if model else None,
        package_arn=model.package_arn if model else None,
        target_tps=target_tps(result.sizing.request),
        status=result.status,
        reason=one_line(result.reason, _LONGEST_SENTENCE),
        limit=result.limit,
        package_version=model.package_version if model else None,
        image=model.image if model else None,
        image_digest=model.image_digest if model else None,
        instance_type=seen.instance_type if seen else None,
        instance_count=seen.instance_count if seen else None,
        tps=seen.tps if seen else None,
        utilization_percent=seen.utilization_percent if seen else None,
        in_band=seen.in_band if seen else None,
        tps_per_instance_at_band_middle=outcome(result).tps_per_instance_at_band_middle,
        model_latency_p99_ms=seen.model_latency_ms.p99 if seen else None,
        hourly_cost_usd=seen.hourly_cost_usd if seen else None,
        cost_per_million_usd=seen.cost_per_million_usd if seen else None,
        autoscaling_metric=advice.metric if advice else None,
        autoscaling_target_value=advice.target_value if advice else None,
        autoscaling_min_capacity=advice.min_capacity if advice else None,
        autoscaling_max_capacity=advice.max_capacity if advice else None,
        change=change.kind if change else None,
        change_summary=one_line(sentence(change), _LONGEST_SENTENCE) if change else None,
        previous_sizing_id=before.sizing_id if before else None,
        previous_instance_type=before.instance_type if before else None,
        previous_instance_count=before.instance_count if before else None,
        previous_hourly_cost_usd=before.hourly_cost_usd if before else None,
        applied=applied.done if applied else None,
        applied_to=applied.endpoint if applied else None,
        applied_summary=one_line(applied.reason, _LONGEST_SENTENCE) if applied else None,
        sizing_cost_usd=result.sizing.cost_usd,
        load_tests=result.sizing.load_tests,
        error=result.error.name if result.error else None,
        retry=str(result.error.retry) if result.error else None,
        cause=one_line(result.error.cause, _LONGEST_SENTENCE) if result.error else None,
        result_uri=result_uri,
        report_uri=report_uri,
    ).model_dump(mode="json")


def answer(result: Result, result_uri: str) -> str | None:
    """The answer for infrastructure as code, as JSON; None of a result that meets no target."""
    seen, model = result.recommendation, result.model
    if seen is None or model is None:
        return None
    return Answer(
        model_key=model.key,
        package_arn=model.package_arn,
        package_version=model.package_version,
        instance_type=seen.instance_type,
        instance_count=seen.instance_count,
        autoscaling=_numbers(seen.autoscaling),
        hourly_cost_usd=seen.hourly_cost_usd,
        target_tps=target_tps(result.sizing.request),
        sized_at=result.sizing.finished_at,
        sizing_id=result.sizing.id,
        result_uri=result_uri,
    ).model_dump_json()


def package_metadata(result: Result, result_uri: str) -> dict[str, str]:
    """What the model registry is told of the package that was sized, by name."""
    seen = result.recommendation
    said = {
        "status": str(result.status),
        "sized-at": result.sizing.finished_at,
        "target-tps": target_tps(result.sizing.request),
        "instance-type": seen.instance_type if seen else None,
        "instance-count": seen.instance_count if seen else None,
        "hourly-cost-usd": seen.hourly_cost_usd if seen else None,
        "change": result.change.kind if result.change else None,
        "result-uri": result_uri,
    }
    return {
        f"{SOURCE}:{name}": _NOT_IN_A_PROPERTY.sub(" ", str(value))[:_LONGEST_PROPERTY]
        for name, value in said.items()
        if value is not None
    }


def entries(detail: dict[str, Any]) -> list[dict[str, Any]]:
    """PutEvents' entries, without their bus, of a sizing that has ended."""
    kinds = [FINISHED, *([CHANGED] if detail.get("change") in _CHANGES else [])]
    return [entry(kind, detail) for kind in kinds]


def entry(detail_type: str, detail: dict[str, Any]) -> dict[str, Any]:
    """One entry of PutEvents; its resources are what a rule may match the sizing by."""
    resources = (detail.get("execution_arn"), detail.get("package_arn"))
    return {
        "Source": SOURCE,
        "DetailType": detail_type,
        "Detail": detail,
        "Resources": [each for each in resources if each],
    }


class Failed(BaseModel):
    """What ended a sizing, or kept it from removing or recording everything."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    error: str
    cause: str = ""


@dataclass(frozen=True)
class Told:
    """What is told of a sizing that has ended."""

    #: Whether a message is wanted.
    notify: bool
    subject: str
    message: str
    #: Of the message, for the filters of subscriptions.
    attributes: dict[str, str]
    entries: list[dict[str, Any]]


def told(arn: str, name: str, outcome: Mapping[str, Any], failure: Failed | None) -> Told:
    """What people and machines are told of a sizing.

    Something that could not be removed may still cost money, and an endpoint may have half of an
    answer: both outweigh any answer and are told whether or not a message is wanted; so is a sizing
    of which nothing is recorded.

    Args:
        arn: Of the sizing's execution.
        name: Its name.
        outcome: What RecordResult has answered; empty if it has not.
        failure: What went wrong, if something did.
    """
    undone = _UNDONE.get(failure.error) if failure is not None else None
    subject = outcome.get("subject", f"FAILED: endpoint sizing {name}")
    text = outcome.get("message", f"Nothing is recorded of {arn}")
    detail = outcome.get("detail") or _unrecorded(arn)
    as_recorded = bool(outcome) and undone is None
    if failure is not None and not as_recorded:
        text = f"{failure.error}: {failure.cause}\n\n{text}"
        detail = {
            **detail,
            "status": str(Status.FAILED),
            "retry": "NO",
            "error": failure.error,
            "cause": one_line(failure.cause, _LONGEST_SENTENCE),
        }
    if undone is not None:
        subject = f"{undone}: {subject}"
    filters = {each: detail.get(each) for each in ("status", "change", "model", "model_key")}
    return Told(
        notify=bool(outcome.get("notify", True)) or not as_recorded,
        subject=as_subject(subject),
        message=text,
        attributes={each: str(value) for each, value in filters.items() if value},
        entries=entries(detail),
    )


def _unrecorded(arn: str) -> dict[str, Any]:
    return Finished(
        sizing_id=sizing_id(arn),
        execution_arn=arn,
        model="unknown model",
        model_key=None,
        package_arn=None,
        target_tps=None,
        status=Status.FAILED,
        reason="Nothing is recorded.",
    ).model_dump(mode="json")


def schema() -> dict[str, Any]:
    """JSON Schema of all events, as EventBridge hands them on."""
    details = {STARTED: Started, FINISHED: Finished, CHANGED: Finished}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Events of endpoint-sizer",
        "oneOf": [
            {
                "title": name,
                "type": "object",
                "required": ["source", "detail-type", "detail"],
                "properties": {
                    "source": {"const": SOURCE},
                    "detail-type": {"const": name},
                    "resources": {"type": "array", "items": {"type": "string"}},
                    "detail": {"$ref": f"#/$defs/{model.__name__}"},
                },
            }
            for name, model in details.items()
        ],
        "$defs": _definitions(Started) | _definitions(Finished),
    }


def _definitions(model: type[BaseModel]) -> dict[str, Any]:
    made = model.model_json_schema(mode="serialization", ref_template="#/$defs/{model}")
    return {**made.pop("$defs", {}), model.__name__: made}


def _numbers(advice: Autoscaling | None) -> dict[str, str | float | int] | None:
    fields = {"metric", "target_value", "min_capacity", "max_capacity"}
    return advice.model_dump(include=fields) if advice else None
