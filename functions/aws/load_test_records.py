"""The records of a sizing's load tests, in one file of its folder.

The state machine carries those of the last round alone: a hundred, of some 4 KB each, would not fit
into the 256 KiB that it hands on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from botocore.exceptions import ClientError

from aws import s3_documents
from aws.refusals import code_of
from sizing.clean_up import names


def read(bucket: str, sizing_id: str, newest: Iterable[Any] = ()) -> list[Any]:
    """All records of a sizing as JSON, in the order the load tests ran.

    Args:
        bucket: The results bucket.
        sizing_id: The sizing.
        newest: Records that may not be in the file yet; one of the same load test replaces it.

    Raises:
        botocore.exceptions.ClientError: The file is there and could not be read.
        ValueError: It is not JSON.
    """
    try:
        kept = s3_documents.read_json(bucket, _key(sizing_id))
    except ClientError as error:
        if code_of(error) != "NoSuchKey":
            raise
        kept = []
    records = [*kept, *newest]
    latest = {_load_test(each, place): each for place, each in enumerate(records)}
    return list(latest.values())


def write(bucket: str, sizing_id: str, records: Iterable[Mapping[str, Any]]) -> None:
    """Keep a sizing's records.

    Raises:
        botocore.exceptions.ClientError: They could not be written.
    """
    content = json.dumps(list(records)).encode()
    s3_documents.write(bucket, _key(sizing_id), content, "application/json")


def _key(sizing_id: str) -> str:
    return names.sizing_folder(sizing_id) + names.RECORDS_FILE


def _load_test(record: Any, place: int) -> Any:
    """What tells a record from others; its place where it has no name."""
    name = record.get("load_test_id") if isinstance(record, Mapping) else None
    return name if isinstance(name, str) else place
