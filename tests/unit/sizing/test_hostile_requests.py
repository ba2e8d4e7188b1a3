"""Requests that mean harm are refused in one line, by the field, before anything is created."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import Any

import botocore.session
import pytest

from sizing.errors import InvalidRequest
from sizing.request.request import parse_request
from tests.unit.sizing.test_request import a_request

MEGABYTE = "x" * 1_000_000


def short(value: object) -> str:
    """A value as a part of a test's name: some are a megabyte, or 10,000 levels deep."""
    return ascii(value[:30])[1:-1] if isinstance(value, str) else type(value).__name__


each_of = partial(pytest.mark.parametrize, ids=short)
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/models/bert:1"
HUGGING_FACE = a_request()["model"]["hugging_face"]


def nested(levels: int = 10_000, *, objects: bool = False) -> Any:
    value: Any = "bottom"
    for _ in range(levels):
        value = {"a": value} if objects else [value]
    return value


def refused(**changes: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        parse_request(a_request(**changes))
    said = str(caught.value)
    assert said.isprintable()
    assert len(said) < 1000
    return caught.value


def hugging_face(**changes: Any) -> dict[str, Any]:
    return {"model": {"hugging_face": {**HUGGING_FACE, **changes}}}


def container(**changes: Any) -> dict[str, Any]:
    return {"model": {"container": {"image_uri": IMAGE, **changes}}}


# --- Names that lead elsewhere -----------------------------------------------------------------


@each_of(
    "changes, field",
    [
        *(
            (hugging_face(model_id=name), "model.hugging_face.model_id")
            for name in [
                *("..", "../../etc/passwd", "a/../b", "a/b/c", "/a", "a/", "a//b", "", "-a", "a."),
                *("a%2f..", "a b", "a\n", "a\x00", "dіstilbert", "ａ", "a--b", MEGABYTE),
            ]
        ),
        *(
            (hugging_face(transformers_version=version), "model.hugging_face.transformers_version")
            for version in ["4.17.0\n", "٤.١٧.٠", "4.17.0/../5", "4" * 50 + ".1"]
        ),
        *(
            ({"model": {kind: name}}, f"model.{kind}")
            for kind in ["model_name", "model_package_group"]
            for name in ["../x", "a/b", "a_b", "a\n", "-a", "a-", "", "é", "a" + "-" * 62 + "b"]
        ),
        *(
            ({"model": {"model_package_arn": arn}}, "model.model_package_arn")
            for arn in [
                "arn:aws:sagemaker:us-east-1:123456789012:model-package/../1",
                "arn:aws:sagemaker:us-east-1:123456789012:model-package/a/1\n",
                "arn:aws:sagemaker:us-east-1:١٢٣٤٥٦٧٨٩٠١٢:model-package/a/1",
                "arn:aws:sagemaker:us-east-1:123456789012:model-package/a/1/2",
                "arn:aws:sagemaker:us-east-1:123456789012:endpoint/a",
                "arn:aws:iam::123456789012:role/admin",
                "arn:aws:sagemaker:us-east-1:123456789012:model-package/" + MEGABYTE,
            ]
        ),
        *(
            ({"instance_types": [name]}, "instance_types.0")
            for name in ["ml.m5.large\n", "ml.m5.../x", "ml.м5.large", "ML.M5.LARGE", MEGABYTE]
        ),
    ],
)
def test_names_are_names(changes: dict[str, Any], field: str) -> None:
    assert refused(**changes).field == field


KEYS_THAT_LEAD_ELSEWHERE = [
    *("../x", "a/../x", "a/./x", "a//x", "/x", "%2e%2e/x", "a/%2E/x", "a/.%2e/x", "a/%2e%2e/x"),
    *("a b", "a\tb", "a\nb", "x\n", "x\x00", "x\x7f", "x\u200b", "x\u202e", "x\u2028", "\ud800"),
]


@each_of(
    "uri",
    [
        *(f"s3://bucket/{key}" for key in KEYS_THAT_LEAD_ELSEWHERE),
        *(
            "s3://bucket/",
            "s3://bucket/folder/",
            "s3://bucket",
            "s3:///x",
            "s3://../x",
            "s3://a..b/x",
        ),
        *("s3://Bucket/x", "s3://buсket/x", "s3://b/x", "s3://user@bucket/x", "s3://bucket:80/x"),
        *("http://bucket/x", "file:///etc/passwd", "S3://bucket/x", "s3://arn:aws:s3:::b/x", ""),
        f"s3://bucket/{MEGABYTE}",
    ],
)
def test_s3_uris_name_an_object(uri: str) -> None:
    assert refused(payloads={"s3_uri": uri}).field == "payloads.s3_uri"
    archive = uri + ".tar.gz"
    if not uri.endswith("/"):
        refusal = refused(**container(model_data_url=archive))
        assert refusal.field == "model.container.model_data_url"


def test_model_data_is_an_archive() -> None:
    assert "key.tar.gz" in refused(**container(model_data_url="s3://bucket/model.bin")).message
    parse_request(a_request(**container(model_data_url="s3://bucket/größe/modèle(1).tar.gz")))


@each_of(
    "uri",
    [
        "attacker.example.com/image:1",
        "123456789012.dkr.ecr.us-east-1.attacker.com/image:1",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com.attacker.com/image:1",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com@attacker.com/image:1",
        "x@123456789012.dkr.ecr.us-east-1.amazonaws.com/image:1",
        "https://123456789012.dkr.ecr.us-east-1.amazonaws.com/image:1",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/../image:1",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com//image:1",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/image:1\n",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/image:1 --privileged",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/image@sha256:abc",
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/",
        "١٢٣٤٥٦٧٨٩٠١٢.dkr.ecr.us-east-1.amazonaws.com/image:1",
        "docker.io/library/python:3",
        "localhost:5000/image",
        "169.254.169.254/latest",
        MEGABYTE,
    ],
)
def test_images_come_from_ecr(uri: str) -> None:
    refusal = refused(**container(image_uri=uri))
    assert refusal.field == "model.container.image_uri"


@each_of(
    "uri",
    [
        IMAGE,
        "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com/a__b/c-d.e:v1.0_x",
        "123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/image",
        f"123456789012.dkr.ecr.eu-west-1.amazonaws.com/image@sha256:{'0f' * 32}",
    ],
)
def test_images_of_ecr_are_taken(uri: str) -> None:
    parse_request(a_request(**container(image_uri=uri)))


def test_every_partition_s_ecr_is_known() -> None:
    for partition in botocore.session.get_session().get_data("partitions")["partitions"]:
        domain = partition["outputs"]["dnsSuffix"]
        parse_request(
            a_request(**container(image_uri=f"123456789012.dkr.ecr.xx-yyy-1.{domain}/image"))
        )


# --- Headers, tags, environment ----------------------------------------------------------------


@each_of(
    "value",
    [
        *("text/csv\r\nX-Evil: 1", "text/csv\n", "\ntext/csv", "text/csv\x00", "text/csv\r"),
        *("é", "text/csv ", " text/csv", "", "text\u2028csv", "x" * 1025, MEGABYTE),
    ],
)
@each_of("header", ["content_type", "accept"])
def test_no_header_brings_another(header: str, value: str) -> None:
    assert refused(**{header: value}).field == f"payloads.{header}"


@each_of(
    "tags, field",
    [
        *(
            ({key: "x"}, "tags")
            for key in ["aws:x", "AWS:x", "Aws:createdBy", "endpoint-sizer:sizing"]
        ),
        *(
            ({key: "x"}, "tags.")
            for key in ["", "a\n", "a;b", "<script>", "a\x00", "🙂", "\ud800", "k" * 129, MEGABYTE]
        ),
        *(
            ({"a": value}, "tags.a")
            for value in ["x\n", "x;", "<b>", "\ud800", "v" * 257, MEGABYTE, 5, None, nested()]
        ),
        ({f"k{n}": "" for n in range(41)}, "tags"),
        ({f"k{n}": "" for n in range(100_000)}, "tags"),
    ],
)
def test_tags_that_aws_would_refuse(tags: dict[str, Any], field: str) -> None:
    assert refused(tags=tags).field.startswith(field)


def test_tags_of_any_script_are_taken() -> None:
    tags = {"naïve clé 1": "é_.:/=+-@ 9", "チーム": "検索", "empty": ""}
    assert parse_request(a_request(tags=tags)).tags == tags


@each_of(
    "environment",
    [
        *(
            {name: "x"}
            for name in ["", "1A", "A-B", "A B", "A=B", "A\n", "Ä", "\ud800", "A" * 1025]
        ),
        *({"A": value} for value in ["x" * 1025, "é" * 513, "\ud800", MEGABYTE, 5, True, None]),
        {"A": {"B": "C"}},
        {f"A{n}": "" for n in range(101)},
        {f"A{n}": "x" * 1000 for n in range(40)},
    ],
)
def test_an_environment_that_create_model_would_refuse(environment: dict[str, Any]) -> None:
    refusal = refused(**container(environment=environment))
    assert refusal.field.startswith("model.container.environment")


def test_the_largest_environment_that_create_model_takes() -> None:
    environment = {f"A{n:02}": "x\r\n\x00é"[:4] + "x" * 1017 for n in range(32)}
    parse_request(a_request(**container(environment=environment)))


# --- Values of every wrong kind ----------------------------------------------------------------


@each_of(
    "number", [True, False, "1", None, [], {}, math.nan, math.inf, -math.inf, 10**400, -1, nested()]
)
@each_of(
    "field",
    [
        *("target.tps", "target.error_percent", "target.model_latency_p99_ms"),
        *("target.utilization_percent.max", "limits.max_instances", "limits.max_load_tests"),
        *("limits.max_cost_usd", "limits.max_minutes", "measurement.metric_period_seconds"),
        *("measurement.steady_seconds", "measurement.settle_seconds", "load.workers"),
    ],
)
def test_numbers_are_numbers(field: str, number: Any) -> None:
    optional = {"model_latency_p99_ms", "max_cost_usd", "max_minutes", "workers"}
    value: Any = number
    for part in reversed(field.split(".")[1:]):
        value = {part: value}
    top = field.split(".")[0]
    request = {top: {"tps": 1, **value} if top == "target" else value}
    if number is None and field.rpartition(".")[2] in optional:
        parse_request(a_request(**request))
        return
    assert refused(**request).field == field


@each_of("deep", [nested(), nested(objects=True)])
@each_of(
    "field", ["model", "instance_types", "payloads", "target", "tags", "dry_run", "unheard_of"]
)
def test_deep_nesting_is_refused_where_it_begins(field: str, deep: Any) -> None:
    assert refused(**{field: deep}).field.split(".")[0] == field


@each_of(
    "name",
    [MEGABYTE, "a\nb", "\x00", "\u202egnp", "\ud800", "tаrget", "", "a.b"],
)
def test_an_unknown_field_is_named_in_a_short_line_of_ascii(name: str) -> None:
    refusal = refused(**{name: 1})
    assert "unknown field" in refusal.message or "surrogate" in refusal.message
    assert refusal.field.isascii()
    nested_field = refused(target={"tps": 1, name: 1}).field
    assert nested_field.startswith("target")


def test_a_letter_that_only_looks_like_the_right_one_shows() -> None:
    assert refused(tаrget={"tps": 1}).field == r"t\u0430rget"


def test_half_a_surrogate_pair_is_no_text() -> None:
    refusal = refused(payloads={"inline": [{"body": json.loads(r'"\ud83d"')}]})
    assert refusal.field == "payloads.inline.0.body"


@each_of("weight", [0, -1, True, math.inf, math.nan, 1e300, 10**400])
def test_weights_can_be_added_up(weight: Any) -> None:
    refusal = refused(payloads={"inline": [{"body": "", "weight": weight}]})
    assert refusal.field == "payloads.inline.0.weight"


@each_of("tps", [5e-324, 1e-9, 0.016])
def test_a_rate_at_which_nothing_is_sent(tps: float) -> None:
    refusal = refused(target={"tps": tps})
    assert refusal.field == "target.tps"
    assert refusal.message.startswith("must be 0.0167 or more")
    parse_request(a_request(target={"tps": 0.017}))


# --- What a refusal tells ----------------------------------------------------------------------

SECRET = "hunter2"


@each_of(
    "changes",
    [
        {"payloads": SECRET},
        {"payloads": [SECRET]},
        {"payloads": {"inline": SECRET}},
        {"payloads": {"inline": [SECRET]}},
        {"payloads": {"inline": {"body": SECRET}}},
        {"payloads": {"inline": [{"body": {"inputs": SECRET}}]}},
        {"payloads": {"inline": [{"body": [SECRET]}]}},
        {"payloads": {"inline": [{"body": "", "weight": SECRET}]}},
        {"payloads": {"inline": [{"body": "", "base64": SECRET}]}},
        {"payloads": {"inline": [{"body": SECRET, "weight": 0}]}},
        {"payloads": {"inline": [{"body": SECRET, "kind": SECRET}]}},
        {"payloads": {"inline": [{"body": SECRET + "\ud800"}]}},
        {"payloads": {"s3_uri": SECRET}},
        {"payloads": {"inline": [{"body": SECRET}], "s3_uri": "s3://bucket/x"}},
        {"payloads": {"inline": [{"body": SECRET}], "content_type": f"{SECRET}\n"}},
        {"accept": f"{SECRET}\n"},
        container(environment=SECRET),
        container(environment=[SECRET]),
        container(environment={"TOKEN": [SECRET]}),
        container(environment={"TOKEN": SECRET * 1000}),
        container(environment={"TOKEN": SECRET + "\ud800"}),
        container(environment={f"TOKEN{n}": SECRET * 100 for n in range(100)}),
        container(environment={"TOKEN": SECRET}, image=IMAGE),
        {"body": SECRET},
    ],
)
def test_no_payload_and_no_variable_is_shown(changes: dict[str, Any]) -> None:
    assert SECRET not in str(refused(**changes))


@each_of(
    "value, shown",
    [
        (None, "got null"),
        (True, "got true"),
        ("ten", 'got "ten"'),
        ([1], "got a list"),
        ({"a": 1}, "got an object"),
        (10**5000, "got a whole number of more than 18 digits"),
        (-5, "got -5"),
    ],
)
def test_what_tells_no_secret_is_shown(value: Any, shown: str) -> None:
    assert refused(target={"tps": value}).message.endswith(shown)


# --- AWS's own bounds --------------------------------------------------------------------------


def test_lengths_are_those_of_the_apis() -> None:
    """Where a bound of the service model changes, the request's has to follow."""
    session = botocore.session.get_session()
    sagemaker = session.get_service_model("sagemaker")
    runtime = session.get_service_model("sagemaker-runtime")

    def longest(model: Any, shape: str) -> int:
        return int(model.shape_for(shape).metadata["max"])

    def takes(changes: dict[str, Any]) -> bool:
        try:
            parse_request(a_request(**changes))
        except InvalidRequest:
            return False
        return True

    def bounded(length: int, request: Any) -> None:
        assert takes(request("a" * length))
        assert not takes(request("a" * (length + 1)))

    bounded(longest(sagemaker, "ModelName"), lambda text: {"model": {"model_name": text}})
    bounded(longest(sagemaker, "EntityName"), lambda text: {"model": {"model_package_group": text}})
    bounded(longest(sagemaker, "TagKey"), lambda text: {"tags": {text: ""}})
    bounded(longest(sagemaker, "TagValue"), lambda text: {"tags": {"k": text}})
    bounded(longest(runtime, "Header"), lambda text: {"content_type": text})
    bounded(longest(runtime, "Header"), lambda text: {"accept": text})
    bounded(
        longest(sagemaker, "ContainerImage"),
        lambda text: container(image_uri=IMAGE.removesuffix("bert:1") + text[: len(text) - 52]),
    )
    bounded(
        longest(sagemaker, "EnvironmentKey"),
        lambda text: container(environment={text: ""}),
    )
    bounded(
        longest(sagemaker, "EnvironmentValue"),
        lambda text: container(environment={"A": text}),
    )
    bounded(
        longest(sagemaker, "Url") - len("s3://bucket/.tar.gz"),
        lambda text: container(model_data_url=f"s3://bucket/{text}.tar.gz"),
    )
    for count, taken in (
        (sagemaker.shape_for("EnvironmentMap").metadata["max"], True),
        (sagemaker.shape_for("EnvironmentMap").metadata["max"] + 1, False),
    ):
        environment = {f"A{n}": "" for n in range(count)}
        assert takes(container(environment=environment)) is taken
    arn = "arn:aws:sagemaker:us-east-1:123456789012:model-package/"
    assert len(f"{arn}{'a' * 63}/{'9' * 9}") <= longest(sagemaker, "VersionedArnOrName")
    assert takes({"model": {"model_package_arn": f"{arn}{'a' * 63}/{'9' * 9}"}})
    assert not takes({"model": {"model_package_arn": f"{arn}{'a' * 64}/1"}})
    # And the two tags that every sizing adds to those of the request.
    assert sagemaker.shape_for("TagList").metadata["max"] >= 40 + 2
