"""Measure: turns what Locust and CloudWatch saw of a load test into observations with verdicts."""

from __future__ import annotations

import time
from typing import Any

from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext
from pydantic import AwareDatetime

from aws import cloudwatch, endpoints, s3_documents
from aws.availability import naming_errors
from aws.telemetry import Event, MetricUnit, logger, publish
from sizing.clean_up import names
from sizing.errors import LoadTestFailed, MetricsIncomplete
from sizing.load_test import verdict
from sizing.load_test.locust_result import LocustResult
from sizing.load_test.measurement import Measured, Metrics, observe, queries, span
from sizing.load_test.observation import LoadTestRecord, Observation
from sizing.load_test.plan import LoadTestPlan
from sizing.load_test.run import measured_by
from sizing.request.sizing import Sizing


class MeasureEvent(Event):
    """A load test that has run."""

    sizing: Sizing
    plan: LoadTestPlan
    load_test_id: str
    bucket: str
    prefix: str
    endpoint_name: str
    started_at: float | AwareDatetime

    @property
    def started_epoch(self) -> float:
        """When it started, epoch seconds."""
        start = self.started_at
        return start if isinstance(start, float) else start.timestamp()


@naming_errors
@event_parser(model=MeasureEvent)
def handler(event: MeasureEvent, _context: LambdaContext) -> dict[str, Any]:
    """Measure a load test.

    Returns:
        The load test's record, with a verdict for each observation.

    Raises:
        MetricsIncomplete: CloudWatch does not have all data yet; ask again.
        LoadTestFailed: The load test did not run to its end.
    """
    logger.set_correlation_id(event.sizing.sizing_id)
    result = LocustResult.model_validate(
        s3_documents.read_json(event.bucket, event.prefix + names.LOAD_TEST_FILE)
    )
    if not result.completed:
        error = result.error
        raise LoadTestFailed(f"{error.name}: {error.message}" if error else "no reason given")

    waited_seconds = time.time() - result.finished_at
    endpoint = endpoints.after_load_test(event.endpoint_name, event.plan.instance_count)
    observations = _observations(event, result, waited_seconds, endpoint.changed)
    record = verdict.judge(
        event.sizing,
        LoadTestRecord(
            load_test_id=event.load_test_id,
            instance_type=event.plan.instance_type,
            instance_count=event.plan.instance_count,
            purpose=event.plan.purpose,
            saturation_tps=result.saturation and result.saturation.tps,
            saturation_bounded=result.saturation is not None and result.saturation.bounded,
            observations=observations,
            workers=event.plan.workers,
            worker_vcpus=event.plan.worker_vcpus,
            reason=event.plan.reason,
            started_at=event.started_epoch,
            finished_at=time.time(),
            files=f"s3://{event.bucket}/{event.prefix}",
            image_digest=endpoint.image_digest,
        ),
    )
    publish("MetricsDelay", waited_seconds, MetricUnit.Seconds)
    publish("InvalidObservations", sum(each.invalid is not None for each in observations))
    logger.info(
        "load test measured",
        extra={
            "load_test_id": event.load_test_id,
            "verdicts": [each.verdict for each in record.observations],
            "invalid": [each.invalid for each in record.observations if each.invalid],
        },
    )
    return record.model_dump(mode="json")


def _observations(
    event: MeasureEvent, result: LocustResult, waited_seconds: float, changed: str | None
) -> tuple[Observation, ...]:
    facts = event.sizing.facts(event.plan.instance_type)
    period = measured_by(event.plan, event.sizing.request.measurement).metric_period_seconds
    observations, unseen = [], list[str]()
    for step in result.steps:
        window = step.window
        if window is None or window.start >= window.end:
            continue
        asked = queries(window, facts, period)
        data = cloudwatch.metric_data(event.endpoint_name, span(window, period), asked)
        seen = observe(
            step,
            window,
            Measured(facts, event.plan.instance_count, period),
            Metrics(data, waited_seconds, result.clock),
        )
        if seen is None:
            logger.warning("no sample in the window", extra={"offered_tps": step.offered_tps})
            unseen.append(f"{step.offered_tps:g} TPS")
            continue
        if changed:
            reasons = f"{seen.invalid}; {changed}" if seen.invalid else changed
            seen = seen.model_copy(update={"invalid": reasons})
        observations.append(seen)
    if unseen and not observations:
        raise MetricsIncomplete(f"no sample fell into the windows of {', '.join(unseen)}")
    return tuple(observations)
