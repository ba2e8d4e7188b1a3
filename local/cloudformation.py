"""Reads a template as CloudFormation and SAM would: references, functions, conditions, Globals."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from local.unique_keys import UniqueKeyLoader, load_yaml

_NO_VALUE: Final = object()

#: The property that names a resource, where CloudFormation would not make a name up.
_NAME_PROPERTIES: Final = {
    "AWS::DynamoDB::Table": "TableName",
    "AWS::ECR::Repository": "RepositoryName",
    "AWS::ECS::Cluster": "ClusterName",
    "AWS::ECS::TaskDefinition": "Family",
    "AWS::Events::Rule": "Name",
    "AWS::IAM::Role": "RoleName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::S3::Bucket": "BucketName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::SSM::Parameter": "Name",
    "AWS::Serverless::Function": "FunctionName",
    "AWS::Serverless::StateMachine": "Name",
}
_ARNS: Final = {
    "AWS::DynamoDB::Table": "dynamodb:{region}:{account}:table/{name}",
    "AWS::ECR::Repository": "ecr:{region}:{account}:repository/{name}",
    "AWS::ECS::Cluster": "ecs:{region}:{account}:cluster/{name}",
    "AWS::ECS::TaskDefinition": "ecs:{region}:{account}:task-definition/{name}:1",
    "AWS::Events::Rule": "events:{region}:{account}:rule/{name}",
    "AWS::IAM::Role": "iam::{account}:role/{name}",
    "AWS::Logs::LogGroup": "logs:{region}:{account}:log-group:{name}:*",
    "AWS::S3::Bucket": "s3:::{name}",
    "AWS::SNS::Topic": "sns:{region}:{account}:{name}",
    "AWS::SQS::Queue": "sqs:{region}:{account}:{name}",
    "AWS::Serverless::Function": "lambda:{region}:{account}:function:{name}",
    "AWS::Serverless::StateMachine": "states:{region}:{account}:stateMachine:{name}",
}
#: Types whose ``Ref`` is their ARN; that of others is their name.
_REF_IS_ARN: Final = {
    "AWS::ECS::TaskDefinition",
    "AWS::SNS::Topic",
    "AWS::Serverless::StateMachine",
}


class TemplateError(ValueError):
    """template.yaml holds something that the embedded AWS can't resolve."""


class _Loader(UniqueKeyLoader):
    """YAML with CloudFormation's short forms: ``!GetAtt A.Arn`` is ``{"Fn::GetAtt": "A.Arn"}``."""


def _short_form(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_form)


def load_template(path: Path) -> dict[str, Any]:
    """A CloudFormation template as it is written, but for its short forms, which are written out.

    Raises:
        TemplateError: The file holds no template.
    """
    loaded = load_yaml(path.read_text("utf-8"), _Loader)
    if not isinstance(loaded, dict):
        raise TemplateError(f"{path} is no template")
    return loaded


