"""The stack of template.yaml: what the embedded AWS runs of it.

So the local run can't drift from what is deployed: functions, environment, substitutions, task
definition, rules and names are read, never written a second time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.cloudformation import Template, TemplateError
from local.unique_keys import load_yaml


@dataclass(frozen=True)
class Function:
    """A Lambda function."""

    name: str
    handler: str
    code: Path
    environment: Mapping[str, str]
    timeout_seconds: int
    memory_mb: int
    role_arn: str


@dataclass(frozen=True)
class StateMachine:
    """A state machine with its substitutions made."""

    logical_id: str
    name: str
    arn: str
    definition: Mapping[str, Any]
    role_arn: str


@dataclass(frozen=True)
class Rule:
    """An EventBridge rule on an event pattern, with state machines as targets."""

    name: str
    pattern: Mapping[str, Any]
    targets: tuple[Mapping[str, Any], ...]


class Stack(Template):
    """The stack that template.yaml describes, with what is made of it."""

    def functions(self) -> list[Function]:
        """All Lambda functions."""
        return [
            Function(
                name=self.ref(logical_id),
                handler=properties["Handler"],
                code=self.folder / properties["CodeUri"],
                environment={
                    name: str(value)
                    for name, value in properties.get("Environment", {})
                    .get("Variables", {})
                    .items()
                },
                timeout_seconds=int(properties.get("Timeout", 3)),
                memory_mb=int(properties.get("MemorySize", 128)),
                role_arn=properties["Role"],
            )
            for logical_id, properties in self.resources("AWS::Serverless::Function")
        ]

    def state_machines(self) -> list[StateMachine]:
        """All state machines."""
        return [
            StateMachine(
                logical_id=logical_id,
                name=self._name(logical_id),
                arn=self.ref(logical_id),
                definition=_definition(
                    self.folder / properties["DefinitionUri"],
                    properties.get("DefinitionSubstitutions", {}),
                ),
                role_arn=properties["Role"],
            )
            for logical_id, properties in self.resources("AWS::Serverless::StateMachine")
        ]

    def rules(self) -> list[Rule]:
        """All EventBridge rules on patterns: resources of their own, and events of functions."""
        rules = [
            Rule(self.ref(logical_id), properties["EventPattern"], tuple(properties["Targets"]))
            for logical_id, properties in self.resources("AWS::Events::Rule")
            if "EventPattern" in properties and properties.get("State", "ENABLED") == "ENABLED"
        ]
        for logical_id, properties in self.resources("AWS::Serverless::StateMachine"):
            for name, event in properties.get("Events", {}).items():
                if event["Type"] not in ("EventBridgeRule", "CloudWatchEvent"):
                    continue
                wanted = event["Properties"]
                if wanted.get("State", "ENABLED") == "ENABLED":
                    target = {**wanted, "Arn": self.ref(logical_id), "Id": name}
                    rules.append(Rule(f"{logical_id}{name}", wanted["Pattern"], (target,)))
        return rules


def _definition(path: Path, substitutions: Mapping[str, Any]) -> dict[str, Any]:
    def replacement(match: re.Match[str]) -> str:
        if match[1] not in substitutions:
            raise TemplateError(f"{path.name}: no DefinitionSubstitution for {match[0]}")
        return str(substitutions[match[1]])

    text = re.sub(r"\$\{(\w+)\}", replacement, path.read_text())
    definition: dict[str, Any] = load_yaml(text)
    return definition
