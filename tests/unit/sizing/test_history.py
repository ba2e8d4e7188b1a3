"""Where an earlier sizing lets the next one start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sizing.clean_up import lock
from sizing.request.payloads import fingerprint
from sizing.request.request import Payloads, Request, parse_request
from sizing.request.sizing import Sizing
from sizing.result import history
from sizing.result.history import Priors, Summary
from sizing.result.result import Result
from tests.unit.result import sample_sizings

NOTHING = Priors(counts={}, workers={})


def request(**changes: Any) -> Request:
    return parse_request(sample_sizings.request(**changes))


def asked(**changes: Any) -> Sizing:
    """A sizing whose history is looked at."""
    return Sizing(
        sizing_id="0123456789ab",
        started_at=0.0,
        region="eu-central-1",
        request=request(**changes),
        candidates=(),
        payload_fingerprint="same",
    )


def item(**changes: Any) -> dict[str, Any]:
    """Of a sizing that found 8 instances for ``request()``."""
    found = Summary(
        sizing_id="3f2a9c1b7d4e",
        execution_arn="arn",
        model_key="hugging_face/model",
        status="SIZED",
        started_at="2026-09-21T14:13:20Z",
        finished_at="2026-09-21T14:33:20Z",
        result_uri="s3://results/sizings/3f2a9c1b7d4e/result.json",
        load_tests=2,
        instance_types=("ml.m5.12xlarge",),
        payload_fingerprint="same",
        routing="LEAST_OUTSTANDING_REQUESTS",
        target_tps=1000,
        band_min_percent=60,
        band_max_percent=70,
        error_percent_limit=0.1,
        instance_type="ml.m5.12xlarge",
        instance_count=8,
        tps=999.5,
        utilization_percent=62.5,
        in_band=True,
        limiting_resource="CPU",
        hourly_cost_usd=22.12,
        workers=2,
        worker_vcpus=1,
        expires_at=1_900_000_000,
    )
    return {**found.item(), **changes}


def priors(*items: dict[str, Any], **changes: Any) -> Priors:
    return history.priors(asked(**changes), items)


def target(tps: float, **more: Any) -> dict[str, Any]:
    return {"tps": tps, **more}


def test_the_same_request_starts_where_the_last_one_ended() -> None:
    assert priors(item()) == Priors(counts={"ml.m5.12xlarge": 8}, workers={"ml.m5.12xlarge": 2})


def test_without_a_history_there_is_none() -> None:
    assert priors() == NOTHING


@pytest.mark.parametrize(
    "changes",
    [
        {"status": "TARGET_NOT_MET", "instance_type": None},
        {"status": "FAILED"},
        {"payload_fingerprint": "other"},
        {"routing": "RANDOM"},
        {"band_max_percent": 80.0},
        {"band_min_percent": 50.0},
        {"model_latency_p99_limit_ms": 500.0},
        {"error_percent_limit": 1.0},
        {"instance_type": "ml.c6i.4xlarge"},
        {"target_tps": 499.0},
        {"target_tps": 2001.0},
    ],
)
def test_what_was_asked_otherwise_tells_nothing(changes: dict[str, Any]) -> None:
    assert priors(item(**changes)) == NOTHING


def test_the_latest_one_counts_and_no_more_is_read_than_needed() -> None:
    def items() -> Iterator[dict[str, Any]]:
        yield item(status="FAILED")
        yield item(instance_count=9)
        yield item(instance_count=8)
        raise AssertionError("read on")

    assert history.priors(asked(), items()).counts == {"ml.m5.12xlarge": 9}


def test_each_type_has_its_own() -> None:
    types = ["ml.c6i.4xlarge", "ml.m5.12xlarge", "ml.g5.xlarge"]
    found = priors(
        item(instance_type="ml.c6i.4xlarge", instance_count=21), item(), instance_types=types
    )
    assert found.counts == {"ml.c6i.4xlarge": 21, "ml.m5.12xlarge": 8}


@pytest.mark.parametrize(
    "tps, count",
    [
        # One instance bears 125 requests per second at 62.5 %, so 137 at 98 % of 70 %.
        (1000, 8),
        (1001, 8),
        (1090, 8),
        (1100, 9),
        (2000, 15),
        (500, 4),
    ],
)
def test_a_count_is_scaled_to_a_target_that_is_not_far(tps: float, count: int) -> None:
    assert priors(item(), target=target(tps)).counts == {"ml.m5.12xlarge": count}


@pytest.mark.parametrize("tps, count", [(1000, 8), (1001, 9), (1250, 10), (875, 7), (500, 4)])
def test_what_is_not_limited_by_utilization_keeps_its_rate_per_instance(
    tps: float, count: int
) -> None:
    found = item(limiting_resource="latency", model_latency_p99_limit_ms=500.0)
    with_limit = target(tps, model_latency_p99_ms=500.0)
    assert priors(found, target=with_limit).counts == {"ml.m5.12xlarge": count}


@pytest.mark.parametrize(
    "changes, workers",
    [
        ({}, 2),
        ({"target": target(2000)}, 4),
        ({"target": target(500)}, 1),
        ({"load": {"worker_vcpus": 2}}, 1),
    ],
)
def test_the_load_generator_is_as_large_as_was_needed(
    changes: dict[str, Any], workers: int
) -> None:
    assert priors(item(), **changes).workers == {"ml.m5.12xlarge": workers}


def test_an_item_survives_the_table_and_says_what_was_found() -> None:
    made = sample_sizings.ALL["sized"]()
    assert made.sizing is not None
    result = Result.model_validate(made.document())
    found = history.summary(
        made.sizing, result, made.history, result_uri="s3://b/k", expires_at=1_900_000_000.7
    )
    assert result.recommendation is not None
    assert found.instance_count == result.recommendation.instance_count
    verified = [each for each in made.history if each.purpose == "verify"][-1]
    assert (found.workers, found.worker_vcpus) == (verified.workers, verified.worker_vcpus)
    stored = found.item()
    assert stored["sk"].endswith(f"#{found.sizing_id}")
    assert Summary.model_validate(stored) == found
    assert None not in stored.values()


# --- Payloads -------------------------------------------------------------------------------------


def of(*bodies: str, content: str = "", **more: Any) -> str:
    inline = [{"body": body} for body in bodies]
    return fingerprint(Payloads.model_validate({"inline": inline, **more}), content)


def test_a_fingerprint_tells_what_is_sent() -> None:
    assert of("a", "b") == of("b", "a")
    weighted = Payloads.model_validate({"inline": [{"body": "a", "weight": 2.0}]})
    others = [
        of("a"),
        of("a", "a"),
        of("ab"),
        of("a", accept="text/csv"),
        fingerprint(weighted, ""),
        fingerprint(Payloads(s3_uri="s3://bucket/k.jsonl"), "etag-1"),
        fingerprint(Payloads(s3_uri="s3://bucket/k.jsonl"), "etag-2"),
    ]
    assert len(set(others)) == len(others)


# --- Lock -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "limits, seconds", [({}, 43_200), ({"max_minutes": 90}, 5400), ({"max_minutes": 1440}, 43_200)]
)
def test_a_wait_is_bounded(limits: dict[str, Any], seconds: int) -> None:
    terms = lock.terms(request(limits=limits), "hugging_face/model")
    assert terms.wait_seconds == seconds
    assert terms.when_locked == "WAIT"
    assert terms.lease_seconds > 24 * 3600 + 5 * 3600
