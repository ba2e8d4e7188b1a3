"""The request of a sizing: what a user writes, validated, with every default written once.

Lengths and patterns are those of the APIs that a value goes to, as botocore's service models have
them, written for pydantic's regular expressions: these are anchored at the very end, not before a
line break, and their ``\\d`` and ``\\w`` would take the digits and letters of every script.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Final, Literal
from urllib.parse import unquote

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from sizing.errors import InvalidRequest
from sizing.request.refusal import field_path, refusal

#: Publish intervals that ``MetricsConfig.MetricPublishFrequencyInSeconds`` of an endpoint config
#: accepts, seconds.
METRIC_PERIODS_SECONDS = (10, 30, 60, 120, 180, 240, 300)

#: SageMaker's own limit on an invocation, milliseconds: no answer takes longer.
_LONGEST_INVOCATION_MS = 60_000
#: Bytes of one value of a container's environment, and of all names and values together, as
#: CreateModel takes them.
_LONGEST_ENVIRONMENT_VALUE = 1024
_ENVIRONMENT_BYTES = 32 * 1024
#: Domains of ECR in AWS's partitions.
_ECR_DOMAINS = (
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "c2s.ic.gov",
    "sc2s.sgov.gov",
    "cloud.adc-e.uk",
    "csp.hci.ic.gov",
)

#: What each pattern allows, in words.
_PATTERNS: Final[dict[str, str]] = {}


def _text(pattern: str, allowed: str, *, longest: int) -> Any:
    """Constraints of a string; ``allowed`` says in words what the pattern takes."""
    _PATTERNS[pattern] = allowed
    return StringConstraints(pattern=pattern, max_length=longest)


def _whole_characters(value: str) -> str:
    """JSON can hold half a surrogate pair, which no encoding of text can."""
    try:
        value.encode()  # looks at each character a hundred times as fast as a loop
    except UnicodeEncodeError:
        raise ValueError("must be text without halves of surrogate pairs") from None
    return value


def _names_an_object(uri: str) -> str:
    """No segment that a proxy or a tool on the way could take for a step up, or leave out."""
    _, _, bucket, *path = uri.split("/")
    if ".." in bucket or any(unquote(segment) in ("", ".", "..") for segment in path):
        raise ValueError("must be s3://bucket/key, without empty segments, . and .. in it")
    return uri


def _is_of_the_hub(model_id: str) -> str:
    if ".." in model_id or "--" in model_id:
        raise ValueError("must be a model id of the Hugging Face hub, which have no -- and ..")
    return model_id


Routing = Literal["LEAST_OUTSTANDING_REQUESTS", "RANDOM"]
InstanceType = Annotated[
    str,
    _text(
        r"^ml\.[a-z][a-z0-9-]*\.[a-z0-9-]+$",
        "must be a SageMaker instance type such as ml.m5.xlarge",
        longest=64,
    ),
]
S3Folder = Annotated[
    str,
    _text(
        r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[\p{L}\p{M}\p{N}\p{P}\p{S}]*$",
        "must be s3://bucket/folder/, without spaces and control characters",
        longest=1024,
    ),
]
S3Uri = Annotated[
    str,
    _text(
        r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[\p{L}\p{M}\p{N}\p{P}\p{S}]+$",
        "must be s3://bucket/key, without spaces and control characters",
        longest=1024,
    ),
    AfterValidator(_names_an_object),
]
ModelDataUrl = Annotated[
    str,
    _text(
        r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[\p{L}\p{M}\p{N}\p{P}\p{S}]+\.tar\.gz$",
        "must be s3://bucket/key.tar.gz, without spaces and control characters",
        longest=1024,
    ),
    AfterValidator(_names_an_object),
]
_HUB_NAME = r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
HubModelId = Annotated[
    str,
    _text(
        f"^({_HUB_NAME}/)?{_HUB_NAME}$",
        "must be a model id of the Hugging Face hub, such as distilbert-base-uncased or "
        "organization/name",
        longest=200,
    ),
    AfterValidator(_is_of_the_hub),
]
_Version = Annotated[
    str, _text(r"^[0-9]{1,4}(\.[0-9]{1,4}){1,3}$", "must be a version such as 4.17.0", longest=20)
]
#: Of models.
ResourceName = Annotated[
    str,
    _text(
        r"^[a-zA-Z0-9](-*[a-zA-Z0-9])*$",
        "must be letters, digits and hyphens, and begin and end with a letter or digit",
        longest=63,
    ),
]
#: A group of another account can only be named by its ARN.
ModelPackageGroup = Annotated[
    str,
    _text(
        r"^(arn:aws[a-z-]*:sagemaker:[a-z0-9-]+:[0-9]{12}:model-package-group/)?"
        r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$",
        "must be a group's name, of at most 63 letters, digits and hyphens, or its ARN such as "
        "arn:aws:sagemaker:us-east-1:123456789012:model-package-group/name",
        longest=170,
    ),
]
ModelPackageArn = Annotated[
    str,
    _text(
        r"^arn:aws[a-z-]*:sagemaker:[a-z0-9-]+:[0-9]{12}:model-package/"
        r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(/[0-9]{1,9})?$",
        "must be an ARN such as arn:aws:sagemaker:us-east-1:123456789012:model-package/name/1",
        longest=176,
    ),
]
_domains = "|".join(_ECR_DOMAINS).replace(".", r"\.")
_REPOSITORY_PART = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
ImageUri = Annotated[
    str,
    _text(
        rf"^[0-9]{{12}}\.dkr\.ecr(-fips)?\.[a-z0-9-]+\.({_domains})/"
        rf"{_REPOSITORY_PART}(/{_REPOSITORY_PART})*"
        r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$",
        "must be an image in Amazon ECR, such as "
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/name:tag",
        longest=255,
    ),
]
EnvironmentName = Annotated[
    str,
    _text(
        r"^[a-zA-Z_][a-zA-Z0-9_]*$",
        "must have names of letters, digits and _ that don't begin with a digit",
        longest=1024,
    ),
]
#: Visible ASCII and spaces between: no line break could add a header of its own.
HeaderValue = Annotated[
    str,
    _text(
        r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$",
        "must be printable ASCII without spaces around it, such as application/json",
        longest=1024,
    ),
]
_TAG = r"^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$"
_TAG_ALLOWED = "may hold letters, digits, spaces and _ . : / = + - @"
#: Which endings of a sizing send a message: all; those whose answer is not the one before, and
#: failures; failures; none. What could not be removed is told by the clean-up all the same.
Notify = Literal["always", "change", "failure", "never"]
#: What a sizing does while another one of the same model runs.
WhenLocked = Literal["WAIT", "FAIL"]


class _Strict(BaseModel):
    """No unknown fields, no silent conversion, no change after validation, no input in errors."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )


