"""PlanLoadTest turns the search's decision into what the next probe is given."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext

from aws import load_test_records
from plan_load_test.app import handler
from sizing.load_test.observation import LoadTestRecord
from sizing.load_test.plan import Burst, LoadTestPlan, Purpose, Step
from sizing.request.sizing import Sizing
from sizing.search import search
from sizing.search.answer import Answer, Status
from tests.unit.functions.conftest import BUCKET
from tests.unit.functions.made_up import SIZING_ID, a_plan, a_record, a_sizing, facts

LARGE, SMALL = "ml.m5.12xlarge", "ml.m5.xlarge"
BASELINE = a_record()
VERIFIED_8 = a_record(instance_count=8, purpose=Purpose.VERIFY, load_test_id="x-8-verify-2")
OF_SMALL = a_record(
    instance_type=SMALL, instance_count=30, purpose=Purpose.VERIFY, load_test_id="y-30-verify-1"
)


def verify(count: int, burst: Burst | None = None) -> LoadTestPlan:
    return a_plan(
        instance_count=count, purpose=Purpose.VERIFY, burst=burst, steps=(Step(offered_tps=1000),)
    )


pytestmark = pytest.mark.usefixtures("aws")


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """The handler's answer where the search has decided so."""

    def run(decision: LoadTestPlan | Answer, *history: LoadTestRecord) -> dict[str, Any]:
        seen: list[tuple[Sizing, Sequence[LoadTestRecord]]] = []

        def decide(sizing: Sizing, history: Sequence[LoadTestRecord]) -> LoadTestPlan | Answer:
            seen.append((sizing, history))
            return decision

        monkeypatch.setattr(search, "next_load_test", decide)
        sizing = a_sizing(facts(LARGE), facts(SMALL, vcpus=4))
        event = {
            "sizing": sizing.model_dump(mode="json"),
            "history": [each.model_dump(mode="json") for each in history],
        }
        answer = handler(json.loads(json.dumps(event)), LambdaContext())
        assert seen == [(sizing, history)]
        through_json: dict[str, Any] = json.loads(json.dumps(answer))
        return through_json

    return run


def test_a_larger_count_is_probed(planned: Callable[..., dict[str, Any]]) -> None:
    answer = planned(verify(8), BASELINE)
    name = f"endpoint-sizer-{SIZING_ID}-ml-m5-12xlarge"
    assert answer["action"] == "LOAD_TEST"
    assert answer["endpoint_name"] == name
    assert answer["smoke_test"] is None  # it is no new endpoint
    assert answer["load_test"]["load_test_id"] == "ml-m5-12xlarge-8-verify-2"
    assert answer["load_test"]["spec"]["endpoint_name"] == name
    assert LoadTestPlan.model_validate(answer["plan"]) == verify(8)
    failed = LoadTestRecord(**answer["record"], error="LoadTestFailed")
    assert (failed.load_test_id, failed.instance_count) == ("ml-m5-12xlarge-8-verify-2", 8)


@pytest.mark.parametrize(
    "instance_type, history, former",
    [
        (LARGE, [BASELINE, VERIFIED_8], None),
        (SMALL, [BASELINE], None),
        (SMALL, [BASELINE, VERIFIED_8], LARGE),
        # One that began with several instances, beside the others.
        (SMALL, [VERIFIED_8, OF_SMALL.model_copy(update={"instance_count": 1})], LARGE),
        # Whether it was shrunk already is open: that may be done once more.
        (LARGE, [VERIFIED_8, OF_SMALL], SMALL),
        (SMALL, [VERIFIED_8, BASELINE, OF_SMALL], None),
        # Scaling out failed half-way.
        (SMALL, [BASELINE, VERIFIED_8.model_copy(update={"error": "LoadTestFailed"})], LARGE),
    ],
)
def test_the_fleet_that_the_search_turned_away_from_is_named(
    planned: Callable[..., dict[str, Any]],
    instance_type: str,
    history: list[LoadTestRecord],
    former: str | None,
) -> None:
    decision = verify(8).model_copy(update={"instance_type": instance_type})
    name = f"endpoint-sizer-{SIZING_ID}-" + (former or "").replace(".", "-")
    assert planned(decision, *history)["former"] == (former and {"endpoint_name": name})


def test_load_tests_are_numbered_within_their_type(
    planned: Callable[..., dict[str, Any]],
) -> None:
    answer = planned(verify(8), BASELINE, OF_SMALL, VERIFIED_8)
    assert answer["load_test"]["load_test_id"] == "ml-m5-12xlarge-8-verify-3"


def test_an_answer_ends_the_search(planned: Callable[..., dict[str, Any]]) -> None:
    answer = Answer(
        status=Status.TARGET_NOT_MET, reason="limit", limit="max_instances", candidates=()
    )
    assert planned(answer, BASELINE) == {
        "action": "DONE",
        "answer": answer.model_dump(mode="json"),
        "failure": None,
    }


@pytest.mark.parametrize(
    "errors, named",
    [
        ([None, "CapacityUnavailable", "LoadTestFailed"], "CapacityUnavailable"),
        ([None], "NoCandidateMeasured"),
        ([], "NoCandidateMeasured"),
    ],
)
def test_without_an_answer_the_sizing_fails_as_the_first_candidate_did(
    planned: Callable[..., dict[str, Any]], errors: list[str | None], named: str
) -> None:
    answer = Answer(status=Status.FAILED, reason="none could be load-tested", candidates=())
    records = (a_record(error=each, load_test_id=f"x-{each}") for each in errors)
    failure = planned(answer, *records)["failure"]
    assert failure == {"error": named, "cause": "none could be load-tested"}


def test_each_call_is_given_the_newest_load_tests_and_decides_by_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[list[tuple[str, str | None]]] = []

    def decide(_: Sizing, history: Sequence[LoadTestRecord]) -> LoadTestPlan:
        seen.append([(each.load_test_id, each.error) for each in history])
        return verify(8)

    monkeypatch.setattr(search, "next_load_test", decide)
    sizing = a_sizing().model_dump(mode="json")
    broken = BASELINE.model_copy(update={"error": "LoadTestFailed"})
    # A call may be repeated, and a load test that broke be redriven.
    for newest in (broken, BASELINE, VERIFIED_8, VERIFIED_8):
        handler({"sizing": sizing, "history": [newest.model_dump(mode="json")]}, LambdaContext())
    first, second = (BASELINE.load_test_id, None), (VERIFIED_8.load_test_id, None)
    assert seen[0] == [(BASELINE.load_test_id, "LoadTestFailed")]
    assert seen[1:] == [[first], [first, second], [first, second]]
    assert [each["load_test_id"] for each in load_test_records.read(BUCKET, SIZING_ID)] == [
        BASELINE.load_test_id,
        VERIFIED_8.load_test_id,
    ]


def test_with_the_real_search_a_failed_candidate_ends_as_failed() -> None:
    event = {
        "sizing": a_sizing().model_dump(mode="json"),
        "history": [
            a_record(error="EndpointFailed", cause="image not found").model_dump(mode="json")
        ],
    }
    answer = handler(event, LambdaContext())
    assert answer == handler(event, LambdaContext())
    assert answer["action"] == "DONE"
    assert answer["answer"]["status"] == "FAILED"
