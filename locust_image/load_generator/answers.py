"""What the endpoint's answers mean: success, or an error of a certain kind.

The errors are those of ``InvokeEndpoint`` in the SageMaker Runtime API. They are counted and never
retried: a retry would hide the very thing that is measured.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from botocore.eventstream import EventStreamBuffer, ParserError

#: Statuses of a success, as the SDKs have it: what invokes the endpoint by boto3 agrees.
SUCCESSES = range(200, 300)

# Failures that are not answers.
TIMEOUT = "timeout"
CONNECTION = "connection"
REFUSED = "connection_refused"
TLS = "tls"
DNS = "dns"
BAD_ANSWER = "bad_answer"

#: Kind of error by the name of the exception, for those that have one status alone.
_KINDS = {
    "ThrottlingException": "throttled",
    "ValidationError": "validation_error",
    "ValidationException": "validation_error",
    "ModelNotReadyException": "model_not_ready",
    "InternalFailure": "internal_failure",
    "InternalDependencyException": "internal_dependency",
    "ServiceUnavailable": "service_unavailable",
    "ExpiredTokenException": "expired_credentials",
    "ExpiredToken": "expired_credentials",
    "AccessDeniedException": "access_denied",
    "UnrecognizedClientException": "access_denied",
    "InvalidSignatureException": "access_denied",
    "SignatureDoesNotMatch": "access_denied",
    "MissingAuthenticationTokenException": "access_denied",
}
#: The same by status, for answers that do not name an exception.
_STATUSES = {
    403: "access_denied",
    429: "model_not_ready",
    503: "service_unavailable",
    530: "internal_dependency",
}
_MODEL_ERROR = 424


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer that is not a success."""

    kind: str
    #: The model answered, if with an error: CloudWatch counts it as an invocation.
    invoked: bool


def failure(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Name the error of an answer.

    Args:
        status: HTTP status, not one of a success.
        headers: By lower-case name.
        body: The answer's body, or the beginning of it.
    """
    document = _document(body)
    # "ThrottlingException:http://internal.amazon.com/..." is an older form of the same.
    name = headers.get("x-amzn-errortype", "").partition(":")[0]
    if not name:
        code = document.get("__type") or document.get("code") or document.get("ErrorCode") or ""
        name = str(code).rpartition("#")[2]
    if status == _MODEL_ERROR or name == "ModelError":
        original = document.get("OriginalStatusCode")
        suffix = f"_{original}" if isinstance(original, int) else ""
        return Failure(kind=f"model_error{suffix}", invoked=True)
    kind = _KINDS.get(name) or _STATUSES.get(status) or f"http_{status}"
    return Failure(kind=kind, invoked=False)


def stream_failure(body: bytes) -> Failure | None:
    """Name the error that a response stream carries; None if it carries none.

    Args:
        body: The whole stream, as ``application/vnd.amazon.eventstream``.
    """
    if b"exception" not in body:
        # Nearly every stream: its frames need not be taken apart.
        return None
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    try:
        for event in buffer:
            headers = cast("Mapping[str, object]", event.headers)
            name = headers.get(":exception-type")
            if name == "ModelStreamError":
                code = _document(event.payload).get("ErrorCode")
                kind = f"model_stream_error_{code}" if code else "model_stream_error"
                return Failure(kind=kind, invoked=True)
            if name is not None:
                return Failure(kind="internal_stream_failure", invoked=True)
    except ParserError:
        return Failure(kind=BAD_ANSWER, invoked=True)
    return None


def _document(body: bytes) -> dict[str, object]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
