"""The fault matrix, as data: what goes wrong where, and what must come of it.

To add a case, add an entry to ``STATES`` (a state that calls something; faults then happen in it),
to ``LOAD_TESTS`` or to ``METRICS``. ``expected`` and ``of_call`` say what is right for an operator:
rules, which know nothing of how state machines and functions are built. Which calls the functions
make, nobody lists: sizings in which nothing goes wrong show it, and every fault then meets each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from signal import Signals
from typing import Any

from local.embedded import ROOT
from local.template import Stack
from tests.statemachine.stack import task_states

#: Error of a state that has no name of its own for what its API answers.
OF_THE_API = "the API's"

SIZING, PROBE = "SizingStateMachine", "ProbeStateMachine"
LOAD_TEST, CLEAN_UP = "LoadTestStateMachine", "CleanUpStateMachine"


class Fault(StrEnum):
    """What happens to a call of a state machine or a function."""

    #: The execution is stopped while the call is on its way: it arrives after the first look of
    #: the clean-up. Of a state that waits for a job, while the job runs.
    ABORTED = "aborted"
    #: The execution as a whole runs out of time there.
    EXECUTION_TIMED_OUT = "execution timed out"
    #: The call is carried out, but its answer never comes; a job runs on for too long.
    TIMED_OUT = "timed out"
    THROTTLED = "throttled twice"
    THROTTLED_FOR_GOOD = "throttled for good"
    ACCESS_DENIED = "access denied"
    #: The call is carried out, and answered as if it had not been.
    INTERNAL_ERROR = "internal error"
    VALIDATION_ERROR = "validation error"
    #: The sweep runs at that very time.
    SWEPT = "swept"
    #: Of a call that a function makes: it is carried out, once, and the answer is lost.
    ANSWER_LOST = "answer lost"


#: What happens in every state that calls something: in one that calls a function, what becomes of
#: the call of it; what happens inside is another matter.
FAULTS = tuple(each for each in Fault if each is not Fault.ANSWER_LOST)
FAULTS_OF_A_FUNCTION = (
    Fault.ABORTED,
    Fault.EXECUTION_TIMED_OUT,
    Fault.TIMED_OUT,
    Fault.THROTTLED_FOR_GOOD,
    Fault.INTERNAL_ERROR,
    Fault.SWEPT,
)
#: What happens to every call that a function makes.
FAULTS_OF_A_CALL = (
    Fault.THROTTLED,
    Fault.THROTTLED_FOR_GOOD,
    Fault.ACCESS_DENIED,
    Fault.INTERNAL_ERROR,
    Fault.VALIDATION_ERROR,
    Fault.TIMED_OUT,
    Fault.ANSWER_LOST,
)

#: What repetitions get over, or nobody should notice.
_PASSING = frozenset({Fault.THROTTLED, Fault.INTERNAL_ERROR, Fault.SWEPT, Fault.ANSWER_LOST})
#: What is AWS's own trouble, and not a refusal.
_UNAVAILABLE = frozenset({Fault.THROTTLED_FOR_GOOD, Fault.TIMED_OUT})

#: Under which names Step Functions hands on what an API answers, by its integration. An error that
#: the API's model does not name comes under the service's own name.
#: https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
ERROR_NAMES: Mapping[str, Mapping[Fault, str]] = {
    "lambda": {
        Fault.THROTTLED: "Lambda.TooManyRequestsException",
        Fault.ACCESS_DENIED: "Lambda.AWSLambdaException",
        Fault.INTERNAL_ERROR: "Lambda.ServiceException",
        Fault.VALIDATION_ERROR: "Lambda.InvalidRequestContentException",
    },
    "states": {
        Fault.THROTTLED: "StepFunctions.AWSStepFunctionsException",
        Fault.ACCESS_DENIED: "StepFunctions.AWSStepFunctionsException",
        Fault.INTERNAL_ERROR: "StepFunctions.AWSStepFunctionsException",
        Fault.VALIDATION_ERROR: "StepFunctions.ValidationException",
    },
    "sns": {
        Fault.THROTTLED: "SNS.ThrottledException",
        Fault.ACCESS_DENIED: "SNS.AuthorizationErrorException",
        Fault.INTERNAL_ERROR: "SNS.InternalErrorException",
        Fault.VALIDATION_ERROR: "SNS.InvalidParameterException",
    },
}


@dataclass(frozen=True)
class Answer:
    """How a sizing ends by itself."""

    #: Of the execution.
    status: str
    #: Status of the result, or the error.
    name: str
    #: The only recommendation that may be reported anywhere: count and type; None for none at all.
    recommendation: tuple[int, str] | None = None


SIZED = Answer("SUCCEEDED", "SIZED", (2, "ml.m5.xlarge"))


def failed(error: str) -> Answer:
    """Ended in a named error, with nothing recommended."""
    return Answer("FAILED", error)


@dataclass(frozen=True)
class Metrics:
    """Metrics of load tests that are not as they should be."""

    #: One of ``injection.METRICS``.
    kind: str
    #: Of which load tests: baseline or verify.
    purpose: str
    #: Of all those, not just of the first.
    for_good: bool = True


@dataclass(frozen=True)
class Loss:
    """A signal to all processes of a load generator's task, in the middle of its first step."""

    #: LOAD_TEST_ROLE of the task.
    role: str
    signal: Signals
    #: Of which load test: baseline or verify.
    purpose: str


