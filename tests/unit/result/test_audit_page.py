"""The page of an audit: what needs somebody first, and what it would save."""

from __future__ import annotations

import re
from typing import Any

import pytest

from report.audit import render
from sizing.production.audit import Audited, Judgement, Verdict, by_urgency, saving_usd_a_month

HOSTILE = "<script>alert(1)</script>"


def audited(endpoint: str, verdict: str = "right", **changes: Any) -> Audited:
    """An endpoint with five instances of a dollar an hour each."""
    return Audited.model_validate(
        {
            "endpoint": endpoint,
            "variant": "main",
            "instance_type": "ml.m5.xlarge",
            "instance_count": 5,
            "peak_tps": 345.6,
            "peak_utilization_percent": 41.2,
            "hourly_cost_usd": 5.0,
            "verdict": verdict,
            "suggested_count": 5,
            "saving_usd_a_month": None,
            "why": "345 requests per second at the peak, 41.2 % utilization",
            **changes,
        }
    )


def fleet() -> list[Audited]:
    """One of each verdict, in no order."""
    nothing: dict[str, Any] = {"suggested_count": None, "peak_utilization_percent": None}
    odd = {"instance_type": None, "instance_count": 0, "hourly_cost_usd": None, "peak_tps": None}
    return [
        audited("fits"),
        audited("idle", "idle", saving_usd_a_month=3650.0, **nothing),
        audited("serverless", "unknown", why="a serverless endpoint", **nothing, **odd),
        audited("large", "too_large", suggested_count=3, saving_usd_a_month=1460.0),
        audited("larger", "too_large", suggested_count=1, saving_usd_a_month=2920.0),
        audited("slower", "latency_growing"),
        audited("small", "too_small", suggested_count=8),
    ]


def page(*given: Audited) -> str:
    return render(given, "eu-central-1", 14, 1_796_000_000.0)


def test_what_is_too_small_comes_first_and_then_what_saves_most() -> None:
    names = ["small", "slower", "larger", "large", "idle", "serverless", "fits"]
    assert [each.endpoint for each in by_urgency(fleet())] == names
    assert re.findall(r'class="name">(\w+)', page(*fleet())) == names


def test_it_says_what_is_wrong_and_what_that_costs() -> None:
    said = page(*fleet())
    assert (
        "7 endpoints: 1 too small, 1 getting slower, 2 too large, 1 idle; "
        "$8,030 a month could be saved" in said
    )
    assert "$21,900" in said  # six of five instances, at $730 a month each
    assert "14 days up to 2026-11-30" in said


@pytest.mark.parametrize(
    "given, sentence",
    [
        ([], "There is no endpoint"),
        ([audited("fits")], "1 endpoint: 1 fit, and none is known not to"),
        ([audited("small", "too_small")], "1 endpoint: 1 too small<"),
    ],
)
def test_few_of_them_are_told_too(given: list[Audited], sentence: str) -> None:
    assert sentence in page(*given)


def test_hostile_names_are_text() -> None:
    said = page(audited(HOSTILE, variant=HOSTILE, why=HOSTILE))
    assert "<script" not in said
    assert said.count("&lt;script&gt;alert(1)") == 3


@pytest.mark.parametrize(
    "verdict, suggested, price, saving",
    [
        (Verdict.TOO_LARGE, 3, 1.0, 1460.0),
        (Verdict.TOO_LARGE, 3, None, None),
        (Verdict.IDLE, None, 1.0, 3650.0),
        (Verdict.RIGHT, 5, 1.0, None),
        (Verdict.TOO_SMALL, 8, 1.0, None),
        (Verdict.UNKNOWN, None, 1.0, None),
    ],
)
def test_only_fewer_instances_save(
    verdict: Verdict, suggested: int | None, price: float | None, saving: float | None
) -> None:
    judged = Judgement(verdict, "", suggested_count=suggested)
    assert saving_usd_a_month(judged, 5, price) == saving
