"""result.json holds the contract's fields, and never an answer that nothing stands behind."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from sizing.load_test.observation import Verdict
from sizing.load_test.plan import Purpose
from sizing.request.request import Request, parse_request
from sizing.result.failure import failure
from sizing.result.result import Ending, Execution, Result, build_result
from sizing.search.answer import Answer, CandidateStatus, Status
from tests.unit.result import sample_sizings
from tests.unit.result.sample_sizings import FACTS, Made, load_test

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("make", sample_sizings.ALL.values(), ids=sample_sizings.ALL)
def test_the_document_is_json_and_reads_back(make: Any) -> None:
    document = make().document()
    decoded = json.loads(json.dumps(document, allow_nan=False))
    assert decoded == document
    result = Result.model_validate(decoded)
    assert set(decoded) == {
        "schema_version", "version", "status", "local", "reason", "limit", "model", "production",
        "applied",
        "captured",
        "recommendation", "change", "candidates", "sizing", "error", "estimate", "notes",
    }  # fmt: skip
    assert result.sizing.id == sample_sizings.SIZING_ID


def test_a_recommendation_has_the_contracts_fields() -> None:
    recommendation = sample_sizings.sized().document()["recommendation"]
    assert set(recommendation) >= {
        "instance_type", "instance_count", "tps", "utilization_percent", "limiting_resource",
        "model_latency_ms", "overhead_latency_ms", "client_latency_ms", "error_percent",
        "hourly_cost_usd", "cost_per_million_usd", "in_band", "autoscaling",
    }  # fmt: skip
    assert set(recommendation["model_latency_ms"]) == {"p50", "p90", "p99"}
    assert set(recommendation["client_latency_ms"]) == {"p50", "p90", "p99"}
    assert set(recommendation["overhead_latency_ms"]) == {"mean"}
    assert set(recommendation["autoscaling"]) >= {
        "metric", "target_value", "min_capacity", "max_capacity", "scale_in_cooldown",
        "scale_out_cooldown",
    }  # fmt: skip


def test_candidates_have_the_contracts_fields() -> None:
    verified, unverified, gone = sample_sizings.several_candidates().document()["candidates"]
    for candidate in (verified, unverified, gone):
        assert {"instance_type", "status", "reason", "diagnosis", "load_tests"} <= set(candidate)
    assert verified["recommendation"]["instance_count"] == 8
    assert "recommendation" not in unverified
    assert "recommendation" not in gone
    test = verified["load_tests"][1]
    assert {"instance_count", "purpose", "verdict", "observations"} <= set(test)
    assert (test["purpose"], test["verdict"]) == ("verify", "IN_BAND")
    seen = test["observations"][0]
    assert {
        "offered_tps", "achieved_tps", "utilization_percent", "cpu_utilization_raw",
        "memory_percent", "model_latency_ms", "client_latency_ms", "error_percent", "errors",
        "window", "workers",
    } <= set(seen)  # fmt: skip
    assert set(seen["window"]) == {"start", "end"}
    assert {"cpu_percent_max", "lag_ms_p99"} <= set(seen["workers"])
    assert gone["load_tests"][0]["error"] == "CapacityUnavailable"


def test_the_sizing_has_the_contracts_fields() -> None:
    sizing = sample_sizings.sized().document()["sizing"]
    assert {"id", "started_at", "finished_at", "cost_usd", "load_tests", "request"} <= set(sizing)
    assert sizing["started_at"] == "2026-09-21T14:13:20Z"
    assert sizing["load_tests"] == 2


def test_the_request_is_kept_with_its_defaults_and_can_be_sent_again() -> None:
    made = sample_sizings.sized()
    request = made.document()["sizing"]["request"]
    assert request["target"]["utilization_percent"] == {"min": 60, "max": 70}
    assert made.sizing is not None
    assert parse_request(request) == made.sizing.request


def test_figures_are_the_verifying_steps_own() -> None:
    made = sample_sizings.sized()
    seen = made.history[1].observations[0]
    recommendation = made.document()["recommendation"]
    assert recommendation["tps"] == pytest.approx(seen.achieved_tps, abs=1e-3)
    assert recommendation["utilization_percent"] == pytest.approx(
        seen.utilization_percent, abs=1e-3
    )
    assert recommendation["model_latency_ms"]["p99"] == pytest.approx(
        seen.model_latency_ms.p99, abs=1e-3
    )


def test_the_answer_costs_what_its_row_among_the_counts_says() -> None:
    document = sample_sizings.sized().document()
    recommendation = document["recommendation"]
    (row,) = (
        each
        for each in document["candidates"][0]["counts"]
        if each["instance_count"] == recommendation["instance_count"]
    )
    for name in ("hourly_cost_usd", "cost_per_million_usd"):
        assert recommendation[name] == pytest.approx(row[name])
    assert row["cost_per_million_usd"] == pytest.approx(22.12 / (1000 * 3600) * 1e6, abs=1e-3)


def test_small_figures_keep_four_digits() -> None:
    made = sample_sizings.sized()
    document = dataclasses.replace(made, cost_usd=0.000123456).document()
    assert document["sizing"]["cost_usd"] == 0.0001235


@pytest.mark.parametrize(
    "changes",
    [
        {"instance_type": None},
        {"instance_type": "ml.other.large"},
        {"observation": None},
        {"status": CandidateStatus.NOT_VERIFIED},
        {"instance_count": None},
        {"invalid": "the instance count changed in the window"},
        {"client_limited": "a worker was out of CPU"},
    ],
    ids=str,
)
def test_a_claim_without_a_good_observation_is_a_failure(changes: dict[str, Any]) -> None:
    made = sample_sizings.sized()
    assert made.answer is not None
    outcome = made.answer.candidates[0]
    assert outcome.observation is not None
    answer_changes = {key: value for key, value in changes.items() if key == "instance_type"}
    seen_changes = {
        key: value for key, value in changes.items() if key in ("invalid", "client_limited")
    }
    outcome_changes = {
        key: value
        for key, value in changes.items()
        if key not in answer_changes and key not in seen_changes
    }
    if seen_changes:
        outcome_changes["observation"] = outcome.observation.model_copy(update=seen_changes)
    answer = made.answer.model_copy(
        update={**answer_changes, "candidates": (outcome.model_copy(update=outcome_changes),)}
    )
    document = dataclasses.replace(made, answer=answer).document()
    assert document["status"] == "FAILED"
    assert document["error"]["name"] == "NotVerified"
    assert document["recommendation"] is None


def test_a_type_that_stands_twice_in_the_answer_has_one_outcome() -> None:
    made = sample_sizings.sized()
    assert made.answer is not None
    [winner] = made.answer.candidates
    twin = winner.model_copy(update={"status": CandidateStatus.FAILED})
    answer = made.answer.model_copy(update={"candidates": (winner, twin)})
    document = dataclasses.replace(made, answer=answer).document()
    assert document["status"] == "SIZED"
    assert document["recommendation"] == document["candidates"][0]["recommendation"]


def test_a_failure_outweighs_an_answer() -> None:
    made = dataclasses.replace(sample_sizings.sized(), failure=failure("X", "it broke"))
    document = made.document()
    assert (document["status"], document["recommendation"]) == ("FAILED", None)
    assert document["error"] == {
        "name": "X",
        "cause": "it broke",
        "advice": document["error"]["advice"],
        "retry": "YES",
    }


def test_a_sizing_without_any_end_has_failed() -> None:
    document = build_result(Execution("0" * 12, sample_sizings.STARTED), Ending())
    assert (document["status"], document["error"]["name"]) == ("FAILED", "NoAnswer")
    assert document["candidates"] == []


def test_an_answer_that_says_failed_has_failed() -> None:
    made = sample_sizings.target_not_met()
    answer = Answer(status=Status.FAILED, reason="all candidates failed", candidates=())
    document = dataclasses.replace(made, answer=answer).document()
    assert (document["status"], document["reason"]) == ("FAILED", "all candidates failed")


def test_at_a_limit_the_best_known_is_named() -> None:
    document = sample_sizings.target_not_met().document()
    assert document["status"] == "TARGET_NOT_MET"
    assert document["limit"] == "limits.max_instances"
    assert document["recommendation"] is None
    [candidate] = document["candidates"]
    assert (candidate["instance_count"], candidate["hourly_cost_usd"]) == (8, 22.12)


def test_a_candidate_the_search_did_not_judge_says_what_happened() -> None:
    [candidate] = sample_sizings.failed().document()["candidates"]
    assert candidate["status"] == "FAILED"
    assert candidate["reason"] == "LoadTestFailed: worker 1 of 2 went silent"


def test_a_dry_run_is_its_estimate() -> None:
    document = sample_sizings.dry_run().document()
    assert document["status"] == "DRY_RUN"
    assert document["estimate"] == {"cost_usd": 12.4, "minutes": 41.0, "load_tests": 2}
    assert document["sizing"]["load_tests"] == 0


def test_an_unknown_price_leaves_the_costs_open() -> None:
    made = sample_sizings.sized()
    assert made.sizing is not None
    assert made.answer is not None
    facts = FACTS["ml.m5.12xlarge"].model_copy(update={"hourly_price_usd": None})
    outcome = made.answer.candidates[0].model_copy(update={"hourly_cost_usd": None})
    document = dataclasses.replace(
        made,
        sizing=made.sizing.model_copy(update={"candidates": (facts,)}),
        answer=made.answer.model_copy(update={"candidates": (outcome,)}),
    ).document()
    recommendation = document["recommendation"]
    assert recommendation["hourly_cost_usd"] is None
    assert recommendation["cost_per_million_usd"] is None


def verify_with(offers: dict[float, Verdict]) -> Made:
    made = sample_sizings.sized()
    verify, _ = load_test(
        FACTS["ml.m5.12xlarge"],
        count=8,
        purpose=Purpose.VERIFY,
        offers=offers,
        start=sample_sizings.STARTED,
    )
    return dataclasses.replace(made, history=(verify,))


def the_verdict(made: Made) -> str | None:
    verdict: str | None = made.document()["candidates"][0]["load_tests"][0]["verdict"]
    return verdict


def test_a_verifications_verdict_is_that_of_the_target() -> None:
    made = verify_with({1142.9: Verdict.OVERLOADED, 1000.0: Verdict.IN_BAND})
    assert the_verdict(made) == "IN_BAND"


def test_a_spoilt_target_is_not_made_good_by_its_neighbours() -> None:
    made = verify_with({1142.9: Verdict.OVERLOADED, 1000.0: Verdict.INVALID})
    [record] = made.history
    spoilt = record.observations[1].model_copy(update={"invalid": "a hole"})
    record = record.model_copy(update={"observations": (record.observations[0], spoilt)})
    assert the_verdict(dataclasses.replace(made, history=(record,))) == "INVALID"


def test_a_target_held_twice_counts_as_one() -> None:
    made = verify_with({1000.0: Verdict.IN_BAND})
    [record] = made.history
    hot = record.observations[0].model_copy(
        update={"utilization_percent": 79.0, "verdict": Verdict.OVERLOADED}
    )
    record = record.model_copy(update={"observations": (record.observations[0], hot)})
    # 62.4 and 79 together are over the band of 60 to 70.
    assert the_verdict(dataclasses.replace(made, history=(record,))) == "OVERLOADED"


def test_a_baselines_verdict_is_that_of_the_step_at_the_band() -> None:
    made = sample_sizings.target_not_met()
    assert the_verdict(made) == "IN_BAND"


def fields(model: type[BaseModel], before: str = "") -> list[str]:
    """Paths of a model's fields, the nested models' too."""
    found = []
    for name, field in model.model_fields.items():
        name = field.alias or name
        found.append(before + name)
        for each in nested(field.annotation):
            found += fields(each, f"{before}{name}.")
    return found


def nested(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [each for part in getattr(annotation, "__args__", ()) for each in nested(part)]


def documented(model: type[BaseModel]) -> list[str]:
    """The fields that docs/result.md has a row for, of the request or of the result."""
    halves = (DOCS / "result.md").read_text().split("\n## Result\n")
    text = halves[(Request, Result).index(model)]
    return re.findall(r"^\| `([\w.]+)` \|", text, re.MULTILINE)


@pytest.mark.parametrize("model", [Request, Result])
def test_the_documentation_names_every_field(model: type[BaseModel]) -> None:
    # What is said once of a type counts wherever the type stands.
    seen = "candidates.load_tests.observations."
    latencies = [f"{seen}{each}_latency_ms." for each in ("model", "overhead", "client")]
    elsewhere = ("candidates.recommendation.", *latencies)
    missing = [
        path
        for path in fields(model)
        if path not in documented(model) and not path.startswith(elsewhere)
    ]
    assert missing == []


@pytest.mark.parametrize("model", [Request, Result])
def test_the_documentation_names_no_field_that_is_not_there(model: type[BaseModel]) -> None:
    named = documented(model)
    assert sorted(named) == sorted(set(named) & set(fields(model)))


def test_a_digest_that_load_tests_met_stands_for_a_tag() -> None:
    made = sample_sizings.sized()
    assert made.sizing is not None
    met = [each.model_copy(update={"image_digest": "sha256:met"}) for each in made.history]

    def digest(known: dict[str, str]) -> str | None:
        model = made.sizing.model.model_copy(update={"image_digests": known})
        sizing = made.sizing.model_copy(update={"model": model})
        document = build_result(
            Execution("3f2a9c1b7d4e", finished_at=1.0), Ending(answer=made.answer), sizing, met
        )
        result = Result.model_validate(document)
        assert result.model is not None
        assert result.candidates[0].image_digest == result.model.image_digest
        return result.model.image_digest

    assert digest({}) == "sha256:met"
    assert digest({"ml.m5.12xlarge": "sha256:asked"}) == "sha256:asked"
