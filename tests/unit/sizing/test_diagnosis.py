"""Each finding comes with the figures that led to it and with what to do."""

from __future__ import annotations

import pytest

from sizing.load_test.observation import Latency, LoadTestRecord
from tests.unit.sizing.exact_endpoint import ExactEndpoint, search, sizing_for


def findings(endpoint=None, sizing=None, **fields):
    """The diagnosis of a sizing in which every observation shows these fields."""

    def change(record: LoadTestRecord) -> LoadTestRecord:
        steps = tuple(each.model_copy(update=fields) for each in record.observations)
        return record.model_copy(update={"observations": steps})

    answer, _ = search(sizing or sizing_for(1000), endpoint or ExactEndpoint(200), change)
    return answer.candidates[0].diagnosis


def test_nothing_to_say_of_a_healthy_endpoint():
    assert findings() == ()


@pytest.mark.parametrize(
    "endpoint, sizing, fields, words, figure",
    [
        (ExactEndpoint(200), sizing_for(20), {}, "smaller instance type", "utilization_percent"),
        (
            ExactEndpoint(1000 / 15, served_share=0.25),
            sizing_for(50),
            {},
            "number of workers",
            "saturation_tps_per_instance",
        ),
        (ExactEndpoint(200, error_percent=2), None, {}, "Look at the container", "error_percent"),
        (
            ExactEndpoint(200, throttle_tps=700),
            None,
            {},
            "higher InvokeEndpoint quota",
            "throttled",
        ),
        (ExactEndpoint(200, memory_percent=93), None, {}, "more memory", "memory_percent"),
        (
            None,
            None,
            {"gpu_memory_utilization_raw": 95.0},
            "more GPU memory",
            "gpu_memory_percent",
        ),
        (
            None,
            None,
            {"overhead_latency_ms": Latency(mean=80.0)},
            "keep payloads smaller",
            "overhead_latency_ms",
        ),
        (
            None,
            None,
            {"client_latency_ms": Latency(mean=300.0)},
            "from its own region",
            "network_latency_ms",
        ),
        (
            None,
            None,
            {"hottest_instance_percent": 85.0},
            "LEAST_OUTSTANDING_REQUESTS",
            "hottest_instance_percent",
        ),
        (
            ExactEndpoint(200, growth=0.5),
            sizing_for(1000, model_latency_p99_ms=70.0),
            {},
            "faster instance type",
            "model_latency_p99_ms",
        ),
    ],
)
def test_each_finding(endpoint, sizing, fields, words, figure):
    (found,) = [each for each in findings(endpoint, sizing, **fields) if words in each.advice]
    assert found.finding
    assert figure in found.figures


def test_errors_of_a_saturated_fleet_ask_for_more_hardware():
    sizing = sizing_for(1000, prior_counts={"ml.m5.xlarge": 4})
    (found,) = [each for each in findings(sizing=sizing) if "saturated" in each.finding]
    assert "more or bigger instances" in found.advice
    assert found.figures["error_percent"] == pytest.approx(40)


def burstable(instance_type, tps):
    sizing = sizing_for(tps, prices={instance_type: 0.1})
    return [each for each in findings(sizing=sizing) if "credits" in each.advice]


def test_a_burstable_type_over_its_baseline_does_not_last():
    (found,) = burstable("ml.t2.medium", 130)
    assert found.figures == {
        "utilization_percent": pytest.approx(65),
        "baseline_utilization_percent": 20.0,
    }
    assert "holds 20 % of its CPU for good, and the target takes 65 %" in found.finding


def test_an_unknown_burstable_type_is_warned_of_as_well():
    (found,) = burstable("ml.t9.medium", 130)
    assert found.figures == {"utilization_percent": pytest.approx(65)}


@pytest.mark.parametrize("instance_type, tps", [("ml.t2.large", 50), ("ml.trn1.2xlarge", 130)])
def test_what_lasts_is_not_warned_of(instance_type, tps):
    assert burstable(instance_type, tps) == []


def test_no_smaller_type_is_advised_where_latency_keeps_instances_idle():
    # p99 = 50 * (1 + 0.5 * load / (1 - load)) <= 55 up to load 0.167.
    sizing = sizing_for(1000, model_latency_p99_ms=55.0)
    found = findings(ExactEndpoint(200, growth=0.5), sizing)
    assert any("faster instance type" in each.advice for each in found)
    assert not any("smaller instance type" in each.advice for each in found)
