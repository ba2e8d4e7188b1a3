"""What a load test offers: its rates, around the count in question, and its load generators."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sizing.catalogue.instance import InstanceFacts
from sizing.load_test.cost import step_seconds
from sizing.load_test.fleet import plan_fleet, worker_vcpus
from sizing.load_test.plan import Burst, LoadTestPlan, Purpose, Step
from sizing.request.sizing import Sizing
from sizing.search.known import Known
from sizing.search.prediction import CONTAINER, LIKELY, OUT_OF_QUESTION, ROOM, Prediction

#: Steps of a baseline, as shares of the saturation rate: around the band, where it matters.
#: The highest shows how busy the hardware is next to saturation: whether it is what saturates.
BASELINE_FRACTIONS: tuple[float, ...] = (0.5, 0.65, 0.8, 0.92)
#: One more where latency has none: where threads share cores, the band is close to saturation, and
#: utilization bends between the others. Latency bends so much there that it would mislead.
FRACTION_FOR_UTILIZATION = 0.86
#: One more where latency has a limit, which may bind far under the band.
FRACTION_FOR_LATENCY = 0.35
#: A baseline's steps up to this share are held several times where the target is less than so many
#: requests per second for each, and there is a p99 limit; so often at the most.
BINDING_FRACTION = 0.65
FEW_TPS = 200.0
MOST_BASELINE_HELD = 4
#: A repeated baseline's lowest rates, as shares of the lowest that was seen; but none under so many
#: requests per second, which have no p99.
LOWER_SHARES = (0.25, 0.5)
LEAST_TPS = 1.0
BURST_STAGE_SECONDS = 3.0
#: Concurrency at which a burst gives up looking for saturation, per vCPU.
BURST_CONCURRENCY_PER_VCPU = 32
LEAST_MAX_CONCURRENCY = 128
#: Steps at the target before the others where new instances were seen to be cold, or of the target
#: itself where it would be the first and a p99 limits; and at the most, where they stay it longer.
WARM_UP_STEPS = 2
MOST_WARM_UP_STEPS = 10
#: Largest ratio between the rates of neighbouring steps, but for counts under five.
WIDEST_STEP = 1.25
#: Neighbours either way at the most.
MOST_STEPS_ASIDE = 2


def first_plan(sizing: Sizing, known: Known) -> LoadTestPlan:
    """A candidate's first load test: on one instance, or at the count an earlier sizing found."""
    prior = known.prior_count
    if prior is None:
        return baseline_plan(sizing, known.seen.facts, None, "what one instance can do")
    reason = f"an earlier sizing of the same model and payload found {prior}"
    load, target = sizing.request.load, sizing.request.target
    workers = sizing.prior_workers.get(known.seen.facts.instance_type, 1)
    vcpus = workers * worker_vcpus(load, sizing.body_bytes, target.tps)
    return verification_plan(sizing, known, prior, None, reason, at_least_vcpus=vcpus)


def baseline_plan(
    sizing: Sizing,
    facts: InstanceFacts,
    driven: float | None,
    reason: str,
    *,
    at_least_vcpus: int = 1,
    lower: Sequence[float] = (),
) -> LoadTestPlan:
    """One instance: a burst that saturates it, then ``lower`` rates and steps around the band."""
    fleet = plan_fleet(
        sizing.request.load,
        sizing.body_bytes,
        sizing.request.target.tps,
        driven,
        at_least_vcpus=at_least_vcpus,
    )
    fractions, held = sorted((*BASELINE_FRACTIONS, FRACTION_FOR_UTILIZATION)), 1
    if sizing.request.target.model_latency_p99_ms is not None:
        held = min(max(math.ceil(FEW_TPS / sizing.request.target.tps), 1), MOST_BASELINE_HELD)
        # Where latency may bind; over the band it is not asked for.
        below = [each for each in BASELINE_FRACTIONS if each <= BINDING_FRACTION]
        above = [each for each in BASELINE_FRACTIONS if each > BINDING_FRACTION]
        fractions = [*([FRACTION_FOR_LATENCY, *below] * held), *above]
    if held > 1:
        reason = f"{reason}, {held} times at each rate: a p99 of few requests is not sure"
    most = max(BURST_CONCURRENCY_PER_VCPU * facts.vcpus, LEAST_MAX_CONCURRENCY)
    return LoadTestPlan(
        instance_type=facts.instance_type,
        instance_count=1,
        purpose=Purpose.BASELINE,
        burst=Burst(
            start_concurrency=facts.vcpus,
            max_concurrency=most,
            stage_seconds=BURST_STAGE_SECONDS,
        ),
        steps=(
            *(Step(offered_tps=rate) for rate in lower),
            *(Step(saturation_fraction=fraction) for fraction in fractions),
            # Where it fits on one instance, there may be nothing left to verify.
            Step(offered_tps=sizing.request.target.tps, saturation_fraction=max(fractions)),
        ),
        workers=fleet.workers,
        worker_vcpus=fleet.worker_vcpus,
        reason=f"{reason}; {fleet.workers} load worker(s): {fleet.reason}",
    )


