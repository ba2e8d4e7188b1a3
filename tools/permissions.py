"""What the roles of template.yaml may do, held against what machines, functions and services call.

``python -m tools.permissions`` writes the tables of docs/permissions.md anew; with ``--check`` it
says what differs. Both fail where an action is called and not allowed, or allowed and not called.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import botocore
import botocore.session
import yaml

from local.cloudformation import load_template
from tools.state_machines.definition import StateMachine
from tools.state_machines.flow import all_states

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "permissions.md"

Template = Mapping[str, Any]
#: Actions by role, and who calls each.
Calls = dict[str, dict[str, list[str]]]

#: IAM's names of services where they are not those of boto3 and Step Functions.
IAM_SERVICES = {
    "sagemaker-runtime": "sagemaker",
    "service-quotas": "servicequotas",
    "stepfunctions": "states",
    "sfn": "states",
}
#: IAM's names of actions where they are not those of the operation.
IAM_ACTIONS = {
    "lambda:Invoke": ("lambda:InvokeFunction",),
    "s3:DeleteObjects": ("s3:DeleteObject", "s3:DeleteObjectVersion"),
    "s3:HeadObject": ("s3:GetObject",),
    "s3:ListObjectVersions": ("s3:ListBucketVersions",),
    "s3:ListObjectsV2": ("s3:ListBucket",),
}
_RULE = ("events:DescribeRule", "events:PutRule", "events:PutTargets")
#: What Step Functions does besides the call itself, by the integration's resource.
#: https://docs.aws.amazon.com/step-functions/latest/dg/service-integration-iam-templates.html
_BESIDE: Mapping[str, Mapping[str, str]] = {
    "ecs:runTask.sync": {
        **dict.fromkeys(("ecs:DescribeTasks", *_RULE), "waits for the task's end"),
        "ecs:StopTask": "stops the task when aborted",
        "ecs:TagResource": "tags the task",
        "iam:PassRole": "hands on the task's roles",
    },
    "states:startExecution.sync:2": {
        **dict.fromkeys(("states:DescribeExecution", *_RULE), "waits for the execution's end"),
        "states:StopExecution": "stops the execution when aborted",
    },
}
#: What belongs to an action that a function calls.
_WITH: Mapping[str, Mapping[str, str]] = {
    "s3:GetObject": {"s3:ListBucket": "else a missing object looks like a forbidden one"},
    "sagemaker:CreateModel": {
        "sagemaker:AddTags": "tags that come with a create call",
        "iam:PassRole": "hands on the models' role",
    },
    "application-autoscaling:RegisterScalableTarget": {
        "iam:CreateServiceLinkedRole": "of the account's first scalable endpoint",
    },
    "application-autoscaling:PutScalingPolicy": {
        "cloudwatch:PutMetricAlarm": "what the policy scales by",
        "cloudwatch:DescribeAlarms": "likewise",
        "cloudwatch:DeleteAlarms": "likewise, of a policy that is replaced",
    },
}
_PULL = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
_LOG = ("logs:CreateLogStream", "logs:PutLogEvents")
#: What services and containers do with a role; no code of the functions says so.
_SERVICES: Mapping[str, Mapping[str, str]] = {
    "LoadTestTaskExecutionRole": {
        **dict.fromkeys(("ecr:GetAuthorizationToken", *_PULL), "Fargate pulls the image"),
        **dict.fromkeys(_LOG, "Fargate writes the tasks' log"),
    },
    "LoadTestTaskRole": {
        "sagemaker:InvokeEndpoint": "the workers' load",
        "sagemaker:InvokeEndpointWithResponseStream": "the same with payloads.streaming",
        "s3:GetObject": "leader and workers read spec.json and payloads",
        "s3:PutObject": "leader and workers write load_test.json and what belongs to it",
        "s3:ListBucket": "else a missing object looks like a forbidden one",
    },
    "ModelExecutionRole": {
        **dict.fromkeys(("ecr:GetAuthorizationToken", *_PULL), "SageMaker pulls the model's image"),
        **dict.fromkeys(
            (*_LOG, "logs:CreateLogGroup", "logs:DescribeLogStreams"),
            "SageMaker writes the container's log",
        ),
        "cloudwatch:PutMetricData": "SageMaker publishes the endpoint's metrics",
        "s3:GetObject": "SageMaker reads the model's data",
    },
    "ImageProjectRole": {
        **dict.fromkeys(_LOG, "CodeBuild writes the build's log"),
        "s3:GetObject": "the build reads the image's source",
        "ecr:GetAuthorizationToken": "docker login",
        **dict.fromkeys(
            (
                "ecr:BatchCheckLayerAvailability",
                "ecr:BatchGetImage",
                "ecr:CompleteLayerUpload",
                "ecr:InitiateLayerUpload",
                "ecr:PutImage",
                "ecr:UploadLayerPart",
            ),
            "docker push",
        ),
    },
}


# --- What is allowed ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Grant:
    """An action that a role may call, on what, and under which condition."""

    role: str
    action: str
    resource: Any
    condition: Mapping[str, Any]
    #: Of the template; empty where it always holds.
    only_if: str = ""


def as_list(value: Any) -> list[Any]:
    """A value that a policy gives alone or in a list."""
    return value if isinstance(value, list) else [value]


def of_type(template: Template, *types: str) -> dict[str, Mapping[str, Any]]:
    """Properties of the resources of some types, by logical id."""
    return {
        name: each.get("Properties", {})
        for name, each in template["Resources"].items()
        if each["Type"] in types
    }


def statements(template: Template, role: str) -> Iterator[Mapping[str, Any]]:
    """The statements of a role's policies, those under a condition of the template too."""
    for statement, _ in _statements(template, role):
        yield statement


