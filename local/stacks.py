"""CloudFormation, as far as who uses the stack asks it: what is the stack called, and its outputs.

moto's own would need libraries of a dozen services that nothing here uses.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import parse_qs

from moto import backends

from local.patches import Patch
from local.template import Stack

_SERVICE: Final = "cloudformation"
_CREATED: Final = "2026-01-01T00:00:00Z"


def patches(stack: Stack) -> Iterator[Patch]:
    """What to replace in moto."""
    others: Callable[[str], Any] = vars(backends)["get_backend"]
    # As moto's server looks for a backend that knows no regions.
    ours = {"global": SimpleNamespace(flask_paths={"/": _answer(stack)})}
    yield Patch(backends, "get_backend", lambda name: ours if name == _SERVICE else others(name))


def _answer(stack: Stack) -> Callable[..., tuple[int, Mapping[str, str], str]]:
    def cloudformation(request: Any, _url: str, _headers: Any) -> tuple[int, dict[str, str], str]:
        given = parse_qs(request.get_data(as_text=True))
        action = given.get("Action", [""])[0]
        name = given.get("StackName", [stack.name])[0]
        if action != "DescribeStacks":
            return _refusal("InvalidAction", f"{action} is not embedded")
        if name not in (stack.name, stack.ref("AWS::StackId")):
            return _refusal("ValidationError", f"Stack with id {name} does not exist")
        outputs = "".join(
            f"<member><OutputKey>{key}</OutputKey>"
            f"<OutputValue>{html.escape(value)}</OutputValue></member>"
            for key, value in stack.outputs().items()
        )
        return (
            200,
            {},
            "<DescribeStacksResponse><DescribeStacksResult><Stacks><member>"
            f"<StackId>{stack.ref('AWS::StackId')}</StackId><StackName>{stack.name}</StackName>"
            f"<CreationTime>{_CREATED}</CreationTime><StackStatus>CREATE_COMPLETE</StackStatus>"
            f"<Outputs>{outputs}</Outputs></member></Stacks></DescribeStacksResult>"
            "</DescribeStacksResponse>",
        )

    return cloudformation


def _refusal(code: str, message: str) -> tuple[int, dict[str, str], str]:
    return (
        400,
        {},
        f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code>"
        f"<Message>{html.escape(message)}</Message></Error></ErrorResponse>",
    )
