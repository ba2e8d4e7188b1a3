"""Makes the faults of the matrix happen, in sizings that run side by side on one embedded AWS."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.stepfunctions.parser.models import stepfunctions_parser_backends

from local.clients import REGION
from local.ecs import Task
from local.models import register_package
from local.stepfunctions import TaskCall, TaskCallRefused
from sizing.clean_up import lock, names
from sizing.clean_up.names import sizing_id
from sizing.load_test.measurement import (
    INSTANCE_NAMESPACE,
    INVOCATION_NAMESPACE,
    LONGEST_DELAY_SECONDS,
)
from tests.faults import function_calls
from tests.faults.cases import (
    CLEAN_UP,
    LOAD_TEST,
    PROBE,
    SIZING,
    Case,
    Fault,
    FunctionCall,
    Loss,
)
from tests.statemachine.stack import (
    MODELS,
    PRODUCTION,
    Datum,
    StackUnderTest,
    a_request,
    in_production,
    stack_under_test,
)

#: How long anything of a case is waited for: far longer than it takes on a busy machine.
PATIENCE_SECONDS = 120.0
#: The same of a load test that really offers load.
_PATIENCE_SECONDS_OF_REAL_LOAD = 600.0
#: Real load takes its time, so that waits must leave it some.
_WAIT_SCALE_OF_REAL_LOAD = 0.2
#: How often a throttled call is refused, or one that fails by the API's own fault is repeated.
_PASSES_AFTER = {Fault.THROTTLED: 2, Fault.INTERNAL_ERROR: 1, Fault.ANSWER_LOST: 1}
#: How a case's sizing, and all that it makes, is called.
_CASE_NAME = re.compile(r"case-\d{3}|\b[0-9a-f]{12}\b")
#: Looks at CloudWatch by then: after 5 s, and then 1.5 times as long each, but at most 30 s.
_LOOKS_IN_3_MINUTES, _LOOKS_IN_4_MINUTES = 9, 11
_STARTED_BY = "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID"
_ENDS = (Fault.ABORTED, Fault.EXECUTION_TIMED_OUT)
_CALLS_A_MACHINE = {
    "-sizing:": SIZING,
    "-probe:": PROBE,
    "-load-test:": LOAD_TEST,
    "-clean-up:": CLEAN_UP,
}


@dataclass
class Run:
    """A case that runs."""

    case: Case
    arn: str
    #: Whether its calls still meet the fault.
    faulty: bool = True
    #: How often the call was met.
    met: int = 0
    #: A clean-up that a rule started has looked at what is left.
    looked: threading.Event = field(default_factory=threading.Event)
    #: The call that was on its way when the sizing was stopped has arrived.
    arrived: threading.Event = field(default_factory=threading.Event)
    #: A job of the state runs.
    job: threading.Event = field(default_factory=threading.Event)
    #: Executions of the clean-up for this sizing.
    clean_ups: list[str] = field(default_factory=list)
    #: How many of them a rule has started.
    by_rule: int = 0
    #: The sizing of the same model that runs already.
    first: str = ""
    #: Load tests whose metrics were altered; the last one's spec, data that come late, and looks.
    altered: int = 0
    spec: Mapping[str, Any] = field(default_factory=dict)
    held: list[Datum] = field(default_factory=list)
    measured: int = 0
    problems: list[str] = field(default_factory=list)
    #: What functions called for it.
    calls: set[FunctionCall] = field(default_factory=set)

    @property
    def sizing_id(self) -> str:
        """The sizing's id."""
        return sizing_id(self.arn)

    @property
    def patience_seconds(self) -> float:
        """How long its sizing is waited for."""
        real_load = self.case.scenario.real_load
        return _PATIENCE_SECONDS_OF_REAL_LOAD if real_load else PATIENCE_SECONDS

    def wait_for(self, event: threading.Event, what: str) -> None:
        """Wait for something that must happen; else note that it did not."""
        if not event.wait(PATIENCE_SECONDS):
            self.problems.append(f"{what} did not come")


