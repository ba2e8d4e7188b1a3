"""Quotas are looked at before anything costs money, and what is not known is said."""

from __future__ import annotations

import pytest

from sizing.catalogue.instance import InstanceFacts
from sizing.errors import QuotaTooLow
from sizing.load_test.plan import LoadTestPlan, Purpose, Step
from sizing.load_test.quota import (
    FARGATE,
    FARGATE_VCPUS,
    Quota,
    QuotaKey,
    Quotas,
    UnknownQuota,
    check_fargate,
    endpoint_usage,
    keep_to_endpoint_quotas,
    needed,
)
from sizing.request.request import parse_request
from sizing.request.sizing import Sizing
from sizing.search.answer import Status
from tests.unit.sizing.exact_endpoint import TYPE, ExactEndpoint, search, sizing_for

TYPES = ["ml.m5.xlarge", "ml.c5.xlarge"]


def sizing_of(types: list[str] = TYPES, **limits: object) -> Sizing:
    request = {
        "model": {"model_name": "m"},
        "instance_types": types,
        "payloads": {"inline": [{"body": "{}"}]},
        "target": {"tps": 100},
        "limits": limits,
    }
    return Sizing(
        sizing_id="0" * 12,
        started_at=0,
        region="eu-west-1",
        request=parse_request(request),
        candidates=tuple(
            InstanceFacts(instance_type=each, vcpus=4, memory_gib=16) for each in types
        ),
    )


def quotas_of(values: dict[str, float | str], fargate: float | str = 100) -> Quotas:
    def quota(name: str, code: str, value: float | str) -> Quota | UnknownQuota:
        return UnknownQuota(value) if isinstance(value, str) else Quota(name, code, value)

    return {
        QuotaKey(FARGATE, FARGATE_VCPUS): quota("Fargate On-Demand", FARGATE_VCPUS, fargate),
        **{
            endpoint_usage(each): quota(f"{each} for endpoint usage", f"L-{number}", value)
            for number, (each, value) in enumerate(values.items())
        },
    }


def a_plan(workers: int = 1, worker_vcpus: int = 1) -> LoadTestPlan:
    return LoadTestPlan(
        instance_type=TYPES[0],
        instance_count=1,
        purpose=Purpose.BASELINE,
        steps=(Step(offered_tps=1.0),),
        workers=workers,
        worker_vcpus=worker_vcpus,
        reason="",
    )


def test_a_quota_for_each_type_and_one_of_fargate_are_needed() -> None:
    assert needed(TYPES) == [
        QuotaKey("fargate", "L-3032A538"),
        QuotaKey("sagemaker", "ml.m5.xlarge for endpoint usage"),
        QuotaKey("sagemaker", "ml.c5.xlarge for endpoint usage"),
    ]


@pytest.mark.parametrize("value", [20, 20.0, 1000])
def test_enough_changes_nothing(value: float) -> None:
    sizing = sizing_of()
    assert keep_to_endpoint_quotas(sizing, quotas_of(dict.fromkeys(TYPES, value))) == sizing
    assert sizing.max_instances(TYPES[0]) == 20


def test_too_little_names_the_quota_its_value_what_is_needed_and_where_to_raise_it() -> None:
    with pytest.raises(QuotaTooLow) as error:
        keep_to_endpoint_quotas(sizing_of(), quotas_of({TYPES[0]: 50, TYPES[1]: 4}))
    text = str(error.value)
    assert 'the quota "ml.c5.xlarge for endpoint usage" (L-1) is 4' in text
    assert "limits.max_instances asks for 20 of ml.c5.xlarge" in text
    url = (
        "https://eu-west-1.console.aws.amazon.com/servicequotas/home/services/sagemaker/quotas/L-1"
    )
    assert url in text
    assert "limits.max_instances to 4 or set limits.lower_to_quota" in text
    assert "all endpoints of the account" in text


def test_the_limit_is_lowered_where_the_request_allows_it() -> None:
    sizing = sizing_of(lower_to_quota=True, max_instances=10)
    kept = keep_to_endpoint_quotas(sizing, quotas_of({TYPES[0]: 50, TYPES[1]: 4.9}))
    assert [kept.max_instances(each) for each in TYPES] == [10, 4]
    assert [facts.max_instances for facts in kept.candidates] == [None, 4]
    [note] = kept.notes
    assert note.startswith("limits.max_instances is 4 for ml.c5.xlarge instead of 10: the quota")


