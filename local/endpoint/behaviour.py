"""How the local models behave: the contract of ``models.yaml``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from local.unique_keys import load_yaml

#: The models of a run that names no file of its own.
DEFAULT_MODELS_FILE = Path(__file__).parents[2] / "examples" / "models.yaml"

INSTANCE_TYPES_KEY = "instance_types"

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class ModelsFileError(ValueError):
    """The models file can't be used; the message names the file, the model and the field."""


class UnknownModelError(LookupError):
    """The models file says nothing of the model; the message names those it knows."""


class ModelBehaviour(BaseModel):
    """One model on one instance type. Field for field an entry of ``models.yaml``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    #: Mean CPU time of one request on one vCPU, ms.
    cpu_ms: _Positive = 240.0
    #: Coefficient of variation of the CPU time, which is lognormal; 0 for a constant.
    cpu_ms_cv: _NotNegative = 0.2
    #: Time off the CPU for each request, ms. No slot is held during it.
    wait_ms: _NotNegative = 5.0
    #: Requests that one instance works on at once; None for as many as it has vCPUs (GPUs).
    concurrency: Annotated[int, Field(ge=1)] | None = None
    #: Requests that may wait in one instance; the instance answers 503 to any more.
    queue_size: Annotated[int, Field(ge=0)] = 100
    #: Extra CPU time of a request at full utilization, as a fraction of the CPU time when idle.
    #: Less than 0 where batching makes a busy instance more efficient.
    contention: Annotated[float, Field(gt=-1, le=10, allow_inf_nan=False)] = 0.0
    #: MemoryUtilization of each instance; on GPU types GPUMemoryUtilization of each GPU as well.
    memory_percent: Annotated[float, Field(ge=0, le=100)] = 40.0
    #: Creating -> InService, and Updating -> InService, seconds.
    startup_seconds: _NotNegative = 1.0
    #: A FailureReason: the endpoint ends in Failed instead of InService.
    fail_startup: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    #: The endpoint answers ThrottlingException above this rate, requests per second.
    throttle_tps: _Positive | None = None
    #: Mean time of one request on one GPU, ms. Where it is set and the type has GPUs, a request
    #: holds a GPU instead of a vCPU, and uses ``cpu_ms`` of CPU time spread over that time.
    gpu_ms: _Positive | None = None


@dataclass(frozen=True)
class ModelCatalogue:
    """All models of one file."""

    source: str
    _default: Mapping[str, ModelBehaviour]
    _by_type: Mapping[tuple[str, str], ModelBehaviour]

    @property
    def models(self) -> tuple[str, ...]:
        """Keys of the models, in the file's order."""
        return tuple(self._default)

    def behaviour(self, model_key: str, instance_type: str) -> ModelBehaviour:
        """How a model behaves on an instance type.

        Args:
            model_key: Model id, model package group or model name.
            instance_type: Such as ``ml.m5.12xlarge``.

        Raises:
            UnknownModelError: Names the key and the keys that are known.
        """
        if model_key not in self._default:
            raise UnknownModelError(
                f"model {model_key!r} is not in {self.source}; known: {', '.join(self.models)}"
            )
        return self._by_type.get((model_key, instance_type), self._default[model_key])


def load_models(path: str | Path) -> ModelCatalogue:
    """Read and check a models file.

    Raises:
        ModelsFileError: The file is missing, is not YAML, or an entry of it is in error.
    """
    source = os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else str(path)
    try:
        text = Path(path).read_text("utf-8")
        document = load_yaml(text)
    except OSError as error:
        raise ModelsFileError(f"{source}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ModelsFileError(f"{source}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict) or not document:
        raise ModelsFileError(f"{source}: must be a mapping of model id to behaviour")

    default: dict[str, ModelBehaviour] = {}
    by_type: dict[tuple[str, str], ModelBehaviour] = {}
    for key, entry in document.items():
        where = f"{source}: {key}"
        if not isinstance(key, str):
            raise ModelsFileError(f"{where}: a model id must be a string; put it in quotes")
        fields = _mapping({} if entry is None else entry, where)
        overrides = _mapping(fields.pop(INSTANCE_TYPES_KEY, None) or {}, f"{where}: instance_types")
        default[key] = _behaviour(fields, where)
        for instance_type, override in overrides.items():
            of_type = f"{where}: instance_types: {instance_type}"
            if not str(instance_type).startswith("ml."):
                raise ModelsFileError(f"{of_type}: an instance type starts with ml.")
            by_type[key, instance_type] = _behaviour(
                fields | _mapping(override or {}, of_type), of_type
            )
    return ModelCatalogue(source, default, by_type)


def _mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ModelsFileError(f"{where}: must be a mapping, got {value!r}")
    return dict(value)


def _behaviour(fields: dict[str, Any], where: str) -> ModelBehaviour:
    try:
        return ModelBehaviour.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = first["loc"][0] if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            allowed = ", ".join([*ModelBehaviour.model_fields, INSTANCE_TYPES_KEY])
            raise ModelsFileError(f"{where}: {field}: unknown field; allowed: {allowed}") from error
        raise ModelsFileError(
            f"{where}: {field}: {first['msg'].lower()}, got {first['input']!r}"
        ) from error
