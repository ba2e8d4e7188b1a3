"""RecordResult writes both files for every way a sizing can end, and odd input does not stop it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aws import s3_documents, sizing_table
from record_result.app import handler
from sizing.clean_up import names
from sizing.result.events import Answer as Said
from sizing.result.result import Result
from tests.unit.functions.conftest import ACCOUNT, BUCKET, EXECUTION, TABLE
from tests.unit.result import sample_sizings
from tests.unit.result.sample_sizings import SIZING_ID, Made

STATUSES = {"SIZED", "TARGET_NOT_MET", "FAILED", "DRY_RUN"}


MODEL_KEY = "hugging_face/distilbert-base-uncased-finetuned-sst-2-english"
LATEST = f"latest/{MODEL_KEY}/"


def event_of(made: Made) -> dict[str, Any]:
    """What the state machine gives RecordResult."""
    event = {
        "execution": {"arn": EXECUTION, "name": "run-1", "started_at": "2026-09-21T14:13:20.123Z"},
        "request": made.request or sample_sizings.request(),
        "sizing": made.sizing.model_dump(mode="json") if made.sizing else None,
        "estimate": made.estimate,
        "history": [
            record.model_copy(
                update={"files": f"s3://{BUCKET}/{folder_of(record.load_test_id)}"}
            ).model_dump(mode="json")
            for record in made.history
        ],
        "answer": made.answer.model_dump(mode="json") if made.answer else None,
        "failure": (
            {"error": made.failure.name, "cause": made.failure.cause} if made.failure else None
        ),
        "dry_run": made.dry_run,
    }
    through_json: dict[str, Any] = json.loads(json.dumps(event))
    return through_json


def folder_of(load_test_id: str) -> str:
    return names.load_test_folder(SIZING_ID, load_test_id)


Record = Callable[..., tuple[dict[str, Any], dict[str, bytes]]]


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, str], dict[str, Any]]:
    """Items of the history, by their keys."""
    items: dict[tuple[str, str], dict[str, Any]] = {}

    def put(table: str, item: dict[str, Any]) -> None:
        assert table == TABLE
        items[item["pk"], item["sk"]] = json.loads(json.dumps(item, allow_nan=False))

    def newest(table: str, partition: str, *, newest_first: bool) -> list[dict[str, Any]]:
        assert (table, newest_first) == (TABLE, True)
        return [items[key] for key in sorted(items, reverse=True) if key[0] == partition]

    monkeypatch.setattr(sizing_table, "put", put)
    monkeypatch.setattr(sizing_table, "items", newest)
    return items


@pytest.fixture
def record(
    monkeypatch: pytest.MonkeyPatch, remembered: dict[tuple[str, str], dict[str, Any]]
) -> Record:
    """Runs the function against a bucket in memory; gives its answer and what it wrote."""
    bucket: dict[str, bytes] = {}
    for make in sample_sizings.ALL.values():
        for load_test_id, file in make().load_tests.items():
            key = folder_of(load_test_id) + names.LOAD_TEST_FILE
            bucket[f"{BUCKET}/{key}"] = json.dumps(file).encode()

    of_sizing: dict[str, Any] = {}

    def read_json(bucket_name: str, key: str) -> Any:
        if f"{bucket_name}/{key}" in of_sizing:
            if isinstance(kept := of_sizing[f"{bucket_name}/{key}"], Exception):
                raise kept
            return kept
        if f"{bucket_name}/{key}" not in bucket:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        return json.loads(bucket[f"{bucket_name}/{key}"])

    monkeypatch.setattr(s3_documents, "read_json", read_json)

    def run(event: Any, kept: Any = None) -> tuple[dict[str, Any], dict[str, bytes]]:
        of_sizing.clear()
        of_sizing.update(kept or {})
        written: dict[str, bytes] = {}

        def write(bucket_name: str, key: str, content: bytes, content_type: str) -> str:
            assert bucket_name == BUCKET
            assert content_type.split(";")[0] in ("application/json", "text/html")
            written[key] = content
            return f"s3://{bucket_name}/{key}"

        monkeypatch.setattr(s3_documents, "write", write)
        answer = handler(event, LambdaContext())
        return json.loads(json.dumps(answer, allow_nan=False)), written

    return run


def test_load_tests_that_are_recorded_already_count(record: Record) -> None:
    event = event_of(sample_sizings.ALL["sized"]())
    whole = result_in(record(event)[1])
    kept = {f"{BUCKET}/{names.sizing_folder(SIZING_ID)}{names.RECORDS_FILE}": event["history"][:-1]}
    in_parts = {**event, "history": event["history"][-1:]}
    assert result_in(record(in_parts, kept)[1]).candidates == whole.candidates


def test_records_that_can_not_be_read_are_said_to_be_missing(record: Record) -> None:
    event = event_of(sample_sizings.ALL["sized"]())
    kept = {f"{BUCKET}/{names.sizing_folder(SIZING_ID)}{names.RECORDS_FILE}": ValueError()}
    _, written = record({**event, "history": event["history"][-1:]}, kept)
    assert any(note.startswith("load_tests.json could not be") for note in result_in(written).notes)


def result_in(written: dict[str, bytes]) -> Result:
    [content] = [
        each for key, each in written.items() if key.startswith("sizings/") and "result.json" in key
    ]
    return Result.model_validate(json.loads(content))


@pytest.mark.parametrize(
    "name,status",
    [
        ("sized", "SIZED"),
        ("several_candidates", "SIZED"),
        ("target_not_met", "TARGET_NOT_MET"),
        ("failed", "FAILED"),
        ("failed_early", "FAILED"),
        ("dry_run", "DRY_RUN"),
    ],
)
def test_every_end_is_recorded(record: Record, name: str, status: str) -> None:
    made = sample_sizings.ALL[name]()
    answer, written = record(event_of(made))
    folder = names.sizing_folder(SIZING_ID if made.sizing else names.sizing_id(EXECUTION))
    files = {folder + "result.json", folder + "report.html"}
    if status in ("SIZED", "TARGET_NOT_MET"):
        files |= {LATEST + "result.json", LATEST + "report.html"}
        assert written[LATEST + "result.json"] == written[folder + "result.json"]
    assert set(written) == files
    told = {"status", "result_uri", "report_uri", "subject", "message", "detail", "failure"}
    told |= {"notify", "applies"}
    assert set(answer) == told
    assert answer["applies"] is False
    detail = answer["detail"]
    failure = {"error": detail["error"], "cause": detail["cause"]}
    assert answer["failure"] == (failure if status == "FAILED" else None)
    assert answer["status"] == status == result_in(written).status == answer["detail"]["status"]
    assert answer["result_uri"] == f"s3://{BUCKET}/{folder}result.json"
    assert answer["report_uri"] == f"s3://{BUCKET}/{folder}report.html"
    assert result_in(written).notes == ()
    assert written[folder + "report.html"].startswith(b"<!doctype html>")


def test_the_files_go_to_the_bucket_with_their_types(aws: Callable[[str], Any]) -> None:
    answer = handler(event_of(sample_sizings.sized()), LambdaContext())
    for uri, content_type in (
        (answer["result_uri"], "application/json"),
        (answer["report_uri"], "text/html; charset=utf-8"),
    ):
        bucket, key = s3_documents.split_uri(uri)
        assert aws("s3").head_object(Bucket=bucket, Key=key)["ContentType"] == content_type
    notes = s3_documents.read_json(BUCKET, f"sizings/{SIZING_ID}/result.json")["notes"]
    assert len(notes) == 2
    assert all("could not be read (NoSuchKey)" in note for note in notes)


def test_recording_twice_changes_nothing_but_the_time(record: Record) -> None:
    event = event_of(sample_sizings.sized())
    _, first = record(event)
    _, second = record(event)
    one, two = (json.loads(each[f"sizings/{SIZING_ID}/result.json"]) for each in (first, second))
    for document in (one, two):
        document["sizing"]["finished_at"] = document["sizing"]["cost_usd"] = None
    assert (set(first), one) == (set(second), two)


def test_the_sizings_cost_is_in_the_result(record: Record) -> None:
    _, written = record(event_of(sample_sizings.sized()))
    cost = result_in(written).sizing.cost_usd
    assert cost is not None
    assert cost > 0


def test_an_unknown_price_leaves_the_cost_open(record: Record) -> None:
    event = event_of(sample_sizings.sized())
    event["sizing"]["candidates"][0]["hourly_price_usd"] = None
    _, written = record(event)
    assert result_in(written).sizing.cost_usd is None


def test_a_result_stands_without_its_report(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> str:
        raise RuntimeError("no paper")

    monkeypatch.setattr("report.page.render", broken)
    answer, written = record(event_of(sample_sizings.sized()))
    assert answer["status"] == "SIZED"
    assert answer["report_uri"] is None
    assert answer["detail"]["report_uri"] is None
    assert "could not be written" in answer["message"]
    [note] = result_in(written).notes
    assert note.startswith("The report could not be made")
    assert set(written) == {f"sizings/{SIZING_ID}/result.json", LATEST + "result.json"}


def test_a_lost_load_test_file_is_noted(record: Record) -> None:
    event = event_of(sample_sizings.sized())
    event["history"][0]["files"] = f"s3://{BUCKET}/elsewhere/"
    answer, written = record(event)
    [note] = result_in(written).notes
    assert "load_test.json of ml-m5-12xlarge-1-baseline-1 could not be read (NoSuchKey)" in note
    assert note in answer["message"]


def test_a_failed_load_test_need_not_have_left_a_file(record: Record) -> None:
    _, written = record(event_of(sample_sizings.failed()))
    assert result_in(written).notes == ()


def test_a_load_test_alone_in_its_history_counts(record: Record) -> None:
    event = event_of(sample_sizings.target_not_met())
    [event["history"]] = event["history"]
    _, written = record(event)
    assert result_in(written).sizing.load_tests == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"answer": {"status": "SIZED"}},
        {"answer": "SIZED"},
        {"answer": None},
        {"sizing": {"sizing_id": 7}},
        {"history": [None, 3, {"load_test_id": "x"}, float("nan")]},
        {"failure": "it broke"},
        {"failure": {"error": {"a": 1}, "cause": ["b"]}},
        {"failure": {"error": None, "cause": None}},
        {"execution": None},
        {"execution": {"arn": 3, "started_at": "yesterday"}},
        {"request": float("inf"), "sizing": None},
    ],
    ids=str,
)
def test_odd_parts_make_a_failed_sizing_never_an_error(
    record: Record, changes: dict[str, Any]
) -> None:
    event = {**event_of(sample_sizings.sized()), **changes}
    answer, written = record(event)
    assert answer["status"] == result_in(written).status
    if changes.keys() & {"answer", "failure"}:
        assert answer["status"] == "FAILED"
        assert result_in(written).recommendation is None


def test_an_observation_that_is_no_number_is_left_out_and_said(record: Record) -> None:
    event = event_of(sample_sizings.sized())
    event["history"][0]["observations"][0]["utilization_percent"] = float("nan")
    _, written = record(event)
    result = result_in(written)
    assert len(result.candidates[0].load_tests) == 1
    assert result.notes[0].startswith("The load test number 1 could not be read")


@pytest.mark.parametrize("event", [{}, None, [], "text", {"dry_run": 1}, {"history": {}}], ids=str)
def test_an_event_of_any_shape_is_a_failed_sizing(record: Record, event: Any) -> None:
    answer, written = record(event)
    assert answer["status"] == "FAILED"
    assert len(written) == 2


def test_bodies_are_not_logged(record: Record, capsys: pytest.CaptureFixture[str]) -> None:
    made = dataclasses.replace(
        sample_sizings.failed_early(),
        request=sample_sizings.request(payloads={"inline": [{"body": "a secret body"}]}),
    )
    record({**event_of(made), "sizing": {"request": made.request}, "answer": made.request})
    assert "a secret body" not in capsys.readouterr().out


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
SEEN: dict[str, Any] = event_of(sample_sizings.target_not_met())


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(changes=st.dictionaries(st.sampled_from(sorted(SEEN)), anything, max_size=4))
def test_whatever_the_event_holds_a_result_is_written(
    record: Record, changes: dict[str, Any]
) -> None:
    # Nothing that was measured: plots take their time, and have their own tests.
    answer, written = record({**SEEN, "history": [], **changes})
    assert answer["status"] in STATUSES
    result = result_in(written)
    assert result.status == answer["status"]
    assert (result.status == "SIZED") == (result.recommendation is not None)
    assert len(answer["subject"]) < 100


# --- History ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sized", "target_not_met", "failed"])
def test_a_sizing_is_one_item_however_often_it_is_recorded(
    record: Record, remembered: dict[tuple[str, str], dict[str, Any]], name: str
) -> None:
    made = sample_sizings.ALL[name]()
    answer, written = record(event_of(made))
    record(event_of(made))
    [item] = remembered.values()
    result = result_in(written)
    assert item["result_uri"] == answer["result_uri"]
    assert item["status"] == result.status
    assert item.get("error") == (result.error.name if result.error else None)
    assert item["target_tps"] == result.sizing.request["target"]["tps"]
    days = (item["expires_at"] - sample_sizings.STARTED) / 86_400
    assert days > 400
    found = result.recommendation
    assert item.get("instance_count") == (found.instance_count if found else None)


@pytest.mark.parametrize("name", ["failed_early", "dry_run"])
def test_what_was_no_sizing_is_not_remembered(
    record: Record, remembered: dict[tuple[str, str], dict[str, Any]], name: str
) -> None:
    _, written = record(event_of(sample_sizings.ALL[name]()))
    assert remembered == {}
    assert not any("history" in note for note in result_in(written).notes)


def test_a_result_stands_without_the_history(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "PutItem")

    monkeypatch.setattr(sizing_table, "put", refuse)
    answer, written = record(event_of(sample_sizings.ALL["sized"]()))
    assert answer["status"] == "SIZED"
    assert any("history" in note for note in result_in(written).notes)


# --- Change -------------------------------------------------------------------------------------


def on_another_day(**changes: Any) -> dict[str, Any]:
    """The sized sample, sized anew."""
    event = event_of(sample_sizings.sized())
    event["sizing"] |= {
        "sizing_id": "0123456789ab",
        "started_at": event["sizing"]["started_at"] + 86_400,
        **changes,
    }
    return event


def test_a_result_is_put_beside_the_last_answer_to_the_same_question(record: Record) -> None:
    _, written = record(event_of(sample_sizings.sized()))
    first = result_in(written)
    assert first.change is not None
    assert first.change.kind == "first"
    broken = event_of(sample_sizings.failed())  # which measured nothing to compare with
    broken["sizing"] |= {"sizing_id": "broken", "started_at": sample_sizings.STARTED + 3_600}
    _, written = record(broken)
    assert result_in(written).change is None
    for _ in range(2):  # the second time it meets itself in the history
        _, written = record(on_another_day())
        found = result_in(written).change
        assert found is not None
        assert found.kind == "unchanged"
        assert found.previous is not None
        assert found.previous.sizing_id == SIZING_ID
        assert found.previous.instance_count == 8
        assert found.previous.result_uri == f"s3://{BUCKET}/sizings/{SIZING_ID}/result.json"


def test_another_question_is_not_compared(record: Record) -> None:
    record(event_of(sample_sizings.sized()))
    _, written = record(on_another_day(payload_fingerprint="of other payloads"))
    found = result_in(written).change
    assert found is not None
    assert found.kind == "first"


def test_a_result_stands_without_a_comparison(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "Query")

    monkeypatch.setattr(sizing_table, "items", refuse)
    _, written = record(event_of(sample_sizings.sized()))
    result = result_in(written)
    assert result.change is None
    assert [note for note in result.notes if "compared with no earlier one" in note]


# --- Where the answer goes ----------------------------------------------------------------------

ARN = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:model-package/sentiment/7"


def of_a_package(made: Made) -> dict[str, Any]:
    """The same, of version 7 of the group ``sentiment``."""
    event = event_of(made)
    event["sizing"] |= {
        "model_key": "model_package_group/sentiment",
        "model": {"package_arn": ARN, "images": {"ml.m5.12xlarge": "repository:tag"}},
    }
    return event


def test_a_groups_answer_is_a_parameter(aws: Callable[[str], Any]) -> None:
    answer = handler(of_a_package(sample_sizings.sized()), LambdaContext())
    parameter = aws("ssm").get_parameter(Name="/endpoint-sizer/answers/sentiment")["Parameter"]
    said = Said.model_validate_json(parameter["Value"])
    assert (said.instance_type, said.instance_count) == ("ml.m5.12xlarge", 8)
    assert (said.package_arn, said.package_version) == (ARN, 7)
    assert said.result_uri == answer["result_uri"]
    assert said.autoscaling is not None
    assert said.autoscaling["target_value"] == 7782.0
    assert len(parameter["Value"]) < 1_000  # bytes; 4 KB are allowed


def test_a_target_that_is_not_met_leaves_the_groups_answer_alone(
    aws: Callable[[str], Any],
) -> None:
    handler(of_a_package(sample_sizings.sized()), LambdaContext())
    name = "/endpoint-sizer/answers/sentiment"
    before = aws("ssm").get_parameter(Name=name)["Parameter"]
    unmet = of_a_package(sample_sizings.target_not_met())
    unmet["sizing"]["sizing_id"] = "0123456789ab"
    handler(unmet, LambdaContext())
    assert aws("ssm").get_parameter(Name=name)["Parameter"] == before
    latest = "latest/model_package_group/sentiment/result.json"
    assert s3_documents.read_json(BUCKET, latest)["status"] == "TARGET_NOT_MET"


def test_the_registry_is_told_if_the_stack_says_so(
    answered: Any, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aws.parameters.write", lambda *_: None)
    told = answered("sagemaker", "UpdateModelPackage", lambda _: {"ModelPackageArn": ARN})
    record(of_a_package(sample_sizings.sized()))
    assert told == []
    monkeypatch.setenv("WRITE_PACKAGE_METADATA", "true")
    answer, _ = record(of_a_package(sample_sizings.sized()))
    [request] = told
    assert request["ModelPackageArn"] == ARN
    said = request["CustomerMetadataProperties"]
    assert said["endpoint-sizer:instance-count"] == "8"
    assert said["endpoint-sizer:result-uri"] == answer["result_uri"]
    assert max(map(len, said.values())) <= 256
    record(of_a_package(sample_sizings.failed()))
    assert len(told) == 1


@pytest.mark.parametrize(
    "place, note",
    [
        ("aws.parameters.write", "The parameter with the group's answer"),
        ("aws.model_packages.describe_in_registry", "The model package's metadata"),
    ],
)
def test_a_result_stands_without_being_told_everywhere(
    record: Record, monkeypatch: pytest.MonkeyPatch, place: str, note: str
) -> None:
    def refuse(*_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "Write")

    monkeypatch.setenv("WRITE_PACKAGE_METADATA", "true")
    monkeypatch.setattr("aws.parameters.write", lambda *_: None)
    monkeypatch.setattr("aws.model_packages.describe_in_registry", lambda *_: None)
    monkeypatch.setattr(place, refuse)
    answer, written = record(of_a_package(sample_sizings.sized()))
    assert answer["status"] == "SIZED"
    [said] = result_in(written).notes
    assert said.startswith(note)
    assert said in answer["message"]


# --- Metrics ------------------------------------------------------------------------------------


def metrics_in(out: str) -> dict[str, tuple[float, str | None]]:
    """Values and models of the metrics that were published, by name."""
    found = {}
    for line in out.splitlines():
        if '"_aws"' in line:
            document = json.loads(line)
            [directive] = document["_aws"]["CloudWatchMetrics"]
            [metric] = directive["Metrics"]
            [dimensions] = directive["Dimensions"]
            assert "service" in dimensions
            assert ("ModelKey" in dimensions) is ("ModelKey" in document)
            [value] = document[metric["Name"]]
            found[metric["Name"]] = (value, document.get("ModelKey"))
    return found


def test_what_a_model_needs_is_a_metric_of_its_own(
    record: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    record(event_of(sample_sizings.sized()))
    metrics = metrics_in(capsys.readouterr().out)
    assert metrics["InstanceCount"] == (8, MODEL_KEY)
    assert metrics["HourlyCost"] == (22.12, MODEL_KEY)
    assert metrics["TpsPerInstance"] == (129.7, MODEL_KEY)
    assert metrics["LoadTests"] == (2, MODEL_KEY)
    assert metrics["SizingsFailed"] == metrics["Regressions"] == (0, None)
    record(event_of(sample_sizings.failed()))
    metrics = metrics_in(capsys.readouterr().out)
    assert metrics["SizingsFailed"] == (1, None)
    assert "InstanceCount" not in metrics
    assert metrics["LoadTests"][1] == MODEL_KEY


@pytest.mark.parametrize(
    "name, applies", [("sized", True), ("target_not_met", True), ("failed", False)]
)
def test_an_answer_is_to_be_applied_where_the_request_says_so(
    record: Record, name: str, applies: bool
) -> None:
    event = event_of(sample_sizings.ALL[name]())
    event["sizing"]["request"]["apply"] = {"endpoint": "checkout", "min": 1, "max": 20}
    assert record(event)[0]["applies"] is applies
