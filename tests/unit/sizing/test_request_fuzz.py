"""Made-up and mutated requests, thousands of them: refused by name, or right in every respect.

The same requests every time (``derandomize``); a failure shows the one that fails.
"""

from __future__ import annotations

import copy
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import botocore.session
import pytest
from botocore.model import ListShape, MapShape, Shape, StringShape, StructureShape
from botocore.validate import ParamValidator
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from aws import models
from load_generator.spec import parse_spec
from sizing.endpoint.deployment import ModelSource, deployment
from sizing.errors import SizingError
from sizing.load_test import cost
from sizing.load_test.run import load_test_input
from sizing.request.request import Request, parse_request
from sizing.request.sizing import Sizing
from sizing.search import search
from tests.unit.functions.made_up import EXECUTION_ARN, HUGGING_FACE, SIZING_ID, STARTED_AT, facts

ROLE = "arn:aws:iam::123456789012:role/endpoint-sizer-model"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/models/bert:1"
MODELS: list[dict[str, Any]] = [
    {"hugging_face": HUGGING_FACE},
    {
        "container": {
            "image_uri": IMAGE,
            "model_data_url": "s3://models/bert/model.tar.gz",
            "environment": {"WORKERS": "4", "_X": ""},
        }
    },
    {"model_package_arn": "arn:aws:sagemaker:us-east-1:123456789012:model-package/bert/7"},
    {"model_package_group": "bert"},
    {"model_name": "bert-2026"},
]
PAYLOADS: list[dict[str, Any]] = [
    {"inline": [{"body": "{}"}, {"body": "AAE=", "base64": True, "weight": 2.5}]},
    {"s3_uri": "s3://payloads/bert/all.jsonl", "content_type": "text/csv", "accept": "*/*"},
]
#: A valid request with every field that is optional.
REST: dict[str, Any] = {
    "instance_types": ["ml.m5.xlarge", "ml.c5.xlarge"],
    "target": {
        "tps": 250,
        "utilization_percent": {"min": 55, "max": 72.5},
        "model_latency_p99_ms": 80,
        "error_percent": 0,
    },
    "limits": {"max_instances": 9, "max_load_tests": 5, "max_cost_usd": 900, "max_minutes": 900},
    "measurement": {"metric_period_seconds": 30, "steady_seconds": 90, "settle_seconds": 0},
    "routing": "RANDOM",
    "load": {"workers": 3, "worker_vcpus": 2},
    "dry_run": False,
    "tags": {"team": "search", "cost centre": "4711"},
}

ODD_STRINGS = [
    *("", " ", "\n", "\r\n", "\x00", "..", "/", "//", "%2e%2e", "\u202e", "\u2028", "\ud800", "🙂"),
    *("٣", "е", "ａ", "é", "a\n", "s3://b", "aws:", "null", "true", "NaN", "1e999", "$", "{% 1 %}"),
    *(
        "x" * 64,
        "x" * 257,
        "x" * 1025,
        "x" * 5000,
        "'",
        '"',
        "\\",
        "<script>",
        "${jndi:x}",
        "'; --",
    ),
]
ODD_NUMBERS = [
    *(0, -1, 1, 2, 10, 60, 100, 1000, 1440, 10**6, 2**31, 2**63, 10**30, 10**400),
    *(0.0, -0.0, 0.5, 1e-9, 5e-324, 69.999, 1e300, math.nan, math.inf, -math.inf),
]
odd_strings = st.sampled_from(ODD_STRINGS)
leaves = st.none() | st.booleans() | st.sampled_from(ODD_NUMBERS) | odd_strings
fields = st.sampled_from([*Request.model_fields, "body", "max", "s3_uri"])
shallow = leaves | st.lists(leaves, max_size=2) | st.dictionaries(fields, leaves, max_size=2)
anything = leaves | st.lists(shallow, max_size=2) | st.dictionaries(fields, shallow, max_size=3)

Place = tuple[Any, Any]


