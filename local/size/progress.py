"""What a sizing is doing, told from the events of its executions and the endpoints' live figures.

Nothing here knows a terminal or a clock: events, log lines, figures and times come in as arguments.
"""

from __future__ import annotations

import json
import math
import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from local.endpoint.figures import LiveFigures
from local.history_event import HistoryEvent
from sizing.load_test.cost import (
    CREATE_SECONDS,
    FLEET_START_SECONDS,
    METRICS_SECONDS,
    SCALE_SECONDS,
)

#: What the states of the sizing and its probes mean to a person.
STATES: Final = {
    "ResolveRequest": "checking the request",
    "AcquireLock": "making sure that nobody else sizes the model",
    "EnsureEndpoint": "bringing the endpoint to its instance count",
    "SmokeTest": "invoking it once",
    "Measure": "reading the metrics",
    "PlanLoadTest": "planning",
    "RecordResult": "writing result and report",
    "CleanUp": "removing everything",
    "ApplyAnswer": "applying the answer",
    "Tell": "telling",
}


class Stage(StrEnum):
    """The parts of a sizing, in their order."""

    DEPLOY = "deploy"
    BASELINE = "baseline"
    VERIFY = "verify"
    CLEAN_UP = "clean up"


_ORDER: Final = tuple(Stage)
_STAGE_BEGINS: Final = {
    "ResolveRequest": Stage.DEPLOY,
    "LoadTest": Stage.BASELINE,
    "PlanLoadTest": Stage.VERIFY,
    "RecordResult": Stage.CLEAN_UP,
}


@dataclass(frozen=True)
class Pace:
    """Expected lengths, seconds; only the estimate of the time left rests on them."""

    deploy: float = 9.0
    burst: float = 9.0
    around_steps: float = 6.0  # tasks start and connect, results are written
    between: float = 9.0  # metrics are read, the plan is made, the endpoint is scaled
    clean_up: float = 8.0


#: On this machine.
LOCAL: Final = Pace()
#: On AWS, as the estimate of a sizing has it.
AWS: Final = Pace(
    deploy=CREATE_SECONDS,
    burst=60.0,
    around_steps=FLEET_START_SECONDS,
    between=METRICS_SECONDS + SCALE_SECONDS,
    clean_up=120.0,
)
_BASELINE_STEPS: Final = 4
_VERIFY_STEPS: Final = 2

_LOAD_TEST_ID: Final = re.compile(r"^(?P<type>.+)-(?P<count>\d+)-(?P<purpose>[a-z]+)-\d+$")
_LOGGED_STEP: Final = re.compile(r"Step \d+: ([\d.]+)/s")
#: Of the model servers' cores. A machine at rest uses some of it: interrupts, the kernel's network.
DISTURBED_PERCENT: Final = 10.0

#: Live samples kept for the curve, and the last of a step that tell what it came to.
_SAMPLES: Final = 240
_SETTLED_SAMPLES: Final = 20


@dataclass(frozen=True)
class Sample:
    """Live figures of an endpoint, as shown."""

    achieved_tps: float
    errors_per_second: float
    utilization_percent: float
    #: See ``LiveFigures.others_percent``.
    others_percent: float = 0.0


@dataclass
class StepView:
    """A step that is running, or has run."""

    offered_tps: float
    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=_SETTLED_SAMPLES))

    @property
    def utilization_percent(self) -> float:
        """Mean of the last samples; 0 before the first."""
        seen = [sample.utilization_percent for sample in list(self.samples)]
        return math.fsum(seen) / len(seen) if seen else 0.0


@dataclass
class LoadTestView:
    """A load test that is running, or has run."""

    load_test_id: str
    endpoint_name: str
    instance_type: str
    instance_count: int
    purpose: str
    steps: int
    step_seconds: float
    has_burst: bool
    started: float
    pace: Pace = LOCAL
    step_started: float = 0.0
    #: The steps that have begun.
    begun: list[StepView] = field(default_factory=list)
    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=_SAMPLES))

    @property
    def step(self) -> int:
        """Number of the current step; 0 before the first."""
        return len(self.begun)

    @property
    def offered_tps(self) -> float | None:
        """Rate of the current step; None before the first."""
        return self.begun[-1].offered_tps if self.begun else None

    @property
    def doing(self) -> str:
        """What it is at: starting, looking for saturation, or a step."""
        if self.step:
            return f"step {self.step} of {self.steps}"
        if self.has_burst and self.samples and self.samples[-1].achieved_tps:
            return "looking for the saturation rate"
        return "starting the load generator"

    def seconds_left(self, now: float) -> float:
        """Estimate of the seconds until its end."""
        if self.step:
            rest = self.step_seconds - (now - self.step_started)
            return max(0.0, rest) + (self.steps - self.step) * self.step_seconds
        expected = self.pace.burst if self.has_burst else 0.0
        before = max(0.0, expected + self.pace.around_steps - (now - self.started))
        return before + self.steps * self.step_seconds