def _statements(template: Template, role: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    for policy in template["Resources"][role]["Properties"]["Policies"]:
        for each in policy["PolicyDocument"]["Statement"]:
            if "Fn::If" not in each:
                yield each, ""
                continue
            condition, then, otherwise = each["Fn::If"]
            for branch, holds in ((then, condition), (otherwise, f"not {condition}")):
                if "Effect" in branch:
                    yield branch, holds


def grants(template: Template, role: str) -> list[Grant]:
    """All that a role may do."""
    return [
        Grant(role, action, each["Resource"], each.get("Condition", {}), only_if)
        for each, only_if in _statements(template, role)
        for action in as_list(each["Action"])
    ]


# --- What is called -----------------------------------------------------------------------------


def called(template: Template, root: Path = ROOT) -> Calls:
    """The actions that each role's holder calls, with the places that call them.

    Args:
        template: The template.
        root: Where ``statemachine/`` and ``functions/`` lie.
    """
    calls: Calls = {name: {} for name in of_type(template, "AWS::IAM::Role")}
    for role, action, who in (
        *((role, action, why) for role, each in _SERVICES.items() for action, why in each.items()),
        *_by_machines(template, root),
        *_by_functions(template, root / "functions"),
        *_by_starts(template),
    ):
        places = calls[role].setdefault(action, [])
        if who not in places:
            places.append(who)
    return calls


def _by_machines(template: Template, root: Path) -> Iterator[tuple[str, str, str]]:
    for properties in of_type(template, "AWS::Serverless::StateMachine").values():
        for where, state in all_states(_machine(root / properties["DefinitionUri"])):
            for action, why in _of_state(state.get("Resource", "")):
                name = where.rpartition(".")[2]
                yield _role(properties["Role"]), action, f"{name}: {why}" if why else name


@cache
def _machine(path: Path) -> StateMachine:
    return StateMachine(path.name, yaml.safe_load(path.read_text("utf-8")))


def _by_functions(template: Template, root: Path) -> Iterator[tuple[str, str, str]]:
    for properties in of_type(template, "AWS::Serverless::Function").values():
        role = _role(properties["Role"])
        for action in _LOG:
            yield role, action, "Lambda writes the function's log"
        handler_module, _, handler = properties["Handler"].rpartition(".")
        for action, where in _of_function(root, handler_module, handler):
            yield role, action, where
            for other, why in _WITH.get(action, {}).items():
                yield role, other, why


def _by_starts(template: Template) -> Iterator[tuple[str, str, str]]:
    for name, properties in of_type(template, "AWS::Events::Rule").items():
        for target in properties["Targets"]:
            if "RoleArn" in target:  # others are allowed by the target's own policy
                yield _role(target["RoleArn"]), "states:StartExecution", name
    for name, properties in of_type(template, "AWS::Scheduler::Schedule").items():
        role = _role(properties["Target"]["RoleArn"])
        yield role, "states:StartExecution", name
        yield role, "sqs:SendMessage", "keeps a start that was not delivered"


def problems(template: Template, root: Path = ROOT) -> list[str]:
    """Actions that are called and not allowed, and those that are allowed and not called."""
    calls = called(template, root)
    found = []
    for role, needed in calls.items():
        allowed = {each.action for each in grants(template, role)}
        found += [
            f"{role}: {action} is called ({'; '.join(needed[action])}) and not allowed"
            for action in sorted(needed.keys() - allowed)
        ]
        found += [
            f"{role}: {action} is allowed and never called"
            for action in sorted(allowed - needed.keys())
        ]
    holders = {
        role
        for role, needed in calls.items()
        if role not in ("ModelExecutionRole", "LoadTestTaskExecutionRole")
        and any(each.startswith(("s3:", "dynamodb:", "sns:")) for each in needed)
    }
    named = {_referenced(each) for each in template["Resources"]["KeyUse"]["Properties"]["Roles"]}
    found += [f"KeyUse: {role} is missing" for role in sorted(holders - named)]
    found += [f"KeyUse: {role} encrypts nothing" for role in sorted(named - holders)]
    return found


def _role(reference: Any) -> str:
    return str(reference["Fn::GetAtt"]).partition(".")[0]


def _referenced(value: Any) -> str:
    return str(value["Fn::If"][1]["Ref"] if "Fn::If" in value else value["Ref"])


def _of_state(resource: str) -> Iterator[tuple[str, str]]:
    integration = re.sub(r"^arn:[^:]*:states:::", "", resource)
    if integration == resource:
        return
    service, action = integration.removeprefix("aws-sdk:").split(":")[:2]
    action = action.partition(".")[0]
    name = f"{IAM_SERVICES.get(service, service)}:{action[0].upper()}{action[1:]}"
    for each in IAM_ACTIONS.get(name, (name,)):
        yield each, ""
    yield from _BESIDE.get(integration, {}).items()


@dataclass(frozen=True)
class _Module:
    path: Path
    #: What the module defines: functions, classes and assignments, by name.
    defined: Mapping[str, ast.AST]
    #: Modules, and names of modules, that are imported: by the name they have here.
    imported: Mapping[str, tuple[Path, str | None]]
    #: Services of AWS whose clients it makes.
    services: frozenset[str]


def _of_function(root: Path, handler_module: str, handler: str) -> Iterator[tuple[str, str]]:
    """IAM's actions for what a handler calls, followed from function to function."""
    ahead = [(_path(root, handler_module), handler)]
    done = set()
    while ahead:
        path, name = ahead.pop()
        here = _module(root, path)
        if (path, name) in done or name not in here.defined:
            continue
        done.add((path, name))
        node = here.defined[name]
        mentioned = set()
        for each in ast.walk(node):
            if isinstance(each, ast.Name):
                ahead.append((path, each.id))
                if each.id in here.imported:
                    target, attribute = here.imported[each.id]
                    ahead.append((target, attribute or ""))
            elif isinstance(each, ast.Attribute):
                mentioned.add(each.attr)
                if isinstance(each.value, ast.Name) and each.value.id in here.imported:
                    target, attribute = here.imported[each.value.id]
                    ahead.append((target, attribute or each.attr))
            elif isinstance(each, ast.Constant) and isinstance(each.value, str):
                mentioned.add(each.value)
        place = f"{path.relative_to(root).as_posix()}: {name}"
        for service in sorted(here.services):
            for name in sorted(mentioned & _operations(service).keys()):
                action = f"{IAM_SERVICES.get(service, service)}:{_operations(service)[name]}"
                yield from ((each, place) for each in IAM_ACTIONS.get(action, (action,)))


def _path(root: Path, module: str) -> Path:
    return (root / module.replace(".", "/")).with_suffix(".py")


@cache
def _module(root: Path, path: Path) -> _Module:
    if not path.is_file():
        return _Module(path, {}, {}, frozenset())
    tree = ast.parse(path.read_text("utf-8"))
    defined: dict[str, ast.AST] = {}
    imported: dict[str, tuple[Path, str | None]] = {}
    services = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined |= {each.id: node for each in targets if isinstance(each, ast.Name)}
    for each in ast.walk(tree):
        if isinstance(each, ast.ImportFrom) and each.module:
            for alias in each.names:
                inside = _path(root, f"{each.module}.{alias.name}")
                target = (
                    (inside, None) if inside.is_file() else (_path(root, each.module), alias.name)
                )
                imported[alias.asname or alias.name] = target
        elif (
            isinstance(each, ast.Call)
            and isinstance(each.func, ast.Name)
            and each.func.id == "client"
            and isinstance(each.args[0], ast.Constant)
        ):
            services.add(str(each.args[0].value))
    return _Module(path, defined, imported, frozenset(services))


@cache
def _operations(service: str) -> Mapping[str, str]:
    """The operations of a service by boto3's names of them."""
    names = botocore.session.get_session().get_service_model(service).operation_names
    return {botocore.xform_name(each): each for each in names}


# --- The document -------------------------------------------------------------------------------


def table(template: Template) -> str:
    """Every permission of every role, with what it is bound to and the calls that need it."""
    calls = called(template)
    parts = []
    for role, properties in of_type(template, "AWS::IAM::Role").items():
        (trust,) = properties["AssumeRolePolicyDocument"]["Statement"]
        rows = ["| action | on | needed by |", "|---|---|---|"]
        for grant in sorted(grants(template, role), key=lambda each: each.action):
            by = "; ".join(calls[role].get(grant.action, ()))
            rows.append(f"| `{grant.action}` | {_bound(grant)} | {by} |")
        parts.append(f"### {role}\n\nFor {trust['Principal']['Service']}.\n\n" + "\n".join(rows))
    return "\n\n".join(parts)


def _bound(grant: Grant) -> str:
    text = ", ".join(f"`{each}`" for value in as_list(grant.resource) for each in _said(value))
    for operator, condition in grant.condition.items():
        for key, value in condition.items():
            values = " or ".join(each for one in as_list(value) for each in _said(one))
            text += f", where `{key}` {'is not' if 'Not' in operator else 'is'} `{values}`"
    return text + (f" ({grant.only_if})" if grant.only_if else "")


def _said(value: Any) -> Iterator[str]:
    """A resource as a person would say it."""
    if isinstance(value, str):
        yield value
    elif "Fn::If" in value:
        for branch in value["Fn::If"][1:]:
            yield from (each for one in as_list(branch) for each in _said(one))
    elif "Fn::Sub" in value:
        text = re.sub(r"arn:\$\{AWS::Partition\}:", "", value["Fn::Sub"])
        text = text.replace("${AWS::Region}:${AWS::AccountId}:", "")
        text = text.replace("${AWS::Region}:*:", "any account's ")
        yield re.sub(r"\$\{(?:AWS::)?(\w+)(?:\.Arn)?\}", r"<\1>", text)
    else:
        ((_, name),) = value.items()
        yield str(name).removesuffix(".Arn").removeprefix("AWS::")


# --- The command --------------------------------------------------------------------------------


def main() -> int:
    """Run the command."""
    template = load_template(ROOT / "template.yaml")
    found = problems(template)
    text = DOCUMENT.read_text("utf-8")
    written = with_table(text, table(template))
    if "--check" not in sys.argv:
        DOCUMENT.write_text(written, "utf-8")
    elif written != text:
        found.append(f"{DOCUMENT.name} is not what `python -m tools.permissions` writes")
    print("\n".join(found))
    return bool(found)


def with_table(text: str, content: str) -> str:
    """The document with its tables replaced."""
    begin, end = (
        "<!-- permissions: written by tools/permissions.py -->",
        "<!-- end of permissions -->",
    )
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n\n{content}\n\n{end}{tail}"


if __name__ == "__main__":
    sys.exit(main())
