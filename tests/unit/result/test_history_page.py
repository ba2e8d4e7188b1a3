"""The page of a model over many nights: all that ended are in it, and nothing of it runs."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from typing import Any

from report.history import render
from sizing.result.history import Summary

HOSTILE = "<script>alert(1)</script>"


def night(number: int, **changes: Any) -> Summary:
    """The sizing of a night; each an hour later than the one before."""
    finished = datetime.fromisoformat("2026-09-01T02:30:00Z") + timedelta(days=number)
    return Summary.model_validate(
        {
            "sizing_id": f"{number:012x}",
            "execution_arn": "arn",
            "model_key": "model_package_group/sentiment",
            "status": "SIZED",
            "started_at": "2026-09-01T02:00:00Z",
            "finished_at": finished.isoformat(),
            "package_version": 1 + number // 10,
            "change": "unchanged" if number else "first",
            "result_uri": "s3://results/x",
            "load_tests": 1,
            "instance_types": ["ml.m5.xlarge", "ml.c5.xlarge"],
            "payload_fingerprint": "f",
            "routing": "RANDOM",
            "target_tps": 1000.0,
            "band_min_percent": 60.0,
            "band_max_percent": 70.0,
            "error_percent_limit": 0.1,
            "instance_type": "ml.m5.xlarge",
            "instance_count": 8,
            "hourly_cost_usd": 1.84,
            "model_latency_p99_ms": 40.0 + number,
            "tps_per_instance_at_band_middle": 130.0 - number,
            "sizing_cost_usd": 1.5,
            "expires_at": 2_000_000_000,
            **changes,
        }
    )


def nights(count: int = 30) -> list[Summary]:
    """So many nights, the latest first: one failed, and in the end another type is cheaper."""
    every = [night(number) for number in range(count)]
    nothing: dict[str, Any] = dict.fromkeys(
        ("instance_type", "instance_count", "hourly_cost_usd", "model_latency_p99_ms", "change")
    )
    every[5] = night(
        5, status="FAILED", error="EndpointFailed", tps_per_instance_at_band_middle=None, **nothing
    )
    every[-1] = night(count - 1, instance_type="ml.c5.xlarge", instance_count=7, change="changed")
    return every[::-1]


def figure_of(page: str) -> Any:
    [text] = re.findall(r'<script type="application/json" id="figures">(.*?)</script>', page)
    return json.loads(text)["history"]


def test_every_sizing_has_a_row_and_every_answer_a_mark() -> None:
    page = render("model_package_group/sentiment", nights())
    assert page.count('<th scope="row"') == 30
    assert "FAILED: EndpointFailed" in page
    assert "30 sizings since 2026-09-01, which cost $45.00." in page
    figure = figure_of(page)
    assert figure["x"]["label"] == "days since 2026-09-01"
    assert len(figure["shared"]["x"]) == 29
    capacity, count, latency, cost = (panel["series"] for panel in figure["panels"])
    for panel in (capacity, count, latency, cost):
        assert [each["name"] for each in panel] == ["ml.m5.xlarge", "ml.c5.xlarge"]
        assert [sum(y is not None for y in each["y"]) for each in panel] == [28, 1]
    assert (count[0]["y"][0], count[1]["y"][-1]) == (8, 7)
    assert capacity[0]["y"][:3] == [130, 129, 128]


def test_one_sizing_is_no_course() -> None:
    page = render("model_package_group/sentiment", [night(0)])
    assert "<script" not in page
    assert "8 x ml.m5.xlarge for 1,000 requests per second" in page
    assert "script-src &#39;none&#39;" in page


def test_nights_without_an_answer_are_no_course() -> None:
    page = render("m", nights()[-6:-5] * 2)
    assert "The last sizing has no answer" in page
    assert "<script" not in page


def test_hostile_text_stays_text() -> None:
    page = render(HOSTILE, [night(1, error=HOSTILE, instance_type=HOSTILE), night(0)])
    assert HOSTILE not in page
