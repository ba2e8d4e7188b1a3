"""spec.json and payload sets: what is taken, and what is refused with the field's name."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from load_generator.spec import (
    InlinePayload,
    SpecError,
    decode_inline,
    parse_json_lines,
    parse_spec,
)

MINIMAL: dict[str, Any] = {
    "load_test_id": "ml-m5-12xlarge-1-baseline",
    "endpoint_name": "endpoint-sizer-3f2a",
    "payloads": {"inline": [{"body": "{}"}]},
    "steps": [{"offered_tps": 100}],
}


def parse(**fields: Any) -> Any:
    return parse_spec(json.dumps(MINIMAL | fields).encode())


def test_the_whole_contract_is_taken() -> None:
    spec = parse(
        target_variant=None,
        target_model=None,
        custom_attributes=None,
        streaming=False,
        content_type="application/json",
        accept="application/json",
        request_timeout_seconds=60,
        metric_period_seconds=10,
        settle_seconds=30,
        steady_seconds=60,
        burst={"start_concurrency": 48, "max_concurrency": 1536, "stage_seconds": 3},
        steps=[
            {"offered_tps": 1000.0, "saturation_fraction": None},
            {"saturation_fraction": 0.5},
        ],
        workers=1,
        worker_vcpus=1.0,
    )
    assert spec.burst.start_concurrency == 48
    assert [step.offered_tps for step in spec.steps] == [1000.0, None]


def test_defaults() -> None:
    spec = parse()
    assert spec.workers == 1
    assert spec.burst is None
    assert not spec.streaming


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"endpoint": "x"}, "endpoint"),
        ({"endpoint_name": "../x"}, "$.endpoint_name"),
        ({"endpoint_name": "a" * 64}, "$.endpoint_name"),
        ({"workers": 0}, "$.workers"),
        ({"workers": 1.5}, "$.workers"),
        ({"steps": []}, "steps"),
        ({"steps": [{"offered_tps": 0}]}, "$.steps[0].offered_tps"),
        ({"steps": [{"offered_tps": "fast"}]}, "$.steps[0].offered_tps"),
        ({"steps": [{}]}, "steps[0]: one of offered_tps, saturation_fraction"),
        ({"steps": [{"saturation_fraction": 0.5}]}, "steps[0]: saturation_fraction needs a burst"),
        (
            {"burst": {"start_concurrency": 9, "max_concurrency": 8, "stage_seconds": 3}},
            "max_concurrency must not be less",
        ),
        ({"payloads": {}}, "exactly one of inline, s3_uri"),
        ({"payloads": {"inline": []}}, "$.payloads.inline"),
        ({"payloads": {"inline": [{"body": "x", "weight": 0}]}}, "$.payloads.inline[0].weight"),
        ({"endpoint_name": "endpoint\n"}, "$.endpoint_name"),
        ({"content_type": "text/csv\n"}, "$.content_type"),
        ({"accept": "text/csv\r\nX-Other: 1"}, "$.accept"),
        ({"custom_attributes": "a\n"}, "$.custom_attributes"),
        ({"target_variant": "a\n"}, "$.target_variant"),
        ({"target_model": "a\n"}, "$.target_model"),
        ({"payloads": {"s3_uri": "https://x/y"}}, "$.payloads.s3_uri"),
        ({"settle_seconds": -1}, "$.settle_seconds"),
        ({"steady_seconds": 0}, "$.steady_seconds"),
        ({"custom_attributes": "a\r\nx-evil: 1"}, "$.custom_attributes"),
        ({"content_type": ""}, "$.content_type"),
        ({"streaming": True, "target_model": "m"}, "target_model"),
    ],
)
def test_errors_name_the_field(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(**fields)
    assert words in str(caught.value)


@pytest.mark.parametrize("document", [b"", b"[]", b"{", b"\xff\xfe"])
def test_what_is_not_a_spec_is_refused(document: bytes) -> None:
    with pytest.raises(SpecError, match=r"spec\.json"):
        parse_spec(document)


def test_bodies_are_text_or_base64() -> None:
    binary = bytes(range(256))
    decoded = decode_inline(
        [
            InlinePayload(body="é", weight=2),
            InlinePayload(body=base64.b64encode(binary).decode(), base64=True),
        ]
    )
    assert [payload.body for payload in decoded] == ["é".encode(), binary]
    assert [payload.weight for payload in decoded] == [2, 1]
    with pytest.raises(SpecError, match=r"payloads\.inline\[1\]\.body is not base64"):
        decode_inline([InlinePayload(body="x"), InlinePayload(body="x", base64=True)])


def test_json_lines() -> None:
    document = b'{"body": "one"}\n\n  \n{"body": "two", "weight": 3}\r\n'
    payloads = parse_json_lines(document, source="s3://b/k")
    assert [(payload.body, payload.weight) for payload in payloads] == [(b"one", 1), (b"two", 3)]


@pytest.mark.parametrize(
    "document, words",
    [
        (b"", "s3://b/k holds no payload"),
        (b'{"body": "one"}\n{"text": "two"}', "s3://b/k, line 2"),
        (b"{", "s3://b/k, line 1"),
        (b'\xef\xbb\xbf{"body": "x"}', "line 1: it begins with a byte order mark"),
        (b'{"body": "?", "base64": true}', "s3://b/k, line 1"),
        (b'{"body": "x", "weight": -1}', "s3://b/k, line 1"),
    ],
)
def test_json_lines_in_error_name_the_line(document: bytes, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_json_lines(document, source="s3://b/k")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "vcpus, workers, each, processes",
    [(0.25, 3, 1, 3), (1, 3, 1, 3), (2, 3, 2, 6), (2.5, 1, 2, 2), (16, 2, 16, 32)],
)
def test_each_whole_vcpu_of_a_worker_has_a_process(
    vcpus: float, workers: int, each: int, processes: int
) -> None:
    spec = parse(workers=workers, worker_vcpus=vcpus)
    assert (spec.processes_per_worker, spec.processes) == (each, processes)
