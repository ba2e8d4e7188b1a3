"""botocore's data files, read once for all sessions of a process.

Each session reads them anew, and moto makes sessions of its own: until a sizing had started, EC2's
model, the largest, was read six times, which with the others took a quarter of the CPU time.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from botocore.loaders import JSONFileLoader

_load = vars(JSONFileLoader)["load_file"]


@cache
def _loaded(path: str) -> Any:
    """A file's content. What botocore merges into it is the same each time."""
    return _load(JSONFileLoader(), path)


def share() -> None:
    """Let all sessions made from now on have the same data."""
    setattr(JSONFileLoader, "load_file", lambda _, path: _loaded(path))  # noqa: B010
