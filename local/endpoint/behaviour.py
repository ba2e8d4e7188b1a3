"""The local models, and how they behave: the contract of ``models.yaml``."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from local.endpoint import cores
from local.unique_keys import load_yaml

#: The models of a run that names no file of its own.
DEFAULT_MODELS_FILE = Path(__file__).parents[2] / "examples" / "models.yaml"

SERVE_KEY = "serve"
#: What tells a model server its port: SageMaker's own name, and the one that many servers know.
PORT_VARIABLES = ("SAGEMAKER_BIND_TO_PORT", "PORT")
INSTANCE_TYPES_KEY = "instance_types"
_LARGEST_FILE_BYTES = 1_048_576

_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
#: No process can be given one that holds a NUL.
_Argument = Annotated[str, Field(pattern=r"^[^\x00]*$")]
_VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


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


class Serve(BaseModel):
    """How a real model server is run. Field for field a ``serve`` of ``models.yaml``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    #: Program and arguments; in each, ``{port}`` becomes the port that it must listen on.
    command: Annotated[list[_Argument], Field(min_length=1)]
    #: Of its environment, besides the port's variables and what any program is given.
    environment: dict[_VariableName, _Argument] = {}
    #: Cores of this machine that one instance has for itself.
    vcpus: Annotated[int, Field(ge=1, le=1024)] = 1


class ServedModel(BaseModel):
    """A model whose instances are real model servers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    serve: Serve
    #: Where its command runs: the folder of the models file.
    folder: str = "."

    @property
    def program(self) -> str | None:
        """Path of the command's program; None where there is none."""
        name = self.serve.command[0]
        if os.sep in name:
            path = os.path.join(self.folder, name)  # noqa: PTH118 - resolves no symbolic links
            return path if os.access(path, os.X_OK) and Path(path).is_file() else None
        return shutil.which(name)


#: Either kind of local model.
LocalModel = ModelBehaviour | ServedModel


@dataclass(frozen=True)
class ModelCatalogue:
    """All models of one file."""

    source: str
    _default: Mapping[str, LocalModel]
    _by_type: Mapping[tuple[str, str], LocalModel]

    @property
    def models(self) -> tuple[str, ...]:
        """Keys of the models, in the file's order."""
        return tuple(self._default)

    def behaviour(self, model_key: str, instance_type: str) -> LocalModel:
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

    def check_runs_here(self, model_key: str, instance_type: str) -> None:
        """Check that this machine can run an instance of a model; any can simulate one.

        Raises:
            UnknownModelError: See ``behaviour``.
            ModelsFileError: A model server's program is missing, or cores are.
        """
        model = self.behaviour(model_key, instance_type)
        if not isinstance(model, ServedModel):
            return
        where = f"{self.source}: {model_key}: {SERVE_KEY}"
        _check_cores(model, where)
        if model.program is None:
            raise ModelsFileError(f"{where}: command: there is no program {model.serve.command[0]}")

    def check_cores(self, model_key: str) -> None:
        """Check that this machine has the cores for an instance of a model, on any type.

        Raises:
            UnknownModelError: See ``behaviour``.
            ModelsFileError: It has too few.
        """
        model = self.behaviour(model_key, "")
        if isinstance(model, ServedModel):
            _check_cores(model, f"{self.source}: {model_key}: {SERVE_KEY}")


def _check_cores(model: ServedModel, where: str) -> None:
    try:
        cores.Division.of(cores.of_this_process()).check(1, model.serve.vcpus)
    except cores.CapacityError as error:
        raise ModelsFileError(f"{where}: vcpus: {error}") from error


def load_models(path: str | Path) -> ModelCatalogue:
    """Read and check a models file.

    Raises:
        ModelsFileError: The file is missing, is not YAML, or an entry of it is in error.
    """
    source = os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else str(path)
    try:
        with Path(path).open("rb") as file:
            content = file.read(_LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise ModelsFileError(f"{source}: {error.strerror}") from error
    if len(content) > _LARGEST_FILE_BYTES:
        raise ModelsFileError(f"{source}: has more than {_LARGEST_FILE_BYTES:,} bytes")
    try:
        document = load_yaml(content.decode())
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, a 13th month
        raise ModelsFileError(f"{source}: not YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ModelsFileError(f"{source}: not YAML: it is nested too deeply") from error
    if not isinstance(document, dict) or not document:
        raise ModelsFileError(f"{source}: must be a mapping of model id to behaviour")

    folder = str(Path(path).parent.absolute())
    default: dict[str, LocalModel] = {}
    by_type: dict[tuple[str, str], LocalModel] = {}
    for key, entry in document.items():
        where = f"{source}: {key}"
        if not isinstance(key, str):
            raise ModelsFileError(f"{where}: a model id must be a string; put it in quotes")
        fields = _mapping({} if entry is None else entry, where)
        overrides = _mapping(fields.pop(INSTANCE_TYPES_KEY, None) or {}, f"{where}: instance_types")
        default[key] = _local_model(fields, folder, where)
        for instance_type, override in overrides.items():
            of_type = f"{where}: instance_types: {instance_type}"
            if not str(instance_type).startswith("ml."):
                raise ModelsFileError(f"{of_type}: an instance type starts with ml.")
            override = _mapping(override or {}, of_type)
            if isinstance(serve := fields.get(SERVE_KEY), dict) and SERVE_KEY in override:
                serve = serve | _mapping(override[SERVE_KEY], f"{of_type}: {SERVE_KEY}")
                override = {**override, SERVE_KEY: serve}
            by_type[key, instance_type] = _local_model(fields | override, folder, of_type)
    return ModelCatalogue(source, default, by_type)


def _mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ModelsFileError(f"{where}: must be a mapping, got {value!r}")
    return dict(value)


def _local_model(fields: dict[str, Any], folder: str, where: str) -> LocalModel:
    if SERVE_KEY not in fields:
        return _checked(ModelBehaviour, fields, where, [SERVE_KEY, INSTANCE_TYPES_KEY])
    for field in fields:
        if field != SERVE_KEY:
            raise ModelsFileError(
                f"{where}: {field}: not beside {SERVE_KEY}, where a real server decides how the "
                f"model behaves; allowed: {SERVE_KEY}, {INSTANCE_TYPES_KEY}"
            )
    where = f"{where}: {SERVE_KEY}"
    serve = _checked(Serve, _mapping(fields[SERVE_KEY], where), where)
    for name in PORT_VARIABLES:
        if name in serve.environment:
            raise ModelsFileError(
                f"{where}: environment: {name}: is given to each instance with a port of its own"
            )
    return ServedModel(serve=serve, folder=folder)


_ModelT = TypeVar("_ModelT", bound=BaseModel)


def _checked(
    model: type[_ModelT], fields: dict[str, Any], where: str, also_allowed: Sequence[str] = ()
) -> _ModelT:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ": ".join(str(part) for part in first["loc"] if part != "[key]")
        if first["type"] == "extra_forbidden":
            allowed = ", ".join([*model.model_fields, *also_allowed])
            raise ModelsFileError(f"{where}: {field}: unknown field; allowed: {allowed}") from error
        if first["type"] == "missing":
            raise ModelsFileError(f"{where}: {field}: is missing") from error
        raise ModelsFileError(
            f"{where}: {field}: {first['msg'].lower()}, got {first['input']!r}"
        ) from error
