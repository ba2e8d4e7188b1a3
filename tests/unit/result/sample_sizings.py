"""Made-up sizings of every status, with figures of the size that real ones have."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from report.timeline import Timeline, read_timeline
from sizing.catalogue.instance import InstanceFacts
from sizing.load_test.observation import (
    Latency,
    LoadTestRecord,
    Observation,
    Verdict,
    Window,
    Workers,
)
from sizing.load_test.plan import Purpose
from sizing.production import comparison
from sizing.request.model_key import model_key
from sizing.request.request import Band, parse_request
from sizing.request.sizing import ProductionTraffic, Sizing
from sizing.result.failure import Failure, failure
from sizing.result.result import Ending, Execution, build_result
from sizing.search.answer import Answer, CandidateOutcome, CandidateStatus, Status
from sizing.search.diagnosis import Diagnosis

STARTED = 1_790_000_000
SIZING_ID = "3f2a9c1b7d4e"
EXECUTION = "arn:aws:states:us-east-1:123456789012:execution:endpoint-sizer-sizing:demo"


@dataclass(frozen=True)
class Made:
    """Everything that RecordResult is given, and the load tests' files."""

    sizing: Sizing | None
    history: tuple[LoadTestRecord, ...] = ()
    answer: Answer | None = None
    failure: Failure | None = None
    dry_run: bool = False
    estimate: dict[str, Any] | None = None
    cost_usd: float | None = 1.234
    request: Any = None
    load_tests: dict[str, Any] = field(default_factory=dict)

    def timelines(self) -> dict[str, Timeline]:
        """The load tests over time."""
        return {name: read_timeline(file) for name, file in self.load_tests.items()}

    def document(self) -> dict[str, Any]:
        """``result.json``."""
        execution = Execution(
            sizing_id=SIZING_ID,
            finished_at=STARTED + 733,
            started_at=STARTED,
            arn=EXECUTION,
            request=self.request,
            cost_usd=self.cost_usd,
        )
        ending = Ending(self.answer, self.failure, self.dry_run, self.estimate)
        return build_result(execution, ending, self.sizing, self.history)


def request(**changes: Any) -> dict[str, Any]:
    """A request as a user writes it."""
    return {
        "model": {
            "hugging_face": {
                "model_id": "distilbert-base-uncased-finetuned-sst-2-english",
                "task": "text-classification",
                "transformers_version": "4.49.0",
                "pytorch_version": "2.6.0",
                "py_version": "py312",
            }
        },
        "instance_types": ["ml.m5.12xlarge"],
        "payloads": {"inline": [{"body": '{"inputs": "I am super happy right now."}'}]},
        "target": {"tps": 1000},
        **changes,
    }


FACTS = {
    "ml.m5.12xlarge": InstanceFacts(
        instance_type="ml.m5.12xlarge",
        vcpus=48,
        memory_gib=192,
        hourly_price_usd=2.765,
        price_source="Price List API",
    ),
    "ml.c6i.4xlarge": InstanceFacts(
        instance_type="ml.c6i.4xlarge",
        vcpus=16,
        memory_gib=32,
        hourly_price_usd=0.816,
        price_source="Price List API",
    ),
    "ml.g5.xlarge": InstanceFacts(
        instance_type="ml.g5.xlarge",
        vcpus=4,
        gpus=1,
        memory_gib=16,
        hourly_price_usd=1.41,
        price_source="bundled table of 2026-09-27",
    ),
}


def sizing_of(data: dict[str, Any]) -> Sizing:
    parsed = parse_request(data)
    return Sizing(
        sizing_id=SIZING_ID,
        started_at=STARTED,
        region="us-east-1",
        request=parsed,
        candidates=tuple(FACTS[each] for each in parsed.instance_types),
        model_key=model_key(parsed.model, account="123456789012", region="us-east-1"),
    )


def in_production() -> dict[str, Any]:
    """The result of a sizing whose target is that of an endpoint, which is too large."""
    document = sized().document()
    document["sizing"]["request"]["target"]["from_endpoint"] = {"name": "checkout"}
    traffic = ProductionTraffic(
        endpoint="checkout",
        variant="AllTraffic",
        instance_type="ml.m5.12xlarge",
        instance_count=14,
        hourly_price_usd=2.765,
        peak_utilization_percent=34.0,
        days=14,
        peak_tps=909.0,
        target_tps=1000.0,
        tps_by_hour=tuple(200.0 + 709 * max(0, 6 - abs(hour - 14)) / 6 for hour in range(24)),
    )
    answer = ("ml.m5.12xlarge", 8, 22.12)
    compared = comparison.compare(traffic, Band(), answer, 130.0)
    document["production"] = compared.model_dump(mode="json")
    return document