class Progress:
    """A sizing under way.

    Args:
        request: The request, as parsed JSON with all defaults.
        started: When it began, seconds on the clock of all other times given here.
        pace: What its parts are expected to take.
    """

    def __init__(self, request: Mapping[str, Any], started: float, pace: Pace = LOCAL) -> None:
        self.request = request
        self._pace = pace
        self.started = started
        self.stage = Stage.DEPLOY
        self.load_tests: dict[str, LoadTestView] = {}
        #: Load tests that ran to their end, in that order.
        self.done: list[LoadTestView] = []
        #: Lines for a log of what happened, not yet taken.
        self._news: list[str] = []
        self._looks = 0
        self._used_by_others = 0.0
        self._state = "starting"
        self._stage_started = started
        measurement = request["measurement"]
        period = measurement["metric_period_seconds"]
        # A steady window begins and ends at multiples of the period, and the next step at its end.
        settle, steady = (
            math.ceil(measurement[name] / period) * period
            for name in ("settle_seconds", "steady_seconds")
        )
        self._step_seconds: float = settle + steady

    @property
    def state(self) -> str:
        """What is being done, in words."""
        return self._state

    def take_news(self) -> list[str]:
        """What happened since this was last called, a line each."""
        news, self._news = self._news, []
        return news

    def handle(self, event: HistoryEvent, now: float) -> None:
        """Take in an event of any execution."""
        machine, _, name = event.execution_arn.rpartition(":execution:")[2].partition(":")
        details = event.event
        if machine.endswith("-load-test"):
            self._of_load_test(name, details, now)
        elif machine.endswith(("-sizing", "-probe")) and "stateEnteredEventDetails" in details:
            self._entered(details["stateEnteredEventDetails"]["name"], now)

    def leader_said(self, load_test: LoadTestView, lines: Sequence[str], now: float) -> None:
        """Take in new lines of the leader's log."""
        for line in lines:
            if match := _LOGGED_STEP.search(line):
                load_test.begun.append(StepView(float(match[1])))
                load_test.step_started = now
                self._news.append(
                    f"{title(load_test)}: {load_test.doing}, {load_test.offered_tps:g} TPS offered"
                )

    def seen(self, load_test: LoadTestView, live: LiveFigures) -> None:
        """Take in live figures of a load test's endpoint."""
        sample = Sample(
            live.answers_per_second,
            live.errors_per_second,
            live.utilization_percent,
            live.others_percent,
        )
        load_test.samples.append(sample)
        # After the last step nothing is offered any more; that says nothing about the step.
        if load_test.begun and live.arrivals_per_second > load_test.begun[-1].offered_tps / 2:
            load_test.begun[-1].samples.append(sample)
            self._looks += 1
            self._used_by_others += sample.others_percent

    @property
    def others_percent(self) -> float:
        """What else used the model servers' cores while steps ran, percent of them, mean."""
        return self._used_by_others / max(1, self._looks)

    def seconds_left(self, now: float) -> float:
        """Estimate of the seconds until the sizing is over; one verification is expected."""
        pace = self._pace
        baseline = pace.burst + pace.around_steps + _BASELINE_STEPS * self._step_seconds
        verify = pace.around_steps + _VERIFY_STEPS * self._step_seconds
        after = {
            Stage.DEPLOY: baseline + pace.between + verify + pace.clean_up,
            Stage.BASELINE: pace.between + verify + pace.clean_up,
            Stage.VERIFY: pace.clean_up,
            Stage.CLEAN_UP: 0.0,
        }[self.stage]
        return after + self._current_left(now, verify)

    def _current_left(self, now: float, verify: float) -> float:
        if self.load_tests:
            return max(each.seconds_left(now) for each in self.load_tests.values())
        expected = {
            Stage.DEPLOY: self._pace.deploy,
            Stage.BASELINE: 0.0,
            Stage.VERIFY: self._pace.between + verify,
            Stage.CLEAN_UP: self._pace.clean_up,
        }[self.stage]
        return max(0.0, expected - (now - self._stage_started))

    def _entered(self, state: str, now: float) -> None:
        stage = _STAGE_BEGINS.get(state, self.stage)
        # A load test that verifies is no baseline any more; each plan begins a verification anew.
        if state in _STAGE_BEGINS and _ORDER.index(stage) >= _ORDER.index(self.stage):
            self.stage, self._stage_started = stage, now
        if (text := STATES.get(state)) and text != self._state:
            self._state = text
            self._news.append(text)

    def _of_load_test(self, name: str, details: Mapping[str, Any], now: float) -> None:
        if "executionStartedEventDetails" in details:
            view = self._view(json.loads(details["executionStartedEventDetails"]["input"]), now)
            self.load_tests[name] = view
            self._news.append(f"{title(view)}: {view.doing}")
        elif name in self.load_tests and details["type"].startswith("Execution"):
            view = self.load_tests.pop(name)
            ended = details["type"].removeprefix("Execution").lower()
            if ended == "succeeded":
                self.done.append(view)
            self._news.append(f"{title(view)}: {ended}")

    def _view(self, given: Mapping[str, Any], now: float) -> LoadTestView:
        spec = given["spec"]
        match = _LOAD_TEST_ID.match(given["load_test_id"])
        dashed = str(match["type"]) if match else ""
        types: dict[str, str] = {
            each.replace(".", "-"): each for each in self.request["instance_types"]
        }
        return LoadTestView(
            load_test_id=given["load_test_id"],
            endpoint_name=spec["endpoint_name"],
            instance_type=types.get(dashed, dashed),
            instance_count=int(match["count"]) if match else 0,
            purpose=match["purpose"] if match else "",
            steps=len(spec["steps"]),
            step_seconds=self._step_seconds,
            has_burst=spec.get("burst") is not None,
            started=now,
            pace=self._pace,
        )


def title(load_test: LoadTestView) -> str:
    """What a load test is about: ``ml.m5.12xlarge x 8 verify``."""
    return f"{load_test.instance_type} x {load_test.instance_count} {load_test.purpose}"