def test_not_even_one_instance_can_not_be_lowered_to() -> None:
    with pytest.raises(QuotaTooLow, match="or leave that instance type out"):
        keep_to_endpoint_quotas(
            sizing_of(lower_to_quota=True), quotas_of({TYPES[0]: 50, TYPES[1]: 0})
        )


def test_a_quota_that_is_not_known_is_said_and_the_sizing_goes_on() -> None:
    sizing = keep_to_endpoint_quotas(
        sizing_of(), quotas_of({TYPES[0]: "AccessDeniedException", TYPES[1]: 20})
    )
    sizing = check_fargate(
        sizing, [a_plan()], quotas_of({}, fargate="EndpointConnectionError"), None
    )
    first, second = sizing.notes
    assert '"ml.m5.xlarge for endpoint usage" could not be read (AccessDeniedException)' in first
    assert "L-3032A538" in second
    assert "(EndpointConnectionError)" in second
    assert "2 vCPUs" in second
    assert sizing.max_instances(TYPES[0]) == 20


@pytest.mark.parametrize(
    "plans, vcpus",
    [
        ([a_plan()], 2),  # a worker and the leader
        ([a_plan(workers=3, worker_vcpus=2)], 7),
        ([a_plan(), a_plan(workers=2)], 5),  # side by side
    ],
)
def test_fargate_must_hold_all_first_load_tests_at_once(
    plans: list[LoadTestPlan], vcpus: int
) -> None:
    sizing = sizing_of()
    assert check_fargate(sizing, plans, quotas_of({}, fargate=vcpus), None) == sizing
    with pytest.raises(QuotaTooLow) as error:
        check_fargate(sizing, plans, quotas_of({}, fargate=vcpus - 1), None)
    text = str(error.value)
    assert f'"Fargate On-Demand" (L-3032A538) is {vcpus - 1}' in text
    assert f" {vcpus}. Raise it at https://eu-west-1.console" in text
    assert ("fewer instance_types" in text) is (len(plans) > 1)


def test_fargate_must_hold_a_load_test_at_the_target() -> None:
    sizing = sizing_for(100_000)  # 20 workers, by far more than one instance's baseline
    assert check_fargate(sizing, [a_plan()], quotas_of({}, fargate=21), None) == sizing
    with pytest.raises(QuotaTooLow, match="of a load test need 21"):
        check_fargate(sizing, [a_plan()], quotas_of({}, fargate=20), None)


@pytest.mark.parametrize(
    "tps, plans, addresses",
    [
        (100, [a_plan()], 2),  # one for each task, whatever its size
        (100, [a_plan(workers=3, worker_vcpus=8)], 4),
        (100, [a_plan(workers=200), a_plan(workers=200)], 402),
        (100_000, [a_plan()], 21),
    ],
)
def test_subnets_must_hold_an_address_for_every_task(
    tps: float, plans: list[LoadTestPlan], addresses: int
) -> None:
    sizing, quotas = sizing_for(tps), quotas_of({}, fargate=5000)
    assert check_fargate(sizing, plans, quotas, addresses) == sizing
    assert check_fargate(sizing, plans, quotas, None) == sizing  # not known: no reason to refuse
    with pytest.raises(QuotaTooLow) as error:
        check_fargate(sizing, plans, quotas, addresses - 1)
    text = str(error.value)
    assert text.startswith(f"{addresses - 1} addresses are free")
    assert f" need {addresses}," in text
    assert "SubnetIds" in text
    assert ("fewer instance_types" in text) is (len(plans) > 1)


def test_the_search_keeps_to_a_lowered_limit_and_says_so() -> None:
    sizing = sizing_for(300, prior_counts={TYPE: 7})
    low = {endpoint_usage(TYPE): Quota(endpoint_usage(TYPE).name_or_code, "L-1", 3)}
    request = sizing.request
    limits = request.limits.model_copy(update={"lower_to_quota": True})
    allowed = sizing.model_copy(update={"request": request.model_copy(update={"limits": limits})})
    answer, plans = search(keep_to_endpoint_quotas(allowed, low), ExactEndpoint(1000 / 15))
    assert answer.status is Status.TARGET_NOT_MET
    assert answer.limit == "limits.max_instances"
    assert "limits.max_instances is 3, lowered to the account's quota" in answer.reason
    assert {plan.instance_count for plan in plans} == {1}
