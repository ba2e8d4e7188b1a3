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


def test_gpu_memory_that_fills_up_with_the_load_is_told():
    def change(record: LoadTestRecord) -> LoadTestRecord:
        most = max(each.utilization_percent for each in record.observations)
        steps = tuple(
            each.model_copy(
                update={"gpu_memory_utilization_raw": 60 + 35 * each.utilization_percent / most}
            )
            for each in record.observations
        )
        return record.model_copy(update={"observations": steps})

    answer, _ = search(sizing_for(1000), ExactEndpoint(200), change)
    (found,) = answer.candidates[0].diagnosis
    assert "more GPU memory" in found.advice
    assert found.figures == {"gpu_memory_percent": 95.0}


def test_gpu_memory_that_a_framework_takes_at_start_tells_nothing():
    assert findings(gpu_memory_utilization_raw=96.0) == ()


@pytest.mark.parametrize("idle_percent, told", [(0, False), (25, False), (60, True), (100, True)])
def test_utilization_that_does_not_follow_the_load_is_told(idle_percent, told):
    # onnxruntime's threads, without work, showed 45 % of a core at 10 TPS and 62 % at 36.
    def change(record: LoadTestRecord) -> LoadTestRecord:
        steps = tuple(
            each.model_copy(
                update={
                    "utilization_percent": idle_percent
                    + (1 - idle_percent / 100) * each.utilization_percent
                }
            )
            for each in record.observations
        )
        return record.model_copy(update={"observations": steps})

    answer, _ = search(sizing_for(1000), ExactEndpoint(200), change)
    found = [each for each in answer.candidates[0].diagnosis if "spinning" in each.advice]
    assert bool(found) is told
    if told:
        assert found[0].figures["low_tps_per_instance"] == pytest.approx(100)
        assert found[0].figures["low_utilization_percent"] > 79


@pytest.mark.parametrize("limits", [{}, {"model_latency_p99_ms": 100.0}])
def test_errors_of_one_instance_of_a_fleet_are_no_saturation(limits):
    """One of the instances fails all of its requests."""

    def dead(record):
        n = record.instance_count
        if n < 4:
            return record
        steps = (
            seen.model_copy(
                update={
                    "achieved_tps": seen.achieved_tps * (1 - 1 / n),
                    "error_percent": 100 / n,
                    "errors": {"model_error_500": round(60 * seen.offered_tps / n)},
                }
            )
            for seen in record.observations
        )
        return record.model_copy(update={"observations": tuple(steps)})

    answer, _ = search(sizing_for(1000, **limits), ExactEndpoint(200), dead)
    (outcome,) = answer.candidates
    assert outcome.limiting_resource == "errors"
    told = [each.finding for each in outcome.diagnosis]
    assert any("12.5 % errors at only" in each for each in told)
    assert not any("saturates" in each for each in told)


class TestBurstable:
    """They are sized on what they hold for good, since a load test of minutes runs on credits."""

    @staticmethod
    def sized(instance_type, tps):
        sizing = sizing_for(tps, prices={instance_type: 0.1})
        answer, _ = search(sizing, ExactEndpoint(200))
        return answer.candidates[0]

    @pytest.mark.parametrize(
        "instance_type, needed, utilization",
        [
            ("ml.t2.medium", 5, 13),  # 20 % of the CPU for good, of which 65 % are used
            ("ml.t2.large", 4, 16.25),  # 30 %: three would be at 21.7 of 21 %
            ("ml.trn1.2xlarge", 1, 65),
        ],
    )
    def test_they_need_as_many_as_their_baseline_takes(self, instance_type, needed, utilization):
        outcome = self.sized(instance_type, 130)
        assert outcome.instance_count == needed
        assert outcome.observation.utilization_percent == pytest.approx(utilization)

    def test_the_band_that_follows_is_told(self):
        (found,) = self.sized("ml.t2.medium", 130).diagnosis
        assert "holds 20 % of its CPU for good" in found.finding
        assert "12 to 14 % is the band" in found.finding
        assert self.sized("ml.t2.medium", 130).in_band

    def test_one_whose_baseline_is_not_known_is_warned_of(self):
        (found,) = self.sized("ml.t9.medium", 130).diagnosis
        assert found.figures == {"utilization_percent": pytest.approx(65)}
        assert "credits" in found.advice


def test_no_smaller_type_is_advised_where_latency_keeps_instances_idle():
    # p99 = 50 * (1 + 0.5 * load / (1 - load)) <= 55 up to load 0.167.
    sizing = sizing_for(1000, model_latency_p99_ms=55.0)
    found = findings(ExactEndpoint(200, growth=0.5), sizing)
    assert any("faster instance type" in each.advice for each in found)
    assert not any("smaller instance type" in each.advice for each in found)
