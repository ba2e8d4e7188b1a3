"""The embedded AWS: moto as control plane, with the adapters that make it run the stack for real.

Everything lives and dies with one ``EmbeddedAws``: the server and the interpreter's threads in this
process, the local endpoints in one process of their own, each load generator task in another.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError
from moto.core.config import default_user_config
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.moto_api._internal.models import moto_api_backend
from moto.server import ThreadedMotoServer

from local import (
    clients,
    cloudwatch,
    dynamodb,
    ecs,
    events,
    in_process,
    lambda_,
    quotas,
    s3,
    sagemaker,
    stacks,
    stepfunctions,
)
from local.casing import to_api
from local.clients import REGION
from local.endpoint.behaviour import ModelCatalogue
from local.endpoint.client import EndpointServer
from local.environment import OF_MOTO, OF_NO_ACCOUNT, isolated, needed_by_programs
from local.history_event import HistoryEvent
from local.image import Image
from local.patches import Patch, Patches
from local.schedules import Scheduler, schedules
from local.stepfunctions import ExecutionEnd, TaskCall
from local.template import Function, Stack

ROOT: Final = Path(__file__).parents[1]

#: How long executions that still run at the end are waited for.
_STOP_SECONDS: Final = 1.0

_logger = logging.getLogger(__name__)


class EmbeddedAws(AbstractContextManager["EmbeddedAws"]):
    """The stack of template.yaml, running on this machine for as long as the context lasts.

    One at a time in a process: moto's state is the process's own.

    Args:
        models: How the models on local endpoints behave.
        logs: Folder for the logs of tasks and state machines; made if missing.
        wait_scale: What the state machines' waits are multiplied with; only tests use another
            value than 1.
        on_event: Told of every event of every execution.
        on_call: Called in the place of every call of a state machine; only tests make calls fail.
        image: What tasks run; that of the repository's Dockerfile if not given.
        template: Another template than the repository's.
        parameters: Values for parameters of the template that don't keep their default.
        metrics_clock: Epoch seconds, by which metrics get old; only tests use another.
        port: Where all services answer but SageMaker Runtime; any that is free if 0.
    """

    def __init__(
        self,
        *,
        models: ModelCatalogue,
        logs: Path,
        wait_scale: float = 1.0,
        on_event: Callable[[HistoryEvent], None] = lambda _: None,
        on_call: Callable[[TaskCall], None] | None = None,
        image: Image | None = None,
        template: Path = ROOT / "template.yaml",
        parameters: Mapping[str, str] | None = None,
        metrics_clock: Callable[[], float] = time.time,
        port: int = 0,
    ) -> None:
        #: ARNs of executions whose end has been an event, and has reached the rules' targets.
        self.ended: set[str] = set()
        self.stack = Stack(
            template, region=REGION, account=DEFAULT_ACCOUNT_ID, parameters=parameters
        )
        self.metrics = cloudwatch.MetricStore(metrics_clock)
        self.quotas = quotas.ServiceQuotas()
        self.endpoints: EndpointServer
        self.tasks: ecs.Tasks
        #: Where all services answer but SageMaker Runtime.
        self.url = ""
        self._image = image or Image.read(ROOT / "locust_image" / "Dockerfile")
        self._models = models
        self._logs = logs
        self._wait_scale = wait_scale
        self._on_event = on_event
        self._on_call = on_call
        self._port = port
        self._closing = False
        self._exit = ExitStack()

    def __enter__(self) -> EmbeddedAws:
        with ExitStack() as stack:
            self._start(stack)
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exit.close()

    def client(self, service: str) -> Any:
        """A boto3 client of a service of the embedded AWS."""
        return clients.client(service)

    def state_machine_arn(self, logical_id: str) -> str:
        """ARN of a state machine by its name in the template."""
        return self.stack.ref(logical_id)

    def scheduler(self, now: datetime) -> Scheduler:
        """What starts state machines as the stack's schedules say; whoever has a clock runs it.

        Args:
            now: When the schedules were created.

        Raises:
            TemplateError: A schedule is not understood.
        """

        def start(arn: str, given: str) -> None:
            self.client("stepfunctions").start_execution(stateMachineArn=arn, input=given)

        return Scheduler(schedules(self.stack.resources("AWS::Scheduler::Schedule")), start, now)

    def _start(self, exit_stack: ExitStack) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        functions = self.stack.functions()
        shared = {**_base_environment(), **lambda_.shared_environment(functions)}
        exit_stack.enter_context(isolated(**shared))
        exit_stack.enter_context(lambda_.importable(functions))
        exit_stack.enter_context(_executing_state_machines())
        exit_stack.callback(clients.forget)

        server = ThreadedMotoServer("127.0.0.1", self._port, verbose=False)
        server.start()
        exit_stack.callback(moto_api_backend.reset)
        exit_stack.callback(server.stop)
        host, port = server.get_host_and_port()
        self.url = os.environ["AWS_ENDPOINT_URL"] = f"http://{host}:{port}"
        listening: Any = server._server
        exit_stack.enter_context(Patches(in_process.patches(listening.app, self.url)))

        with ThreadPoolExecutor(1) as starting:
            endpoints = starting.submit(
                EndpointServer.start, cloudwatch_url=self.url, region=REGION, logs=self._logs
            )
            try:
                self._create_storage_and_topics()
            finally:
                self.endpoints = exit_stack.enter_context(endpoints.result())
        os.environ["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"] = self.endpoints.url

        self.tasks = exit_stack.enter_context(
            ecs.Tasks(self._image, environment=self._task_environment(), logs=self._logs)
        )
        exit_stack.enter_context(Patches(self._patches(exit_stack)))
        self._create_compute(functions)
        exit_stack.callback(self._stop_executions)  # first of all, while all it needs is there

    def _patches(self, exit_stack: ExitStack) -> Iterable[Patch]:
        log = exit_stack.enter_context((self._logs / "state-machines.jsonl").open("a"))

        def on_event(event: HistoryEvent) -> None:
            line = {"execution": event.execution_arn.rpartition(":")[2], **event.event}
            if not log.closed:
                log.write(json.dumps(line, default=str) + "\n")
                log.flush()
            self._on_event(event)

        yield from stepfunctions.patches(
            wait_scale=self._wait_scale,
            on_event=on_event,
            on_end=self._publish_end,
            on_call=self._on_call,
        )
        yield from lambda_.patches()
        yield from ecs.patches(self.tasks)
        yield from sagemaker.patches(sagemaker.Endpoints(self.endpoints, self._models))
        yield from cloudwatch.patches(self.metrics)
        yield from dynamodb.patches()
        yield from events.patches()
        yield from s3.patches()
        yield from quotas.patches(self.quotas)
        yield from stacks.patches(self.stack)

    def _publish_end(self, end: ExecutionEnd) -> None:
        if self._closing:  # rules would start clean-ups of what ends with this process
            return
        try:
            events.publish_execution_end(end)
        except (BotoCoreError, ClientError):  # must not change how the execution ended
            _logger.exception("end of %s not published", end.execution_arn)
        finally:
            self.ended.add(end.execution_arn)

    def _stop_executions(self) -> None:
        self._closing = True
        sfn = self.client("stepfunctions")
        deadline = time.monotonic() + _STOP_SECONDS
        with suppress(BotoCoreError, ClientError):
            machines = [each.arn for each in self.stack.state_machines()]
            while running := [
                execution["executionArn"]
                for arn in machines
                for execution in sfn.list_executions(stateMachineArn=arn, statusFilter="RUNNING")[
                    "executions"
                ]
            ]:
                for arn in running:
                    sfn.stop_execution(executionArn=arn)
                if time.monotonic() > deadline:
                    return
                time.sleep(0.1)

    def _task_environment(self) -> dict[str, str]:
        shared = _base_environment()
        keys = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}  # a task takes those of its role
        return {
            **needed_by_programs(),
            **{name: value for name, value in shared.items() if name not in keys},
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": self.endpoints.url,
            "PYTHONUNBUFFERED": "1",
        }

    def _create_storage_and_topics(self) -> None:
        s3 = self.client("s3")
        for logical_id, _ in self.stack.resources("AWS::S3::Bucket"):
            s3.create_bucket(Bucket=self.stack.ref(logical_id))
        for _, table in self.stack.resources("AWS::DynamoDB::Table"):
            dynamodb.create(self.client("dynamodb"), table)
        sns = self.client("sns")
        for logical_id, _ in self.stack.resources("AWS::SNS::Topic"):
            sns.create_topic(Name=self.stack.ref(logical_id).rpartition(":")[2])

    def _create_compute(self, functions: Iterable[Function]) -> None:
        ecs_client = self.client("ecs")
        for _, properties in self.stack.resources("AWS::ECS::Cluster"):
            ecs_client.create_cluster(clusterName=properties["ClusterName"])
        model = ecs_client.meta.service_model.operation_model("RegisterTaskDefinition")
        for _, properties in self.stack.resources("AWS::ECS::TaskDefinition"):
            ecs_client.register_task_definition(**to_api(properties, model.input_shape))
        iam = self.client("iam")
        lambda_client = self.client("lambda")
        for function in functions:
            role_name = function.role_arn.rpartition("/")[2]  # Lambda looks whether it is there
            iam.create_role(RoleName=role_name, AssumeRolePolicyDocument="{}")
            lambda_client.create_function(
                FunctionName=function.name,
                Handler=function.handler,
                Runtime="python3.13",
                Role=function.role_arn,
                Code={"ZipFile": b"the handler is imported from the repository"},
                Timeout=function.timeout_seconds,
                MemorySize=function.memory_mb,
            )
        sfn = self.client("stepfunctions")
        for machine in self.stack.state_machines():
            sfn.create_state_machine(
                name=machine.name,
                definition=json.dumps(machine.definition),
                roleArn=machine.role_arn,
            )
        eventbridge = self.client("events")
        for rule in self.stack.rules():
            eventbridge.put_rule(Name=rule.name, EventPattern=json.dumps(rule.pattern))
            eventbridge.put_targets(Rule=rule.name, Targets=list(rule.targets))


def _base_environment() -> dict[str, str]:
    return {
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",  # opens nothing # nosec B105
        "EMBEDDED_AWS": "true",  # what is measured here must say so
        **OF_NO_ACCOUNT,
        **OF_MOTO,
        # moto has no Price List API; a port that refuses makes the functions use their own table.
        "AWS_ENDPOINT_URL_PRICING": "http://127.0.0.1:9",
    }


@contextmanager
def _executing_state_machines() -> Iterator[None]:
    """moto's backend that runs state machines, not the one that answers them with success."""
    before = default_user_config["stepfunctions"]
    default_user_config["stepfunctions"] = {"execute_state_machine": True}
    try:
        yield
    finally:
        default_user_config["stepfunctions"] = before
