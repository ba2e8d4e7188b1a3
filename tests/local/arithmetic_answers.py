"""What arithmetic says of each request in examples/arithmetic, by the file's name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sizing.load_test.observation import Verdict
from sizing.result.result import CandidateResult, Recommendation, Result
from sizing.search.answer import CandidateStatus, Status

EXAMPLES = Path(__file__).parents[2] / "examples" / "arithmetic"


def names() -> list[str]:
    """The examples."""
    return sorted(path.stem for path in EXAMPLES.glob("*.json"))


def document(example: str) -> dict[str, Any]:
    """An example's request, as it is written."""
    found: dict[str, Any] = json.loads((EXAMPLES / f"{example}.json").read_text())
    return found


def check(example: str, result: Result) -> None:
    """Hold a result against what arithmetic says."""
    _CHECKS[example](result)


def _recommended(result: Result) -> tuple[Recommendation, CandidateResult, Verdict | None]:
    """What is recommended, of which candidate, and the verdict on it."""
    assert result.status is Status.SIZED, result.reason
    found = result.recommendation
    assert found is not None
    (candidate,) = [each for each in result.candidates if each.instance_type == found.instance_type]
    *_, verdict = [
        each.verdict for each in candidate.load_tests if each.instance_count == found.instance_count
    ]
    return found, candidate, verdict


def _seven_instances(result: Result) -> None:
    found, _, verdict = _recommended(result)
    assert found.instance_count == 7
    assert found.utilization_percent == pytest.approx(100 * 300 * 0.060 / (7 * 4), abs=1.5)
    assert found.in_band
    assert verdict is Verdict.IN_BAND
    assert found.limiting_resource == "CPU"


def _far_under_the_band(result: Result) -> None:
    found, candidate, verdict = _recommended(result)
    assert found.instance_count == 1
    assert found.utilization_percent == pytest.approx(100 * 12 * 0.060 / 4, abs=1.5)
    assert not found.in_band
    assert verdict is Verdict.UNDERUSED
    assert any("smaller instance type" in each.advice for each in candidate.diagnosis)


def _integers_step_over_the_band(result: Result) -> None:
    found, _, _ = _recommended(result)
    assert found.instance_count == 2  # one would be at 76.5 %
    assert found.utilization_percent == pytest.approx(100 * 51 * 0.060 / (2 * 4), abs=1.5)
    assert not found.in_band
    assert "no count lies in the band 60-70 %, this is the smallest" in result.reason


def _one_worker_container(result: Result) -> None:
    found, candidate, verdict = _recommended(result)
    assert found.instance_count == 2  # one serves 1 / 0.060 = 16.7 TPS at the most
    assert found.utilization_percent == pytest.approx(100 * 24 * 0.060 / (2 * 4), abs=1.5)
    assert found.limiting_resource == "container"
    assert verdict is Verdict.CONTAINER_LIMITED
    (finding,) = [each for each in candidate.diagnosis if "saturates" in each.finding]
    assert "number of workers" in finding.advice
    assert finding.figures["saturation_tps_per_instance"] == pytest.approx(16.7, rel=0.1)
    assert finding.figures["utilization_percent"] == pytest.approx(25, abs=3)
    assert not any("smaller instance" in each.advice for each in candidate.diagnosis)


def _latency_limit(result: Result) -> None:
    found, candidate, verdict = _recommended(result)
    # One is in the band, u = 3.2 x 0.5 / 4 x (1 + u) = 67 %, at a p99 of 500 x 1.67 x 1.12 = 933.
    assert found.instance_count == 2
    assert found.utilization_percent == pytest.approx(25, abs=2.5)
    assert found.model_latency_ms.p99 == pytest.approx(500 * 1.25 * 1.12, rel=0.15)
    assert verdict is Verdict.LATENCY_LIMITED
    assert found.limiting_resource == "latency"
    assert not found.in_band
    assert any("faster instance type" in each.advice for each in candidate.diagnosis)


def _one_type_cannot_start(result: Result) -> None:
    found, _, _ = _recommended(result)
    assert (found.instance_type, found.instance_count) == ("ml.m5.xlarge", 1)
    assert found.utilization_percent == pytest.approx(100 * 43 * 0.060 / 4, abs=1.5)
    broken, working = result.candidates
    assert (broken.status, working.status) == (CandidateStatus.FAILED, CandidateStatus.VERIFIED)
    assert broken.reason.startswith("EndpointFailed: ")
    assert "did not pass the ping health check" in broken.reason


def _limit_of_three(result: Result) -> None:
    assert result.status is Status.TARGET_NOT_MET
    assert result.limit == "limits.max_instances"
    assert result.recommendation is None
    (candidate,) = result.candidates
    assert candidate.instance_count == 7
    assert "limits.max_instances is 3" in result.reason
    # One instance, asked twice: nothing was scaled out for it.
    assert [each.instance_count for each in candidate.load_tests] == [1, 1]


_CHECKS: dict[str, Callable[[Result], None]] = {
    "seven-instances": _seven_instances,
    "far-under-the-band": _far_under_the_band,
    "integers-step-over-the-band": _integers_step_over_the_band,
    "one-worker-container": _one_worker_container,
    "latency-limit": _latency_limit,
    "one-type-cannot-start": _one_type_cannot_start,
    "limit-of-three": _limit_of_three,
}