class FaultyStack:
    """The stack under test, and the cases that run on it."""

    def __init__(self, folder: Path, cases: Iterable[Case], *, real_load: bool = False) -> None:
        self.stack: StackUnderTest
        self._real_load = real_load
        self._folder = folder
        self._cases = {f"case-{number:03d}": case for number, case in enumerate(cases)}
        self._runs: dict[str, Run] = {}
        self._runs_by_id: dict[str, Run] = {}
        self._lock = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[FaultyStack]:
        """Run the stack for as long as the context lasts."""
        models = {
            name: MODELS["model"] | dict(case.scenario.model) for name, case in self._cases.items()
        }
        real: dict[str, Any] = {"image": None, "wait_scale": _WAIT_SCALE_OF_REAL_LOAD}
        options = real if self._real_load else {}
        with stack_under_test(self._folder, models, on_call=self._on_call, **options) as self.stack:
            self.stack.alter_metrics = self._metrics
            self.stack.metrics_missing = self._real_load  # those of the endpoints are enough
            self._runs = {
                self._arn(name): Run(case, self._arn(name)) for name, case in self._cases.items()
            }
            self._runs_by_id = {
                **{run.sizing_id: run for run in self._runs.values()},
                **dict(zip(self._cases, self._runs.values(), strict=True)),
            }
            self.stack.load_tests(
                **{
                    f"{run.sizing_id}.*{pattern}": behaviour
                    for run in self._runs.values()
                    for pattern, behaviour in run.case.scenario.load_tests.items()
                }
            )
            with function_calls.deciding(self._on_function_call):
                yield self

    @property
    def runs(self) -> list[Run]:
        """All cases, in their order."""
        return list(self._runs.values())

    def start(self, run: Run) -> None:
        """Start the sizing of a case."""
        name = run.arn.rpartition(":")[2]
        request = a_request(name, **run.case.scenario.request) | self._made_before(run, name)
        if run.case.scenario.locked_by_the_dead:
            self._lock_by_the_dead(run)
        if run.case.scenario.second_of_its_model:
            run.first = self.stack.start(SIZING, a_request(name), f"first-of-{name}")
            self.stack.wait_for_state(run.first, "Probe", PATIENCE_SECONDS)
        self.stack.start(SIZING, request, name)

    def _arn(self, name: str) -> str:
        machine = self.stack.aws.state_machine_arn(SIZING)
        return f"{machine.replace(':stateMachine:', ':execution:')}:{name}"

    def _run_of(self, arn: str, given: Any) -> Run | None:
        """The case that an execution belongs to."""
        given = given if isinstance(given, dict) else {}
        arns = (arn, _cleaned_up(given), given.get(_STARTED_BY))
        run = next((self._runs[each] for each in arns if each in self._runs), None)
        return run or self._runs_by_id.get(arn.rpartition(":")[2].partition("-")[0])

    # --- Calls --------------------------------------------------------------------------------

    def _on_function_call(
        self, call: FunctionCall, invocation: function_calls.Invocation
    ) -> Fault | None:
        """What becomes of a call that a function makes."""
        found = _CASE_NAME.findall(invocation.event)
        run = next((self._runs_by_id[each] for each in found if each in self._runs_by_id), None)
        if run is None:
            return None
        with self._lock:
            run.calls.add(call)
            if call != run.case.call or not run.faulty:
                return None
            run.met += 1
            fault = run.case.fault
            return None if run.met > _PASSES_AFTER.get(fault, 10_000) else fault

    def _on_call(self, call: TaskCall) -> None:
        run = self._run_of(call.execution_arn, call.given)
        if run is None:
            call.make()
            return
        machine = next(m for part, m in _CALLS_A_MACHINE.items() if part in call.execution_arn)
        if machine == CLEAN_UP and call.state == "RemoveLeftovers":
            self._note_clean_up(run, call)
            if run.case.machine != CLEAN_UP:
                self._look(run, call)
                return
        if machine == SIZING and call.state == "CleanUp" and run.case.scenario.orphaned_load_test:
            self._orphan_load_test(run)
        if machine == PROBE and call.state == "Measure":
            self._measure(run)
        if call.state == run.case.also_denied and run.faulty:
            raise TaskCallRefused("Some.AccessDeniedException", "not allowed")
        here = (machine, call.state) == (run.case.machine, run.case.state)
        if here and run.faulty and run.case.purpose in _purpose(call):
            run.met += 1
            fault = run.case.fault
            assert fault is not None
            _HAPPENS.get(fault, _refused)(self, run, call)
        else:
            call.make()

    def _note_clean_up(self, run: Run, call: TaskCall) -> None:
        if call.given.get(_STARTED_BY) == run.arn and run.case.state == "CleanUp":
            run.job.set()
        with self._lock:
            if call.execution_arn not in run.clean_ups and _cleaned_up(call.given) == run.arn:
                run.clean_ups.append(call.execution_arn)
                run.by_rule += "detail" in call.given

    def _look(self, run: Run, call: TaskCall) -> None:
        """A look of a clean-up; after the first one, what was on its way arrives."""
        if run.case.fault not in _ENDS or run.case.is_job or _cleaned_up(call.given) != run.arn:
            call.make()
            return
        if run.looked.is_set() and run.met:
            run.wait_for(run.arrived, "the call that was on its way")
        call.make()
        if "detail" in call.given:
            run.looked.set()

    def stop(self, arn: str) -> None:
        """Stop an execution, as a person does."""
        self.stack.aws.client("stepfunctions").stop_execution(executionArn=arn)

    def time_out(self, arn: str) -> None:
        """Let an execution run out of time as a whole."""
        backend = stepfunctions_parser_backends[DEFAULT_ACCOUNT_ID][REGION]
        execution: Any = backend.describe_execution(arn)
        execution.exec_worker.env.set_timed_out()

    def when_the_job_runs(self, run: Run, do: Callable[[], object]) -> None:
        """Do something when the job of a state runs; returns at once."""

        def wait() -> None:
            if run.case.state in ("Probe", "LoadTest"):
                deadline = time.monotonic() + PATIENCE_SECONDS
                while len(self.tasks(run)) < 2 and time.monotonic() < deadline:
                    time.sleep(0.05)
            else:
                run.wait_for(run.job, "the job")
            do()

        threading.Thread(target=wait, daemon=True).start()

    def tasks(self, run: Run) -> list[str]:
        """ARNs of the load generators of a sizing that run and that nobody has stopped.

        A frozen one that was stopped ends when ECS loses patience. The last sweep sees whether it
        did.
        """
        return [task.task_arn for task in self._running(run) if task.desired_status == "RUNNING"]

    def _running(self, run: Run) -> list[Task]:
        return [
            task
            for task in self.stack.aws.tasks.running()
            if run.sizing_id in {tag["value"] for tag in task.tags}
        ]

    def clean_ups_by_rule(self, run: Run) -> int:
        """How many clean-ups a rule has started for a sizing."""
        with self._lock:
            return run.by_rule

    def left(self, run: Run) -> list[str]:
        """What is left of a sizing."""
        return [
            *(name for name in self.stack.left() if run.sizing_id in name),
            *self.tasks(run),
            *(f"lock/{key}" for key, owner in self.stack.locks().items() if run.arn == owner),
        ]

    def lose(self, run: Run, loss: Loss) -> None:
        """Wait until a load test offers load, then send the signal to one of its tasks."""
        deadline = time.monotonic() + run.patience_seconds
        while time.monotonic() < deadline and run.arn in self.stack.executions(SIZING, "RUNNING"):
            tasks = {
                _variable(task, "LOAD_TEST_ROLE"): task
                for task in self._running(run)
                if f"-{loss.purpose}-" in _variable(task, "LOAD_TEST_URI")
            }
            if len(tasks) == 2 and "Step 1" in tasks["leader"].log.read_text():
                os.killpg(tasks[loss.role].process.pid, loss.signal)
                return
            time.sleep(0.2)
        run.problems.append(f"no {loss.purpose} load test offered load")

    # --- Metrics ------------------------------------------------------------------------------

    def _metrics(self, spec: Mapping[str, Any], data: list[Datum]) -> list[Datum]:
        """What comes of the metrics of a load test."""
        run = next((run for run in self.runs if run.sizing_id in spec["endpoint_name"]), None)
        wrong = run.case.scenario.metrics if run else None
        if run is None or wrong is None or f"-{wrong.purpose}-" not in spec["load_test_id"]:
            return data
        if run.altered and not wrong.for_good:
            return data
        run.altered += 1
        run.spec, run.measured = spec, 0
        run.held = data if wrong.kind == "3 minutes late" else []
        return METRICS[wrong.kind](data)

    def _measure(self, run: Run) -> None:
        """Time passes between the looks at CloudWatch."""
        run.measured += 1
        if run.measured == _LOOKS_IN_3_MINUTES + 1:
            for datum in run.held:
                self.stack.put(run.spec, datum)
        if run.measured == _LOOKS_IN_4_MINUTES + 1 and run.altered and not run.held:
            self._end_earlier(run, LONGEST_DELAY_SECONDS)

    def _end_earlier(self, run: Run, seconds: float) -> None:
        """Let the load test have ended so much earlier: nobody waits for that long here."""
        s3, bucket = self.stack.aws.client("s3"), self.stack.aws.stack.ref("ResultsBucket")
        folder = names.load_test_folder(run.sizing_id, run.spec["load_test_id"])
        where = {"Bucket": bucket, "Key": folder + names.LOAD_TEST_FILE}
        document = json.loads(s3.get_object(**where)["Body"].read())
        document["finished_at"] -= seconds
        s3.put_object(**where, Body=json.dumps(document))

    # --- What is there besides ----------------------------------------------------------------

    def _made_before(self, run: Run, name: str) -> dict[str, Any]:
        """Make the model or the payloads that a request names; returns how it names them."""
        scenario, aws = run.case.scenario, self.stack.aws
        names_: dict[str, Any] = {}
        if scenario.payloads_in_s3:
            key = f"{names.sizing_folder('before')}{name}/{names.PAYLOADS_FILE}"
            bucket = aws.stack.ref("ResultsBucket")
            aws.client("s3").put_object(Bucket=bucket, Key=key, Body=b'{"body": "{}"}\n')
            names_["payloads"] = {"s3_uri": f"s3://{bucket}/{key}"}
        sagemaker = aws.client("sagemaker")
        if scenario.applies:
            serving = in_production(sagemaker, f"{PRODUCTION}{name}", instances=1, model=name)
            names_["apply"] = {"endpoint": serving, "what": scenario.applies, "min": 1, "max": 9}
        if scenario.model_by == "name":
            sagemaker.create_model(
                ModelName=name,
                PrimaryContainer={"Image": "image", "Environment": {"HF_MODEL_ID": name}},
            )
            names_["model"] = {"model_name": name}
        elif scenario.model_by.startswith("package"):
            package = register_package(sagemaker, name)
            by_group = scenario.model_by == "package group"
            names_["model"] = (
                {"model_package_group": name} if by_group else {"model_package_arn": package}
            )
        return names_

    def _orphan_load_test(self, run: Run) -> None:
        """Start a load test that nobody waits for."""
        client = self.stack.aws.client("stepfunctions")
        [former, *_] = [arn for arn in self.stack.executions(LOAD_TEST) if run.sizing_id in arn]
        given = json.loads(client.describe_execution(executionArn=former)["input"])
        load_test_id = "orphan-1-baseline-9"
        given |= {
            "load_test_id": load_test_id,
            "prefix": names.load_test_folder(run.sizing_id, load_test_id),
            "spec": {**given["spec"], "load_test_id": load_test_id},
        }
        self.stack.start(LOAD_TEST, given, f"{run.sizing_id}-{load_test_id}")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(self.tasks(run)) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)

    def _lock_by_the_dead(self, run: Run) -> None:
        """Let a sizing that there is no record of hold the lock of the case's model."""
        name = run.arn.rpartition(":")[2]
        owner = f"{run.arn}-before"
        item = {
            "pk": lock.PARTITION,
            "sk": f"hugging_face/{name}",
            "owner": owner,
            "sizing_id": sizing_id(owner),
            "acquired_at": "2026-01-01T00:00:00.000Z",
        }
        self.stack.aws.client("dynamodb").put_item(
            TableName=self.stack.aws.stack.ref("SizingTable"),
            Item={
                **{key: {"S": value} for key, value in item.items()},
                "expires_at": {"N": str(int(time.time()) + 3600)},
            },
        )


