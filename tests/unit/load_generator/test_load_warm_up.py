"""Warm-up: MSER-5, and whole load tests of endpoints that get quicker, slower or neither."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from load_generator.ledger import Second
from load_generator.warm_up import Judgement, judge, truncation
from tests.local.load_tests import specification
from tests.unit.load_generator.made_up_time import Answer, Arrival, Fleet, Rule, always, served_by


def seconds(
    latency: Callable[[int], float], rate: Callable[[int], int] = lambda _: 50, count: int = 30
) -> list[Second]:
    """Seconds of an endpoint whose latency (seconds) and rate depend on the time."""
    series = []
    for number in range(count):
        second = Second(succeeded=rate(number))
        second.latency.add([latency(number)] * rate(number))
        series.append(second)
    return series


@pytest.mark.parametrize(
    "series, cut",
    [
        ([5.0] * 20, 0),
        ([9.0, 8.0, 7.0] + [5.0, 5.1, 4.9] * 6, 3),
        ([9.0] * 10 + [5.0, 5.1] * 5, 10),
        # It still moves: whatever remains is cut, but for the last five.
        ([float(number) for number in range(20)], 15),
    ],
)
def test_mser_cuts_off_what_is_not_like_the_rest(series: list[float], cut: int) -> None:
    assert truncation(series) == cut


@pytest.mark.parametrize(
    "series, judgement",
    [
        (seconds(lambda _: 0.05), Judgement(steady=True)),
        (seconds(lambda at: 0.05 + 0.5 * math.exp(-at / 3)), Judgement(steady=True)),
        (
            seconds(lambda at: 0.05 + 0.5 * math.exp(-at / 20)),
            Judgement(steady=False, wait=True),
        ),
        (seconds(lambda at: 0.05 + 0.01 * at), Judgement(steady=False)),
        # A closed loop: it serves more and more.
        (
            seconds(lambda at: 5 / (10 + at), lambda at: 10 + at),
            Judgement(steady=False, wait=True),
        ),
        # Less and less, but quickly: errors, or an endpoint that gives out.
        (seconds(lambda at: 0.05 - 0.001 * at, lambda at: 60 - at), Judgement(steady=False)),
        (seconds(lambda _: 0.05, count=9), Judgement(steady=None)),
        (seconds(lambda _: 25.0), Judgement(steady=None, wait=True)),
        ([Second(sent=10)] * 30, Judgement(steady=None, wait=True)),
        # One answer a second: six batches of five.
        (seconds(lambda _: 0.05, lambda _: 1), Judgement(steady=None)),
        (seconds(lambda _: 0.05, lambda _: 0), Judgement(steady=None)),
        # One second of a stall is no lack of steadiness, also near the end.
        (seconds(lambda at: 0.5 if at == 20 else 0.05), Judgement(steady=True)),
    ],
)
def test_judgement(series: list[Second], judgement: Judgement) -> None:
    assert judge(series) == judgement


def test_noise_is_steady() -> None:
    """Of 200 endpoints that do not change, whatever their scatter, hardly any is said to."""
    wrong = 0
    for seed in range(200):
        draw = random.Random(seed)
        series = []
        for _ in range(30):
            second = Second(succeeded=20)
            second.latency.add([0.05 * draw.lognormvariate(0, 0.5) for _ in range(20)])
            series.append(second)
        wrong += judge(series).steady is False
    assert wrong <= 10


# --- Whole load tests ---------------------------------------------------------------------------


def run(patch: pytest.MonkeyPatch, rule: Callable[[Fleet], Rule], **fields: Any) -> Any:
    known = {"settle_seconds": 10, "steady_seconds": 5, "steps": [{"offered_tps": 50}]}
    fleet = Fleet(
        patch, specification(**{"request_timeout_seconds": 20} | known | fields), always(0)
    )
    fleet.endpoint.rule = rule(fleet)
    fleet.run()
    assert fleet.document["status"] == "COMPLETED", fleet.document["error"]
    return fleet.document


def warming(seconds: float, by: float) -> Callable[[Fleet], Rule]:
    """Twenty slots of 20 ms, at first so many times as slow, which decays in so many seconds."""

    def make(fleet: Fleet) -> Rule:
        begun = fleet.time.epoch()
        free = [0.0] * 20

        def answer(arrival: Arrival) -> Answer:
            slower = 1 + (by - 1) * math.exp(-(arrival.at - begun) / seconds)
            at = free.index(min(free))
            free[at] = max(arrival.at, free[at]) + 0.02 * slower
            return Answer(free[at] - arrival.at)

        return answer

    return make


def test_a_steady_endpoint_is_warm_after_settle_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [{"offered_tps": 50}, {"offered_tps": 80}]
    document = run(monkeypatch, lambda _: always(0.05), steps=steps)
    for step in document["steps"]:
        assert step["warm_up"]["steady"] is True
        assert 10 <= step["warm_up"]["seconds"] <= 11
        assert step["service_ms"]["p99"] == pytest.approx(50)
    first, second = document["steps"]
    assert second["window"]["start"] - first["window"]["end"] == 10


def test_a_window_is_put_off_until_a_cold_endpoint_is_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [{"offered_tps": 50}, {"offered_tps": 80}]
    document = run(monkeypatch, lambda fleet: warming(8, 20)(fleet), steps=steps)
    first, second = document["steps"]
    assert first["warm_up"]["steady"] is True
    assert 20 < first["warm_up"]["seconds"] <= 80
    assert first["client_latency_ms"]["p99"] < 40
    # The next step moved along.
    assert second["window"]["start"] - first["window"]["end"] == 10
    assert second["warm_up"]["steady"] is True
    assert second["achieved_tps"] == 80


def test_an_endpoint_that_never_gets_steady_is_said_to_be_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It gets quicker for ever: after eight times settle_seconds it is measured all the same."""

    def rule(fleet: Fleet) -> Rule:
        begun = fleet.time.epoch()
        return lambda arrival: Answer(math.exp(-(arrival.at - begun) / 30))

    (step,) = run(monkeypatch, rule)["steps"]
    assert step["warm_up"]["steady"] is False
    assert 79 <= step["warm_up"]["seconds"] <= 80


def test_a_queue_that_grows_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    document = run(monkeypatch, lambda _: served_by(2, 0.05), steps=[{"offered_tps": 50}])
    (step,) = document["steps"]
    assert step["warm_up"]["steady"] is False
    assert step["warm_up"]["seconds"] <= 11


def test_too_short_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    (step,) = run(monkeypatch, lambda _: always(0.05), settle_seconds=1)["steps"]
    assert step["warm_up"]["steady"] is None


def test_a_burst_meets_a_warm_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cold it serves 100 a second, warm 1,000."""
    burst = {"start_concurrency": 4, "max_concurrency": 64, "stage_seconds": 3}
    fields = {"burst": burst, "steps": [{"saturation_fraction": 0.1}]}
    warm = run(monkeypatch, warming(10, 10), **fields)["saturation"]
    assert warm["warm_up"]["steady"] is True
    assert 10 < warm["warm_up"]["seconds"] < 80
    assert warm["tps"] > 950
    # It goes on getting quicker in the first stages of a burst that nothing came before.
    cold = run(monkeypatch, warming(10, 10), **fields | {"settle_seconds": 0})["saturation"]
    assert cold["warm_up"] is None
    assert cold["tps"] < 0.9 * warm["tps"]
