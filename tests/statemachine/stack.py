"""The whole stack under test: the shipped machines and functions, with a stub at each far end.

Real: the state machines, the functions, and every API between them. Not real: the load (tasks run
``stub_task.py``, and the metrics that such a load would leave are put straight into the store) and
the length of waits.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.sns.models import sns_backends
from moto.stepfunctions.parser.models import stepfunctions_parser_backends

from aws import clients
from local.clients import REGION
from local.embedded import EmbeddedAws
from local.endpoint.behaviour import ModelBehaviour, load_models
from local.history_event import HistoryEvent
from local.image import Image
from local.stepfunctions import client_of_interpreter
from sizing.clean_up import lock
from sizing.clean_up.names import sizing_id
from tests.statemachine import stub_task

WAIT_SCALE = 0.002
MACHINES_OF_A_SIZING = (
    "SizingStateMachine",
    "ProbeStateMachine",
    "LoadTestStateMachine",
    "CleanUpStateMachine",
)
_REGISTRY = f"{DEFAULT_ACCOUNT_ID}.dkr.ecr.{REGION}.amazonaws.com"
#: Before the names of endpoints that no sizing has made, and that the stack may change.
PRODUCTION = "production-"
VCPUS = 4  # of ml.m5.xlarge and ml.c5.xlarge
MODELS: dict[str, dict[str, Any]] = {
    "model": {"cpu_ms": 1, "startup_seconds": 0.05},
    "broken": {"startup_seconds": 0.05, "fail_startup": "the container did not answer /ping"},
    "no-capacity": {"startup_seconds": 0, "fail_startup": "InsufficientInstanceCapacity error"},
    "slow-start": {"startup_seconds": 3600},
    "half-broken": {
        "cpu_ms": 1,
        "startup_seconds": 0.05,
        "instance_types": {"ml.c5.xlarge": {"fail_startup": "no such image for this type"}},
    },
}


def a_request(model: str = "model", **changes: Any) -> dict[str, Any]:
    """A request that two instances of ml.m5.xlarge meet at 65 %."""
    return {
        "model": {
            "hugging_face": {
                "model_id": model,
                "task": "text-classification",
                "transformers_version": "4.17.0",
                "pytorch_version": "1.10.2",
                "py_version": "py38",
            }
        },
        "instance_types": ["ml.m5.xlarge"],
        "payloads": {"inline": [{"body": "{}"}]},
        "target": {"tps": 260},
        "measurement": {"metric_period_seconds": 10, "settle_seconds": 0, "steady_seconds": 10},
        "use_history": False,  # or one test would decide where the next one starts
        **changes,
    }


@dataclass(frozen=True)
class Execution:
    """An execution that has ended."""

    arn: str
    status: str
    output: Any
    error: str | None
    cause: str
    #: Names of the states it entered, in their order.
    states: list[str]


@dataclass(frozen=True)
class Datum:
    """Samples of one value of a metric, at a second."""

    namespace: str
    name: str
    second: int
    value: float
    samples: int


def as_they_are(_: Mapping[str, Any], data: list[Datum]) -> list[Datum]:
    """Metrics as a load test leaves them."""
    return data


@dataclass
class StackUnderTest:
    """The embedded AWS, and what tests do with it."""

    aws: EmbeddedAws
    behaviours: Path
    entered: dict[str, list[str]] = field(default_factory=dict)
    metrics_missing: bool = False
    #: What comes of the metrics that a load test, given by its spec, leaves.
    alter_metrics: Callable[[Mapping[str, Any], list[Datum]], list[Datum]] = as_they_are
    #: Messages that earlier tests have set off.
    told: int = 0

    # --- Running ----------------------------------------------------------------------------

    def start(self, machine: str, given: Any, name: str | None = None) -> str:
        """Start an execution of a machine by its name in the template; returns its ARN."""
        arguments = {"name": name} if name else {}
        started = self.aws.client("stepfunctions").start_execution(
            stateMachineArn=self.aws.state_machine_arn(machine),
            input=json.dumps(given),
            **arguments,
        )
        return str(started["executionArn"])

    def wait(self, arn: str, seconds: float = 300) -> Execution:
        """Wait until an execution has ended, and its end has reached the rules' targets."""
        deadline = time.monotonic() + seconds
        while arn not in self.aws.ended:
            assert time.monotonic() < deadline, f"still in {self.entered.get(arn, [])[-5:]}"
            time.sleep(0.05)
        seen = self.aws.client("stepfunctions").describe_execution(executionArn=arn)
        return Execution(
            arn=arn,
            status=seen["status"],
            output=json.loads(seen["output"]) if "output" in seen else None,
            error=seen.get("error"),
            cause=seen.get("cause", ""),
            states=list(self.entered.get(arn, [])),
        )

    def run(self, machine: str, given: Any) -> Execution:
        """Run an execution to its end."""
        return self.wait(self.start(machine, given))

    def wait_for_new(self, machine: str, seconds: float = 300) -> str:
        """Wait until a rule has started a machine; returns the execution that runs."""
        deadline = time.monotonic() + seconds
        while not (running := self.executions(machine, "RUNNING")):
            assert time.monotonic() < deadline, f"{machine} was not started"
            time.sleep(0.05)
        return running[0]

    def wait_for_all(self, machine: str) -> None:
        """Wait until no execution of a machine runs."""
        for arn in self.executions(machine, "RUNNING"):
            self.wait(arn)

    def wait_for_task(self, count: int, seconds: float = 300) -> None:
        """Wait until so many load generator tasks run."""
        deadline = time.monotonic() + seconds
        while len(self.aws.tasks.running()) < count:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def load_tests_of(self, sizing: Execution) -> list[str]:
        """ARNs of the executions of a sizing's load tests, the newest first."""
        return self._started_by(sizing.arn, "LoadTestStateMachine")

    def probes_of(self, sizing: Execution) -> dict[str, list[str]]:
        """The states that a sizing's probes entered, by their load tests' ids, in their order."""
        probes = reversed(self._started_by(sizing.arn, "ProbeStateMachine"))
        prefix = f"{sizing_id(sizing.arn)}-"
        return {arn.rpartition(":")[2].removeprefix(prefix): self.entered[arn] for arn in probes}

    def probed(self, sizing: Execution) -> set[str]:
        """All states that a sizing's probes entered."""
        return {state for states in self.probes_of(sizing).values() for state in states}

    def _started_by(self, sizing_arn: str, machine: str) -> list[str]:
        return [arn for arn in self.executions(machine) if sizing_id(sizing_arn) in arn]

    def wait_for_state(self, arn: str, state: str, seconds: float = 300) -> None:
        """Wait until an execution has entered a state."""
        deadline = time.monotonic() + seconds
        while state not in self.entered.get(arn, []):
            assert time.monotonic() < deadline, f"{state} not entered: {self.entered.get(arn)}"
            time.sleep(0.02)

    def wait_for_endpoint(self, sizing_arn: str, status: str, seconds: float = 60) -> None:
        """Wait until an endpoint of a sizing has a status."""
        sagemaker, deadline = self.aws.client("sagemaker"), time.monotonic() + seconds
        while not any(
            sizing_id(sizing_arn) in each["EndpointName"]
            for each in sagemaker.list_endpoints(StatusEquals=status)["Endpoints"]
        ):
            assert time.monotonic() < deadline, f"no endpoint of {sizing_arn} is {status}"
            time.sleep(0.05)

    def executions(self, machine: str, status: str | None = None) -> list[str]:
        """ARNs of a machine's executions, the newest first."""
        of_machine = self._executions.describe_state_machine(self.aws.state_machine_arn(machine))
        return [
            each.execution_arn
            for each in reversed([*of_machine.executions])
            if status in (None, each.exec_status)
        ]

    @property
    def _executions(self) -> Any:
        """moto's own records: a call of the API for each look takes longer than what is awaited."""
        return stepfunctions_parser_backends[DEFAULT_ACCOUNT_ID][REGION]

    # --- Making things go wrong -------------------------------------------------------------

    def load_tests(self, **patterns: str) -> None:
        """What load tests do that match a pattern; see ``stub_task``."""
        self.behaviours.write_text(json.dumps(patterns))

    def finish_creating(self, endpoint_name: str) -> None:
        """Let an endpoint that takes an hour to be created fail now."""
        self.aws.endpoints.delete(endpoint_name)
        self.aws.endpoints.create(
            endpoint_name,
            variant_name="AllTraffic",
            instance_type="ml.m5.xlarge",
            vcpus=VCPUS,
            instance_count=1,
            behaviour=ModelBehaviour(startup_seconds=0, fail_startup="gave up"),
            routing="RANDOM",
            metric_period_seconds=60,
        )

    @contextmanager
    def before(self, service: str, operation: str, do: Callable[..., Any]) -> Iterator[None]:
        """Do something before a call of a state machine or a function; its result is the answer."""
        name = f"before-call.{events_name(service)}.{operation}"
        callers = (client_of_interpreter(REGION, service), clients.client(service))
        for each in callers:
            each.meta.events.register(name, do)
        try:
            yield
        finally:
            for each in callers:
                each.meta.events.unregister(name, do)

    @contextmanager
    def refused(
        self,
        service: str,
        operation: str,
        code: str,
        message: str = "made to fail",
        *,
        times: int = 1_000,
        only: str = "",
    ) -> Iterator[list[Mapping[str, Any]]]:
        """The API refuses a call of a state machine or a function.

        Args:
            service: As boto3 calls it.
            operation: As the API calls it.
            code: Error code; the machine sees it as the integration names it.
            message: Error message.
            times: How often.
            only: Only requests that contain this.

        Yields:
            The requests that were refused so far.
        """
        refusals: list[Mapping[str, Any]] = []

        def refuse(params: Mapping[str, Any], **_: Any) -> Any:
            if len(refusals) >= times or only not in f"{params['url']} {params['body']!r}":
                return None
            refusals.append(params)
            error = {"Code": code, "Message": message}
            answer = {"HTTPStatusCode": 400, "RequestId": "made-up", "RetryAttempts": 0}
            return SimpleNamespace(status_code=400), {"Error": error, "ResponseMetadata": answer}

        with self.before(service, operation, refuse):
            yield refusals

    # --- What was left ----------------------------------------------------------------------

    def left(self) -> list[str]:
        """Everything that a sizing creates and that is still there."""
        sagemaker = self.aws.client("sagemaker")
        prefix = "endpoint-sizer-"
        names = [
            *(f"model/{each['ModelName']}" for each in sagemaker.list_models()["Models"]),
            *(
                f"endpoint-config/{each['EndpointConfigName']}"
                for each in sagemaker.list_endpoint_configs()["EndpointConfigs"]
            ),
            *(
                f"endpoint/{each['EndpointName']}"
                for each in sagemaker.list_endpoints()["Endpoints"]
            ),
        ]
        return [
            *(name for name in names if prefix in name),
            *(task.task_arn for task in self.aws.tasks.running()),
            *(f"lock/{model_key}" for model_key in self.locks()),
            *(
                arn
                for machine in MACHINES_OF_A_SIZING
                for arn in self.executions(machine, "RUNNING")
            ),
        ]

    def locks(self) -> dict[str, str]:
        """Owners of the locks that are held, by the model's key."""
        held = self.aws.client("dynamodb").query(
            TableName=self.aws.stack.ref("SizingTable"),
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": lock.PARTITION}},
        )["Items"]
        return {item["sk"]["S"]: item["owner"]["S"] for item in held}

    def settle(self, until: Sequence[str] = (), seconds: float = 120) -> list[str]:
        """What is left when everything that an event set off has ended, or only that is left."""
        deadline = time.monotonic() + seconds
        while True:
            runs = any(self.executions(machine, "RUNNING") for machine in MACHINES_OF_A_SIZING)
            late = time.monotonic() > deadline
            if ((late or until or not runs) and (left := self.left()) == [*until]) or late:
                return left
            time.sleep(0.1)

    def messages(self) -> list[tuple[str, str]]:
        """Subjects and texts of the messages that were published, oldest first."""
        topic = sns_backends[DEFAULT_ACCOUNT_ID][REGION].topics[self.aws.stack.ref("Topic")]
        return [(each[2] or "", each[1]) for each in topic.sent_notifications]

    def news(self) -> list[tuple[str, str]]:
        """The messages of this test."""
        return self.messages()[self.told :]

    def result(self, execution: Execution) -> dict[str, Any]:
        """A sizing's result.json."""
        bucket, key = execution.output["result_uri"].removeprefix("s3://").split("/", 1)
        body = self.aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"]
        document: dict[str, Any] = json.loads(body.read())
        return document

    # --- Behind the scenes ------------------------------------------------------------------

    def on_event(self, event: HistoryEvent) -> None:
        """Note the states that are entered; leave a load test's metrics when it starts."""
        details = event.event
        if "stateEnteredEventDetails" in details:
            entered = self.entered.setdefault(event.execution_arn, [])
            entered.append(details["stateEnteredEventDetails"]["name"])
        is_load_test = "-load-test:" in event.execution_arn
        if is_load_test and "executionStartedEventDetails" in details and not self.metrics_missing:
            self.leave_metrics(json.loads(details["executionStartedEventDetails"]["input"]))

    def leave_metrics(self, given: Mapping[str, Any]) -> None:
        """Store the metrics that a load test leaves, by its input."""
        spec = given.get("spec", {})
        if "endpoint_name" not in spec:
            return
        for datum in self.alter_metrics(spec, self._metrics(spec)):
            self.put(spec, datum)

    def put(self, spec: Mapping[str, Any], datum: Datum) -> None:
        """Store a metric of a load test's endpoint."""
        dimensions = [
            {"Name": "EndpointName", "Value": spec["endpoint_name"]},
            {"Name": "VariantName", "Value": "AllTraffic"},
        ]
        moment = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(datum.second))
        data = {
            "MetricName": datum.name,
            "Dimensions": dimensions,
            "Timestamp": moment,
            "Values": [datum.value],
            "Counts": [datum.samples],
        }
        self.aws.metrics.put(datum.namespace, [data])

    def _metrics(self, spec: Mapping[str, Any]) -> list[Datum]:
        """What such a load leaves in CloudWatch."""
        instances = stub_task.instance_count(spec["load_test_id"])
        patterns = json.loads(self.behaviours.read_text())
        behaviour = stub_task.behaviour_of(dict(spec), patterns)
        answers = stub_task.ANSWERS.get(behaviour, stub_task.Answers())
        period = spec["metric_period_seconds"]
        data = []
        steps = zip(stub_task.offered(dict(spec)), stub_task.windows(dict(spec)), strict=True)
        for rate, (start, end) in steps:
            busy = min(1.0, rate / (instances * stub_task.SATURATION_TPS))
            invocations = round(rate * period * (1 - answers.throttled))
            errors = round(rate * period * answers.model_errors)
            for second in range(start, end, period):
                by_instance = {
                    "CPUUtilization": busy * 100 * VCPUS,
                    "MemoryUtilization": 40.0,
                    "DiskUtilization": 10.0,
                }
                data += [
                    Datum("/aws/sagemaker/Endpoints", name, second, value, instances)
                    for name, value in by_instance.items()
                ]
                by_request = {
                    "Invocations": 1.0,
                    "ModelLatency": answers.latency_ms * 1000,
                    "OverheadLatency": 1_000.0,
                    "Invocation4XXErrors": 0.0,
                }
                data += [
                    Datum("AWS/SageMaker", name, second, value, invocations)
                    for name, value in by_request.items()
                ]
                for value, samples in ((1.0, errors), (0.0, invocations - errors)):
                    if samples:
                        data.append(
                            Datum("AWS/SageMaker", "Invocation5XXErrors", second, value, samples)
                        )
        return data


