"""An endpoint's own history says whether it fits, and where it can't say so, that is said."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from sizing.production.audit import Judgement, Verdict, judge
from sizing.production.traffic import Traffic, percentile_of
from tests.unit.sizing.production.made_up_production import DAY, START, Endpoint, fleet

#: At 100 requests per second and instance: 65 %.
COST = 0.65


def judged(endpoint: Endpoint, counts: tuple[int, int] | None = None) -> Judgement:
    traffic, periods = endpoint.history()
    return judge(traffic, periods, counts or (endpoint.instances, endpoint.instances))


@pytest.mark.parametrize(
    "mean_tps, instances, verdict",
    [
        (200, 4, Verdict.RIGHT),  # about 345 at the peak
        (200, 9, Verdict.TOO_LARGE),
        (200, 2, Verdict.TOO_SMALL),
        (20, 4, Verdict.TOO_LARGE),
    ],
)
def test_a_count_is_judged_by_the_peak(mean_tps: float, instances: int, verdict: Verdict) -> None:
    endpoint = Endpoint(mean_tps, instances, COST)
    found = judged(endpoint)
    assert found.verdict is verdict
    assert found.suggested_count is not None
    assert abs(found.suggested_count - endpoint.right_count()) <= 1
    assert "at the peak" in found.why


def test_of_200_endpoints_nine_in_ten_suggestions_are_within_one() -> None:
    dared = close = 0
    for endpoint in fleet(200, days=2, seed=14).values():
        found = judged(endpoint)
        if found.suggested_count is not None:
            dared += 1
            close += abs(found.suggested_count - endpoint.right_count()) <= 1
    assert dared >= 100
    assert close >= 0.9 * dared


def test_an_idle_endpoint_is_idle() -> None:
    found = judge(Traffic({}, START, START + 14 * DAY), [], (4, 4))
    assert (found.verdict, found.why) == (Verdict.IDLE, "no invocation in 14 days")


def test_latency_that_grows_at_the_same_load_is_told() -> None:
    found = judged(Endpoint(200, 4, COST, grows=1.8))
    assert found.verdict is Verdict.LATENCY_GROWING
    assert "p99 grew from " in found.why
    assert judged(Endpoint(200, 4, COST)).verdict is Verdict.RIGHT


def test_utilization_that_is_not_of_the_requests_tells_no_count() -> None:
    traffic, periods = Endpoint(200, 4, COST).history()
    chance = random.Random(3)
    others = [replace(each, utilization_percent=chance.uniform(5, 60)) for each in periods]
    found = judge(traffic, others, (4, 4))
    assert (found.verdict, found.suggested_count) == (Verdict.UNKNOWN, None)
    assert "does not follow its requests" in found.why


@pytest.mark.parametrize(
    "counts, verdict",
    [
        ((1, 8), Verdict.RIGHT),
        ((4, 4), Verdict.RIGHT),
        ((1, 3), Verdict.TOO_SMALL),
        ((6, 9), Verdict.TOO_LARGE),
    ],
)
def test_one_that_a_policy_scales_is_judged_by_its_bounds(
    counts: tuple[int, int], verdict: Verdict
) -> None:
    assert judged(Endpoint(200, 4, COST), counts).verdict is verdict


def test_one_that_is_saturated_all_the_time_is_too_small() -> None:
    found = judged(Endpoint(2000, 4, COST))
    assert (found.verdict, found.suggested_count) == (Verdict.TOO_SMALL, None)
    assert "saturated" in found.why


def test_a_containers_own_work_is_told_from_that_of_requests() -> None:
    endpoint = Endpoint(60, 20, COST, idle=3.0)
    found = judged(endpoint)
    assert found.suggested_count is not None
    assert abs(found.suggested_count - endpoint.right_count()) <= 1


def test_too_little_history_tells_no_count() -> None:
    traffic, periods = Endpoint(200, 4, COST).history()
    found = judge(traffic, periods[:10], (4, 4))
    assert (found.verdict, found.suggested_count) == (Verdict.UNKNOWN, None)
    assert found.why == "only 50 minutes with both requests and utilization"


def test_a_load_far_under_the_band_tells_no_large_count() -> None:
    found = judged(Endpoint(600, 200, COST))  # 5 % at the peak of what should be 15
    assert found.suggested_count is None
    assert "leaves the count open" in found.why


def test_requests_that_fail_in_the_busiest_hours_are_told() -> None:
    traffic, periods = Endpoint(200, 4, COST).history()
    failing = [replace(each, failed=0.05 if each.tps > 300 else 0.0) for each in periods]
    assert "of the requests failed in its busiest hours" in judge(traffic, failing, (4, 4)).why


def test_the_peak_is_of_all_minutes_those_without_a_request_included() -> None:
    traffic = Traffic({START + 60: 600.0}, START, START + 600)
    assert traffic.rates() == [0, 10, 0, 0, 0, 0, 0, 0, 0, 0]
    assert (traffic.peak_tps(), traffic.peak_tps(90), traffic.total) == (10, 0, 600)


@pytest.mark.parametrize("percentile, value", [(0, 1), (50, 2), (75, 3), (99.9, 4), (100, 4)])
def test_a_percentile_is_one_of_the_values(percentile: float, value: float) -> None:
    assert percentile_of([4, 1, 3, 2], percentile) == value
    assert percentile_of([], percentile) == 0
