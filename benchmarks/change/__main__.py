"""How well a change is told from chance: ``python -m benchmarks.change --seed 1``.

Simulated endpoints (``benchmarks.search.world``) are sized twice by the search, the second time
starting where the first ended, as every night does: once as they were, and once for each loss of
capacity, which makes every request cost more. Both results are compared by the code that ships.
It prints a line of JSON for each loss: the share of pairs of each kind, and of those that regressed
the share of pairs whose count stayed the same. The same seed gives the same figures.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "functions"))
sys.path.insert(0, str(Path(__file__).parents[2] / "locust_image"))

from benchmarks.search import world
from benchmarks.search.ways import Bench, Outcome
from sizing.load_test.observation import LoadTestRecord
from sizing.load_test.plan import LoadTestPlan
from sizing.result import change, history
from sizing.result.result import Ending, Execution, Result, build_result
from sizing.search.answer import Answer
from sizing.search.search import baseline, next_load_test

#: Shares of the capacity that are lost.
LOSSES = (0.0, 0.05, 0.07, 0.1, 0.15)
TOLERANCE_PERCENT = 5.0
_ENDPOINTS = 1000
_CHUNK = 20


def sized(endpoint: world.Endpoint, random: Random, prior: Outcome | None) -> tuple[Any, Outcome]:
    """What a sizing comes to, as the next one is compared with it, and as it starts there."""
    bench = Bench(endpoint, random, prior=prior)
    records: list[LoadTestRecord] = []
    step: LoadTestPlan | Answer = baseline(bench.sizing, bench.sizing.candidates[0])
    while isinstance(step, LoadTestPlan):
        records.append(bench.load_test(step))
        step = next_load_test(bench.sizing, records)
    execution = Execution(sizing_id="0" * 12, finished_at=1.0)
    document = build_result(execution, Ending(step), bench.sizing, records)
    result = Result.model_validate(document)
    found = bench.outcome
    found.answer = result.recommendation.instance_count if result.recommendation else None
    return history.outcome(result), found


def pairs(first: int, *, seed: int, end: int, harder: bool) -> Counter[tuple[float, str, str]]:
    """Kinds of change of a chunk of endpoints, by loss and by whether the count stayed the same."""
    kinds: Counter[tuple[float, str, str]] = Counter()
    for index in range(first, min(first + _CHUNK, end)):
        endpoint, _ = world.draw(Random(f"{seed}/{index}"), harder=harder)
        before, prior = sized(endpoint, Random(f"{seed}/{index}/before"), None)
        if not change.is_answer(before.status):
            continue
        for loss in LOSSES:
            lost = replace(endpoint, cpu_ms=endpoint.cpu_ms / (1 - loss))
            random = Random(f"{seed}/{index}/{loss}")
            after, _ = sized(lost, random, prior if prior.answer else None)
            if not change.is_answer(after.status):
                continue
            found = change.compare(before, after, TOLERANCE_PERCENT)
            same = "same" if before.instance_count == after.instance_count else "other"
            kinds[loss, same, found.kind] += 1
    return kinds


def main(argv: list[str] | None = None) -> None:
    """Run the benchmark and print its lines of JSON."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.change", description="How well a change is told from chance."
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--endpoints", type=int, default=_ENDPOINTS)
    parser.add_argument(
        "--harder",
        action="store_true",
        help="p99s also carry the sampling error of finitely many requests, and common noise",
    )
    arguments = parser.parse_args(argv)
    run = partial(pairs, seed=arguments.seed, end=arguments.endpoints, harder=arguments.harder)
    kinds: Counter[tuple[float, str, str]] = Counter()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for part in pool.map(run, range(0, arguments.endpoints, _CHUNK)):
            kinds.update(part)
    for loss in LOSSES:
        print(json.dumps(figures(loss, kinds)))


def figures(loss: float, kinds: Counter[tuple[float, str, str]]) -> dict[str, Any]:
    """Shares of the pairs with a loss."""
    of_loss = {(same, kind): n for (each, same, kind), n in kinds.items() if each == loss}
    total = sum(of_loss.values())
    same = {kind: n for (count, kind), n in of_loss.items() if count == "same"}
    return {
        "loss_percent": round(100 * loss),
        "pairs": total,
        **{
            str(kind): round(sum(n for (_, each), n in of_loss.items() if each == kind) / total, 4)
            for kind in change.Kind
            if kind is not change.Kind.FIRST
        },
        "same_count": sum(same.values()),
        "regressed_of_same_count": round(
            same.get(change.Kind.REGRESSED, 0) / max(sum(same.values()), 1), 4
        ),
    }


if __name__ == "__main__":
    main()