def in_production(
    sagemaker: Any,
    name: str,
    *,
    instances: int,
    model: str = "model",
    captures: str | None = None,
) -> str:
    """Let an endpoint serve that no sizing has made, with one variant, ``main``.

    Args:
        sagemaker: A client.
        name: Of model, configuration and endpoint.
        instances: Of ml.m5.xlarge.
        model: How it behaves, by ``models.yaml``.
        captures: The S3 folder that its requests are captured in; None for none.

    Returns:
        The name.
    """
    sagemaker.create_model(
        ModelName=name,
        PrimaryContainer={"Image": f"{_REGISTRY}/{model}:1"},
        ExecutionRoleArn=f"arn:aws:iam::{DEFAULT_ACCOUNT_ID}:role/model",
    )
    variant = {
        "VariantName": "main",
        "ModelName": name,
        "InstanceType": "ml.m5.xlarge",
        "InitialInstanceCount": instances,
    }
    capture = {
        "EnableCapture": True,
        "InitialSamplingPercentage": 10,
        "DestinationS3Uri": captures,
        "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
    }
    sagemaker.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[variant],
        **({"DataCaptureConfig": capture} if captures else {}),
    )
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    sagemaker.get_waiter("endpoint_in_service").wait(
        EndpointName=name, WaiterConfig={"Delay": 0.1, "MaxAttempts": 6000}
    )
    return name


