"""The table by count says what load tests showed, and what follows for the counts beside."""

from __future__ import annotations

from typing import Any

import pytest

from sizing.request.request import parse_request
from sizing.result.counts import Count, cost_per_million, counts_around
from tests.unit.result import sample_sizings
from tests.unit.result.sample_sizings import FACTS, Made

M5 = FACTS["ml.m5.12xlarge"]


def counts_of(made: Made, **target: Any) -> tuple[Count, ...]:
    request = parse_request(sample_sizings.request(target={"tps": 1000, **target}))
    return counts_around(request, M5, made.history, 8)


def test_two_counts_on_either_side_of_the_answer() -> None:
    counts = counts_of(sample_sizings.sized())
    assert [each.instance_count for each in counts] == [6, 7, 8, 9, 10]
    assert [each.measured for each in counts] == [False, False, True, False, False]
    assert [each.serves for each in counts] == [False, False, True, True, True]
    # 200 TPS saturate one instance: 1000 of them are 5 / n of n instances.
    for each in counts:
        assert each.utilization_percent == pytest.approx(500 / each.instance_count, rel=0.02)


def test_the_loss_of_one_instance_is_the_count_below() -> None:
    below: Count | None = None
    for each in counts_of(sample_sizings.sized()):
        if below is not None:
            assert each.without_one is not None
            assert each.without_one.utilization_percent == below.utilization_percent
            assert each.without_one.within_limits == below.serves
        below = each
    request = parse_request(sample_sizings.request(target={"tps": 100}))
    alone, *_ = counts_around(request, M5, sample_sizings.sized().history, 1)
    assert (alone.instance_count, alone.without_one) == (1, None)


def test_most_is_where_a_limit_would_break() -> None:
    *_, answer, _, _ = counts_of(sample_sizings.sized())
    assert answer.most_tps == pytest.approx(8 * 140, rel=0.02)  # 70 % of 200 TPS an instance
    tight = counts_of(sample_sizings.sized(), model_latency_p99_ms=385)
    assert tight[2].most_tps is not None
    assert tight[2].most_tps < 1000  # 410 ms were seen at 1000
    assert not tight[2].serves


def test_a_count_that_drowns_has_no_figures_of_a_queue_without_bound() -> None:
    request = parse_request(sample_sizings.request())
    history = sample_sizings.target_not_met().history
    first, *_ = counts_around(request, M5, history, 8, also=[3])
    assert first.instance_count == 3
    assert first.utilization_percent is None
    assert first.model_latency_p99_ms is None
    assert first.most_tps == pytest.approx(3 * 140, rel=0.05)


def test_predicted_latency_has_bounds_and_measured_has_none() -> None:
    for each in counts_of(sample_sizings.sized()):
        p99 = each.model_latency_p99_ms
        assert p99 is not None
        if each.measured:
            assert each.model_latency_p99_low_ms is None
            continue
        assert each.model_latency_p99_low_ms is not None
        assert each.model_latency_p99_high_ms is not None
        assert each.model_latency_p99_low_ms < p99 < each.model_latency_p99_high_ms


def test_costs() -> None:
    *_, last = counts_of(sample_sizings.sized())
    assert last.hourly_cost_usd == pytest.approx(27.65)
    assert last.monthly_cost_usd == pytest.approx(27.65 * 730)
    assert last.cost_per_million_usd == pytest.approx(27.65 / 3.6)
    free = M5.model_copy(update={"hourly_price_usd": None})
    request = parse_request(sample_sizings.request())
    for each in counts_around(request, free, sample_sizings.sized().history, 8):
        assert (each.hourly_cost_usd, each.monthly_cost_usd, each.cost_per_million_usd) == (
            (None,) * 3
        )


def test_cost_per_million() -> None:
    assert cost_per_million(3.6, 1000) == pytest.approx(1.0)
    assert cost_per_million(None, 1000) is None
    assert cost_per_million(1.0, 0) is None


def test_nothing_measured_is_no_table() -> None:
    assert counts_around(parse_request(sample_sizings.request()), M5, (), 8) == ()