def places(node: Any) -> Iterator[Place]:
    """Every container and key in a request."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        yield node, key
        if isinstance(value, dict | list):
            yield from places(value)


def _drop(place: Place, draw: Any, request: Any) -> None:
    del place[0][place[1]]


def _retype(place: Place, draw: Any, request: Any) -> None:
    place[0][place[1]] = draw(anything)


def _move(place: Place, draw: Any, request: Any) -> None:
    value = place[0][place[1]]
    del place[0][place[1]]
    holders = [request, *(held for at, key in places(request) if isinstance(held := at[key], dict))]
    draw(st.sampled_from(holders))[str(place[1])] = value


def _extend(place: Place, draw: Any, request: Any) -> None:
    holder, key = place
    if isinstance(holder, list):
        holder.append(copy.deepcopy(holder[key]))
    else:
        holder[draw(odd_strings)] = draw(leaves)


def _spoil(place: Place, draw: Any, request: Any) -> None:
    """An odd string put into a string; an odd factor for a number."""
    holder, key = place
    value = holder[key]
    if isinstance(value, str):
        at = draw(st.integers(0, len(value)))
        holder[key] = value[:at] + draw(odd_strings) + value[at:]
    elif isinstance(value, int | float) and -1e200 < value < 1e200:
        holder[key] = value * draw(st.sampled_from([-1, 0, 0.1, 0.5, 1.5, 2, 10, 1000, 1e12]))
    elif isinstance(value, dict) and value:
        old = draw(st.sampled_from(list(value)))
        value[draw(odd_strings) + old] = value.pop(old)


Mutation = Callable[[Place, Any, Any], None]
mutations: list[Mutation] = [_drop, _retype, _move, _extend, _spoil, _spoil]


@st.composite
def mutated(draw: Any, model: dict[str, Any]) -> dict[str, Any]:
    """A valid request for a model, changed in up to three places."""
    request: dict[str, Any] = copy.deepcopy(
        {
            "model": model,
            "payloads": draw(st.sampled_from(PAYLOADS)),
            **REST,
        }
    )
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 3]))):
        at = list(places(request))
        if at:
            draw(st.sampled_from(mutations))(draw(st.sampled_from(at)), draw, request)
    return request


# --- What must hold for a request that passes --------------------------------------------------


@cache
def _services() -> dict[str, Any]:
    session = botocore.session.get_session()
    names = ("sagemaker", "sagemaker-runtime", "ecs")
    return {name: session.get_service_model(name) for name in names}


def violations(shape: Shape, value: Any, path: str = "") -> Iterator[str]:
    """What a service would say against a value: bounds and patterns, which botocore leaves it."""
    if isinstance(shape, StructureShape):
        for name, each in value.items():
            yield from violations(shape.members[name], each, f"{path}.{name}")
        return
    bounds = shape.metadata.get("min", -math.inf), shape.metadata.get("max", math.inf)
    size = value if isinstance(value, int | float) else len(value)
    if not bounds[0] <= size <= bounds[1]:
        yield f"{path}: {size} is not in {bounds}"
    if isinstance(shape, MapShape):
        for name, each in value.items():
            yield from violations(shape.key, name, f"{path} key")
            yield from violations(shape.value, each, f"{path}.{name}")
    elif isinstance(shape, ListShape):
        for each in value:
            yield from violations(shape.member, each, f"{path}[]")
    elif isinstance(shape, StringShape):
        if shape.enum and value not in shape.enum:
            yield f"{path}: {value!r} is not in the enumeration"
        if not _matches(shape.metadata.get("pattern"), value):
            yield f"{path}: {value!r} does not match {shape.metadata['pattern']}"


def _matches(pattern: str | None, value: str) -> bool:
    if pattern is None:
        return True
    if r"\p{L}" in pattern:  # of tags; Python's expressions have no categories
        return all(each in "_.:/=+-@" or unicodedata.category(each)[0] in "LZN" for each in value)
    if r"\p{ASCII}" in pattern:
        return value.isascii()
    return re.fullmatch(pattern, value) is not None


def check_api_request(service: str, operation: str, request: dict[str, Any]) -> None:
    shape = _services()[service].operation_model(operation).input_shape
    assert not ParamValidator().validate(request, shape).has_errors()
    assert list(violations(shape, request, operation)) == []


def source_of(request: Request) -> ModelSource:
    """What ``models.resolve`` gives where AWS knows all that is named."""
    model = request.model
    if model.hugging_face or model.container:
        return models.resolve(model, request.instance_types[0], "us-east-1")
    if model.model_name:
        return ModelSource(model_name=model.model_name)
    package = model.model_package_arn or f"arn:aws:sagemaker:us-east-1:{'1' * 12}:model-package/g/1"
    return ModelSource({"ModelPackageName": package})


def check_what_passed(document: dict[str, Any], request: Request) -> str:
    """A request that passed is whole and within bounds, and so is all that is made of it."""
    written = json.loads(json.dumps(request.model_dump(mode="json"), allow_nan=False))
    assert parse_request(written) == request
    assert set(document) <= {*Request.model_fields, "content_type", "accept"}
    known = _services()["sagemaker"].shape_for("ProductionVariantInstanceType").enum
    if not set(request.instance_types) <= set(known):
        return "passed, of an unknown instance type"  # which EC2 refuses
    candidates = tuple(facts(each, vcpus=4) for each in request.instance_types)
    sizing = Sizing(
        sizing_id=SIZING_ID,
        execution_arn=EXECUTION_ARN,
        started_at=STARTED_AT.timestamp(),
        region="us-east-1",
        request=request,
        candidates=candidates,
    )
    try:
        source = source_of(request)
        search.check_limits(sizing)
        plans = [search.baseline(sizing, each) for each in candidates]
    except SizingError:
        return "refused when resolved"
    estimate = cost.estimate(sizing, plans)
    assert estimate.minutes > 0
    assert math.isfinite(estimate.minutes)
    for plan in plans:
        made = deployment(
            sizing,
            sizing.facts(plan.instance_type),
            plan.instance_count,
            source,
            name_prefix="endpoint-sizer",
            execution_role_arn=ROLE,
        )
        if made.create_model:
            check_api_request("sagemaker", "CreateModel", made.create_model)
        check_api_request("sagemaker", "CreateEndpointConfig", made.create_endpoint_config)
        check_api_request("sagemaker", "CreateEndpoint", made.create_endpoint)
        given_to = load_test_input(
            sizing, plan, attempt=1, name_prefix="endpoint-sizer", bucket="results"
        )
        spec = parse_spec(json.dumps(given_to["spec"], allow_nan=False).encode())
        assert spec.steps or spec.burst
        check_api_request(
            "sagemaker-runtime",
            "InvokeEndpoint",
            {
                "EndpointName": spec.endpoint_name,
                "ContentType": spec.content_type,
                "Accept": spec.accept,
                "Body": b"",
            },
        )
        tags = [{"key": key, "value": value} for key, value in given_to["tags"].items()]
        check_api_request("ecs", "RunTask", {"taskDefinition": "load-test", "tags": tags})
    return "passed"


def outcome(document: Any) -> str:
    """What becomes of a request. Raises whatever a hostile one could make go wrong."""
    said = ""
    try:
        request = parse_request(document)
    except SizingError as refusal:
        said = str(refusal)
    if not said:
        return check_what_passed(document, request)
    assert said.isprintable()
    assert len(said) < 1000
    return "refused"


#: Requests of each test: 5,200 together.
MADE_UP, MUTATED = 600, 2_800
quick = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


@settings(quick, max_examples=MADE_UP)
@given(document=anything)
def test_made_up_requests_are_refused(document: Any) -> None:
    assert outcome(document) == "refused"


@pytest.mark.parametrize("model", MODELS, ids=lambda model: next(iter(model)))
def test_mutated_requests_are_refused_or_right_in_every_respect(model: dict[str, Any]) -> None:
    seen: Counter[str] = Counter()

    @settings(quick, max_examples=MUTATED // len(MODELS))
    @given(document=mutated(model))
    def check(document: dict[str, Any]) -> None:
        seen[outcome(document)] += 1

    check()
    # Both sides are reached, else the test would show nothing.
    assert seen["refused"] > seen.total() / 10
    assert seen["passed"] > seen.total() / 10


@pytest.mark.parametrize("payloads", PAYLOADS)
@pytest.mark.parametrize("model", MODELS)
def test_what_is_mutated_is_valid(model: dict[str, Any], payloads: dict[str, Any]) -> None:
    assert outcome({"model": model, "payloads": payloads, **REST}) == "passed"
