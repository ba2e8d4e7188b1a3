"""Measures what tests of the load generator cover: it runs on greenlets, and in its own processes.

To follow greenlets, coverage asks at each call which of them runs. That makes all else several
times slower, so it is done for the load generator alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import coverage

ROOT = Path(__file__).parent.parent


def _coverage() -> coverage.Coverage:
    return coverage.Coverage(
        data_file=ROOT / ".coverage",
        data_suffix=True,
        config_file=ROOT / "pyproject.toml",
        source=[str(ROOT / "locust_image")],
        concurrency=["thread", "gevent"],
    )


@contextmanager
def measured() -> Iterator[None]:
    """Measure what runs in this process meanwhile, if the tests' coverage is measured."""
    usual = coverage.Coverage.current()
    if usual is None:
        yield
        return
    usual.stop()
    ours = _coverage()
    ours.start()
    try:
        yield
    finally:
        ours.stop()
        ours.save()
        usual.start()


def environment() -> dict[str, str]:
    """What a process of the load generator is told to measure itself, if the tests are."""
    if coverage.Coverage.current() is None:
        return {}
    # Read by what coverage puts into every environment that it is installed in.
    return {"COVERAGE_PROCESS_CONFIG": _coverage().config.serialize()}
