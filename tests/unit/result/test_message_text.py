"""Notifications fit what SNS and EventBridge take, and say the answer first."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from sizing.request.sizing import SizedModel
from sizing.result.change import compare
from sizing.result.failure import failure
from sizing.result.history import outcome
from sizing.result.message import (
    is_wanted,
    message,
    milliseconds,
    model_label,
    rate,
    sentence,
    subject,
    usd,
)
from sizing.result.result import Result
from tests.unit.result import sample_sizings
from tests.unit.result.sample_sizings import Made

RESULT, REPORT = "s3://results/sizings/1/result.json", "s3://results/sizings/1/report.html"


def result_of(made: Made) -> Result:
    return Result.model_validate(made.document())


def text_of(made: Made, report_uri: str | None = REPORT) -> str:
    return message(result_of(made), result_uri=RESULT, report_uri=report_uri)


@pytest.mark.parametrize("make", sample_sizings.ALL.values(), ids=sample_sizings.ALL)
def test_subjects_are_what_sns_takes(make: Any) -> None:
    text = subject(result_of(make()))
    assert 0 < len(text) < 100
    assert text.isascii()
    assert text.isprintable()


@pytest.mark.parametrize("name", ["x" * 3000, "\u00fc\u00f1\u00ee" * 50, "a\nb\tc\x00d", "\ud800"])
def test_no_model_name_breaks_a_subject(name: str) -> None:
    made = dataclasses.replace(
        sample_sizings.failed_early(), request={"model": {"model_name": name}}
    )
    text = subject(result_of(made))
    assert 0 < len(text) < 100
    assert text.isascii()
    assert text.isprintable()


def test_the_subject_says_the_answer() -> None:
    assert subject(result_of(sample_sizings.sized())).startswith("SIZED: 8 x ml.m5.12xlarge for ")
    assert subject(result_of(sample_sizings.failed())).startswith("FAILED: LoadTestFailed for ")


def test_the_message_begins_with_the_answer_and_its_cost() -> None:
    lines = text_of(sample_sizings.sized()).splitlines()
    assert lines[0] == (
        "8 ml.m5.12xlarge instances serve 1,000 requests per second at 62.4 % utilization, "
        "for $22.12 per hour."
    )
    facts = dict(line.split(":", 1) for line in lines[2:])
    assert facts["Cost"].strip() == "$22.12 per hour, $6.14 per million requests"
    assert facts["Sizing"].strip() == (
        "3f2a9c1b7d4e, 2 load tests in 12.2 min, which cost about $1.23"
    )
    assert facts["Report"].strip() == REPORT
    assert facts["Result"].strip() == RESULT


ARN = "arn:aws:sagemaker:us-east-1:123456789012:model-package/sentiment/7"


def regressed() -> Result:
    """The sized sample of a package's version 7, beside a better one."""
    model = SizedModel(package_arn=ARN, images={"ml.m5.12xlarge": "repository:tag"})
    made = sample_sizings.sized()
    assert made.sizing is not None
    made = dataclasses.replace(made, sizing=made.sizing.model_copy(update={"model": model}))
    result = result_of(made)
    before = outcome(result).model_copy(
        update={"sizing_id": "other", "instance_count": 7, "least_count": 7, "most_count": 7}
    )
    before = before.model_copy(update={"hourly_cost_usd": 19.36})
    return result.model_copy(update={"change": compare(before, outcome(result), 5.0)})


def test_people_are_told_what_was_sized_and_what_changed() -> None:
    result = regressed()
    assert subject(result).startswith("SIZED, regressed: 8 x ml.m5.12xlarge for ")
    lines = message(result, result_uri=RESULT, report_uri=REPORT).splitlines()
    facts = dict(line.split(":", 1) for line in lines[2:])
    assert facts["Model"].endswith(f", version 7 ({ARN}), image repository:tag")
    assert facts["Change"].strip() == (
        f"regressed since other of {result.sizing.finished_at}: cost per hour +14.3 %, "
        "instances 7, now 8"
    )


def test_the_subject_of_the_same_again_says_no_more() -> None:
    result = result_of(sample_sizings.sized())
    same = result.model_copy(update={"change": compare(outcome(result), outcome(result), 5.0)})
    assert subject(same).startswith("SIZED: 8 x ")
    assert "unchanged since 3f2a9c1b7d4e" in message(same, result_uri=RESULT, report_uri=REPORT)


