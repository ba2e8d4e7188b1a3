"""What simulated load tests show: the truth, and what went wrong in between."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from random import Random
from statistics import fmean
from typing import get_args

import pytest

from benchmarks.search.worlds.bench import load_test, search, sizing_of
from benchmarks.search.worlds.cloudwatch import Recording
from benchmarks.search.worlds.conditions import Conditions, Warming
from benchmarks.search.worlds.drawing import BY_NAME, Candidate, Case, draw
from benchmarks.search.worlds.fleet import Site
from benchmarks.search.worlds.latency import Shape, binomial, mean, percentile
from benchmarks.search.worlds.load_generator import closed_loop, run
from benchmarks.search.worlds.score import autoscaling_over, judgement
from benchmarks.search.worlds.truth import Truth
from sizing.load_test.locust_result import LocustResult
from sizing.load_test.measurement import queries
from sizing.load_test.observation import LoadTestRecord
from sizing.load_test.plan import Burst, LoadTestPlan, Purpose, Step
from tests.unit.benchmarks.endpoints import an_endpoint

START = 1_795_000_003.0
BURST = Burst(start_concurrency=8, max_concurrency=256, stage_seconds=3.0)


def a_plan(*rates: float, count: int = 1, burst: Burst | None = None) -> LoadTestPlan:
    return LoadTestPlan(
        instance_type="ml.w1.xlarge",
        instance_count=count,
        purpose=Purpose.VERIFY,
        burst=burst,
        steps=tuple(Step(offered_tps=rate) for rate in rates),
        workers=1,
        worker_vcpus=1,
        reason="",
    )


def a_case(truth: Truth, conditions: Conditions | None = None) -> Case:
    candidate = Candidate(truth, conditions or Conditions(), 1.0, truth.smallest_count())
    return Case((candidate,))


def shown_by(case: Case, plan: LoadTestPlan, seed: int = 1) -> LoadTestRecord:
    return load_test(sizing_of(case), plan, Site(case.candidates[0]), START, Random(seed))


def ran(case: Case, plan: LoadTestPlan, seed: int) -> tuple[LocustResult, Recording]:
    return run(Site(case.candidates[0]), sizing_of(case), plan, START + seed, Random(seed))


def test_a_step_shows_the_truth() -> None:
    truth = an_endpoint(p99_limit_ms=400.0)
    record = shown_by(a_case(truth), a_plan(120.0))
    seen = record.observations[0]
    p50, p99 = truth.latency_ms(120.0, 1)
    assert seen.invalid is None
    assert seen.achieved_tps == pytest.approx(120, rel=0.01)
    assert seen.utilization_percent == pytest.approx(60, rel=0.03)
    assert seen.model_latency_ms.p50 == pytest.approx(p50, rel=0.1)
    assert p99 * 0.9 < (seen.model_latency_ms.p99 or 0) < p99 * 1.5
    assert seen.error_percent == 0


def test_few_requests_are_drawn_one_by_one_and_many_as_a_fluid_alike() -> None:
    few = an_endpoint(tps=1.0)
    many = an_endpoint(cpu_ms=0.4)
    shown = [
        shown_by(a_case(truth), a_plan(rate), seed).observations[0]
        for truth, rate in ((few, 16.0), (many, 1600.0))
        for seed in range(5)
    ]
    for seen in shown[:5]:
        assert seen.achieved_tps == pytest.approx(16, rel=0.03)
    for seen in shown[5:]:
        assert seen.achieved_tps == pytest.approx(1600, rel=0.01)
    scaled = fmean(seen.model_latency_ms.p50 or 0 for seen in shown[5:])
    assert fmean(seen.model_latency_ms.p50 or 0 for seen in shown[:5]) == pytest.approx(
        100 * scaled, rel=0.05
    )


def test_percentiles_come_in_tiles_where_no_period_fits() -> None:
    truth = an_endpoint(sigma=1.0)
    case = a_case(truth)
    whole, tiles = [], []
    for seed in range(20):
        result, recording = ran(case, a_plan(30.0), seed)
        window = result.steps[0].window
        assert window is not None
        facts = sizing_of(case).candidates[0]
        data = recording.answers(queries(window, facts, 10), window)
        p99 = next(
            series
            for query, series in data.items()
            if query.metric == "ModelLatency"
            and query.statistic == "p99"
            and query.period_seconds == 10
        )
        tiles.append(max(p99.values()))
        whole.append(
            1000 * (percentile(recording.between(window.start, window.end).points, 99) or 0)
        )
    assert all(tile >= one * 0.999 for tile, one in zip(tiles, whole, strict=True))
    assert fmean(tiles) > 1.1 * fmean(whole)


def test_samples_on_phases_of_their_own_are_sometimes_one_more_or_less() -> None:
    conditions = Conditions(own_phase=True, sample_jitter_seconds=1.0, sample_missing=0.01)
    case = a_case(an_endpoint(), conditions)
    _, recording = ran(case, a_plan(*[400.0] * 6, count=5), 3)
    counts = [samples.count for samples in recording.samples().values()]
    assert min(counts[1:-1]) < 5 < max(counts[1:-1])
    _, aligned = ran(a_case(an_endpoint()), a_plan(400.0, count=5), 3)
    assert {samples.count for samples in aligned.samples().values()} == {5}


def test_noise_that_is_correlated_stays_on_one_side_for_longer() -> None:
    def turns(correlation: float) -> int:
        conditions = Conditions(noise_correlation=correlation)
        case = a_case(an_endpoint(sample_noise=0.04), conditions)
        _, recording = ran(case, a_plan(*[100.0] * 20), 5)
        values = [samples.mean > 0.5 for samples in recording.samples().values()]
        return sum(before != after for before, after in pairwise(values))

    assert turns(0.95) < 0.7 * turns(0.0)


def test_a_cold_instance_costs_more_and_gets_warm_under_load() -> None:
    conditions = Conditions(cold_cost=1.0, cold_seconds=200)
    case = a_case(an_endpoint(), conditions)
    site = Site(case.candidates[0])
    plan = a_plan(80.0, 80.0, 80.0)
    first = load_test(sizing_of(case), plan, site, START, Random(1)).observations
    again = load_test(sizing_of(case), plan, site, START + 900, Random(2)).observations
    assert first[0].utilization_percent > 1.5 * first[2].utilization_percent
    assert again[0].utilization_percent == pytest.approx(40, rel=0.05)
    site.scale(3)
    assert site.ages[0] > 500
    assert site.ages[1:] == [0.0, 0.0]
    site.scale(1)
    assert len(site.ages) == 1


def test_the_burst_meets_the_cold_instance() -> None:
    cold = Conditions(cold_cost=1.0, cold_seconds=240, warming="step")
    found = shown_by(a_case(an_endpoint(), cold), a_plan(50.0, burst=BURST)).saturation_tps
    warm = shown_by(a_case(an_endpoint()), a_plan(50.0, burst=BURST)).saturation_tps
    assert warm == pytest.approx(200, rel=0.05)
    assert found is not None
    assert found < 0.6 * 200


def test_a_warm_up_that_shows_is_waited_for() -> None:
    cold = Conditions(cold_cost=2.0, cold_seconds=60)
    record = shown_by(a_case(an_endpoint(), cold), a_plan(50.0, burst=BURST))
    assert record.saturation_tps == pytest.approx(200, rel=0.06)
    warmed = shown_by(a_case(an_endpoint()), a_plan(50.0, burst=BURST)).observations[0]
    assert warmed.warm_up_seconds is not None
    assert warmed.warm_up_seconds < 45
    assert warmed.steady


@pytest.mark.parametrize("warming", get_args(Warming))
def test_what_is_cold_gets_warm_in_its_time(warming: Warming) -> None:
    cold = Conditions(cold_cost=1.0, cold_seconds=100, warming=warming)
    costs = [cold.slowness(age) for age in (0.0, 50.0, 99.0, 101.0)]
    assert costs[0] == 2.0
    assert costs == sorted(costs, reverse=True)
    assert costs[3] == pytest.approx(1.0, abs=0.05)
    assert {"ramp": 1.5, "decay": 1.22, "step": 2.0}[warming] == pytest.approx(costs[1], abs=0.01)


def test_errors_at_the_start_end() -> None:
    conditions = Conditions(start_error_share=0.05, start_error_seconds=100)
    seen = shown_by(a_case(an_endpoint(), conditions), a_plan(100.0, 100.0, 100.0)).observations
    assert seen[0].error_percent == pytest.approx(5, abs=1)
    assert seen[2].error_percent == 0


def test_stray_errors_come_at_their_rate() -> None:
    seen = shown_by(a_case(an_endpoint(cpu_ms=0.4, error_rate=1e-3)), a_plan(10_000.0)).observations
    assert seen[0].error_percent == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("fails", [True, False])
def test_a_stall_fails_or_delays_what_comes_meanwhile(*, fails: bool) -> None:
    conditions = Conditions(stalls_per_hour=60, stall_fails=fails)
    case = a_case(an_endpoint(), conditions)
    seen = shown_by(case, a_plan(*[100.0] * 8), 2).observations
    errors = [each.error_percent for each in seen]
    tails = [each.model_latency_ms.p99 or 0 for each in seen]
    usual = case.candidates[0].truth.latency_ms(100.0, 1)[1]
    if fails:
        assert max(errors) > 0.5
        assert max(tails) < 3 * usual
    else:
        assert max(errors) == 0
        assert max(tails) > 500
    assert min(tails) < 1.6 * usual


def test_more_than_an_instance_can_do_queues_up() -> None:
    seen = shown_by(a_case(an_endpoint()), a_plan(240.0)).observations[0]
    assert seen.achieved_tps == pytest.approx(200, rel=0.02)
    assert seen.utilization_percent > 98
    assert (seen.model_latency_ms.p99 or 0) > 3000


def test_a_container_with_a_full_queue_refuses() -> None:
    truth = an_endpoint(served_share=0.5, queue=100)
    seen = shown_by(a_case(truth), a_plan(110.0)).observations[0]
    assert seen.achieved_tps == pytest.approx(100, rel=0.03)
    assert seen.error_percent == pytest.approx(100 * (1 - 100 / 110), abs=3)
    assert seen.utilization_percent == pytest.approx(50, abs=3)


def test_a_hopeless_step_is_ended_after_a_period() -> None:
    truth = an_endpoint(served_share=0.5, queue=100)
    seen = shown_by(a_case(truth), a_plan(300.0, 50.0)).observations
    assert seen[0].window.end - seen[0].window.start == 10
    assert seen[1].window.end - seen[1].window.start == 60
    assert seen[1].error_percent == 0


def test_a_burst_of_slow_answers_ends_at_its_bound() -> None:
    truth = an_endpoint(vcpus=4, concurrency=4, cpu_ms=100.0, off_cpu_ms=6000.0)
    assert truth.capacity(1) == pytest.approx(40.0)
    burst = Burst(start_concurrency=4, max_concurrency=128, stage_seconds=3.0)
    found = shown_by(a_case(truth), a_plan(10.0, burst=burst)).saturation_tps
    assert found == pytest.approx(128 / 6.1, rel=0.1)


def test_a_closed_loop_without_a_wait_fills_the_places() -> None:
    truth = an_endpoint()
    assert closed_loop(truth, 4, 1, 1.0)[0] == pytest.approx(100.0)
    assert closed_loop(truth, 64, 1, 1.0)[0] == pytest.approx(200.0)
    assert closed_loop(truth, 64, 1, 2.0)[0] == pytest.approx(100.0)


def test_slow_answers_fluctuate_at_the_window_and_nothing_is_lost() -> None:
    truth = an_endpoint(vcpus=32, concurrency=32, off_cpu_ms=5000.0, off_cpu_sigma=0.8)
    short = [
        60 * (10 - shown_by(a_case(truth), a_plan(10.0), seed).observations[0].achieved_tps)
        for seed in range(40)
    ]
    assert max(short) > 2
    assert min(short) < -2
    assert abs(fmean(short)) < 3


def test_quantiles_of_samples_are_those_of_the_distribution() -> None:
    random = Random(1)
    shape = Shape(10.0, 0.2, queues=((0.05, 30.0), (0.9, 3.0)))
    points = [point for _ in range(20) for point in shape.sample(20_000, random)]
    single = [(shape.draw(random), 1.0) for _ in range(100_000)]
    for drawn in (points, single, shape.expected(1.0)):
        assert percentile(drawn, 99) == pytest.approx(shape.quantile(0.01), rel=0.02)
        assert percentile(drawn, 50) == pytest.approx(shape.quantile(0.5), rel=0.02)
        assert mean(drawn) == pytest.approx(shape.mean_ms, rel=0.02)


@pytest.mark.parametrize("n, p", [(20, 0.3), (500, 0.01), (10_000, 0.4), (10_000, 0.999)])
def test_binomials_have_their_mean_and_variance(n: int, p: float) -> None:
    random = Random(1)
    drawn = [binomial(n, p, random) for _ in range(3000)]
    average = fmean(drawn)
    assert average == pytest.approx(n * p, rel=0.05)
    assert fmean((each - average) ** 2 for each in drawn) == pytest.approx(
        n * p * (1 - p), rel=0.15
    )


def test_the_same_seed_gives_the_same_answer() -> None:
    def told() -> object:
        case = draw(Random("same"), BY_NAME["mixed"])
        return search(case, Random("same again")).answer

    assert told() == told()


def advised(target_value: float, in_flight: float | None = None) -> Mapping[str, object]:
    alternative = None if in_flight is None else {"target_value": in_flight}
    return {"autoscaling": {"target_value": 60 * target_value, "alternative": alternative}}


@pytest.mark.parametrize(
    "advice, over",
    [
        (advised(129.0), True),
        (advised(90.0), False),
        (advised(90.0, in_flight=1000.0), True),
        (advised(90.0, in_flight=3.0), False),
        ({"autoscaling": None}, False),
    ],
)
def test_an_autoscaling_target_over_the_containers_is_seen(
    advice: dict[str, object], *, over: bool
) -> None:
    truth = an_endpoint(served_share=0.5, queue=100)
    outcome = search(a_case(truth), Random(1))
    outcome.result = {"recommendation": advice}
    assert autoscaling_over(truth, 6, outcome) is over


@pytest.mark.parametrize(
    "found, wrong",
    [(3, "too few: utilization"), (4, None), (5, None), (6, "too many: utilization limits")],
)
def test_right_is_the_smallest_count_or_nearly(found: int, wrong: str | None) -> None:
    # 200 a second each at the most: four are 62.5 % busy, six 41.7 %.
    case = a_case(an_endpoint())
    outcome = search(case, Random(2))
    assert outcome.answer is not None
    answered = outcome.answer.candidates[0].model_copy(update={"instance_count": found})
    outcome.answer = outcome.answer.model_copy(update={"candidates": (answered,)})
    judged = judgement(case, outcome)
    assert judged.wrong == wrong
    assert judged.over_edge is (found == 3)
    assert not judged.not_met


def test_no_answer_though_one_serves_is_counted() -> None:
    case = a_case(an_endpoint())
    outcome = search(case, Random(2))
    outcome.result = {}
    assert judgement(case, outcome).not_met


def test_the_answer_of_a_clean_world_is_right() -> None:
    case = a_case(an_endpoint())
    outcome = search(case, Random(1))
    assert judgement(case, outcome).wrong is None
    assert judgement(case, outcome).regret == 0


@pytest.mark.parametrize("name", ["p99 from 50 TPS", "heavy tails", "container"])
def test_what_is_seen_of_many_endpoints_is_the_truth_on_average(name: str) -> None:
    busy, tails = [], []
    for index in range(12):
        candidate = draw(Random(f"average {index}"), BY_NAME[name]).candidates[0]
        truth, count = candidate.truth, candidate.needed
        site = Site(candidate)
        site.ages = [1e6] * count
        plan = a_plan(*[truth.tps] * 5, count=count).model_copy(update={"workers": 10_000})
        sizing = sizing_of(Case((candidate,)))
        result, recording = run(site, sizing, plan, START + index, Random(index))
        windows = [step.window for step in result.steps if step.window is not None][1:]
        points = recording.between(windows[0].start, windows[-1].end).points
        rate = truth.tps / count
        tails.append((percentile(points, 99) or 0) / truth.latency_ms(rate, count)[1])
        seen = [recording.utilization[each][0] for each in range(windows[0].start, windows[-1].end)]
        busy.append(fmean(seen) / truth.busy(rate, count))
    assert fmean(busy) == pytest.approx(1, abs=0.01)
    assert fmean(tails) == pytest.approx(1, abs=0.06)
