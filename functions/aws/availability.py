"""AWS's own trouble, told apart from refusals: only the first is worth another try later."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnectionError

from sizing.errors import AwsUnavailable

_SERVER_ERRORS = 500
#: How services ask to slow down, whatever the HTTP status; the SDKs know the same names.
_THROTTLING = frozenset(
    {
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)

_Handler = Callable[[Any, LambdaContext], dict[str, Any]]


def is_transient(error: ClientError) -> bool:
    """Whether an answer of AWS means that the same call may succeed later."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return error.response["Error"].get("Code") in _THROTTLING or status >= _SERVER_ERRORS


def naming_unavailability(handler: _Handler) -> _Handler:
    """Let a handler raise ``AwsUnavailable`` where AWS throttles, breaks or can't be reached.

    The SDK has repeated the call by then; the state machine waits longer, and calls the function
    again. A refusal arrives as ``ClientError``, whatever class the SDK has made for its code.
    """

    @wraps(handler)
    def handle(event: Any, context: LambdaContext) -> dict[str, Any]:
        try:
            return handler(event, context)
        except ClientError as error:
            if is_transient(error):
                raise AwsUnavailable(str(error)) from error
            raise ClientError(error.response, error.operation_name) from error
        except (NoConnectionError, HTTPClientError) as error:  # no way there, or no answer
            raise AwsUnavailable(str(error)) from error

    return handle