@dataclass(frozen=True)
class Scenario:
    """A sizing that reaches a state."""

    #: Changes of the usual request.
    request: Mapping[str, Any] = field(default_factory=dict)
    #: How the model behaves, besides the usual.
    model: Mapping[str, Any] = field(default_factory=dict)
    #: What load tests do, by a pattern of their ids; see ``stub_task``.
    load_tests: Mapping[str, str] = field(default_factory=dict)
    #: What the metrics of load tests are.
    metrics: Metrics | None = None
    #: Whether the model's lock is held by a sizing that has ended.
    locked_by_the_dead: bool = False
    #: Whether another sizing of the same model runs already.
    second_of_its_model: bool = False
    #: Whether a load test that nobody waits for is still running when it cleans up.
    orphaned_load_test: bool = False
    #: What the request names the model by: as Hugging Face's, by a package group, or by its name.
    model_by: str = "hugging_face"
    #: Whether the payloads lie in a file.
    payloads_in_s3: bool = False
    #: What of an endpoint in production gets the answer: its count or autoscaling.
    applies: str = ""
    #: Whether Locust offers the load, to an endpoint that serves it and shows it in CloudWatch.
    real_load: bool = False
    #: What becomes of a task of Locust's.
    loss: Loss | None = None
    #: How it ends if nothing goes wrong.
    answer: Answer = SIZED


USUAL = Scenario()
BROKEN = Scenario(
    model={"fail_startup": "the container did not answer /ping"}, answer=failed("EndpointFailed")
)
#: The cheaper type can't be load-tested at full traffic, so the other one is scaled out.
TWO_TYPES = Scenario(
    request={"instance_types": ["ml.m5.xlarge", "ml.c5.xlarge"]},
    load_tests={"c5-xlarge-.*verify": "failed"},
)
LOCKED = Scenario({"when_locked": "FAIL"}, locked_by_the_dead=True)
APPLIED = Scenario(applies="count")
ORPHANED = Scenario(orphaned_load_test=True, load_tests={"orphan": "hangs"})
#: Sizings in which nothing goes wrong that comes by everything that functions call.
ALL_WAYS = (
    Scenario({"use_history": True}),
    BROKEN,
    Scenario(load_tests={"baseline": "failed"}, answer=failed("LoadTestFailed")),
    LOCKED,
    ORPHANED,
    Scenario({"payloads": {"inline": [{"body": "{}" + " " * 70_000}]}}),
    Scenario(model_by="package group", payloads_in_s3=True),
    Scenario(model_by="name"),
    Scenario(model_by="package"),
    APPLIED,
    Scenario(applies="autoscaling"),
)


