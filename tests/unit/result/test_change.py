"""A result beside the one before it: chance is no change, and a change is none too small to see."""

from __future__ import annotations

from typing import Any

import pytest

from sizing.result import history
from sizing.result.change import SURE, Effect, Kind, Outcome, compare, student
from sizing.result.result import Result
from tests.unit.result import sample_sizings


def outcome(**changes: Any) -> Outcome:
    """8 instances, well measured."""
    return Outcome.model_validate(
        {
            "sizing_id": "3f2a9c1b7d4e",
            "status": "SIZED",
            "finished_at": "2026-09-21T14:33:20Z",
            "package_version": 3,
            "instance_type": "ml.m5.12xlarge",
            "instance_count": 8,
            "least_count": 8,
            "most_count": 8,
            "hourly_cost_usd": 22.12,
            "model_latency_p99_ms": 400.0,
            "model_latency_p99_standard_error": 2.0,
            "periods": 6,
            "tps_per_instance_at_band_middle": 130.0,
            "tps_per_instance_standard_error": 1.0,
            **changes,
        }
    )


def change(before: dict[str, Any], after: dict[str, Any], tolerance: float = 5.0) -> Any:
    return compare(outcome(**before), outcome(**after), tolerance)


def test_the_first_has_nothing_before_it() -> None:
    first = compare(None, outcome(), 5.0)
    assert (first.kind, first.previous, first.what) == (Kind.FIRST, None, ())


def test_the_same_again_is_unchanged_whatever_its_version() -> None:
    again = change({}, {"package_version": 4})
    assert (again.kind, again.what) == (Kind.UNCHANGED, ())
    assert again.previous.package_version == 3


CAPACITY, ERROR = "tps_per_instance_at_band_middle", "tps_per_instance_standard_error"
P99 = "model_latency_p99_ms"


@pytest.mark.parametrize(
    "after, kind, field",
    [
        ({CAPACITY: 117.0}, Kind.REGRESSED, CAPACITY),  # though the count is the same
        ({CAPACITY: 143.0}, Kind.IMPROVED, CAPACITY),
        ({P99: 440.0}, Kind.REGRESSED, P99),
        ({P99: 360.0}, Kind.IMPROVED, P99),
        ({"hourly_cost_usd": 25.0}, Kind.REGRESSED, "hourly_cost_usd"),  # the price rose
        ({"status": "TARGET_NOT_MET", "instance_count": None}, Kind.REGRESSED, "status"),
        ({"instance_type": "ml.c6i.16xlarge"}, Kind.CHANGED, "instance_type"),
        ({"instance_count": 9, "most_count": 9}, Kind.CHANGED, "instance_count"),
    ],
)
def test_what_differs_is_named(after: dict[str, Any], kind: Kind, field: str) -> None:
    found = change({}, after)
    assert (found.kind, found.what[0].field) == (kind, field)


def test_a_smaller_loss_than_the_tolerance_matters_to_nobody() -> None:
    assert change({}, {CAPACITY: 124.5}).kind is Kind.UNCHANGED
    assert change({}, {CAPACITY: 124.5}, tolerance=4.0).kind is Kind.REGRESSED
    assert change({}, {CAPACITY: 117.0}, tolerance=15.0).kind is Kind.UNCHANGED


def test_noise_is_no_loss() -> None:
    noisy = {ERROR: 5.0}  # 3.8 % each, 5.4 % of the difference
    assert change(noisy, {**noisy, CAPACITY: 117.0}).kind is Kind.UNCHANGED
    assert change(noisy, {**noisy, CAPACITY: 90.0}).kind is Kind.REGRESSED


def test_a_difference_comes_with_its_uncertainty() -> None:
    [loss] = change({}, {CAPACITY: 117.0}).what
    assert (loss.before, loss.after) == (130.0, 117.0)
    assert loss.percent == pytest.approx(-10.0)
    assert loss.standard_error == pytest.approx(90 * (130**-2 + 117**-2) ** 0.5)


def test_an_idle_instance_shows_a_loss_by_what_the_same_rate_takes() -> None:
    """At 25 % nobody knows well what it would do at 65 %."""
    idle = {
        "tps": 22.0,
        "utilization_percent": 25.0,
        "utilization_standard_error": 0.2,
        CAPACITY: 150.0,
        ERROR: 8.0,
    }
    assert change(idle, {**idle, CAPACITY: 140.0}).kind is Kind.UNCHANGED
    [loss] = change(idle, {**idle, CAPACITY: 140.0, "utilization_percent": 28.0}).what
    assert (loss.field, loss.effect, loss.before) == ("utilization_percent", Effect.WORSE, 25.0)
    assert loss.percent == pytest.approx(12.0)
    # Of a rate that is as much higher it is no loss; nor is it compared between other counts.
    assert change(idle, {**idle, "tps": 24.6, "utilization_percent": 28.0}).what == ()
    other = {**idle, "instance_count": 9, "most_count": 9, "utilization_percent": 28.0}
    assert [each.field for each in change(idle, other).what] == ["instance_count"]