def observe(
    facts: InstanceFacts,
    *,
    count: int,
    offered: float,
    start: int,
    seconds: int = 60,
    cpu_ms: float = 240,
    verdict: Verdict = Verdict.IN_BAND,
    **changes: Any,
) -> Observation:
    """One step against instances that spend cpu_ms of one vCPU on each request."""
    noise = random.Random(f"{facts.instance_type} {count} {offered}")
    capacity = count * facts.vcpus * 1000 / cpu_ms
    achieved = min(offered, capacity) * noise.uniform(0.998, 1.0)
    load = min(achieved / capacity, 0.995)
    raw = load * 100 * facts.vcpus * noise.uniform(0.99, 1.01)
    base = cpu_ms + 5
    model = Latency(
        mean=base * (1 + 0.2 * load**6 / (1 - load)),
        p50=base,
        p90=base * (1.25 + 0.5 * load**6 / (1 - load)),
        p99=base * (1.5 + 1.1 * load**6 / (1 - load)),
        max=base * 3,
    )
    return Observation(
        offered_tps=offered,
        achieved_tps=achieved,
        window=Window(start=start, end=start + seconds),
        utilization_percent=raw / facts.vcpus,
        cpu_utilization_raw=raw,
        hottest_instance_percent=raw / facts.vcpus * 1.02,
        memory_percent=41.3,
        model_latency_ms=model,
        overhead_latency_ms=Latency(mean=2.4),
        client_latency_ms=Latency(
            mean=(model.mean or 0) + 4,
            p50=(model.p50 or 0) + 4,
            p90=(model.p90 or 0) + 6,
            p99=(model.p99 or 0) + 14,
            max=1500,
        ),
        error_percent=0.0,
        workers=Workers(count=2, cpu_percent_max=21.0, lag_ms_p99=0.31, cpu_cores_used=0.2),
        invocations=int(achieved * seconds),
        client_invocations=int(achieved * seconds),
        samples=count * seconds // 10,
        instances_reporting=count,
        verdict=verdict,
    ).model_copy(update=changes)


def load_test(
    facts: InstanceFacts,
    *,
    count: int,
    purpose: Purpose,
    offers: dict[float, Verdict],
    start: int,
    cpu_ms: float = 240,
    attempt: int = 1,
    **changes: Any,
) -> tuple[LoadTestRecord, dict[str, Any]]:
    """A load test, and its load_test.json."""
    saturation = facts.vcpus * 1000 / cpu_ms * 0.995 if purpose is Purpose.BASELINE else None
    begin = start + 200
    first = begin + (30 if saturation else 0)
    observations = tuple(
        observe(
            facts,
            count=count,
            offered=offered,
            start=first + 90 * number + 30,
            cpu_ms=cpu_ms,
            verdict=verdict,
            **changes,
        )
        for number, (offered, verdict) in enumerate(offers.items())
    )
    type_part = facts.instance_type.replace(".", "-")
    load_test_id = f"{type_part}-{count}-{purpose}-{attempt}"
    record = LoadTestRecord(
        load_test_id=load_test_id,
        instance_type=facts.instance_type,
        instance_count=count,
        purpose=purpose,
        saturation_tps=saturation,
        observations=observations,
        workers=2,
        worker_vcpus=1,
        reason=f"{count} to be tried; 2 load worker(s): 10000 TPS at 5000 TPS a vCPU (trusted)",
        started_at=start,
        finished_at=first + 90 * len(offers) + 20,
        files=f"s3://results/sizings/{SIZING_ID}/load-tests/{load_test_id}/",
    )
    return record, _file(record, begin, first)


