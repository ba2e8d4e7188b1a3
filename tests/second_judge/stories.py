"""What happens on both sides, and what came of it: states that were entered, and messages."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from tests.second_judge.shims import OF_A_RULE
from tests.statemachine.stack import StackUnderTest, a_request, all_states

MACHINES: Final = ("nightly", "sizing", "probe", "load-test", "clean-up")
_PROFILE: Final = {key: value for key, value in a_request().items() if key != "model"}
_STORY_SECONDS: Final = 300
#: So long nothing may run before a story is over: a rule may still start something.
_QUIET_SECONDS: Final = 1.0
#: What no two runs have in common.
_MADE_UP: Final = (
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>"),
    (r"\b[0-9a-f]{12}\b(?!:)", "<sizing>"),
    (r"-[0-9a-f]{8}-(?=<id>)", "-<profile>-"),
    (r"s3://[^/\s]+/", "s3://<bucket>/"),
    (r"in [\d.]+ min$", "in <minutes>"),
)


@dataclass(frozen=True)
class Side:
    """The stack on one of the two emulators."""

    client: Callable[[str], Any]
    #: Whose SageMaker, tasks and metrics both sides have.
    stack: StackUnderTest
    #: An approved package of the group ``model``, and the source of its events.
    package: str
    source: str
    #: The nightly schedule.
    schedule: Callable[[], Mapping[str, Any]]

    @property
    def is_embedded(self) -> bool:
        """Whether its load tests leave metrics by themselves."""
        return self.client == self.stack.aws.client

    def arn(self, machine: str) -> str:
        """Of a state machine, by the end of its name."""
        logical_id = machine.title().replace("-", "") + "StateMachine"
        return self.stack.aws.state_machine_arn(logical_id)

    def executions(self, machine: str) -> list[dict[str, Any]]:
        """All executions of a machine, as ListExecutions has them."""
        pages = self.client("stepfunctions").get_paginator("list_executions")
        found = pages.paginate(stateMachineArn=self.arn(machine)).build_full_result()
        return list(found["executions"])

    def start(self, machine: str, given: str) -> None:
        """Start an execution."""
        self.client("stepfunctions").start_execution(stateMachineArn=self.arn(machine), input=given)

    def states_within(self) -> set[str]:
        """Names of the states of a Map or Parallel, of all machines."""
        machines = self.stack.aws.stack.state_machines()
        return {
            name
            for each in machines
            for name in all_states(each.definition) - set(each.definition["States"])
        }

    def put_profile(self, group: str, profile: str) -> None:
        """Write a profile; returns when it is there."""
        self.client("ssm").put_parameter(
            Name=f"/endpoint-sizer/profiles/{group}", Type="String", Value=profile, Overwrite=True
        )


def _approved(side: Side, group: str) -> None:
    detail = {
        "ModelPackageArn": side.package,
        "ModelPackageGroupName": group,
        "ModelPackageVersion": 1,
        "ModelPackageStatus": "Completed",
        "ModelApprovalStatus": "Approved",
        "UpdatedModelPackageFields": ["ModelApprovalStatus"],
    }
    entry = {
        "Source": side.source,
        "DetailType": "SageMaker Model Package State Change",
        "Detail": json.dumps(detail),
    }
    side.client("events").put_events(Entries=[entry])


def approved_package(side: Side) -> None:
    """An approved package -> rule -> nightly -> its group's profile -> a whole sizing"""
    side.put_profile("model", json.dumps(_PROFILE))
    _approved(side, "model")


def package_without_profile(side: Side) -> None:
    """An approved package whose group has no profile -> rule -> nightly, and nothing is sized"""
    _approved(side, "unknown")


def night(side: Side) -> None:
    """The schedule's input -> nightly -> one profile that can be sized, one that can't"""
    side.put_profile("model", json.dumps({**_PROFILE, "dry_run": True}))
    side.put_profile("wrong", "no profile")
    side.start("nightly", side.schedule()["Target"]["Input"])


def invalid_request(side: Side) -> None:
    """A request that is wrong -> FAILED -> rule -> clean-up"""
    side.start("sizing", json.dumps(a_request(target={"tps": -5})))


def broken_model(side: Side) -> None:
    """A model whose container does not start -> FAILED -> rule -> clean-up"""
    side.start("sizing", json.dumps(a_request("broken")))


@dataclass(frozen=True)
class Story:
    """Something that happens, and after which executions it is over."""

    happens: Callable[[Side], None]
    executions: Mapping[str, int]

    @property
    def title(self) -> str:
        """One line."""
        return (self.happens.__doc__ or "").splitlines()[0]


STORIES: Final = (
    Story(approved_package, {"nightly": 1, "sizing": 1, "probe": 2, "load-test": 2, "clean-up": 1}),
    Story(package_without_profile, {"nightly": 1}),
    Story(night, {"nightly": 1, "sizing": 1, "clean-up": 1}),
    Story(invalid_request, {"sizing": 1, "clean-up": 2}),
    Story(broken_model, {"sizing": 1, "probe": 1, "clean-up": 2}),
)


