"""SmokeTest: sends one real invocation, before load is spent on an endpoint that can't answer."""

from __future__ import annotations

import time
from typing import Any

from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError, ReadTimeoutError

from aws import s3_documents
from aws.availability import is_transient, naming_errors
from aws.clients import client
from aws.environment import Environment
from aws.telemetry import Event, logger
from sizing.clean_up import names
from sizing.errors import AwsUnavailable, ModelNotReady, SmokeTestFailed
from sizing.request import payloads
from sizing.request.request import Payload, Payloads

_LONGEST_ANSWER = 500
#: So many characters in a row are no coincidence.
_QUOTED = 12
_STATUSES_WHILE_LOADING = (429, 502, 503, 504)


class SmokeTestEvent(Event):
    """An endpoint and what to send it."""

    endpoint_name: str
    payloads: Payloads


@naming_errors
@event_parser(model=SmokeTestEvent)
def handler(event: SmokeTestEvent, _context: LambdaContext) -> dict[str, Any]:
    """Invoke the endpoint with the first payload.

    Returns:
        Status, size of the answer in bytes, and latency in milliseconds.

    Raises:
        SmokeTestFailed: The endpoint did not answer with a success.
        ModelNotReady: Its container still loads the model.
        AwsUnavailable: It throttled the invocation, SageMaker failed it, or the connection broke.
    """
    logger.set_correlation_id(names.sizing_of(Environment.read().name_prefix, event.endpoint_name))
    first = _first(event.payloads)
    body = payloads.body_bytes(first)
    attributes = {"CustomAttributes": first.custom_attributes} if first.custom_attributes else {}
    started = time.perf_counter()
    try:
        answer = client("sagemaker-runtime").invoke_endpoint(
            EndpointName=event.endpoint_name,
            ContentType=first.content_type or event.payloads.content_type,
            Accept=event.payloads.accept,
            Body=body,
            **attributes,
        )
        size = len(answer["Body"].read())
    except ClientError as error:
        if _is_loading(error):
            raise ModelNotReady(_reason(error, body)) from None
        if is_transient(error):
            raise AwsUnavailable(_reason(error, body)) from None
        raise SmokeTestFailed(_reason(error, body)) from None
    except ReadTimeoutError:
        raise SmokeTestFailed(
            "no answer: the model took longer than the 60 s that SageMaker gives it"
        ) from None
    seen = {
        "status_code": answer["ResponseMetadata"]["HTTPStatusCode"],
        "bytes": size,
        "latency_ms": round((time.perf_counter() - started) * 1000, 3),
    }
    logger.info("endpoint answered", extra={"endpoint_name": event.endpoint_name, **seen})
    return seen


def _first(requested: Payloads) -> Payload:
    if requested.inline is not None:
        return requested.inline[0]
    uri = str(requested.s3_uri)
    return next(payloads.read_file(uri, s3_documents.lines(uri)))


def _is_loading(error: ClientError) -> bool:
    """Whether the model can't be asked yet: so say SageMaker, a server and a proxy before it."""
    answer = error.response
    if answer["Error"]["Code"] == "ModelError":
        return answer.get("OriginalStatusCode") in _STATUSES_WHILE_LOADING
    return answer["Error"]["Code"] == "ModelNotReadyException"


def _reason(error: ClientError, body: bytes) -> str:
    """What went wrong, without the model's message: it may quote the payload."""
    answer = error.response
    code, said = answer["Error"]["Code"], answer["Error"].get("Message")
    if code == "ModelError":
        status = answer.get("OriginalStatusCode")
        if not status:  # the container said nothing: the words are SageMaker's
            why = _unless_quoting(body, answer.get("OriginalMessage") or said)
            return f"no answer: {why}; its log is {answer.get('LogStreamArn')}"
        if Environment.read().local:  # where nobody else reads it, and there is no other log
            said = " ".join(str(answer.get("OriginalMessage")).split())[:_LONGEST_ANSWER]
            what = "refused" if status in range(400, 500) else "failed on"
            return f"the local model {what} the payload: {status}: {said}"
        return f"the model answered {status}; its log is {answer.get('LogStreamArn')}"
    status = answer["ResponseMetadata"]["HTTPStatusCode"]
    return f"{code} (HTTP {status}): {_unless_quoting(body, said)}"


def _unless_quoting(body: bytes, said: object) -> str:
    """SageMaker's words, unless a piece of them stands in the payload."""
    words = " ".join(str(said).split())[:_LONGEST_ANSWER]
    pieces = (words[at : at + _QUOTED].encode() for at in range(max(len(words) - _QUOTED, 0) + 1))
    return "(not told: it quotes the payload)" if any(each in body for each in pieces) else words
