"""An endpoint of model servers, with servers that are made up and a clock that is turned."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from local.endpoint.behaviour import Serve, ServedModel
from local.endpoint.container import Container, StartupError
from local.endpoint.core_pool import CorePool
from local.endpoint.cores import CapacityError, Division
from local.endpoint.endpoint import (
    EndpointBusyError,
    EndpointSpec,
    EndpointStatus,
    Payload,
    Reply,
    Routing,
)
from local.endpoint.figures import PeriodFigures, latency_seconds
from local.endpoint.process_tree import Usage
from local.endpoint.served import ServedEndpoint
from local.endpoint.simulation import Simulation

START = 1_800_000_000.0
PERIOD = 10
PAYLOAD = Payload(b"{}", (), "application/json")
GIB = 1024**3


class FakeContainer(Container):
    """A server that is ready, busy and gone when it is told to be."""

    def __init__(self, cores: tuple[int, ...], on_change: Callable[[], None]) -> None:
        self.cores = cores
        self.on_change = on_change
        self.ready = False
        self.stopped = False
        self.starting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.asked: list[asyncio.Future[Reply]] = []
        self.cpu_seconds = 0.0
        self.memory_bytes = 0

    @property
    def is_ready(self) -> bool:
        return self.ready

    async def start(self, limit_seconds: float) -> None:
        await self.starting
        self.become(True)

    async def invoke(self, payload: Payload) -> Reply:
        self.asked.append(asyncio.get_running_loop().create_future())
        return await self.asked[-1]

    async def stop(self) -> None:
        self.stopped = True
        self.become(False)

    def usage(self, *, with_memory: bool = False) -> Usage:
        return Usage(self.cpu_seconds, self.memory_bytes if with_memory else 0)

    def become(self, ready: bool) -> None:
        self.ready = ready
        self.on_change()


class World:
    """One endpoint of such servers."""

    def __init__(
        self,
        *,
        instance_count: int = 1,
        cores: int = 9,
        vcpus: int = 1,
        vcpus_of_type: int = 1,
        routing: Routing = "LEAST_OUTSTANDING_REQUESTS",
    ) -> None:
        self.now = START
        self.periods: list[PeriodFigures] = []
        self.simulation = Simulation(START, self.periods.append)
        self.containers: list[FakeContainer] = []
        #: Seconds for which each core has been busy.
        self.busy = dict.fromkeys(range(cores), 100.0)
        self.pool = CorePool(Division(tuple(range(1, cores)), (0,)))
        self.spec = EndpointSpec(
            endpoint_name="e",
            variant_name="AllTraffic",
            instance_type="ml.test",
            vcpus=vcpus_of_type,
            instance_count=instance_count,
            behaviour=ServedModel(serve=Serve(command=["server"], vcpus=vcpus)),
            routing=routing,
            metric_period_seconds=PERIOD,
            memory_mib=2048,
            in_phase=True,
        )
        self.endpoint = self.simulation.add("e", self.make)
        self.replies: list[Reply] = []

    def make(self) -> ServedEndpoint:
        return ServedEndpoint(
            self.simulation,
            self.spec,
            self.simulation.on_period,
            pool=self.pool,
            make_container=self._make_container,
            clock=self.clock,
            busy_seconds=lambda cores: sum(self.busy[core] for core in cores),
        )

    def _make_container(
        self, number: int, cores: tuple[int, ...], on_change: Callable[[], None]
    ) -> Container:
        self.containers.append(FakeContainer(cores, on_change))
        return self.containers[-1]

    def clock(self) -> float:
        self.simulation.advance(self.now)
        return self.now

    def at(self, seconds: float) -> None:
        self.now = START + seconds
        self.clock()

    async def bring_up(self) -> None:
        """Have all servers that are starting become ready."""
        await settle()
        for each in self.containers:
            if not each.starting.done():
                each.starting.set_result(None)
        await settle()

    async def invoke(self) -> None:
        self.endpoint.take(self.clock(), PAYLOAD, self.replies.append)
        await settle()

    def under_way(self) -> list[int]:
        return [sum(not each.done() for each in one.asked) for one in self.containers]


async def settle() -> None:
    """Let every task go on until it waits for something else."""
    for _ in range(20):
        await asyncio.sleep(0)


def play(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


class TestLife:
    def test_in_service_once_all_servers_are_ready(self) -> None:
        async def scenario() -> None:
            world = World(instance_count=2, vcpus=2)
            await settle()
            assert world.endpoint.status is EndpointStatus.CREATING
            assert [each.cores for each in world.containers] == [(1, 2), (3, 4)]
            world.containers[0].starting.set_result(None)
            await settle()
            assert world.endpoint.status is EndpointStatus.CREATING
            await world.bring_up()
            assert world.endpoint.status is EndpointStatus.IN_SERVICE
            assert world.endpoint.instance_count == 2
            await world.endpoint.close()

        play(scenario)

    def test_one_that_does_not_start_fails_the_endpoint_and_ends_the_others(self) -> None:
        async def scenario() -> None:
            world = World(instance_count=2)
            await settle()
            world.containers[0].starting.set_result(None)
            world.containers[1].starting.set_exception(StartupError("no ping within 3 s"))
            await settle()
            assert world.endpoint.status is EndpointStatus.FAILED
            assert world.endpoint.failure_reason == (
                "The primary container for production variant AllTraffic did not pass the ping "
                "health check: no ping within 3 s"
            )
            assert all(each.stopped for each in world.containers)
            world.pool.reserve("another", 8, 1)  # none of its cores is counted any more
            assert len(await world.pool.take(8)) == 8

        play(scenario)

    def test_scaling_out_and_in_again_keeps_the_first_and_frees_the_cores(self) -> None:
        async def scenario() -> None:
            world = World(cores=3)
            await world.bring_up()
            world.endpoint.scale(world.now, 2)
            assert world.endpoint.status is EndpointStatus.UPDATING
            with pytest.raises(EndpointBusyError, match="endpoint e is Updating"):
                world.endpoint.scale(world.now, 1)
            await settle()
            assert world.endpoint.instance_count == 1  # serves on meanwhile
            await world.bring_up()
            assert (world.endpoint.status, world.endpoint.instance_count) == ("InService", 2)
            world.endpoint.scale(world.now, 1)
            await settle()
            assert (world.endpoint.status, world.endpoint.instance_count) == ("InService", 1)
            assert [each.stopped for each in world.containers] == [False, True]
            world.endpoint.scale(world.now, 2)
            await world.bring_up()
            assert world.containers[2].cores == world.containers[1].cores
            await world.endpoint.close()
            assert all(each.stopped for each in world.containers)

        play(scenario)

    def test_a_scale_out_that_fails_falls_back_to_the_former_count(self) -> None:
        async def scenario() -> None:
            world = World(cores=3)
            await world.bring_up()
            world.endpoint.scale(world.now, 2)
            await settle()
            world.containers[1].starting.set_exception(StartupError("out of memory"))
            await settle()
            assert (world.endpoint.status, world.endpoint.instance_count) == ("InService", 1)
            world.pool.reserve("another", 1, 1)  # the core is free again
            await world.endpoint.close()

        play(scenario)

    def test_more_instances_than_cores_are_refused_and_change_nothing(self) -> None:
        async def scenario() -> None:
            world = World(cores=2)
            await world.bring_up()
            with pytest.raises(CapacityError, match="need 3 cores; this machine has 2"):
                world.endpoint.scale(world.now, 2)
            assert (world.endpoint.status, world.endpoint.instance_count) == ("InService", 1)
            await world.endpoint.close()
            with pytest.raises(CapacityError):
                World(cores=2, instance_count=2)

        play(scenario)

    def test_deleted_while_its_servers_start_it_leaves_none(self) -> None:
        async def scenario() -> None:
            world = World(instance_count=2)
            await settle()
            world.simulation.delete("e")
            await settle()
            assert all(each.stopped for each in world.containers)
            assert len(await world.pool.take(8)) == 8

        play(scenario)

    def test_a_server_that_is_scaled_in_answers_what_it_has_got_first(self) -> None:
        async def scenario() -> None:
            world = World(instance_count=2)
            await world.bring_up()
            await world.invoke()
            await world.invoke()
            assert world.under_way() == [1, 1]
            world.endpoint.scale(world.now, 1)
            await world.invoke()
            assert world.under_way() == [2, 1]
            assert not world.containers[1].stopped
            world.containers[1].asked[0].set_result(Reply(200, "text/plain", b"late"))
            await settle()
            assert world.containers[1].stopped
            assert [reply.body for reply in world.replies] == [b"late"]
            for each in world.containers[0].asked:
                each.set_result(Reply(200, "text/plain", b""))
            await world.endpoint.close()

        play(scenario)


class TestRouting:
    @pytest.mark.parametrize("routing", ["LEAST_OUTSTANDING_REQUESTS", "RANDOM"])
    def test_no_request_goes_to_a_server_that_is_down(self, routing: Routing) -> None:
        async def scenario() -> None:
            world = World(instance_count=3, routing=routing)
            await world.bring_up()
            world.containers[1].become(False)
            for _ in range(40):
                await world.invoke()
            assert world.under_way()[1] == 0
            world.containers[1].become(True)
            for _ in range(40):
                await world.invoke()
            assert world.under_way()[1] > 5
            answer_all(world)
            await world.endpoint.close()

        play(scenario)

    def test_where_all_are_down_the_server_says_so(self) -> None:
        async def scenario() -> None:
            world = World()
            await world.bring_up()
            world.containers[0].become(False)
            await world.invoke()
            world.containers[0].asked[0].set_result(Reply(503, "text/plain", b"is down"))
            await settle()
            assert world.endpoint.status is EndpointStatus.IN_SERVICE
            assert [each.status for each in world.replies] == [503]
            await world.endpoint.close()

        play(scenario)


def answer_all(world: World) -> None:
    for container in world.containers:
        for each in container.asked:
            if not each.done():
                each.set_result(Reply(200, "text/plain", b""))


class TestFigures:
    def test_cpu_is_what_the_servers_used_of_their_cores_in_the_period(self) -> None:
        async def scenario() -> None:
            world = World(instance_count=2, vcpus=2, vcpus_of_type=2)
            await settle()
            world.containers[0].cpu_seconds = 5.0  # of its start, which is no work
            await world.bring_up()
            world.at(PERIOD)
            world.containers[0].cpu_seconds += 13.0
            world.containers[1].cpu_seconds += 20.0
            world.at(2 * PERIOD)
            world.containers[1].cpu_seconds += 2.5
            world.at(3 * PERIOD)
            assert [[each.cpu_utilization for each in p.instances] for p in world.periods] == [
                [0, 0],
                [pytest.approx(130), pytest.approx(200)],
                [0, pytest.approx(25)],
            ]
            await world.endpoint.close()

        play(scenario)

    def test_a_server_with_all_its_cores_busy_is_an_instance_with_all_its_vcpus_busy(self) -> None:
        async def scenario() -> None:
            world = World(vcpus=1, vcpus_of_type=4)
            await world.bring_up()
            world.at(PERIOD)
            world.containers[0].cpu_seconds = 7.5
            world.at(2 * PERIOD)
            assert world.periods[-1].instances[0].cpu_utilization == pytest.approx(300)
            await world.endpoint.close()

        play(scenario)

    def test_what_is_read_late_is_divided_by_the_time_it_took(self) -> None:
        async def scenario() -> None:
            world = World()
            await world.bring_up()
            world.at(PERIOD)
            world.containers[0].cpu_seconds = 5.0
            world.at(2 * PERIOD + 2.5)  # the router was busy
            assert world.periods[-1].instances[0].cpu_utilization == pytest.approx(40)
            world.containers[0].cpu_seconds += 3.0
            world.at(3 * PERIOD)
            assert world.periods[-1].instances[0].cpu_utilization == pytest.approx(40)
            await world.endpoint.close()

        play(scenario)

    def test_an_instance_reports_from_its_first_full_period_on(self) -> None:
        async def scenario() -> None:
            world = World()
            world.at(PERIOD + 3)
            await world.bring_up()
            world.at(3 * PERIOD)
            assert [len(each.instances) for each in world.periods] == [0, 0, 1]
            await world.endpoint.close()

        play(scenario)

    def test_memory_is_a_share_of_the_types(self) -> None:
        async def scenario() -> None:
            world = World()
            await world.bring_up()
            world.containers[0].memory_bytes = GIB // 2
            world.at(PERIOD)
            assert world.periods[0].instances[0].memory_utilization == 25
            assert world.periods[0].instances[0].gpu_utilization is None
            await world.endpoint.close()

        play(scenario)

    def test_answers_count_by_status_and_take_the_servers_time(self) -> None:
        async def scenario() -> None:
            world = World()
            await world.bring_up()
            for status in (200, 201, 404, 500, 503, 0):
                await world.invoke()
                world.now += 0.5
                world.containers[0].asked[-1].set_result(Reply(status, "text/plain", b""))
                await settle()
            world.at(PERIOD)
            [period] = world.periods
            assert (period.invocations, period.model_errors) == (6, 4)
            assert (period.errors_4xx, period.errors_5xx) == (1, 2)
            assert period.by_instance_count == {1: 6}
            [(bucket, requests)] = period.model_latency.items()
            assert requests == 6
            assert latency_seconds(bucket) == pytest.approx(0.5, rel=0.01)
            assert period.instances[0].concurrent_requests_max == 1
            assert [each.status for each in world.replies] == [200, 201, 404, 500, 503, 0]
            await world.endpoint.close()

        play(scenario)

    def test_live_figures_are_of_the_last_seconds(self) -> None:
        async def scenario() -> None:
            world = World(vcpus_of_type=2)
            await world.bring_up()
            for second in range(1, 4):
                world.at(second)
                world.containers[0].cpu_seconds += 0.5
            world.at(4)
            live = world.endpoint.live(world.now)
            assert live.utilization_percent == pytest.approx(50)
            assert live.cpu_percent == (pytest.approx(100),)
            await world.endpoint.close()

        play(scenario)

    def test_what_others_use_of_the_servers_cores_is_seen(self) -> None:
        async def scenario() -> None:
            world = World(instance_count=2, vcpus=2)
            await world.bring_up()
            world.at(1)
            assert world.endpoint.live(world.now).others_percent == 0
            for container, others in zip(world.containers, (0.4, 0.0), strict=True):
                container.cpu_seconds += 1.2
                world.busy[container.cores[0]] += 0.6 + others
                world.busy[container.cores[1]] += 0.6
            world.busy[0] += 1.0  # where nobody's server is
            world.at(2)
            assert world.endpoint.live(world.now).others_percent == pytest.approx(10)
            world.at(3)
            assert world.endpoint.live(world.now).others_percent == 0
            world.containers[0].cpu_seconds += 1  # counted before the core's own time
            world.at(4)
            assert world.endpoint.live(world.now).others_percent == 0
            await world.endpoint.close()

        play(scenario)