@dataclass(frozen=True)
class Called:
    """A state that calls something."""

    #: What the sizing ends with if the call can't be made; None if it does without.
    error: str | None
    #: A sizing that comes by.
    scenario: Scenario = USUAL
    machine: str = SIZING
    #: Of which probes: baseline or verify.
    purpose: str = ""


#: Every state of a sizing and its probes that calls something, by its name, and for which probes.
STATES: Mapping[str, Called] = {
    "ResolveRequest": Called(OF_THE_API),
    "AcquireLock": Called(OF_THE_API),
    "Probe": Called(OF_THE_API, purpose="baseline"),
    "Probe, verify": Called(OF_THE_API, purpose="verify"),
    "ShrinkFormer": Called(None, TWO_TYPES, PROBE),
    "EnsureEndpoint": Called(OF_THE_API, machine=PROBE, purpose="baseline"),
    "EnsureEndpoint, verify": Called(OF_THE_API, machine=PROBE, purpose="verify"),
    "SmokeTest": Called("SmokeTestFailed", machine=PROBE),
    "LoadTest": Called("LoadTestFailed", machine=PROBE, purpose="baseline"),
    "LoadTest, verify": Called("LoadTestFailed", machine=PROBE, purpose="verify"),
    "Measure": Called(OF_THE_API, machine=PROBE, purpose="baseline"),
    "Measure, verify": Called(OF_THE_API, machine=PROBE, purpose="verify"),
    "ReleaseEndpoint": Called(None, BROKEN, PROBE),
    "PlanLoadTest": Called(OF_THE_API),
    "RecordResult": Called("RecordResultFailed"),
    "CleanUp": Called("CleanUpFailed"),
    "ApplyAnswer": Called("ApplyFailed", APPLIED),
    "Tell": Called("NotificationFailed"),
}
#: Those after which the answer is known and written: what is reported then may name it.
_AFTER_THE_ANSWER = frozenset({"RecordResult", "CleanUp", "ApplyAnswer", "Tell"})
_FUNCTIONS_AFTER_THE_ANSWER = frozenset(
    {"record-result", "remove-leftovers", "apply-answer", "tell"}
)


@dataclass(frozen=True, order=True)
class FunctionCall:
    """A call that a function makes."""

    #: The function's name, without the stack's prefix.
    function: str
    #: Service and operation, as the SDK has them; of S3 also the file's name.
    call: str

    def __str__(self) -> str:
        return f"{self.function}, {self.call}"


@dataclass(frozen=True)
class Case:
    """One sizing in which something goes wrong, and what must come of it."""

    name: str
    expected: Answer
    scenario: Scenario = USUAL
    #: Where it happens: a state machine and one of its states.
    machine: str = SIZING
    state: str = ""
    #: Only in probes that are made for that: baseline or verify.
    purpose: str = ""
    #: Or a call that a function makes.
    call: FunctionCall | None = None
    fault: Fault | None = None
    #: Another state, whose call is refused for good.
    also_denied: str = ""
    #: Whether something is left until calls are no longer refused, and a clean-up runs again.
    cleaned_up_later: bool = False
    #: Whether it is the sweep that removes it then.
    by_sweep: bool = False
    #: Whether no message can tell of it; the clean-up fails then, for which there is an alarm.
    silent: bool = False

    @property
    def is_job(self) -> bool:
        """Whether the state waits for a job that it starts."""
        return bool(self.state) and ".sync" in resource(self.machine, self.state)

    @property
    def error(self) -> str:
        """The error that the state sees, as Step Functions names it."""
        fault = Fault.THROTTLED if self.fault is Fault.THROTTLED_FOR_GOOD else self.fault
        if fault is Fault.TIMED_OUT:
            return "States.Timeout"
        assert fault is not None
        return ERROR_NAMES[integration(resource(self.machine, self.state))][fault]


@cache
def machines() -> dict[str, Mapping[str, Any]]:
    """Definitions of the state machines, by their names in the template."""
    stack = Stack(ROOT / "template.yaml", region="us-east-1", account="123456789012")
    return {each.logical_id: each.definition for each in stack.state_machines()}


