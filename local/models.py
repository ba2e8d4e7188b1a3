"""The models that a request can name as existing ones, in the account that is embedded.

On AWS a request may name a model, a model package or its group instead of a container. Here
models.yaml is what exists: the one that a request names is registered before the sizing starts.
"""

from __future__ import annotations

import re
from typing import Any

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.sagemaker.models import sagemaker_backends

from local.sagemaker import model_keys
from sizing.request.request import Model

_IMAGE = "111122223333.dkr.ecr.us-east-1.amazonaws.com/local:1"
_ROLE = "arn:aws:iam::111122223333:role/local"


def keys_of(model: Model) -> list[str]:
    """What a request's model may be called in models.yaml, in the order that is looked up."""
    if model.hugging_face:
        return model_keys("", {"Environment": {"HF_MODEL_ID": model.hugging_face.model_id}})
    if model.container:
        container = model.container
        return model_keys("", {"Image": container.image_uri, "Environment": container.environment})
    if model.model_package_arn:
        return model_keys("", {"ModelPackageName": model.model_package_arn})
    return [str(model.model_package_group or model.model_name)]


def register(sagemaker: Any, model: Model) -> None:
    """Register the model, package or group that a request names, if it names one.

    Args:
        sagemaker: The embedded SageMaker's client.
        model: The request's model.
    """
    if model.model_name:
        sagemaker.create_model(
            ModelName=model.model_name,
            ExecutionRoleArn=_ROLE,
            PrimaryContainer={"Image": _IMAGE},
        )
    elif model.model_package_group:
        register_package(sagemaker, model.model_package_group)
    elif model.model_package_arn:
        group, _, version = model.model_package_arn.partition(":model-package/")[2].partition("/")
        if re.fullmatch("[1-9][0-9]?", version):  # versions count from 1; others don't exist here
            for _ in range(int(version)):
                register_package(sagemaker, group)


def register_package(sagemaker: Any, group: str) -> str:
    """Add an approved version to a model package group, made if missing; returns its ARN."""
    known = sagemaker.list_model_package_groups(NameContains=group)
    if group not in (
        each["ModelPackageGroupName"] for each in known["ModelPackageGroupSummaryList"]
    ):
        sagemaker.create_model_package_group(ModelPackageGroupName=group)
    arn = sagemaker.create_model_package(
        ModelPackageGroupName=group,
        ModelApprovalStatus="PendingManualApproval",
        InferenceSpecification={
            "Containers": [{"Image": _IMAGE}],
            "SupportedContentTypes": ["application/json"],
            "SupportedResponseMIMETypes": ["application/json"],
        },
    )["ModelPackageArn"]
    # It has been approved before anybody was there to hear of it.
    backend = sagemaker_backends[DEFAULT_ACCOUNT_ID][sagemaker.meta.region_name]
    backend.model_packages[backend.model_package_name_mapping[arn]].set_model_approval_status(
        "Approved"
    )
    return str(arn)
