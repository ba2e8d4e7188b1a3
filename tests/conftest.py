"""What all tests have in common: their environment, and how ``make test`` shares them out."""

from __future__ import annotations

import os
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

from local.environment import OF_NO_ACCOUNT, without_aws

#: Marks tests that offer or measure load.
_LOAD = "load"

# Before any test module makes a client: what a test needs of AWS, it sets itself.
for _name in os.environ.keys() - without_aws(os.environ).keys():
    del os.environ[_name]
os.environ.update(OF_NO_ACCOUNT)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first, so that no process is left with one; load at the very end, alone."""
    items.sort(
        key=lambda item: (
            item.get_closest_marker(_LOAD) is not None,
            item.get_closest_marker("slow") is None,
        )
    )


class _Sharing(LoadFileScheduling):  # type: ignore[misc] # pytest-xdist's types are not exported
    """A file's tests stay together, as they share fixtures.

    All files that offer or measure load are one, which is run when the other processes have ended:
    what is measured beside other tests is those tests.
    """

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        # Whoever shares out has not imported the tests, so the marker is looked for in the text.
        text = (self.config.rootpath / file).read_text("utf-8")
        return _LOAD if f"pytest.mark.{_LOAD}" in text else file

    def _reschedule(self, node: WorkerController) -> None:
        if list(self.workqueue) == [_LOAD] and len(self.nodes) > 1:
            if any(not other.shutting_down for other in self.nodes if other is not node):
                node.shutdown()
            return
        super()._reschedule(node)

    def remove_node(self, node: WorkerController) -> str | None:
        crashed: str | None = super().remove_node(node)
        for other in self.nodes:
            self._reschedule(other)
        return crashed


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Sharing:
    """pytest-xdist asks which process is to run what."""
    return _Sharing(config, log)
