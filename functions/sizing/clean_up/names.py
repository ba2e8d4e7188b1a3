"""Names of everything a sizing creates; clean-up and IAM find it by these.

One prefix, given by the stack, stands before all of them: ``<prefix>-<sizing id>-<type>``.
"""

from __future__ import annotations

import hashlib

#: Tags on every resource of a sizing.
SIZING_TAG = "endpoint-sizer:sizing"
EXECUTION_TAG = "endpoint-sizer:execution"
#: Tag that is the same on all resources of all sizings, so that Cost Explorer can sum them up.
PURPOSE_TAG, PURPOSE = "endpoint-sizer:purpose", "sizing"
#: Tag on a candidate's model, endpoint config and endpoint, so that one that stays has a price.
INSTANCE_TYPE_TAG = "endpoint-sizer:instance-type"

#: The one production variant of each endpoint; SageMaker's own default name.
VARIANT_NAME = "AllTraffic"

#: Keys of the files of one sizing and one load test in the results bucket.
RESULT_FILE = "result.json"
REPORT_FILE = "report.html"
LOAD_TEST_FILE = "load_test.json"
RECORDS_FILE = "load_tests.json"
PAYLOADS_FILE = "payloads.jsonl"
#: A sample of production's requests, which ends with the sizing.
CAPTURED_FILE = "captured.jsonl"

_ID_LENGTH = 12
_LONGEST_NAME = 63  # of SageMaker models, endpoint configs and endpoints


def sizing_id(execution_arn: str) -> str:
    """The sizing's id, 12 hexadecimal digits: the same for the same execution, always."""
    return hashlib.sha256(execution_arn.encode()).hexdigest()[:_ID_LENGTH]


def name_prefix(state_machine: str) -> str:
    """The prefix that the stack whose state machine for sizings has this name gave all names."""
    return state_machine.removesuffix("-sizing")


def endpoint_log_group(endpoint_name: str) -> str:
    """The log group of an endpoint's containers, or with the beginning of a name theirs."""
    return f"/aws/sagemaker/Endpoints/{endpoint_name}"


def resource_prefix(prefix: str, sizing: str) -> str:
    """What the names of all models, endpoint configs and endpoints of a sizing begin with."""
    return f"{prefix}-{sizing}-"


def resource_name(prefix: str, sizing: str, instance_type: str) -> str:
    """Name of a candidate's model, endpoint config and endpoint.

    Raises:
        ValueError: The name would be longer than SageMaker allows (63).
    """
    name = resource_prefix(prefix, sizing) + instance_type.replace(".", "-")
    if len(name) > _LONGEST_NAME:
        raise ValueError(f"resource name of {len(name)} characters is longer than {_LONGEST_NAME}")
    return name


def sizing_of(prefix: str, name: str) -> str | None:
    """The sizing id in a resource's name; None if a sizing did not make that name."""
    head, _, rest = name.removeprefix(f"{prefix}-").partition("-")
    if not name.startswith(f"{prefix}-") or not rest or len(head) != _ID_LENGTH:
        return None
    return head if all(char in "0123456789abcdef" for char in head) else None


def sizing_folder(sizing: str) -> str:
    """Key prefix of a sizing's files in the results bucket."""
    return f"sizings/{sizing}/"


def latest_folder(model_key: str) -> str:
    """Key prefix of a model's latest answer in the results bucket."""
    return f"latest/{model_key}/"


def answer_parameter(prefix: str, model_key: str) -> str | None:
    """Name of the SSM parameter with a model package group's answer; None for another model.

    Of a group of another account or region, these stand before its name.
    """
    group = model_key.removeprefix("model_package_group/")
    return None if group == model_key else f"/{prefix}/answers/{group.replace(':', '/')}"


def load_test_folder(sizing: str, load_test_id: str) -> str:
    """Key prefix of a load test's files in the results bucket."""
    return f"{sizing_folder(sizing)}load-tests/{load_test_id}/"
