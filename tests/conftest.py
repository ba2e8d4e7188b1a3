"""What all tests have in common: their environment, and how ``make test`` shares them out."""

from __future__ import annotations

import os
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

from local.environment import OF_NO_ACCOUNT, without_aws

#: Marks tests that measure load, and those that only offer some. The two may run beside each other.
_LOAD = ("load", "offers_load")

# Before any test module makes a client: what a test needs of AWS, it sets itself.
for _name in os.environ.keys() - without_aws(os.environ).keys():
    del os.environ[_name]
os.environ.update(OF_NO_ACCOUNT)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first, so that no process is left with one; load at the very end, alone.

    Load that another process of the machine disturbed is offered once more: what is broken fails
    twice. No other test has a second try.
    """
    items.sort(key=lambda item: (_is_load(item), item.get_closest_marker("slow") is None))
    for item in filter(_is_load, items):
        item.add_marker(pytest.mark.flaky(reruns=1))


def _is_load(item: pytest.Item) -> bool:
    return any(item.get_closest_marker(each) for each in _LOAD)


class _Sharing(LoadFileScheduling):  # type: ignore[misc] # pytest-xdist's types are not exported
    """A file's tests stay together, as they share fixtures.

    So do all files that measure load, and all that offer some. They run when all others are done:
    what is measured beside other tests is those tests.
    """

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        # Whoever shares out has not imported the tests, so the marker is looked for in the text.
        text = (self.config.rootpath / file).read_text("utf-8")
        return next((each for each in _LOAD if f"pytest.mark.{each}" in text), file)

    def _reschedule(self, node: WorkerController) -> None:
        if not self.workqueue or not set(self.workqueue) <= set(_LOAD):
            super()._reschedule(node)
            return
        staying = [each for each in self.nodes if not each.shutting_down]
        if len(staying) > len(self.workqueue) and node in staying:
            node.shutdown()
        elif staying == self.nodes and all(map(self._is_nearly_done, staying)):
            for each in staying:
                self._assign_work_unit(each)

    def _is_nearly_done(self, node: WorkerController) -> bool:
        # A process keeps its last test until it knows the next one.
        return bool(self._pending_of(self.assigned_work[node]) <= 2)

    def remove_node(self, node: WorkerController) -> str | None:
        crashed: str | None = super().remove_node(node)
        for other in self.nodes:
            self._reschedule(other)
        return crashed


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Sharing:
    """pytest-xdist asks which process is to run what."""
    return _Sharing(config, log)
