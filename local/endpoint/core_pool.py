"""The cores that are set apart for instances, as endpoints come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from local.endpoint.cores import Division


class CorePool:
    """Gives out the cores for instances."""

    def __init__(self, division: Division) -> None:
        self._division = division
        self._free = list(division.for_instances)
        self._reserved: dict[str, int] = {}
        self._given_back = asyncio.Condition()

    def reserve(self, endpoint_name: str, instances: int, vcpus: int) -> None:
        """Count an endpoint's instances in, in the place of those it had.

        Raises:
            CapacityError: All endpoints' instances together would not fit.
        """
        others = sum(self._reserved.values()) - self._reserved.get(endpoint_name, 0)
        self._division.check(instances, vcpus, others)
        self._reserved[endpoint_name] = instances * vcpus

    def release(self, endpoint_name: str) -> None:
        """Count an endpoint no more. Its cores are free once they are given back."""
        self._reserved.pop(endpoint_name, None)

    async def take(self, number: int) -> tuple[int, ...]:
        """Take some cores, once so many are free."""
        async with self._given_back:
            await self._given_back.wait_for(lambda: len(self._free) >= number)
            taken, self._free = self._free[:number], self._free[number:]
        return tuple(taken)

    async def give_back(self, cores: Collection[int]) -> None:
        """Give cores back that were taken."""
        async with self._given_back:
            self._free = sorted([*self._free, *cores])
            self._given_back.notify_all()
