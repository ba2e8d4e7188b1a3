"""AWS for the functions' tests: moto where it has the service, answers of our own where not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from moto import mock_aws

from aws import clients
from local import dynamodb
from local.template import Stack

ROOT = Path(__file__).parents[3]
ACCOUNT = "123456789012"
REGION = "us-east-1"
BUCKET = "results-bucket"
TABLE = "endpoint-sizer"
EXECUTION = f"arn:aws:states:{REGION}:{ACCOUNT}:execution:endpoint-sizer-sizing:run-1"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/endpoint-sizer-model"
TOPIC = f"arn:aws:sns:{REGION}:{ACCOUNT}:endpoint-sizer"
CLUSTER = f"arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/endpoint-sizer"

Requests = list[dict[str, Any]]
Answer = Callable[[dict[str, Any]], Any]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What template.yaml gives all functions."""
    for name, value in {
        "NAME_PREFIX": "endpoint-sizer",
        "RESULTS_BUCKET": BUCKET,
        "RESULT_RETENTION_DAYS": "400",
        "LOG_RETENTION_DAYS": "30",
        "TABLE_NAME": TABLE,
        "CLUSTER_ARN": CLUSTER,
        "TOPIC_ARN": TOPIC,
        "SUBNET_IDS": "subnet-1,subnet-2",
        "MODEL_EXECUTION_ROLE_ARN": ROLE,
        "WRITE_PACKAGE_METADATA": "false",
        "APPLY_ENDPOINTS": "",
        "NIGHTLY_MAX_COST_USD": "0",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "POWERTOOLS_SERVICE_NAME": "endpoint-sizer",
        "POWERTOOLS_METRICS_NAMESPACE": "EndpointSizer",
    }.items():
        monkeypatch.setenv(name, value)


@cache
def _table() -> dict[str, Any]:
    stack = Stack(ROOT / "template.yaml", region=REGION, account=ACCOUNT)
    return stack.only("AWS::DynamoDB::Table")[1]


@pytest.fixture
def aws() -> Iterator[Callable[[str], Any]]:
    """The embedded AWS, with results bucket and table; gives the clients that the functions use.

    The clients live on from test to test: making one takes longer than most tests.
    """
    with mock_aws():
        clients.client("s3").create_bucket(Bucket=BUCKET)
        dynamodb.create(clients.client("dynamodb"), _table())
        yield clients.client


@pytest.fixture
def answered(aws: Callable[[str], Any]) -> Iterator[Callable[[str, str, Answer], Requests]]:
    """Answer an operation of a service oneself; requests are still checked by botocore's models.

    The answer is a dictionary, or an exception to raise; the last one given counts. Returns the
    list that requests go to.
    """
    answers: dict[tuple[str, str], Answer] = {}
    requests: dict[tuple[str, str], Requests] = {}
    undo = ExitStack()

    def answer(service: str, operation: str, respond: Answer) -> Requests:
        key = service, operation
        answers[key] = respond
        if key in requests:
            return requests[key]
        requests[key] = []

        def keep(params: dict[str, Any], **_: Any) -> None:
            requests[key].append(params)

        def reply(**_: Any) -> tuple[Any, Any]:
            given = answers[key](requests[key][-1])
            if isinstance(given, Exception):
                raise given
            status = given.get("ResponseMetadata", {}).get("HTTPStatusCode", 200)
            return SimpleNamespace(status_code=status), {"ResponseMetadata": {}, **given}

        events = aws(service).meta.events
        name = aws(service).meta.service_model.service_id.hyphenize()
        for event, handler in (("provide-client-params", keep), ("before-call", reply)):
            full_name = f"{event}.{name}.{operation}"
            events.register_first(full_name, handler)
            undo.callback(events.unregister, full_name, handler)
        return requests[key]

    with undo:
        yield answer


@pytest.fixture(scope="session")
def invalid() -> Callable[[str, str, Any], str]:
    """What botocore's service model says against an API request; empty if it is complete."""
    session = botocore.session.get_session()

    def report(service: str, operation: str, request: Any) -> str:
        shape = session.get_service_model(service).operation_model(operation).input_shape
        return str(ParamValidator().validate(request, shape).generate_report())

    return report
