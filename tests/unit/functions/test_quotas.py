"""Quotas are read page by page, from the applied ones first, and never fail a sizing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError

from aws import quotas, subnets
from sizing.load_test.quota import Quota, QuotaKey, UnknownQuota, needed

Answered = Callable[..., list[dict[str, Any]]]

M5 = QuotaKey("sagemaker", "ml.m5.xlarge for endpoint usage")
C5 = QuotaKey("sagemaker", "ml.c5.xlarge for endpoint usage")
VCPUS = QuotaKey("fargate", "L-3032A538")


def a_quota(name: str, code: str, value: float) -> dict[str, Any]:
    return {"QuotaName": name, "QuotaCode": code, "Value": value}


def test_names_and_codes_are_found_on_whatever_page_they_are(answered: Answered) -> None:
    pages = {
        ("sagemaker", None): ([a_quota("ml.m5.xlarge for training job usage", "L-1", 7)], "more"),
        ("sagemaker", "more"): ([a_quota(M5.name_or_code, "L-2", 4)], "further"),
        ("sagemaker", "further"): ([a_quota("never asked for", "L-3", 9)], None),
        ("fargate", None): ([a_quota("Fargate vCPUs", "L-3032A538", 6)], None),
    }

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        found, token = pages[request["ServiceCode"], request.get("NextToken")]
        return {"Quotas": found, **({"NextToken": token} if token else {})}

    requests = answered("service-quotas", "ListServiceQuotas", answer)
    assert quotas.read([M5, VCPUS]) == {
        M5: Quota(M5.name_or_code, "L-2", 4),
        VCPUS: Quota("Fargate vCPUs", "L-3032A538", 6),
    }
    assert len(requests) == 3  # none after what was looked for


def test_what_was_never_raised_is_among_the_defaults(answered: Answered) -> None:
    applied = {"Quotas": [a_quota(M5.name_or_code, "L-2", 4)]}
    defaults = [a_quota(M5.name_or_code, "L-2", 0), a_quota(C5.name_or_code, "L-4", 2)]
    answered("service-quotas", "ListServiceQuotas", lambda _: applied)
    answered("service-quotas", "ListAWSDefaultServiceQuotas", lambda _: {"Quotas": defaults})
    found = quotas.read([M5, C5])
    assert found == {M5: Quota(M5.name_or_code, "L-2", 4), C5: Quota(C5.name_or_code, "L-4", 2)}


@pytest.mark.parametrize(
    "failure, why",
    [
        (ClientError({"Error": {"Code": "AccessDeniedException"}}, "x"), "AccessDeniedException"),
        (ConnectTimeoutError(endpoint_url="https://x"), "ConnectTimeoutError"),
        ({"Quotas": []}, "Service Quotas does not name it"),
        (  # as it answers where a quota can't be looked up
            {"Quotas": [{"QuotaName": M5.name_or_code, "QuotaCode": "L-2"}]},
            "Service Quotas does not name it",
        ),
    ],
)
def test_a_quota_that_can_not_be_read_says_why(answered: Answered, failure: Any, why: str) -> None:
    for operation in ("ListServiceQuotas", "ListAWSDefaultServiceQuotas"):
        answered("service-quotas", operation, lambda _: failure)
    assert quotas.read([M5]) == {M5: UnknownQuota(why)}


def test_reading_ends_in_time_and_keeps_what_it_has(answered: Answered) -> None:
    """SageMaker's list goes on for ever, a page in five seconds; Fargate's is read before it."""
    now = 0.0

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        nonlocal now
        now += 5
        if request["ServiceCode"] == "fargate":
            return {"Quotas": [a_quota("Fargate vCPUs", "L-3032A538", 6)]}
        number = int(request.get("NextToken", 0))
        name = M5.name_or_code if number == 1 else f"another one: {number}"
        return {"Quotas": [a_quota(name, f"L-{number}", 4)] * 100, "NextToken": str(number + 1)}

    requests = answered("service-quotas", "ListServiceQuotas", answer)
    defaults = answered("service-quotas", "ListAWSDefaultServiceQuotas", answer)
    keys = needed(["ml.m5.xlarge", "ml.c5.xlarge"])
    found = quotas.read(keys, clock=lambda: now)
    assert found[VCPUS] == Quota("Fargate vCPUs", "L-3032A538", 6)
    assert found[M5] == Quota(M5.name_or_code, "L-1", 4)
    assert found[C5] == UnknownQuota("Service Quotas took longer than 30 s to list them")
    assert now <= quotas.LONGEST_SECONDS + 5
    assert len(requests) == 7
    assert defaults == []


def test_addresses_are_those_of_all_subnets(aws: Callable[[str], Any]) -> None:
    vpc = aws("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    ids = [
        aws("ec2").create_subnet(VpcId=vpc, CidrBlock=block)["Subnet"]["SubnetId"]
        for block in ("10.0.0.0/21", "10.0.8.0/28")
    ]
    assert subnets.free_addresses(ids) == (2048 - 5) + (16 - 5)
    assert subnets.free_addresses(["subnet-00000000"]) is None
