"""Imports Locust as it is harmless to the other tests of the same process; measures coverage."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.measuring import measured

with pytest.MonkeyPatch.context() as _patch:
    # Else Locust puts gevent's sockets and threads in the place of the standard library's.
    _patch.setenv("LOCUST_SKIP_MONKEY_PATCH", "1")
    import locust as locust


@pytest.fixture(scope="module", autouse=True)
def _measured() -> Iterator[None]:
    with measured():
        yield


@pytest.fixture(autouse=True)
def _heap_of_all_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of a load test tidies up its own heap; here it is that of all tests."""
    monkeypatch.setattr(gc, "collect", lambda: 0)
    monkeypatch.setattr(gc, "freeze", lambda: None)