def subscribe(side: Side) -> str:
    """A queue that gets the topic's messages; returns its URL."""
    sqs = side.client("sqs")
    url = str(sqs.create_queue(QueueName="second-judge")["QueueUrl"])
    wanted = ["QueueArn"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=wanted)["Attributes"]["QueueArn"]
    side.client("sns").subscribe(
        TopicArn=side.stack.aws.stack.ref("Topic"), Protocol="sqs", Endpoint=arn
    )
    return url


def play(story: Story, side: Side, queue: str) -> dict[str, list[str]]:
    """Let a story happen, and wait until it is over.

    Returns:
        By machine, its executions: how each ended and what it entered, sorted. By ``message`` the
        messages.
    """
    before = {each["executionArn"] for machine in MACHINES for each in side.executions(machine)}
    story.happens(side)
    found = _wait(story, side, before)
    ended = {
        machine: sorted(_told_of(side, each) for each in executions)
        for machine, executions in found.items()
    }
    return {**ended, "message": sorted(_messages(side, queue))}


def _wait(story: Story, side: Side, before: set[str]) -> dict[str, list[dict[str, Any]]]:
    deadline = time.monotonic() + _STORY_SECONDS
    quiet_since = None
    measured = set(before)
    while True:
        now = time.monotonic()
        found = {
            machine: [
                each for each in side.executions(machine) if each["executionArn"] not in before
            ]
            for machine in MACHINES
        }
        leave_metrics(side, measured)
        running = any(each["status"] == "RUNNING" for many in found.values() for each in many)
        enough = all(len(found[machine]) >= n for machine, n in story.executions.items())
        quiet_since = None if running or not enough else quiet_since or now
        if (quiet_since and now - quiet_since > _QUIET_SECONDS) or now > deadline:
            return found
        time.sleep(0.1)


def leave_metrics(side: Side, measured: set[str]) -> None:
    """Let load tests that have begun leave metrics, where they don't by themselves.

    Args:
        side: Where they run.
        measured: Those that have; these are added.
    """
    for load_test in () if side.is_embedded else side.executions("load-test"):
        arn = load_test["executionArn"]
        if arn not in measured:
            measured.add(arn)
            given = side.client("stepfunctions").describe_execution(executionArn=arn)["input"]
            side.stack.leave_metrics(json.loads(given))


def _told_of(side: Side, execution: Mapping[str, Any]) -> str:
    """How an execution ended, and the states it entered."""
    sfn, arn = side.client("stepfunctions"), execution["executionArn"]
    pages = sfn.get_paginator("get_execution_history").paginate(executionArn=arn)
    entered = [
        each["stateEnteredEventDetails"]["name"]
        for each in pages.build_full_result()["events"]
        if "stateEnteredEventDetails" in each
    ]
    seen = sfn.describe_execution(executionArn=arn)
    end = " ".join(filter(None, [seen["status"], seen.get("error")]))
    return f"{end}: {' '.join(_without_rounds(entered, side.states_within()))}"


def _without_rounds(entered: Sequence[str], within: Set[str]) -> list[str]:
    """Without states of a Map or Parallel, and without rounds that ended in a wait."""
    outer = [state for state in entered if state not in within]
    kept: list[str] = []
    for state, after in pairwise([*outer, ""]):
        if not state.startswith("WaitFor"):
            kept.append(state)
        elif after in kept:
            del kept[len(kept) - 1 - kept[::-1].index(after) :]
    return kept


def _messages(side: Side, queue: str) -> list[str]:
    sqs = side.client("sqs")
    texts = []
    while got := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages"):
        for each in got:
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=each["ReceiptHandle"])
            body = json.loads(each["Body"])
            if body.get("Subject") != OF_A_RULE:
                texts.append(_normal(f"{body.get('Subject')}\n{body['Message']}"))
    return texts


def _normal(text: str) -> str:
    for pattern, name in _MADE_UP:
        text = re.sub(pattern, name, text, flags=re.MULTILINE)
    return text


def set_up_and_taken_down(stack: StackUnderTest) -> None:
    """Ask SetUp what CloudFormation asks when the stack is deleted, of the results.

    Raises:
        AssertionError: CloudFormation is answered otherwise than that they are removed.
    """
    s3, results, answers = (
        stack.aws.client("s3"),
        stack.aws.stack.ref("ResultsBucket"),
        "cloudformation",
    )
    s3.create_bucket(Bucket=answers)
    where = {"Bucket": answers, "Key": "answer"}
    asked = {
        "RequestType": "Delete",
        "ResponseURL": s3.generate_presigned_url("put_object", where),
        "StackId": "arn:aws:cloudformation:us-east-1:123456789012:stack/endpoint-sizer/1",
        "RequestId": "request-1",
        "LogicalResourceId": "ResultsRemoval",
        "PhysicalResourceId": results,
        "ResourceType": "Custom::ResultsRemoval",
        "ResourceProperties": {"Bucket": results, "Keep": "false"},
    }
    stack.aws.client("lambda").invoke(
        FunctionName="endpoint-sizer-set-up", Payload=json.dumps(asked).encode()
    )
    answer = json.loads(s3.get_object(**where)["Body"].read())
    assert answer["Status"] == "SUCCESS", answer
    assert results not in {each["Name"] for each in s3.list_buckets()["Buckets"]}