@cache
def resources(machine: str) -> dict[str, str]:
    """What the states of a machine call, by their names."""
    return task_states(machines()[machine])


def resource(machine: str, state: str) -> str:
    """What a state calls, as its definition has it."""
    return resources(machine)[state]


def integration(arn: str) -> str:
    """The integration of a resource: ``lambda``, ``aws-sdk:sagemaker`` ..."""
    service, _, rest = arn.partition(":states:::")[2].partition(":")
    return f"{service}:{rest.partition(':')[0]}" if service == "aws-sdk" else service


def expected(called: Called, state: str, fault: Fault) -> Answer:
    """What is right for an operator when a call of a sizing meets a fault.

    - What is stopped is stopped, and what ran out of time has timed out.
    - Throttling and internal errors that pass, and the sweep, make no difference.
    - What lasts fails the sizing by a name that says what could not be done, unless it can do
      without that call.
    - Nothing is recommended but what was measured before, and is right.
    """
    answer = called.scenario.answer
    if fault is Fault.ABORTED:
        return Answer("ABORTED", "", answer.recommendation)
    if fault is Fault.EXECUTION_TIMED_OUT:
        return Answer("TIMED_OUT", "", answer.recommendation)
    if fault in _PASSING or called.error is None:
        return answer
    error = called.error
    if error == OF_THE_API:
        error = Case("", answer, machine=called.machine, state=state, fault=fault).error
    return Answer("FAILED", error, answer.recommendation if state in _AFTER_THE_ANSWER else None)


def faults_of(machine: str, state: str) -> Sequence[Fault]:
    """What happens in a state."""
    is_function = integration(resource(machine, state)) == "lambda"
    return FAULTS_OF_A_FUNCTION if is_function else FAULTS


def in_states() -> Iterator[Case]:
    """Every fault in every state of a sizing and its probes that calls something."""
    for name, called in STATES.items():
        state = name.partition(",")[0]
        for fault in faults_of(called.machine, state):
            scenario = called.scenario
            waits = fault in (Fault.ABORTED, Fault.TIMED_OUT, Fault.EXECUTION_TIMED_OUT)
            if waits and state in ("Probe", "LoadTest"):
                scenario = Scenario(load_tests={called.purpose: "hangs"}, answer=scenario.answer)
            yield Case(
                name=f"{name}: {fault}",
                expected=expected(called, state, fault),
                scenario=scenario,
                machine=called.machine,
                state=state,
                purpose=called.purpose,
                fault=fault,
            )