def an_applied_request(stack: StackUnderTest) -> dict[str, Any]:
    """A request whose answer goes to an endpoint in production, made if it is not there."""
    sagemaker, name = stack.aws.client("sagemaker"), f"{PRODUCTION}endpoint"
    if not sagemaker.list_endpoints(NameContains=name)["Endpoints"]:
        in_production(sagemaker, name, instances=1)
    return a_request(apply={"endpoint": name, "min": 1, "max": 9})


def events_name(service: str) -> str:
    """What botocore calls a service in the names of its events."""
    return {"stepfunctions": "sfn", "events": "eventbridge"}.get(service, service)


@contextmanager
def stack_under_test(
    folder: Path, models: Mapping[str, Any] = MODELS, **options: Any
) -> Iterator[StackUnderTest]:
    """The stack, for as long as the context lasts.

    Args:
        folder: For logs and what the stubs do.
        models: How models behave, as in ``models.yaml``.
        options: More of those of ``EmbeddedAws``.
    """
    models_file = folder / "models.yaml"
    models_file.write_text(yaml.safe_dump(dict(models)))
    behaviours = folder / "behaviours.json"
    behaviours.write_text("{}")
    script = Path(stub_task.__file__)
    image = Image(
        ("python", "-I", "-S", script.name), {"STUB_BEHAVIOUR": str(behaviours)}, script.parent
    )
    under_test: list[StackUnderTest] = []

    def on_event(event: HistoryEvent) -> None:
        under_test[0].on_event(event)

    usual = {
        "wait_scale": WAIT_SCALE,
        "image": image,
        "parameters": {
            "WritePackageMetadata": "true",
            "ApplyEndpoints": (
                f"arn:aws:sagemaker:{REGION}:{DEFAULT_ACCOUNT_ID}:endpoint/{PRODUCTION}*"
            ),
        },
        # The made-up load tests are of that time, and what they leave must not be too old.
        "metrics_clock": lambda: stub_task.LONG_AGO,
    }
    with EmbeddedAws(
        models=load_models(models_file),
        logs=folder / "logs",
        on_event=on_event,
        **(usual | options),
    ) as aws:
        under_test.append(StackUnderTest(aws, behaviours))
        yield under_test[0]


def all_states(definition: Mapping[str, Any]) -> set[str]:
    """Names of all states of a machine, nested ones too."""
    names: set[str] = set()
    for name, state in definition["States"].items():
        names.add(name)
        inner = [*state.get("Branches", ()), *filter(None, [state.get("ItemProcessor")])]
        names.update(*(all_states(each) for each in inner))
    return names


def task_states(definition: Mapping[str, Any]) -> dict[str, str]:
    """What the Task states of a machine call, nested ones too: resources by their names."""
    resources: dict[str, str] = {}
    for name, state in definition["States"].items():
        if state["Type"] == "Task":
            resources[name] = state["Resource"]
        inner = [*state.get("Branches", ()), *filter(None, [state.get("ItemProcessor")])]
        for each in inner:
            resources.update(task_states(each))
    return resources


def subjects(messages: list[tuple[str, str]], pattern: str) -> list[str]:
    """The subjects that match a pattern."""
    return [subject for subject, _ in messages if re.search(pattern, subject)]