def _file(record: LoadTestRecord, begin: int, first: int) -> dict[str, Any]:
    noise = random.Random(record.load_test_id)
    timeline = []
    if record.saturation_tps is not None:
        for second in range(24):
            rate = record.saturation_tps * min(1.0, 0.3 + second / 18) * noise.uniform(0.96, 1.02)
            timeline.append(_second(begin + second, rate, rate, 250 + second * 12, noise))
    for number, seen in enumerate(record.observations):
        for second in range(90):
            rate = seen.offered_tps
            achieved = seen.achieved_tps * noise.uniform(0.985, 1.015)
            p99 = seen.client_latency_ms.p99 or 0.0
            warm = 1 + 0.6 * max(0, 8 - second) / 8
            timeline.append(
                _second(first + 90 * number + second, rate, achieved, p99 * warm, noise)
            )
    return {
        "load_test_id": record.load_test_id,
        "status": "COMPLETED",
        "error": None,
        "saturation": {
            "tps": record.saturation_tps,
            "concurrency": 96,
            "stages": [{"concurrency": 48, "window": {"start": begin, "end": begin + 24}}],
        }
        if record.saturation_tps is not None
        else None,
        "timeline": timeline,
    }


def _second(
    t: int, offered: float, achieved: float, p99: float, noise: random.Random
) -> dict[str, Any]:
    return {
        "t": t,
        "offered_tps": offered,
        "achieved_tps": achieved,
        "error_tps": 0.0,
        "p50_ms": p99 * 0.6 * noise.uniform(0.97, 1.03),
        "p99_ms": p99 * noise.uniform(0.9, 1.15),
    }


def sized() -> Made:
    """The ordinary case: one candidate, a baseline and a verification, 8 instances."""
    facts = FACTS["ml.m5.12xlarge"]
    baseline, first = load_test(
        facts,
        count=1,
        purpose=Purpose.BASELINE,
        offers={
            100.0: Verdict.UNDERUSED,
            130.0: Verdict.IN_BAND,
            160.0: Verdict.OVERLOADED,
        },
        start=STARTED,
    )
    verify, second = load_test(
        facts,
        count=8,
        purpose=Purpose.VERIFY,
        offers={
            1000.0: Verdict.IN_BAND,
            1142.9: Verdict.OVERLOADED,
            888.9: Verdict.UNDERUSED,
        },
        start=STARTED + 400,
    )
    outcome = CandidateOutcome(
        instance_type=facts.instance_type,
        status=CandidateStatus.VERIFIED,
        reason="8 instances are the fewest in the band: 7 would run at 71.4 %.",
        instance_count=8,
        count_interval=(8, 8),
        observation=verify.observations[0],
        in_band=True,
        limiting_resource="CPU",
        tps_per_instance_at_band_middle=129.7,
        hourly_cost_usd=22.12,
        diagnosis=(
            Diagnosis(
                finding="The platform's overhead is small beside the model's time.",
                figures={"overhead_ms": 2.4, "model_p50_ms": 245.0},
                advice="Nothing to do: the time is spent in the model.",
            ),
        ),
    )
    return Made(
        sizing=sizing_of(request()),
        history=(baseline, verify),
        answer=Answer(
            status=Status.SIZED,
            reason="8 instances serve the target in the band; 7 would run at 71.4 %.",
            instance_type=facts.instance_type,
            candidates=(outcome,),
        ),
        load_tests={baseline.load_test_id: first, verify.load_test_id: second},
    )


def several_candidates() -> Made:
    """Three types: one verified, one too dear to be verified, one that could not start."""
    made = sized()
    data = request(
        instance_types=["ml.m5.12xlarge", "ml.c6i.4xlarge", "ml.g5.xlarge"],
        target={"tps": 1000, "model_latency_p99_ms": 600},
    )
    c6i = FACTS["ml.c6i.4xlarge"]
    baseline, file = load_test(
        c6i,
        count=1,
        purpose=Purpose.BASELINE,
        offers={35.0: Verdict.UNDERUSED, 45.0: Verdict.IN_BAND, 55.0: Verdict.OVERLOADED},
        start=STARTED + 10,
        cpu_ms=232,
    )
    spoilt = baseline.observations[1].model_copy(
        update={
            "verdict": Verdict.INVALID,
            "invalid": "CloudWatch counted 3.1 % fewer invocations than the load generator",
            "errors": {"timeout": 3, "model_error_500": 12},
            "error_percent": 0.7,
        }
    )
    baseline = baseline.model_copy(
        update={"observations": (baseline.observations[0], spoilt, baseline.observations[2])}
    )
    gone = LoadTestRecord(
        load_test_id="ml-g5-xlarge-1-baseline-1",
        instance_type="ml.g5.xlarge",
        instance_count=1,
        purpose=Purpose.BASELINE,
        started_at=STARTED + 5,
        finished_at=STARTED + 300,
        error="CapacityUnavailable",
        cause="Unable to provision requested ML compute capacity due to "
        "InsufficientInstanceCapacity error.",
    )
    assert made.answer is not None
    outcomes = (
        *made.answer.candidates,
        CandidateOutcome(
            instance_type="ml.c6i.4xlarge",
            status=CandidateStatus.NOT_VERIFIED,
            reason="Predicted to cost more per hour than ml.m5.12xlarge.",
            instance_count=28,
            count_interval=(27, 29),
            tps_per_instance_at_band_middle=44.8,
            hourly_cost_usd=22.85,
        ),
        CandidateOutcome(
            instance_type="ml.g5.xlarge",
            status=CandidateStatus.FAILED,
            reason="CapacityUnavailable: AWS had no instances of this type to give.",
        ),
    )
    return Made(
        sizing=sizing_of(data),
        history=(gone, baseline, *made.history),
        answer=made.answer.model_copy(update={"candidates": outcomes}),
        load_tests={**made.load_tests, baseline.load_test_id: file},
    )


