"""Documents in S3: a refusal says of which object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from aws import s3_documents

CALLS: dict[str, Callable[[], object]] = {
    "GetObject": lambda: s3_documents.read_json("a-bucket", "a/key"),
    "HeadObject": lambda: s3_documents.describe("s3://a-bucket/a/key", "123456789012"),
    "PutObject": lambda: s3_documents.write("a-bucket", "a/key", b"{}", "application/json"),
}


@pytest.mark.parametrize("operation", CALLS)
def test_a_refusal_names_the_object(operation: str, answered: Any) -> None:
    denied: Any = {"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}
    answered("s3", operation, lambda _: ClientError(denied, operation))
    with pytest.raises(ClientError) as raised:
        CALLS[operation]()
    assert str(raised.value) == (
        f"An error occurred (AccessDenied) when calling the {operation} operation: "
        "Access Denied (s3://a-bucket/a/key)"
    )


def test_lines_that_may_not_be_read_name_the_object(answered: Any) -> None:
    denied: Any = {"Error": {"Code": "403", "Message": "Forbidden"}}
    answered("s3", "GetObject", lambda _: ClientError(denied, "GetObject"))
    with pytest.raises(ClientError, match=r"Forbidden \(s3://a-bucket/a/key\)"):
        next(s3_documents.lines("s3://a-bucket/a/key"))
