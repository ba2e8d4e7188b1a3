"""The API calls of a state machine, held against botocore's service models."""

from __future__ import annotations

import difflib
import gzip
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import botocore
import botocore.loaders
import botocore.model

from local.stepfunctions import sdk
from tools.state_machines.definition import Problem, StateMachine
from tools.state_machines.expressions import (
    UNKNOWN,
    ExpressionError,
    Incomplete,
    is_expression,
    known_part,
    parse,
)
from tools.state_machines.flow import all_states

_INTEGRATION = re.compile(
    r"arn:aws[a-z-]*:states:::"
    r"(?P<sdk>aws-sdk:)?(?P<service>[a-z0-9]+):(?P<action>[A-Za-z0-9]+)"
    r"(?P<pattern>\.sync(?::2)?|\.waitForTaskToken)?"
)
_FUNCTION = re.compile(r"arn:aws[a-z-]*:lambda:[^:]+:\d{12}:function:[^:]+(:[^:]+)?")

#: The optimized integrations that such a product may use, and the patterns that each allows:
#: https://docs.aws.amazon.com/step-functions/latest/dg/integrate-optimized.html
_OPTIMIZED = {
    ("dynamodb", "getItem"): ("",),
    ("dynamodb", "putItem"): ("",),
    ("dynamodb", "updateItem"): ("",),
    ("dynamodb", "deleteItem"): ("",),
    ("ecs", "runTask"): ("", ".sync", ".waitForTaskToken"),
    ("events", "putEvents"): ("", ".waitForTaskToken"),
    ("lambda", "invoke"): ("", ".waitForTaskToken"),
    ("sns", "publish"): ("", ".waitForTaskToken"),
    ("sqs", "sendMessage"): ("", ".waitForTaskToken"),
    ("states", "startExecution"): ("", ".sync", ".sync:2", ".waitForTaskToken"),
}
_CLIENT_OF_OPTIMIZED = {"states": "stepfunctions"}

#: String members that an integration also takes as an object, which it writes out as JSON.
_OBJECT_AS_STRING = {
    ("events", "PutEvents", "Detail"),
    ("sns", "Publish", "Message"),
    ("sqs", "SendMessage", "MessageBody"),
    ("stepfunctions", "StartExecution", "input"),
}


@dataclass(frozen=True)
class Call:
    """An API call of a Task state."""

    file: str
    where: str
    #: botocore's name of the service, and the operation.
    client: str
    operation: botocore.model.OperationModel
    arguments: Any
    #: Such as ``ssm:getParameter``; None of an integration that is not the SDK's.
    sdk_action: str | None = None


def calls(machine: StateMachine) -> tuple[list[Call], list[Problem]]:
    """The API calls of a machine, and the resources that are no integration."""
    found: list[Call] = []
    problems: list[Problem] = []
    for where, state in all_states(machine):
        if state.get("Type") != "Task":
            continue
        resource = str(state.get("Resource"))
        if _FUNCTION.fullmatch(resource):
            continue
        try:
            client, operation = _resolve(resource)
        except LookupError as error:
            problems.append(Problem(machine.file, where, f"Resource: {error.args[0]}"))
            continue
        match = _INTEGRATION.fullmatch(resource)
        sdk_action = f"{match['service']}:{match['action']}" if match and match["sdk"] else None
        arguments = state.get("Arguments", {})
        found.append(Call(machine.file, where, client, operation, arguments, sdk_action))
    return found, problems


def check(call: Call) -> list[Problem]:
    """Unknown, missing and ill-typed parameters of a call, as far as they are written out."""
    shape = call.operation.input_shape
    if shape is None:
        return [_problem(call, "Arguments", "the API takes none")] if call.arguments else []
    problems = list(_check_value(call, "Arguments", call.arguments, shape))
    if call.sdk_action and not problems:
        try:
            sdk.check(call.sdk_action, _written_out(call.arguments))
        except sdk.NotSupportedError as error:
            problems.append(_problem(call, "Arguments", str(error)))
    return problems


def is_known_at_run_time_only(call: Call) -> bool:
    """Whether nothing of a call's arguments is written out in the state machine."""
    return _value(call.arguments) is UNKNOWN


def _problem(call: Call, where: str, message: str) -> Problem:
    return Problem(call.file, call.where, f"{where}: {message}")


# --- Which API -------------------------------------------------------------------------------


def _resolve(resource: str) -> tuple[str, botocore.model.OperationModel]:
    """botocore's service and operation of a Task's resource.

    Raises:
        LookupError: There is no such integration; says what there is.
    """
    match = _INTEGRATION.fullmatch(resource)
    if match is None:
        raise LookupError(f"{resource} is no integration and no function's ARN")
    service, action, pattern = match["service"], match["action"], match["pattern"] or ""
    if match["sdk"]:
        client = _clients().get(service)
        if client is None:
            near = difflib.get_close_matches(service, [*_clients(), *_clients().values()], n=1)
            raise LookupError(f"aws-sdk has no service {service}" + _did_you_mean(near))
        allowed: tuple[str, ...] = ("", ".waitForTaskToken")
    else:
        client = _CLIENT_OF_OPTIMIZED.get(service, service)
        known = _OPTIMIZED.get((service, action))
        if known is None:
            known_names = ", ".join(":".join(each) for each in _OPTIMIZED)
            raise LookupError(
                f"{service}:{action} is no optimized integration; there are {known_names}"
            )
        allowed = known
    if pattern not in allowed:
        raise LookupError(f"{pattern} is not supported by {service}:{action}")
    model = _service_model(client)
    operation = action[0].upper() + action[1:]
    if action[0].isupper() or operation not in model.operation_names:
        names = [name[0].lower() + name[1:] for name in model.operation_names]
        near = difflib.get_close_matches(action, names, n=1)
        raise LookupError(f"{service} has no action {action}" + _did_you_mean(near))
    return client, model.operation_model(operation)


