"""What all tests have in common: an environment without AWS, and how much they must cover."""

from __future__ import annotations

import gc
import json
import os
import resource
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import coverage
import pytest
from hypothesis import HealthCheck, is_hypothesis_test, settings

from local.environment import OF_MOTO, OF_NO_ACCOUNT, without_aws
from tests import measuring

TESTS = Path(__file__).parent

# Before any test module makes a client: what a test needs of AWS, it sets itself.
_KEPT = without_aws(os.environ)
# Nor does it depend on how wide and colourful programs print here, on the repository that a hook of
# git's runs for, or on what Locust is told.
_PRINTING = {"CLICOLOR_FORCE", "COLUMNS", "FORCE_COLOR", "LINES", "NO_COLOR", "TTY_COMPATIBLE"}
for _name in tuple(os.environ):
    if _name not in _KEPT or _name in _PRINTING or _name.startswith(("GIT_", "LOCUST_")):
        del os.environ[_name]
os.environ.update(OF_NO_ACCOUNT | OF_MOTO)
# Far from UTC, and half an hour beside it: a time that was taken for this machine's own shows.
os.environ["TZ"] = "Asia/Kolkata"
time.tzset()
# A mac allows 256 open files unless asked; a test may have a server and its clients in one process.
_, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, _hard), _hard))


#: Folders by how long one of their files may take. A worker runs whole files, and what begins last
#: should be short.
LONGEST_FIRST = ("faults", "statemachine", "local", "deployment", "cli", "unit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest first."""
    order = {folder: place for place, folder in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path.relative_to(TESTS).parts[0], len(order)))


# How long an example takes says something of the machine alone.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


# --- Coverage -----------------------------------------------------------------------------------

#: Lines and branches that a run of all tests must reach, percent.
LEAST_COVERAGE = {"functions": 92.0, "functions/sizing": 95.0, "locust_image": 92.0}
_COVERED = pytest.StashKey[dict[str, float]]()


def pytest_collection_finish() -> None:
    """All that is imported stays: nobody need look for garbage in it again and again.

    From now on, only some tests are measured.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    measuring.hold()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Measure functions/ while a test runs that is of it."""
    examples = is_hypothesis_test(getattr(item, "obj", None))
    with measuring.traced(item.path, examples=examples):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Iterator[None]:
    """Fail a run of all tests that covers too little, once pytest-cov has the data together."""
    result = yield
    config = session.config
    if not hasattr(config, "workerinput") and config.pluginmanager.hasplugin("_cov"):
        config.stash[_COVERED] = covered = _covered(config.rootpath)
        is_whole = config.args_source is config.ArgsSource.TESTPATHS and not config.option.keyword
        session.testsfailed += is_whole and any(
            covered[folder] < least for folder, least in LEAST_COVERAGE.items()
        )
    return result


def _covered(root: Path) -> dict[str, float]:
    """Lines and branches that were run, percent, by folder."""
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        measured = coverage.Coverage(data_file=root / ".coverage")
        measured.load()
        measured.json_report(outfile=report.name)
        files = json.load(report)["files"]
    covered = {}
    for folder in LEAST_COVERAGE:
        sums = [file["summary"] for name, file in files.items() if name.startswith(f"{folder}/")]
        run = sum(each["covered_lines"] + each.get("covered_branches", 0) for each in sums)
        of = sum(each["num_statements"] + each.get("num_branches", 0) for each in sums)
        # Of a part of the tests, some cover nothing of it.
        covered[folder] = 100 * run / of if of else 0.0
    return covered


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the coverage before pytest's closing line."""
    covered = terminalreporter.config.stash.get(_COVERED, {})
    if covered:
        terminalreporter.section("coverage of lines and branches")
    for folder, percent in covered.items():
        least = LEAST_COVERAGE[folder]
        terminalreporter.line(
            f"{folder:20}{percent:6.1f} %, at least {least:g} of a whole run",
            red=percent < least,
        )
