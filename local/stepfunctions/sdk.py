"""The SDK inside Step Functions: which actions and fields of other services it surely knows.

``tools/sdk_fields.py`` writes the list from a botocore of a date, which it names. What is newer may
be known by now, or not; a machine that relies on it dies on AWS, and nothing catches that. So it
does here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

LIST: Final = Path(__file__).with_name("sdk_fields.json")


class NotSupportedError(ValueError):
    """An action or a field that Step Functions may not know."""


def check(action: str, arguments: Any) -> None:
    """Refuse a call as Step Functions does.

    Args:
        action: Such as ``ssm:getParameter``.
        arguments: What the call is given, as far as it is known.

    Raises:
        NotSupportedError: The action or one of the fields is not in the list.
    """
    known = _known()
    if action not in known["actions"]:
        raise NotSupportedError(
            f"{action} is not in {LIST.name}; tools/sdk_fields.py puts it there"
        )
    for field in _unknown(arguments, known["actions"][action]):
        raise NotSupportedError(
            f'The field "{field}" is not supported by Step Functions (surely: it was not in '
            f"botocore {known['botocore']} of {known['released']})"
        )


@cache
def _known() -> Mapping[str, Any]:
    loaded: dict[str, Any] = json.loads(LIST.read_text(encoding="utf-8"))
    return loaded


def _unknown(value: Any, fields: Any) -> Iterator[str]:
    """Fields that a list does not have, whatever they are in."""
    if isinstance(fields, list) and isinstance(value, list):
        for each in value:
            yield from _unknown(each, fields[0])
    elif isinstance(fields, Mapping) and isinstance(value, Mapping):
        for name, each in value.items():
            if "*" in fields:
                yield from _unknown(each, fields["*"])
            elif name in fields:
                yield from _unknown(each, fields[name])
            else:
                yield name
