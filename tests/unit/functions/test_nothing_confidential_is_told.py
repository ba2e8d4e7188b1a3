"""No payload, no answer of a model and no variable of a container reaches a log or a message.

Each function is run with marked ones, going well and going wrong, and all that it says is searched
for the mark: its log, its output, the trace of its error, and what goes to the topic and the bus.
"""

from __future__ import annotations

import base64
import io
import json
import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError
from botocore.response import StreamingBody

import ensure_endpoint.app
import measure.app
import plan_load_test.app
import read_reason.app
import record_result.app
import remove_leftovers.app
import resolve_request.app
import smoke_test.app
from aws.telemetry import logger
from tests.unit.functions.conftest import ACCOUNT, BUCKET, EXECUTION
from tests.unit.functions.made_up import (
    SIZING_ID,
    STARTED_AT,
    a_plan,
    a_record,
    a_request,
    a_sizing,
)
from tests.unit.result import sample_sizings

MARK = "mark7c1f"
MARKED = f"{MARK} ist streng vertraulich"
ENCODED = base64.b64encode(MARKED.encode()).decode()
ENDPOINT = f"endpoint-sizer-{SIZING_ID}-ml-m5-12xlarge"
IMAGE = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/bert:1"
MODEL = {"container": {"image_uri": IMAGE, "environment": {"TOKEN": MARKED}}}
INLINE = {"inline": [{"body": MARKED}, {"body": ENCODED, "base64": True}]}

Answered = Callable[..., list[dict[str, Any]]]
Handler = Callable[[Any, LambdaContext], Any]


class Told:
    """Runs functions and keeps everything that they say."""

    def __init__(self, log: io.StringIO, capture: pytest.CaptureFixture[str]) -> None:
        self.log = log
        self.capture = capture

    def by(self, handler: Handler, event: Any) -> tuple[Any, str]:
        """A function's answer, None if it failed, and what was to be read besides."""
        answer, said = None, ""
        try:
            answer = handler(event, LambdaContext())
        except Exception as error:  # noqa: BLE001 - whatever it is, Lambda logs it
            said = "".join(traceback.format_exception(error))
        output = self.capture.readouterr()
        said += output.out + output.err + self.log.getvalue()
        return answer, said

    def nothing_by(self, handler: Handler, event: Any) -> Any:
        """A function's answer; nothing that was said holds the mark."""
        answer, said = self.by(handler, event)
        assert said  # else the test would listen in the wrong place
        assert MARK not in said
        assert ENCODED[:16] not in said
        return answer


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Told]:
    """Listens to the functions' logger, to all others, and to standard output and error."""
    log = io.StringIO()
    monkeypatch.setattr(logger.registered_handler, "stream", log)
    others = logging.StreamHandler(log)
    root = logging.getLogger()
    root.addHandler(others)
    monkeypatch.setattr(root, "level", logging.INFO)
    yield Told(log, capsys)
    root.removeHandler(others)


@pytest.fixture(autouse=True)
def neither_prices_nor_quotas(answered: Answered) -> None:
    answered("pricing", "GetProducts", lambda _: {"PriceList": []})
    denied = ClientError({"Error": {"Code": "AccessDeniedException"}}, "ListServiceQuotas")
    answered("service-quotas", "ListServiceQuotas", lambda _: denied)
    answered("service-quotas", "ListAWSDefaultServiceQuotas", lambda _: denied)


# --- ResolveRequest ----------------------------------------------------------------------------


def resolving(**changes: Any) -> dict[str, Any]:
    return {
        "execution": {"arn": EXECUTION, "name": "run-1", "started_at": STARTED_AT.isoformat()},
        "request": a_request(**{"model": MODEL, "payloads": INLINE, **changes}),
    }


@pytest.mark.parametrize("size", [1, 2_000])
def test_a_request_that_is_resolved(told: Told, size: int) -> None:
    """The second goes to S3, since it is too large to hand on."""
    payloads = {"inline": [{"body": MARKED * size}]}
    answer = told.nothing_by(resolve_request.app.handler, resolving(payloads=payloads))
    assert answer is not None
    assert MARK in json.dumps(answer)  # it does carry what it must not tell


