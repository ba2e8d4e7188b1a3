"""Write the list of SDK actions and fields that Step Functions surely knows.

Step Functions calls APIs by an SDK of its own, which learns of new fields months after botocore
("API action support is released quarterly", says its change log), and refuses those that it does
not know at run time, as States.Runtime, which nothing catches. So state machines keep to what an
SDK of more than a year ago had. Run it, by ``make sdk-fields``, when a machine calls another
action.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import botocore
import botocore.session
from botocore.model import ListShape, MapShape, Shape, StructureShape

#: When the botocore of requirements/step_functions_sdk.in was released.
RELEASED: Final = "2025-07-31"
#: By Step Functions' name of the service: botocore's name, and the actions. The first of the
#: machines, the rest of the tests of the embedded AWS.
ACTIONS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "s3": ("s3", ("putObject", "getObject")),
    "ssm": ("ssm", ("getParameter", "getParametersByPath")),
    "ecs": ("ecs", ("stopTask",)),
    "sagemaker": ("sagemaker", ("createEndpoint", "createEndpointConfig", "describeEndpoint")),
}


def fields(shape: Shape | None, around: tuple[str, ...] = ()) -> Any:
    """What a shape holds: an object of its fields, a list or ``{"*": ...}`` for any key, or null.

    Raises:
        ValueError: A shape is inside itself; the list would have no end.
    """
    if shape is None:
        return {}
    if shape.name in around:
        raise ValueError(f"{shape.name} is inside itself")
    inside = (*around, shape.name)
    if isinstance(shape, StructureShape):
        return {
            name[0].upper() + name[1:]: fields(member, inside)
            for name, member in sorted(shape.members.items())
        }
    if isinstance(shape, ListShape):
        return [fields(shape.member, inside)]
    if isinstance(shape, MapShape):
        return {"*": fields(shape.value, inside)}
    return None


def actions() -> dict[str, Any]:
    """The fields of each action, by its name in a state machine."""
    session = botocore.session.get_session()
    found = {}
    for service, (client, names) in ACTIONS.items():
        model = session.get_service_model(client)
        for name in names:
            operation = model.operation_model(name[0].upper() + name[1:])
            found[f"{service}:{name}"] = fields(operation.input_shape)
    return found


def main() -> None:
    known = {"botocore": botocore.__version__, "released": RELEASED, "actions": actions()}
    Path(sys.argv[1]).write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
