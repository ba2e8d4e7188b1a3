"""What all tests have in common: their environment, and how ``make test`` shares them out."""

from __future__ import annotations

import os

import pytest

from local.environment import OF_NO_ACCOUNT, without_aws

# Before any test module makes a client: what a test needs of AWS, it sets itself.
for _name in os.environ.keys() - without_aws(os.environ).keys():
    del os.environ[_name]
os.environ.update(OF_NO_ACCOUNT)


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests together, as they share fixtures, and all that measure load too.

    The slow ones go first: what is left at the end is short, and no process waits for another.
    """
    for item in items:
        group = "load" if item.get_closest_marker("load") else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
