"""How a load test fails."""

from __future__ import annotations


class LoadTestFailed(Exception):
    """The load test cannot go on; ``name`` is the error's name in ``load_test.json``."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name
