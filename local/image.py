"""What the load generator's image runs, read from its Dockerfile."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Image:
    """What a container of an image runs, as far as a process can."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path

    @classmethod
    def read(cls, dockerfile: Path) -> Image:
        """The last stage's ENTRYPOINT, CMD and ENV.

        Raises:
            ValueError: ENTRYPOINT is missing, or not in exec form.
        """
        instructions = _instructions(dockerfile.read_text())
        last_stage = max(i for i, (name, _) in enumerate(instructions) if name == "FROM")
        command: dict[str, list[str]] = {}
        environment: dict[str, str] = {}
        for name, argument in instructions[last_stage:]:
            if name in ("ENTRYPOINT", "CMD"):
                command[name] = json.loads(argument)
            elif name == "ENV":
                pairs = (part.partition("=") for part in shlex.split(argument))
                environment.update({key: value for key, _, value in pairs})
        if "ENTRYPOINT" not in command:
            raise ValueError(f"{dockerfile}: no ENTRYPOINT in exec form")
        # PATH and the like of the image say nothing here.
        kept = {name: value for name, value in environment.items() if "PATH" not in name}
        return cls((*command["ENTRYPOINT"], *command.get("CMD", ())), kept, dockerfile.parent)


def _instructions(text: str) -> list[tuple[str, str]]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    found = re.finditer(r"^\s*([A-Za-z]+)\s+(.+?)\s*$", joined, re.MULTILINE)
    return [(match[1].upper(), match[2]) for match in found]
