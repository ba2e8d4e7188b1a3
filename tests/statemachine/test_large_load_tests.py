"""Step Functions carries a load test of 200 workers, and a sizing of 100 load tests.

Nothing runs: each task ends at once, with an answer as long as one of Fargate's, and each probe
with a record as long as one of a load test that every metric was there for.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from moto.stepfunctions.parser.asl.component.state.exec.state_task.service.state_task_service_ecs import (  # noqa: E501 - the names are moto's
    StateTaskServiceEcs,
)

from aws import load_test_records
from local.stepfunctions import limits
from sizing.load_test.observation import LoadTestRecord
from sizing.load_test.plan import LoadTestPlan, Purpose, Step
from sizing.request.sizing import Sizing
from sizing.search import search
from tests.local.machines import history, start
from tests.statemachine.stack import StackUnderTest, a_request, all_states, stack_under_test

WORKERS = 200
#: What DescribeTasks says of a task of Fargate, in bytes of JSON: 2.8 to 3.0 KB.
TASK_BYTES = 2_800

ARN = "arn:aws:ecs:eu-central-1:123456789012"
TASK = {
    "TaskArn": f"{ARN}:task/endpoint-sizer-Cluster/0123456789abcdef0123456789abcdef",
    "Containers": [{"Name": "load-generator", "ExitCode": 0, "LastStatus": "STOPPED"}],
    # All that else is in it: attachments, attributes, overrides, times.
    "Overrides": {"ContainerOverrides": [{"Environment": [{"Name": "X", "Value": "x" * 2_560}]}]},
    "StopCode": "EssentialContainerExited",
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackUnderTest]:
    with stack_under_test(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture
def ended_tasks(monkeypatch: pytest.MonkeyPatch, stack: StackUnderTest) -> None:
    """Every task has ended well as soon as it is started."""
    assert TASK_BYTES <= limits.size(TASK) <= 3_000

    def submitted(_: Any, env: Any, **__: Any) -> None:
        env.stack.append({"Tasks": [copy.deepcopy(TASK)]})

    def ended(*_: Any, **__: Any) -> Any:
        return lambda: copy.deepcopy(TASK)

    monkeypatch.setattr(StateTaskServiceEcs, "_eval_service_task", submitted)
    monkeypatch.setattr(StateTaskServiceEcs, "_build_sync_resolver", ended)


def load_test(stack: StackUnderTest, number: int) -> dict[str, Any]:
    """The input of a load test."""
    return {
        "load_test_id": f"large-{number}",
        "bucket": stack.aws.stack.ref("ResultsBucket"),
        "prefix": f"sizings/large/{number}/",
        "sizing_id": "large",
        "tags": {},
        "workers": WORKERS,
        "worker_cpu": "1024",
        "worker_memory": "2048",
        "timeout_seconds": 600,
        "spec": {},
    }


def definition(stack: StackUnderTest, name: str = "LoadTestStateMachine") -> dict[str, Any]:
    [machine] = [each for each in stack.aws.stack.state_machines() if each.logical_id == name]
    copied: dict[str, Any] = json.loads(json.dumps(machine.definition))
    return copied


def without_output(value: Any) -> Any:
    """A machine whose tasks return what the API answers."""
    if isinstance(value, Mapping):
        is_task = value.get("Type") == "Task"
        return {
            name: without_output(each)
            for name, each in value.items()
            if not (is_task and name == "Output")
        }
    return [without_output(each) for each in value] if isinstance(value, list) else value


@pytest.mark.usefixtures("ended_tasks")
def test_200_workers_fit_into_a_load_test(stack: StackUnderTest) -> None:
    machine = definition(stack)
    arn = start(stack, machine.pop("States"), load_test(stack, 1), **machine)
    execution = stack.wait(arn)
    assert (execution.status, execution.error) == ("SUCCEEDED", None)
    assert execution.states.count("RunWorker") == WORKERS
    events = len(history(stack, arn))
    assert events < 2_000
    # Each time that a task's start fails is 3 events, and Retry starts it 8 times anew.
    assert events + 8 * 3 * (WORKERS + 1) < 7_000 < limits.MAX_EVENTS


@pytest.mark.usefixtures("ended_tasks")
def test_what_tasks_return_would_not_fit(stack: StackUnderTest) -> None:
    machine = without_output(definition(stack))
    assert {"RunLeader", "RunWorker"} <= all_states(machine)
    arn = start(stack, machine.pop("States"), load_test(stack, 2), **machine)
    execution = stack.wait(arn)
    assert (execution.status, execution.error) == ("FAILED", "States.DataLimitExceeded")


LOAD_TESTS = 100
TYPES = [
    *("ml.m5.xlarge", "ml.m5.2xlarge", "ml.m5.4xlarge", "ml.m5.12xlarge", "ml.m5.24xlarge"),
    *("ml.c5.xlarge", "ml.c5.2xlarge", "ml.c5.4xlarge", "ml.c5.9xlarge", "ml.c5.18xlarge"),
]
LATENCY = dict.fromkeys(("mean", "p50", "p90", "p99", "max"), 123.45678901234567)
#: Of a step whose container breaks: the search asks for other counts.
OBSERVATION = {
    "offered_tps": 1234.567890123,
    "achieved_tps": 1000.123456789,
    "window": {"start": 1_790_000_000, "end": 1_790_000_060},
    "utilization_percent": 64.12345678901,
    "cpu_utilization_raw": 307.12345678901,
    "gpu_utilization_raw": 64.12345678901,
    "gpu_memory_utilization_raw": 33.12345678901,
    "hottest_instance_percent": 66.12345678901,
    "memory_percent": 22.12345678901,
    "disk_percent": 11.12345678901,
    "model_latency_ms": LATENCY,
    "overhead_latency_ms": LATENCY,
    "client_latency_ms": LATENCY,
    "error_percent": 18.98765432101,
    "errors": {"model_error_500": 12_345, "throttled": 123},
    "workers": {"count": 20, "cpu_percent_max": 61.23456789, "lag_ms_p99": 0.234567890123},
    "invocations": 74_074,
    "client_invocations": 74_074,
    "samples": 48,
    "utilization_standard_error": 0.1234567890123,
    "model_latency_p99_standard_error": 0.1234567890123,
    "instances_reporting": 8,
    "warm_up_seconds": 30.0,
    "steady": True,
    "verdict": "CONTAINER_LIMITED",
}


def test_100_load_tests_fit_into_a_sizing(
    stack: StackUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those between the first ones and the last are not run: each round carries its own alone."""
    decide, rounds = search.next_load_test, 3
    seen = {"observations": [OBSERVATION] * 5, "started_at": 1.5, "finished_at": 2.5}

    def go_on(sizing: Sizing, records: tuple[LoadTestRecord, ...]) -> Any:
        """A further load test, till there were as many as the request allows."""
        if len(records) == LOAD_TESTS:
            return decide(sizing, records)
        if len(records) == len(TYPES):
            plain = [each.model_dump(mode="json") for each in records]
            more = [
                {**plain[number % len(TYPES)], "load_test_id": f"skipped-{number}"}
                for number in range(LOAD_TESTS - len(TYPES) - rounds)
            ]
            bucket = stack.aws.stack.ref("ResultsBucket")
            load_test_records.write(bucket, sizing.sizing_id, [*plain, *more])
        return LoadTestPlan(
            instance_type=TYPES[0],
            instance_count=len(records),
            purpose=Purpose.VERIFY,
            steps=(Step(offered_tps=260),),
            workers=1,
            worker_vcpus=1,
            reason="a sentence of about a hundred characters, as the search gives one for each "
            * 2,
        )

    monkeypatch.setattr(search, "next_load_test", go_on)
    machine = definition(stack, "SizingStateMachine")
    inner = machine["States"]["Probes"]["ItemProcessor"]["States"]
    record = "{% $merge([$states.input.record, $seen]) %}"
    inner["Probe"] = {"Type": "Pass", "Assign": {"seen": seen}, "Next": "Record"}
    inner["Record"] = {"Type": "Pass", "Output": record, "Next": "Probed"}
    request = a_request(instance_types=TYPES, limits={"max_load_tests": LOAD_TESTS})
    arn = start(stack, machine.pop("States"), request, **machine)
    execution = stack.wait(arn)
    assert (execution.error, execution.cause) == (None, "")
    assert execution.states.count("PlanLoadTest") == 1 + rounds
    assert stack.result(execution)["sizing"]["load_tests"] == LOAD_TESTS
    assert LOAD_TESTS * limits.size(seen) > limits.MAX_DATA_BYTES  # together they would not fit
    # The probe's own events are more than the two of its stand-ins, and a start's retry is three.
    events = len(history(stack, arn))
    assert (events + 10 * rounds) / rounds * LOAD_TESTS < limits.MAX_EVENTS
