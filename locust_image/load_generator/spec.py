"""What a load test is asked to do: ``spec.json``, and the payload sets it names.

Decoded by msgspec rather than pydantic: importing it takes milliseconds, and every task of a load
test pays for its imports before the first request.
"""

from __future__ import annotations

import base64
import binascii
import codecs
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

PositiveFloat = Annotated[float, Meta(gt=0)]
PositiveInt = Annotated[int, Meta(ge=1)]
#: What may stand in an HTTP header: printable ASCII that does not start with a space. Ended by
#: ``\Z``, since ``$`` would let a line break pass at the end.
HeaderValue = Annotated[str, Meta(pattern=r"^[\x21-\x7e][\x20-\x7e]*\Z", max_length=1024)]


class SpecError(ValueError):
    """The specification or a payload set is not what it must be; the message names the field."""


class InlinePayload(Struct, frozen=True, forbid_unknown_fields=True):
    """One body, as text or base64, and how often it is sent relative to the others.

    Its own content type and custom attributes stand in for those of the load test.
    """

    body: str
    weight: PositiveFloat = 1.0
    base64: bool = False
    content_type: HeaderValue | None = None
    custom_attributes: HeaderValue | None = None


class PayloadSource(Struct, frozen=True, forbid_unknown_fields=True):
    """The bodies themselves, or the S3 URI of a JSON Lines file that holds them."""

    inline: Annotated[list[InlinePayload], Meta(min_length=1)] | None = None
    s3_uri: Annotated[str, Meta(pattern=r"^(s3|file)://.+")] | None = None


class Payload(Struct, frozen=True):
    """One body as it is sent."""

    body: bytes
    weight: float = 1.0
    content_type: str | None = None
    custom_attributes: str | None = None


class BurstSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """A closed-loop burst that looks for the saturation rate; concurrency doubles each stage."""

    start_concurrency: PositiveInt
    max_concurrency: PositiveInt
    stage_seconds: PositiveFloat


class StepSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """A plateau of constant offered rate: absolute, or a fraction of the saturation rate.

    With both it is the absolute rate, and is left out where that is over the fraction.
    """

    offered_tps: PositiveFloat | None = None
    saturation_fraction: PositiveFloat | None = None


class Spec(Struct, frozen=True, forbid_unknown_fields=True):
    """One load test. Durations are in seconds, rates in requests per second of the whole fleet."""

    load_test_id: Annotated[str, Meta(min_length=1)]
    endpoint_name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9])*\Z", max_length=63)]
    payloads: PayloadSource
    steps: list[StepSpec]
    target_variant: HeaderValue | None = None
    target_model: HeaderValue | None = None
    custom_attributes: HeaderValue | None = None
    streaming: bool = False
    content_type: HeaderValue = "application/json"
    accept: HeaderValue = "application/json"
    request_timeout_seconds: PositiveFloat = 60.0
    metric_period_seconds: PositiveInt = 10
    settle_seconds: Annotated[float, Meta(ge=0)] = 30.0
    steady_seconds: PositiveFloat = 60.0
    burst: BurstSpec | None = None
    arrivals: Literal["constant", "poisson"] = "constant"
    seed: Annotated[int, Meta(ge=0)] = 0
    workers: PositiveInt = 1
    worker_vcpus: PositiveFloat = 1.0

    @property
    def processes_per_worker(self) -> int:
        """Processes of a worker's task: an engine is one thread, so each whole vCPU has one."""
        return max(1, int(self.worker_vcpus))

    @property
    def processes(self) -> int:
        """Processes of the whole fleet: each of them is a worker to Locust."""
        return self.workers * self.processes_per_worker

    def __post_init__(self) -> None:
        if (self.payloads.inline is None) == (self.payloads.s3_uri is None):
            raise ValueError("payloads: exactly one of inline, s3_uri is needed")
        if not self.steps and self.burst is None:
            raise ValueError("steps: at least one is needed where there is no burst")
        if self.burst is not None and self.burst.max_concurrency < self.burst.start_concurrency:
            raise ValueError("burst: max_concurrency must not be less than start_concurrency")
        if self.streaming and self.target_model is not None:
            raise ValueError("target_model: response streams have no such parameter")
        for index, step in enumerate(self.steps):
            if step.offered_tps is None and step.saturation_fraction is None:
                raise ValueError(
                    f"steps[{index}]: one of offered_tps, saturation_fraction is needed"
                )
            if step.saturation_fraction is not None and self.burst is None:
                raise ValueError(f"steps[{index}]: saturation_fraction needs a burst")


def parse_spec(document: bytes) -> Spec:
    """Decode ``spec.json``.

    Raises:
        SpecError: Not JSON, an unknown or missing field, or a value outside its range.
    """
    try:
        return msgspec.json.decode(document, type=Spec)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"spec.json: {error}") from error


def decode_inline(
    payloads: list[InlinePayload], *, source: str = "payloads.inline"
) -> list[Payload]:
    """The bodies of inline payloads, as bytes.

    Raises:
        SpecError: A body is said to be base64 and is not.
    """
    decoded = []
    for index, payload in enumerate(payloads):
        if payload.base64:
            try:
                body = base64.b64decode(payload.body, validate=True)
            except (binascii.Error, ValueError) as error:
                raise SpecError(f"{source}[{index}].body is not base64: {error}") from error
        else:
            body = payload.body.encode()
        decoded.append(
            Payload(body, payload.weight, payload.content_type, payload.custom_attributes)
        )
    return decoded


def parse_json_lines(document: bytes, *, source: str) -> list[Payload]:
    """The payloads of a JSON Lines file: a line for each, as an inline one.

    Raises:
        SpecError: A line is not such an object, or there is none; names the source and the line.
    """
    if document.startswith(codecs.BOM_UTF8):
        raise SpecError(
            f"{source}, line 1: it begins with a byte order mark; save it as UTF-8 without one"
        )
    decoder = msgspec.json.Decoder(InlinePayload)
    payloads = []
    for number, line in enumerate(document.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            payloads += decode_inline([decoder.decode(line)], source="payload")
        except (msgspec.DecodeError, UnicodeDecodeError, SpecError) as error:
            raise SpecError(f"{source}, line {number}: {error}") from error
    if not payloads:
        raise SpecError(f"{source} holds no payload")
    return payloads
