"""``endpoint-sizer audit`` on an account whose endpoints have days of traffic behind them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto import mock_aws

from endpoint_sizer.__main__ import run
from endpoint_sizer.validate import check_profile
from tests.cli import made_up_aws
from tests.cli.made_up_production import Production
from tests.unit.sizing.production.made_up_production import DAY, START, Endpoint, fleet

DAYS = 2
NOW = START + DAYS * DAY
#: A request costs 0.65 % of an instance: 100 a second are 65 %.
COST = 0.65


@pytest.fixture
def production(monkeypatch: pytest.MonkeyPatch) -> Iterator[Production]:
    for name, value in (("ACCESS_KEY_ID", "made-up"), ("SECRET_ACCESS_KEY", "made-up")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_REGION", made_up_aws.REGION)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    monkeypatch.setattr("time.time", lambda: float(NOW + 100))
    made = Production()
    with mock_aws():
        monkeypatch.setattr("aws.clients._client", made.client)
        yield made
    boto3.DEFAULT_SESSION = None


@pytest.fixture
def audited(printed: Callable[..., Any]) -> Callable[..., dict[str, dict[str, Any]]]:
    def audited(*names: str) -> dict[str, dict[str, Any]]:
        return {each["endpoint"]: each for each in printed("audit", *names, "--days", str(DAYS))}

    return audited


def test_a_fleet_is_judged_by_its_own_history(production: Production, audited: Any) -> None:
    production.endpoints = fleet(40, DAYS, seed=5)
    found = audited("--all")
    assert len(found) == 40
    dared = [name for name, each in found.items() if each["suggested_count"] is not None]
    close = [
        name
        for name in dared
        if abs(found[name]["suggested_count"] - production.endpoints[name].right_count()) <= 1
    ]
    assert len(dared) >= 20
    assert len(close) >= 0.9 * len(dared)
    # Nothing but reading.
    assert {name for name, _ in production.calls} == {
        "ListEndpoints",
        "DescribeEndpoint",
        "DescribeEndpointConfig",
        "DescribeScalableTargets",
        "GetProducts",
        "GetMetricData",
    }


def test_each_is_told_what_it_is(production: Production, audited: Any) -> None:
    fleet = production.endpoints
    fleet["right"] = Endpoint(200, 4, COST, days=DAYS)
    fleet["large"] = Endpoint(200, 9, COST, days=DAYS)
    fleet["small"] = Endpoint(200, 2, COST, days=DAYS)
    fleet["slower"] = Endpoint(200, 4, COST, days=DAYS, grows=2.0)
    fleet["scaled"] = Endpoint(200, 4, COST, days=DAYS)
    fleet["idle"] = Endpoint(0, 2, COST, days=DAYS)
    production.scaled["scaled"] = (1, 8)
    production.odd = {
        "async": {"AsyncInferenceConfig": {"OutputConfig": {"S3OutputPath": "s3://x"}}},
        "failed": {"EndpointStatus": "Failed"},
        "serverless": {},
        "components": {},
        "inferentia": {},
    }
    production.odd_variants = {
        "serverless": {
            "VariantName": "main",
            "ModelName": "model",
            "ServerlessConfig": {"MemorySizeInMB": 2048, "MaxConcurrency": 5},
        },
        "components": {"VariantName": "main", "InstanceType": "ml.m5.xlarge"},
        "inferentia": {
            "VariantName": "main",
            "ModelName": "model",
            "InstanceType": "ml.inf2.xlarge",
        },
    }
    production.throttled = 3
    found = audited()
    assert {name: each["verdict"] for name, each in found.items()} == {
        "right": "right",
        "large": "too_large",
        "small": "too_small",
        "slower": "latency_growing",
        "scaled": "right",
        "idle": "idle",
        **dict.fromkeys(production.odd, "unknown"),
    }
    assert found["large"]["suggested_count"] in (4, 5)
    assert found["large"]["instance_type"] == "ml.m5.xlarge"
    assert found["large"]["hourly_cost_usd"] == 9 * 0.25
    assert found["scaled"]["why"].endswith("a policy scales it from 1 to 8")
    for name, why in (
        ("async", "sized by its queue"),
        ("failed", "is Failed"),
        ("serverless", "serverless"),
        ("components", "inference components"),
        ("inferentia", "Inferentia"),
    ):
        assert why in found[name]["why"], name


def test_people_get_a_table(production: Production, capsys: pytest.CaptureFixture[str]) -> None:
    production.endpoints["large"] = Endpoint(200, 9, COST, days=DAYS)
    assert run(["audit", "large", "--days", str(DAYS)]) == 0
    said = capsys.readouterr().out
    assert "too_large" in said
    assert "$1,642" in said  # nine of a quarter of a dollar an hour


def test_a_page_is_written_too(
    production: Production, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    production.endpoints["large"] = Endpoint(200, 9, COST, days=DAYS)
    path = tmp_path / "audit.html"
    asked = ["audit", "--days", str(DAYS), "--output", "json", "--page"]
    assert run([*asked, str(path)]) == 0
    said = capsys.readouterr()
    [row] = json.loads(said.out)
    assert row["saving_usd_a_month"] == (9 - row["suggested_count"]) * 0.25 * 730
    assert said.err == f"{path} shows all of it\n"
    assert "1 endpoint: 1 too large; $" in path.read_text()
    assert run([*asked, str(tmp_path / "no" / "audit.html")]) == 64
    said = capsys.readouterr()
    assert f"there is no folder {tmp_path / 'no'}" in said.err
    assert said.out == ""  # it is said before minutes of reading


def test_an_account_without_endpoints_says_so(
    production: Production, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit"]) == 0
    assert capsys.readouterr().out == "There is no endpoint in this account and region.\n"


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["nobody"], "there is no endpoint nobody"),
        (["nobody", "--all"], "name endpoints or say --all, not both"),
        (["--days", "99"], "15"),
    ],
)
def test_wrong_use_is_one_line(
    production: Production, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit", *arguments]) == 64
    errors = capsys.readouterr().err
    assert said in errors


def test_profiles_are_written_for_those_worth_a_sizing(
    production: Production, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capture = {"EnableCapture": True, "CaptureStatus": "Started", "DestinationS3Uri": "s3://b/c"}
    large = {"mean_tps": 150, "instances": 12, "cost": 0.5, "days": DAYS}
    production.endpoints = {name: Endpoint(**large) for name in ("captured", "plain")}
    production.endpoints["right"] = Endpoint(**{**large, "instances": 2})
    production.odd["captured"] = {
        "DataCaptureConfig": {**capture, "CurrentSamplingPercentage": 5, "KmsKeyId": ""},
        "ProductionVariants": [{"VariantName": "main", "CurrentInstanceCount": 12}],
    }
    folder = tmp_path / "profiles"
    asked = ["audit", "--days", str(DAYS), "--write-profiles", str(folder)]
    assert run(asked) == 0
    said = capsys.readouterr().out
    assert sorted(each.name for each in folder.iterdir()) == [
        "captured.main.json",
        "plain.main.json",
    ]
    path = folder / "captured.main.json"
    assert f"profile put GROUP {path}`\n" in said
    assert "plain.main.json`, once it has payloads: the endpoint captures none" in said
    written = json.loads(path.read_text())
    assert written["target"] == {"from_endpoint": {"name": "captured", "variant": "main"}}
    # It is a whole profile, as `profile put` takes it.
    check_profile(path, written, "group")
    # What somebody has made of one is not lost.
    path.write_text("mine")
    assert run([*asked, "--output", "json"]) == 0
    assert path.read_text() == "mine"
    assert f"{path} is there already, and is left as it is" in capsys.readouterr().err
