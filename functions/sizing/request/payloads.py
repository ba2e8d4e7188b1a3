"""Checks and forms of the payloads that a sizing sends."""

from __future__ import annotations

import base64
import binascii
import codecs
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence

from pydantic import ValidationError

from sizing.errors import InvalidRequest
from sizing.request.refusal import field_path
from sizing.request.request import Payload, Payloads

#: Largest body that an endpoint accepts (SageMaker's hosting FAQ).
MAX_BODY_BYTES = 25 * 1024 * 1024
#: Largest file of payloads: every load generator holds it in memory.
MAX_FILE_BYTES = 100 * 1024 * 1024
#: Most payloads in a file: all are checked within the function's time.
MAX_PAYLOADS = 1_000_000

#: Bytes of payloads that a sizing's first state may return, all copies together. The state
#: machine's limit is 256 KiB for everything.
_INLINE_BUDGET_BYTES = 64 * 1024
_FINGERPRINT_DIGITS = 16


def body_bytes(payload: Payload) -> bytes:
    """The body as it is sent.

    Raises:
        ValueError: It is said to be base64 and is not.
    """
    if not payload.base64:
        return payload.body.encode()
    try:
        return base64.b64decode(payload.body, validate=True)
    except binascii.Error:
        raise ValueError("body is not valid base64") from None


def check_inline(payloads: Sequence[Payload]) -> None:
    """Check inline payloads.

    Raises:
        InvalidRequest: Names the payload in error.
    """
    for index, payload in enumerate(payloads):
        try:
            _check(payload)
        except ValueError as error:
            raise InvalidRequest(f"payloads.inline.{index}.body", str(error)) from None


def mean_body_bytes(payloads: Iterable[Payload]) -> float:
    """Mean size of valid bodies, weighted as they are sent."""
    bytes_, weights = 0.0, 0.0
    for each in payloads:
        bytes_ += each.weight * len(body_bytes(each))
        weights += each.weight
    return bytes_ / weights


def read_file(uri: str, lines: Iterable[bytes]) -> Iterator[Payload]:
    """The payloads of a JSON Lines file, each checked.

    Read to its end before anything costs money: a load test that meets a bad line has already
    cost its endpoint.

    Raises:
        InvalidRequest: Names the line in error, without quoting it.
    """
    is_empty = True
    for number, line in enumerate(lines, start=1):
        if number > MAX_PAYLOADS:
            raise InvalidRequest(
                "payloads.s3_uri", f"{uri} has more than {MAX_PAYLOADS:,} lines, the most allowed"
            )
        if not line.strip():
            continue
        if number == 1 and line.startswith(codecs.BOM_UTF8):
            raise InvalidRequest(
                "payloads.s3_uri",
                f"{uri} begins with a byte order mark; save it as UTF-8 without one",
            )
        try:
            payload = Payload.model_validate_json(line)
            _check(payload)
        except ValidationError as error:
            what = error.errors(include_input=False, include_url=False)[0]
            where = field_path(what["loc"]) or "the line"
            raise _in_line(uri, number, f"{where}: {what['msg']}") from None
        except ValueError as error:
            raise _in_line(uri, number, str(error)) from None
        is_empty = False
        yield payload
    if is_empty:
        raise InvalidRequest("payloads.s3_uri", f"{uri} is empty; it needs at least one payload")


def fits_inline(payloads: Sequence[Payload], candidates: int) -> bool:
    """Whether payloads may go from state to state, or must lie in S3.

    The sizing holds a copy, and each candidate one for its load test and one for its smoke test.
    """
    return len(json_lines(payloads)) * (1 + 2 * candidates) <= _INLINE_BUDGET_BYTES


def json_lines(payloads: Sequence[Payload]) -> bytes:
    """Payloads as the JSON Lines file that ``payloads.s3_uri`` names."""
    return b"".join(
        payload.model_dump_json(exclude_none=True).encode() + b"\n" for payload in payloads
    )


def fingerprint(payloads: Payloads, content: str) -> str:
    """The same for the same payloads, whoever sends them in whichever order: 16 digits.

    Args:
        payloads: The payloads.
        content: What tells the content of a file of them, such as its entity tag; empty for
            those that stand in the request. Captured ones differ from night to night, and are told
            by where they come from.
    """
    inline = sorted(json_lines([each]) for each in payloads.inline or ())
    described = [payloads.content_type, payloads.accept, content]
    if payloads.data_capture is not None:
        described.append(payloads.data_capture.model_dump_json(exclude={"seed"}))
    digest = hashlib.sha256(json.dumps(described).encode())
    for line in inline:
        digest.update(line)
    return digest.hexdigest()[:_FINGERPRINT_DIGITS]


def in_s3(payloads: Payloads, uri: str) -> Payloads:
    """The same payloads, read from S3."""
    return payloads.model_copy(update={"inline": None, "data_capture": None, "s3_uri": uri})


def _check(payload: Payload) -> None:
    size = len(body_bytes(payload))
    if size > MAX_BODY_BYTES:
        raise ValueError(
            f"an endpoint takes at most {MAX_BODY_BYTES:,} bytes, the body has {size:,}"
        )


def _in_line(uri: str, number: int, message: str) -> InvalidRequest:
    return InvalidRequest(
        "payloads.s3_uri",
        f"line {number} of {uri}: {message}; each line must be a JSON object of body, weight, "
        "base64, content_type and custom_attributes",
    )