def _variable(task: Task, name: str) -> str:
    """An environment variable of a task, as it was started with."""
    [override] = task.overrides["containerOverrides"]
    return next((each["value"] for each in override["environment"] if each["name"] == name), "")


def _hole(data: list[Datum]) -> list[Datum]:
    """CPUUtilization lacks the second and third period of each step."""
    gone = (10, 20)
    return [each for each in data if each.name != "CPUUtilization" or each.second % 100 not in gone]


def _instances(change: int) -> Callable[[list[Datum]], list[Datum]]:
    """From the second period of each step on, so many more instances report."""

    def changed(datum: Datum) -> Datum:
        if datum.namespace != INSTANCE_NAMESPACE or datum.second % 100 < 10:
            return datum
        return replace(datum, samples=datum.samples + change)

    return lambda data: [each for each in map(changed, data) if each.samples]


def _busier(data: list[Datum]) -> list[Datum]:
    """The endpoint is invoked by others as well."""
    return [
        replace(each, samples=round(each.samples * 1.1))
        if each.namespace == INVOCATION_NAMESPACE
        else each
        for each in data
    ]


#: Steps start at multiples of 100 s; see ``stub_task``.
METRICS: Mapping[str, Callable[[list[Datum]], list[Datum]]] = {
    "3 minutes late": lambda _: [],
    "missing": lambda _: [],
    "a hole": _hole,
    "instance lost": _instances(-1),
    "instance added": _instances(+1),
    "others call the endpoint": _busier,
}


