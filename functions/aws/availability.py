"""AWS's own trouble and missing permissions, told apart from other refusals.

Only the first is worth another try later.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as NoConnectionError

from aws.refusals import code_of
from sizing.errors import AccessDenied, AwsUnavailable

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

#: Parts of the names that services have for a call that no policy allows, such as
#: ``KMSAccessDeniedException`` and ``UnauthorizedOperation``. S3's HEAD has the status alone.
_DENIED = (
    "AccessDenied",
    "Unauthorized",
    "NotAuthorized",
    "AuthorizationError",
    "Forbidden",
    "403",
)

_Handler = Callable[[Any, LambdaContext], dict[str, Any]]


def is_transient(error: ClientError) -> bool:
    """Whether an answer of AWS means that the same call may succeed later."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return error.response["Error"].get("Code") in _THROTTLING or status >= _SERVER_ERRORS


def is_denied(error: ClientError) -> bool:
    """Whether the caller may not make the call."""
    return any(each in code_of(error) for each in _DENIED)


def naming_errors(handler: _Handler) -> _Handler:
    """Let a handler raise ``AwsUnavailable`` where AWS throttles, breaks or can't be reached.

    The SDK has repeated the call by then; the state machine waits longer, and calls the function
    again. What a policy does not allow arrives as ``AccessDenied``, any other refusal as
    ``ClientError``, whatever class the SDK has made for its code.
    """

    @wraps(handler)
    def handle(event: Any, context: LambdaContext) -> dict[str, Any]:
        try:
            return handler(event, context)
        except ClientError as error:
            if is_transient(error):
                raise AwsUnavailable(str(error)) from error
            if is_denied(error):
                raise AccessDenied(str(error)) from error
            raise ClientError(error.response, error.operation_name) from error
        except (NoConnectionError, HTTPClientError) as error:  # no way there, or no answer
            raise AwsUnavailable(str(error)) from error

    return handle