class HuggingFaceModel(_Strict):
    """A model of the Hugging Face hub, served by AWS's Hugging Face inference container."""

    model_id: HubModelId
    task: Annotated[
        str, _text(r"^[a-z0-9-]+$", "must be a task such as text-classification", longest=60)
    ]
    transformers_version: _Version
    pytorch_version: _Version
    py_version: Annotated[
        str, _text(r"^py[0-9]{2,3}$", "must be a Python version such as py312", longest=5)
    ]


class Container(_Strict):
    """An inference container of the user's own."""

    image_uri: ImageUri
    model_data_url: ModelDataUrl | None = None
    environment: Annotated[
        dict[EnvironmentName, Annotated[str, AfterValidator(_whole_characters)]],
        Field(max_length=100),
    ] = Field(default_factory=dict)

    @field_validator("environment")
    @classmethod
    def _fits_create_model(cls, value: dict[str, str]) -> dict[str, str]:
        for name, content in value.items():
            if (size := len(content.encode())) > _LONGEST_ENVIRONMENT_VALUE:
                raise ValueError(
                    f"values take at most {_LONGEST_ENVIRONMENT_VALUE:,} bytes, "
                    f"that of {field_path([name])} has {size:,}"
                )
        size = sum(len(name) + len(content.encode()) for name, content in value.items())
        if size > _ENVIRONMENT_BYTES:
            raise ValueError(
                f"names and values may have {_ENVIRONMENT_BYTES:,} bytes together, got {size:,}"
            )
        return value


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
    model_package_arn: ModelPackageArn | None = None
    model_package_group: ModelPackageGroup | None = None
    model_name: ResourceName | None = None
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

    body: Annotated[str, AfterValidator(_whole_characters)]
    weight: Annotated[float, Field(gt=0, le=1_000_000)] = 1.0
    base64: bool = False
    #: Of this body; that of all payloads if None.
    content_type: HeaderValue | None = None
    custom_attributes: HeaderValue | None = None


