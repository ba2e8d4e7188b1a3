"""What keeps Lambda from running an artifact is noticed before it is deployed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import artifact


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """An artifact that Lambda can run."""
    for name, content in {
        "a-1.dist-info/WHEEL": "Tag: py3-none-any\n",
        "b-1.dist-info/WHEEL": "Tag: cp313-cp313-manylinux_2_28_aarch64\n",
        "c-1.dist-info/WHEEL": "Tag: cp39-abi3-manylinux2014_aarch64\n",
        "b/b.cpython-313-aarch64-linux-gnu.so": "",
        "set_up/app.py": "",
        "image/locust_image/Dockerfile": "",
        "image/requirements/locust.txt": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def test_what_lambda_can_run_has_no_problem(built: Path) -> None:
    assert list(artifact.problems(built)) == []


@pytest.mark.parametrize("tag", ["cp313-cp313-manylinux_2_28_x86_64", "cp312-cp312-linux_aarch64"])
def test_a_wheel_for_another_machine_or_python(built: Path, tag: str) -> None:
    (built / "b-1.dist-info/WHEEL").write_text(f"Tag: {tag}\n")
    assert list(artifact.problems(built)) == [f"b-1.dist-info is for {tag}"]


@pytest.mark.parametrize("name", ["cpython-313-x86_64", "cpython-311-aarch64"])
def test_a_library_for_another_machine_or_python(built: Path, name: str) -> None:
    (built / f"b/c.{name}-linux-gnu.so").touch()
    [problem] = artifact.problems(built)
    assert "is for another machine or Python" in problem


def test_the_image_s_source_is_missing(built: Path) -> None:
    (built / "image/locust_image/Dockerfile").unlink()
    assert list(artifact.problems(built)) == ["image/locust_image/Dockerfile is missing"]


def test_too_large(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact, "MOST_BYTES", 10)
    [problem] = artifact.problems(built)
    assert problem.endswith("bytes unzipped, at most 10")
