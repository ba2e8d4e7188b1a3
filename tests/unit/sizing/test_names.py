"""Names lead back to the sizing that made them, and to no other."""

from __future__ import annotations

import re

import pytest

from sizing.clean_up import names

ARN = "arn:aws:states:us-east-1:123456789012:execution:endpoint-sizer-sizing:nightly-1"


def test_the_id_depends_on_the_execution_alone() -> None:
    assert names.sizing_id(ARN) == names.sizing_id(ARN)
    assert names.sizing_id(ARN) != names.sizing_id(ARN + "2")
    assert re.fullmatch(r"[0-9a-f]{12}", names.sizing_id(ARN))


def test_a_resource_name_leads_back_to_its_sizing() -> None:
    sizing = names.sizing_id(ARN)
    name = names.resource_name("endpoint-sizer", sizing, "ml.m5.12xlarge")
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", name)
    assert names.sizing_of("endpoint-sizer", name) == sizing


@pytest.mark.parametrize(
    "foreign",
    [
        "endpoint-sizer",
        "endpoint-sizer-production",
        "endpoint-sizer-0123456789ab",
        "endpoint-sizer-0123456789AB-ml-m5-large",
        "my-endpoint-sizer-0123456789ab-ml-m5-large",
        "fraud-detector",
    ],
)
def test_a_foreign_name_belongs_to_no_sizing(foreign: str) -> None:
    assert names.sizing_of("endpoint-sizer", foreign) is None


def test_a_name_too_long_for_sagemaker_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than 63"):
        names.resource_name("p" * 40, "0123456789ab", "ml.m5.12xlarge")
