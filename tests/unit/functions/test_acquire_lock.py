"""AcquireLock: one sizing per model at a time, and the dead keep nobody waiting."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError

from acquire_lock.app import handler
from sizing.clean_up import lock
from sizing.clean_up.lock import Holder, LockTerms, has_ended, seconds_to_wait
from sizing.clean_up.names import sizing_id
from sizing.errors import AccessDenied, AwsUnavailable, Locked
from tests.unit.functions.conftest import EXECUTION, TABLE, Answer, Requests

Client = Callable[[str], Any]
Answered = Callable[[str, str, Answer], Requests]
MODEL = "hugging_face/model"
OTHER = EXECUTION.replace("run-1", "run-2")
CLEAN_UP = "arn:aws:states:us-east-1:123456789012:stateMachine:endpoint-sizer-clean-up"
HOUR = 3600.0


def terms(when_locked: Any = "WAIT", wait_seconds: int = 3600) -> LockTerms:
    return LockTerms(model_key=MODEL, when_locked=when_locked, wait_seconds=wait_seconds)


# --- What to do about another's lock -------------------------------------------------------------


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED", None])
def test_who_no_longer_runs(status: str | None) -> None:
    assert has_ended(status)


@pytest.mark.parametrize("status", ["RUNNING", "PENDING_REDRIVE"])
def test_who_may_go_on(status: str) -> None:
    assert not has_ended(status)


def wait(waited_seconds: float, given: LockTerms | None = None, waited: bool = False) -> int:
    holder = Holder("arn:other", "2026-11-22T19:00:00Z")
    return seconds_to_wait(
        given or terms(wait_seconds=12 * 3600),
        holder,
        waited_seconds=waited_seconds,
        has_waited=waited,
    )


@pytest.mark.parametrize("minutes, seconds", [(0, 30), (11, 120), (61, 300)])
def test_looks_become_rare(minutes: int, seconds: int) -> None:
    assert wait(minutes * 60) == seconds


def test_it_is_waited_for_no_longer_than_it_may() -> None:
    assert wait(HOUR, terms()) > 0
    said = f"{MODEL} is being sized by arn:other since 2026-11-22T19:00:00Z."
    with pytest.raises(Locked) as waited:
        wait(61 * 60, terms(), waited=True)
    assert str(waited.value).startswith(said)
    assert "It was waited for, 61 minutes" in str(waited.value)
    with pytest.raises(Locked) as not_waited:
        wait(0, terms("FAIL"))
    assert str(not_waited.value) == said


# --- The function ------------------------------------------------------------------------------


def acquire(owner: str = EXECUTION, given: LockTerms | None = None, **changes: Any) -> Any:
    event = {
        "execution": {"arn": owner, "name": "run", "started_at": datetime.now(UTC).isoformat()},
        "lock": (given or terms()).model_dump(mode="json"),
        "waited": False,
        "started": {"sizing_id": "1", "execution_arn": owner},
        "clean_up_state_machine_arn": CLEAN_UP,
        **changes,
    }
    return handler(json.loads(json.dumps(event)), LambdaContext())


def held(aws: Client) -> dict[str, Any]:
    key = {"pk": {"S": lock.PARTITION}, "sk": {"S": MODEL}}
    item = aws("dynamodb").get_item(TableName=TABLE, Key=key).get("Item", {})
    return {name: next(iter(value.values())) for name, value in item.items()}


class Executions:
    """The statuses of executions, and the clean-ups that were started."""

    def __init__(self, answered: Answered) -> None:
        self.statuses: dict[str, str] = {}
        self.started: list[dict[str, Any]] = []
        answered("stepfunctions", "DescribeExecution", self._describe)
        answered("stepfunctions", "StartExecution", self._start)

    def _describe(self, request: dict[str, Any]) -> Any:
        arn = request["executionArn"]
        if arn not in self.statuses:
            return ClientError({"Error": {"Code": "ExecutionDoesNotExist"}}, "DescribeExecution")
        return {"status": self.statuses[arn]}

    def _start(self, request: dict[str, Any]) -> Any:
        self.started.append(request)
        arn = CLEAN_UP.replace(":stateMachine:", ":execution:") + f":{request['name']}"
        self.statuses[arn] = "RUNNING"
        return {"executionArn": arn}


@pytest.fixture
def executions(answered: Answered) -> Executions:
    return Executions(answered)


def test_a_lock_that_nobody_holds_is_taken(aws: Client) -> None:
    assert acquire() == {"status": "HELD"}
    item = held(aws)
    assert (item["owner"], item["sizing_id"]) == (EXECUTION, sizing_id(EXECUTION))
    left = float(item["expires_at"]) - datetime.now(UTC).timestamp()
    assert left == pytest.approx(lock.LEASE_SECONDS, abs=60)


def test_held_already_is_as_good_as_taken_now(aws: Client) -> None:
    assert acquire() == acquire() == {"status": "HELD"}


def test_who_runs_is_waited_for(aws: Client, executions: Executions) -> None:
    acquire(OTHER)
    executions.statuses[OTHER] = "RUNNING"
    answer = acquire()
    assert answer == {"status": "WAIT", "wait_seconds": 30, "owner": OTHER}
    assert held(aws)["owner"] == OTHER
    with pytest.raises(Locked, match=f"{MODEL} is being sized by {OTHER} since 20"):
        acquire(given=terms("FAIL"))
    an_hour_ago = (datetime.now(UTC) - timedelta(minutes=61)).isoformat()
    with pytest.raises(Locked, match="It was waited for, 61 minutes"):
        acquire(execution={"arn": EXECUTION, "started_at": an_hour_ago}, waited=True)


@pytest.mark.parametrize("when_locked", ["WAIT", "FAIL"])
@pytest.mark.parametrize("status", ["ABORTED", None])
@pytest.mark.parametrize("ended", ["SUCCEEDED", "FAILED", "ABORTED"])
def test_who_has_ended_is_cleaned_up_and_then_taken_over_from(
    aws: Client, executions: Executions, when_locked: str, status: str | None, ended: str
) -> None:
    acquire(OTHER)
    if status:
        executions.statuses[OTHER] = status
    for _ in range(3):
        answer = acquire(given=terms(when_locked))
        assert answer == {"status": "WAIT", "wait_seconds": 10, "owner": OTHER}
    [started] = executions.started
    assert started["stateMachineArn"] == CLEAN_UP
    assert json.loads(started["input"]) == {
        "execution_arn": OTHER,
        "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID": EXECUTION,
    }
    assert held(aws)["owner"] == OTHER
    [clean_up] = executions.statuses.keys() - {OTHER}
    executions.statuses[clean_up] = ended
    assert acquire(given=terms(when_locked)) == {"status": "HELD"}
    assert held(aws)["owner"] == EXECUTION


def test_whoever_can_not_be_asked_about_may_well_be_alive(aws: Client, answered: Answered) -> None:
    acquire(OTHER)
    denied = ClientError({"Error": {"Code": "AccessDeniedException"}}, "DescribeExecution")
    answered("stepfunctions", "DescribeExecution", lambda _: denied)
    assert acquire()["status"] == "WAIT"
    assert held(aws)["owner"] == OTHER


def test_who_does_not_wait_asks_again_before_it_ends(aws: Client, answered: Answered) -> None:
    acquire(OTHER)
    slow: Any = {"Error": {"Code": "ThrottlingException", "Message": "slow down"}}
    answered("stepfunctions", "DescribeExecution", lambda _: ClientError(slow, "Describe"))
    assert acquire()["status"] == "WAIT"
    with pytest.raises(AwsUnavailable, match="slow down"):
        acquire(given=terms("FAIL"))


def test_a_lock_that_has_expired_is_free(aws: Client) -> None:
    acquire(OTHER, terms().model_copy(update={"lease_seconds": -1}))
    assert acquire(given=terms("FAIL")) == {"status": "HELD"}


def test_without_an_answer_nothing_is_held(answered: Answered) -> None:
    said: Any = {"Error": {"Code": "ThrottlingException", "Message": "slow down"}}
    answered("dynamodb", "PutItem", lambda _: ClientError(said, "PutItem"))
    with pytest.raises(AwsUnavailable, match="slow down"):
        acquire()
    denied: Any = {"Error": {"Code": "AccessDeniedException", "Message": "not allowed"}}
    answered("dynamodb", "PutItem", lambda _: ClientError(denied, "PutItem"))
    with pytest.raises(AccessDenied, match="not allowed"):
        acquire()


# --- The event ---------------------------------------------------------------------------------


def test_a_sizing_that_begins_is_announced_once(aws: Client, answered: Answered) -> None:
    sent = answered("events", "PutEvents", lambda _: {"FailedEntryCount": 0, "Entries": []})
    acquire(waited=True)  # its request is resolved anew, and it comes again
    assert sent == []
    acquire()
    [[entry]] = [each["Entries"] for each in sent]
    assert (entry["DetailType"], entry["Resources"]) == ("Endpoint Sizing Started", [EXECUTION])


def test_a_sizing_begins_all_the_same_if_it_is_not_announced(
    aws: Client, answered: Answered
) -> None:
    denied = ClientError({"Error": {"Code": "AccessDeniedException"}}, "PutEvents")
    answered("events", "PutEvents", lambda _: denied)
    assert acquire() == {"status": "HELD"}
