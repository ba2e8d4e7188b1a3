"""An account with the stack in it, for the command: what its verbs call, answered at once.

The clients are boto3's own, so every call is checked against AWS's API. CloudFormation, Step
Functions, logs and metrics are answered from here, by answers that are checked likewise; all other
services by moto.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator

from aws import sizing_table
from sizing.clean_up.names import REPORT_FILE, RESULT_FILE, sizing_folder, sizing_id
from sizing.result.history import Summary, partition

REGION = "eu-central-1"
ACCOUNT = "123456789012"
BUCKET = "results"
TABLE = "endpoint-sizer"
PROFILES = "/endpoint-sizer/profiles"
_STATES = f"arn:aws:states:{REGION}:{ACCOUNT}"
MACHINE = f"{_STATES}:stateMachine:endpoint-sizer-sizing"
NIGHTLY = f"{_STATES}:stateMachine:endpoint-sizer-nightly"
STARTED = dt.datetime(2026, 11, 26, 2, 0, tzinfo=dt.UTC)
_SESSION = boto3.Session()
_HERE = ("cloudformation", "stepfunctions", "logs", "cloudwatch")


def _new_client(service: str) -> Any:
    make: Any = _SESSION.client
    # Credentials of its own: the session outlives the environment of a test.
    keys = {"aws_access_key_id": "made-up", "aws_secret_access_key": "made-up"}
    return make(service, region_name=REGION, **keys)


#: A client of a service that moto answers; making one takes longer than most tests.
of_moto = functools.cache(_new_client)


def arn(name: str, machine: str = "sizing") -> str:
    """ARN of an execution."""
    return f"{_STATES}:execution:endpoint-sizer-{machine}:{name}"


@dataclass
class Account:
    """What is in the account, and what was asked of it."""

    outputs: dict[str, str] = field(
        default_factory=lambda: {
            "SizingStateMachineArn": MACHINE,
            "NightlyStateMachineArn": NIGHTLY,
            "ProfilesPath": PROFILES,
            "ResultsBucketName": BUCKET,
            "SizingTableName": TABLE,
        }
    )
    #: As DescribeExecution has them, by ARN, the latest first.
    executions: dict[str, dict[str, Any]] = field(default_factory=dict)
    histories: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, dict[float, float]] = field(default_factory=dict)
    #: Errors by operation, raised in the place of an answer.
    refusals: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    #: Called when a sizing is looked at.
    on_look: Callable[[str], None] = lambda _arn: None

    #: Services that are answered from here.
    here: tuple[str, ...] = _HERE

    _clients: dict[str, Any] = field(default_factory=dict)
    #: What is being asked, by thread.
    _asked: threading.local = field(default_factory=threading.local)

    # --- What is in it ------------------------------------------------------------------------

    def execution(self, name: str, status: str = "SUCCEEDED", **facts: Any) -> str:
        """Add an execution of a sizing; returns its ARN."""
        this = arn(name)
        given = facts.pop("request", {})
        output = facts.pop("output", None)
        self.executions[this] = {
            "executionArn": this,
            "stateMachineArn": MACHINE,
            "name": name,
            "status": status,
            "startDate": STARTED,
            "input": json.dumps(given),
            **({} if status == "RUNNING" else {"stopDate": STARTED + dt.timedelta(minutes=30)}),
            **({} if output is None else {"output": json.dumps(output)}),
            **facts,
        }
        return this

    def result(self, name: str, document: dict[str, Any], *, report: bool = True) -> str:
        """Put a sizing's files into the bucket; returns its id."""
        this = arn(name)
        document["sizing"] |= {"id": sizing_id(this), "execution_arn": this}
        s3 = of_moto("s3")
        folder = sizing_folder(sizing_id(this))
        s3.put_object(Bucket=BUCKET, Key=folder + RESULT_FILE, Body=json.dumps(document, indent=2))
        if report:
            s3.put_object(Bucket=BUCKET, Key=folder + REPORT_FILE, Body=b"<html>")
        return sizing_id(this)

    def remembered(self, summary: Summary) -> None:
        """Put a sizing into the history."""
        sizing_table.put(TABLE, summary.item())

    def profile(self, group: str) -> Any:
        """A profile as it is stored."""
        ssm = of_moto("ssm")
        return json.loads(ssm.get_parameter(Name=f"{PROFILES}/{group}")["Parameter"]["Value"])

    def called(self, operation: str) -> list[dict[str, Any]]:
        """What an operation was called with, each time."""
        return [given for name, given in self.calls if name == operation]

    # --- Answers ------------------------------------------------------------------------------

    def client(self, service: str, _endpoint_url: str | None = None) -> Any:
        """In the place of ``aws.clients._client``."""
        if service not in self.here:
            return of_moto(service)
        if (client := self._clients.get(service)) is None:
            client = self._clients[service] = _new_client(service)
            client.meta.events.register("before-parameter-build", self._note)
            client.meta.events.register("before-call", self._answer)
        return client

    def _note(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        self._asked.given = params
        self.calls.append((model.name, params))

    def _answer(self, model: Any, **_: Any) -> tuple[Any, dict[str, Any]]:
        operation, given = model.name, self._asked.given
        if code := self.refusals.get(operation):
            raise ClientError({"Error": {"Code": code, "Message": f"{code}!"}}, operation)
        answer = getattr(self, f"_{operation}")(given)
        report = ParamValidator().validate(answer, model.output_shape)
        assert not report.has_errors(), report.generate_report()
        return _Ok(), answer

    def _DescribeStacks(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        if given["StackName"] != "endpoint-sizer":
            raise ClientError(
                {"Error": {"Code": "ValidationError", "Message": "does not exist"}},
                "DescribeStacks",
            )
        outputs = [{"OutputKey": key, "OutputValue": value} for key, value in self.outputs.items()]
        stack = {"StackName": "endpoint-sizer", "CreationTime": STARTED, "Outputs": outputs}
        return {"Stacks": [{**stack, "StackStatus": "CREATE_COMPLETE"}]}

    def _StartExecution(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        if given["stateMachineArn"] == MACHINE:
            self.execution(given["name"], "RUNNING", request=json.loads(given["input"]))
        machine = given["stateMachineArn"].rpartition("-")[2]
        return {"executionArn": arn(given.get("name", "made-up"), machine), "startDate": STARTED}

    def _DescribeExecution(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.on_look(given["executionArn"])
        return self._there(given["executionArn"], "DescribeExecution")

    def _StopExecution(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self._there(given["executionArn"], "StopExecution")["status"] = "ABORTED"
        return {"stopDate": STARTED}

    def _ListExecutions(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        keys = ("executionArn", "stateMachineArn", "name", "status", "startDate", "stopDate")
        listed = [
            {key: each[key] for key in keys if key in each}
            for each in self.executions.values()
            if given.get("statusFilter") in (None, each["status"])
        ]
        return {"executions": listed}

    def _GetExecutionHistory(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        assert given["reverseOrder"]
        events = self.histories.get(given["executionArn"], [])[::-1]
        start, size = int(given.get("nextToken", 0)), int(given["maxResults"])
        more = {"nextToken": str(start + size)} if start + size < len(events) else {}
        return {"events": events[start : start + size], **more}

    def _GetLogEvents(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        start = int(given.get("nextToken", 0))
        return {"events": self.log[start:], "nextForwardToken": str(len(self.log))}

    def _GetMetricData(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        results = []
        for query in given["MetricDataQueries"]:
            stat = query["MetricStat"]
            series = self.metrics.get(f"{stat['Metric']['MetricName']} {stat['Stat']}", {})
            times = [dt.datetime.fromtimestamp(at, dt.UTC) for at in series]
            values = list(series.values())
            results.append({"Id": query["Id"], "Timestamps": times, "Values": values})
        return {"MetricDataResults": results}

    def _there(self, this: str, operation: str) -> dict[str, Any]:
        if this not in self.executions:
            code = "ExecutionDoesNotExist"
            raise ClientError({"Error": {"Code": code, "Message": f"{this}?"}}, operation)
        return self.executions[this]


class _Ok:
    status_code = 200


def create() -> None:
    """Make the bucket and the table."""
    of_moto("s3").create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION}
    )
    of_moto("dynamodb").create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")
        ],
        KeySchema=[
            {"AttributeName": "pk", "KeyType": "HASH"},
            {"AttributeName": "sk", "KeyType": "RANGE"},
        ],
    )


def summary(name: str, key: str, **changes: Any) -> Summary:
    """A sizing in the history."""
    this = arn(name)
    assert partition(key)
    return Summary.model_validate(
        {
            "sizing_id": sizing_id(this),
            "execution_arn": this,
            "model_key": key,
            "status": "SIZED",
            "started_at": "2026-11-26T02:00:00Z",
            "finished_at": "2026-11-26T02:30:00Z",
            "result_uri": "s3://results/x",
            "load_tests": 2,
            "instance_types": ["ml.m5.xlarge"],
            "payload_fingerprint": "f",
            "routing": "RANDOM",
            "target_tps": 1000.0,
            "band_min_percent": 60.0,
            "band_max_percent": 70.0,
            "error_percent_limit": 0.1,
            "instance_type": "ml.m5.xlarge",
            "instance_count": 3,
            "hourly_cost_usd": 0.69,
            "sizing_cost_usd": 1.5,
            "expires_at": 2_000_000_000,
            **changes,
        }
    )