class DataCapture(_Strict):
    """Where the bodies come from, if production's requests were captured by SageMaker."""

    #: A folder of capture files, or the endpoint whose configuration says where they are.
    s3_uri: S3Folder | None = None
    endpoint: ResourceName | None = None
    #: None for all variants of the endpoint.
    variant: ResourceName | None = None
    days: Annotated[int, Field(ge=1, le=30)] = 7
    #: So many requests are sent, each as often as the others.
    sample: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    seed: Annotated[int, Field(ge=0, le=2**31)] = 0

    @model_validator(mode="after")
    def _exactly_one(self) -> DataCapture:
        if (self.s3_uri is None) == (self.endpoint is None):
            raise ValueError("exactly one of s3_uri, endpoint is needed")
        if self.variant is not None and self.endpoint is None:
            raise ValueError("variant is of an endpoint, which is not given")
        return self


class Payloads(_Strict):
    """The bodies sent to the endpoint: inline, in a JSON Lines file in S3, or captured ones."""

    inline: Annotated[list[Payload], Field(min_length=1, max_length=100)] | None = None
    s3_uri: S3Uri | None = None
    data_capture: DataCapture | None = None
    content_type: HeaderValue = "application/json"
    accept: HeaderValue = "application/json"

    @model_validator(mode="after")
    def _exactly_one(self) -> Payloads:
        if sum(each is not None for each in (self.inline, self.s3_uri, self.data_capture)) != 1:
            raise ValueError("exactly one of inline, s3_uri, data_capture is needed")
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


class FromEndpoint(_Strict):
    """Where the target rate comes from, if it is that of an endpoint in production."""

    name: ResourceName
    #: None where the endpoint has one variant.
    variant: ResourceName | None = None
    #: CloudWatch keeps invocations by the minute for 15 days.
    days: Annotated[int, Field(ge=1, le=15)] = 14
    #: Of all minutes; so many percent of them stay at or under the rate that is taken.
    percentile: Annotated[float, Field(ge=50, le=100)] = 99.9
    headroom_percent: Annotated[float, Field(ge=0, le=1000)] = 10.0
    growth_percent_a_month: Annotated[float, Field(ge=0, le=100)] = 0.0


class Target(_Strict):
    """What the endpoint must serve: a rate, or that of an endpoint in production."""

    model_config = ConfigDict(serialize_by_alias=True)

    #: None until it is known what an endpoint in production gets.
    given_tps: Annotated[float, Field(gt=0, le=1_000_000)] | None = Field(None, alias="tps")
    from_endpoint: FromEndpoint | None = None
    utilization_percent: Band = Field(default_factory=Band)
    model_latency_p99_ms: Annotated[float, Field(gt=0, le=_LONGEST_INVOCATION_MS)] | None = None
    error_percent: Annotated[float, Field(ge=0, le=100)] = 0.1

    @property
    def tps(self) -> float:
        """The rate, requests per second.

        Raises:
            ValueError: It is an endpoint's, and has not been looked up.
        """
        if self.given_tps is None:
            raise ValueError("the target of an endpoint in production has not been looked up")
        return self.given_tps


