"""``endpoint-sizer profile``: what is kept under the stack's path, and how it is changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from endpoint_sizer.__main__ import run
from tests.cli.made_up_aws import NIGHTLY, PROFILES, Account, of_moto

ROOT = Path(__file__).parents[2]
REQUEST: dict[str, Any] = json.loads((ROOT / "examples" / "distilbert.json").read_text())
PROFILE = {name: value for name, value in REQUEST.items() if name != "model"}
Printed = Callable[..., Any]


@pytest.fixture
def put(account: Account, tmp_path: Path) -> Callable[..., int]:
    """Put a profile of the group ``sentiment``; returns the exit code."""

    def put(profile: Any = None, group: str = "sentiment") -> int:
        path = tmp_path / "profile.json"
        path.write_text(json.dumps(PROFILE if profile is None else profile))
        return run(["profile", "put", group, str(path)])

    return put


def test_what_is_put_can_be_got_listed_and_deleted(
    account: Account, put: Callable[..., int], printed: Printed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert put() == 0
    capsys.readouterr()
    assert account.profile("sentiment") == PROFILE
    assert run(["profile", "get", "sentiment"]) == 0
    assert json.loads(capsys.readouterr().out) == PROFILE
    [listed] = printed("profile", "list")["profiles"]
    assert listed.pop("modified_at")
    assert listed == {
        "model_package_group": "sentiment",
        "enabled": True,
        "instance_types": PROFILE["instance_types"],
        "target_tps": PROFILE["target"]["tps"],
        "notify": None,
        "error": None,
    }
    done = printed("profile", "delete", "sentiment", "--yes")
    assert done == {"model_package_group": "sentiment", "done": "deleted"}
    assert printed("profile", "list") == {"profiles": []}


def test_a_profile_is_paused_and_resumed(
    account: Account, put: Callable[..., int], printed: Printed, capsys: pytest.CaptureFixture[str]
) -> None:
    put()
    capsys.readouterr()
    assert printed("profile", "pause", "sentiment")["done"] == "paused"
    assert account.profile("sentiment") == {**PROFILE, "enabled": False}
    assert printed("profile", "list")["profiles"][0]["enabled"] is False
    assert run(["profile", "list"]) == 0
    assert "paused" in capsys.readouterr().out
    assert printed("profile", "resume", "sentiment")["done"] == "resumed"
    assert account.profile("sentiment")["enabled"] is True


@pytest.mark.parametrize(
    "profile, said",
    [
        (REQUEST, "model: must not be given: it is the model package group of the profile"),
        ([], "profile: must be a JSON object"),
        ({**PROFILE, "colour": "red"}, "colour: unknown field"),
        ({**PROFILE, "enabled": "no"}, "enabled: must be true or false"),
        ({**PROFILE, "target": {"tps": -1}}, "target.tps: must be greater than 0"),
        (
            {**PROFILE, "payloads": {"inline": [{"body": "x" * 9000}]}},
            "has more than 8,192 bytes, which is all that Parameter Store takes",
        ),
    ],
)
def test_what_could_not_be_sized_is_not_stored(
    put: Callable[..., int],
    printed: Printed,
    capsys: pytest.CaptureFixture[str],
    profile: Any,
    said: str,
) -> None:
    assert put(profile) == 64
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.count("\n") == 1
    assert printed("profile", "list") == {"profiles": []}


@pytest.mark.parametrize("body", ["{not json", '{"target": 3}', "[]"])
def test_what_others_have_stored_is_listed_with_what_is_wrong(
    account: Account, printed: Printed, body: str
) -> None:
    of_moto("ssm").put_parameter(Name=f"{PROFILES}/broken", Value=body, Type="String")
    [listed] = printed("profile", "list")["profiles"]
    assert listed["error"]


@pytest.mark.parametrize("verb", ["get", "pause", "resume", "delete", "run"])
def test_a_group_without_a_profile_is_wrong_use(
    account: Account, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    assert run(["profile", verb, "unheard-of"]) == 64
    assert capsys.readouterr().err == (
        "error: unheard-of has no profile in stack endpoint-sizer (see endpoint-sizer profile "
        "list)\n"
    )


def test_nothing_is_deleted_unasked(
    account: Account, put: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    put()
    capsys.readouterr()
    assert run(["profile", "delete", "sentiment"]) == 64
    assert "--yes is needed where nobody can be asked" in capsys.readouterr().err
    assert account.profile("sentiment") == PROFILE


def test_profiles_are_run_as_the_night_would(
    account: Account, put: Callable[..., int], printed: Printed, capsys: pytest.CaptureFixture[str]
) -> None:
    put(group="a")
    put(group="b")
    capsys.readouterr()
    said = printed("profile", "run", "a", "b")
    [started] = account.called("StartExecution")
    assert started["stateMachineArn"] == NIGHTLY
    assert json.loads(started["input"]) == {"profiles": ["a", "b"]}
    assert (said["sizing_id"], said["status"]) == (None, "RUNNING")
    printed("profile", "run", "--all", "--max-cost", "20")
    assert json.loads(account.called("StartExecution")[1]["input"]) == {"max_cost_usd": 20.0}
    for wrong in ([], ["a", "--all"]):
        assert run(["profile", "run", *wrong]) == 64
        assert "name the groups, or --all" in capsys.readouterr().err