#: With what a sizing ends if a function's call can't be made: because AWS is not available, and
#: because it refuses.
OF_FUNCTIONS: Mapping[str, tuple[str, str]] = {
    "resolve-request": ("AwsUnavailable", "ClientError"),
    "acquire-lock": ("AwsUnavailable", "ClientError"),
    "ensure-endpoint": ("AwsUnavailable", "EndpointFailed"),
    "smoke-test": ("SmokeTestFailed", "SmokeTestFailed"),
    "measure": ("AwsUnavailable", "ClientError"),
    "plan-load-test": ("AwsUnavailable", "ClientError"),
    "record-result": ("RecordResultFailed", "RecordResultFailed"),
    "remove-leftovers": ("CleanUpFailed", "CleanUpFailed"),
    "apply-answer": ("ApplyFailed", "ApplyFailed"),
    "tell": ("NotificationFailed", "NotificationFailed"),
}
#: The same of single calls, where it is another matter; None where it does without.
OF_CALLS: Mapping[FunctionCall, tuple[str, str | None]] = {
    # What the request names can't be read: that is for whoever wrote it.
    FunctionCall("resolve-request", "s3 HeadObject payloads.jsonl"): (
        "AwsUnavailable",
        "InvalidRequest",
    ),
    FunctionCall("resolve-request", "s3 GetObject payloads.jsonl"): (
        "AwsUnavailable",
        "InvalidRequest",
    ),
    **dict.fromkeys(
        (
            FunctionCall("resolve-request", f"sagemaker {each}")
            for each in (
                *("DescribeModel", "DescribeModelPackage", "ListModelPackages"),
                *("DescribeEndpoint", "DescribeEndpointConfig"),
            )
        ),
        ("AwsUnavailable", "InvalidRequest"),
    ),
    FunctionCall("resolve-request", "application-autoscaling DescribeScalableTargets"): (
        "AwsUnavailable",
        None,
    ),
    # What may not be done to an endpoint in production is left alone, and told.
    **dict.fromkeys(
        (
            FunctionCall("apply-answer", each)
            for each in (
                "sagemaker DescribeEndpoint",
                "sagemaker DescribeEndpointConfig",
                "sagemaker UpdateEndpointWeightsAndCapacities",
                "application-autoscaling DescribeScalableTargets",
                "application-autoscaling DescribeScalingPolicies",
                "application-autoscaling RegisterScalableTarget",
                "application-autoscaling PutScalingPolicy",
            )
        ),
        ("ApplyFailed", None),
    ),
    # Whoever can't be asked about may well be alive.
    FunctionCall("acquire-lock", "stepfunctions DescribeExecution"): ("AwsUnavailable", "Locked"),
}
#: What a sizing does without: prices and quotas have a table or a note, addresses mostly suffice,
#: history and report are missed, what costs money is removed later, captured requests are deleted
#: with the results, and a load test ends by either of two calls.
DONE_WITHOUT = frozenset(
    {
        FunctionCall("resolve-request", "pricing GetProducts"),
        FunctionCall("resolve-request", "service-quotas ListServiceQuotas"),
        FunctionCall("resolve-request", "service-quotas ListAWSDefaultServiceQuotas"),
        FunctionCall("resolve-request", "dynamodb Query"),
        FunctionCall("resolve-request", "ec2 DescribeSubnets"),
        FunctionCall("acquire-lock", "events PutEvents"),
        FunctionCall("ensure-endpoint", "sagemaker DeleteEndpoint"),
        FunctionCall("read-reason", "s3 GetObject load_test.json"),
        FunctionCall("record-result", "s3 GetObject load_test.json"),
        FunctionCall("record-result", "s3 GetObject load_tests.json"),
        FunctionCall("record-result", "s3 PutObject report.html"),
        FunctionCall("record-result", "dynamodb PutItem"),
        FunctionCall("record-result", "dynamodb Query"),
        FunctionCall("record-result", "ssm PutParameter"),
        FunctionCall("record-result", "sagemaker UpdateModelPackage"),
        FunctionCall("remove-leftovers", "sagemaker DescribeEndpoint"),
        FunctionCall("remove-leftovers", "stepfunctions StopExecution"),
        FunctionCall("remove-leftovers", "ecs StopTask"),
        FunctionCall("remove-leftovers", "s3 ListObjectVersions ?versions"),
    }
)


def of_call(call: FunctionCall, fault: Fault, scenario: Scenario) -> Answer:
    """What is right for an operator when a function's call meets a fault."""
    answer = scenario.answer
    if fault in _PASSING or call in DONE_WITHOUT:
        return answer
    unavailable, refused = OF_CALLS.get(call) or OF_FUNCTIONS[call.function]
    name = unavailable if fault in _UNAVAILABLE else refused
    if name is None:
        return answer
    if fault is Fault.ACCESS_DENIED and name in ("ClientError", "EndpointFailed"):
        name = "AccessDenied"
    after_the_answer = call.function in (
        "record-result",
        "remove-leftovers",
        "apply-answer",
        "tell",
    )
    return Answer("FAILED", name, answer.recommendation if after_the_answer else None)


def in_functions(calls: Mapping[FunctionCall, Scenario]) -> Iterator[Case]:
    """Every fault in every call that a function makes.

    Args:
        calls: The calls, each with a sizing that comes by.
    """
    for call, scenario in sorted(calls.items(), key=lambda item: item[0]):
        for fault in FAULTS_OF_A_CALL:
            right = of_call(call, fault, scenario)
            yield Case(
                name=f"{call}: {fault}",
                expected=right,
                scenario=scenario,
                call=call,
                fault=fault,
                cleaned_up_later=right.name == "CleanUpFailed",
            )


