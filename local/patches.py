"""Replaces private parts of moto, all or none, and puts them back.

moto is the control plane; what it leaves out is added by the adapters beside this module. Their
replacements touch parts that moto may rename in any release, so the version is pinned, and every
one of them must exist before the first is replaced.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import Any

#: The release whose private parts the adapters were written against; requirements/ pins it too.
MOTO_VERSION = "5.2.5"


class MotoChanged(RuntimeError):
    """The installed moto is not the one that the adapters were written against."""


@dataclass(frozen=True)
class Patch:
    """One attribute of a class or module of moto, and what stands there while AWS is embedded."""

    owner: type | ModuleType
    name: str
    replacement: Any
    #: moto lacks it: it must not be there.
    added: bool = False

    def __str__(self) -> str:
        owner = self.owner
        module = owner.__name__ if isinstance(owner, ModuleType) else owner.__module__
        inside = "" if isinstance(owner, ModuleType) else f".{owner.__qualname__}"
        return f"{module}{inside}.{self.name}"


class Patches(AbstractContextManager["Patches"]):
    """Applies patches for as long as the context lasts.

    Raises:
        MotoChanged: On entry; moto is another version, or an attribute is not there, or there
            already.
    """

    def __init__(self, patches: Iterable[Patch]) -> None:
        self._patches = tuple(patches)
        self._originals: list[tuple[Patch, Any]] = []

    def __enter__(self) -> Patches:
        installed = importlib.metadata.version("moto")
        if installed != MOTO_VERSION:
            raise MotoChanged(f"moto {MOTO_VERSION} is needed, {installed} is installed")
        # Looked up in the owner itself: an inherited attribute is replaced where it is written.
        other = [p for p in self._patches if (p.name in vars(p.owner)) is p.added]
        if other:
            wrong = ", ".join(f"{'a' if patch.added else 'no'} {patch}" for patch in other)
            raise MotoChanged(f"moto {installed} has {wrong}")
        for patch in self._patches:
            self._originals.append((patch, vars(patch.owner).get(patch.name)))
            setattr(patch.owner, patch.name, patch.replacement)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self._originals:
            patch, original = self._originals.pop()
            if patch.added:
                delattr(patch.owner, patch.name)
            else:
                setattr(patch.owner, patch.name, original)