def target_not_met() -> Made:
    """Seven instances are needed, three are allowed."""
    facts = FACTS["ml.m5.12xlarge"]
    data = request(limits={"max_instances": 3})
    baseline, file = load_test(
        facts,
        count=1,
        purpose=Purpose.BASELINE,
        offers={100.0: Verdict.UNDERUSED, 130.0: Verdict.IN_BAND, 160.0: Verdict.OVERLOADED},
        start=STARTED,
    )
    reason = "8 instances are predicted to be needed, limits.max_instances is 3."
    return Made(
        sizing=sizing_of(data),
        history=(baseline,),
        answer=Answer(
            status=Status.TARGET_NOT_MET,
            reason=reason,
            limit="limits.max_instances",
            candidates=(
                CandidateOutcome(
                    instance_type=facts.instance_type,
                    status=CandidateStatus.TARGET_NOT_MET,
                    reason=reason,
                    instance_count=8,
                    hourly_cost_usd=22.12,
                    diagnosis=(
                        Diagnosis(
                            finding="The target needs more instances than the limit allows.",
                            figures={"needed": 8, "allowed": 3},
                            advice="Raise limits.max_instances to 8, or name a larger type.",
                        ),
                    ),
                ),
            ),
        ),
        load_tests={baseline.load_test_id: file},
    )


def failed() -> Made:
    """A load test broke after the baseline of a candidate."""
    made = target_not_met()
    broken = LoadTestRecord(
        load_test_id="ml-m5-12xlarge-8-verify-1",
        instance_type="ml.m5.12xlarge",
        instance_count=8,
        purpose=Purpose.VERIFY,
        started_at=STARTED + 500,
        finished_at=STARTED + 600,
        error="LoadTestFailed",
        cause="worker 1 of 2 went silent",
        files=f"s3://results/sizings/{SIZING_ID}/load-tests/ml-m5-12xlarge-8-verify-1/",
    )
    return Made(
        sizing=sizing_of(request()),
        history=(*made.history, broken),
        failure=failure("LoadTestFailed", "worker 1 of 2 went silent"),
        load_tests=made.load_tests,
    )


def failed_early() -> Made:
    """A request in error: there is no sizing at all, and the request is hostile."""
    hostile = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    return Made(
        sizing=None,
        failure=failure(
            "InvalidRequest",
            '{"errorMessage": "target.tps: must be greater than 0, got -5 ' + hostile + '", '
            '"errorType": "InvalidRequest", "stackTrace": ["line 1"]}',
        ),
        cost_usd=0.0,
        request={
            "model": {"model_name": hostile},
            "target": {"tps": -5},
            hostile: "\u2028</script>",
        },
    )


def dry_run() -> Made:
    """Nothing but an estimate."""
    return Made(
        sizing=sizing_of(request(dry_run=True)),
        dry_run=True,
        estimate={"cost_usd": 12.4, "minutes": 41.0, "load_tests": 2},
        cost_usd=0.0,
    )


ALL = {
    "sized": sized,
    "several_candidates": several_candidates,
    "target_not_met": target_not_met,
    "failed": failed,
    "failed_early": failed_early,
    "dry_run": dry_run,
}
