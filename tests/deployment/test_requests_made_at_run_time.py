"""API requests that functions return complete: as good as those written in a state machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sizing.catalogue.instance import InstanceFacts
from sizing.clean_up import names
from sizing.endpoint.deployment import ModelSource, deployment, update_capacity
from sizing.request.request import parse_request
from sizing.request.sizing import Sizing
from tools.state_machines import integrations
from tools.state_machines.definition import load
from tools.state_machines.integrations import Call

TEMPLATE = Path(__file__).parents[2] / "template.yaml"
PREFIX = "endpoint-sizer"
SIZING_ID = "3f2a9c1b7d4e"
TYPE = "ml.m5.12xlarge"


def requests() -> dict[str, dict[str, Any]]:
    """What the functions return for each API that a state machine calls with it."""
    sizing = Sizing(
        sizing_id=SIZING_ID,
        execution_arn="arn:aws:states:us-east-1:111122223333:execution:endpoint-sizer-sizing:one",
        started_at=1_790_000_000.0,
        region="us-east-1",
        request=parse_request(
            {
                "model": {"model_package_group": "sentiment"},
                "instance_types": [TYPE],
                "payloads": {"inline": [{"body": "{}"}]},
                "target": {"tps": 100},
                "tags": {"team": "search"},
            }
        ),
        candidates=(InstanceFacts(instance_type=TYPE, vcpus=48, memory_gib=192),),
    )
    source = ModelSource(
        container={"Image": "image", "ModelDataUrl": "s3://b/k", "Environment": {"A": "b"}}
    )
    made = deployment(
        sizing,
        sizing.facts(TYPE),
        1,
        source,
        name_prefix=PREFIX,
        execution_role_arn="arn:aws:iam::111122223333:role/endpoint-sizer-model",
    )
    assert made.create_model is not None
    return {
        "CreateModel": made.create_model,
        "CreateEndpointConfig": made.create_endpoint_config,
        "CreateEndpoint": made.create_endpoint,
        "UpdateEndpointWeightsAndCapacities": update_capacity(
            names.resource_name(PREFIX, SIZING_ID, TYPE), 8
        ),
    }


def run_time_calls() -> list[Call]:
    """The calls of all state machines whose arguments are made by a function."""
    return [
        call
        for machine in load(TEMPLATE)[0]
        for call in integrations.calls(machine)[0]
        if integrations.is_known_at_run_time_only(call)
    ]


def test_every_such_request_is_made_here() -> None:
    """A new one in a state machine must be validated below, too."""
    assert {call.operation.name for call in run_time_calls()} == set(requests())


@pytest.mark.parametrize("call", run_time_calls(), ids=lambda call: call.where)
def test_the_api_takes_the_request(call: Call) -> None:
    request = requests()[call.operation.name]
    made = Call(call.file, call.where, call.client, call.operation, request)
    assert integrations.check(made) == []
    # And the check looks at it at all.
    wrong = Call(call.file, call.where, call.client, call.operation, {**request, "Nmae": "x"})
    assert [each.message for each in integrations.check(wrong)] != []
