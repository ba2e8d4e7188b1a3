"""Reading the state machines as they are deployed: template.yaml, its substitutions, the YAML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from local.cloudformation import load_template
from local.unique_keys import load_yaml

#: A made-up account, for the ARNs that stand in for substitutions.
_ACCOUNT = "111122223333"
_PSEUDO_PARAMETERS = {
    ("Ref", "AWS::AccountId"): _ACCOUNT,
    ("Ref", "AWS::Partition"): "aws",
    ("Ref", "AWS::Region"): "us-east-1",
}
_SUBSTITUTION = re.compile(r"\$\{([^}]*)\}")


@dataclass(frozen=True, order=True)
class Problem:
    """Something wrong, and where."""

    file: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.where}: {self.message}"


@dataclass(frozen=True)
class StateMachine:
    """A state machine with its substitutions filled in."""

    file: str
    definition: Mapping[str, Any]


def load(template_path: Path) -> tuple[list[StateMachine], list[Problem]]:
    """All state machines of a template, and what is wrong with how it refers to them.

    Args:
        template_path: The template; ``DefinitionUri`` is relative to its folder.
    """
    template = load_template(template_path)
    root = template_path.parent
    machines: list[StateMachine] = []
    problems: list[Problem] = []
    for logical_id, properties in _serverless_state_machines(template):
        uri = properties.get("DefinitionUri")
        where = f"{logical_id}.DefinitionUri"
        if not isinstance(uri, str) or not (root / uri).is_file():
            problems.append(Problem(template_path.name, where, f"{uri} is no file"))
            continue
        text = (root / uri).read_text(encoding="utf-8")
        substitutions = properties.get("DefinitionSubstitutions", {})
        used = set(_SUBSTITUTION.findall(text))
        where = f"{logical_id}.DefinitionSubstitutions"
        problems += [
            Problem(template_path.name, where, f"{name} is used nowhere in {uri}")
            for name in sorted(set(substitutions) - used)
        ]
        problems += [
            Problem(uri, "${" + name + "}", f"{where} in {template_path.name} has no such name")
            for name in sorted(used - set(substitutions))
        ]
        try:
            definition = load_yaml(_filled(text, substitutions, template))
        except yaml.YAMLError as error:
            problems.append(Problem(uri, "YAML", " ".join(str(error).split())))
            continue
        if not isinstance(definition, dict):
            problems.append(Problem(uri, "YAML", "is no state machine"))
            continue
        machines.append(StateMachine(uri, definition))
    known_files = {machine.file for machine in machines} | {each.file for each in problems}
    problems += [
        Problem(file, "-", f"no state machine of {template_path.name} uses it")
        for path in sorted(root.glob("statemachine/*.asl.yaml"))
        if (file := path.relative_to(root).as_posix()) not in known_files
    ]
    return machines, problems


def _serverless_state_machines(
    template: Mapping[str, Any],
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for logical_id, resource in template.get("Resources", {}).items():
        if resource.get("Type") == "AWS::Serverless::StateMachine":
            yield logical_id, resource.get("Properties", {})


def _filled(text: str, substitutions: Mapping[str, Any], template: Mapping[str, Any]) -> str:
    return _SUBSTITUTION.sub(
        lambda match: _stand_in(match[1], substitutions.get(match[1]), template), text
    )


def _stand_in(name: str, value: Any, template: Mapping[str, Any]) -> str:
    """A plausible value of a substitution: what the template says, as far as it says it."""
    if isinstance(value, str | int | float | bool):
        return str(value)
    if isinstance(value, dict) and len(value) == 1:
        ((function, argument),) = value.items()
        if function == "Fn::If":
            return _stand_in(name, argument[1], template)
        if isinstance(argument, list):
            argument = ".".join(map(str, argument))
        if (function, argument) in _PSEUDO_PARAMETERS:
            return _PSEUDO_PARAMETERS[function, argument]
        parameter = template.get("Parameters", {}).get(argument) if function == "Ref" else None
        if parameter is not None and parameter.get("Default", "") != "":
            return str(parameter["Default"])
        if function == "Fn::GetAtt" and str(argument).endswith("Arn"):
            return f"arn:aws:lambda:us-east-1:{_ACCOUNT}:function:{str(argument).split('.')[0]}"
    if name.endswith("StateMachineArn"):
        return f"arn:aws:states:us-east-1:{_ACCOUNT}:stateMachine:{name}"
    if name.endswith("Arn"):
        return f"arn:aws:sns:us-east-1:{_ACCOUNT}:{name}"
    return name
