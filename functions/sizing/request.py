"""The request of a sizing: what a user writes, validated, with every default written once."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from sizing.errors import InvalidRequest

#: Publish intervals that ``MetricsConfig.MetricPublishFrequencyInSeconds`` of an endpoint config
#: accepts, seconds.
METRIC_PERIODS_SECONDS = (10, 30, 60, 120, 180, 240, 300)

Routing = Literal["LEAST_OUTSTANDING_REQUESTS", "RANDOM"]
InstanceType = Annotated[
    str, StringConstraints(pattern=r"^ml\.[a-z][a-z0-9-]*\.[a-z0-9-]+$", max_length=64)
]
S3Uri = Annotated[
    str, StringConstraints(pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/\S+$", max_length=1024)
]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
#: What a sizing does while another one of the same model runs.
WhenLocked = Literal["WAIT", "FAIL"]


class _Strict(BaseModel):
    """No unknown fields, no silent conversion, no change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class HuggingFaceModel(_Strict):
    """A model of the Hugging Face hub, served by AWS's Hugging Face inference container."""

    model_id: Annotated[str, StringConstraints(pattern=r"^[\w.-]+(/[\w.-]+)?$", max_length=200)]
    task: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$", max_length=60)]
    transformers_version: Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+){1,3}$")]
    pytorch_version: Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+){1,3}$")]
    py_version: Annotated[str, StringConstraints(pattern=r"^py\d{2,3}$")]


class Container(_Strict):
    """An inference container of the user's own."""

    image_uri: Annotated[str, StringConstraints(pattern=r"^\S+$", max_length=255)]
    model_data_url: S3Uri | None = None
    environment: dict[str, str] = Field(default_factory=dict)


_MODEL_KINDS = (
    "hugging_face",
    "model_package_arn",
    "model_package_group",
    "model_name",
    "container",
)


class Model(_Strict):
    """What is deployed: exactly one of the fields."""

    hugging_face: HuggingFaceModel | None = None
    model_package_arn: (
        Annotated[
            str,
            StringConstraints(
                pattern=r"^arn:aws[a-z-]*:sagemaker:[a-z0-9-]+:\d{12}:model-package/[\w./-]+$",
                max_length=2048,
            ),
        ]
        | None
    ) = None
    model_package_group: (
        Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$")] | None
    ) = None
    model_name: (
        Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$")] | None
    ) = None
    container: Container | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Model:
        given = [kind for kind in _MODEL_KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(
                f"exactly one of {', '.join(_MODEL_KINDS)} is needed, "
                f"got {', '.join(given) or 'none'}"
            )
        return self

    @property
    def kind(self) -> str:
        """Name of the one field that is set."""
        return next(kind for kind in _MODEL_KINDS if getattr(self, kind) is not None)


class Payload(_Strict):
    """One request body and how often it is sent, relative to the others."""

    body: str
    weight: Positive = 1.0
    base64: bool = False


class Payloads(_Strict):
    """The bodies sent to the endpoint: inline, or a JSON Lines file of the same in S3."""

    inline: Annotated[list[Payload], Field(min_length=1, max_length=100)] | None = None
    s3_uri: S3Uri | None = None
    content_type: Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e][\x20-\x7e]*$")] = (
        "application/json"
    )
    accept: Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e][\x20-\x7e]*$")] = (
        "application/json"
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Payloads:
        if (self.inline is None) == (self.s3_uri is None):
            raise ValueError("exactly one of inline, s3_uri is needed")
        return self


class Band(_Strict):
    """The utilization asked for, percent of the busiest resource of an instance."""

    min: Annotated[float, Field(gt=0, lt=100)] = 60.0
    max: Annotated[float, Field(gt=0, le=100)] = 70.0

    @model_validator(mode="after")
    def _right_way_up(self) -> Band:
        if self.min >= self.max:
            raise ValueError(f"min ({self.min:g}) must be less than max ({self.max:g})")
        return self

    @property
    def middle(self) -> float:
        """The middle of the band, percent."""
        return (self.min + self.max) / 2


class Target(_Strict):
    """What the endpoint must serve."""

    tps: Annotated[float, Field(gt=0, le=1_000_000)]
    utilization_percent: Band = Field(default_factory=Band)
    model_latency_p99_ms: Positive | None = None
    error_percent: Annotated[float, Field(ge=0, le=100)] = 0.1


class Limits(_Strict):
    """Where a sizing stops, with the best it knows by then."""

    max_instances: Annotated[int, Field(ge=1, le=1000)] = 20
    max_load_tests: Annotated[int, Field(ge=1, le=100)] = 8
    max_cost_usd: Positive | None = None
    max_minutes: Positive | None = None
    #: Keep to the account's quotas by lowering max_instances, instead of refusing the request.
    lower_to_quota: bool = False


class Measurement(_Strict):
    """How long each step is held, and how often SageMaker publishes its metrics, seconds."""

    metric_period_seconds: int = 10
    steady_seconds: Annotated[int, Field(ge=10, le=3600)] = 60
    settle_seconds: Annotated[int, Field(ge=0, le=3600)] = 30

    @field_validator("metric_period_seconds")
    @classmethod
    def _published(cls, value: int) -> int:
        if value not in METRIC_PERIODS_SECONDS:
            allowed = ", ".join(map(str, METRIC_PERIODS_SECONDS))
            raise ValueError(f"must be one of {allowed}, got {value}")
        return value


