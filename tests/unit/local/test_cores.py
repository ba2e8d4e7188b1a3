"""Which cores are the instances', and what is said where they are too few."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from local.endpoint import cores
from local.endpoint.core_pool import CorePool
from local.endpoint.cores import CapacityError, Division


@pytest.mark.parametrize(
    "count, for_the_rest", [(1, 1), (2, 1), (4, 1), (7, 1), (8, 2), (16, 4), (64, 16)]
)
def test_every_core_is_someones_and_a_quarter_is_left_to_the_load(
    count: int, for_the_rest: int
) -> None:
    division = Division.of(range(count))
    assert [*division.for_the_rest, *division.for_instances] == list(range(count))
    assert len(division.for_the_rest) == for_the_rest


def test_too_few_cores_are_told_with_how_many_are_needed_and_there() -> None:
    division = Division.of([4, 5])
    division.check(1, 1)
    with pytest.raises(CapacityError) as caught:
        division.check(2, 1)
    assert str(caught.value) == (
        "2 instances with 1 core each and the load generator with 1 need 3 cores;"
        " this machine has 2"
    )
    with pytest.raises(CapacityError, match=r"1 instance with 2 cores each .* need 3 cores; .* 2$"):
        division.check(1, 2)


def test_a_pool_counts_the_instances_of_all_endpoints() -> None:
    pool = CorePool(Division.of(range(4)))
    pool.reserve("a", 1, 1)
    pool.reserve("b", 1, 2)
    pool.reserve("a", 1, 1)  # once more is no more
    with pytest.raises(CapacityError, match="2 instances with 1 core each, other endpoints with 2"):
        pool.reserve("a", 2, 1)
    pool.release("b")
    pool.reserve("a", 3, 1)


def test_cores_are_waited_for_until_whoever_has_them_gives_them_back() -> None:
    async def scenario() -> None:
        pool = CorePool(Division.of(range(3)))
        first = await pool.take(2)
        assert first == (1, 2)
        second = asyncio.create_task(pool.take(2))
        await asyncio.sleep(0)
        assert not second.done()
        await pool.give_back(first)
        assert await second == (1, 2)

    asyncio.run(scenario())


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux")
def test_every_thread_is_kept_to_the_cores() -> None:
    before = cores.of_this_process()
    one = {min(before)}
    leave, seen = threading.Event(), []

    def look() -> None:
        leave.wait()
        seen.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        cores.keep_to(one)
        leave.set()
        thread.join()
        assert seen == [one]
        assert cores.of_this_process() == one
    finally:
        leave.set()
        cores.keep_to(before)
    assert cores.of_this_process() == before


def test_a_system_that_cannot_do_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    with pytest.raises(CapacityError, match="can't keep processes to cores of their own"):
        cores.of_this_process()
