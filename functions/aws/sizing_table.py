"""The table of sizings: locks of models, and the history of what sizings came to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from boto3.dynamodb.types import TypeDeserializer

from aws.clients import client

_from_dynamodb = TypeDeserializer().deserialize


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


def _plain(value: Any) -> Any:
    """Numbers as JSON has them, at any depth."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return value