@pytest.mark.parametrize(
    "changes",
    [
        {"target": {"tps": -1}},
        {"payloads": MARKED},
        {"payloads": {"inline": [MARKED]}},
        {"payloads": {"inline": [{"body": MARKED, "base64": True}]}},
        {"payloads": {"inline": [{"body": {"inputs": MARKED}}]}},
        {"payloads": {"inline": [{"body": MARKED, "weight": MARKED}]}},
        {"payloads": {"s3_uri": MARKED}},
        {"payloads": {**INLINE, "content_type": MARKED + "\n"}},
        {"model": {"container": {"image_uri": IMAGE, "environment": MARKED}}},
        {"model": {"container": {"image_uri": IMAGE, "environment": {"TOKEN": [MARKED]}}}},
        {"model": {"container": {"image_uri": IMAGE, "environment": {"TOKEN": MARKED * 99}}}},
        {"instance_types": ["ml.none.large"]},
        {"limits": {"max_load_tests": 1}},
        {"limits": {"max_cost_usd": 0.001}},
        {"instance_types": [f"ml.m5.{n}xlarge" for n in (2, 4, 8, 12, 16, 24)], "model": {
            "container": {
                "image_uri": IMAGE, "environment": {f"TOKEN{n}": MARKED * 34 for n in range(30)}
            }
        }},
    ],
)  # fmt: skip
def test_a_request_that_is_refused(told: Told, changes: dict[str, Any]) -> None:
    assert told.nothing_by(resolve_request.app.handler, resolving(**changes)) is None


@pytest.mark.parametrize(
    "content, accepted",
    [
        (json.dumps({"body": MARKED}), True),
        (json.dumps({"body": ENCODED, "base64": True}), True),
        (json.dumps({"body": MARKED, "base64": True}), False),
        (json.dumps({"body": {"inputs": MARKED}}), False),
        (json.dumps({"body": MARKED, "weight": MARKED}), False),
        (json.dumps({"body": MARKED, "weight": -1}), False),
        (json.dumps({"inputs": MARKED}), False),
        (json.dumps(MARKED), False),
        (json.dumps([MARKED]), False),
        (MARKED, False),
        ('{"body": "' + MARKED, False),
        ('{"body": "' + MARKED + '", }', False),
        ('{"body": "' + MARKED + '\x01"}', False),
    ],
)
def test_a_file_of_payloads(told: Told, aws: Any, content: str, *, accepted: bool) -> None:
    aws("s3").put_object(Bucket=BUCKET, Key="k.jsonl", Body=content.encode())
    event = resolving(payloads={"s3_uri": f"s3://{BUCKET}/k.jsonl"})
    answer = told.nothing_by(resolve_request.app.handler, event)
    assert (answer is not None) is accepted


@pytest.mark.parametrize(
    "app",
    [
        resolve_request.app,
        ensure_endpoint.app,
        smoke_test.app,
        plan_load_test.app,
        measure.app,
        read_reason.app,
        remove_leftovers.app,
    ],
)
@pytest.mark.parametrize(
    "event",
    [
        MARKED,
        {"request": MARKED, "payloads": MARKED, "sizing": MARKED, "history": MARKED},
        {"endpoint_name": {"a": MARKED}, "payloads": {"inline": [{"bodies": MARKED}]}},
        {"sizing": {"request": a_request(model=MODEL, payloads=MARKED)}, "plan": [MARKED]},
    ],
    ids=range(4),
)
def test_an_event_in_error(told: Told, app: Any, event: Any) -> None:
    assert told.nothing_by(app.handler, event) is None


# --- SmokeTest ---------------------------------------------------------------------------------


def marked_error(code: str, **more: Any) -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": MARKED},
            "ResponseMetadata": {"HTTPStatusCode": 400, "HTTPHeaders": {"x": MARKED}},
            **more,
        },
        "InvokeEndpoint",
    )


@pytest.mark.parametrize(
    "answer",
    [
        {"Body": StreamingBody(io.BytesIO(MARKED.encode()), len(MARKED)), "ContentType": MARKED},
        marked_error("ModelError", OriginalStatusCode=500, OriginalMessage=MARKED),
        marked_error("ValidationError"),
        marked_error("ThrottlingException"),
        marked_error("InternalFailure"),
    ],
    ids=["answer", "ModelError", "ValidationError", "ThrottlingException", "InternalFailure"],
)
def test_what_a_model_answers(told: Told, answered: Answered, answer: Any) -> None:
    answered("sagemaker-runtime", "InvokeEndpoint", lambda _: answer)
    event = {"endpoint_name": ENDPOINT, "payloads": INLINE}
    seen = told.nothing_by(smoke_test.app.handler, event)
    assert MARK not in json.dumps(seen)


def test_a_file_of_payloads_that_has_changed(told: Told, aws: Any) -> None:
    aws("s3").put_object(Bucket=BUCKET, Key="k.jsonl", Body=f'{{"body": "{MARKED}'.encode())
    event = {"endpoint_name": ENDPOINT, "payloads": {"s3_uri": f"s3://{BUCKET}/k.jsonl"}}
    assert told.nothing_by(smoke_test.app.handler, event) is None


# --- EnsureEndpoint, PlanLoadTest, Measure, ReadReason, RemoveLeftovers -------------------------


