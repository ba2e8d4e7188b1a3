"""PlanLoadTest turns the search's decision into requests, scaling only where it must."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from aws_lambda_powertools.utilities.typing import LambdaContext

from plan_load_test.app import handler
from sizing.load_test.observation import LoadTestRecord
from sizing.load_test.plan import Burst, LoadTestPlan, Purpose, Step
from sizing.request.sizing import Sizing
from sizing.search import search
from sizing.search.answer import Answer, Status
from tests.unit.functions.made_up import SIZING_ID, a_plan, a_record, a_sizing, facts

LARGE, SMALL = "ml.m5.12xlarge", "ml.m5.xlarge"
BASELINE = a_record()
VERIFIED_8 = a_record(instance_count=8, purpose=Purpose.VERIFY, load_test_id="x-8-verify-2")
OF_SMALL = a_record(instance_type=SMALL, instance_count=30, purpose=Purpose.VERIFY)


def verify(count: int, burst: Burst | None = None) -> LoadTestPlan:
    return a_plan(
        instance_count=count, purpose=Purpose.VERIFY, burst=burst, steps=(Step(offered_tps=1000),)
    )


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


def test_a_larger_count_is_scaled_to_and_load_tested(
    planned: Callable[..., dict[str, Any]], invalid: Callable[[str, str, Any], str]
) -> None:
    answer = planned(verify(8), BASELINE)
    name = f"endpoint-sizer-{SIZING_ID}-ml-m5-12xlarge"
    assert answer["action"] == "LOAD_TEST"
    assert answer["endpoint_name"] == name
    assert answer["scale"] == {
        "EndpointName": name,
        "DesiredWeightsAndCapacities": [{"VariantName": "AllTraffic", "DesiredInstanceCount": 8}],
    }
    assert not invalid("sagemaker", "UpdateEndpointWeightsAndCapacities", answer["scale"])
    assert answer["load_test"]["load_test_id"] == "ml-m5-12xlarge-8-verify-2"
    assert answer["load_test"]["spec"]["endpoint_name"] == name
    assert LoadTestPlan.model_validate(answer["plan"]) == verify(8)


@pytest.mark.parametrize(
    "count, history, scales",
    [
        (1, [BASELINE], False),
        (8, [BASELINE], True),
        (8, [BASELINE, VERIFIED_8], False),
        (7, [BASELINE, VERIFIED_8], True),
        # Scaling or the load test failed: how many instances there are is open.
        (8, [BASELINE, VERIFIED_8.model_copy(update={"error": "LoadTestFailed"})], True),
        (1, [BASELINE.model_copy(update={"error": "LoadTestFailed"})], True),
        # The fleet was shrunk, or should have been, when the search turned to the other type.
        (8, [BASELINE, VERIFIED_8, OF_SMALL], True),
        # One instance stays one.
        (1, [BASELINE, OF_SMALL], False),
        # Nothing is known of this type.
        (1, [OF_SMALL], True),
    ],
)
def test_scaling_only_where_the_count_differs_or_is_open(
    planned: Callable[..., dict[str, Any]],
    count: int,
    history: list[LoadTestRecord],
    scales: bool,
) -> None:
    assert (planned(verify(count), *history)["scale"] is not None) is scales


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
    }


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