def _purpose(call: TaskCall) -> str:
    """What a probe is made for that a state belongs to, or that it starts; all if to none."""
    probes = [
        each for each in (call.given, call.input) if isinstance(each, dict) and "plan" in each
    ]
    return str(probes[0]["plan"]["purpose"]) if probes else "baseline, verify"


def _cleaned_up(given: Mapping[str, Any]) -> Any:
    """The sizing that a clean-up is for, if it is for one."""
    return given.get("detail", {}).get("executionArn") or given.get("execution_arn")


def _aborted(stack: FaultyStack, run: Run, call: TaskCall) -> None:
    _end(run, call, stack, stack.stop)


def _execution_timed_out(stack: FaultyStack, run: Run, call: TaskCall) -> None:
    _end(run, call, stack, stack.time_out)


def _end(run: Run, call: TaskCall, stack: FaultyStack, end: Callable[[str], None]) -> None:
    whole = call.execution_arn if run.case.machine == CLEAN_UP else run.arn
    if run.case.is_job:
        stack.when_the_job_runs(run, lambda: end(whole))
        call.make()
        return

    def arrive_late() -> None:
        if run.case.machine != CLEAN_UP:
            run.wait_for(run.looked, "the first look of a clean-up")
        with suppress(Exception):  # nobody hears its answer
            call.make()
        run.arrived.set()

    if run.met > 1:  # another clean-up
        call.make()
        return
    end(whole)
    threading.Thread(target=arrive_late, daemon=True).start()
    raise TaskCallRefused("States.TaskFailed", "its execution has ended")


