"""How well the search does: ``python -m benchmarks.search --seed 1``.

Draws simulated endpoints of worlds that misbehave (``worlds``), sizes them by the search, and
prints a row of a table for each world, then as many lines of JSON. Then it does the same in the
plain world (``world``), beside two baselines (``ways``): that is the last line. The same seed gives
the same figures.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[2] / "functions"))
sys.path.insert(0, str(Path(__file__).parents[2] / "locust_image"))

from benchmarks.search import world
from benchmarks.search.ways import Bench, Outcome, by_hand, plain_loop, search
from benchmarks.search.worlds import rows
from benchmarks.search.worlds.drawing import BY_NAME, WORLDS

WAYS: dict[str, Callable[[Bench], None]] = {
    "search": search,
    "plain loop": plain_loop,
    "by hand": by_hand,
}
WITH_PRIOR = "with prior"
LATENCY_BOUND = "p99 binds"
#: Endpoints that a process sizes at a time.
_CHUNK = 50
PLAIN = "plain"
_ENDPOINTS, _ENDPOINTS_OF_A_WORLD = 4000, 250


@dataclass
class Score:
    """Figures of one way to search, over all endpoints."""

    right: int = 0
    exact: int = 0
    over: int = 0
    regret: float = 0.0
    surplus: float = 0.0
    load_tests: int = 0
    worst: int = 0
    minutes: float = 0.0
    in_interval: int = 0
    endpoints: int = 0
    #: Endpoints done wrong, by cause.
    misses: Counter[str] = field(default_factory=Counter)

    def add(self, endpoint: world.Endpoint, needed: int, outcome: Outcome) -> bool:
        """Count one outcome; True if it is right."""
        self.endpoints += 1
        self.load_tests += len(outcome.load_tests)
        self.worst = max(self.worst, len(outcome.load_tests))
        self.minutes += outcome.instance_minutes
        cause = miss(endpoint, needed, outcome.answer)
        self.misses.update([cause] if cause else [])
        if outcome.answer is None:
            return False
        found = outcome.answer
        utilization = 100 * endpoint.utilization(endpoint.tps / found, found)
        self.right += cause is None
        self.exact += found == needed
        self.over += utilization > world.UPPER_EDGE + 1
        self.regret += max(found - needed, 0) / needed
        self.surplus += max(found - needed, 0)
        if outcome.interval is not None:
            self.in_interval += outcome.interval[0] <= needed <= outcome.interval[1]
        return cause is None

    def join(self, other: Score) -> None:
        """Take another part's outcomes in."""
        for each in fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            joined = max(mine, theirs) if each.name == "worst" else mine + theirs
            setattr(self, each.name, joined)

    def figures(self) -> dict[str, float]:
        """The figures by name."""
        n = self.endpoints
        return {
            "in_band_or_minimal": self.right / n,
            "exact": self.exact / n,
            "over_upper_edge": self.over / n,
            "cost_regret": self.regret / n,
            "instances_above_smallest": self.surplus / n,
            "mean_load_tests": self.load_tests / n,
            "worst_load_tests": self.worst,
            "instance_minutes": self.minutes / n,
            "needed_in_interval": self.in_interval / n,
        }


def miss(endpoint: world.Endpoint, needed: int, found: int | None) -> str | None:
    """Why a count is wrong; None if it is right: in the band and feasible, or the smallest."""
    if found is None:
        return "no answer"
    if found == needed:
        return None
    limit = "p99" if endpoint.latency_binds(needed) else "utilization"
    if endpoint.feasible(found):
        utilization = 100 * endpoint.utilization(endpoint.tps / found, found)
        return None if utilization >= world.LOWER_EDGE else f"{limit}: too many, under the band"
    more = 100 * endpoint.utilization(endpoint.tps / (found + 1), found + 1)
    where = "band" if more >= world.LOWER_EDGE else "under the band"
    return f"{limit}: too few, with one more {where}"


