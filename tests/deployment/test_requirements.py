"""The locks: whole, hashed, of one mind, and without the address of any registry."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "requirements"
NAMES = sorted(path.stem for path in FOLDER.glob("*.in"))
#: Those that share an environment, or whose code runs in one.
TOGETHER = ["functions", "locust", "local", "test", "lint"]
_PIN = re.compile(r"^([a-z0-9-]+)(?:\[[^]]*\])?==([^ ]+)( ; [^\\]*)?", re.MULTILINE)
_WANTED = re.compile(r"^([a-z0-9][a-z0-9-]*)", re.MULTILINE)


#: What the command needs, wherever it is installed.
PROJECT = [
    Requirement(each)
    for each in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
]


def pins(name: str) -> dict[str, set[str]]:
    """Versions of each package of a lock; more than one if they depend on the Python version."""
    found: dict[str, set[str]] = {}
    for package, version, _ in _PIN.findall((FOLDER / f"{name}.txt").read_text()):
        found.setdefault(package, set()).add(version)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_lock_holds_all_that_is_asked_for(name: str) -> None:
    asked = set(_WANTED.findall((FOLDER / f"{name}.in").read_text()))
    assert asked
    assert asked <= set(pins(name)), "run make lock"


@pytest.mark.parametrize("name", NAMES)
def test_every_package_is_pinned_by_hash(name: str) -> None:
    text = (FOLDER / f"{name}.txt").read_text()
    requirements = re.findall(r"^[a-z0-9].*(?:\n    .*)*", text, re.MULTILINE)
    assert len(requirements) >= len(pins(name)) > 0
    assert [each.splitlines()[0] for each in requirements if "--hash=sha256:" not in each] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_lock_names_no_address_and_no_path(name: str) -> None:
    text = (FOLDER / f"{name}.txt").read_text()
    assert re.findall(r"\w+://\S+|^-\S.*|(?<!\S)/\S+", text, re.MULTILINE) == []


def test_the_npm_lock_names_no_registry() -> None:
    lock = json.loads((ROOT / "tools/asl-validator/package-lock.json").read_text())
    packages = {name: each for name, each in lock["packages"].items() if name}
    assert packages
    assert [name for name, each in packages.items() if "resolved" in each] == []
    assert [name for name, each in packages.items() if "integrity" not in each] == []


@pytest.mark.parametrize("name", [name for name in TOGETHER if name != "test"])
def test_shared_packages_have_one_version(name: str) -> None:
    shared = pins("test")
    different = {
        package: (versions, shared[package])
        for package, versions in pins(name).items()
        if package in shared and shared[package] != versions
    }
    assert different == {}, "run make lock"


def test_the_sdk_in_tests_is_the_one_that_the_table_is_made_from() -> None:
    assert pins("sagemaker")["sagemaker-core"] == pins("test")["sagemaker-core"]
    table = json.loads((ROOT / "functions/sizing/catalogue/hugging_face_images.json").read_text())
    (version,) = pins("test")["sagemaker-core"]
    assert table["source"].startswith(f"sagemaker-core {version},"), "run make hugging-face-images"


def test_the_embedded_aws_is_exactly_the_one_that_is_adapted() -> None:
    [moto] = [each for each in PROJECT if each.name == "moto"]
    assert str(moto.specifier) == "==5.2.5"
    assert pins("local")["moto"] == {"5.2.5"}


def test_the_command_needs_what_functions_and_locust_need() -> None:
    wanted = {
        name
        for part in ("functions", "locust")
        for name in _WANTED.findall((FOLDER / f"{part}.in").read_text())
    }
    assert wanted <= {each.name for each in PROJECT}


@pytest.mark.parametrize("requirement", PROJECT, ids=lambda each: each.name)
def test_the_command_s_requirements_are_bounded_and_locked(requirement: Requirement) -> None:
    [locked] = pins("local")[requirement.name]
    assert locked in requirement.specifier, "run make lock"
    assert {each.operator for each in requirement.specifier} & {">=", "=="}


def test_what_step_functions_knows_is_read_from_the_sdk_of_that_date() -> None:
    listed = json.loads((ROOT / "local/stepfunctions/sdk_fields.json").read_text())
    assert {listed["botocore"]} == pins("step_functions_sdk")["botocore"], "run make sdk-fields"
    assert listed["released"] in (FOLDER / "step_functions_sdk.in").read_text()
