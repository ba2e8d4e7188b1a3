"""How ``make test`` shares the tests out to its processes."""

from __future__ import annotations

import pytest


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests together, as they share fixtures, and all that measure load too.

    The slow ones go first: what is left at the end is short, and no process waits for another.
    """
    for item in items:
        group = "load" if item.get_closest_marker("load") else item.path.stem
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
