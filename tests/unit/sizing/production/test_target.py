"""The target that production's traffic comes to, and what is said of what production has."""

from __future__ import annotations

import math
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from botocore.session import get_session
from botocore.validate import ParamValidator

from sizing.errors import InvalidRequest
from sizing.production.comparison import Production, compare
from sizing.production.target import peak
from sizing.production.traffic import Traffic, burst_factor
from sizing.request.request import Band, FromEndpoint
from sizing.request.sizing import ProductionTraffic
from tests.unit.sizing.production.made_up_production import DAY, START, Endpoint

DAYS = 4
ASKED = FromEndpoint(name="checkout", days=DAYS)
#: A request costs 0.65 % of an instance: 100 a second are 65 %.
ENDPOINT = Endpoint(200, 9, 0.65, days=DAYS)


@pytest.fixture(scope="module")
def traffic() -> Traffic:
    return ENDPOINT.history()[0]


def test_the_target_is_the_percentile_with_headroom_and_growth(traffic: Traffic) -> None:
    found = peak(FromEndpoint(name="c", days=DAYS, growth_percent_a_month=5.0), traffic)
    assert found.tps == traffic.peak_tps(99.9) == pytest.approx(345, rel=0.02)
    assert found.target_tps == pytest.approx(found.tps * 1.1 * 1.05)
    assert (found.days, found.notes) == (DAYS, ())


def test_each_hour_of_the_day_has_its_own(traffic: Traffic) -> None:
    by_hour = peak(ASKED, traffic).by_hour
    assert len(by_hour) == 24
    # The busiest is at 15:00, six hours after the mean.
    assert by_hour.index(max(by_hour)) in (14, 15)
    for hour in (3, 15):
        expected = max(ENDPOINT.rate_at(START + hour * 3600 + at) for at in range(0, 3600, 60))
        assert by_hour[hour] == pytest.approx(expected, rel=0.06)