class Template:
    """A template with every reference resolved.

    Args:
        path: The template.
        region: Region of the stack.
        account: Account of the stack.
        parameters: Values for parameters that don't keep their default.

    Raises:
        TemplateError: A function, reference or attribute that this reader does not know.
    """

    #: Name of the stack; ``sam deploy`` takes it from samconfig.toml.
    name: Final = "endpoint-sizer"

    def __init__(
        self,
        path: Path,
        *,
        region: str,
        account: str,
        parameters: Mapping[str, str] | None = None,
    ) -> None:
        self.region = region
        self.account = account
        self.folder = path.parent
        document = load_template(path)
        self._globals: Mapping[str, Any] = document.get("Globals", {})
        self._conditions: Mapping[str, Any] = document.get("Conditions", {})
        self._mappings: Mapping[str, Any] = document.get("Mappings", {})
        self._outputs: Mapping[str, Any] = document.get("Outputs", {})
        self._declared: Mapping[str, Any] = document["Resources"]
        self.parameters = {
            name: _parameter(declared, (parameters or {}).get(name))
            for name, declared in document.get("Parameters", {}).items()
        }

    def resources(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Logical id and resolved properties of all resources of a type that are created."""
        for logical_id, declared in self._declared.items():
            if declared["Type"] == kind and self._is_created(declared):
                section = kind.rpartition("::")[2] if kind.startswith("AWS::Serverless::") else ""
                properties = _merged(self._globals.get(section, {}), declared.get("Properties", {}))
                yield logical_id, self.resolve(properties)

    def only(self, kind: str) -> tuple[str, dict[str, Any]]:
        """Logical id and properties of the one resource of a type.

        Raises:
            TemplateError: There is none, or more than one.
        """
        found = list(self.resources(kind))
        if len(found) != 1:
            raise TemplateError(f"{len(found)} resources of type {kind}, one is needed")
        return found[0]

    def outputs(self) -> dict[str, str]:
        """The outputs' values, by name."""
        return {
            name: str(self.resolve(declared["Value"]))
            for name, declared in self._outputs.items()
            if self._is_created(declared)
        }

    # --- References ---------------------------------------------------------------------------

    def ref(self, name: str) -> str:
        """What ``Ref`` gives: a parameter's value, or a resource's name, ARN or id."""
        value = self._ref(name)
        return ",".join(value) if isinstance(value, list) else str(value)

    def arn(self, logical_id: str) -> str:
        """A resource's ARN.

        Raises:
            TemplateError: It has none that this reader knows.
        """
        return self._attribute(logical_id, "Arn")

    def resolve(self, value: Any) -> Any:
        """A value with all intrinsic functions replaced by what they give."""
        if isinstance(value, list):
            resolved = (self.resolve(each) for each in value)
            return [each for each in resolved if each is not _NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            [(name, argument)] = value.items()
            if name == "Ref":
                return self._ref(argument)
            if name in self._functions:
                return self._functions[name](self, argument)
            if name.startswith("Fn::"):
                raise TemplateError(f"{name} is not known here")
        pairs = ((name, self.resolve(each)) for name, each in value.items())
        return {name: each for name, each in pairs if each is not _NO_VALUE}

    def _ref(self, name: str) -> Any:
        pseudo = {
            "AWS::Region": self.region,
            "AWS::AccountId": self.account,
            "AWS::Partition": "aws",
            "AWS::StackName": self.name,
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::NoValue": _NO_VALUE,
            "AWS::StackId": f"arn:aws:cloudformation:{self.region}:{self.account}"
            f":stack/{self.name}/local",
        }
        if name in pseudo:
            return pseudo[name]
        if name in self.parameters:
            return self.parameters[name]
        kind = self._kind(name)
        if kind in _REF_IS_ARN:
            return self._attribute(name, "Arn")
        if kind.startswith("AWS::EC2::"):
            return _ec2_id(kind, name)
        return self._name(name)

    def _attribute(self, logical_id: str, attribute: str) -> str:
        kind = self._kind(logical_id)
        name = self._name(logical_id)
        place = {"region": self.region, "account": self.account, "name": name}
        if attribute == "Arn" and kind in _ARNS:
            return "arn:aws:" + _ARNS[kind].format(**place)
        if attribute == _NAME_PROPERTIES.get(kind):
            return name
        if kind.startswith("AWS::EC2::") and attribute.endswith("Id"):
            return str(self._ref(logical_id))
        if kind.startswith("Custom::"):  # whatever its function answers
            return f"{logical_id}.{attribute}"
        if attribute == "RepositoryUri":
            return "{account}.dkr.ecr.{region}.amazonaws.com/{name}".format(**place)
        raise TemplateError(f"{logical_id}.{attribute}: not known of {kind}")

    def _name(self, logical_id: str) -> str:
        kind = self._kind(logical_id)
        named = self._declared[logical_id].get("Properties", {}).get(_NAME_PROPERTIES.get(kind))
        if named is not None:
            return str(self.resolve(named))
        made_up = f"{self.name}-{logical_id}"
        return f"{made_up}-{self.account}".lower() if kind == "AWS::S3::Bucket" else made_up

    def _kind(self, logical_id: str) -> str:
        if logical_id not in self._declared:
            raise TemplateError(f"{logical_id} is neither a parameter nor a resource")
        return str(self._declared[logical_id]["Type"])

    def _is_created(self, declared: Mapping[str, Any]) -> bool:
        return "Condition" not in declared or self._condition(declared["Condition"])

    # --- Intrinsic functions ------------------------------------------------------------------

    def _condition(self, name: Any) -> bool:
        if isinstance(name, str):
            if name not in self._conditions:
                raise TemplateError(f"there is no condition {name}")
            return bool(self.resolve(self._conditions[name]))
        return bool(self.resolve(name))

    def _if(self, argument: list[Any]) -> Any:
        condition, then, otherwise = argument
        return self.resolve(then if self._condition(condition) else otherwise)

    def _get_att(self, argument: Any) -> str:
        parts = argument.split(".", 1) if isinstance(argument, str) else argument
        return self._attribute(parts[0], parts[1])

    def _sub(self, argument: Any) -> str:
        text, given = argument if isinstance(argument, list) else (argument, {})
        values = self.resolve(given)

        def replacement(match: re.Match[str]) -> str:
            name = match[1]
            if name.startswith("!"):
                return f"${{{name[1:]}}}"
            if name in values:
                return str(values[name])
            return self._get_att(name) if "." in name else self.ref(name)

        return re.sub(r"\$\{([^}]+)\}", replacement, text)

    def _find_in_map(self, argument: list[Any]) -> Any:
        table, row, column = self.resolve(argument)
        return self.resolve(self._mappings[table][row][column])

    def _join(self, argument: list[Any]) -> str:
        separator, parts = argument[0], self.resolve(argument[1])
        return str(separator).join(map(str, parts))

    def _select(self, argument: list[Any]) -> Any:
        return self.resolve(argument[1])[int(self.resolve(argument[0]))]

    def _split(self, argument: list[Any]) -> list[str]:
        return str(self.resolve(argument[1])).split(argument[0])

    def _equals(self, argument: list[Any]) -> bool:
        left, right = self.resolve(argument)
        return bool(str(left) == str(right))

    _functions: Final[Mapping[str, Callable[[Template, Any], Any]]] = {
        "Fn::And": lambda self, argument: all(self._condition(each) for each in argument),
        "Fn::Equals": _equals,
        "Fn::FindInMap": _find_in_map,
        "Fn::GetAZs": lambda self, _: [f"{self.region}{zone}" for zone in "abc"],
        "Fn::GetAtt": _get_att,
        "Fn::If": _if,
        "Fn::Join": _join,
        "Fn::Not": lambda self, argument: not self._condition(argument[0]),
        "Fn::Or": lambda self, argument: any(self._condition(each) for each in argument),
        "Fn::Select": _select,
        "Fn::Split": _split,
        "Fn::Sub": _sub,
        "Condition": _condition,
    }


def _parameter(declared: Mapping[str, Any], given: str | None) -> str | list[str]:
    value = str(declared.get("Default", "") if given is None else given)
    kind = declared["Type"]
    if kind == "CommaDelimitedList" or kind.startswith("List<"):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _merged(base: Any, over: Any) -> Any:
    """SAM's Globals: maps are merged, lists are joined, other values are replaced."""
    if isinstance(base, dict) and isinstance(over, dict):
        merged = {name: _merged(base[name], over[name]) for name in base.keys() & over.keys()}
        return {**base, **over, **merged}
    if isinstance(base, list) and isinstance(over, list):
        return [*base, *over]
    return over


def _ec2_id(kind: str, logical_id: str) -> str:
    prefix = {"Subnet": "subnet", "SecurityGroup": "sg", "VPC": "vpc"}.get(
        kind.rpartition("::")[2], "eni"
    )
    return f"{prefix}-{hashlib.sha256(logical_id.encode()).hexdigest()[:17]}"
