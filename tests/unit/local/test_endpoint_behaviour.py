"""models.yaml: defaults, overrides, and one clear line for what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from local.endpoint.behaviour import (
    DEFAULT_MODELS_FILE,
    ModelBehaviour,
    ModelsFileError,
    UnknownModelError,
    load_models,
)


def write(folder: Path, text: str) -> Path:
    path = folder / "models.yaml"
    path.write_text(text)
    return path


def test_the_examples_are_in_order() -> None:
    catalogue = load_models(DEFAULT_MODELS_FILE)
    method = catalogue.behaviour(
        "distilbert-base-uncased-finetuned-sst-2-english", "ml.m5.12xlarge"
    )
    assert method.cpu_ms == 240
    assert catalogue.behaviour("broken-container", "ml.m5.large").fail_startup


def test_a_field_left_out_has_its_default_and_a_type_overrides_what_it_names(
    tmp_path: Path,
) -> None:
    path = write(
        tmp_path,
        "org/model:\n  cpu_ms: 60\n  wait_ms: 1\n"
        "  instance_types:\n    ml.c5.xlarge: {cpu_ms: 40, concurrency: 2}\n"
        "empty:\n",
    )
    catalogue = load_models(path)
    assert catalogue.models == ("org/model", "empty")
    assert catalogue.behaviour("empty", "ml.m5.large") == ModelBehaviour()
    assert catalogue.behaviour("org/model", "ml.m5.large") == ModelBehaviour(cpu_ms=60, wait_ms=1)
    assert catalogue.behaviour("org/model", "ml.c5.xlarge") == ModelBehaviour(
        cpu_ms=40, wait_ms=1, concurrency=2
    )


def test_an_unknown_model_is_named_beside_the_known_ones(tmp_path: Path) -> None:
    catalogue = load_models(write(tmp_path, "a: {}\nb: {}\n"))
    with pytest.raises(UnknownModelError) as caught:
        catalogue.behaviour("c", "ml.m5.large")
    assert str(caught.value).startswith("model 'c' is not in ")
    assert str(caught.value).endswith("models.yaml; known: a, b")


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("", "must be a mapping of model id to behaviour"),
        ("- a\n", "must be a mapping of model id to behaviour"),
        ("a: [1\n", "not YAML"),
        ("a: 3\n", "a: must be a mapping, got 3"),
        ("7: {}\n", "7: a model id must be a string"),
        ("a: {cpu_ms: 0}\n", "a: cpu_ms: input should be greater than 0, got 0"),
        ("a: {cpu_ms: fast}\n", "a: cpu_ms: input should be a valid number, got 'fast'"),
        ("a: {cpu_ms: .inf}\n", "a: cpu_ms: input should be a finite number, got inf"),
        ("a: {concurrency: 1.5}\n", "a: concurrency: input should be a valid integer, got 1.5"),
        ("a: {queue_size: -1}\n", "a: queue_size: input should be greater than or equal to 0"),
        ("a: {queue_size: true}\n", "a: queue_size: input should be a valid integer, got True"),
        ("a: {memory_percent: 101}\n", "a: memory_percent: input should be less than or equal"),
        ("a: {contention: -1}\n", "a: contention: input should be greater than -1"),
        ("a: {cpu: 3}\n", "a: cpu: unknown field; allowed: cpu_ms, cpu_ms_cv, wait_ms"),
        ("a: {cpu_ms: 3, cpu_ms: 4}\n", "'cpu_ms' is listed more than once"),
        ("a: {}\na: {}\n", "'a' is listed more than once"),
        ("a: {instance_types: [ml.x]}\n", "a: instance_types: must be a mapping"),
        ("a: {instance_types: {m5.large: {}}}\n", "instance_types: m5.large: an instance type"),
        ("a: {instance_types: {ml.m5.large: {cpu_ms: -1}}}\n", "ml.m5.large: cpu_ms: input should"),
        ("a: {instance_types: {ml.m5.large: {instance_types: {}}}}\n", "unknown field; allowed"),
    ],
)
def test_a_file_in_error_is_refused_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ModelsFileError) as caught:
        load_models(write(tmp_path, text))
    assert complaint in str(caught.value)
    assert "models.yaml: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelsFileError, match=r"nope\.yaml: No such file"):
        load_models(tmp_path / "nope.yaml")


def test_a_behaviour_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        ModelBehaviour().cpu_ms = 3  # type: ignore[misc] # frozen, as is shown here