def test_each_day_of_the_week_has_its_own(traffic: Traffic) -> None:
    busier = {
        at: count * (2 if (at // DAY + 3) % 7 == 1 else 1)
        for at, count in traffic.by_minute.items()
    }
    found = peak(ASKED, replace(traffic, by_minute=busier)).by_weekday
    assert [bool(each) for each in found] == [True] * 4 + [False] * 3  # from a Monday on
    assert found[1] == pytest.approx(2 * found[0], rel=0.05)


def by_ten(
    *, rate: float, burst: float = 1.0, length: int = 10, noise: Random | None = None
) -> dict[int, float]:
    """Invocations of two hours; each minute's first period is busier than the others."""
    parts = 60 // length
    rest = (parts - burst) / (parts - 1)
    counts = {}
    for second in range(START, START + 7200, length):
        mean = rate * length * (burst if second % 60 == 0 else rest)
        counts[second] = round(noise.gauss(mean, mean**0.5)) if noise else mean
    return counts


@pytest.mark.parametrize("length", [10, 20, 30])
def test_bursts_within_a_minute_are_in_the_target(traffic: Traffic, length: int) -> None:
    recent = by_ten(rate=300, burst=1.5, length=length)
    found = peak(ASKED, replace(traffic, recent=recent))
    # Three standard deviations of chance are not a burst.
    chance = 1 + 3.09 / math.sqrt(300 * length)
    assert found.burst_factor == pytest.approx(1.5 / chance, rel=0.01)
    assert found.target_tps == pytest.approx(found.tps * found.burst_factor * 1.1)
    [note] = found.notes
    assert note.startswith("In the last hours the busiest seconds of checkout had 1.4")


@pytest.mark.parametrize("rate", [1, 10, 300])
def test_chance_is_no_burst(rate: float) -> None:
    factors = [burst_factor(by_ten(rate=rate, noise=Random(seed)), 99.9) for seed in range(20)]
    assert max(factors) < 1.15
    assert sum(factors) / 20 < 1.05


@pytest.mark.parametrize(
    "counts",
    [
        {},
        {START + 10: 5.0},
        dict.fromkeys(range(START, START + 7200, 60), 600.0),  # published by the minute
        {START: 0.0, START + 10: 0.0},
    ],
)
def test_what_is_published_by_the_minute_tells_of_no_burst(counts: dict[int, float]) -> None:
    assert burst_factor(counts, 99.9) == 1.0


def test_a_launch_spike_is_not_the_peak_and_a_gap_is_told(traffic: Traffic) -> None:
    counts = dict(traffic.by_minute)
    spike, gap = START + 3600, range(START + DAY, START + DAY + 7 * 3600, 60)
    counts[spike] = 1e6
    for minute in gap:
        counts.pop(minute, None)
    found = peak(ASKED, replace(traffic, by_minute=counts))
    assert found.tps < 400
    [note] = found.notes
    assert note == ("checkout had no invocation from 2026-09-28 23:59 to 2026-09-29 07:00 UTC.")


def test_a_young_endpoint_is_told(traffic: Traffic) -> None:
    [note] = peak(FromEndpoint(name="checkout", days=14), traffic).notes
    assert note == "checkout is 4 days old, of the 14 asked for."


@pytest.mark.parametrize(
    "found, field, said",
    [
        (Traffic({START: 60.0}, START, START + 3600), "name", "is 1 hours old"),
        (Traffic({START: 60.0}, START, START + 2 * DAY), "days", "in 1 minutes of 2 days"),
    ],
)
def test_too_little_is_an_error_that_names_it(found: Traffic, field: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as raised:
        peak(ASKED, found)
    assert raised.value.field == f"target.from_endpoint.{field}"


def compared(
    answer: tuple[str, int, float | None] | None = ("ml.m5.xlarge", 4, 1.0), **changes: Any
) -> Production:
    facts: dict[str, Any] = {
        "endpoint": "checkout",
        "variant": "main",
        "instance_type": "ml.m5.xlarge",
        "instance_count": 9,
        "hourly_price_usd": 0.25,
        "peak_utilization_percent": 25.0,
        "days": 14.0,
        "peak_tps": 345.0,
        "target_tps": 379.5,
        "tps_by_hour": tuple(345.0 if 9 <= hour <= 17 else 60.0 for hour in range(24)),
        **changes,
    }
    return compare(ProductionTraffic(**facts), Band(), answer, 100.0)


@pytest.mark.parametrize(
    "changes, verdict, saving",
    [
        ({}, "too_large", (9 - 4) * 0.25 * 730),
        ({"instance_count": 4, "peak_utilization_percent": 57.0}, "right", 0),
        ({"instance_count": 3, "peak_utilization_percent": 76.0}, "too_small", -0.25 * 730),
        ({"instance_count": 3, "peak_utilization_percent": 65.0}, "too_small", -0.25 * 730),
        ({"instance_count": 3, "min_instances": 1, "max_instances": 8}, "right", -0.25 * 730),
        ({"instance_type": "ml.m5.large", "instance_count": 4}, "right", 0),
        ({"instance_type": "ml.c5.4xlarge", "hourly_price_usd": 1.0}, "too_large", 8 * 730),
        ({"hourly_price_usd": None}, "too_large", None),
    ],
)
def test_what_production_has_is_judged_by_the_answer(
    changes: dict[str, Any], verdict: str, saving: float | None
) -> None:
    found = compared(**changes)
    assert (found.verdict, found.saving_usd_a_month) == (verdict, saving)
    assert (found.risk is not None) == (verdict == "too_small")


def test_without_an_answer_only_the_facts_stand() -> None:
    found = compared(None)
    assert (found.verdict, found.saving_usd_a_month, found.plan) == (None, None, None)
    assert (found.min, found.max, found.hourly_cost_usd) == (9, 9, 2.25)


def test_a_plan_follows_the_day_an_hour_ahead_and_never_over_the_answer() -> None:
    plan = compared().plan
    assert plan is not None
    assert plan.counts == tuple(4 if 8 <= hour <= 17 else 2 for hour in range(24))
    assert plan.fixed_monthly_cost_usd == 730
    assert plan.monthly_cost_usd == pytest.approx(730 * (10 * 4 + 14 * 2) / 24 / 4, abs=0.01)
    assert [each["Schedule"] for each in plan.scheduled_actions] == [
        "cron(0 8 * * ? *)",
        "cron(0 18 * * ? *)",
    ]
    service = get_session().get_service_model("application-autoscaling")
    shape = service.operation_model("PutScheduledAction").input_shape
    for action in plan.scheduled_actions:
        report = ParamValidator().validate(action, shape)
        assert not report.has_errors(), report.generate_report()


def test_a_steady_day_needs_no_plan() -> None:
    assert compared(tps_by_hour=(345.0,) * 24).plan is None
