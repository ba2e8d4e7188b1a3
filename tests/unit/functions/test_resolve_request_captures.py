"""ResolveRequest takes payloads from production's captured requests, or says why it can't."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sizing.production.captures import NO_RECORD, TOO_LARGE, lines
from sizing.request.sizing import Sizing
from tests.unit.functions.conftest import BUCKET
from tests.unit.functions.test_resolve_request import (
    generous_quotas,
    price_list,
    refused,
    resolve,
)
from tests.unit.sizing.production.test_captures import record

Answered = Callable[..., list[dict[str, Any]]]
__all__ = ["generous_quotas", "price_list"]  # fixtures

FOLDER = f"s3://{BUCKET}/captures/"
ENDPOINT = {
    "EndpointName": "checkout",
    "EndpointArn": "arn:aws:sagemaker:us-east-1:123456789012:endpoint/checkout",
    "EndpointConfigName": "checkout",
    "EndpointStatus": "InService",
    "ProductionVariants": [{"VariantName": "main"}, {"VariantName": "shadow"}],
    "DataCaptureConfig": {
        "EnableCapture": True,
        "CaptureStatus": "Started",
        "CurrentSamplingPercentage": 10,
        "DestinationS3Uri": f"s3://{BUCKET}/captures",
        "KmsKeyId": "",
    },
}


@pytest.fixture
def put(aws: Any) -> Callable[[str, bytes], None]:
    """Writes a file of captures."""

    def put(name: str, content: bytes) -> None:
        aws("s3").put_object(Bucket=BUCKET, Key=f"captures/{name}", Body=content)

    return put


def sent(answer: dict[str, Any], aws: Any) -> list[dict[str, Any]]:
    """What the load test is to send."""
    uri = answer["candidates"][0]["load_test"]["spec"]["payloads"]["s3_uri"]
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    content = aws("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return [json.loads(line) for line in content.splitlines()]


def test_captured_requests_are_sent_with_their_own_content_types(
    aws: Any, put: Callable[[str, bytes], None]
) -> None:
    put("2026/11/01/12/a.jsonl", record("{}") + b"\n" + record("1,2", "CSV", "text/csv") + b"\n")
    put("2026/11/01/13/b.jsonl", b"odd\n" + record("AA==", "BASE64", "image/x"))
    put("2026/11/01/13/notes.txt", record("not of SageMaker"))
    aws("s3").put_object(Bucket=BUCKET, Key="captures-2/a.jsonl", Body=record("a neighbour's"))
    answer = resolve(payloads={"data_capture": {"s3_uri": FOLDER.rstrip("/")}})
    payloads = sorted(sent(answer, aws), key=lambda each: each["content_type"])
    assert [(each["body"], each["content_type"], each["base64"]) for each in payloads] == [
        ("{}", "application/json", False),
        ("AA==", "image/x", True),
        ("1,2", "text/csv", False),
    ]
    sizing = Sizing.model_validate(answer["sizing"])
    assert sizing.captured is not None
    assert (sizing.captured.files, sizing.captured.records) == (2, 3)
    assert sizing.captured.skipped == {"no record of Data Capture": 1}
    # The smoke test reads the same file, and nothing that goes from state to state has a body.
    assert answer["candidates"][0]["smoke_test"]["payloads"]["s3_uri"].endswith("/captured.jsonl")
    assert "1,2" not in json.dumps(answer)


def test_an_endpoint_says_where_its_captures_are(
    aws: Any, answered: Answered, put: Callable[[str, bytes], None]
) -> None:
    put("checkout/main/2026/11/01/12/a.jsonl", record("of main"))
    put("checkout/shadow/2026/11/01/12/a.jsonl", record("of shadow"))
    put("checkout-2/main/2026/11/01/12/a.jsonl", record("of another"))
    answered("sagemaker", "DescribeEndpoint", lambda _: ENDPOINT)
    both = resolve(payloads={"data_capture": {"endpoint": "checkout"}})
    assert {each["body"] for each in sent(both, aws)} == {"of main", "of shadow"}
    one = resolve(payloads={"data_capture": {"endpoint": "checkout", "variant": "main"}})
    assert {each["body"] for each in sent(one, aws)} == {"of main"}


def test_two_nights_are_comparable_though_their_samples_differ(
    put: Callable[[str, bytes], None],
) -> None:
    keys = []
    for night in range(2):
        put(f"{night}.jsonl", record(f"night {night}"))
        answer = resolve(payloads={"data_capture": {"s3_uri": FOLDER, "seed": night}})
        keys.append(Sizing.model_validate(answer["sizing"]).comparable_key)
    other = resolve(payloads={"data_capture": {"s3_uri": FOLDER, "sample": 2}})
    assert keys[0] == keys[1] != Sizing.model_validate(other["sizing"]).comparable_key


def test_a_dry_run_writes_no_payload(aws: Any, put: Callable[[str, bytes], None]) -> None:
    put("a.jsonl", record("body"))
    resolve(payloads={"data_capture": {"s3_uri": FOLDER}}, dry_run=True)
    assert "Contents" not in aws("s3").list_objects_v2(Bucket=BUCKET, Prefix="sizings/")


def test_of_too_many_files_a_random_part_is_read(
    put: Callable[[str, bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        put(f"{number:02}.jsonl", record(str(number)))
    monkeypatch.setattr("sizing.production.captures.MOST_BYTES", 5 * len(record("00")))
    seen = set()
    for seed in range(6):
        asked = {"s3_uri": FOLDER, "seed": seed}
        sizing = Sizing.model_validate(resolve(payloads={"data_capture": asked})["sizing"])
        assert sizing.captured is not None
        assert (sizing.captured.files, sizing.captured.files_read) == (20, 5)
        seen.add(sizing.captured.records)
    assert seen == {5}


def test_hostile_files_end_in_one_clear_error(
    put: Callable[[str, bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aws.captures.lines", partial(lines, longest=100_000))
    put("packed.jsonl", gzip.compress(b"\n".join(record(str(number)) for number in range(9))))
    put("endless.jsonl", b"x" * 10_000_000)
    put("secret.jsonl.bak", record("not a capture file"))
    said = refused(payloads={"data_capture": {"s3_uri": FOLDER}})
    assert said.startswith(
        f"payloads.data_capture: {FOLDER} has no captured request in 2 files of these days: "
    )
    assert f"1 {TOO_LARGE}" in said
    assert NO_RECORD in said


def test_keys_with_tricks_are_files_like_others(put: Callable[[str, bytes], None]) -> None:
    names = ("../../etc.jsonl", "a b?versionId=x#.jsonl", "%2e%2e%2f.jsonl", "\u202eln.jsonl")
    for name in names:
        put(name, record(name))
    answer = resolve(payloads={"data_capture": {"s3_uri": FOLDER}})
    captured = Sizing.model_validate(answer["sizing"]).captured
    assert captured is not None
    assert (captured.files_read, captured.records) == (len(names), len(names))


def test_large_bodies_take_more_workers_wherever_they_come_from(
    aws: Any, put: Callable[[str, bytes], None]
) -> None:
    body = "x" * 400_000
    put("a.jsonl", record(body))
    aws("s3").put_object(
        Bucket=BUCKET, Key="mine.jsonl", Body=json.dumps({"body": body, "weight": 3}).encode()
    )
    for given in (
        {"data_capture": {"s3_uri": FOLDER}},
        {"s3_uri": f"s3://{BUCKET}/mine.jsonl"},
        {"inline": [{"body": body}]},
    ):
        answer = resolve(payloads=given)
        assert Sizing.model_validate(answer["sizing"]).body_bytes == 400_000
        (candidate,) = answer["candidates"]
        assert candidate["load_test"]["spec"]["workers"] == 10


@pytest.mark.parametrize(
    "asked, message",
    [
        ({}, "payloads.data_capture: exactly one of s3_uri, endpoint is needed"),
        (
            {"s3_uri": "s3://bucket/x/", "variant": "main"},
            "payloads.data_capture: variant is of an endpoint, which is not given",
        ),
        ({"s3_uri": "s3://bucket/x/", "sample": 0}, "payloads.data_capture.sample: must be"),
        ({"s3_uri": "file:///etc/passwd"}, "payloads.data_capture.s3_uri: "),
        (
            {"s3_uri": f"{FOLDER}nowhere/"},
            f"payloads.data_capture: {FOLDER}nowhere/ has no captured request in 0 files of these",
        ),
        (
            {"s3_uri": "s3://no-such-bucket/x/"},
            "payloads.data_capture.s3_uri: s3://no-such-bucket/x/ can't be read (NoSuchBucket); it",
        ),
        (
            {"endpoint": "checkout", "variant": "other"},
            "payloads.data_capture.variant: checkout has no other; it has main, shadow",
        ),
    ],
)
def test_what_can_not_be_sampled_is_refused(
    answered: Answered, asked: dict[str, Any], message: str
) -> None:
    answered("sagemaker", "DescribeEndpoint", lambda _: ENDPOINT)
    assert refused(payloads={"data_capture": asked}).startswith(message)


@pytest.mark.parametrize(
    "answer, message",
    [
        ({**ENDPOINT, "DataCaptureConfig": None}, "checkout captures no data"),
        (
            ClientError({"Error": {"Code": "AccessDeniedException"}}, "DescribeEndpoint"),
            "checkout may not be read: name its ARN in the stack's parameter",
        ),
        (
            ClientError(
                {"Error": {"Code": "ValidationException", "Message": "Could not find endpoint"}},
                "DescribeEndpoint",
            ),
            "there is no endpoint checkout",
        ),
    ],
)
def test_an_endpoint_without_captures_is_refused(
    answered: Answered, answer: Any, message: str
) -> None:
    if isinstance(answer, dict):
        answer = {key: value for key, value in answer.items() if value is not None}
    answered("sagemaker", "DescribeEndpoint", lambda _: answer)
    refusal = refused(payloads={"data_capture": {"endpoint": "checkout"}})
    assert refusal.startswith(f"payloads.data_capture.endpoint: {message}")
