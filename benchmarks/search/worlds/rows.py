"""A world's row: its endpoints drawn, sized and judged, a chunk of them in each process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from random import Random

from benchmarks.search.worlds.bench import search
from benchmarks.search.worlds.drawing import BY_NAME, World, draw
from benchmarks.search.worlds.score import Score, judgement, told

#: Endpoints that a process sizes at a time.
_CHUNK = 10
COLUMNS = (
    "endpoints",
    "right",
    "over_upper_edge",
    "cost_regret",
    "mean_load_tests",
    "worst_load_tests",
    "interval_covers",
    "not_met_though_served",
    "autoscaling_over",
)


@dataclass
class Row:
    """A world's figures, and its worst answers in words."""

    name: str
    score: Score = field(default_factory=Score)
    #: How bad, and what happened; the worst first.
    misses: list[tuple[float, str]] = field(default_factory=list)


def rows(
    pool: Executor, worlds: Sequence[World], *, seed: int, endpoints: int, explain: int
) -> Iterator[Row]:
    """The rows of worlds, in their order."""
    parts = [(world.name, first) for world in worlds for first in range(0, endpoints, _CHUNK)]
    work = partial(_part, seed=seed, end=endpoints, explain=explain)
    row = Row(worlds[0].name) if worlds else None
    for part in pool.map(work, parts):
        if row is not None and part.name != row.name:
            yield row
            row = Row(part.name)
        if row is not None:
            row.score.join(part.score)
            row.misses = _worst([*row.misses, *part.misses], explain)
    if row is not None:
        yield row


def _part(where: tuple[str, int], *, seed: int, end: int, explain: int) -> Row:
    """Some endpoints of a world."""
    name, first = where
    row = Row(name)
    for index in range(first, min(first + _CHUNK, end)):
        case = draw(Random(f"{seed}/{name}/{index}"), BY_NAME[name])
        outcome = search(case, Random(f"{seed}/{name}/{index}/search"))
        judged = judgement(case, outcome)
        row.score.add(outcome, judged)
        if explain and (judged.wrong is not None or judged.autoscaling_over):
            row.misses.append((judged.badness, told(index, case, outcome, judged)))
    row.misses = _worst(row.misses, explain)
    return row


def _worst(misses: Sequence[tuple[float, str]], most: int) -> list[tuple[float, str]]:
    return sorted(misses, key=lambda each: -each[0])[:most]


def heading() -> str:
    """The table's first line."""
    return f"{'world':18}" + "".join(f"{_short(name):>12}" for name in COLUMNS)


def shown(row: Row) -> str:
    """A row of the table, and what was wrong."""
    line = row.score.line(row.name)
    figures = "".join(
        f"{value:12.4f}" if isinstance(value := line[name], float) else f"{value:>12}"
        for name in COLUMNS
    )
    causes = ", ".join(f"{count} {cause}" for cause, count in row.score.misses.most_common())
    return f"{row.name:18}{figures}" + (f"\n{'':20}{causes}" if causes else "")


def _short(name: str) -> str:
    return {
        "over_upper_edge": "over edge",
        "cost_regret": "regret",
        "mean_load_tests": "load tests",
        "worst_load_tests": "worst",
        "interval_covers": "covers",
        "not_met_though_served": "not met",
        "autoscaling_over": "scaling over",
    }.get(name, name)