def test_a_rate_short_of_the_target_is_named_as_it_was() -> None:
    result = result_of(sample_sizings.sized())
    assert result.recommendation is not None
    short = result.recommendation.model_copy(update={"tps": 912.4})
    assert "serve 912 requests" in sentence(result.model_copy(update={"recommendation": short}))


def test_a_failure_says_what_to_do() -> None:
    text = text_of(sample_sizings.failed())
    assert text.startswith("Failed (LoadTestFailed): worker 1 of 2 went silent\n")
    assert "What to do:" in text


def test_a_limit_is_named() -> None:
    assert text_of(sample_sizings.target_not_met()).startswith(
        "Target not met (limits.max_instances): "
    )


def test_a_missing_report_is_said() -> None:
    assert "could not be written" in text_of(sample_sizings.sized(), report_uri=None)


def test_messages_stay_short_whatever_the_cause() -> None:
    made = dataclasses.replace(sample_sizings.failed(), failure=failure("X", "y" * 200_000))
    assert len(text_of(made).encode()) < 20_000


@pytest.mark.parametrize(
    "request_,label",
    [
        ({"model": {"hugging_face": {"model_id": "a/b"}}}, "a/b"),
        ({"model": {"model_package_group": "sentiment"}}, "sentiment"),
        (
            {"model": {"model_package_arn": "arn:aws:sagemaker:eu-west-1:1:model-package/s/3"}},
            "s/3",
        ),
        ({"model": {"container": {"image_uri": "host/image:1"}}}, "host/image:1"),
        ({"model": {"container": {}}}, "unknown model"),
        ({"model": []}, "unknown model"),
        (None, "unknown model"),
        ([1], "unknown model"),
    ],
)
def test_any_request_has_a_label(request_: object, label: str) -> None:
    assert model_label(request_) == label


def test_figures_are_readable() -> None:
    assert [usd(each) for each in (22.12, 1234.5, 0.0, 0.00123, None)] == [
        "$22.12", "$1,234.50", "$0.00", "$0.00123", "unknown",
    ]  # fmt: skip
    assert [rate(each) for each in (999.87, 12345.6, 3.456, 0.5)] == [
        "1,000",
        "12,346",
        "3.46",
        "0.5",
    ]
    assert [milliseconds(each) for each in (1234.5, 12.34, 0.31, None)] == [
        "1,234 ms", "12.3 ms", "0.31 ms", "-",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "notify, wanted",
    [
        ("always", [True, True, True, True]),
        ("change", [False, True, True, True]),
        ("failure", [False, False, False, True]),
        ("never", [False, False, False, False]),
    ],
)
def test_a_message_is_sent_when_it_is_wanted(notify: str, wanted: list[bool]) -> None:
    sized, failed = result_of(sample_sizings.sized()), result_of(sample_sizings.failed())
    same = sized.model_copy(update={"change": compare(outcome(sized), outcome(sized), 5.0)})
    first = sized.model_copy(update={"change": compare(None, outcome(sized), 5.0)})
    for result, expected in zip((same, first, regressed(), failed), wanted, strict=True):
        request = {**result.sizing.request, "notify": notify}
        sizing = result.sizing.model_copy(update={"request": request})
        assert is_wanted(result.model_copy(update={"sizing": sizing})) is expected


@pytest.mark.parametrize(
    "partition, console",
    [
        ("aws", "https://us-east-1.console.aws.amazon.com/"),
        ("aws-us-gov", "https://console.amazonaws-us-gov.com/"),
    ],
)
def test_links_can_be_clicked(partition: str, console: str) -> None:
    result = result_of(sample_sizings.sized())
    arn = sample_sizings.EXECUTION.replace("arn:aws:", f"arn:{partition}:")
    sizing = result.sizing.model_copy(update={"execution_arn": arn})
    text = message(
        result.model_copy(update={"sizing": sizing}), result_uri=RESULT, report_uri=REPORT
    )
    page = "s3/object/results?region=us-east-1&prefix=sizings/1/report.html"
    assert f"{console}{page}\n" in text
    assert f"{console}states/home?region=us-east-1#/v2/executions/details/{arn}\n" in text
    local = result.model_copy(update={"local": True})
    assert "https://" not in message(local, result_uri=RESULT, report_uri=REPORT)