def test_a_regression_outweighs_what_got_better() -> None:
    found = change({}, {CAPACITY: 143.0, P99: 480.0})
    assert found.kind is Kind.REGRESSED
    assert [each.effect for each in found.what] == [Effect.WORSE, Effect.BETTER]


def test_counts_that_noise_may_exchange_cost_no_more() -> None:
    nine = {"instance_count": 9, "hourly_cost_usd": 24.89}
    assert change({}, {**nine, "least_count": 8, "most_count": 9}).kind is Kind.CHANGED
    assert change({}, {**nine, "least_count": 9, "most_count": 9}).kind is Kind.REGRESSED


def test_latencies_of_other_counts_are_not_compared() -> None:
    found = change({}, {"instance_count": 9, "most_count": 9, P99: 900.0})
    assert [each.field for each in found.what] == ["instance_count"]


def test_few_periods_are_little_evidence() -> None:
    """The same scatter, from ever more periods."""
    kinds = [
        change(
            {"periods": periods, "model_latency_p99_standard_error": 9.0},
            {"periods": periods, "model_latency_p99_standard_error": 9.0, P99: 440.0},
        ).kind
        for periods in (2, 3, 12, 30)
    ]
    assert kinds == [Kind.UNCHANGED, Kind.UNCHANGED, Kind.REGRESSED, Kind.REGRESSED]


@pytest.mark.parametrize("missing", [CAPACITY, ERROR, "model_latency_p99_standard_error", P99])
def test_what_was_not_measured_is_not_compared(missing: str) -> None:
    assert change({missing: None}, {CAPACITY: 130.5, P99: 401.0}).kind is Kind.UNCHANGED


def test_a_target_that_is_met_again_is_better() -> None:
    unmet = {"status": "TARGET_NOT_MET", "instance_count": None, "hourly_cost_usd": None}
    assert change(unmet, {}).kind is Kind.IMPROVED
    assert change(unmet, unmet).kind is Kind.UNCHANGED
    assert change(unmet, {**unmet, CAPACITY: 100.0}).kind is Kind.REGRESSED


@pytest.mark.parametrize("freedom, quantile", [(3, 5.841), (5, 4.032), (10, 3.169), (30, 2.75)])
def test_students_t_at_one_in_two_hundred(freedom: float, quantile: float) -> None:
    """Against the tables of the distribution."""
    assert student(SURE, freedom) == pytest.approx(quantile, rel=0.02)


def test_the_last_comparable_answer_is_found() -> None:
    result = Result.model_validate(sample_sizings.sized().document())
    key = result.sizing.comparable_key
    answer = {**outcome().model_dump(mode="json"), "comparable_key": key, "model_key": "more"}
    items = [
        {**answer, "sizing_id": result.sizing.id},
        {**answer, "sizing_id": "failed", "status": "FAILED"},
        {**answer, "sizing_id": "asked otherwise", "comparable_key": "other"},
        {"sizing_id": "before this was recorded", "status": "SIZED"},
        {**answer, "sizing_id": "it"},
        {**answer, "sizing_id": "older"},
    ]
    found = history.last_comparable(result, items)
    assert found is not None
    assert found.sizing_id == "it"
    assert history.last_comparable(result, items[:4]) is None


def test_an_outcome_holds_what_its_result_does() -> None:
    result = Result.model_validate(sample_sizings.sized().document())
    found = history.outcome(result)
    assert result.recommendation is not None
    assert found.instance_count == result.recommendation.instance_count == 8
    assert found.model_latency_p99_ms == result.recommendation.model_latency_ms.p99
    assert found.periods == 6
    unmet = history.outcome(Result.model_validate(sample_sizings.target_not_met().document()))
    assert (unmet.status, unmet.instance_count) == ("TARGET_NOT_MET", None)
    failed = history.outcome(Result.model_validate(sample_sizings.failed().document()))
    assert failed.instance_type is None


def test_arrivals_of_another_kind_are_another_question() -> None:
    sizing = sample_sizings.sized().sizing
    assert sizing is not None

    def key(**load: object) -> str:
        changed = sizing.request.model_copy(
            update={"load": sizing.request.load.model_copy(update=load)}
        )
        return sizing.model_copy(update={"request": changed}).comparable_key

    assert key() == key(workers=4) == sizing.comparable_key
    assert key(arrivals="poisson") == key(arrivals="poisson", seed=3) != key()
