"""The burst: when to double, when to stop, how long to look."""

from __future__ import annotations

import pytest

from load_generator.ledger import Second
from load_generator.saturation import (
    Stage,
    bounded,
    measured_seconds,
    next_concurrency,
    saturation,
)
from load_generator.spec import BurstSpec

BURST = BurstSpec(start_concurrency=48, max_concurrency=300, stage_seconds=3)


def stage(concurrency: int, tps: int, errors: int = 0, latency_ms: float | None = None) -> Stage:
    figures = Second()
    figures.succeeded = 2 * tps
    if latency_ms is not None:
        figures.latency.add([latency_ms / 1000] * figures.succeeded)
    if errors:
        figures.errors = {"throttled": errors}
    return Stage(concurrency, 100, 102, figures, None)


@pytest.mark.parametrize(
    "stages, expected",
    [
        ([], 48),
        ([stage(48, 100)], 96),
        ([stage(48, 100), stage(96, 200)], 192),
        ([stage(48, 100), stage(96, 200), stage(192, 390)], 300),
        # At the limit.
        ([stage(48, 100), stage(96, 200), stage(192, 390), stage(300, 600)], None),
        # Grows by less than five percent.
        ([stage(48, 200), stage(96, 209)], None),
        ([stage(48, 200), stage(96, 211)], 192),
        # Compared with the best so far, not the last.
        ([stage(48, 200), stage(96, 220), stage(192, 225)], None),
        # Errors appear: more than one in two hundred.
        ([stage(48, 100, errors=1)], 96),
        ([stage(48, 100, errors=2)], None),
        ([stage(48, 0, errors=500)], None),
        ([stage(48, 0)], None),
    ],
)
def test_concurrency_doubles_while_throughput_grows(
    stages: list[Stage], expected: int | None
) -> None:
    assert next_concurrency(BURST, stages) == expected


@pytest.mark.parametrize(
    "before, last, goes_on",
    [
        # Eight answers and nine: half as many again, or as many, by chance.
        ((4, 3_000), (4, 3_100), True),
        ((4, 3_000), (3, 3_100), True),
        # They take longer by as much as there are more of them.
        ((4, 3_000), (4, 6_000), False),
        # So much less is no chance.
        ((40, 3_000), (20, 3_100), False),
        # Nor is it of many.
        ((4_000, 30), (3_800, 32), False),
        ((4, None), (4, None), False),
    ],
)
def test_of_few_answers_it_is_the_latency_that_tells(
    before: tuple[int, float | None], last: tuple[int, float | None], goes_on: bool
) -> None:
    stages = [
        stage(concurrency, tps, latency_ms=latency)
        for concurrency, (tps, latency) in ((48, before), (96, last))
    ]
    assert (next_concurrency(BURST, stages) == 192) is goes_on


@pytest.mark.parametrize(
    "last, expected",
    [
        (stage(300, 600), True),
        (stage(300, 400), False),  # it grows by less than five percent
        (stage(300, 600, errors=20), False),  # errors appear
        (stage(300, 0), False),
        (stage(192, 390), False),  # it may go on
    ],
)
def test_a_burst_that_ends_while_the_rate_grows_was_bounded(last: Stage, expected: bool) -> None:
    assert bounded(BURST, [stage(48, 100), stage(96, 200), stage(150, 390), last]) is expected
    if last.concurrency == BURST.max_concurrency and last.achieved_tps:
        assert bounded(BURST, [last]) is (not last.figures.errors)


def test_the_burst_always_ends() -> None:
    stages: list[Stage] = []
    while (concurrency := next_concurrency(BURST, stages)) is not None:
        stages.append(stage(concurrency, 10 ** (len(stages) + 1)))
        assert len(stages) < 10
    assert stages[-1].concurrency == BURST.max_concurrency


def test_saturation_is_the_best_rate_of_successes() -> None:
    best = stage(96, 200, errors=100)
    assert saturation([stage(48, 190), best, stage(192, 150)]) is best
    assert saturation([]) is None
    assert saturation([stage(48, 0, errors=7)]) is None


@pytest.mark.parametrize(
    "start, latency_ms, expected",
    [
        (100.05, None, (101, 103)),
        (100.05, 20.0, (101, 103)),
        (100.05, 240.0, (101, 103)),
        # Settles for one and a half latencies, is measured for four.
        (100.05, 1_000.0, (102, 106)),
        (100.05, 10_000.0, (116, 156)),
        # A start late in a second leaves the settling its time.
        (100.5, 20.0, (102, 104)),
    ],
)
def test_a_stage_lasts_some_latencies(
    start: float, latency_ms: float | None, expected: tuple[int, int]
) -> None:
    assert measured_seconds(BURST, start, latency_ms) == expected