def _did_you_mean(near: list[str]) -> str:
    return f"; did you mean {near[0]}?" if near else ""


@cache
def _clients() -> dict[str, str]:
    """botocore's service names by their names in ``aws-sdk`` integrations.

    Those are the ones of the AWS SDK for Java 2: the service id in lower case, without spaces. Only
    the head of each model is read, where the service id stands; all models together are 100 MB.
    """
    names = {}
    data = Path(botocore.__file__).parent / "data"
    for client in botocore.loaders.create_loader().list_available_services("service-2"):
        newest = max(data.joinpath(client).glob("*/service-2.json*"))
        with gzip.open(newest, "rt") if newest.suffix == ".gz" else newest.open() as file:
            service_id = re.search(r'"serviceId"\s*:\s*"([^"]+)"', file.read(4096))
        if service_id:
            names[re.sub(r"[ -]", "", service_id[1]).lower()] = client
    return names


@cache
def _service_model(client: str) -> botocore.model.ServiceModel:
    loader = botocore.loaders.create_loader()
    return botocore.model.ServiceModel(loader.load_service_model(client, "service-2"), client)


# --- Arguments -------------------------------------------------------------------------------


def integration_name(member: str) -> str:
    """The name that an integration gives to a member of an API's shape: ``KMSKeyId`` as KmsKeyId.

    All names are in Pascal case in state machines, whatever the API itself uses.
    """
    pascal = member[0].upper() + member[1:]
    return re.sub(
        r"([A-Z])([A-Z]+)(?=[A-Z][a-z]|[^A-Za-z]|$)", lambda m: m[1] + m[2].lower(), pascal
    )


def _value(value: Any) -> Any:
    """A value with the outermost expression replaced by what is known of it."""
    if isinstance(value, str) and is_expression(value):
        try:
            return known_part(parse(value))
        except ExpressionError:
            return UNKNOWN
    return value


def _written_out(value: Any) -> Any:
    """A value with what is known of all expressions in it."""
    known = _value(value)
    if isinstance(known, Mapping):
        return {name: _written_out(each) for name, each in known.items()}
    return [_written_out(each) for each in known] if isinstance(known, list) else known


def _check_value(
    call: Call, where: str, written: Any, shape: botocore.model.Shape
) -> Iterator[Problem]:
    value = _value(written)
    if value is UNKNOWN:
        return
    match shape:
        case botocore.model.StructureShape():
            if getattr(shape, "is_document_type", False):
                return
            yield from _check_structure(call, where, value, shape)
        case botocore.model.ListShape():
            if not isinstance(value, list):
                yield _problem(call, where, f"must be a list, not {value!r}")
                return
            for index, each in enumerate(value):
                yield from _check_value(call, f"{where}[{index}]", each, shape.member)
        case botocore.model.MapShape():
            if not isinstance(value, Mapping):
                yield _problem(call, where, f"must be an object, not {value!r}")
                return
            for key, each in value.items():
                yield from _check_value(call, f"{where}.{key}", each, shape.value)
        case _:
            yield from _check_scalar(call, where, value, shape)


def _check_structure(
    call: Call, where: str, value: Any, shape: botocore.model.StructureShape
) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield _problem(call, where, f"must be an object, not {value!r}")
        return
    members = {integration_name(name): (name, member) for name, member in shape.members.items()}
    for name, each in value.items():
        if name not in members:
            near = difflib.get_close_matches(name, members, n=1, cutoff=0.5)
            yield _problem(call, f"{where}.{name}", "is unknown" + _did_you_mean(near))
            continue
        own_name, member = members[name]
        as_string = (call.client, call.operation.name, own_name) in _OBJECT_AS_STRING
        if not (as_string and isinstance(_value(each), Mapping)):
            yield from _check_value(call, f"{where}.{name}", each, member)
    for name, (own_name, member) in members.items():
        # The SDK makes up an idempotency token by itself.
        token = "idempotencyToken" in member.metadata
        required = own_name in shape.required_members and not token
        if required and name not in value and not isinstance(value, Incomplete):
            yield _problem(call, f"{where}.{name}", "is missing")
    is_union = getattr(shape, "is_tagged_union", False)
    if is_union and len(value) != 1 and not isinstance(value, Incomplete):
        yield _problem(call, where, f"must have exactly one of {', '.join(members)}")


_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "character": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "boolean": (bool,),
    "timestamp": (str, int, float),
}


def _check_scalar(
    call: Call, where: str, value: Any, shape: botocore.model.Shape
) -> Iterator[Problem]:
    types = _TYPES.get(shape.type_name)
    if types is None:  # a blob takes a string or whatever can be written as JSON
        return
    wrong_kind = isinstance(value, bool) and bool not in types
    # JSONata knows numbers, no integers.
    whole = isinstance(value, float) and value.is_integer()
    if (wrong_kind or not isinstance(value, types)) and not (whole and int in types):
        yield _problem(call, where, f"must be a {shape.type_name}, not {value!r}")
        return
    allowed = getattr(shape, "enum", None)
    if allowed and value not in allowed:
        yield _problem(call, where, f"must be one of {', '.join(allowed)}, not {value!r}")
    size = len(value) if isinstance(value, str) else value
    at_least, at_most = shape.metadata.get("min"), shape.metadata.get("max")
    if shape.type_name != "timestamp" and not isinstance(size, bool):
        if at_least is not None and size < at_least:
            yield _problem(call, where, f"must be at least {at_least}, not {value!r}")
        if at_most is not None and size > at_most:
            yield _problem(call, where, f"must be at most {at_most}, not {value!r}")
