"""Model servers as real processes: kept running, kept to their cores, and none left behind.

What is waited for is an event, never a time.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local.endpoint.behaviour import Serve, ServedModel
from local.endpoint.client import EndpointCapacityError, EndpointServer, EndpointServerError
from local.endpoint.container import ContainerProcess, StartupError
from local.endpoint.endpoint import EndpointStatus, Payload, Reply
from local.endpoint.process_tree import busy_seconds, busy_seconds_of, usage

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")

ROOT = Path(__file__).parents[2]
SERVER = Path(__file__).with_name("model_server.py")
CORE = max(os.sched_getaffinity(0))
#: Longer than anything takes, however busy the machine is: what then has not happened never will.
NEVER_SECONDS = 120.0


def a_model(*arguments: str, **environment: str) -> ServedModel:
    return ServedModel(
        serve=Serve(
            command=[sys.executable, "-IS", SERVER.name, *arguments], environment=environment
        ),
        folder=str(SERVER.parent),
    )


class Running(ContainerProcess):
    """A model server, and what is known of it."""

    def __init__(self, model: ServedModel, log: Path | None = None) -> None:
        super().__init__(model, cores=(CORE,), log=log, on_change=self._changed)
        self._change = asyncio.Event()

    def _changed(self) -> None:
        self._change.set()

    async def until_ready(self, ready: bool = True) -> None:
        async with asyncio.timeout(NEVER_SECONDS):
            while self.is_ready is not ready:
                self._change.clear()
                await self._change.wait()

    async def told(self, **asked: Any) -> dict[str, Any]:
        reply = await self.asked(**asked)
        assert reply.status == 200, reply
        told: dict[str, Any] = json.loads(reply.body)
        return told

    async def asked(self, **asked: Any) -> Reply:
        return await self.invoke(Payload(json.dumps(asked).encode(), (), "application/json"))


@asynccontextmanager
async def running(model: ServedModel, log: Path | None = None) -> AsyncIterator[Running]:
    container = Running(model, log)
    try:
        await container.start(NEVER_SECONDS)
        yield container
    finally:
        await container.stop()


def is_alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + NEVER_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def wait_until_gone(*pids: int) -> None:
    await asyncio.to_thread(wait_until, lambda: not any(map(is_alive, pids)))


class TestOneServer:
    def test_it_gets_the_port_its_environment_and_the_request(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_SESSION_TOKEN", "of someone")

        async def scenario() -> None:
            async with running(a_model("{port}", LEVEL="3 {port}")) as server:
                payload = Payload(b"{}", (("Accept", "text/csv"),), "application/x-json")
                reply = await server.invoke(payload)
            assert (reply.status, reply.content_type) == (200, "application/vnd.told+json")
            told = json.loads(reply.body)
            assert told["path"] == "/invocations"
            assert told["headers"]["Content-Type"] == "application/x-json"
            assert told["headers"]["Accept"] == "text/csv"
            assert told["cores"] == [CORE]
            assert told["folder"] == str(SERVER.parent)
            environment = told["environment"]
            port = environment["PORT"]
            assert environment["SAGEMAKER_BIND_TO_PORT"] == port
            assert told["headers"]["Host"] == f"127.0.0.1:{port}"
            assert environment["LEVEL"] == "3 {port}"  # only the command's is a place for it
            assert environment["PATH"] == os.environ["PATH"]
            assert not [name for name in environment if name.startswith("AWS_")]

        asyncio.run(scenario())

    def test_one_that_dies_is_started_again_and_requests_meanwhile_fail(self) -> None:
        async def scenario() -> None:
            async with running(a_model()) as server:
                first = (await server.told())["pid"]
                reply = await server.asked(die=True)
                assert reply.status == 503
                await server.until_ready(False)
                assert (await server.asked()).status == 503
                await server.until_ready()
                assert (await server.told())["pid"] != first

        asyncio.run(scenario())

    def test_one_that_was_killed_with_its_guard_leaves_nothing_and_is_started_again(self) -> None:
        async def scenario() -> None:
            async with running(a_model(CHILD="1")) as server:
                first = await server.told()
                os.kill(psutil.Process(first["pid"]).ppid(), signal.SIGKILL)
                await server.until_ready(False)
                await wait_until_gone(first["pid"], first["child"])
                await server.until_ready()

        asyncio.run(scenario())

    def test_one_that_ends_at_once_fails_with_its_code_and_last_words(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            log = tmp_path / "e-1.log"
            with pytest.raises(StartupError) as caught:
                async with running(a_model(EXIT="3"), log):
                    pass
            said = str(caught.value)
            assert "model_server.py ended with exit code 1 before it answered a ping" in said
            assert said.endswith(f"in {log}: no model to be found, ends with 3")
            assert log.read_text().count("no model to be found") == 3

        asyncio.run(scenario())

    def test_one_that_is_no_program_fails(self, tmp_path: Path) -> None:
        async def scenario() -> None:
            model = ServedModel(serve=Serve(command=["./nothing"]), folder=str(tmp_path))
            with pytest.raises(StartupError, match=r"\./nothing ended .* No such file"):
                async with running(model, tmp_path / "log"):
                    pass

        asyncio.run(scenario())

    def test_one_that_answers_no_ping_fails_once_the_limit_is_over(self) -> None:
        async def scenario() -> None:
            server = Running(a_model(PINGS="never"))
            with pytest.raises(StartupError, match=r"GET /ping was not answered .* 0\.3 s"):
                await server.start(0.3)
            await server.stop()
            assert not psutil.Process().children(recursive=True)

        asyncio.run(scenario())

    def test_stopping_ends_what_it_started_even_what_hears_no_signal(self) -> None:
        async def scenario() -> None:
            async with running(a_model(CHILD="1")) as server:
                told = await server.told()
                assert is_alive(told["child"])
            await wait_until_gone(told["pid"], told["child"])

        asyncio.run(scenario())

    def test_a_request_under_way_when_it_is_stopped_is_answered_with_an_error(
        self, tmp_path: Path
    ) -> None:
        async def scenario() -> None:
            async with running(a_model()) as server:
                await server.told()
                asked = asyncio.create_task(server.asked(wait_for=str(tmp_path / "never")))
                await asyncio.sleep(0)
            assert (await asked).status == 503

        asyncio.run(scenario())


class TestUsage:
    def test_cpu_of_the_whole_tree_counts_and_goes_on_counting_after_a_restart(self) -> None:
        async def scenario() -> None:
            async with running(a_model()) as server:
                told = await server.told(burn_cpu_seconds=0.3)
                assert told["cpu_seconds"] >= 0.3
                before = server.usage(with_memory=True)
                assert before.cpu_seconds >= 0.28  # which is counted in ticks of 10 ms
                assert before.memory_bytes > 1_000_000
                await server.asked(die=True)
                await server.until_ready(False)
                assert server.usage().cpu_seconds >= before.cpu_seconds
                await server.until_ready()
                told = await server.told(burn_cpu_seconds=0.3)
                assert server.usage().cpu_seconds >= before.cpu_seconds + 0.28

        asyncio.run(scenario())

    def test_what_a_child_used_stays_counted_when_it_has_ended(self) -> None:
        burn = "import time\nwhile time.process_time() < 0.3: pass"
        parent = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import subprocess, sys\n"
                f"subprocess.run([sys.executable, '-c', {burn!r}])\n"
                "print('waited for', flush=True)\n"
                "sys.stdin.read()",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        with parent:
            assert parent.stdout is not None
            parent.stdout.readline()
            assert usage(parent.pid, with_memory=False).cpu_seconds >= 0.28
            parent.communicate()
        assert usage(parent.pid, with_memory=True).cpu_seconds == 0

    def test_a_core_is_busy_for_as_long_as_the_system_says(self) -> None:
        stat = (
            "cpu  11 22 33 44 55 66 77 88 99 0\n"
            "cpu0 100 20 30 9000 500 4 5 1 70 8\n"
            "cpu3 1 1 1 1 1 1 1 1 1 1\n"
            "cpu12 200 0 0 9000 0 0 0 0 0 0\n"
            "intr 1 2 3\n"
        )
        ticks = os.sysconf("SC_CLK_TCK")
        assert busy_seconds_of(stat, (0, 12)) == (160 + 200) / ticks
        # Older systems count less of it.
        assert busy_seconds_of("cpu0 100 20 30 9000 500 4 5\n", (0,)) == 159 / ticks
        before = busy_seconds([CORE])
        assert before > 0
        assert busy_seconds([CORE]) >= before


@contextmanager
def served(model: ServedModel) -> Iterator[tuple[EndpointServer, Any]]:
    """Endpoint ``e`` of one such server, and a client of SageMaker Runtime."""
    with EndpointServer.start(cloudwatch_url=None, region="us-east-1") as server:
        server.create(
            "e",
            variant_name="AllTraffic",
            instance_type="ml.test",
            vcpus=1,
            instance_count=1,
            behaviour=model,
            routing="RANDOM",
            metric_period_seconds=60,
        )
        wait_until(lambda: status(server) is not EndpointStatus.CREATING)
        runtime = boto3.client(
            "sagemaker-runtime",
            region_name="us-east-1",
            endpoint_url=server.url,
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=Config(retries={"total_max_attempts": 1}),
        )
        yield server, runtime


def status(server: EndpointServer) -> EndpointStatus | None:
    state = server.status("e")
    return state and state.status


needs_two_cores = pytest.mark.skipif(
    len(os.sched_getaffinity(0)) < 2, reason="needs a core for the server and one for all else"
)


@needs_two_cores
class TestEndpoint:
    def test_any_client_gets_the_servers_own_answers(self) -> None:
        before = os.sched_getaffinity(0)
        with served(a_model()) as (server, runtime):
            answer = runtime.invoke_endpoint(
                EndpointName="e", Body=b"{}", ContentType="a/b", CustomAttributes="trace=1"
            )
            told = json.loads(answer["Body"].read())
            assert answer["ContentType"] == "application/vnd.told+json"
            assert told["headers"]["X-Amzn-SageMaker-Custom-Attributes"] == "trace=1"
            assert told["headers"]["Content-Type"] == "a/b"
            # Its core is its own: nobody else of us may use it.
            assert set(told["cores"]).isdisjoint(os.sched_getaffinity(0))
            assert set(told["cores"]).isdisjoint(os.sched_getaffinity(server.pid))
            with pytest.raises(ClientError) as caught:
                runtime.invoke_endpoint(EndpointName="e", Body=b'{"status": 507}')
            assert caught.value.response["Error"]["Code"] == "ModelError"
            assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 424
            assert caught.value.response["OriginalStatusCode"] == 507
            assert '"path": "/invocations"' in caught.value.response["OriginalMessage"]
            with pytest.raises(EndpointCapacityError, match=r"need \d+ cores; this machine has"):
                server.scale("e", len(before))
            server.delete("e")
            wait_until(lambda: not is_alive(told["pid"]))
        assert os.sched_getaffinity(0) == before

    def test_one_that_does_not_start_fails_the_endpoint_with_the_reason(self) -> None:
        with served(a_model(EXIT="1")) as (server, _):
            state = server.status("e")
            assert state is not None
            assert state.status is EndpointStatus.FAILED
            assert "did not pass the ping health check: " in str(state.failure_reason)
            assert "ended with exit code 1" in str(state.failure_reason)

    def test_it_can_be_deleted_while_it_starts(self) -> None:
        with EndpointServer.start(cloudwatch_url=None, region="us-east-1") as server:
            server.create(
                "e",
                variant_name="AllTraffic",
                instance_type="ml.test",
                vcpus=1,
                instance_count=1,
                behaviour=a_model(PINGS="never"),
                routing="RANDOM",
                metric_period_seconds=60,
            )
            wait_until(lambda: len(psutil.Process(server.pid).children(recursive=True)) == 2)
            with pytest.raises(EndpointServerError, match="endpoint e is Creating"):
                server.scale("e", 1)
            server.delete("e")
            assert server.status("e") is None
            wait_until(lambda: not psutil.Process(server.pid).children(recursive=True))

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    @pytest.mark.parametrize("whose", ["starter", "server"])
    def test_nothing_is_left_however_it_ends(self, whose: str, number: signal.Signals) -> None:
        starter = subprocess.Popen(
            [sys.executable, "-c", STARTER, str(SERVER)], cwd=ROOT, stdout=subprocess.PIPE
        )
        with starter:
            assert starter.stdout is not None
            server, *pids = json.loads(starter.stdout.readline())
            assert all(map(is_alive, pids))
            os.kill(server if whose == "server" else starter.pid, number)
            if whose == "starter":
                starter.wait()
            wait_until(lambda: not any(map(is_alive, [server, *pids])))
            starter.kill()


#: Starts an endpoint, prints the ids of its processes and sleeps.
STARTER = """
import json, signal, sys, time, urllib.request
from local.endpoint.behaviour import Serve, ServedModel
from local.endpoint.client import EndpointServer
signal.signal(signal.SIGINT, signal.SIG_DFL)
model = ServedModel(
    serve=Serve(command=[sys.executable, "-IS", sys.argv[1]], environment={"CHILD": "1"})
)
with EndpointServer.start(cloudwatch_url=None, region="us-east-1") as server:
    server.create(
        "e", variant_name="v", instance_type="ml.test", vcpus=1, instance_count=1,
        behaviour=model, routing="RANDOM", metric_period_seconds=60,
    )
    while server.status("e").status != "InService":
        time.sleep(0.02)
    url = server.url + "/endpoints/e/invocations"
    told = json.load(urllib.request.urlopen(urllib.request.Request(url, b"{}", method="POST")))
    print(json.dumps([server.pid, told["pid"], told["child"]]), flush=True)
    time.sleep(600)
"""
