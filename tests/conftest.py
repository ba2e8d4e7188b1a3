"""What all tests have in common: their environment, and how ``make test`` shares them out."""

from __future__ import annotations

import os
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

from local.environment import OF_NO_ACCOUNT, without_aws

# Before any test module makes a client: what a test needs of AWS, it sets itself.
for _name in os.environ.keys() - without_aws(os.environ).keys():
    del os.environ[_name]
os.environ.update(OF_NO_ACCOUNT)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first: what is left at the end is short, and no process waits for another."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


class _Sharing(LoadFileScheduling):  # type: ignore[misc] # pytest-xdist's types are not exported
    """A file's tests stay together, as they share fixtures; so do all files that measure load."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        # Whoever shares out has not imported the tests, so the marker is looked for in the text.
        measures = "pytest.mark.load" in (self.config.rootpath / file).read_text("utf-8")
        return "load" if measures else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Sharing:
    """pytest-xdist asks which process is to run what."""
    return _Sharing(config, log)
