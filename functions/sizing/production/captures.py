"""Payloads of production: a uniform sample of what SageMaker's Data Capture wrote.

A record is a line of JSON; its body is text, or base64 where the content type is none that the
endpoint's configuration names.
https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture.html
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sizing.errors import InvalidRequest
from sizing.production.traffic import percentile_of
from sizing.request.payloads import MAX_BODY_BYTES, body_bytes
from sizing.request.request import Payload
from sizing.request.sizing import CapturedPayloads

#: Read of all files together.
MOST_BYTES: Final = 1 << 30
#: Longest line that may hold a body in base64 beside its answer, which is as large at the most.
MAX_LINE_BYTES: Final = 3 * MAX_BODY_BYTES
#: Bodies of a sample, all together: each process of the load generators holds them in memory.
MAX_SAMPLE_BYTES: Final = 48 * 1024 * 1024

NO_RECORD: Final = "no record of Data Capture"
NO_INPUT: Final = "without the request"
NOT_DECODABLE: Final = "not as its encoding says"
TOO_LARGE: Final = "larger than an endpoint takes"


class _Input(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    data: str
    encoding: str
    observed_content_type: str | None = Field(None, alias="observedContentType")


class _Data(BaseModel):
    endpoint_input: _Input | None = Field(None, alias="endpointInput")


class _Metadata(BaseModel):
    custom_attributes: tuple[str, ...] = Field((), alias="customAttributes")


class _Record(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    capture_data: _Data = Field(alias="captureData")
    metadata: _Metadata = Field(_Metadata(), alias="eventMetadata")


@dataclass(frozen=True, slots=True)
class CaptureFile:
    """A file of captured requests in S3."""

    bucket: str
    key: str
    size_bytes: int


def chosen(files: Sequence[CaptureFile], seed: int) -> Iterator[CaptureFile]:
    """All files in a random order, as many as may be read; the first however large it is."""
    left = MOST_BYTES
    in_order = sorted(files, key=lambda each: each.key)
    for file in Random(seed).sample(in_order, len(in_order)):
        if file.size_bytes > left < MOST_BYTES:
            return
        left -= file.size_bytes
        yield file


class _Unusable(Exception):
    """A line that gives no payload; says why."""


class Sampler:
    """A sample of the records that it is shown, each as likely as any other.

    Vitter's algorithm R: record *n* takes the place of a random one with probability *size / n*.
    Where the bodies come to more than a load generator should hold, a random half of them goes, and
    the sample is of half the size from then on; it stays uniform.
    """

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._random = Random(seed)
        self._kept: list[Payload] = []
        self._bytes = 0
        self._usable = 0
        self._skipped: Counter[str] = Counter()

    def show(self, line: bytes | None) -> None:
        """Show a line of a file; None for one that was too long to be read."""
        if line is not None and not line.strip():
            return
        try:
            payload = _payload(line)
        except _Unusable as reason:
            self._skipped[str(reason)] += 1
            return
        self._usable += 1
        if len(self._kept) < self._size:
            self._kept.append(payload)
            self._bytes += len(payload.body)
        elif (place := self._random.randrange(self._usable)) < self._size:
            self._bytes += len(payload.body) - len(self._kept[place].body)
            self._kept[place] = payload
        while self._bytes > MAX_SAMPLE_BYTES and self._size > 1:
            self._size //= 2
            self._kept = self._random.sample(self._kept, min(self._size, len(self._kept)))
            self._bytes = sum(len(each.body) for each in self._kept)

    def payloads(self) -> list[Payload]:
        """The sample."""
        return list(self._kept)

    def summary(self, source: str, files: int, files_read: int) -> CapturedPayloads:
        """What was found, and what the sample is like.

        Args:
            source: Where the files are.
            files: How many there are of the days asked for.
            files_read: How many of them were read.

        Raises:
            InvalidRequest: There is no usable record.
        """
        if not self._kept:
            found = ", ".join(
                f"{count:,} {reason}" for reason, count in self._skipped.most_common()
            )
            raise InvalidRequest(
                "payloads.data_capture",
                f"{source} has no captured request in {files_read:,} files of these days"
                + (f": {found}" if found else ""),
            )
        sizes = [len(body_bytes(each)) for each in self._kept]
        return CapturedPayloads(
            source=source,
            files=files,
            files_read=files_read,
            records=self._usable,
            sampled=len(self._kept),
            skipped=dict(self._skipped),
            content_types=dict(Counter(each.content_type or "" for each in self._kept)),
            body_bytes_p50=percentile_of(sizes, 50),
            body_bytes_p99=percentile_of(sizes, 99),
        )


def lines(chunks: Iterable[bytes], longest: int = MAX_LINE_BYTES) -> Iterator[bytes | None]:
    """Lines of a file that comes in pieces; None for one that is longer than any record.

    Of such a line nothing is kept, however long it is.
    """
    held: list[bytes] = []
    size = 0
    is_too_long = False
    for chunk in chunks:
        *whole, rest = chunk.split(b"\n")
        for part in whole:
            if is_too_long or size + len(part) > longest:
                yield None
            else:
                yield b"".join([*held, part])
            held, size, is_too_long = [], 0, False
        size += len(rest)
        is_too_long = is_too_long or size > longest
        held = [] if is_too_long else [*held, rest]
    if is_too_long:
        yield None
    elif size:
        yield b"".join(held)


def _payload(line: bytes | None) -> Payload:
    if line is None:
        raise _Unusable(TOO_LARGE)
    try:
        record = _Record.model_validate_json(line)
    except ValidationError:
        raise _Unusable(NO_RECORD) from None
    given = record.capture_data.endpoint_input
    if given is None:
        raise _Unusable(NO_INPUT)
    try:
        payload = Payload(
            body=given.data,
            base64=given.encoding.upper() == "BASE64",
            content_type=given.observed_content_type or None,
            custom_attributes=",".join(record.metadata.custom_attributes) or None,
        )
        size = len(body_bytes(payload))
    except ValueError:
        raise _Unusable(NOT_DECODABLE) from None
    if size > MAX_BODY_BYTES:
        raise _Unusable(TOO_LARGE)
    return payload
