"""The method's own findings come out of the local endpoint (docs/method.md)."""

from __future__ import annotations

import asyncio

import pytest

from local.endpoint.behaviour import DEFAULT_MODELS_FILE, load_models
from local.endpoint.client import EndpointServer
from local.endpoint.method import INSTANCE_TYPE, MODEL, Row, measure, wait_in_service

pytestmark = [pytest.mark.load, pytest.mark.slow]

VCPUS = 48
ENDPOINT = "method"
#: A client that was held up so long did not offer a constant rate: what it saw does not count.
LATE_CLIENT_MS = 100


def observe(server: EndpointServer, instance_count: int, tps: float) -> Row:
    state = server.status(ENDPOINT)
    assert state is not None
    if state.instance_count != instance_count:
        server.scale(ENDPOINT, instance_count)
        wait_in_service(server, ENDPOINT, 5)
    for _ in range(3):
        row = asyncio.run(measure(server, ENDPOINT, tps, settle_seconds=1.2, steady_seconds=2.5))
        if row.lag_ms < LATE_CLIENT_MS:
            break
    return row


def test_one_instance_saturates_at_200_tps_five_at_1000_and_eight_are_in_the_band() -> None:
    method = load_models(DEFAULT_MODELS_FILE).behaviour(MODEL, INSTANCE_TYPE)
    with EndpointServer.start(cloudwatch_url=None, region="us-east-1") as server:
        server.create(
            ENDPOINT,
            variant_name="AllTraffic",
            instance_type=INSTANCE_TYPE,
            vcpus=VCPUS,
            instance_count=1,
            behaviour=method.model_copy(update={"startup_seconds": 0.1}),
            routing="LEAST_OUTSTANDING_REQUESTS",
            metric_period_seconds=10,
        )
        wait_in_service(server, ENDPOINT, 5)

        # Beyond its capacity: 200 a second are answered at 4,800 %, the rest are 5xx.
        one = observe(server, 1, 350)
        assert 194 < one.answered_tps < 206
        assert one.cpu_percent > 4790
        assert 135 < one.error_tps < 165

        five = observe(server, 5, 1000)
        assert five.answered_tps > 960
        assert five.utilization_percent > 97

        eight = observe(server, 8, 1000)
        assert 960 < eight.answered_tps < 1040
        assert eight.error_tps == 0
        assert 60 < eight.utilization_percent < 65
        assert eight.p50_ms < five.p50_ms < one.p50_ms
