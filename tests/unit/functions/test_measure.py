"""Measure reads a load test's files and metrics, and judges what it saw."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext

from measure.app import handler
from sizing.errors import LoadTestFailed, MetricsIncomplete
from sizing.load_test.measurement import MetricQuery
from sizing.load_test.observation import LoadTestRecord, Window
from sizing.load_test.plan import Purpose
from tests.unit.functions.made_up import a_plan, a_sizing
from tests.unit.functions.made_up_metrics import PERIOD, START, CloudWatch, a_step

Answered = Callable[..., list[dict[str, Any]]]
PREFIX = "sizings/0123456789ab/load-tests/ml-m5-12xlarge-8-verify-2/"
SECOND = Window(start=START + 90, end=START + 150)
NOW = START + 170


class LoadTest:
    """A load test that has run, and what CloudWatch knows of it."""

    def __init__(self, aws: Any, answered: Answered) -> None:
        self.aws = aws
        self.cloudwatch = CloudWatch()
        self.endpoint = {"EndpointStatus": "InService", "CurrentInstanceCount": 8}
        self.images: list[str] = []
        self.requests = answered("cloudwatch", "GetMetricData", self._metrics)
        answered("sagemaker", "DescribeEndpoint", self._endpoint)
        self.file: dict[str, Any] = {
            "load_test_id": "ml-m5-12xlarge-8-verify-2",
            "endpoint_name": "endpoint",
            "status": "COMPLETED",
            "error": None,
            "started_at": START - 40.5,
            "finished_at": SECOND.end + 0.5,
            "workers": 1,
            "worker_vcpus": 1.0,
            "saturation": {"tps": 199.8, "concurrency": 96, "stages": []},
            "steps": [
                a_step().model_dump(mode="json"),
                a_step(window=SECOND, offered_tps=120, achieved_tps=120).model_dump(mode="json"),
                {**a_step().model_dump(mode="json"), "window": None},
            ],
            "timeline": [],
        }

    def _endpoint(self, _: dict[str, Any]) -> dict[str, Any]:
        variant = {
            "VariantName": "AllTraffic",
            "CurrentInstanceCount": self.endpoint["CurrentInstanceCount"],
            "DeployedImages": [{"ResolvedImage": each} for each in self.images],
        }
        return {
            "EndpointStatus": self.endpoint["EndpointStatus"],
            "ProductionVariants": [variant],
        }

    def _metrics(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answers in two pages, as CloudWatch may, from what is asked."""
        window = Window(
            start=round(request["StartTime"].timestamp()), end=round(request["EndTime"].timestamp())
        )
        results = []
        for query in request["MetricDataQueries"]:
            stat = query["MetricStat"]
            key = MetricQuery(
                stat["Metric"]["Namespace"],
                stat["Metric"]["MetricName"],
                stat["Stat"],
                stat["Period"],
            )
            dimensions = {each["Name"]: each["Value"] for each in stat["Metric"]["Dimensions"]}
            assert dimensions == {"EndpointName": "endpoint", "VariantName": "AllTraffic"}
            points = sorted(self.cloudwatch.series(key, window).items())
            half = len(points) // 2
            chosen = points[half:] if "NextToken" in request else points[:half]
            results.append(
                {
                    "Id": query["Id"],
                    "Timestamps": [datetime.fromtimestamp(start, UTC) for start, _ in chosen],
                    "Values": [value for _, value in chosen],
                    "StatusCode": "Complete",
                }
            )
        more = {} if "NextToken" in request else {"NextToken": "more"}
        return {"MetricDataResults": results, **more}

    def measure(self, **changes: Any) -> LoadTestRecord:
        self.aws("s3").put_object(
            Bucket="results-bucket",
            Key=PREFIX + "load_test.json",
            Body=json.dumps(self.file).encode(),
        )
        plan = a_plan(instance_count=8, purpose=Purpose.VERIFY, burst=None, workers=1)
        event = {
            "sizing": a_sizing().model_dump(mode="json"),
            "plan": plan.model_dump(mode="json"),
            "load_test_id": "ml-m5-12xlarge-8-verify-2",
            "bucket": "results-bucket",
            "prefix": PREFIX,
            "endpoint_name": "endpoint",
            "started_at": START - 300,
            **changes,
        }
        answer = handler(event, LambdaContext())
        return LoadTestRecord.model_validate(json.loads(json.dumps(answer)))


@pytest.fixture
def load_test(aws: Any, answered: Answered, monkeypatch: pytest.MonkeyPatch) -> LoadTest:
    monkeypatch.setattr(time, "time", lambda: float(NOW))
    return LoadTest(aws, answered)


def test_a_load_test_becomes_a_record_with_verdicts(
    load_test: LoadTest, capsys: pytest.CaptureFixture[str]
) -> None:
    record = load_test.measure()
    assert (record.load_test_id, record.instance_count) == ("ml-m5-12xlarge-8-verify-2", 8)
    assert (record.purpose, record.error) == (Purpose.VERIFY, None)
    assert record.reason == "what one instance can do"
    assert record.saturation_tps == 199.8
    assert (record.started_at, record.finished_at) == (START - 300, NOW)
    assert record.files == f"s3://results-bucket/{PREFIX}"
    assert [each.offered_tps for each in record.observations] == [100, 120]
    assert [each.window for each in record.observations] == [a_step().window, SECOND]
    assert [each.utilization_percent for each in record.observations] == [62.5, 62.5]
    assert all(each.verdict is not None for each in record.observations)
    assert all(each.invalid is None for each in record.observations)
    out = capsys.readouterr().out
    assert '"MetricsDelay":[19.5]' in out
    assert '"InvalidObservations":[0.0]' in out


