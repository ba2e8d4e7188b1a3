"""The table of sizings: locks of models, and the history of what sizings came to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

from aws.clients import client
from aws.refusals import code_of

_CONDITION_FAILED = "ConditionalCheckFailedException"

_from_dynamodb = TypeDeserializer().deserialize
_to_dynamodb = TypeSerializer().serialize


def items(table: str, partition: str, *, newest_first: bool = False) -> Iterator[dict[str, Any]]:
    """The items of a partition as they are now, in the order of their sort key.

    Args:
        table: Name of the table.
        partition: Its partition key.
        newest_first: In the reverse order. Pages are read as they are asked for.

    Raises:
        botocore.exceptions.ClientError: The table could not be read.
    """
    pages = (
        client("dynamodb")
        .get_paginator("query")
        .paginate(
            TableName=table,
            KeyConditionExpression="pk = :partition",
            ExpressionAttributeValues={":partition": {"S": partition}},
            ConsistentRead=True,
            ScanIndexForward=not newest_first,
        )
    )
    for page in pages:
        yield from map(plain, page["Items"])


def put(table: str, item: Mapping[str, Any]) -> None:
    """Write an item of plain JSON, in the place of one with the same keys.

    Raises:
        botocore.exceptions.ClientError: It could not be written.
    """
    written = json.loads(json.dumps(item), parse_float=Decimal)
    client("dynamodb").put_item(
        TableName=table, Item={name: _to_dynamodb(value) for name, value in written.items()}
    )


def take(
    table: str, item: Mapping[str, Any], *, now: float, from_owner: str = ""
) -> dict[str, Any] | None:
    """Write a lock where there is none, or one that has expired, or is its own.

    Held already is as good as taken now, so it may be repeated.

    Args:
        table: Name of the table.
        item: The lock.
        now: Epoch seconds.
        from_owner: Another owner that it may be taken over from.

    Returns:
        The lock that is there; None if it was taken.

    Raises:
        botocore.exceptions.ClientError: It could not be written.
    """
    owners = {":me": item["owner"], ":other": from_owner or item["owner"], ":now": int(now)}
    try:
        client("dynamodb").put_item(
            TableName=table,
            Item={name: _to_dynamodb(value) for name, value in item.items()},
            ConditionExpression="attribute_not_exists(pk) OR expires_at < :now"
            " OR #owner IN (:me, :other)",
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues={name: _to_dynamodb(value) for name, value in owners.items()},
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except ClientError as error:
        if code_of(error) != _CONDITION_FAILED:
            raise
        there: Any = error.response.get("Item", {})
        return plain(there)
    return None


def release(table: str, partition: str, sort_key: str, owner: str) -> None:
    """Delete a lock, if it is still its owner's.

    Raises:
        botocore.exceptions.ClientError: It could not be deleted.
    """
    try:
        client("dynamodb").delete_item(
            TableName=table,
            Key={"pk": {"S": partition}, "sk": {"S": sort_key}},
            ConditionExpression="#owner = :owner",
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues={":owner": {"S": owner}},
        )
    except ClientError as error:
        if code_of(error) != _CONDITION_FAILED:  # released already, or someone else's by now
            raise


def plain(stored: Mapping[str, Any]) -> dict[str, Any]:
    """An item as DynamoDB's client gives it, in plain JSON."""
    return {name: _plain(_from_dynamodb(value)) for name, value in stored.items()}


def _plain(value: Any) -> Any:
    """Numbers as JSON has them, at any depth."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value