class Limits(_Strict):
    """Where a sizing stops, with the best it knows by then."""

    max_instances: Annotated[int, Field(ge=1, le=1000)] = 20
    max_load_tests: Annotated[int, Field(ge=1, le=100)] = 8
    max_cost_usd: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    #: Not over the state machine's own time-out, a day.
    max_minutes: Annotated[float, Field(gt=0, le=1440)] | None = None
    #: Keep to the account's quotas by lowering max_instances, instead of refusing the request.
    lower_to_quota: bool = False


class Measurement(_Strict):
    """How long each step is held, and how often SageMaker publishes its metrics, seconds."""

    metric_period_seconds: Annotated[
        int, Field(json_schema_extra={"enum": [*METRIC_PERIODS_SECONDS]})
    ] = 10
    steady_seconds: Annotated[int, Field(ge=10, le=3600)] = 60
    settle_seconds: Annotated[int, Field(ge=0, le=3600)] = 30

    @field_validator("metric_period_seconds")
    @classmethod
    def _published(cls, value: int) -> int:
        if value not in METRIC_PERIODS_SECONDS:
            allowed = ", ".join(map(str, METRIC_PERIODS_SECONDS))
            raise ValueError(f"must be one of {allowed}, got {value}")
        return value

    @property
    def settling_seconds(self) -> int:
        """How long a step's rate is held before its window, seconds.

        When in its period an instance publishes is not documented: the first sample in a window may
        speak of a period that began before it, which must be this rate's.
        """
        return max(self.settle_seconds, self.metric_period_seconds)


class Apply(_Strict):
    """The endpoint in production that gets an answer, and within which bounds."""

    endpoint: ResourceName
    #: None where the endpoint has one variant.
    variant: ResourceName | None = None
    #: Its instance count, or a scaling policy with its bounds.
    what: Literal["count", "autoscaling"] = "count"
    #: Instances. An answer outside is not applied.
    min: Annotated[int, Field(ge=1, le=1000)]
    max: Annotated[int, Field(ge=1, le=1000)]

    @model_validator(mode="after")
    def _right_way_up(self) -> Apply:
        if self.min > self.max:
            raise ValueError(f"min ({self.min}) must be no more than max ({self.max})")
        return self


class Load(_Strict):
    """How requests arrive, and the Locust fleet's size, planned from the target where absent."""

    #: Evenly spaced, or a Poisson process: as many users send them who know nothing of each other.
    arrivals: Literal["constant", "poisson"] = "constant"
    #: Of a Poisson process.
    seed: Annotated[int, Field(ge=0, le=2**31)] = 0
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
    #: Whether to start at the count that an earlier sizing of the same found.
    use_history: bool = True
    #: How much less capacity, or more cost or p99, than the last time matters to nobody, percent.
    tolerance: Annotated[float, Field(gt=0, le=100)] = 5.0
    notify: Notify = "always"
    #: None changes nothing outside the sizing.
    apply: Apply | None = None
    dry_run: bool = False
    tags: Annotated[
        dict[
            Annotated[str, _text(_TAG, _TAG_ALLOWED, longest=128), Field(min_length=1)],
            Annotated[str, _text(_TAG, _TAG_ALLOWED, longest=256)],
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


@cache
def _schema() -> dict[str, Any]:
    return Request.model_json_schema()


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
        request = Request.model_validate(data)
    except ValidationError as error:
        raise refusal(error, _schema(), _PATTERNS) from None
    if request.target.given_tps is None:
        if request.target.from_endpoint is None:
            null = ", got null" if "tps" in data["target"] else ""
            raise InvalidRequest("target.tps", f"is missing; or give target.from_endpoint{null}")
        return request
    least = 1 / request.measurement.steady_seconds
    if request.target.tps < least:
        raise InvalidRequest(
            "target.tps",
            f"must be {least:.3g} or more, or no request falls into measurement.steady_seconds; "
            f"got {request.target.tps:g}",
        )
    return request
