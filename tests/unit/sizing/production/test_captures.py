"""A sample of captured requests is uniform, and whatever else lies in the files is counted."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from sizing.errors import InvalidRequest
from sizing.production import captures
from sizing.production.captures import CaptureFile, Sampler, chosen, lines


def record(data: str, encoding: str = "JSON", content_type: str = "application/json") -> bytes:
    """A line as SageMaker writes it."""
    return json.dumps(
        {
            "captureData": {
                "endpointInput": {
                    "observedContentType": content_type,
                    "mode": "INPUT",
                    "data": data,
                    "encoding": encoding,
                },
                "endpointOutput": {
                    "observedContentType": "application/json",
                    "mode": "OUTPUT",
                    "data": "the answer",
                    "encoding": "JSON",
                },
            },
            "eventMetadata": {
                "eventId": "e",
                "customAttributes": ["tenant=a"],
                "inferenceTime": "2026-11-01T12:00:00Z",
            },
            "eventVersion": "0",
        }
    ).encode()


def sampled(shown: Iterable[bytes | None], size: int = 10, seed: int = 0) -> Sampler:
    sampler = Sampler(size, seed)
    for line in shown:
        sampler.show(line)
    return sampler


def test_a_record_becomes_a_payload_with_its_own_headers() -> None:
    shown = [
        record('{"text": "é"}'),
        record("1,2,3\n", "CSV", "text/csv"),
        record(base64.b64encode(b"\x00image").decode(), "BASE64", "image/x-image"),
    ]
    payloads = sampled(shown).payloads()
    assert [each.model_dump(exclude_defaults=True) for each in payloads] == [
        {
            "body": '{"text": "é"}',
            "content_type": "application/json",
            "custom_attributes": "tenant=a",
        },
        {"body": "1,2,3\n", "content_type": "text/csv", "custom_attributes": "tenant=a"},
        {
            "body": base64.b64encode(b"\x00image").decode(),
            "base64": True,
            "content_type": "image/x-image",
            "custom_attributes": "tenant=a",
        },
    ]
    assert not any("answer" in each.body for each in payloads)


def test_every_record_is_as_likely_as_the_others() -> None:
    shown = [record(str(number)) for number in range(40)]
    seen = Counter(
        each.body for seed in range(1_000) for each in sampled(shown, 10, seed).payloads()
    )
    # Each is expected 250 times, with a standard deviation of 14.
    assert len(seen) == 40
    assert all(180 < count < 320 for count in seen.values()), seen


def test_the_sample_is_the_same_for_a_seed() -> None:
    shown = [record(str(number)) for number in range(100)]
    first, again, other = (
        [each.body for each in sampled(shown, 10, seed).payloads()] for seed in (1, 1, 2)
    )
    assert first == again != other


def test_bodies_too_large_for_a_load_generator_are_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "MAX_SAMPLE_BYTES", 1_000)
    shown = [record(f"{number:0100d}") for number in range(200)]
    seen: Counter[str] = Counter()
    for seed in range(400):
        bodies = [each.body for each in sampled(shown, 64, seed).payloads()]
        assert 4 <= len(bodies) <= 10
        seen.update(bodies)
    halves = sum(count for body, count in seen.items() if int(body) < 100)
    # Neither those that came first nor the others are preferred: five standard deviations.
    assert halves / seen.total() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    "line, why",
    [
        (b"{}", captures.NO_RECORD),
        (b"[1, 2]", captures.NO_RECORD),
        (b"\x1f\x8b\x08 compressed", captures.NO_RECORD),
        (record("cut off")[:-20], captures.NO_RECORD),
        (
            b'{"captureData": {"endpointOutput": {"data": "x", "encoding": "CSV"}}}',
            captures.NO_INPUT,
        ),
        (record("no base64!", "BASE64"), captures.NOT_DECODABLE),
        (record("x", content_type="text/csv\r\nx-evil: 1"), captures.NOT_DECODABLE),
        (record("x" * 101), captures.TOO_LARGE),
        (None, captures.TOO_LARGE),
    ],
)
def test_what_is_no_captured_request_is_counted_by_its_reason(
    monkeypatch: pytest.MonkeyPatch, line: bytes | None, why: str
) -> None:
    monkeypatch.setattr(captures, "MAX_BODY_BYTES", 100)
    summary = sampled([record("good"), line, b"  "]).summary("s3://b/c/", 3, 2)
    assert summary.skipped == {why: 1}
    assert (summary.records, summary.sampled, summary.files, summary.files_read) == (1, 1, 3, 2)


def test_a_sample_is_described_by_its_sizes_and_types() -> None:
    shown: list[Any] = [record("x" * size) for size in (1, 2, 300)]
    shown.append(record("12", "CSV", ""))
    summary = sampled(shown).summary("s3://b/c/", 1, 1)
    assert summary.content_types == {"application/json": 3, "": 1}
    assert (summary.body_bytes_p50, summary.body_bytes_p99) == (2, 300)


def test_nothing_to_send_is_an_error_that_says_what_was_there() -> None:
    with pytest.raises(InvalidRequest) as error:
        sampled([b"{}", b"{}"]).summary("s3://b/c/", 4, 4)
    assert str(error.value) == (
        "payloads.data_capture: s3://b/c/ has no captured request in 4 files of these days: "
        "2 no record of Data Capture"
    )


def test_one_file_is_read_however_large_it_is() -> None:
    small, large = CaptureFile("b", "small", 1), CaptureFile("b", "large", 5 * captures.MOST_BYTES)
    taken = {tuple(each.key for each in chosen([small, large], seed)) for seed in range(20)}
    assert taken == {("large",), ("small",)}


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lines_are_whole_however_the_file_comes(size: int) -> None:
    content = b"a\n\nbcd\nlong line\nend"
    chunks = [content[at : at + size] for at in range(0, len(content), size)]
    assert list(lines(chunks, longest=5)) == [b"a", b"", b"bcd", None, b"end"]
    assert list(lines([b"much too long"], longest=5)) == [None]
    assert list(lines([], longest=5)) == []
