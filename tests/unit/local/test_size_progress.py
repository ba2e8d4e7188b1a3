"""What a sizing under way is doing, told from its events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from local.size import progress as progress_module
from local.size.progress import Progress, Stage
from tests.unit.local.sizing_events import begun, entered, live, of_load_test, started

ROOT = Path(__file__).parents[3]


@pytest.fixture
def progress() -> Progress:
    return begun()


def states(node: Any) -> Iterator[str]:
    for name, state in node.get("States", {}).items():
        yield name
        for inner in [*state.get("Branches", ()), state.get("ItemProcessor", {})]:
            yield from states(inner)


def test_every_state_that_it_knows_is_one_of_a_sizing_and_its_probes() -> None:
    there: set[str] = set()
    for name in ("sizing", "probe"):
        machine = yaml.safe_load((ROOT / "statemachine" / f"{name}.asl.yaml").read_text())
        there |= set(states(machine))
    known = set(progress_module.STATES) | set(progress_module._STAGE_BEGINS)
    assert known <= there


def test_follows_the_machine_from_stage_to_stage(progress: Progress) -> None:
    assert progress.state == "starting"
    for machine, state, stage in (
        ("sizing", "ResolveRequest", Stage.DEPLOY),
        ("probe", "EnsureEndpoint", Stage.DEPLOY),
        ("probe", "LoadTest", Stage.BASELINE),
        ("sizing", "PlanLoadTest", Stage.VERIFY),
        ("probe", "EnsureEndpoint", Stage.VERIFY),
        ("probe", "LoadTest", Stage.VERIFY),
        ("sizing", "RecordResult", Stage.CLEAN_UP),
        ("sizing", "CleanUp", Stage.CLEAN_UP),
    ):
        progress.handle(entered(state, machine), now=101.0)
        assert progress.stage is stage
    assert progress.take_news()[-1] == "removing everything"
    assert progress.take_news() == []


def test_a_load_test_is_shown_from_its_start_to_its_end(progress: Progress) -> None:
    progress.handle(started(), now=110.0)
    [view] = progress.load_tests.values()
    assert (view.instance_type, view.instance_count, view.purpose) == (
        "ml.m5.12xlarge",
        8,
        "verify",
    )
    assert view.doing == "starting the load generator"

    progress.leader_said(view, ["x INFO load_generator.leader: Step 1: 1000.0/s"], now=120.0)
    for utilization in (10.0, *[62.0, 63.0] * 15):
        progress.seen(view, live(1000.0, utilization))
    progress.seen(view, live(3.0, 0.1))  # it has ended
    progress.leader_said(view, ["Locust", "x INFO leader: Step 2: 1142.9/s"], now=140.0)
    assert view.doing == "step 2 of 2"
    assert view.offered_tps == 1142.9
    assert view.begun[0].utilization_percent == 62.5

    progress.handle(of_load_test("ExecutionSucceeded"), now=160.0)
    assert progress.load_tests == {}
    assert progress.done == [view]
    assert progress.take_news()[-1] == "ml.m5.12xlarge x 8 verify: succeeded"


def test_what_others_used_while_steps_ran_is_their_mean(progress: Progress) -> None:
    progress.handle(started(), now=110.0)
    [view] = progress.load_tests.values()
    progress.seen(view, live(900.0, others=90.0))  # the burst
    assert progress.others_percent == 0
    progress.leader_said(view, ["Step 1: 1000.0/s"], now=120.0)
    for others in (10.0, 20.0, 60.0):
        progress.seen(view, live(1000.0, others=others))
    progress.seen(view, live(3.0, others=90.0))  # it has ended
    assert progress.others_percent == 30


def test_the_leader_really_says_that() -> None:
    # The step is read from the leader's log; without this line it would be shown as starting.
    leader = (ROOT / "locust_image" / "load_generator" / "leader.py").read_text()
    assert 'log.info("Step %d: %.1f/s"' in leader


def test_the_time_left_only_shrinks_while_a_step_runs(progress: Progress) -> None:
    progress.handle(entered("PlanLoadTest"), now=101.0)
    progress.handle(started(), now=102.0)
    [view] = progress.load_tests.values()
    progress.leader_said(view, ["Step 1: 1000.0/s"], now=105.0)
    estimates = [progress.seconds_left(now) for now in range(105, 130, 5)]
    assert estimates == sorted(estimates, reverse=True)
    assert estimates[0] == pytest.approx(2 * 20 + 8)  # two steps, and the clean-up
