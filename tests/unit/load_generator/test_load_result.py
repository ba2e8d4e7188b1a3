"""load_test.json: the figures of steps and stages, as the ledger gives them."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest

from load_generator.ledger import Second
from load_generator.result import Failure, LoadTest, Step, document, encode, plateaus
from load_generator.saturation import Stage
from load_generator.schedule import Plateau, StepWindow
from load_generator.spec import BurstSpec


def a_second(*, ok: int = 100, latency: float = 0.02, cpu: float = 0.1) -> Second:
    second = Second()
    second.offered = second.sent = second.succeeded = second.answered = second.invoked = ok
    second.latency.add([latency] * ok)
    second.service.add([latency] * ok)
    second.lag.add([0.0001] * ok)
    second.cpu = cpu
    return second


@pytest.fixture
def load_test() -> LoadTest:
    test = LoadTest(
        started_at=1000.5, load_test_id="t", endpoint_name="e", workers=2, worker_vcpus=0.5
    )
    test.cpu_shares = {0: 0.5, 1: 0.5}
    for second in range(1001, 1031):
        test.ledger.enter(0, second, a_second(cpu=0.1))
        test.ledger.enter(1, second, a_second(latency=0.04, cpu=0.2))
        test.leader_cpu[second] = 0.05
    test.steps = [
        Step(200.0, None, StepWindow(1001.0, 1010, 1020)),
        Step(200.0, 0.5, StepWindow(1020.0, 1025, 1030)),
    ]
    return test


def written(test: LoadTest, failure: Failure | None = None, at: float = 1031.0) -> dict[str, Any]:
    return cast("dict[str, Any]", msgspec.json.decode(encode(document(test, failure, at))))


def test_a_completed_test(load_test: LoadTest) -> None:
    whole = written(load_test)
    assert whole["status"] == "COMPLETED"
    assert whole["error"] is None
    assert (whole["started_at"], whole["finished_at"]) == (1000.5, 1031.0)
    assert whole["saturation"] is None
    first, second = whole["steps"]
    assert first["window"] == {"start": 1010, "end": 1020}
    assert first["achieved_tps"] == 200
    assert first["answers"] == first["invocations"] == 2000
    assert first["client_latency_ms"] == pytest.approx(
        {"mean": 30, "p50": 20, "p90": 40, "p99": 40, "max": 40}
    )
    assert first["client_limited"] is None
    assert first["workers"] == {
        "count": 2,
        # 0.2 s of CPU a second, of half a vCPU.
        "cpu_percent_max": 40.0,
        "lag_ms_p99": 0.1,
        "usual_lag_ms_p99": 0.1,
        "connection_wait_ms_p99": 0.0,
        "cpu_cores_used": pytest.approx(0.35),
    }
    assert second["saturation_fraction"] == 0.5
    assert [moment["t"] for moment in whole["timeline"]] == list(range(1001, 1031))
    assert whole["timeline"][0] == {
        "t": 1001,
        "offered_tps": 200,
        "achieved_tps": 200,
        "error_tps": 0,
        "p50_ms": 20.0,
        "p99_ms": 40.0,
    }


def test_a_failed_test_keeps_the_steps_that_were_over(load_test: LoadTest) -> None:
    whole = written(load_test, Failure("WorkerLost", "gone"), at=1024.0)
    assert whole["status"] == "FAILED"
    assert whole["error"] == {"name": "WorkerLost", "message": "gone"}
    assert [step["window"]["start"] for step in whole["steps"]] == [1010]


def test_what_failed_at_once_is_still_a_document() -> None:
    whole = written(LoadTest(started_at=5.0), Failure("InvalidSpec", "steps"), at=6.0)
    assert whole["steps"] == whole["timeline"] == []
    assert whole["saturation"] is None


def test_errors_are_part_of_what_ended(load_test: LoadTest) -> None:
    failing = Second()
    failing.errors = {"throttled": 150, "timeout": 50}
    failing.answered = 150
    load_test.ledger.enter(0, 1015, failing)
    step = written(load_test)["steps"][0]
    assert step["errors"] == {"throttled": 150, "timeout": 50}
    assert step["error_percent"] == pytest.approx(100 * 200 / 2200, abs=1e-3)
    assert step["answers"] == 2150
    assert step["invocations"] == 2000
    # Failures have no part in the latency of successes.
    assert step["client_latency_ms"]["max"] == 40


def test_a_worker_that_was_not_there_all_the_time_is_said(load_test: LoadTest) -> None:
    load_test.workers = 3
    step = written(load_test)["steps"][0]
    assert step["workers"]["count"] == 2
    assert "2 of 3 workers" in step["client_limited"]


def test_too_few_requests_sent_are_said(load_test: LoadTest) -> None:
    load_test.steps[0].offered_tps = 201.0
    assert "only 2000 of 2008" in written(load_test)["steps"][0]["client_limited"]


def test_requests_that_waited_in_vain_for_a_connection_were_not_sent(load_test: LoadTest) -> None:
    load_test.ledger.enter(0, 1015, Second(unsent=30))
    assert "only 1970 of 1998" in written(load_test)["steps"][0]["client_limited"]


def test_a_second_in_which_a_worker_was_late_is_a_stall_and_no_more(load_test: LoadTest) -> None:
    late = Second()
    # More than one in a hundred of this worker's requests.
    late.lag.add([0.015] * 30)
    load_test.ledger.enter(1, 1015, late)
    first, second = written(load_test)["steps"]
    assert first["workers"]["lag_ms_p99"] == 15
    assert first["workers"]["usual_lag_ms_p99"] == 0.1
    assert first["client_limited"] is None
    for each in range(1020, 1030):
        load_test.ledger.enter(1, each, late)
    second = written(load_test)["steps"][1]
    assert "15.0 ms in most seconds, more than 5.0 ms" in second["client_limited"]


def test_one_worker_that_is_late_among_others_is_not_averaged_away(load_test: LoadTest) -> None:
    late = Second()
    late.lag.add([0.2] * 30)
    load_test.ledger.enter(1, 1015, late)
    step = written(load_test)["steps"][0]
    assert step["workers"]["lag_ms_p99"] == 200
    assert "schedule lag" in step["client_limited"]


def test_a_burst(load_test: LoadTest) -> None:
    figures = a_second(ok=400)
    load_test.burst = BurstSpec(start_concurrency=48, max_concurrency=96, stage_seconds=3)
    load_test.stages = [
        Stage(48, 1001, 1003, a_second(ok=300), None),
        Stage(96, 1004, 1006, figures, None),
    ]
    saturation = written(load_test)["saturation"]
    assert saturation["tps"] == 200
    assert saturation["concurrency"] == 96
    assert saturation["bounded"] is True
    assert saturation["stages"][0] == {
        "concurrency": 48,
        "achieved_tps": 150,
        "error_percent": 0,
        "errors": {},
        "latency_ms": {"mean": 20, "p50": 20, "p90": 20, "p99": 20, "max": 20},
        "client_limited": None,
        "window": {"start": 1001, "end": 1003},
    }


def test_streams_have_figures_of_their_first_byte(load_test: LoadTest) -> None:
    streamed = Second()
    streamed.first_byte.add([0.005])
    load_test.ledger.enter(0, 1015, streamed)
    first, second = written(load_test)["steps"]
    assert first["first_byte_ms"]["p50"] == 5
    assert "first_byte_ms" not in second


def test_each_step_lasts_until_the_next(load_test: LoadTest) -> None:
    assert plateaus(load_test.steps) == [
        Plateau(1001.0, 1020.0, 200.0),
        Plateau(1020.0, 1030, 200.0),
    ]


@pytest.mark.parametrize(
    "offered_tps, poisson, limited",
    [
        (200.0, False, None),
        # 210 a second were to come, and 200 did: not by chance, nor 5 in a hundred fewer.
        (210.0, False, "only 2000 of 2098 requests were ever sent"),
        (210.0, True, None),
        (230.0, True, "only 2000 of 2106 requests were ever sent"),
    ],
)
def test_a_poisson_process_may_offer_fewer_by_chance(
    load_test: LoadTest, offered_tps: float, poisson: bool, limited: str | None
) -> None:
    load_test.poisson = poisson
    load_test.steps[0].offered_tps = offered_tps
    [step, _] = written(load_test)["steps"]
    assert (step["client_limited"] or "").startswith(limited or "")
    assert (step["client_limited"] is None) is (limited is None)
    assert step.get("requests_due") == (2000 if poisson else None)
