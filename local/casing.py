"""Conversion between the PascalCase of CloudFormation and Step Functions and an API's own case.

Both write ``TaskDefinition`` where ECS's API says ``taskDefinition``; botocore's models know what
each API says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape
from botocore.response import StreamingBody


class UnknownFieldError(ValueError):
    """A field that the API does not have."""


def to_api(value: Any, shape: Shape) -> Any:
    """A value in PascalCase as the API's request wants it.

    Args:
        value: JSON.
        shape: What the API takes there.

    Raises:
        UnknownFieldError: A field that the API does not have.
    """
    if isinstance(shape, StructureShape) and isinstance(value, Mapping):
        members = {pascal(name): (name, member) for name, member in shape.members.items()}
        unknown = [name for name in value if name not in members]
        if unknown:
            raise UnknownFieldError(f"{shape.name} has no field '{unknown[0]}'")
        return {members[name][0]: to_api(each, members[name][1]) for name, each in value.items()}
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [to_api(each, shape.member) for each in value]
    if isinstance(shape, MapShape) and isinstance(value, Mapping):
        return {key: to_api(each, shape.value) for key, each in value.items()}
    if shape.type_name == "blob" and not isinstance(value, bytes):
        return json.dumps(value, separators=(",", ":")).encode()
    if shape.type_name == "string" and not isinstance(value, str):
        return json.dumps(value, separators=(",", ":"))
    return value


def from_api(value: Any, shape: Shape | None) -> Any:
    """A value of an API's response in PascalCase and plain JSON: times and bodies are strings."""
    if isinstance(shape, StructureShape) and isinstance(value, Mapping):
        return {
            pascal(name): from_api(each, shape.members.get(name))
            for name, each in value.items()
            if name != "ResponseMetadata"
        }
    if isinstance(shape, ListShape) and isinstance(value, list):
        return [from_api(each, shape.member) for each in value]
    if isinstance(value, StreamingBody):
        return value.read().decode()
    if isinstance(value, datetime):
        return timestamp(value)
    return value


def pascal(name: str) -> str:
    """``taskArn`` as ``TaskArn``."""
    return name[:1].upper() + name[1:]


def in_utc(moment: datetime | str) -> datetime:
    """A time of moto's, which is UTC where it names no zone, whatever this machine's zone is."""
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def timestamp(moment: datetime | str) -> str:
    """ISO 8601 with milliseconds, in UTC: the form of all times that Step Functions hands out."""
    return in_utc(moment).isoformat(timespec="milliseconds").replace("+00:00", "Z")
