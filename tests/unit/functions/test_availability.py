"""AWS's own trouble has a name that the state machine waits for; a refusal keeps its own."""

from __future__ import annotations

from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError

from aws.availability import naming_errors
from sizing.errors import AccessDenied, AwsUnavailable, InvalidRequest


def refusal(code: str, status: int = 400) -> ClientError:
    response: Any = {
        "Error": {"Code": code, "Message": "m"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(response, "DescribeEndpoint")


def run(error: Exception) -> dict[str, Any]:
    @naming_errors
    def handler(_event: Any, _context: LambdaContext) -> dict[str, Any]:
        raise error

    return handler({}, LambdaContext())


@pytest.mark.parametrize(
    "error",
    [
        refusal("ThrottlingException"),
        refusal("SlowDown", 503),
        refusal("InternalError", 500),
        refusal("ServiceUnavailable", 503),
        ReadTimeoutError(endpoint_url="https://x"),
        ConnectTimeoutError(endpoint_url="https://x"),
    ],
)
def test_trouble_is_worth_another_try(error: Exception) -> None:
    with pytest.raises(AwsUnavailable) as raised:
        run(error)
    assert str(raised.value) == str(error)
    assert raised.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [refusal("ValidationException"), InvalidRequest("a", "b")],
)
def test_a_refusal_is_not(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        run(error)
    assert str(raised.value) == str(error)


@pytest.mark.parametrize(
    "code",
    [
        *("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403", "Forbidden"),
        *("AuthorizationError", "AuthorizationErrorException", "KMSAccessDeniedException"),
    ],
)
def test_a_missing_permission_has_a_name_of_its_own_and_says_for_what(code: str) -> None:
    with pytest.raises(AccessDenied, match=r"DescribeEndpoint operation: m$"):
        run(refusal(code, 403))


def test_a_refusal_has_one_name_whatever_the_sdk_has_made_of_its_code() -> None:
    class ResourceNotFoundException(ClientError):
        pass

    answer: Any = {"Error": {"Code": "ResourceNotFoundException", "Message": "m"}}
    with pytest.raises(ClientError, match="ResourceNotFoundException") as raised:
        run(ResourceNotFoundException(answer, "GetItem"))
    assert type(raised.value) is ClientError