class Load(_Strict):
    """Size of the Locust fleet; planned from the target rate where absent."""

    workers: Annotated[int, Field(ge=1, le=200)] | None = None
    worker_vcpus: Literal[1, 2, 4, 8, 16] | None = None


class Request(_Strict):
    """A sizing's request, as the state machine receives it."""

    model: Model
    instance_types: Annotated[list[InstanceType], Field(min_length=1, max_length=10)]
    payloads: Payloads
    target: Target
    limits: Limits = Field(default_factory=Limits)
    measurement: Measurement = Field(default_factory=Measurement)
    routing: Routing = "LEAST_OUTSTANDING_REQUESTS"
    load: Load = Field(default_factory=Load)
    when_locked: WhenLocked = "WAIT"
    dry_run: bool = False
    tags: Annotated[
        dict[
            Annotated[str, StringConstraints(min_length=1, max_length=128)],
            Annotated[str, StringConstraints(max_length=256)],
        ],
        Field(max_length=40),
    ] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _content_headers_beside_payloads(cls, data: Any) -> Any:
        """``content_type`` and ``accept`` may stand in ``payloads`` or beside it."""
        if not isinstance(data, Mapping) or not isinstance(data.get("payloads"), Mapping):
            return data
        beside = {key: data[key] for key in ("content_type", "accept") if key in data}
        twice = sorted(beside.keys() & data["payloads"].keys())
        if twice:
            raise ValueError(f"{twice[0]} stands both in payloads and beside it; write it once")
        kept = {key: value for key, value in data.items() if key not in beside}
        return {**kept, "payloads": {**data["payloads"], **beside}}

    @field_validator("instance_types")
    @classmethod
    def _no_type_twice(cls, value: list[str]) -> list[str]:
        for instance_type in value:
            if value.count(instance_type) > 1:
                raise ValueError(f"{instance_type} is listed more than once")
        return value

    @field_validator("tags")
    @classmethod
    def _no_reserved_tags(cls, value: dict[str, str]) -> dict[str, str]:
        for key in value:
            if key.lower().startswith(("aws:", "endpoint-sizer:")):
                raise ValueError(
                    f"tag keys starting with aws: or endpoint-sizer: are reserved: {key}"
                )
        return value


_WHAT_IS_ALLOWED = {
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be {ge:g} or more",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be {le:g} or less",
    "missing": "is missing",
    "too_short": "needs at least {min_length}",
    "too_long": "takes at most {max_length}",
    "string_too_long": "takes at most {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "literal_error": "must be one of {expected}",
    "finite_number": "must be a finite number",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
}


def parse_request(data: object) -> Request:
    """Validate a request.

    Args:
        data: The request as decoded JSON.

    Raises:
        InvalidRequest: Names the first field in error and what is allowed there.
    """
    if not isinstance(data, Mapping):
        raise InvalidRequest("request", f"must be a JSON object, got {type(data).__name__}")
    try:
        return Request.model_validate(data)
    except ValidationError as error:
        # An unknown field is often a misspelt one, whose right name is "missing": name it first.
        errors = sorted(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
        raise _invalid(errors[0]) from None


def _invalid(error: Any) -> InvalidRequest:
    location: Sequence[int | str] = [part for part in error["loc"] if part != "[key]"]
    field = ".".join(map(str, location)) or "request"
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        allowed = ", ".join(_fields_at(location[:-1]))
        return InvalidRequest(field, f"unknown field; allowed here: {allowed}")
    if field.startswith("instance_types.") and kind == "string_pattern_mismatch":
        given = _shown(error["input"])
        message = f"must be a SageMaker instance type such as ml.m5.xlarge, got {given}"
        return InvalidRequest(field, message)
    if kind == "value_error":
        return InvalidRequest(field, str(context["error"]))
    message = _WHAT_IS_ALLOWED.get(kind, "").format(**context) or error["msg"]
    got = "" if kind == "missing" else f", got {_shown(error['input'])}"
    return InvalidRequest(field, message + got)


def _fields_at(location: Sequence[int | str]) -> list[str]:
    """Names of the fields allowed at a path of the request."""
    schema: dict[str, Any] = Request.model_json_schema()
    node = schema
    for part in location:
        node = _resolved(node, schema)
        node = node["items"] if isinstance(part, int) else node["properties"][part]
    return list(_resolved(node, schema).get("properties", {}))


def _resolved(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """The object or array a schema node stands for, behind ``$ref`` and ``anyOf [..., null]``."""
    for alternative in node.get("anyOf", ()):
        if alternative.get("type") != "null":
            return _resolved(alternative, schema)
    if "$ref" in node:
        return _resolved(schema["$defs"][node["$ref"].rpartition("/")[2]], schema)
    return node


def _shown(value: object, longest: int = 60) -> str:
    """A value as JSON, short enough for one line."""
    text = json.dumps(value, default=str)
    return text if len(text) <= longest else text[: longest - 3] + "..."
