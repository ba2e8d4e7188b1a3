"""A stall at the end of a short window must not be taken for instances that are too few."""

from __future__ import annotations

import pytest

from sizing.load_test.observation import LoadTestRecord, Window
from sizing.load_test.plan import LoadTestPlan, Purpose
from sizing.load_test.verdict import fails_to_serve, judge
from sizing.search.answer import Answer
from sizing.search.search import next_load_test
from tests.unit.sizing.exact_endpoint import ExactEndpoint, sizing_for

SIZING = sizing_for(1000.0, vcpus=48)
ENDPOINT = ExactEndpoint(capacity=200.0)


def answered(record: LoadTestRecord, share: float) -> LoadTestRecord:
    """The same load test with fewer answers to the full target and over it, and no error."""
    return record.model_copy(
        update={
            "observations": tuple(
                seen.model_copy(update={"achieved_tps": seen.offered_tps * share})
                if seen.offered_tps >= SIZING.request.target.tps
                else seen
                for seen in record.observations
            )
        }
    )


def verified(*shares: float) -> tuple[list[LoadTestRecord], LoadTestPlan | Answer]:
    """A baseline, and one verification for each share of the target that was answered."""
    history: list[LoadTestRecord] = []
    decided = next_load_test(SIZING, history)
    assert isinstance(decided, LoadTestPlan)
    history.append(judge(SIZING, ENDPOINT.run(decided)))
    for share in shares:
        decided = next_load_test(SIZING, history)
        assert isinstance(decided, LoadTestPlan)
        history.append(judge(SIZING, answered(ENDPOINT.run(decided), share)))
    return history, next_load_test(SIZING, history)


@pytest.mark.parametrize("share", [0.955, 0.988])
def test_a_load_test_that_fell_barely_short_is_repeated_once(share: float) -> None:
    history, decided = verified(share)
    assert isinstance(decided, LoadTestPlan)
    assert decided.purpose is Purpose.VERIFY
    assert decided.instance_count == history[-1].instance_count
    assert "answered in time" in decided.reason


def test_the_repetition_is_what_counts() -> None:
    history, decided = verified(0.988, 1.0)
    assert not isinstance(decided, LoadTestPlan)
    assert decided.candidates[0].instance_count == history[-1].instance_count == 8


@pytest.mark.parametrize("shares", [(0.988, 0.988), (0.9,)])
def test_an_endpoint_that_keeps_falling_short_needs_more(shares: tuple[float, ...]) -> None:
    history, decided = verified(*shares)
    assert isinstance(decided, LoadTestPlan)
    assert decided.instance_count > history[-1].instance_count


@pytest.mark.parametrize(
    "tps, seconds, answers, serves_it",
    [
        (1.4875, 10, 14, True),  # 14.9 are due: one of them may be answered after the window
        (3.2, 10, 30, True),
        (3.2, 10, 29, False),
        (3.2, 300, 951, True),  # a percent of a long window is more
        (3.2, 300, 949, False),
        (1000, 60, 59_400, True),
        (1000, 60, 59_300, False),
    ],
)
def test_a_few_requests_are_not_judged_by_percents(
    tps: float, seconds: int, answers: int, serves_it: bool
) -> None:
    seen = verified()[0][0].observations[0]
    seen = seen.model_copy(
        update={
            "offered_tps": tps,
            "achieved_tps": answers / seconds,
            "window": Window(start=1000, end=1000 + seconds),
        }
    )
    assert fails_to_serve(SIZING.request.target, seen) is not serves_it
