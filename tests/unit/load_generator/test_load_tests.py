"""Whole load tests, leader and workers, in made-up time."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import pairwise
from statistics import mean, stdev
from typing import Any

import pytest
from botocore.credentials import Credentials

from load_generator import messages
from load_generator.http_engine import HttpEngine
from load_generator.storage import StorageError
from load_generator.task import LEASE_SECONDS
from tests.local.load_tests import long_specification, specification
from tests.unit.load_generator.made_up_time import Answer, Arrival, Fleet, Rule, always, served_by

Start = Callable[..., Fleet]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Start:
    def start(rule: Rule, fields: dict[str, Any] | None = None, **options: Any) -> Fleet:
        known = {"request_timeout_seconds": 5} | (fields or {})
        return Fleet(monkeypatch, specification(**known), rule, **options)

    return start


def completed(fleet: Fleet) -> Any:
    fleet.run()
    document = fleet.document
    assert document["status"] == "COMPLETED", document["error"]
    assert set(fleet.exit_codes) == {0}
    return document


def failed(fleet: Fleet, name: str) -> str:
    """Run to the end; returns what is said of it."""
    fleet.run()
    document = fleet.document
    assert document["status"] == "FAILED"
    assert document["error"]["name"] == name
    assert 0 not in fleet.exit_codes
    return str(document["error"]["message"])


# --- Steps --------------------------------------------------------------------------------------


def test_steps_are_offered_exactly_by_two_workers(start: Start) -> None:
    steps = [{"offered_tps": 101}, {"offered_tps": 300}]
    fleet = start(always(0.01), {"workers": 2, "metric_period_seconds": 2, "steps": steps})
    document = completed(fleet)
    assert [step["offered_tps"] for step in document["steps"]] == [101, 300]
    arrivals = [arrival.at for arrival in fleet.endpoint.arrivals]
    for step in document["steps"]:
        begin, end = step["window"]["start"], step["window"]["end"]
        assert begin % 2 == end % 2 == 0
        assert end - begin == 2
        assert step["achieved_tps"] == step["offered_tps"]
        assert step["answers"] == step["invocations"] == step["achieved_tps"] * 2
        assert sum(begin <= at < end for at in arrivals) == step["answers"]
        assert (step["errors"], step["error_percent"]) == ({}, 0)
        assert step["workers"]["count"] == 2
        assert step["client_limited"] is None
        assert step["client_latency_ms"] == pytest.approx(dict.fromkeys(_LATENCIES, 10))
    first, second = document["steps"]
    assert second["window"]["start"] - first["window"]["end"] == 2
    # Nothing is lost: every request that arrived is in the books.
    timeline = document["timeline"]
    assert sum(moment["achieved_tps"] for moment in timeline) == len(arrivals)
    assert sum(moment["offered_tps"] for moment in timeline) == len(arrivals)
    seconds = [moment["t"] for moment in timeline]
    assert seconds == list(range(seconds[0], seconds[-1] + 1))


def test_workers_together_are_one_poisson_process(start: Start) -> None:
    steps = [{"offered_tps": 300}]
    fields = {"workers": 3, "steady_seconds": 20, "steps": steps, "arrivals": "poisson", "seed": 4}
    fleet = start(always(0.01), fields)
    [step] = completed(fleet)["steps"]
    begin, end = step["window"]["start"], step["window"]["end"]
    arrivals = [each.at for each in fleet.endpoint.arrivals if begin <= each.at < end]
    assert step["requests_due"] == len(arrivals) != 6_000
    assert step["answers"] == pytest.approx(len(arrivals), abs=10)  # a few at the window's ends
    assert len(arrivals) == pytest.approx(6_000, abs=3 * math.sqrt(6_000))
    gaps = [after - before for before, after in pairwise(arrivals)]
    assert stdev(gaps) / mean(gaps) == pytest.approx(1, abs=0.05)
    assert step["client_limited"] is None


def test_locusts_own_statistics_are_kept_as_well(start: Start) -> None:
    def some_fail(arrival: Arrival) -> Answer:
        return Answer(0.01, 503 if arrival.number % 10 == 0 else 200)

    fleet = start(some_fail, {"workers": 2})
    completed(fleet)
    arrived = len(fleet.endpoint.arrivals)
    tables = [worker.environment.stats for worker in fleet.workers]
    assert sum(table.total.num_requests for table in tables) == arrived
    assert sum(table.total.num_failures for table in tables) == -(-arrived // 10)
    errors = {error.error for table in tables for error in table.errors.values()}
    assert errors == {"service_unavailable"}
    for table in tables:
        assert table.get("my-endpoint", "POST").median_response_time == 10


_LATENCIES = ("mean", "p50", "p90", "p99", "max")


def test_processes_of_a_worker_share_its_load(start: Start) -> None:
    document = completed(start(always(0.01), {"worker_vcpus": 2}))
    (step,) = document["steps"]
    assert document["workers"] == step["workers"]["count"] == 1
    assert document["worker_vcpus"] == 2
    assert step["achieved_tps"] == 200


def test_whoever_listens_to_requests_is_told_of_each(start: Start) -> None:
    fleet = start(always(0.01))
    told: list[float] = []
    # Locust's own listener, which does its statistics, is the first.
    for _ in range(2):
        fleet.workers[0].environment.events.request.add_listener(
            lambda response_time, **_: told.append(response_time)
        )
    completed(fleet)
    assert len(told) == 2 * len(fleet.endpoint.arrivals)
    assert told == pytest.approx([10] * len(told))


def test_hopeless_steps_end_early(start: Start) -> None:
    def refuse(arrival: Arrival) -> Answer:
        return Answer(0.01, 200 if arrival.number % 2 else 503)

    steps = [{"offered_tps": 100}, {"offered_tps": 50}]
    fleet = start(refuse, {"steady_seconds": 60, "steps": steps})
    document = completed(fleet)
    assert len(document["steps"]) == 2
    for step in document["steps"]:
        assert step["window"]["end"] - step["window"]["start"] == 1
        assert step["error_percent"] == 50
        assert step["errors"] == {"service_unavailable": step["offered_tps"] / 2}
        assert step["answers"] == 2 * step["invocations"]
    assert document["finished_at"] - document["started_at"] < 10


def test_a_step_of_answers_that_take_as_long_as_they_may_is_hopeless(start: Start) -> None:
    fleet = start(always(4.8), {"steady_seconds": 60, "settle_seconds": 5})
    (step,) = completed(fleet)["steps"]
    assert step["window"]["end"] - step["window"]["start"] == 1


# --- The burst ----------------------------------------------------------------------------------

BURST = {"start_concurrency": 4, "max_concurrency": 64, "stage_seconds": 3}


def test_a_burst_finds_the_saturation_rate_that_steps_are_fractions_of(start: Start) -> None:
    """An endpoint with 8 slots of 40 ms serves 200 a second and no more."""
    fleet = start(served_by(8, 0.04), {"burst": BURST, "steps": [{"saturation_fraction": 0.5}]})
    document = completed(fleet)
    saturation = document["saturation"]
    assert [stage["concurrency"] for stage in saturation["stages"]] == [4, 8, 16]
    assert [stage["achieved_tps"] for stage in saturation["stages"]] == pytest.approx(
        [100, 200, 200], abs=1
    )
    assert saturation["tps"] == pytest.approx(200, abs=1)
    assert saturation["bounded"] is False
    assert fleet.endpoint.most_at_once == 16
    (step,) = document["steps"]
    assert step["saturation_fraction"] == 0.5
    assert step["offered_tps"] == pytest.approx(saturation["tps"] / 2)
    assert step["achieved_tps"] == pytest.approx(step["offered_tps"], abs=0.5)
    # The burst's queue had drained before the step.
    assert step["client_latency_ms"]["max"] == pytest.approx(40)


def test_a_stage_is_measured_for_longer_if_answers_take_longer(start: Start) -> None:
    burst = BURST | {"max_concurrency": 8, "stage_seconds": 1}
    document = completed(start(always(2.0), {"burst": burst, "steps": []}))
    windows = [stage["window"] for stage in document["saturation"]["stages"]]
    assert [window["end"] - window["start"] for window in windows] == [8, 8]
    assert [stage["achieved_tps"] for stage in document["saturation"]["stages"]] == [2, 4]


def test_a_burst_that_its_own_limit_ends_says_so(start: Start) -> None:
    """An endpoint of a hundred slots, which sixteen requests at once do not fill."""
    burst = BURST | {"max_concurrency": 16}
    document = completed(start(served_by(100, 0.4), {"burst": burst, "steps": []}))
    assert [stage["concurrency"] for stage in document["saturation"]["stages"]] == [4, 8, 16]
    assert document["saturation"]["tps"] == pytest.approx(40, abs=1)
    assert document["saturation"]["bounded"] is True


def test_a_burst_in_which_nothing_succeeds_fails_with_its_errors(start: Start) -> None:
    fields = {"burst": BURST, "steps": [{"saturation_fraction": 0.5}]}
    message = failed(start(lambda _: Answer(0.01, 503), fields), "NothingSucceeded")
    assert "service_unavailable" in message


# --- Who is slow, the client or the endpoint? ---------------------------------------------------


def test_processes_that_get_no_cpu_are_late(start: Start) -> None:
    (step,) = completed(start(always(0.01), late=0.03))["steps"]
    assert "requests were started late" in step["client_limited"]
    assert step["workers"]["lag_ms_p99"] == pytest.approx(30)


def test_a_cpu_share_that_is_nearly_used_up(start: Start) -> None:
    (step,) = completed(start(always(0.01), {"worker_vcpus": 0.25}, cpu_share=0.3))["steps"]
    assert step["workers"]["cpu_percent_max"] == pytest.approx(120, abs=1)
    assert "120 % of its CPU share" in step["client_limited"]


def test_a_pool_that_is_too_small(start: Start) -> None:
    """100 a second of 60 ms each need six connections, and three are allowed."""
    fields = {"steps": [{"offered_tps": 100}], "request_timeout_seconds": 20}
    (step,) = completed(start(always(0.06), fields, max_connections=3))["steps"]
    assert "pool is too small" in step["client_limited"]
    assert step["achieved_tps"] == pytest.approx(50, abs=1)


@pytest.mark.parametrize("max_connections", [4096, 64])
def test_a_slow_endpoint_is_not_blamed_on_the_client(start: Start, max_connections: int) -> None:
    """An endpoint that serves 100 a second is offered 160: its queue grows, and with it latency."""
    fields = {"steps": [{"offered_tps": 160}], "request_timeout_seconds": 20}
    fleet = start(served_by(4, 0.04), fields, max_connections=max_connections)
    (step,) = completed(fleet)["steps"]
    assert step["achieved_tps"] == pytest.approx(100, abs=1)
    assert step["client_latency_ms"]["p50"] > 300
    assert step["client_limited"] is None


# --- Losses -------------------------------------------------------------------------------------


@pytest.fixture
def under_load(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    """A load test of two workers that would go on for minutes; its first step has begun."""
    fleet = Fleet(monkeypatch, long_specification(), always(0.01))
    fleet.run(lambda: len(fleet.endpoint.arrivals) > 200)
    return fleet


def test_a_worker_that_is_gone_is_noticed_within_the_lease(under_load: Fleet) -> None:
    lost_at = under_load.time.epoch()
    under_load.workers[1].stand_still()
    message = failed(under_load, "WorkerLost")
    assert message == "nothing was heard from workers [1] for 5 s"
    assert under_load.document["steps"] == []
    assert under_load.document["timeline"]
    assert under_load.document["finished_at"] - lost_at < LEASE_SECONDS + 1.1


def test_a_worker_that_stands_still_ends_by_itself(under_load: Fleet) -> None:
    under_load.workers[1].stand_still(8)
    failed(under_load, "WorkerLost")
    sent = len(under_load.endpoint.arrivals)
    under_load.time.pass_by(20)
    assert len(under_load.endpoint.arrivals) == sent


@pytest.mark.parametrize("seconds", [8, math.inf])
def test_a_leader_that_is_gone_is_noticed_within_the_lease(
    under_load: Fleet, seconds: float
) -> None:
    lost_at = under_load.time.epoch()
    under_load.leader.stand_still(seconds)
    message = failed(under_load, "LeaderLost")
    # A leader that goes on later has the last word.
    assert message.startswith("nothing was heard" if seconds == math.inf else "the leader stood")
    last = under_load.endpoint.arrivals[-1].at
    assert last - lost_at < LEASE_SECONDS + 0.2
    under_load.time.pass_by(20)
    assert under_load.endpoint.arrivals[-1].at == last


def test_a_worker_that_joins_late_ends_the_test(under_load: Fleet) -> None:
    under_load.leader.environment.events.worker_connect.fire(client_id="another")
    assert "a worker joined although all 2 were there" in failed(under_load, "WorkersChanged")


def test_a_worker_that_is_told_to_stop_ends_the_test(under_load: Fleet) -> None:
    under_load.workers[0].quit()
    assert "stopped before its time" in failed(under_load, "Interrupted")


def test_a_report_that_is_lost_ends_the_test(under_load: Fleet) -> None:
    under_load.leader.deaf = 1
    assert "a report of worker" in failed(under_load, "ReportLost")


def test_a_clock_that_is_off_ends_the_test(start: Start) -> None:
    fleet = start(always(0.01))
    fleet.workers[0].time.ahead = 3.0
    assert failed(fleet, "ClockSkew") == "the clock of worker 0 is off by -3.0 s"


def test_requests_that_do_not_end_fail_the_test(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = start(always(0.01))
    monkeypatch.setattr(HttpEngine, "outstanding", 3)
    assert failed(fleet, "NotDrained") == "3 requests did not end"


def test_an_engine_that_breaks_ends_the_test(
    under_load: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HttpEngine, "_look_after", lambda *_: 1 / 0)
    assert failed(under_load, "EngineFailed").endswith("ZeroDivisionError: division by zero")


def test_a_fault_of_the_leader_ends_the_test(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = start(always(0.01))
    monkeypatch.setattr("load_generator.leader.step_window", lambda *_, **__: 1 / 0)
    assert failed(fleet, "LeaderFailed") == "ZeroDivisionError: division by zero"


# --- False starts -------------------------------------------------------------------------------


def test_workers_that_do_not_come_are_missing(start: Start) -> None:
    fleet = start(always(0.01), {"workers": 2}, connect=1)
    assert failed(fleet, "WorkersMissing") == "1 of 2 workers connected within 30 s"


def test_a_worker_that_could_not_start_has_the_word(start: Start) -> None:
    fleet = start(always(0.01), {"workers": 2}, connect=1)
    at = fleet.time.epoch() + 1
    error = {"name": "InvalidPayloads", "message": "payload 1 is not base64"}
    document = {"status": "FAILED", "error": error, "finished_at": at}
    fleet.time.call_at(
        fleet.time.monotonic() + 1,
        lambda: fleet.storage.write("load_test.json", json.dumps(document).encode()),
    )
    assert failed(fleet, "InvalidPayloads") == "payload 1 is not base64"
    assert fleet.time.epoch() - at < 5


def test_workers_that_do_not_get_ready_are_missing(start: Start) -> None:
    fleet = start(always(0.01), {"workers": 2})
    fleet.leader.deaf = 1
    assert failed(fleet, "WorkersMissing") == "workers [0] did not get ready"


# --- Those who do not belong, and interruptions -------------------------------------------------


@pytest.mark.parametrize(
    "data, words",
    [
        ({"load_test_id": "another", "worker": 0}, "worker 0 belongs to another"),
        ({"load_test_id": "test", "worker": 7}, "there is no need for another worker 7"),
        ({"load_test_id": "test", "worker": 0}, "there is no need for another worker 0"),
    ],
)
def test_a_worker_that_does_not_belong_ends_the_test(
    under_load: Fleet, data: dict[str, Any], words: str
) -> None:
    under_load.workers[1].send_message(messages.READY, data | {"cpu_share": 1.0})
    assert failed(under_load, "WorkersChanged") == words


def test_reports_of_an_unknown_worker_are_not_booked(under_load: Fleet) -> None:
    sent = len(under_load.endpoint.arrivals)
    under_load.workers[1].send_message(messages.REPORT, {"worker": 7, "seconds": [[1, {}]]})
    under_load.run(lambda: len(under_load.endpoint.arrivals) > sent + 200)
    under_load.interrupt()
    failed(under_load, "Interrupted")
    assert under_load.document["timeline"][0]["t"] > 1


def test_a_leader_that_is_told_to_stop_ends_the_test(under_load: Fleet) -> None:
    under_load.interrupt()
    assert failed(under_load, "Interrupted") == "the leader was told to stop"


def test_a_leader_whose_locust_ends_says_so(under_load: Fleet) -> None:
    under_load.leader.quit()
    message = failed(under_load, "Interrupted")
    assert message == "the leader was stopped before the test was over"


def test_a_result_that_cannot_be_written_is_no_success(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = start(always(0.01))

    def write(_name: str, _content: bytes) -> None:
        raise StorageError("s3://bucket/load_test.json: AccessDenied")

    monkeypatch.setattr(fleet.storage, "write", write)
    fleet.run()
    assert fleet.exit_codes[0] == 1
    assert "load_test.json could not be written" in caplog.text


def test_credentials_that_cannot_be_refreshed_go_on_serving(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fleet = start(always(0.01))
    fleet.run(lambda: len(fleet.endpoint.arrivals) > 0)
    monkeypatch.setattr(Credentials, "get_frozen_credentials", lambda _: 1 / 0)
    completed(fleet)
    assert "The credentials could not be refreshed" in caplog.text
