"""Which events of the model registry start a sizing, by the rule's pattern.

The event is the example of SageMaker's documentation ("Model package state change", Automating
Amazon SageMaker with Amazon EventBridge), without what no pattern looks at, and its variants.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from moto.events.models import EventPattern

EXAMPLE: dict[str, Any] = {
    "version": "0",
    "id": "844e2571-85d4-695f-b930-0153b71dcb42",
    "detail-type": "SageMaker Model Package State Change",
    "source": "aws.sagemaker",
    "account": "123456789012",
    "time": "2021-02-24T17:00:14Z",
    "region": "us-east-2",
    "resources": [
        "arn:aws:sagemaker:us-east-2:123456789012:model-package/versionedmp-p-idy6c3e1fiqj/2"
    ],
    "detail": {
        "ModelPackageGroupName": "versionedmp-p-idy6c3e1fiqj",
        "ModelPackageVersion": 2,
        "ModelPackageArn": "arn:aws:sagemaker:us-east-2:123456789012:model-package/"
        "versionedmp-p-idy6c3e1fiqj/2",
        "CreationTime": "2021-02-24T17:00:14Z",
        "ModelPackageStatus": "Completed",
        "ModelPackageStatusDetails": {"ValidationStatuses": [], "ImageScanStatuses": []},
        "CertifyForMarketplace": False,
        "ModelApprovalStatus": "Rejected",
        "LastModifiedTime": "2021-02-24T17:00:14Z",
    },
}


def starts(template: Mapping[str, Any], **detail: Any) -> bool:
    """Whether the rule matches the example with these fields."""
    pattern = dict(template["Resources"]["ModelPackageRule"]["Properties"]["EventPattern"])
    statuses = pattern["detail"]["ModelApprovalStatus"]
    assert statuses == [{"Ref": "ModelApprovalStatus"}]
    pattern["detail"] = {**pattern["detail"], "ModelApprovalStatus": ["Approved"]}
    event: Any = {**EXAMPLE, "detail": {**EXAMPLE["detail"], **detail}}
    return EventPattern(None, pattern).matches_event(event)


def approved(*updated: str) -> dict[str, Any]:
    return {"ModelApprovalStatus": "Approved", "UpdatedModelPackageFields": list(updated)}


@pytest.mark.parametrize(
    "detail",
    [
        # One that is registered as approved: some events don't say what has changed.
        {"ModelApprovalStatus": "Approved"},
        approved("ModelApprovalStatus"),
        approved("ApprovalDescription", "ModelApprovalStatus"),
        approved("ModelPackageStatus"),
    ],
)
def test_an_approval_starts_a_sizing(template: Mapping[str, Any], detail: dict[str, Any]) -> None:
    assert starts(template, **detail)


@pytest.mark.parametrize(
    "detail",
    [
        {},  # the example itself: rejected
        {"ModelApprovalStatus": "PendingManualApproval"},
        {**approved("ModelApprovalStatus"), "ModelPackageStatus": "InProgress"},
        {**approved("ModelApprovalStatus"), "ModelApprovalStatus": "Rejected"},
        # What is written back to an approved package, by this stack too.
        approved("CustomerMetadataProperties"),
        approved("ApprovalDescription"),
        approved("ModelLifeCycle", "StageDescription"),
    ],
)
def test_nothing_else_does(template: Mapping[str, Any], detail: dict[str, Any]) -> None:
    assert not starts(template, **detail)


def test_of_three_updates_of_an_approved_package_one_starts_a_sizing(
    template: Mapping[str, Any],
) -> None:
    fields = ("ModelApprovalStatus", "CustomerMetadataProperties", "ApprovalDescription")
    assert [starts(template, **approved(each)) for each in fields] == [True, False, False]
