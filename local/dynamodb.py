"""DynamoDB: moto's, with conditional writes that are atomic as on AWS."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partialmethod
from typing import Any, Final

from moto.dynamodb.models import DynamoDBBackend

from local.patches import Patch

#: Of a template's table, what CreateTable takes and moto keeps.
_CREATED_WITH: Final = ("TableName", "AttributeDefinitions", "KeySchema", "BillingMode")


def create(client: Any, table: Mapping[str, Any]) -> None:
    """Create a table.

    Args:
        client: Of DynamoDB.
        table: Properties of an AWS::DynamoDB::Table.
    """
    client.create_table(**{name: table[name] for name in _CREATED_WITH})


def patches() -> Iterator[Patch]:
    """What to replace in moto."""
    one_at_a_time = threading.Lock()
    for name in ("put_item", "delete_item"):
        write = vars(DynamoDBBackend)[name]
        yield Patch(DynamoDBBackend, name, partialmethod(_write, write, one_at_a_time))


def _write(
    backend: Any,
    write: Callable[..., Any],
    one_at_a_time: threading.Lock,
    *args: Any,
    **others: Any,
) -> Any:
    """moto looks at the condition and writes in two steps, in the thread of the request."""
    with one_at_a_time:
        return write(backend, *args, **others)
