"""The server process: what it publishes, how it is controlled, and that it never outlives us."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
from moto.server import ThreadedMotoServer

from local.endpoint.behaviour import ModelBehaviour
from local.endpoint.client import EndpointServer, EndpointServerError
from local.endpoint.method import wait_for_status
from local.endpoint.open_loop import offer

ROOT = Path(__file__).parents[2]
PERIOD = 2
#: Longer than anything here takes on any machine, seconds.
PATIENCE = 120.0


def create(server: EndpointServer, name: str, **fields: Any) -> None:
    server.create(
        name,
        **{
            "variant_name": "AllTraffic",
            "instance_type": "ml.m5.xlarge",
            "vcpus": 4,
            "instance_count": 1,
            "behaviour": ModelBehaviour(startup_seconds=0),
            "routing": "LEAST_OUTSTANDING_REQUESTS",
            "metric_period_seconds": 60,
            **fields,
        },
    )


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def eventually(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if holds():
                return True
        time.sleep(0.02)
    return False


@pytest.fixture
def cloudwatch_url() -> Iterator[str]:
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


def test_metrics_of_every_period_reach_cloudwatch(cloudwatch_url: str) -> None:
    cloudwatch = boto3.client(
        "cloudwatch",
        region_name="us-east-1",
        endpoint_url=cloudwatch_url,
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )

    def query(namespace: str, metric: str, statistic: str) -> dict[int, float]:
        answer = cloudwatch.get_metric_data(
            MetricDataQueries=[
                {
                    "Id": "q",
                    "MetricStat": {
                        "Metric": {
                            "Namespace": namespace,
                            "MetricName": metric,
                            "Dimensions": [
                                {"Name": "EndpointName", "Value": "measured"},
                                {"Name": "VariantName", "Value": "AllTraffic"},
                            ],
                        },
                        "Period": 1,
                        "Stat": statistic,
                    },
                }
            ],
            StartTime=datetime.fromtimestamp(started - 60, UTC),
            EndTime=datetime.fromtimestamp(time.time() + 60, UTC),
        )["MetricDataResults"][0]
        return {
            int(at.timestamp()): value
            for at, value in zip(answer["Timestamps"], answer["Values"], strict=True)
        }

    started = time.time()
    with EndpointServer.start(cloudwatch_url=cloudwatch_url, region="us-east-1") as server:
        create(
            server,
            "measured",
            instance_count=3,
            vcpus=1000,  # so many that nothing waits, however unsteadily this test may send
            metric_period_seconds=PERIOD,
            behaviour=ModelBehaviour(cpu_ms=24, cpu_ms_cv=0, startup_seconds=0),
        )
        wait_for_status(server, "measured", PATIENCE)
        load = asyncio.run(offer(server.url, "measured", b"{}", tps=300, seconds=2.2 * PERIOD))
        server.delete("measured")
    sent = int(300 * 2.2 * PERIOD)
    assert load.statuses == {200: sent}

    invocations = query("AWS/SageMaker", "Invocations", "Sum")
    assert all(start % PERIOD == 0 for start in invocations)
    # The last, unfinished period is handed over when the endpoint is deleted: nothing is lost.
    assert sum(invocations.values()) == sent
    latency = query("AWS/SageMaker", "ModelLatency", "Average")
    # 24 ms of CPU and 5 ms of waiting each, however late this test sent them.
    assert list(latency.values()) == pytest.approx([29_000] * len(latency), rel=0.05)
    # Each instance publishes on its own phase, and the first time after a period in service.
    reported = query("/aws/sagemaker/Endpoints", "CPUUtilization", "SampleCount")
    assert sum(reported.values()) >= 3
    busiest = query("/aws/sagemaker/Endpoints", "CPUUtilization", "Maximum")
    assert max(busiest.values()) > 0


def test_a_cloudwatch_that_is_gone_disturbs_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with EndpointServer.start(cloudwatch_url="http://127.0.0.1:9", region="us-east-1") as server:
        create(server, "e", metric_period_seconds=1, behaviour=ModelBehaviour(startup_seconds=0))
        wait_for_status(server, "e", PATIENCE)
        load = asyncio.run(offer(server.url, "e", b"{}", tps=10, seconds=3))
        assert load.statuses == {200: 30}
        server.delete("e")
    assert "metrics of e at" in capfd.readouterr().err


def test_refusals_say_why() -> None:
    with EndpointServer.start(cloudwatch_url=None, region="us-east-1") as server:
        assert server.status("nobody") is None
        server.delete("nobody")
        with pytest.raises(EndpointServerError, match="endpoint nobody does not exist"):
            server.live("nobody")
        with pytest.raises(EndpointServerError, match="endpoint nobody does not exist"):
            server.scale("nobody", 2)
        create(server, "e", behaviour=ModelBehaviour(startup_seconds=3600))
        with pytest.raises(EndpointServerError, match="endpoint e exists already"):
            create(server, "e")
        with pytest.raises(EndpointServerError, match="endpoint e is Creating"):
            server.scale("e", 2)
        create(server, "f", behaviour=ModelBehaviour(startup_seconds=0, fail_startup="no ping"))
        assert eventually(lambda: str(getattr(server.status("f"), "status", "")) == "Failed")
        state = server.status("f")
        assert state is not None
        assert state.failure_reason == "no ping"


def test_many_threads_get_each_their_own_answer() -> None:
    with EndpointServer.start(cloudwatch_url=None, region="us-east-1") as server:
        for count in range(1, 6):
            create(server, f"e{count}", instance_count=count)
            wait_for_status(server, f"e{count}", PATIENCE)
        wrong: list[object] = []

        def ask(count: int) -> None:
            for _ in range(50):
                state = server.status(f"e{count}")
                if state is None or state.instance_count != count:
                    wrong.append((count, state))

        threads = [threading.Thread(target=ask, args=(count,)) for count in range(1, 6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


def test_more_connections_than_the_usual_limit_of_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 1024:
        pytest.skip(f"this machine allows {hard} open files at the most")
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, soft), hard))
    try:
        server = EndpointServer.start(cloudwatch_url=None, region="us-east-1")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with server, contextlib.ExitStack() as connections:
        create(server, "e", behaviour=ModelBehaviour(cpu_ms=1, startup_seconds=0))
        split = urlsplit(server.url)
        for _ in range(400):
            connections.enter_context(socket.create_connection((split.hostname, split.port)))
        assert asyncio.run(offer(server.url, "e", b"{}", tps=20, seconds=0.5)).statuses == {200: 10}


def test_stop_leaves_no_process() -> None:
    server = EndpointServer.start(cloudwatch_url=None, region="us-east-1")
    pid = server.pid
    assert is_alive(pid)
    server.stop()
    server.stop()
    assert not is_alive(pid)
    with pytest.raises(EndpointServerError, match="was stopped"):
        server.status("e")


def test_a_server_that_was_killed_is_reported() -> None:
    with EndpointServer.start(cloudwatch_url=None, region="us-east-1") as server:
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(EndpointServerError, match="is gone, exit code -9"):
            server.status("e")


def test_a_port_in_use_is_an_error() -> None:
    with EndpointServer.start(cloudwatch_url=None, region="us-east-1") as server:
        port = int(server.url.rpartition(":")[2])
        with pytest.raises(EndpointServerError, match=f"on port {port}: .*in use"):
            EndpointServer.start(cloudwatch_url=None, region="us-east-1", port=port)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_server_dies_with_its_parent(number: signal.Signals) -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import time\n"
            "from local.endpoint.client import EndpointServer\n"
            "server = EndpointServer.start(cloudwatch_url=None, region='us-east-1')\n"
            "print(server.pid, flush=True)\n"
            "time.sleep(60)\n",
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.send_signal(number)
        parent.wait()
    assert eventually(lambda: not is_alive(pid))
