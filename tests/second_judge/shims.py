"""What the second judge's emulator, MiniStack, can't: each point with its reason, in one place.

What is not listed here is deployed as ``sam build`` left it, and must come out as on the embedded
AWS. docs/second-judge.md has the same list for people; a test holds the two together.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from local.cloudformation import load_template

Template = dict[str, Any]

#: Services that the functions find at the embedded AWS, by the variables that AWS's SDKs read.
LENT: Final = {
    "SAGEMAKER": "MiniStack has no SageMaker",
    "SAGEMAKER_RUNTIME": "MiniStack has no SageMaker",
    "SERVICE_QUOTAS": "MiniStack has no quotas",
    "PRICING": "MiniStack has no price list",
    "EC2": "MiniStack knows few instance types",
    "CLOUDWATCH": "the endpoints of the embedded AWS put their metrics there",
    "ECS": "MiniStack's tasks want a Docker engine; so RunTask goes to the embedded AWS, too",
}
#: What is put into MiniStack itself, by in_ministack.py, beside RunTask.
PATCHED: Final = (
    "A function's exception arrives as Runtime.HandlerError, its name lost",
    "A nested execution's failure arrives under its own name, not as States.TaskFailed",
    "PutObject by SDK integration is not there",
)
#: What is not compared.
NOT_COMPARED: Final = (
    "States of a Map or Parallel: MiniStack's history does not have them",
    "How often a wait goes round: it depends on how busy the machine is",
    "What a rule itself puts on the topic: the embedded AWS has rules start state machines alone",
)
#: Subject of what a rule puts on a topic.
OF_A_RULE: Final = "EventBridge Notification"
#: PutEvents refuses sources of AWS's own.
TEST_SOURCE: Final = "test.sagemaker"


def _runtime_of_this_machine(template: Template, _: Path) -> None:
    """Functions run on the Python of this machine, without a container"""
    function = template["Globals"]["Function"]
    function["Runtime"] = f"python{sys.version_info.major}.{sys.version_info.minor}"
    function["Architectures"] = [
        "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
    ]


def _definitions_as_json(template: Template, folder: Path) -> None:
    """State machines in YAML are deployed, but not parsed"""
    for name, properties in _of_type(template, "AWS::Serverless::StateMachine"):
        definition = yaml.safe_load((folder / properties["DefinitionUri"]).read_text())
        properties["DefinitionUri"] = f"{name}.asl.json"
        (folder / f"{name}.asl.json").write_text(json.dumps(definition))


def _timeouts_as_numbers(template: Template, folder: Path) -> None:
    """A TimeoutSeconds that is an expression is handed to a timer as it is written"""
    _in_definitions(
        template,
        folder,
        lambda each: (
            {**each, "TimeoutSeconds": 600} if isinstance(each.get("TimeoutSeconds"), str) else each
        ),
    )


def _succeed_as_pass(template: Template, folder: Path) -> None:
    """The Output of a Succeed state is not evaluated; that of a Pass state, the last one, is"""
    _in_definitions(
        template,
        folder,
        lambda each: (
            {**each, "Type": "Pass", "End": True} if each.get("Type") == "Succeed" else each
        ),
    )


def _no_egress_apart(template: Template, _: Path) -> None:
    """The type AWS::EC2::SecurityGroupEgress is unknown"""
    for name in [name for name, _ in _of_type(template, "AWS::EC2::SecurityGroupEgress")]:
        del template["Resources"][name]


def _an_image_that_is_there(template: Template, _: Path) -> None:
    """CodeBuild wants a Docker engine, so the stack is given an image and builds none"""
    template["Parameters"]["ImageUri"]["Default"] = "load-generator:1"


def _zones_by_name(template: Template, _: Path) -> None:
    """Both branches of Fn::If are evaluated, so the zones are named"""
    template["Parameters"]["Zones"]["Default"] = "us-east-1a,us-east-1b"


def _a_source_for_tests(template: Template, _: Path) -> None:
    """PutEvents takes no source of AWS's own, so the rule hears one more"""
    for _, properties in _of_type(template, "AWS::Events::Rule"):
        sources = properties["EventPattern"]["source"]
        if "aws.sagemaker" in sources:
            sources.append(TEST_SOURCE)


#: What is changed in the built template; the docstrings are the reasons.
SHIMS: Final[tuple[Callable[[Template, Path], None], ...]] = (
    _runtime_of_this_machine,
    _definitions_as_json,
    _timeouts_as_numbers,
    _succeed_as_pass,
    _no_egress_apart,
    _an_image_that_is_there,
    _zones_by_name,
    _a_source_for_tests,
)


def deployable(built: Path) -> Path:
    """Write the template that is deployed, beside the built one; returns its path."""
    template = load_template(built)
    for shim in SHIMS:
        shim(template, built.parent)
    path = built.with_name("second-judge.json")
    path.write_text(json.dumps(json.loads(json.dumps(template), object_hook=_getatt_as_list)))
    return path


def _of_type(template: Template, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, resource in template["Resources"].items():
        if resource["Type"] == kind:
            yield name, resource["Properties"]


def _in_definitions(
    template: Template, folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """Change objects, at any depth, in the definitions of the state machines."""
    for _, properties in _of_type(template, "AWS::Serverless::StateMachine"):
        path = folder / properties["DefinitionUri"]
        path.write_text(json.dumps(json.loads(path.read_text(), object_hook=change)))


def _getatt_as_list(value: dict[str, Any]) -> dict[str, Any]:
    """JSON knows Fn::GetAtt with a list only."""
    name = value.get("Fn::GetAtt")
    return {"Fn::GetAtt": name.split(".", 1)} if isinstance(name, str) else value
