"""PlanNight sizes what it is told, each profile once, and no more than the night may cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext

from plan_night.app import handler
from sizing.clean_up import names
from sizing.errors import InvalidRequest
from sizing.result.night import EVENT
from tests.unit.functions.conftest import ACCOUNT, REGION, TABLE

Client = Callable[[str], Any]
NIGHT = f"arn:aws:states:{REGION}:{ACCOUNT}:execution:endpoint-sizer-nightly:"
PACKAGE = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:model-package/sentiment/7"
PROFILE = {
    "instance_types": ["ml.m5.xlarge"],
    "payloads": {"inline": [{"body": "{}"}]},
    "target": {"tps": 100},
}


@pytest.fixture
def write(aws: Client) -> Callable[..., None]:
    """Writes a profile, as it is or with changes."""

    def put(group: str, text: str | None = None, **changes: Any) -> None:
        aws("ssm").put_parameter(
            Name=f"/endpoint-sizer/profiles/{group}",
            Value=text or json.dumps({**PROFILE, **changes}),
            Type="String",
            Tier="Intelligent-Tiering",
        )

    return put


def plan(data: Any, *, run: str = "n1", ended: Any = (), raw: Any = ()) -> dict[str, Any]:
    event = {
        "execution": {"arn": NIGHT + run, "name": run, "input": data},
        "ended": list(ended),
        "raw": list(raw),
    }
    answer: dict[str, Any] = json.loads(json.dumps(handler(event, LambdaContext())))
    return answer


def groups(answer: dict[str, Any]) -> list[str]:
    return [each["profile"] for each in answer.get("batch", [])]


def sized(planned: dict[str, Any], cost: float = 1.0, **more: Any) -> dict[str, Any]:
    """What the state machine hands back of a sizing."""
    output = {"status": "SIZED", "change": "unchanged", "sizing_cost_usd": cost, **more}
    return {**planned, "request": None, "output": output}


def package_event() -> dict[str, Any]:
    detail = {"ModelPackageGroupName": "sentiment", "ModelPackageArn": PACKAGE}
    return {"detail-type": EVENT, "detail": detail}


def test_every_profile_is_sized_and_none_says_so_by_itself(write: Any) -> None:
    write("b", notify="change")
    write("a")
    answer = plan({})
    assert answer["action"] == "SIZE"
    assert groups(answer) == ["a", "b"]
    first, second = answer["batch"]
    assert first["request"] == {
        **PROFILE,
        "model": {"model_package_group": "a"},
        "notify": "never",
    }
    assert (first["notify"], second["notify"]) == ("always", "change")
    assert first["name"].startswith("a-")

    done = plan({}, ended=answer["ended"], raw=[sized(first), sized(second, 0.5)])
    assert done["action"] == "DONE"
    assert done["summary"]["cost_usd"] == 1.5
    assert done["summary"]["message"].startswith("2 profiles: 2 unchanged. The sizings cost $1.50.")


def test_only_those_that_are_named_are_sized(write: Any) -> None:
    for group in "abc":
        write(group)
    assert groups(plan({"profiles": ["c", "a"]})) == ["c", "a"]
    with pytest.raises(InvalidRequest, match=r"input\.profiles: there is no d; there are: a, b, c"):
        plan({"profiles": ["a", "d"]})
    with pytest.raises(InvalidRequest, match=r"input\.profile: must be \{\}"):
        plan({"profile": "a"})


def test_a_profile_that_can_not_be_sized_keeps_no_other_from_it(write: Any) -> None:
    write("broken", "{")
    write("model", model={"model_name": "other"})
    write("wrong", target={"tps": 0})
    write("text", enabled="no")
    write("paused", enabled=False)
    write("good", enabled=True)
    answer = plan({})
    assert groups(answer) == ["good"]
    assert "enabled" not in answer["batch"][0]["request"]
    became = {each["profile"]: (each["status"], each["reason"]) for each in answer["ended"]}
    assert became["paused"] == ("SKIPPED", "paused")
    assert became["broken"][1].startswith("profile: must be a JSON object: ")
    assert became["model"][1].startswith("model: must not be given: it is the model package group")
    assert became["wrong"][1] == "target.tps: must be greater than 0, got 0"
    assert became["text"][1] == "enabled: must be true or false"
    done = plan({}, ended=answer["ended"], raw=[sized(answer["batch"][0])])
    assert done["summary"]["failed"].count(";") == 3


def test_a_profile_may_be_larger_than_an_ordinary_parameter(write: Any) -> None:
    body = json.dumps({"query": "x" * 6_000})
    write("large", payloads={"inline": [{"body": body}]})
    [sizing] = plan({})["batch"]
    assert sizing["request"]["payloads"]["inline"][0]["body"] == body


def test_a_night_hands_on_no_more_than_a_state_holds(write: Any) -> None:
    for number in range(25):
        write(f"g{number:02}", payloads={"inline": [{"body": "x" * 7_000}]})
    ended: list[Any] = []
    seen: list[str] = []
    raw: list[Any] = []
    for _ in range(10):
        answer = plan({}, ended=ended, raw=raw)
        assert len(json.dumps(answer)) < 200_000
        seen += groups(answer)
        ended, raw = answer["ended"], [sized(each) for each in answer.get("batch", [])]
        if answer["action"] == "DONE":
            break
    assert seen == [f"g{number:02}" for number in range(25)]
    assert len(ended) == 25


# --- What a night may cost ----------------------------------------------------------------------


def remember(aws: Client, group: str, cost: float, sizing_id: str = "1") -> None:
    aws("dynamodb").put_item(
        TableName=TABLE,
        Item={
            "pk": {"S": f"model#model_package_group/{group}"},
            "sk": {"S": f"2026-09-21T14:13:20Z#{sizing_id}"},
            "sizing_id": {"S": sizing_id},
            "sizing_cost_usd": {"N": str(cost)},
        },
    )


def test_a_night_ends_in_good_order_before_it_costs_too_much(
    write: Any, aws: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for group in "abcd":
        write(group, notify="failure")
    monkeypatch.setenv("NIGHTLY_MAX_COST_USD", "3")
    remember(aws, "d", 0.5)
    remember(aws, "c", 2.0)
    answer = plan({})
    assert groups(answer) == ["a", "b"]  # as many as are sized side by side
    answer = plan({}, ended=answer["ended"], raw=[sized(each, 0.75) for each in answer["batch"]])
    # c cost too much the last time; d may still fit.
    assert groups(answer) == ["d"]
    answer = plan({}, ended=answer["ended"], raw=[sized(each, 0.25) for each in answer["batch"]])
    assert answer["summary"]["cost_usd"] == 1.75
    [skipped] = [each for each in answer["ended"] if each["status"] == "SKIPPED"]
    assert skipped["profile"] == "c"
    assert skipped["reason"] == (
        "the run may cost $3.00, $1.50 are spent, and its last sizing cost $2.00"
    )
    assert answer["summary"]["notify"]
    assert answer["summary"]["failed"] == ""


def test_the_input_may_allow_a_night_more_or_less(
    write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a")
    write("b")
    monkeypatch.setenv("NIGHTLY_MAX_COST_USD", "1")
    for limit, rest in ((0.5, []), (50, ["b"])):
        data = {"max_cost_usd": limit}
        ended = [{"profile": "a", "status": "SIZED", "sizing_cost_usd": 1.5}]
        assert groups(plan(data, ended=ended)) == rest


def test_what_failed_has_cost_something_too(write: Any, aws: Client) -> None:
    write("a")
    [sizing] = plan({})["batch"]
    arn = f"arn:aws:states:{REGION}:{ACCOUNT}:execution:endpoint-sizer-sizing:{sizing['name']}"
    remember(aws, "a", 0.25, names.sizing_id(arn))
    cause = json.dumps({"ExecutionArn": arn, "Error": "LoadTestFailed", "Cause": "went silent"})
    raw = {**sizing, "request": None, "error": "States.TaskFailed", "cause": cause}
    done = plan({}, raw=[raw])
    assert done["summary"]["cost_usd"] == 0.25
    assert done["summary"]["failed"] == "a: LoadTestFailed: went silent"


# --- A package ----------------------------------------------------------------------------------


def test_a_package_is_sized_with_its_groups_profile_and_tells_itself(write: Any) -> None:
    write("sentiment", notify="change")
    write("other")
    [sizing] = plan(package_event())["batch"]
    assert sizing["request"]["model"] == {"model_package_arn": PACKAGE}
    assert sizing["request"]["notify"] == "change"
    done = plan(package_event(), raw=[sized(sizing, change="regressed")])
    assert (done["action"], done["summary"]["notify"]) == ("DONE", False)


def test_a_package_without_a_profile_is_left_alone(write: Any) -> None:
    write("other")
    done = plan(package_event())
    assert (done["action"], done["ended"], done["summary"]["notify"]) == ("DONE", [], False)


def test_the_same_event_twice_sizes_once(write: Any) -> None:
    write("sentiment")
    assert groups(plan(package_event(), run="n1")) == ["sentiment"]
    assert groups(plan(package_event(), run="n1")) == ["sentiment"]  # its answer was lost
    again = plan(package_event(), run="n2")
    assert groups(again) == []
    [skipped] = again["ended"]
    assert skipped["status"] == "SKIPPED"
    assert NIGHT + "n1" in skipped["reason"]
    assert not again["summary"]["notify"]
    # Sized all the same when it is asked for by name, or for something else.
    assert groups(plan({"profiles": ["sentiment"]}, run="n3")) == ["sentiment"]


def test_another_request_or_a_failure_let_a_package_be_sized_again(write: Any, aws: Client) -> None:
    write("sentiment")
    [sizing] = plan(package_event(), run="n1")["batch"]
    raw = {**sizing, "request": None, "error": "CapacityUnavailable", "cause": "none left"}
    plan(package_event(), run="n1", raw=[raw])
    assert groups(plan(package_event(), run="n2")) == ["sentiment"]
    aws("ssm").put_parameter(
        Name="/endpoint-sizer/profiles/sentiment",
        Value=json.dumps({**PROFILE, "target": {"tps": 200}}),
        Overwrite=True,
    )
    assert groups(plan(package_event(), run="n3")) == ["sentiment"]
