"""The plot of docs/search.md: ``python -m benchmarks.search.plot docs/images/search.svg``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[2] / "functions"))

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.search import world
from benchmarks.search.ways import Bench, search
from sizing.load_test.observation import LoadTestRecord
from sizing.load_test.plan import LoadTestPlan
from sizing.search.answer import Answer
from sizing.search.prediction import predict
from sizing.search.search import baseline, next_load_test
from sizing.search.seen import Seen, see

BASELINE_COLOUR, VERIFY_COLOUR, FIT_COLOUR = "#4477aa", "#ee6677", "#222222"
BAND = (world.LOWER_EDGE, world.UPPER_EDGE)


def main(argv: list[str] | None = None) -> None:
    """Draw the plot and write it as an SVG."""
    parser = argparse.ArgumentParser(prog="benchmarks.search.plot")
    parser.add_argument("path", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--endpoints", type=int, default=1000)
    arguments = parser.parse_args(argv)
    # Without these an SVG differs from run to run.
    mpl.rcParams["svg.hashsalt"] = "search"
    mpl.rcParams["svg.fonttype"] = "none"
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    _fit(left, arguments.seed)
    _load_tests(right, arguments.seed, arguments.endpoints)
    figure.savefig(arguments.path, format="svg", metadata={"Date": None})


def _fit(axes: Axes, seed: int) -> None:
    """One endpoint: what was seen, the fit after its baseline and the fit at the end."""
    endpoint = _shown(seed)
    bench = Bench(endpoint, Random(f"{seed}/plot"))
    facts = bench.sizing.candidates[0]
    history: list[LoadTestRecord] = []
    step: LoadTestPlan | Answer = baseline(bench.sizing, facts)
    while isinstance(step, LoadTestPlan):
        history.append(bench.load_test(step))
        step = next_load_test(bench.sizing, history)
    found = step.candidates[0].instance_count or 1
    request = bench.sizing.request
    _curve(axes, see(request, facts, history[:1]), found, BASELINE_COLOUR, "baseline")
    _curve(axes, see(request, facts, history), found, FIT_COLOUR, "all load tests")
    for record in history:
        colour = BASELINE_COLOUR if record is history[0] else VERIFY_COLOUR
        axes.plot(
            [seen.achieved_tps / record.instance_count for seen in record.observations],
            [seen.utilization_percent for seen in record.observations],
            "o",
            color=colour,
            label=f"seen with {record.instance_count} instance(s)",
        )
    axes.axhspan(*BAND, color="#228833", alpha=0.12, label="band")
    axes.axvline(endpoint.tps / found, color="grey", linestyle=":", label=f"target / {found}")
    axes.set(
        xlabel="requests per second and instance",
        ylabel="utilization, percent",
        title=f"One endpoint: predicted for {found} instances, ± 2 standard errors",
    )
    axes.legend(fontsize=8)


def _shown(seed: int) -> world.Endpoint:
    """A mid-sized endpoint without a latency limit."""
    index = 0
    while True:
        endpoint, needed = world.draw(Random(f"{seed}/plot/{index}"))
        if endpoint.p99_limit_ms is None and 15 <= needed <= 25 and endpoint.sample_noise == 0.02:
            return endpoint
        index += 1


def _curve(axes: Axes, seen: Seen, count: int, colour: str, label: str) -> None:
    predicted = predict(seen)
    if predicted is None:
        raise ValueError("nothing was seen")
    fitted = predicted.utilization
    levels = [40 + step for step in range(51)]
    rates = [fitted.tps_at(level, count) for level in levels]
    errors = [fitted.error_at(level, count) for level in levels]
    axes.plot(rates, levels, color=colour, label=f"fit to {label}")
    axes.fill_between(
        rates,
        [level * (1 - 2 * error) for level, error in zip(levels, errors, strict=True)],
        [level * (1 + 2 * error) for level, error in zip(levels, errors, strict=True)],
        color=colour,
        alpha=0.15,
        linewidth=0,
    )


def _load_tests(axes: Axes, seed: int, endpoints: int) -> None:
    """Load tests until the answer, by the count that is truly needed."""
    taken: dict[bool, dict[int, list[int]]] = {True: {}, False: {}}
    for index in range(endpoints):
        endpoint, needed = world.draw(Random(f"{seed}/{index}"))
        bench = Bench(endpoint, Random(f"{seed}/{index}/search"))
        search(bench)
        group = (needed - 1) // 5 * 5 + 3
        bound = endpoint.latency_binds(needed)
        taken[bound].setdefault(group, []).append(len(bench.outcome.load_tests))
    for bound, label, colour in (
        (False, "search, utilization binds", VERIFY_COLOUR),
        (True, "search, p99 limit binds", BASELINE_COLOUR),
    ):
        groups = sorted(taken[bound])
        means = [sum(taken[bound][each]) / len(taken[bound][each]) for each in groups]
        axes.plot(groups, means, "o-", color=colour, label=label)
    axes.plot(
        [1, world.LARGEST_COUNT],
        [1, world.LARGEST_COUNT],
        "--",
        color="grey",
        label="plain loop: one instance more each time",
    )
    axes.set(
        xlabel="instances needed",
        ylabel="load tests, mean",
        title=f"{endpoints} simulated endpoints, seed {seed}",
        yscale="log",
        yticks=[1, 2, 3, 5, 10, 20, 60],
        yticklabels=["1", "2", "3", "5", "10", "20", "60"],
    )
    axes.legend(fontsize=8)


if __name__ == "__main__":
    main()
