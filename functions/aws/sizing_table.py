"""The table of sizings: locks of models, and the history of what sizings came to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer

from aws.clients import client

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
        for item in page["Items"]:
            yield {name: _plain(_from_dynamodb(value)) for name, value in item.items()}


def put(table: str, item: Mapping[str, Any]) -> None:
    """Write an item of plain JSON, in the place of one with the same keys.

    Raises:
        botocore.exceptions.ClientError: It could not be written.
    """
    written = json.loads(json.dumps(item), parse_float=Decimal)
    client("dynamodb").put_item(
        TableName=table, Item={name: _to_dynamodb(value) for name, value in written.items()}
    )


def _plain(value: Any) -> Any:
    """Numbers as JSON has them, at any depth."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value