def _timed_out(stack: FaultyStack, run: Run, call: TaskCall) -> None:
    if run.case.is_job:
        stack.when_the_job_runs(run, call.give_up)
    if run.met > 1 and run.case.machine == CLEAN_UP:
        call.make()
        return
    with suppress(Exception):  # nobody hears its answer
        call.make()
    raise TimeoutError


def _swept(stack: FaultyStack, run: Run, call: TaskCall) -> None:
    if run.met > 1:
        call.make()
        return

    def sweep() -> None:
        swept = stack.stack.run(CLEAN_UP, {"sweep": True})
        if swept.status != "SUCCEEDED":
            run.problems.append(f"the sweep {swept.status}: {swept.cause}")

    if run.case.is_job:
        stack.when_the_job_runs(run, sweep)
        call.make()
        return
    call.make()
    sweep()


def _refused(stack: FaultyStack, run: Run, call: TaskCall) -> None:
    fault = run.case.fault
    assert fault is not None
    if run.met > _PASSES_AFTER.get(fault, 10_000):
        call.make()
        return
    if fault is Fault.INTERNAL_ERROR and not run.case.is_job:
        with suppress(Exception):
            call.make()
    raise TaskCallRefused(run.case.error, f"made to fail: {fault}")


_HAPPENS: Mapping[Fault, Callable[[FaultyStack, Run, TaskCall], None]] = {
    Fault.ABORTED: _aborted,
    Fault.EXECUTION_TIMED_OUT: _execution_timed_out,
    Fault.TIMED_OUT: _timed_out,
    Fault.SWEPT: _swept,
}
