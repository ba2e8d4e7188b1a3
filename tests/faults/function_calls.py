"""The API calls that functions make: who makes which, and how to have one go wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ConnectionClosedError, ConnectTimeoutError
from moto.awslambda.models import LambdaFunction

from aws import clients
from local.patches import Patch, Patches
from tests.faults.cases import Fault, FunctionCall

#: What the SDK is told, by service: its code for it, and the HTTP status.
_ERRORS: Mapping[Fault, tuple[Mapping[str, str], str, int]] = {
    Fault.THROTTLED: (
        {"ec2": "RequestLimitExceeded", "s3": "SlowDown"},
        "ThrottlingException",
        400,
    ),
    Fault.ACCESS_DENIED: (
        {"ec2": "UnauthorizedOperation", "s3": "AccessDenied"},
        "AccessDeniedException",
        403,
    ),
    Fault.INTERNAL_ERROR: ({"s3": "InternalError"}, "InternalFailure", 500),
    Fault.VALIDATION_ERROR: (
        {"ec2": "InvalidParameterCombination", "s3": "InvalidRequest"},
        "ValidationException",
        400,
    ),
}


@dataclass(frozen=True)
class Invocation:
    """A function at work."""

    function: str
    #: What it was called with, as JSON.
    event: str


#: Decides what becomes of a call of a function.
Decide = Callable[[FunctionCall, Invocation], Fault | None]

_at_work: ContextVar[Invocation | None] = ContextVar("at_work", default=None)
_answer_is_lost: ContextVar[bool] = ContextVar("answer_is_lost", default=False)


@contextmanager
def deciding(decide: Decide) -> Iterator[None]:
    """Let something decide on every call that a function of the embedded AWS makes."""
    hooked: set[int] = set()
    original = clients._client

    def hooking(service: str, endpoint_url: str | None) -> Any:
        client = original(service, endpoint_url)
        if id(client) not in hooked:
            hooked.add(id(client))
            client.meta.events.register("before-call", before)
            session = client._endpoint.http_session
            session.send = partial(sending, session.send)
        return client

    def before(model: Any, params: Any, **_: Any) -> Any:
        invocation = _at_work.get()
        if invocation is None:
            return None
        service = model.service_model.service_name
        file = str(params["url_path"]).rpartition("/")[2] if service == "s3" else ""
        call = FunctionCall(invocation.function, f"{service} {model.name} {file}".strip())
        fault = decide(call, invocation)
        if fault is Fault.TIMED_OUT:
            raise ConnectTimeoutError(endpoint_url=params["url"])
        _answer_is_lost.set(fault is Fault.ANSWER_LOST)
        return None if fault in (None, Fault.ANSWER_LOST) else _refusal(service, fault)

    def sending(send: Callable[[Any], Any], request: Any) -> Any:
        """Carry out a call; the SDK repeats it where the answer is lost."""
        answer = send(request)
        if _answer_is_lost.get():
            _answer_is_lost.set(False)
            raise ConnectionClosedError(endpoint_url=request.url)
        return answer

    invoke = vars(LambdaFunction)["_invoke_lambda"]

    def noting(function: Any, event: Any = None) -> Any:
        name = function.function_name.removeprefix("endpoint-sizer-")
        token = _at_work.set(Invocation(name, json.dumps(event)))
        try:
            return invoke.__get__(function, LambdaFunction)(event)
        finally:
            _at_work.reset(token)

    with Patches(
        [Patch(clients, "_client", hooking), Patch(LambdaFunction, "_invoke_lambda", noting)]
    ):
        yield


def _refusal(service: str, fault: Fault | None) -> tuple[Any, Mapping[str, Any]]:
    """An answer of the API as the SDK reads it, past the SDK's own repetitions."""
    fault = Fault.THROTTLED if fault is Fault.THROTTLED_FOR_GOOD else fault
    assert fault is not None
    own, code, status = _ERRORS[fault]
    error = {"Code": own.get(service, code), "Message": f"made to fail: {fault}"}
    answer = {"HTTPStatusCode": status, "RequestId": "made-up", "RetryAttempts": 0}
    return SimpleNamespace(status_code=status), {"Error": error, "ResponseMetadata": answer}
