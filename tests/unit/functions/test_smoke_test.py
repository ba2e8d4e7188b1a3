"""SmokeTest tells in one invocation whether an endpoint answers, and quotes no body."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError
from botocore.response import StreamingBody

from aws import clients
from sizing.errors import AwsUnavailable, ModelNotReady, SmokeTestFailed
from smoke_test.app import handler
from tests.unit.functions.made_up import SIZING_ID

Answered = Callable[..., list[dict[str, Any]]]
ENDPOINT = f"endpoint-sizer-{SIZING_ID}-ml-m5-12xlarge"
LOG_STREAM = "arn:aws:logs:us-east-1:123456789012:log-group:/aws/sagemaker/x"
SERVICE = "sagemaker-runtime"


def body(content: bytes) -> dict[str, Any]:
    return {"Body": StreamingBody(io.BytesIO(content), len(content)), "ContentType": "x"}


def model_error(status: int, said: str) -> ClientError:
    response: Any = {
        "Error": {"Code": "ModelError", "Message": f"Received server error ({status}): {said}"},
        "OriginalStatusCode": status,
        "OriginalMessage": said,
        "LogStreamArn": LOG_STREAM,
        "ResponseMetadata": {"HTTPStatusCode": 424},
    }
    return ClientError(response, "InvokeEndpoint")


def smoke_test(**payloads: Any) -> dict[str, Any]:
    return handler(
        {"endpoint_name": ENDPOINT, "payloads": payloads or {"inline": [{"body": "secret"}]}},
        LambdaContext(),
    )


def test_an_answer_is_measured(answered: Answered) -> None:
    answer = {**body(b"positive"), "ResponseMetadata": {"HTTPStatusCode": 200}}
    requests = answered(SERVICE, "InvokeEndpoint", lambda _: answer)
    inline = [{"body": base64.b64encode(b"\x00image").decode(), "base64": True}, {"body": "b"}]
    seen = smoke_test(inline=inline, content_type="image/x", accept="text/plain")
    assert (seen["status_code"], seen["bytes"]) == (200, 8)
    assert seen["latency_ms"] > 0
    assert requests == [
        {
            "EndpointName": ENDPOINT,
            "ContentType": "image/x",
            "Accept": "text/plain",
            "Body": b"\x00image",
        }
    ]


def test_the_first_payload_of_a_file_is_sent(aws: Any, answered: Answered) -> None:
    content = b'\n{"body": "first"}\nnot read any more'
    aws("s3").put_object(Bucket="results-bucket", Key="k.jsonl", Body=content)
    answer = {**body(b""), "ResponseMetadata": {"HTTPStatusCode": 200}}
    requests = answered(SERVICE, "InvokeEndpoint", lambda _: answer)
    smoke_test(s3_uri="s3://results-bucket/k.jsonl")
    assert requests[0]["Body"] == b"first"


def test_a_payload_may_have_a_content_type_of_its_own(answered: Answered) -> None:
    answer = {**body(b""), "ResponseMetadata": {"HTTPStatusCode": 200}}
    requests = answered(SERVICE, "InvokeEndpoint", lambda _: answer)
    own = {"body": "1,2", "content_type": "text/csv", "custom_attributes": "tenant=a"}
    smoke_test(inline=[own], content_type="application/json")
    assert (requests[0]["ContentType"], requests[0]["CustomAttributes"]) == ("text/csv", "tenant=a")


@pytest.mark.parametrize(
    "error, reason",
    [
        (
            ClientError(
                {
                    "Error": {"Code": "ModelError", "Message": "can't parse secret"},
                    "OriginalStatusCode": 400,
                    "OriginalMessage": "secret",
                    "LogStreamArn": LOG_STREAM,
                    "ResponseMetadata": {"HTTPStatusCode": 424},
                },
                "InvokeEndpoint",
            ),
            f"the model answered 400; its log is {LOG_STREAM}",
        ),
        (
            ClientError(
                {
                    "Error": {"Code": "ValidationError", "Message": "the header X is needed"},
                    "ResponseMetadata": {"HTTPStatusCode": 400},
                },
                "InvokeEndpoint",
            ),
            "ValidationError (HTTP 400): the header X is needed",
        ),
        (
            model_error(0, "Your invocation timed out while waiting for a response"),
            "no answer: Your invocation timed out while waiting for a response; its log is "
            + LOG_STREAM,
        ),
        (
            ReadTimeoutError(endpoint_url="https://runtime"),
            "no answer: the model took longer than the 60 s that SageMaker gives it",
        ),
    ],
)
def test_a_failure_is_named_without_the_body(
    answered: Answered, capsys: pytest.CaptureFixture[str], error: Exception, reason: str
) -> None:
    answered(SERVICE, "InvokeEndpoint", lambda _: error)
    with pytest.raises(SmokeTestFailed) as failure:
        smoke_test()
    assert str(failure.value) == reason
    assert "secret" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "error",
    [
        *(model_error(status, "secret") for status in (429, 502, 503, 504)),
        ClientError(
            {
                "Error": {"Code": "ModelNotReadyException", "Message": "Wait and try again."},
                "ResponseMetadata": {"HTTPStatusCode": 429},
            },
            "InvokeEndpoint",
        ),
    ],
)
def test_a_container_that_still_loads_is_tried_again(
    answered: Answered, capsys: pytest.CaptureFixture[str], error: ClientError
) -> None:
    requests = answered(SERVICE, "InvokeEndpoint", lambda _: error)
    with pytest.raises(ModelNotReady) as raised:
        smoke_test()
    assert len(requests) == 1  # the state machine waits and asks again
    assert "secret" not in str(raised.value) + capsys.readouterr().out


def test_a_broken_connection_says_nothing_of_the_model(answered: Answered) -> None:
    error = ConnectionClosedError(endpoint_url="https://runtime")
    answered(SERVICE, "InvokeEndpoint", lambda _: error)
    with pytest.raises(AwsUnavailable):
        smoke_test()


def test_sagemakers_own_time_out_is_waited_for() -> None:
    assert clients.client(SERVICE).meta.config.read_timeout > 60


@pytest.mark.parametrize("status, what", [(400, "refused"), (415, "refused"), (500, "failed on")])
def test_a_local_model_is_quoted_since_it_has_no_log(
    answered: Answered, monkeypatch: pytest.MonkeyPatch, status: int, what: str
) -> None:
    monkeypatch.setenv("EMBEDDED_AWS", "true")
    error = ClientError(
        {
            "Error": {"Code": "ModelError", "Message": "of SageMaker"},
            "OriginalStatusCode": status,
            "OriginalMessage": '{"code": 400,\n "message": "body is not JSON"}' + "." * 1000,
            "LogStreamArn": LOG_STREAM,
            "ResponseMetadata": {"HTTPStatusCode": 424},
        },
        "InvokeEndpoint",
    )

    def refuse(_: Any) -> None:
        raise error

    answered(SERVICE, "InvokeEndpoint", refuse)
    with pytest.raises(SmokeTestFailed) as raised:
        smoke_test()
    said = str(raised.value)
    assert said.startswith(
        f"the local model {what} the payload: {status}: "
        '{"code": 400, "message": "body is not JSON"}'
    )
    assert LOG_STREAM not in said
    assert len(said) < 600