TARGET_NOT_MET = Answer("SUCCEEDED", "TARGET_NOT_MET")
#: Windows of more than one metric period, so that one can have a hole.
LONG_WINDOWS: Mapping[str, Any] = {
    "measurement": {"metric_period_seconds": 10, "settle_seconds": 0, "steady_seconds": 60}
}
LATENCY_LIMIT: Mapping[str, Any] = {"target": {"tps": 260, "model_latency_p99_ms": 500}}

#: What may become of a load test: what its tasks do (see ``stub_task``), and what is right then.
LOAD_TESTS: Mapping[str, tuple[str, Answer]] = {
    "leader killed": ("leader killed", failed("LoadTestFailed")),
    "worker killed": ("killed", failed("LoadTestFailed")),
    "worker lost, says the leader": ("failed", failed("LoadTestFailed")),
    "load generator too slow": ("tired", failed("NoCandidateMeasured")),
    "endpoint answers 5xx": ("5xx", TARGET_NOT_MET),
    "endpoint throttles": ("throttled", TARGET_NOT_MET),
    "endpoint is slow": ("slow", TARGET_NOT_MET),
}
#: What may be wrong about metrics, and what is right if it is wrong for good. Where it is wrong
#: once, the load test is repeated and nothing else differs.
METRICS: Mapping[str, Answer] = {
    "missing": failed("MetricsMissing"),
    "a hole": failed("NoCandidateMeasured"),
    "instance lost": failed("NoCandidateMeasured"),
    "instance added": failed("NoCandidateMeasured"),
    "others call the endpoint": failed("NoCandidateMeasured"),
}
PURPOSES = ("baseline", "verify")


def under_load() -> Iterator[Case]:
    """What goes wrong while a load test runs, and in what it leaves."""
    for purpose in PURPOSES:
        for name, (behaviour, answer) in LOAD_TESTS.items():
            request = LATENCY_LIMIT if behaviour == "slow" else {}
            scenario = Scenario(request, load_tests={purpose: behaviour})
            yield Case(f"{purpose}: {name}", answer, scenario)
        once = Scenario(load_tests={f"{purpose}-[12]$": "tired"})
        yield Case(f"{purpose}: load generator too slow, once", SIZED, once)
        late = Scenario(LONG_WINDOWS, metrics=Metrics("3 minutes late", purpose))
        yield Case(f"{purpose}: metrics 3 minutes late", SIZED, late)
        for kind, answer in METRICS.items():
            for for_good in (True, False):
                if kind == "missing" and not for_good:
                    continue  # no number and no hint: nobody knows whether another would have any
                scenario = Scenario(LONG_WINDOWS, metrics=Metrics(kind, purpose, for_good))
                often = "for good" if for_good else "once"
                right = answer if for_good else SIZED
                yield Case(f"{purpose}: metrics: {kind}, {often}", right, scenario)


#: What a clean-up meets in each of its states that calls something.
CLEAN_UP_FAULTS = (Fault.ABORTED, Fault.TIMED_OUT, Fault.THROTTLED, Fault.ACCESS_DENIED)


def in_clean_up() -> Iterator[Case]:
    """A clean-up that fails half-way, in each of its states that calls something.

    Stopped, throttled or out of time it is done by the next round or the next clean-up. Where it
    is refused for good, it says so, and all is removed once it may.
    """
    for state in resources(CLEAN_UP):
        for fault in CLEAN_UP_FAULTS:
            yield _in_clean_up(state, fault)
    # With all that a sizing creates still there: do its names and tags tell the sweep whose it is?
    nothing_removed = _in_clean_up("RemoveLeftovers", Fault.ACCESS_DENIED)
    yield replace(nothing_removed, name="clean-up, lost: then the sweep", by_sweep=True)


