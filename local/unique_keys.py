"""YAML in which no key of a mapping stands twice.

YAML takes the last of two equal keys in silence. A lost override would be a wrong number, a lost
state or resource one that nobody misses until it is needed.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml


class UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML's safe loader, but for keys that stand twice: they are an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for (key_node, _), key in zip(node.value, keys, strict=True):
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key!r} is listed more than once", key_node.start_mark
                )
        return super().construct_mapping(node, deep)


def load_yaml(text: str, loader: type[UniqueKeyLoader] = UniqueKeyLoader) -> Any:
    """What a YAML text holds.

    Raises:
        yaml.YAMLError: It is not YAML, or a key stands twice in a mapping.
    """
    return yaml.load(text, loader)  # noqa: S506 - a safe loader # nosec B506