def part(first: int, *, seed: int, end: int, harder: bool, verbose: bool) -> dict[str, Score]:
    """Size the endpoints from ``first`` on, a chunk of them."""
    scores = {name: Score() for name in (*WAYS, WITH_PRIOR, LATENCY_BOUND)}
    for index in range(first, min(first + _CHUNK, end)):
        endpoint, needed = world.draw(Random(f"{seed}/{index}"), harder=harder)
        found = Outcome(None)
        for name, way in WAYS.items():
            bench = Bench(endpoint, Random(f"{seed}/{index}/{name}"))
            way(bench)
            right = scores[name].add(endpoint, needed, bench.outcome)
            if name == "search":
                found = bench.outcome
                if endpoint.latency_binds(needed):
                    scores[LATENCY_BOUND].add(endpoint, needed, found)
                if verbose and not right:
                    _tell(index, endpoint, needed, found)
        if found.answer is not None:
            bench = Bench(endpoint, Random(f"{seed}/{index}/prior"), prior=found)
            search(bench)
            scores[WITH_PRIOR].add(endpoint, needed, bench.outcome)
    return scores


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark and print its tables and its lines of JSON."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.search", description="How well the search does on simulated endpoints."
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--endpoints",
        type=int,
        help=f"endpoints of each world (default {_ENDPOINTS} of the plain one, "
        f"{_ENDPOINTS_OF_A_WORLD} of the others)",
    )
    parser.add_argument(
        "--world",
        action="append",
        choices=[*BY_NAME, PLAIN],
        metavar="NAME",
        help=f"only this world; may be repeated: {', '.join([*BY_NAME, PLAIN])}",
    )
    parser.add_argument(
        "--explain", type=int, default=0, metavar="K", help="tell of each world's K worst answers"
    )
    parser.add_argument(
        "--harder",
        action="store_true",
        help="p99s of the plain world also carry the sampling error of finitely many requests, "
        "and common noise",
    )
    parser.add_argument(
        "--verbose", action="store_true", help="show the plain world's endpoints done wrong"
    )
    arguments = parser.parse_args(argv)
    names = arguments.world or [*BY_NAME, PLAIN]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        _worlds(pool, names, arguments)
        if PLAIN in names:
            _plain(pool, arguments)


def _worlds(pool: ProcessPoolExecutor, names: list[str], arguments: argparse.Namespace) -> None:
    """The worlds that misbehave: a row and a line of JSON for each."""
    worlds = [each for each in WORLDS if each.name in names]
    if not worlds:
        return
    print(rows.heading())
    done = []
    for row in rows.rows(
        pool,
        worlds,
        seed=arguments.seed,
        endpoints=arguments.endpoints or _ENDPOINTS_OF_A_WORLD,
        explain=arguments.explain,
    ):
        print(rows.shown(row), flush=True)
        for _, miss in row.misses:
            print(miss, flush=True)
        done.append(row)
    for row in done:
        print(json.dumps(row.score.line(row.name)))


def _plain(pool: ProcessPoolExecutor, arguments: argparse.Namespace) -> None:
    """The plain world, beside two baselines."""
    scores = {name: Score() for name in (*WAYS, WITH_PRIOR, LATENCY_BOUND)}
    endpoints = arguments.endpoints or _ENDPOINTS
    work = partial(
        part,
        seed=arguments.seed,
        end=endpoints,
        harder=arguments.harder,
        verbose=arguments.verbose,
    )
    for scored in pool.map(work, range(0, endpoints, _CHUNK)):
        for name, score in scored.items():
            scores[name].join(score)
    _table(scores)
    print(json.dumps({**_line(scores), "seed": arguments.seed, "endpoints": endpoints}))


def _line(scores: dict[str, Score]) -> dict[str, float]:
    """The figures of the search, by the names the JSON line gives them."""
    ours, plain = scores["search"].figures(), scores["plain loop"].figures()
    prior = scores[WITH_PRIOR].figures()
    names = (
        "in_band_or_minimal",
        "exact",
        "over_upper_edge",
        "cost_regret",
        "mean_load_tests",
        "worst_load_tests",
    )
    line = {name: ours[name] for name in names}
    line["instance_minutes_vs_plain_loop"] = ours["instance_minutes"] / plain["instance_minutes"]
    line["instances_above_smallest"] = ours["instances_above_smallest"]
    line["mean_load_tests_with_prior"] = prior["mean_load_tests"]
    line["in_band_or_minimal_with_prior"] = prior["in_band_or_minimal"]
    return {name: round(value, 4) for name, value in line.items()}


def _tell(index: int, endpoint: world.Endpoint, needed: int, outcome: Outcome) -> None:
    found = outcome.answer or 1
    truth = 100 * endpoint.utilization(endpoint.tps / found, found)
    best = 100 * endpoint.utilization(endpoint.tps / needed, needed)
    tests = [plan.instance_count for plan in outcome.load_tests]
    print(
        f"#{index} needs {needed} ({best:.2f} %), found {outcome.answer} ({truth:.2f} %), "
        f"interval {outcome.interval}, load tests {tests}, {endpoint}"
    )


def _table(scores: dict[str, Score]) -> None:
    print(f"{'':28}" + "".join(f"{way:>14}" for way in scores))
    print(f"{'endpoints':28}" + "".join(f"{score.endpoints:14d}" for score in scores.values()))
    figures = [score.figures() for score in scores.values()]
    for name in figures[0]:
        print(f"{name:28}" + "".join(f"{each[name]:14.4f}" for each in figures))
    print("wrong, by cause:")
    for cause in sorted(set().union(*(score.misses for score in scores.values()))):
        counts = [score.misses[cause] for score in scores.values()]
        print(f"  {cause:40}" + "".join(f"{count:8d}" for count in counts))


if __name__ == "__main__":
    main()
