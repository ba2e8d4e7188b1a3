"""SageMaker: endpoints are served by the local endpoint server, as models.yaml says they behave.

moto keeps the records of models, endpoint configs and endpoints. It takes names twice, leaves
endpoints InService for ever and drops MetricsConfig; here creating and updating take their time, an
endpoint in progress refuses changes, and one that can't start ends in Failed, as on AWS.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partialmethod
from typing import Any, Final

from moto.sagemaker.exceptions import SagemakerClientError, ValidationError
from moto.sagemaker.models import FakeEndpointConfig, SageMakerModelBackend
from moto.sagemaker.responses import SageMakerResponse

from local import events
from local.clients import client
from local.endpoint.behaviour import (
    LocalModel,
    ModelBehaviour,
    ModelCatalogue,
    UnknownModelError,
)
from local.endpoint.client import EndpointCapacityError, EndpointServer, EndpointServerError
from local.endpoint.endpoint import CONTAINER_STARTUP_SECONDS
from local.endpoint.instance_types import Processors
from local.patches import Patch

#: SageMaker's defaults where an endpoint config says nothing.
_METRIC_PERIOD_SECONDS: Final = 60
_ROUTING: Final = "RANDOM"
_IN_PROGRESS: Final = frozenset({"Creating", "Updating", "Deleting"})


@dataclass(frozen=True)
class Endpoints:
    """The endpoint server, and how the models on it behave."""

    server: EndpointServer
    models: ModelCatalogue

    def create(self, name: str, variant: Mapping[str, Any], model: Any, period: int) -> None:
        """Start an endpoint of a variant of an endpoint config and its model."""
        instance_type = variant["InstanceType"]
        processors = _processors(instance_type)
        self.server.create(
            name,
            variant_name=variant["VariantName"],
            instance_type=instance_type,
            vcpus=processors.vcpus,
            gpus=processors.gpus,
            memory_mib=processors.memory_mib,
            instance_count=int(variant["InitialInstanceCount"]),
            behaviour=self._behaviour(model, instance_type),
            routing=(variant.get("RoutingConfig") or {}).get("RoutingStrategy", _ROUTING),
            metric_period_seconds=period,
            container_startup_seconds=variant.get("ContainerStartupHealthCheckTimeoutInSeconds")
            or CONTAINER_STARTUP_SECONDS,
        )

    def _behaviour(self, model: Any, instance_type: str) -> LocalModel:
        keys = model_keys(model.model_name, model.primary_container or model.containers[0])
        for key in keys:
            try:
                return self.models.behaviour(key, instance_type)
            except UnknownModelError as error:
                unknown = str(error)
        return ModelBehaviour(fail_startup=f"Local models file: {unknown}")


def model_keys(name: str, container: Mapping[str, Any]) -> list[str]:
    """What a model may be called in models.yaml, in the order they are looked up.

    Args:
        name: The model's name.
        container: A container as in CreateModel.
    """
    package = str(container.get("ModelPackageName") or "")
    # arn:aws:sagemaker:us-east-1:111122223333:model-package/<group>/<version>
    group = package.rpartition(":")[2].removeprefix("model-package/").partition("/")[0]
    repository = str(container.get("Image") or "").rpartition("/")[2].partition(":")[0]
    model_id = (container.get("Environment") or {}).get("HF_MODEL_ID", "")
    return [key for key in (model_id, group, name, repository) if key]


def patches(endpoints: Endpoints) -> Iterator[Patch]:
    """What to replace in moto."""
    backend = SageMakerModelBackend
    yield Patch(backend, "_get_resource_from_arn", _existing_resource)
    yield Patch(FakeEndpointConfig, "validate_instance_type", _any_instance_type)
    yield Patch(SageMakerResponse, "create_endpoint_config", _create_config_with_metrics)
    for name, store, kind in (
        ("create_model", "_models", "model"),
        ("create_endpoint_config", "endpoint_configs", "endpoint configuration"),
    ):
        yield Patch(backend, name, _unique(vars(backend)[name], store, kind))
    for name, call in (
        ("create_model_package", vars(backend)["create_model_package"]),
        ("update_model_package", _keeping(vars(backend)["update_model_package"])),
    ):
        yield Patch(backend, name, _telling(call))
    yield Patch(backend, "create_endpoint", partialmethod(_create_endpoint, endpoints))
    yield Patch(backend, "describe_endpoint", partialmethod(_describe_endpoint, endpoints))
    yield Patch(backend, "list_endpoints", partialmethod(_list_endpoints, endpoints))
    yield Patch(backend, "delete_endpoint", partialmethod(_delete_endpoint, endpoints))
    yield Patch(
        backend,
        "update_endpoint_weights_and_capacities",
        partialmethod(_update_capacities, endpoints),
    )


def _any_instance_type(_self: Any, instance_type: str) -> None:
    """moto's list is some years old; EC2's decides in ``_processors``."""
    if not instance_type.startswith("ml."):
        raise ValidationError(message=f"{instance_type} is not an instance type")


_resource_from_arn = vars(SageMakerModelBackend)["_get_resource_from_arn"]


def _keeping(update: Callable[..., str]) -> Callable[..., str]:
    """UpdateModelPackage that keeps what it is not told to change, as on AWS."""

    def kept(
        backend: SageMakerModelBackend,
        model_package_arn: str,
        model_approval_status: str | None,
        approval_description: str | None,
        customer_metadata_properties: Mapping[str, str] | None,
        *others: Any,
        **more: Any,
    ) -> str:
        names = backend.model_package_name_mapping
        package = backend.model_packages.get(names.get(model_package_arn, model_package_arn))
        properties = getattr(package, "customer_metadata_properties", None) or {}
        return update(
            backend,
            model_package_arn,
            model_approval_status or getattr(package, "model_approval_status", None),
            approval_description or getattr(package, "approval_description", None),
            {**properties, **(customer_metadata_properties or {})},
            *others,
            **more,
        )

    return kept


#: What UpdateModelPackage calls the fields that an event names.
_UPDATED_FIELDS: Final = {
    "model_approval_status": "ModelApprovalStatus",
    "approval_description": "ApprovalDescription",
    "customer_metadata_properties": "CustomerMetadataProperties",
}


def _telling(call: Callable[..., str]) -> Callable[..., str]:
    """Every change of a model package is an event, as on AWS; of an update it says what changed."""

    def told(backend: SageMakerModelBackend, *args: Any, **given: Any) -> str:
        arn = call(backend, *args, **given)
        package: Any = backend.model_packages[backend.model_package_name_mapping.get(arn, arn)]
        detail = {
            "ModelPackageGroupName": package.model_package_group_name,
            "ModelPackageVersion": package.model_package_version,
            "ModelPackageArn": arn,
            "ModelPackageStatus": package.model_package_status,
            "ModelApprovalStatus": package.model_approval_status,
        }
        updated = [field for name, field in _UPDATED_FIELDS.items() if given.get(name)]
        if "model_package_arn" in given:
            detail["UpdatedModelPackageFields"] = updated
        events.publish("aws.sagemaker", "SageMaker Model Package State Change", detail)
        return arn

    return told


def _existing_resource(backend: Any, arn: str) -> Any:
    """The tags of what is gone are refused; moto breaks."""
    resource = _resource_from_arn(backend, arn)
    if resource is None:
        raise ValidationError(message=f"Could not find {arn}.")
    return resource


_create_config_response = vars(SageMakerResponse)["create_endpoint_config"]


def _create_config_with_metrics(self: Any) -> Any:
    answer = _create_config_response(self)
    config = self.sagemaker_backend.endpoint_configs[self._get_param("EndpointConfigName")]
    config.metrics_config = self._get_param("MetricsConfig")
    return answer


def _unique(create: Callable[..., Any], store: str, kind: str) -> Callable[..., Any]:
    def create_unless_there(backend: Any, *arguments: Any, **named: Any) -> Any:
        name = next(iter(named.values()), None) or arguments[0]
        if name in getattr(backend, store):
            raise ValidationError(message=f'Cannot create already existing {kind} "{name}".')
        return create(backend, *arguments, **named)

    return create_unless_there


_create_endpoint_of_moto = vars(SageMakerModelBackend)["create_endpoint"]
_creating = threading.Lock()


def _create_endpoint(
    backend: Any,
    endpoints: Endpoints,
    endpoint_name: str,
    endpoint_config_name: str,
    tags: Sequence[Mapping[str, str]],
) -> Any:
    config = backend.endpoint_configs.get(endpoint_config_name)
    if config is None:
        raise ValidationError(
            message=f'Could not find endpoint configuration "{endpoint_config_name}".'
        )
    [variant] = config.production_variants
    model = backend.describe_model(variant["ModelName"])
    metrics = getattr(config, "metrics_config", None) or {}
    period = int(metrics.get("MetricPublishFrequencyInSeconds") or _METRIC_PERIOD_SECONDS)
    with _creating:
        if endpoint_name in backend.endpoints:
            raise ValidationError(
                message=f'Cannot create already existing endpoint "{endpoint_name}".'
            )
        endpoint = _create_endpoint_of_moto(backend, endpoint_name, endpoint_config_name, tags)
        endpoint.endpoint_status = "Creating"
        endpoint.production_variants[0]["DeployedImages"] = _deployed_images(model)
    try:
        endpoints.create(endpoint_name, variant, model, period)
    except EndpointServerError as error:
        backend.endpoints.pop(endpoint_name)
        raise _refusal(error) from error
    return endpoint


_describe_endpoint_of_moto = vars(SageMakerModelBackend)["describe_endpoint"]


def _describe_endpoint(backend: Any, endpoints: Endpoints, endpoint_name: str) -> Any:
    if endpoint_name in backend.endpoints:
        _refresh(endpoints, backend.endpoints[endpoint_name])
    return _describe_endpoint_of_moto(backend, endpoint_name)


_list_endpoints_of_moto = vars(SageMakerModelBackend)["list_endpoints"]


def _list_endpoints(backend: Any, endpoints: Endpoints, *arguments: Any, **named: Any) -> Any:
    for endpoint in list(backend.endpoints.values()):
        _refresh(endpoints, endpoint)
    return _list_endpoints_of_moto(backend, *arguments, **named)


_delete_endpoint_of_moto = vars(SageMakerModelBackend)["delete_endpoint"]


def _delete_endpoint(backend: Any, endpoints: Endpoints, endpoint_name: str) -> None:
    _refuse_in_progress(backend, endpoints, endpoint_name)
    _delete_endpoint_of_moto(backend, endpoint_name)
    endpoints.server.delete(endpoint_name)


def _update_capacities(
    backend: Any,
    endpoints: Endpoints,
    endpoint_name: str,
    desired_weights_and_capacities: Sequence[Mapping[str, Any]],
) -> str:
    _refuse_in_progress(backend, endpoints, endpoint_name)
    endpoint = backend.endpoints.get(endpoint_name)
    if endpoint is None:
        raise ValidationError(message=f'Could not find endpoint "{endpoint_name}".')
    [desired] = desired_weights_and_capacities
    [variant] = endpoint.production_variants
    if desired["VariantName"] != variant["VariantName"]:
        raise ValidationError(
            message=f'The variant name(s) "{desired["VariantName"]}" is/are not present within '
            f'endpoint configuration "{endpoint.endpoint_config_name}".'
        )
    count = int(desired["DesiredInstanceCount"])
    try:
        endpoints.server.scale(endpoint_name, count)
    except EndpointServerError as error:  # it has failed, or this machine has too few cores
        raise _refusal(error) from error
    variant["DesiredInstanceCount"] = count
    return str(endpoint.arn)


def _refusal(error: EndpointServerError) -> SagemakerClientError:
    """What SageMaker would say: cores that are all in use are its account limit."""
    if isinstance(error, EndpointCapacityError):
        return SagemakerClientError("ResourceLimitExceeded", f"Local models: {error}.")
    return ValidationError(message=str(error))


def _refuse_in_progress(backend: Any, endpoints: Endpoints, endpoint_name: str) -> None:
    endpoint = backend.endpoints.get(endpoint_name)
    if endpoint is None:
        return
    _refresh(endpoints, endpoint)
    if endpoint.endpoint_status in _IN_PROGRESS:
        raise ValidationError(message=f'Cannot update in-progress endpoint "{endpoint.arn}".')


def _refresh(endpoints: Endpoints, endpoint: Any) -> None:
    """Bring moto's record up to what the endpoint server says."""
    state = endpoints.server.status(endpoint.endpoint_name)
    if state is None:  # between moto's record and the server's
        return
    endpoint.endpoint_status = str(state.status)
    endpoint.failure_reason = state.failure_reason
    [variant] = endpoint.production_variants
    variant["CurrentInstanceCount"] = state.instance_count


def _deployed_images(model: Any) -> list[dict[str, str]]:
    """What SageMaker made of images: their digests, here ones of the names alone."""
    found = []
    for container in [model.primary_container or {}, *(model.containers or [])]:
        if image := container.get("Image"):
            name, _, digest = image.partition("@")
            repository = name.rpartition(":")[0] or name
            digest = digest or f"sha256:{hashlib.sha256(image.encode()).hexdigest()}"
            resolved = f"{repository}@{digest}"
            found.append({"SpecifiedImage": image, "ResolvedImage": resolved})
    return found


def _processors(instance_type: str) -> Processors:
    """Processors of a type, from the embedded EC2."""
    answer = client("ec2").describe_instance_types(
        InstanceTypes=[instance_type.removeprefix("ml.")]
    )
    [described] = answer["InstanceTypes"]
    return Processors.of(described)
