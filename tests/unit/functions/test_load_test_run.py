"""A load test's input: the spec is what the load generator reads, the tasks what Fargate sells."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from load_generator import warm_up
from load_generator.spec import parse_spec
from sizing.load_test.plan import Burst, LoadTestPlan, Purpose, Step
from sizing.load_test.run import (
    LONGEST_SECONDS,
    LONGEST_WARM_UP,
    load_test_input,
    measured_by,
    timeout_seconds,
)
from sizing.request.request import Measurement
from tests.unit.functions.made_up import EXECUTION_ARN, SIZING_ID, a_plan, a_sizing

ROOT = Path(__file__).parents[3]
# vCPU units of a Fargate task and the memory it may have with them, MiB ("Fargate task
# definition differences", ECS Developer Guide).
FARGATE_MEMORY = {
    1024: range(2048, 8193, 1024),
    2048: range(4096, 16385, 1024),
    4096: range(8192, 30721, 1024),
    8192: range(16384, 61441, 4096),
    16384: range(32768, 122881, 8192),
}


def an_input(plan: LoadTestPlan | None = None, attempt: int = 1) -> dict[str, object]:
    return load_test_input(
        a_sizing(), plan or a_plan(), attempt=attempt, name_prefix="endpoint-sizer", bucket="b"
    )


def test_the_spec_is_what_the_load_generator_reads() -> None:
    spec = parse_spec(json.dumps(an_input()["spec"]).encode())
    assert spec.endpoint_name == f"endpoint-sizer-{SIZING_ID}-ml-m5-12xlarge"
    assert spec.load_test_id == "ml-m5-12xlarge-1-baseline-1"
    assert [step.saturation_fraction for step in spec.steps] == [0.5, 0.65, 0.8]
    assert spec.burst is not None
    assert (spec.burst.start_concurrency, spec.burst.max_concurrency) == (48, 1536)
    assert (spec.settle_seconds, spec.steady_seconds, spec.metric_period_seconds) == (30, 60, 10)
    assert (spec.workers, spec.worker_vcpus) == (2, 1.0)
    assert spec.payloads.inline is not None
    assert spec.payloads.inline[0].body == '{"inputs": "I am super happy right now."}'


def test_a_plan_of_absolute_rates_has_no_burst() -> None:
    plan = a_plan(
        purpose=Purpose.VERIFY, instance_count=8, burst=None, steps=(Step(offered_tps=1000),)
    )
    spec = parse_spec(json.dumps(an_input(plan, attempt=3)["spec"]).encode())
    assert spec.burst is None
    assert [step.offered_tps for step in spec.steps] == [1000]
    assert spec.load_test_id == "ml-m5-12xlarge-8-verify-3"


def test_files_tags_and_name_belong_to_the_sizing() -> None:
    given = an_input()
    load_test_id = str(given["load_test_id"])
    assert given["prefix"] == f"sizings/{SIZING_ID}/load-tests/{load_test_id}/"
    assert given["tags"] == {
        "endpoint-sizer:sizing": SIZING_ID,
        "endpoint-sizer:execution": EXECUTION_ARN,
        "endpoint-sizer:purpose": "sizing",
    }
    # The execution's name: at most 80 characters, without those that Step Functions refuses.
    assert re.fullmatch(r"[0-9a-z-]{1,80}", f"{SIZING_ID}-{load_test_id}")


@pytest.mark.parametrize("vcpus", [1, 2, 4, 8, 16])
def test_workers_have_a_size_that_fargate_sells(vcpus: int) -> None:
    given = an_input(a_plan(worker_vcpus=vcpus))
    assert int(str(given["worker_memory"])) in FARGATE_MEMORY[int(str(given["worker_cpu"]))]
    assert given["worker_memory"] == str(vcpus * 2048)


def test_the_time_out_covers_steps_burst_and_start() -> None:
    steps = (Step(offered_tps=10), Step(offered_tps=20))
    without = timeout_seconds(a_plan(burst=None, steps=steps), Measurement())
    # Two steps: 8 x 30 s to warm up, up to a period to align, 60 s steady. Start 300 s, end 60 s.
    assert without == 300 + 2 * (8 * 30 + 10 + 60) + 60
    burst = Burst(start_concurrency=48, max_concurrency=1536, stage_seconds=3)
    # A warm-up, then six stages from 48 to 1536; each may wait for answers as slow as SageMaker
    # allows.
    assert timeout_seconds(a_plan(burst=burst, steps=steps), Measurement()) == (
        without + 8 * 30 + 6 * 60 + 120
    )


@pytest.mark.parametrize(
    "asked, steps, period",
    [
        ({}, 15, 10),
        ({"settle_seconds": 60, "steady_seconds": 300}, 5, 10),
        # Its first windows would be gone: so many steps, such warm-ups, such windows.
        ({"settle_seconds": 60, "steady_seconds": 300}, 15, 60),
        ({"settle_seconds": 600}, 3, 60),
        ({"settle_seconds": 0, "steady_seconds": 3600}, 4, 60),
        ({"settle_seconds": 600, "metric_period_seconds": 300}, 3, 300),
    ],
)
def test_windows_that_would_be_gone_when_they_are_measured_are_of_minutes(
    asked: dict[str, int], steps: int, period: int
) -> None:
    measurement = Measurement(**asked)
    plan = a_plan(burst=None, steps=(Step(offered_tps=10),) * steps)
    assert measured_by(plan, measurement).metric_period_seconds == period
    given = load_test_input(
        a_sizing(measurement=asked), plan, attempt=1, name_prefix="endpoint-sizer", bucket="b"
    )
    spec = parse_spec(json.dumps(given["spec"]).encode())
    assert spec.metric_period_seconds == period
    assert spec.settle_seconds >= (60 if period == 60 else 0)


def test_a_load_test_may_take_as_long_as_its_state_machine() -> None:
    machine = (ROOT / "statemachine/load_test.asl.yaml").read_text()
    assert f"\nTimeoutSeconds: {LONGEST_SECONDS}\n" in machine


def test_warm_ups_end_when_the_load_generator_ends_them() -> None:
    assert LONGEST_WARM_UP == warm_up.MOST


def test_a_steady_time_counts_in_whole_periods() -> None:
    measurement = Measurement(metric_period_seconds=60, steady_seconds=70, settle_seconds=0)
    plan = a_plan(burst=None, steps=(Step(offered_tps=10),))
    # One period settles: the only sample of a long one may speak of the time before.
    assert timeout_seconds(plan, measurement) == 300 + (8 * 60 + 60 + 120) + 60