def test_an_endpoint_that_is_made(told: Told) -> None:
    made = told.nothing_by(resolve_request.app.handler, resolving())["candidates"][0]["endpoint"]
    assert MARK in json.dumps(made)
    event = {"endpoint": made, "instance_count": 1}
    assert told.nothing_by(ensure_endpoint.app.handler, event)["status"] == "WAIT"


def test_reading_why_what_is_no_load_test_broke(told: Told, aws: Any) -> None:
    aws("s3").put_object(Bucket=BUCKET, Key="p/load_test.json", Body=MARKED.encode())
    event = {"error": "States.Timeout", "cause": "", "bucket": BUCKET, "prefix": "p/"}
    assert told.nothing_by(read_reason.app.handler, event)


def a_marked_sizing() -> dict[str, Any]:
    sizing = a_sizing(model=MODEL, payloads=INLINE).model_dump(mode="json")
    assert MARK in json.dumps(sizing)
    return sizing


def test_planning(told: Told) -> None:
    history = [a_record(error="EndpointFailed", cause="x").model_dump(mode="json")]
    event = {"sizing": a_marked_sizing(), "history": history}
    assert told.nothing_by(plan_load_test.app.handler, event)["action"] == "DONE"


@pytest.mark.parametrize("history", [[{"observations": MARKED}], [{"load_test_id": [MARKED]}]])
def test_planning_after_what_is_no_history(told: Told, history: Any) -> None:
    event = {"sizing": a_marked_sizing(), "history": history}
    assert told.nothing_by(plan_load_test.app.handler, event) is None


@pytest.mark.parametrize(
    "file", [MARKED, "{}", json.dumps({"steps": MARKED}), json.dumps({"error": {"name": [MARKED]}})]
)
def test_measuring_what_is_no_load_test(told: Told, aws: Any, file: str) -> None:
    aws("s3").put_object(Bucket=BUCKET, Key="p/load_test.json", Body=file.encode())
    event = {
        "sizing": a_marked_sizing(),
        "plan": a_plan().model_dump(mode="json"),
        "load_test_id": "x",
        "bucket": BUCKET,
        "prefix": "p/",
        "endpoint_name": ENDPOINT,
        "started_at": 1.0,
    }
    assert told.nothing_by(measure.app.handler, event) is None


def test_removing_leftovers(told: Told) -> None:
    _, said = told.by(remove_leftovers.app.handler, {"sweep": MARKED, "request": MARKED})
    assert MARK not in said


# --- RecordResult, and what goes to people and rules -------------------------------------------


def ended(**changes: Any) -> dict[str, Any]:
    sizing = a_marked_sizing()
    return {
        "execution": {"arn": EXECUTION, "name": "run-1", "started_at": STARTED_AT.isoformat()},
        "request": sizing["request"],
        "sizing": sizing,
        "estimate": None,
        "history": [],
        "answer": None,
        "failure": {"error": "EndpointFailed", "cause": "the container did not answer /ping"},
        "dry_run": False,
        **changes,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"failure": None},
        {"dry_run": True, "failure": None},
        {"sizing": {"request": MARKED}},
        {"sizing": MARKED},
        {"history": [{"load_test_id": MARKED}]},
        {"answer": {"status": MARKED}},
        {"request": {"model": MODEL, "payloads": {"inline": float("nan")}}},
        {"request": {"payloads": MARKED}},
        {"estimate": {"cost_usd": MARKED}},
    ],
    ids=range(10),
)
def test_a_result_is_told_without_its_request(told: Told, changes: dict[str, Any]) -> None:
    answer = told.nothing_by(record_result.app.handler, ended(**changes))
    assert MARK not in json.dumps([answer["subject"], answer["message"], answer["detail"]])


def test_a_report_that_fails(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    import report.page

    def fail(document: Any, _timelines: Any) -> str:
        raise KeyError(*document)

    monkeypatch.setattr(report.page, "render", fail)
    answer = told.nothing_by(record_result.app.handler, ended())
    assert answer["report_uri"] is None
    assert MARK not in json.dumps([answer["subject"], answer["message"], answer["detail"]])


def test_a_result_that_goes_well(told: Told) -> None:
    made = sample_sizings.ALL["sized"]()
    assert made.sizing is not None
    sizing = made.sizing.model_dump(mode="json")
    sizing["request"] |= {
        "model": MODEL,
        "payloads": {**INLINE, "content_type": "a", "accept": "b"},
    }
    assert made.answer is not None
    event = ended(
        sizing=sizing,
        request=sizing["request"],
        history=[each.model_dump(mode="json") for each in made.history],
        answer=made.answer.model_dump(mode="json"),
        failure=None,
    )
    answer = told.nothing_by(record_result.app.handler, event)
    assert answer["status"] == "SIZED"
    assert MARK not in json.dumps([answer["subject"], answer["message"], answer["detail"]])