def _in_clean_up(state: str, fault: Fault) -> Case:
    name = f"clean-up, {state}: {fault}"
    denied = fault is Fault.ACCESS_DENIED
    not_cleaned_up = Answer("FAILED", "CleanUpFailed", SIZED.recommendation)
    if state == "TellEnded":  # of a sizing that could not speak for itself
        return Case(
            name,
            Answer("FAILED", "NotificationFailed", SIZED.recommendation),
            machine=CLEAN_UP,
            state=state,
            fault=fault,
            also_denied="Tell",
            silent=denied or fault is Fault.ABORTED,
        )
    # Only a clean-up that can't remove anything comes to tell so.
    also_denied = "RemoveLeftovers" if state == "NotifyLeftovers" else ""
    lasts = bool(also_denied) or denied
    return Case(
        name,
        not_cleaned_up if lasts or fault is Fault.ABORTED else SIZED,
        machine=CLEAN_UP,
        state=state,
        fault=fault,
        also_denied=also_denied,
        cleaned_up_later=lasts,
    )


def of_one_model() -> Iterator[Case]:
    """Two sizings of the same model."""
    waits = Scenario({"when_locked": "WAIT"}, second_of_its_model=True)
    yield Case("second sizing of a model: waits", SIZED, waits)
    fails = Scenario({"when_locked": "FAIL"}, second_of_its_model=True)
    yield Case("second sizing of a model: fails", failed("Locked"), fails)


#: An instance of ml.m5.xlarge serves 200 a second of this.
_SERVED: Mapping[str, Any] = {"cpu_ms": 20}
#: How an endpoint may behave, and the answer that it deserves.
ENDPOINTS: Mapping[str, tuple[Scenario, Answer]] = {
    "nothing goes wrong": (Scenario(), SIZED),
    # More instances would do: each answers 503 while it is at work.
    "endpoint answers 5xx": (
        Scenario({"limits": {"max_instances": 3}}, {"concurrency": 1, "queue_size": 0}),
        TARGET_NOT_MET,
    ),
    "endpoint throttles": (Scenario(model={"throttle_tps": 50}), TARGET_NOT_MET),
    "endpoint is slow": (Scenario(LATENCY_LIMIT, {"wait_ms": 2_000}), TARGET_NOT_MET),
}
#: What may become of a task under load.
LOSSES = {"killed": Signals.SIGKILL, "frozen": Signals.SIGSTOP}


def under_real_load() -> Iterator[Case]:
    """The same once more with Locust's processes and a real load, where time permits."""
    for name, (scenario, answer) in ENDPOINTS.items():
        model = {**_SERVED, **scenario.model}
        yield Case(f"real load: {name}", answer, replace(scenario, model=model, real_load=True))
    for purpose in PURPOSES:
        for role in ("worker", "leader"):
            for what, number in LOSSES.items():
                loss = Loss(role, number, purpose)
                scenario = Scenario(model=_SERVED, real_load=True, loss=loss)
                name = f"real load, {purpose}: {role} {what}"
                yield Case(name, failed("LoadTestFailed"), scenario)


def all_cases(calls: Mapping[FunctionCall, Scenario]) -> Sequence[Case]:
    """The whole matrix.

    Args:
        calls: What functions call, each with a sizing that comes by.
    """
    return [
        *in_states(),
        *in_functions(calls),
        *under_load(),
        *in_clean_up(),
        *of_one_model(),
        *under_real_load(),
    ]


def fast_cases() -> Sequence[Case]:
    """The part for ``make faults-fast``: every second state, by turns the faults, some load."""
    in_states_by_turns = []
    for number, name in enumerate([*STATES][::2]):
        of_state = [case for case in in_states() if case.name.startswith(f"{name}: ")]
        in_states_by_turns.append(of_state[number % len(of_state)])
    by_turns = {case.name.partition(":")[0]: case.fault for case in in_states_by_turns}
    in_states_by_turns += [  # what no state's turn came to
        next(c for c in in_states() if c.fault is fault and c.name.partition(":")[0] in by_turns)
        for fault in FAULTS_OF_A_FUNCTION
        if fault not in by_turns.values()
    ]
    half_way = [case for case in in_clean_up() if case.fault is Fault.ACCESS_DENIED][:1]
    lost = [case for case in in_clean_up() if case.by_sweep]
    return [*in_states_by_turns, *list(under_load())[::5], *half_way, *lost]
