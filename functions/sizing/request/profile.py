"""A profile: a request without its model, kept for a model package group."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sizing.errors import InvalidRequest
from sizing.request.request import Request, parse_request


@dataclass(frozen=True)
class Profile:
    """A valid profile.

    Args:
        enabled: Whether its group is sized; a paused one is kept, and that is all.
        written: The request as it was written, without ``enabled``.
        request: The same, parsed, with the group as its model.
    """

    enabled: bool
    written: dict[str, Any]
    request: Request


def parse_profile(text: str, group: str) -> Profile:
    """Validate a profile.

    Args:
        text: The profile as JSON.
        group: The model package group that it is named after.

    Raises:
        InvalidRequest: Names the first field in error and what is allowed there.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("profile", f"must be a JSON object: {error}") from None
    if not isinstance(data, Mapping):
        raise InvalidRequest("profile", f"must be a JSON object, got {type(data).__name__}")
    if "model" in data:
        raise InvalidRequest(
            "model", f"must not be given: it is the model package group of the profile, {group}"
        )
    written = {name: value for name, value in data.items() if name != "enabled"}
    enabled = data.get("enabled", True)
    if not isinstance(enabled, bool):
        raise InvalidRequest("enabled", "must be true or false")
    request = parse_request({**written, "model": {"model_package_group": group}})
    return Profile(enabled, written, request)