def repeated_baseline_plan(
    sizing: Sizing, known: Known, driven: float | None, reason: str, *, at_least_vcpus: int = 1
) -> LoadTestPlan:
    """The baseline once more, by now of a warm instance, and with less to do than was ever seen."""
    lowest = known.seen.least_rate
    lower = [share * lowest for share in LOWER_SHARES if share * lowest >= LEAST_TPS]
    return baseline_plan(
        sizing, known.seen.facts, driven, reason, at_least_vcpus=at_least_vcpus, lower=lower
    )


def verification_plan(
    sizing: Sizing,
    known: Known,
    count: int,
    driven: float | None,
    reason: str,
    *,
    at_least_vcpus: int = 1,
) -> LoadTestPlan:
    """The full target at a count, and what its neighbours would carry where that is open."""
    target = sizing.request.target.tps
    fewer, more = _neighbours(known, count)
    predicted = known.predicted
    held = 1 if predicted is None else predicted.steps_to_hold(count)
    if not more and predicted and predicted.tightest(max(count - 1, 1)) == "latency":
        held = max(held, WARM_UP_STEPS)  # a first step may still warm up, which a p99 shows most
    rates = [target * count / each for each in reversed(more)] + [target] * held
    if known.seen.starts_cold and count > known.seen.records[-1].instance_count:
        cold = math.ceil(known.seen.cold_for / step_seconds(sizing.request.measurement))
        rates = [target] * min(max(cold, WARM_UP_STEPS), MOST_WARM_UP_STEPS) + rates
    if fewer and fewer[0] < count - 1 and predicted and predicted.latency_is_open(count):
        # Latency bends: a line to the farther neighbour would miss the nearer one.
        fewer.insert(0, count - 1)
    rates += [target * count / each for each in fewer]
    if predicted is not None:
        rates += [rate for rate in _above(predicted, target, count) if rate > rates[-1]]
    fleet = plan_fleet(
        sizing.request.load,
        sizing.body_bytes,
        max(rates),
        driven,
        at_least_vcpus=at_least_vcpus,
    )
    return LoadTestPlan(
        instance_type=known.seen.facts.instance_type,
        instance_count=count,
        purpose=Purpose.VERIFY,
        steps=tuple(Step(offered_tps=rate) for rate in rates),
        workers=fleet.workers,
        worker_vcpus=fleet.worker_vcpus,
        reason=f"{reason}; {fleet.workers} load worker(s): {fleet.reason}",
    )


def _above(predicted: Prediction, target: float, count: int) -> list[float]:
    """Rates over the target that show its room, where something other than the hardware limits.

    A burst that met a cold instance looks like a container that saturates early. So where nothing
    failed yet, what the hardware could carry is offered at the end: either the container fails
    there, or its limit is farther.
    """
    if count == 1 and not predicted.seen.container_bound:
        return []
    fewer = predicted.binding(max(count - 1, 1))
    if CONTAINER not in fewer and "latency" not in fewer:
        return []
    rates = [target * ROOM]
    hardware = predicted.smallest_for_hardware()
    if CONTAINER in fewer and predicted.seen.overloaded_tps is None and hardware is not None:
        rates.append(target * count / min(hardware, count))
    return sorted(rates)


def _neighbours(known: Known, count: int) -> tuple[list[int], list[int]]:
    """Smaller and larger counts whose load a load test at ``count`` should show as well.

    They are the next counts, or reach to the ends of the range in which the answer is expected, so
    that whatever the count shows, the next decision rests on interpolation. A neighbour whose fate
    is beyond question is left out: its step would take time and tell nothing.
    """
    predicted = known.predicted
    if predicted is None:
        return ([count - 1] if count > 1 else []), [count + 1]
    more: list[int] = []
    if not predicted.predicted_to_serve(count, OUT_OF_QUESTION):
        likely = predicted.smallest_count(LIKELY, above=count) or count + 1
        while len(more) < MOST_STEPS_ASIDE and (more or [count])[-1] < likely:
            more.append(min(likely, math.ceil((more or [count])[-1] * WIDEST_STEP)))
    fewer: list[int] = []
    if count - 1 > known.most_bad and predicted.predicted_to_serve(count - 1, -OUT_OF_QUESTION):
        likely = min(predicted.smallest_count(-LIKELY, above=known.most_bad) or count, count - 1)
        while len(fewer) < MOST_STEPS_ASIDE and (fewer or [count])[-1] > likely:
            least = max(math.floor((fewer or [count])[-1] / WIDEST_STEP), 1)
            fewer.append(max(likely, least))
    return fewer, more
