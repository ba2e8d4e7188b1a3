"""Tell sends the message and the events, and neither keeps the other from being sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError

from sizing.errors import AccessDenied, AwsUnavailable
from tell.app import handler
from tests.unit.functions.conftest import EXECUTION, TOPIC

DETAIL = {"status": "SIZED", "change": "regressed", "model": "m", "execution_arn": EXECUTION}


def tell(**outcome: Any) -> dict[str, Any]:
    event = {
        "execution": {"arn": EXECUTION, "name": "run-1", "started_at": "2026-09-21T14:13:20Z"},
        "outcome": {"subject": "s", "message": "m", "detail": DETAIL, "notify": True, **outcome},
        "failure": None,
    }
    return handler(event, LambdaContext())


@pytest.fixture
def sent(answered: Any) -> tuple[list[Any], list[Any]]:
    """Requests for messages, and for events."""
    return (
        answered("sns", "Publish", lambda _: {"MessageId": "1"}),
        answered("events", "PutEvents", lambda _: {"FailedEntryCount": 0, "Entries": []}),
    )


def test_people_and_machines_are_told(sent: tuple[list[Any], list[Any]]) -> None:
    answer = tell()
    assert answer == {
        "notified": True,
        "events": ["Endpoint Sizing Finished", "Endpoint Sizing Changed"],
    }
    [[message], [events]] = sent
    assert (message["TopicArn"], message["Subject"], message["Message"]) == (TOPIC, "s", "m")
    assert message["MessageAttributes"]["change"] == {
        "DataType": "String",
        "StringValue": "regressed",
    }
    entry = events["Entries"][0]
    assert (entry["Source"], entry["Resources"]) == ("endpoint-sizer", [EXECUTION])
    assert json.loads(entry["Detail"]) == DETAIL


def test_nobody_is_told_who_does_not_want_to_be(sent: tuple[list[Any], list[Any]]) -> None:
    assert tell(notify=False)["notified"] is False
    assert (len(sent[0]), len(sent[1])) == (0, 1)


def test_a_refused_message_keeps_no_event_from_being_sent(
    sent: tuple[list[Any], list[Any]], answered: Any
) -> None:
    denied = ClientError({"Error": {"Code": "AuthorizationError"}}, "Publish")
    answered("sns", "Publish", lambda _: denied)
    with pytest.raises(AccessDenied, match="AuthorizationError"):
        tell()
    assert len(sent[1]) == 1


@pytest.mark.parametrize(
    "code, error", [("ThrottlingException", AwsUnavailable), ("InternalFailure", ClientError)]
)
def test_an_event_that_is_not_taken_is_an_error(
    sent: tuple[list[Any], list[Any]], answered: Any, code: str, error: type[Exception]
) -> None:
    entries = [{"ErrorCode": code, "ErrorMessage": "not taken"}]
    answered("events", "PutEvents", lambda _: {"FailedEntryCount": 1, "Entries": entries})
    with pytest.raises(error, match="not taken"):
        tell()
    assert len(sent[0]) == 1