def test_each_window_is_asked_for_by_itself(load_test: LoadTest) -> None:
    load_test.measure()
    asked = [request for request in load_test.requests if "NextToken" not in request]
    assert [request["StartTime"].timestamp() for request in asked] == [START, START + 90]
    for request in asked:
        assert len(request["MetricDataQueries"]) <= 500
    periods = {
        query["MetricStat"]["Period"]
        for query in asked[1]["MetricDataQueries"]
        if query["MetricStat"]["Metric"]["Namespace"] == "/aws/sagemaker/Endpoints"
    }
    assert periods == {PERIOD}


@pytest.mark.parametrize("started_at", [START - 300, START - 300.0, "epoch as text"])
def test_the_start_may_be_epoch_seconds_or_a_date(load_test: LoadTest, started_at: Any) -> None:
    if started_at == "epoch as text":
        started_at = datetime.fromtimestamp(START - 300, UTC).isoformat()
    assert load_test.measure(started_at=started_at).started_at == START - 300


def test_incomplete_metrics_are_an_error_to_retry(load_test: LoadTest) -> None:
    load_test.cloudwatch = CloudWatch(without=("CPUUtilization",))
    with pytest.raises(MetricsIncomplete):
        load_test.measure()


def test_metrics_that_stay_incomplete_make_the_observations_invalid(
    load_test: LoadTest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load_test.cloudwatch = CloudWatch(instances=7)
    monkeypatch.setattr(time, "time", lambda: float(NOW + 600))
    record = load_test.measure()
    assert {each.verdict for each in record.observations} == {"INVALID"}
    assert '"InvalidObservations":[2.0]' in capsys.readouterr().out


def test_a_step_without_any_sample_is_left_out_and_others_stand(
    load_test: LoadTest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Instances that publish right at the edges of a short window may miss it."""
    in_the_second = dict.fromkeys(range(SECOND.start, SECOND.end + 20, PERIOD), 8.0)
    load_test.cloudwatch = CloudWatch(samples={START + 60: 8.0, **in_the_second})
    monkeypatch.setattr(time, "time", lambda: float(NOW + 60))
    assert [each.window for each in load_test.measure().observations] == [SECOND]
    assert "no sample in the window" in caplog.text


def test_windows_that_are_all_without_a_sample_are_no_load_test(
    load_test: LoadTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_test.cloudwatch = CloudWatch(samples={START + 60: 8.0, SECOND.end: 8.0})
    monkeypatch.setattr(time, "time", lambda: float(NOW + 600))
    with pytest.raises(MetricsIncomplete, match="no sample fell into the windows of 100 TPS, 120"):
        load_test.measure()


@pytest.mark.parametrize(
    "endpoint, reason",
    [
        (
            {"EndpointStatus": "InService", "CurrentInstanceCount": 7},
            "the instance count changed: 7 instances, 8 before",
        ),
        (
            {"EndpointStatus": "SystemUpdating", "CurrentInstanceCount": 8},
            "the endpoint became SystemUpdating",
        ),
    ],
)
def test_an_endpoint_that_changed_invalidates_all(
    load_test: LoadTest, endpoint: dict[str, Any], reason: str
) -> None:
    load_test.endpoint = endpoint
    assert [each.invalid for each in load_test.measure().observations] == [reason, reason]


def test_clocks_apart_invalidate_all(load_test: LoadTest) -> None:
    load_test.file["clock"] = {"offset_seconds": -0.3, "uncertainty_seconds": 0.4}
    assert [each.invalid for each in load_test.measure().observations] == [None, None]
    load_test.file["clock"] = {"offset_seconds": -30.3, "uncertainty_seconds": 0.4}
    reasons = [each.invalid for each in load_test.measure().observations]
    assert all("are apart: -30.3 s" in str(reason) for reason in reasons)


def test_a_failed_load_test_has_no_figures(load_test: LoadTest) -> None:
    load_test.file |= {
        "status": "FAILED",
        "error": {"name": "WorkerLost", "message": "worker 0 went silent"},
        "saturation": None,
        "steps": [],
    }
    with pytest.raises(LoadTestFailed, match=r"^WorkerLost: worker 0 went silent$"):
        load_test.measure()


def test_a_long_load_test_is_measured_by_minutes(load_test: LoadTest) -> None:
    sizing = a_sizing(measurement={"settle_seconds": 600})
    # The made-up metrics come every ten seconds: those on the minute are all that is read of them.
    load_test.cloudwatch = CloudWatch(samples={START: 8.0, START + 10: 5.0, SECOND.start: 8.0})
    record = load_test.measure(sizing=sizing.model_dump(mode="json"))
    asked = {
        query["MetricStat"]["Period"]
        for request in load_test.requests
        for query in request["MetricDataQueries"]
        if query["MetricStat"]["Metric"]["Namespace"] == "/aws/sagemaker/Endpoints"
    }
    assert asked == {60}
    assert [each.samples for each in record.observations] == [8, 8]


@pytest.mark.parametrize(
    "images, digest",
    [
        ([], None),
        (["1.dkr.ecr.us-east-1.amazonaws.com/model@sha256:5e"], "sha256:5e"),
        (["1.dkr.ecr.us-east-1.amazonaws.com/model:1"], None),
        (["one@sha256:5e", "two@sha256:6f"], None),  # of a pipeline, which is no single image
    ],
)
def test_the_image_is_the_one_that_was_deployed(
    load_test: LoadTest, images: list[str], digest: str | None
) -> None:
    load_test.images = images
    assert load_test.measure().image_digest == digest
