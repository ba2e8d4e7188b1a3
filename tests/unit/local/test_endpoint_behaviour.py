"""models.yaml: defaults, overrides, and one clear line for what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from local.endpoint.behaviour import (
    DEFAULT_MODELS_FILE,
    ModelBehaviour,
    ModelsFileError,
    Serve,
    ServedModel,
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
        ("a: {cpu: 3}\n", ", gpu_ms, serve, instance_types"),
        ("a: {serve: uvicorn}\n", "a: serve: must be a mapping, got 'uvicorn'"),
        ("a: {serve: }\n", "a: serve: must be a mapping, got None"),
        ("a: {serve: {vcpus: 1}}\n", "a: serve: command: is missing"),
        ("a: {serve: {command: []}}\n", "a: serve: command: list should have at least 1 item"),
        ("a: {serve: {command: run}}\n", "a: serve: command: input should be a valid list"),
        ("a: {serve: {command: [run, 8]}}\n", "a: serve: command: 1: input should be a valid str"),
        ("a: {serve: {command: [x], port: 1}}\n", "port: unknown field; allowed: command, env"),
        ("a: {serve: {command: [x], vcpus: 0}}\n", "a: serve: vcpus: input should be greater"),
        ("a: {serve: {command: [x], vcpus: 0.5}}\n", "a: serve: vcpus: input should be a valid"),
        (
            "a: {serve: {command: [x], environment: {N: 1}}}\n",
            "a: serve: environment: N: input should be a valid string, got 1",
        ),
        (
            "a: {serve: {command: [x], environment: {'A=B': c}}}\n",
            "a: serve: environment: A=B: string should match pattern",
        ),
        (
            "a: {serve: {command: [x], environment: {PORT: '8080'}}}\n",
            "a: serve: environment: PORT: is given to each instance with a port of its own",
        ),
        (
            "a: {serve: {command: [x]}, cpu_ms: 3}\n",
            "a: cpu_ms: not beside serve, where a real server decides how the model behaves; "
            "allowed: serve, instance_types",
        ),
        ("a: {serve: {command: [x]}, instance_types: {ml.m5.large: {cpu_ms: 1}}}\n", "cpu_ms: not"),
        ("a: {cpu_ms: 1, instance_types: {ml.m5.large: {serve: {}}}}\n", "cpu_ms: not beside"),
    ],
)
def test_a_file_in_error_is_refused_in_one_line(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ModelsFileError) as caught:
        load_models(write(tmp_path, text))
    assert complaint in str(caught.value)
    assert "models.yaml: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_served_model_runs_in_the_files_folder_and_a_type_overrides_what_it_names(
    tmp_path: Path,
) -> None:
    path = write(
        tmp_path,
        "a:\n  serve: {command: [run, '{port}'], environment: {N: '1'}}\n"
        "  instance_types:\n    ml.c5.xlarge: {serve: {vcpus: 4}}\n",
    )
    catalogue = load_models(path)
    assert catalogue.behaviour("a", "ml.m5.large") == ServedModel(
        serve=Serve(command=["run", "{port}"], environment={"N": "1"}, vcpus=1),
        folder=str(tmp_path),
    )
    assert catalogue.behaviour("a", "ml.c5.xlarge") == ServedModel(
        serve=Serve(command=["run", "{port}"], environment={"N": "1"}, vcpus=4),
        folder=str(tmp_path),
    )


def test_whether_a_model_runs_here_is_known_before_it_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(
        tmp_path,
        "simulated:\n"
        "here: {serve: {command: [./run]}}\n"
        "of-the-path: {serve: {command: [env]}}\n"
        "missing: {serve: {command: [./missing]}}\n"
        "not-a-program: {serve: {command: [./models.yaml]}}\n"
        "of-no-path: {serve: {command: [surely-not-a-program]}}\n"
        "large: {serve: {command: [./run], vcpus: 2}}\n",
    )
    (tmp_path / "run").touch(0o755)
    catalogue = load_models(path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    for model in ("simulated", "here", "of-the-path"):
        catalogue.check_runs_here(model, "ml.m5.large")
    for model in ("missing", "not-a-program", "of-no-path"):
        with pytest.raises(ModelsFileError, match=f"{model}: serve: command: there is no program"):
            catalogue.check_runs_here(model, "ml.m5.large")
    with pytest.raises(ModelsFileError) as caught:
        catalogue.check_runs_here("large", "ml.m5.large")
    assert str(caught.value).endswith(
        "models.yaml: large: serve: vcpus: 1 instance with 2 cores each and the load generator "
        "with 1 need 3 cores; this machine has 2"
    )


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelsFileError, match=r"nope\.yaml: No such file"):
        load_models(tmp_path / "nope.yaml")


def test_a_behaviour_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        ModelBehaviour().cpu_ms = 3  # type: ignore[misc] # frozen, as is shown here
