"""Each verdict, and which comes first where several would fit."""

from __future__ import annotations

import pytest

from sizing.load_test.observation import Latency, Verdict
from sizing.load_test.verdict import container_saturates, judge, trusted_saturation, verdict
from sizing.search.search import baseline
from tests.unit.sizing.exact_endpoint import ExactEndpoint, sizing_for


@pytest.fixture
def seen():
    sizing = sizing_for(130)
    (first, *_) = ExactEndpoint(200).run(baseline(sizing, sizing.candidates[0])).observations
    return first.model_copy(
        update={"offered_tps": 130.0, "achieved_tps": 130.0, "utilization_percent": 65.0}
    )


TARGET = sizing_for(130, model_latency_p99_ms=100.0).request.target


@pytest.mark.parametrize(
    "fields, expected",
    [
        ({}, Verdict.IN_BAND),
        ({"utilization_percent": 60.0}, Verdict.IN_BAND),
        ({"utilization_percent": 70.0}, Verdict.IN_BAND),
        ({"utilization_percent": 59.9}, Verdict.UNDERUSED),
        ({"utilization_percent": 70.1}, Verdict.OVERLOADED),
        ({"utilization_percent": 170.0}, Verdict.OVERLOADED),
        ({"error_percent": 0.1}, Verdict.IN_BAND),
        ({"error_percent": 0.2, "utilization_percent": 20.0}, Verdict.CONTAINER_LIMITED),
        ({"error_percent": 0.2, "utilization_percent": 97.0}, Verdict.OVERLOADED),
        (
            {"error_percent": 0.2, "hottest_instance_percent": 96.0},
            Verdict.OVERLOADED,
        ),
        ({"achieved_tps": 128.6, "utilization_percent": 20.0}, Verdict.CONTAINER_LIMITED),
        # Fewer came by chance, and all of them were answered; or as many, and some were not.
        ({"achieved_tps": 125.0, "requests_due": 7500}, Verdict.IN_BAND),
        ({"achieved_tps": 125.0, "requests_due": 7620}, Verdict.CONTAINER_LIMITED),
        ({"model_latency_ms": Latency(p99=100.1)}, Verdict.LATENCY_LIMITED),
        ({"model_latency_ms": Latency(p99=100.0)}, Verdict.IN_BAND),
        ({"model_latency_ms": Latency()}, Verdict.LATENCY_LIMITED),
        (
            {"model_latency_ms": Latency(p99=100.1), "utilization_percent": 90.0},
            Verdict.OVERLOADED,
        ),
        ({"client_limited": "late", "utilization_percent": 90.0}, Verdict.CLIENT_LIMITED),
        ({"client_limited": "late", "invalid": "counts disagree"}, Verdict.INVALID),
    ],
)
def test_each_verdict(seen, fields, expected):
    assert verdict(TARGET, seen.model_copy(update=fields)) is expected


class TestSaturation:
    @staticmethod
    def record(endpoint):
        sizing = sizing_for(50)
        return sizing, endpoint.run(baseline(sizing, sizing.candidates[0]))

    def test_a_container_with_one_worker_on_four_vcpus(self):
        sizing, record = self.record(ExactEndpoint(1000 / 15, served_share=0.25))
        assert container_saturates(record, sizing.request.target)
        verdicts = {each.verdict for each in judge(sizing, record).observations}
        assert verdicts == {Verdict.CONTAINER_LIMITED}

    def test_hardware_that_is_used_up(self):
        sizing, record = self.record(ExactEndpoint(1000 / 15))
        assert not container_saturates(record, sizing.request.target)
        assert [each.verdict for each in judge(sizing, record).observations] == [
            Verdict.UNDERUSED,
            Verdict.IN_BAND,
            Verdict.OVERLOADED,
            Verdict.OVERLOADED,
            Verdict.OVERLOADED,
            Verdict.OVERLOADED,  # the target itself: 50 of 66.7 TPS
        ]

    def test_a_client_that_was_used_up_does_not_speak_against_the_container(self):
        sizing, record = self.record(ExactEndpoint(1000 / 15, client_tps=15))
        assert trusted_saturation(record) is None
        assert not container_saturates(record, sizing.request.target)
