"""What is told of a sizing on AWS, from its histories, the leader's log and the metrics."""

from __future__ import annotations

import datetime as dt
import json
import time
from typing import Any

import pytest

from endpoint_sizer.follow import Follower
from endpoint_sizer.stack import Stack
from local.size.progress import AWS, Progress, Stage, title
from tests.cli.made_up_aws import REGION, STARTED, Account, arn
from tests.unit.local.sizing_events import LOAD_TEST, begun

LEADER = {
    "TaskArn": f"arn:aws:ecs:{REGION}:1:task/endpoint-sizer/0123",
    "Overrides": {
        "ContainerOverrides": [{"Environment": [{"Name": "LOAD_TEST_ROLE", "Value": "leader"}]}]
    },
}
CANDIDATE = {"instance_type": "ml.m5.12xlarge", "vcpus": 48, "memory_gib": 192.0}


class Histories:
    """Writes the histories of a sizing, its probe and its load test."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self.sizing, self.probe, self.load_test = (
            arn("one", machine) for machine in ("sizing", "probe", "load-test")
        )

    def add(self, execution: str, kind: str, **details: Any) -> None:
        history = self._account.histories.setdefault(execution, [])
        at = STARTED + dt.timedelta(seconds=sum(map(len, self._account.histories.values())))
        history.append({"id": len(history) + 1, "type": kind, "timestamp": at, **details})

    def entered(self, execution: str, state: str) -> None:
        self.add(execution, "TaskStateEntered", stateEnteredEventDetails={"name": state})

    def submitted(self, execution: str, output: dict[str, Any]) -> None:
        details = {"resourceType": "states", "resource": "startExecution.sync:2"}
        self.add(
            execution,
            "TaskSubmitted",
            taskSubmittedEventDetails={**details, "output": json.dumps(output)},
        )

    def started(self, execution: str, given: dict[str, Any]) -> None:
        self.add(
            execution,
            "ExecutionStarted",
            executionStartedEventDetails={"input": json.dumps(given)},
        )

    def up_to_the_load_test(self) -> None:
        self.started(self.sizing, {})
        self.entered(self.sizing, "ResolveRequest")
        self.entered(self.sizing, "Probes")
        self.submitted(self.sizing, {"ExecutionArn": self.probe})
        self.started(self.probe, {"sizing": {"candidates": [CANDIDATE]}})
        self.entered(self.probe, "EnsureEndpoint")
        self.entered(self.probe, "LoadTest")
        self.submitted(self.probe, {"ExecutionArn": self.load_test})
        self.started(self.load_test, LOAD_TEST)
        self.submitted(self.load_test, {"Tasks": [LEADER]})


@pytest.fixture
def histories(account: Account) -> Histories:
    return Histories(account)


@pytest.fixture
def progress(histories: Histories) -> Progress:
    return Progress(begun().request, time.monotonic(), AWS)


@pytest.fixture
def follower(account: Account, histories: Histories, progress: Progress) -> Follower:
    return Follower(Stack("endpoint-sizer", REGION, account.outputs), histories.sizing, progress)


def test_one_look_goes_down_to_the_load_test(
    histories: Histories, follower: Follower, progress: Progress
) -> None:
    histories.up_to_the_load_test()
    follower.look()
    assert progress.stage is Stage.BASELINE
    assert [title(each) for each in progress.load_tests.values()] == ["ml.m5.12xlarge x 8 verify"]
    assert progress.take_news() == [
        "checking the request",
        "bringing the endpoint to its instance count",
        "ml.m5.12xlarge x 8 verify: starting the load generator",
    ]


def test_nothing_is_told_twice_however_long_the_history(
    histories: Histories, follower: Follower, progress: Progress
) -> None:
    histories.up_to_the_load_test()
    for _ in range(350):  # several pages
        histories.entered(histories.sizing, "Nothing")
    follower.look()
    progress.take_news()
    follower.look()
    assert progress.take_news() == []
    histories.add(histories.load_test, "ExecutionSucceeded")
    histories.entered(histories.probe, "Measure")
    for _ in range(250):
        histories.entered(histories.sizing, "Nothing")
    histories.entered(histories.sizing, "PlanLoadTest")
    follower.look()
    assert progress.take_news() == [
        "ml.m5.12xlarge x 8 verify: succeeded",
        "reading the metrics",
        "planning",
    ]


def test_the_leader_tells_of_steps_and_metrics_of_what_they_do(
    account: Account, histories: Histories, follower: Follower, progress: Progress
) -> None:
    histories.up_to_the_load_test()
    account.log.append({"timestamp": 1000 * int(time.time()), "message": "Step 1: 1000.0/s"})
    second = float(int(time.time()) - 20)
    account.metrics = {
        "Invocations Sum": {second: 10_000.0, second + 10: 10_100.0},
        "Invocation5XXErrors Sum": {second: 20.0},
        "CPUUtilization Average": {second: 3000.0},  # of the next period there is none yet
    }
    follower.look()
    [view] = progress.load_tests.values()
    assert (view.step, view.offered_tps) == (1, 1000.0)
    [sample] = view.samples
    assert (sample.achieved_tps, sample.errors_per_second) == (998.0, 2.0)
    assert sample.utilization_percent == 62.5
    [asked] = account.called("GetLogEvents")
    assert asked["logGroupName"] == "/aws/ecs/endpoint-sizer-load-test"
    assert asked["logStreamName"] == "load-test/load-generator/0123"
    follower.look()  # within ten seconds, metrics are not asked for again
    assert len(account.called("GetMetricData")) == 1
    assert (view.step, len(view.samples)) == (1, 1)


@pytest.mark.parametrize("operation", ["GetExecutionHistory", "GetLogEvents", "GetMetricData"])
def test_what_the_user_may_not_read_is_left_out(
    account: Account,
    histories: Histories,
    follower: Follower,
    progress: Progress,
    operation: str,
) -> None:
    account.refusals[operation] = "AccessDeniedException"
    histories.up_to_the_load_test()
    follower.look()
    follower.look()
    assert len(account.called(operation)) == 1
    assert bool(progress.load_tests) is (operation != "GetExecutionHistory")


def test_what_fails_for_a_moment_is_read_again(
    account: Account, histories: Histories, follower: Follower, progress: Progress
) -> None:
    histories.up_to_the_load_test()
    account.refusals["GetExecutionHistory"] = "ThrottlingException"
    follower.look()
    assert not progress.load_tests
    account.refusals.clear()
    follower.look()
    assert progress.load_tests
