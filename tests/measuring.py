"""Which tests are measured for what they cover: tracing makes all that runs up to twice as slow.

What tests cover of functions/ is what its unit tests do: a call through the embedded AWS, which
shows that the parts fit, says little of each. The load generator runs on greenlets and in its own
processes; to follow greenlets, coverage asks at each call which of them runs, so that it is done
for the load generator alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import coverage

ROOT = Path(__file__).parent.parent
UNIT_TESTS_OF_FUNCTIONS = tuple(
    ROOT / "tests" / "unit" / folder for folder in ("functions", "result", "sizing", "statemachine")
)

#: pytest-cov's, which has been started, if the tests are measured.
_of_functions: list[coverage.Coverage] = []


def hold() -> None:
    """Stop what measures functions/, if something does, until ``traced`` goes on.

    In a worker of xdist, pytest-cov starts two, of which the one on top is the worker's own.
    """
    while (usual := coverage.Coverage.current()) is not None:
        usual.stop()
        if not _of_functions:
            _of_functions.append(usual)


@contextmanager
def traced(test: Path, *, examples: bool) -> Iterator[None]:
    """Measure functions/ while a test runs, if it is one of those that count.

    Args:
        test: The test's file.
        examples: Whether it runs on hundreds of made-up examples, which cover what others do.
    """
    counts = not examples and any(map(test.is_relative_to, UNIT_TESTS_OF_FUNCTIONS))
    usual = [*_of_functions] if counts else []
    for each in usual:
        each.start()
    try:
        yield
    finally:
        for each in usual:
            each.stop()


def _of_load_generator() -> coverage.Coverage:
    return coverage.Coverage(
        data_file=ROOT / ".coverage",
        data_suffix=True,
        config_file=ROOT / "pyproject.toml",
        source=[str(ROOT / "locust_image")],
        concurrency=["thread", "gevent"],
    )


@contextmanager
def measured() -> Iterator[None]:
    """Measure what runs of the load generator in this process, if the tests are measured."""
    if not _of_functions:
        yield
        return
    ours = _of_load_generator()
    ours.start()
    try:
        yield
    finally:
        ours.stop()
        ours.save()


def environment() -> dict[str, str]:
    """What a process of the load generator is told to measure itself, if the tests are."""
    if not _of_functions and coverage.Coverage.current() is None:
        return {}
    # Read by what coverage puts into every environment that it is installed in.
    return {"COVERAGE_PROCESS_CONFIG": _of_load_generator().config.serialize()}
