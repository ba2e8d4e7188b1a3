"""What a sizing under way shows, and how."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from local.endpoint.figures import LiveFigures
from local.size import progress as progress_module
from local.size.display import LiveDisplay, PlainDisplay, display_for, panel
from local.size.progress import Progress, Stage
from local.stepfunctions import HistoryEvent
from sizing.request.request import parse_request

ROOT = Path(__file__).parents[3]
REQUEST = parse_request(json.loads((ROOT / "examples" / "distilbert.json").read_text()))
LOAD_TEST = {
    "load_test_id": "ml-m5-12xlarge-8-verify-2",
    "spec": {
        "endpoint_name": "endpoint-sizer-0123456789ab-ml-m5-12xlarge",
        "burst": None,
        "steps": [{"offered_tps": 1000.0}, {"offered_tps": 1142.9}],
    },
}


@pytest.fixture
def progress() -> Progress:
    return Progress(REQUEST.model_dump(mode="json"), started=100.0)


def entered(state: str) -> HistoryEvent:
    arn = "arn:aws:states:us-east-1:1:execution:endpoint-sizer-sizing:one"
    event = {"type": "TaskStateEntered", "stateEnteredEventDetails": {"name": state}}
    return HistoryEvent(arn, event)


def of_load_test(kind: str, **details: Any) -> HistoryEvent:
    arn = "arn:aws:states:us-east-1:1:execution:endpoint-sizer-load-test:0123-test"
    return HistoryEvent(arn, {"type": kind, **details})


def started() -> HistoryEvent:
    details = {"executionStartedEventDetails": {"input": json.dumps(LOAD_TEST)}}
    return of_load_test("ExecutionStarted", **details)


def live(tps: float, utilization: float = 62.5, errors: float = 0.0) -> LiveFigures:
    return LiveFigures(tps, tps, errors, utilization, (3000.0,))


def states(node: Any) -> Iterator[str]:
    for name, state in node.get("States", {}).items():
        yield name
        for inner in [*state.get("Branches", ()), state.get("ItemProcessor", {})]:
            yield from states(inner)


def test_every_state_that_it_knows_is_one_of_the_sizing_machine() -> None:
    machine = yaml.safe_load((ROOT / "statemachine" / "sizing.asl.yaml").read_text())
    known = set(progress_module.STATES) | set(progress_module._STAGE_BEGINS)
    assert known <= set(states(machine))


def test_follows_the_machine_from_stage_to_stage(progress: Progress) -> None:
    assert progress.state == "starting the embedded AWS"
    for state, stage in (
        ("ResolveRequest", Stage.DEPLOY),
        ("WaitForEndpoint", Stage.DEPLOY),
        ("LoadTest", Stage.BASELINE),
        ("PlanLoadTest", Stage.VERIFY),
        ("RecordResult", Stage.CLEAN_UP),
        ("CleanUp", Stage.CLEAN_UP),
    ):
        progress.handle(entered(state), now=101.0)
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


def plain(width: int = 120) -> tuple[Console, io.StringIO]:
    output = io.StringIO()
    return Console(file=output, width=width), output


def test_plain_lines_without_a_terminal(progress: Progress) -> None:
    console, output = plain()
    now = [100.0]
    display = display_for(console, progress, lambda: now[0])
    assert isinstance(display, PlainDisplay)
    with display:
        progress.handle(entered("ResolveRequest"), now=101.0)
        progress.handle(started(), now=102.0)
        [view] = progress.load_tests.values()
        progress.leader_said(view, ["Step 1: 1000.0/s"], now=103.0)
        for second in range(25):
            now[0] = 103.0 + second
            progress.seen(view, live(999.4, errors=1.5 if second > 15 else 0.0))
            display.update()
    lines = output.getvalue().splitlines()
    assert "  0:03  checking the request" in lines
    running = [line for line in lines if "utilization" in line]
    assert len(running) == 2  # one for every ten seconds of 24
    assert "1000.0 TPS offered, 999.4 achieved, 62.5 % utilization" in running[0]
    assert "1.5 errors/s" in running[1]
    assert "\x1b" not in output.getvalue()


def test_in_place_on_a_terminal(progress: Progress) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=100)
    progress.handle(started(), now=101.0)
    [view] = progress.load_tests.values()
    progress.seen(view, live(1000.0, utilization=72.0))
    with display_for(console, progress, lambda: 110.0) as display:
        assert isinstance(display, LiveDisplay)
    assert "\x1b[" in output.getvalue()


@pytest.mark.parametrize("utilization", [0.0, 40.0, 65.0, 99.9, 140.0])
def test_the_panel_shows_the_figures(progress: Progress, utilization: float) -> None:
    progress.handle(entered("PlanLoadTest"), now=101.0)
    progress.handle(started(), now=101.0)
    [view] = progress.load_tests.values()
    progress.leader_said(view, ["Step 1: 1000.0/s"], now=102.0)
    for tps in (0.0, 400.0, 1000.0):
        progress.seen(view, live(tps, utilization))
    console, output = plain(100)
    console.print(panel(progress, 110.0))
    text = output.getvalue()
    assert "1,000.0 TPS" in text
    assert f"{utilization:.1f} %" in text
    assert "▁" in text or " ▃█" in text
    assert "verify" in text
    assert max(map(len, text.splitlines())) <= 100


def test_no_colour_where_none_is_wanted(
    progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=100)
    console.print(panel(progress, 110.0))
    colours = [f"\x1b[{code}m" for code in range(30, 38)]
    assert not any(colour in output.getvalue() for colour in colours)
