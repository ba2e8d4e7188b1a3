"""Messages to the stack's topic, and events on the account's bus."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from botocore.exceptions import ClientError

from aws.clients import client
from aws.environment import Environment


def publish(subject: str, message: str, attributes: Mapping[str, str]) -> None:
    """Send a message to the topic.

    Args:
        subject: Less than 100 ASCII characters, one line.
        message: Its text.
        attributes: What subscriptions may filter by.

    Raises:
        botocore.exceptions.ClientError: SNS refused it.
    """
    client("sns").publish(
        TopicArn=Environment.read().topic_arn,
        Subject=subject,
        Message=message,
        MessageAttributes={
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        },
    )


def put_events(entries: Sequence[Mapping[str, Any]]) -> None:
    """Put events on the default bus.

    Args:
        entries: Of PutEvents, with their details as objects.

    Raises:
        botocore.exceptions.ClientError: EventBridge refused the call, or one of the entries.
    """
    answer = client("events").put_events(
        Entries=[{**each, "Detail": json.dumps(each["Detail"])} for each in entries]
    )
    for entry in answer["Entries"]:
        if "ErrorCode" in entry:
            code, text = entry["ErrorCode"], entry.get("ErrorMessage", "")
            raise ClientError({"Error": {"Code": code, "Message": text}}, "PutEvents")
