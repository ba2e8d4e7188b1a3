"""The method's own case on a local endpoint: saturate one instance, extrapolate, verify.

``python -m local.endpoint.method`` prints the table of docs/method.md, in about three minutes.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from statistics import fmean

import uvloop

from local.endpoint.behaviour import DEFAULT_MODELS_FILE, load_models
from local.endpoint.client import VARIANT_NAME, EndpointServer
from local.endpoint.endpoint import EndpointStatus
from local.endpoint.figures import LiveFigures
from local.endpoint.instance_types import processors
from local.endpoint.open_loop import offer

MODEL = "distilbert-base-uncased"
INSTANCE_TYPE = "ml.m5.12xlarge"
BODY = b'{"inputs": "I am super happy right now."}'
TARGET_TPS = 1000.0

#: Instance count and offered rate: below, at and over one instance's limit, then the target.
STEPS = ((1, 100.0), (1, 200.0), (1, 250.0), *((n, TARGET_TPS) for n in (5, 6, 7, 8, 9)))
SETTLE_SECONDS = 5.0
STEADY_SECONDS = 15.0

_ENDPOINT = "method"
_IN_SERVICE_SECONDS = 15.0


@dataclass(frozen=True)
class Row:
    """One step: means over the steady window."""

    instance_count: int
    offered_tps: float
    answered_tps: float
    error_tps: float
    #: CPUUtilization, mean over the instances.
    cpu_percent: float
    utilization_percent: float
    p50_ms: float
    p99_ms: float
    #: How late the latest request was sent: the client's own failing.
    lag_ms: float


async def measure(
    server: EndpointServer,
    endpoint_name: str,
    tps: float,
    settle_seconds: float,
    steady_seconds: float,
) -> Row:
    """Offer a constant rate, and observe the endpoint once it has settled."""
    end = settle_seconds + steady_seconds
    load = asyncio.create_task(offer(server.url, endpoint_name, BODY, tps, end))
    # Live figures are over the second before; the first full second of the window has to pass.
    await asyncio.sleep(settle_seconds + 1.5)
    live: list[LiveFigures] = []
    started = time.monotonic()
    while time.monotonic() - started < steady_seconds - 1.5:
        live.append(server.live(endpoint_name))
        await asyncio.sleep(0.5)
    result = await load
    state = server.status(endpoint_name)
    return Row(
        instance_count=state.instance_count if state else 0,
        offered_tps=tps,
        answered_tps=result.rate(200, settle_seconds, end),
        error_tps=result.rate(424, settle_seconds, end),
        cpu_percent=fmean(fmean(each.cpu_percent) for each in live),
        utilization_percent=fmean(each.utilization_percent for each in live),
        p50_ms=result.latency_ms(50, settle_seconds, end),
        p99_ms=result.latency_ms(99, settle_seconds, end),
        lag_ms=1000 * result.lag_seconds,
    )


def wait_for_status(
    server: EndpointServer,
    endpoint_name: str,
    timeout_seconds: float,
    status: EndpointStatus = EndpointStatus.IN_SERVICE,
) -> None:
    """Wait until an endpoint has a status.

    Raises:
        TimeoutError: It has not, after that time.
    """
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        state = server.status(endpoint_name)
        if state is not None and state.status is status:
            return
        time.sleep(0.02)
    raise TimeoutError(f"{endpoint_name} is not {status.value} after {timeout_seconds:g} s")


def main() -> int:
    """Print the table, in Markdown."""
    behaviour = load_models(DEFAULT_MODELS_FILE).behaviour(MODEL, INSTANCE_TYPE)
    vcpus = processors(INSTANCE_TYPE).vcpus
    print(
        "| instances | offered TPS | answered TPS | 5xx/s | CPUUtilization | of all vCPUs |"
        " p50 ms | p99 ms |"
    )
    print("|" + "---:|" * 8, flush=True)
    saturation = 0.0
    with EndpointServer.start(cloudwatch_url=None, region="us-east-1") as server:
        server.create(
            _ENDPOINT,
            variant_name=VARIANT_NAME,
            instance_type=INSTANCE_TYPE,
            vcpus=vcpus,
            instance_count=STEPS[0][0],
            behaviour=behaviour,
            routing="LEAST_OUTSTANDING_REQUESTS",
            metric_period_seconds=60,
        )
        for count, tps in STEPS:
            wait_for_status(server, _ENDPOINT, _IN_SERVICE_SECONDS)
            state = server.status(_ENDPOINT)
            if state is not None and state.instance_count != count:
                server.scale(_ENDPOINT, count)
                wait_for_status(server, _ENDPOINT, _IN_SERVICE_SECONDS)
            row = uvloop.run(measure(server, _ENDPOINT, tps, SETTLE_SECONDS, STEADY_SECONDS))
            print(
                f"| {row.instance_count} | {row.offered_tps:.0f} | {row.answered_tps:.1f}"
                f" | {row.error_tps:.1f} | {row.cpu_percent:.0f} %"
                f" | {row.utilization_percent:.1f} % | {row.p50_ms:.0f} | {row.p99_ms:.0f} |",
                flush=True,
            )
            if row.instance_count == 1:
                saturation = max(saturation, row.answered_tps)
    print(
        f"\nOne instance saturates at {saturation:.1f} TPS; {TARGET_TPS:.0f} TPS take"
        f" {TARGET_TPS / saturation:.2f} of them with nothing to spare."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
