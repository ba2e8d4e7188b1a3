"""What a request's model stands for: a container to deploy, or a model that exists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from aws.availability import is_denied
from aws.clients import client
from sizing.catalogue import hugging_face_images
from sizing.endpoint.deployment import ApiRequest, ModelSource
from sizing.errors import InvalidRequest
from sizing.request.request import Container, HuggingFaceModel, Model

#: Level of the inference toolkit's own log, as the ``sagemaker`` SDK sets it: INFO.
_CONTAINER_LOG_LEVEL = "20"

#: How SageMaker says that something does not exist.
_NOT_FOUND = {"ValidationException", "ResourceNotFound", "ResourceNotFoundException"}


def resolve(model: Model, instance_type: str, region: str) -> ModelSource:
    """What is deployed for a candidate.

    Args:
        model: The request's model.
        instance_type: The candidate's type; it decides between the images for CPUs and GPUs.
        region: The endpoint's region.

    Raises:
        InvalidRequest: The model, package, group or image does not exist, or can't be deployed.
    """
    if model.hugging_face:
        return _of_container(_hugging_face(model.hugging_face, instance_type, region))
    if model.container:
        return _of_container(_own(model.container, region))
    if model.model_name:
        return _of_model(model.model_name)
    if model.model_package_group:
        field, arn = "model.model_package_group", _latest_approved(model.model_package_group)
        return _of_package(field, arn)
    if model.model_package_arn:
        return _of_package("model.model_package_arn", model.model_package_arn)
    raise AssertionError(model.kind)  # a request has exactly one kind of model


def _hugging_face(model: HuggingFaceModel, instance_type: str, region: str) -> ApiRequest:
    image = hugging_face_images.image_uri(
        transformers_version=model.transformers_version,
        pytorch_version=model.pytorch_version,
        py_version=model.py_version,
        region=region,
        instance_type=instance_type,
    )
    return {
        "Image": image,
        "Environment": {
            "HF_MODEL_ID": model.model_id,
            "HF_TASK": model.task,
            "SAGEMAKER_CONTAINER_LOG_LEVEL": _CONTAINER_LOG_LEVEL,
            "SAGEMAKER_REGION": region,
        },
    }


def _own(container: Container, region: str) -> ApiRequest:
    field, image = "model.container.image_uri", container.image_uri
    image_region = image.partition("/")[0].split(".")[3]
    if image_region != region:
        raise InvalidRequest(field, f"must be an image in {region}, as the endpoint; got {image}")
    data = {"ModelDataUrl": container.model_data_url} if container.model_data_url else {}
    return {"Image": image, "Environment": container.environment, **data}


def _of_container(container: ApiRequest) -> ModelSource:
    return ModelSource(container, image=container["Image"], image_digest=_digest(container))


def _of_model(name: str) -> ModelSource:
    try:
        model = client("sagemaker").describe_model(ModelName=name)
    except ClientError as error:
        raise _not_usable("model.model_name", f"model {name}", error) from None
    _check_one_model(name, model)
    container: ApiRequest = model.get("PrimaryContainer") or next(
        iter(model.get("Containers", ())), {}
    )
    return ModelSource(
        model_name=name,
        package_arn=container.get("ModelPackageName"),
        image=container.get("Image"),
        image_digest=_digest(container),
    )


def _check_one_model(name: str, model: Mapping[str, Any]) -> None:
    """Refuse what an invocation must choose from: a request has payloads for one model alone."""
    containers = [model.get("PrimaryContainer", {}), *model.get("Containers", ())]
    if any(each.get("Mode") == "MultiModel" for each in containers):
        what = "hosts many models (Mode: MultiModel), and which are in memory decides its capacity"
    elif model.get("InferenceExecutionConfig", {}).get("Mode") == "Direct":
        what = "has containers that are invoked one by one (InferenceExecutionConfig: Direct)"
    else:
        return
    raise InvalidRequest(
        "model.model_name",
        f"model {name} {what}; allowed are models of one container, or of a serial pipeline: size "
        "each of its models by itself",
    )


def _of_package(field: str, arn: str) -> ModelSource:
    try:
        package = client("sagemaker").describe_model_package(ModelPackageName=arn)
    except ClientError as error:
        raise _not_usable(field, f"model package {arn}", error) from None
    if package["ModelPackageStatus"] != "Completed":
        raise InvalidRequest(
            field, f"model package {arn} must be Completed, it is {package['ModelPackageStatus']}"
        )
    specified = package.get("InferenceSpecification", {}).get("Containers", ())
    container: ApiRequest = next(iter(specified), {})
    return ModelSource(
        {"ModelPackageName": arn},
        package_arn=arn,
        image=container.get("Image"),
        image_digest=_digest(container),
    )


def _digest(container: Mapping[str, Any]) -> str | None:
    """Of a container's image, where it is named by it or the model registry has it."""
    named: str = container.get("Image", "").partition("@")[2]
    return container.get("ImageDigest") or named or None


def _latest_approved(group: str) -> str:
    """ARN of a group's newest package that is approved and complete."""
    field = "model.model_package_group"
    pages = (
        client("sagemaker")
        .get_paginator("list_model_packages")
        .paginate(
            ModelPackageGroupName=group,
            ModelApprovalStatus="Approved",
            SortBy="CreationTime",
            SortOrder="Descending",
        )
    )
    try:
        for page in pages:
            for package in page["ModelPackageSummaryList"]:
                if package["ModelPackageStatus"] == "Completed":
                    return str(package["ModelPackageArn"])
    except ClientError as error:
        raise _not_usable(field, f"model package group {group}", error) from None
    raise InvalidRequest(
        field, f"{group} has no model package that is Approved and Completed; approve one first"
    )


def _not_usable(field: str, what: str, error: ClientError) -> Exception:
    """InvalidRequest for what does not exist or may not be seen; other errors as they are."""
    code = error.response["Error"]["Code"]
    if code in _NOT_FOUND:
        return InvalidRequest(
            field, f"{what} does not exist in this region, in this account or shared with it"
        )
    if is_denied(error):
        return InvalidRequest(field, f"{what} can't be read: {error}")
    return error
