"""S3: moto's, which looks at versions without keeping a copy of every object for good.

For each list of versions moto copies all objects of the bucket with their content, and it keeps
track of all that it has ever made. Each clean-up asks for such a list.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moto.s3.models import FakeKey

from local.patches import Patch


def patches() -> Iterator[Patch]:
    """What to replace in moto."""
    yield Patch(FakeKey, "__deepcopy__", _as_listed, added=True)


def _as_listed(key: Any, _memo: dict[int, Any]) -> Any:
    """What a list says of an object: all but its content, which stays the object's own."""
    listed = object.__new__(type(key))
    etag = key.etag.strip('"')  # worked out from the content, once
    content = {"_value_buffer": None, "multipart": None, "disposed": True, "_etag": etag}
    listed.__dict__.update(key.__dict__ | content)
    return listed
