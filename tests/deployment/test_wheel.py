"""The wheel: all that the command needs, under one name, working wherever it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: Of the project, what the command needs besides its own package.
PARTS = (
    "examples",
    "functions",
    "local",
    "locust_image",
    "requirements/locust.txt",
    "requirements/real.txt",
    "statemachine",
    "template.yaml",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built with the backend that is installed here."""
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command in an environment of its own, which sees the packages of this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            "--no-deps",
            "--no-index",
            wheel,
        ],
        capture_output=True,
        timeout=600,
        check=True,
    )
    [packages] = (folder / "lib").glob("python*/site-packages")
    here = next(path for path in sys.path if path.endswith("site-packages"))
    # The libraries alone: not the .pth file there that leads to this checkout.
    (packages / "libraries.pth").write_text(here + "\n")
    return folder / "bin" / "endpoint-sizer"


def run(
    command: Path, folder: Path, *arguments: str, code: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder that is no checkout, without this one's paths."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [command, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done


def test_it_adds_one_name_to_site_packages(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"endpoint_sizer"}
    assert not [name for name in names if "__pycache__" in name or "/tests/" in name]


@pytest.mark.skipif(
    not (ROOT / ".git").exists(), reason="only a clone tells which files are the project's"
)
def test_it_holds_every_file_of_what_it_needs(wheel: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *PARTS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    here = {name for name in tracked if (ROOT / name).exists()}
    names = zipfile.ZipFile(wheel).namelist()
    prefix = "endpoint_sizer/project/"
    assert {name.removeprefix(prefix) for name in names if name.startswith(prefix)} == here


def test_it_works_from_any_folder(command: Path, wheel: Path, tmp_path: Path) -> None:
    version = wheel.name.split("-")[1]
    assert run(command, tmp_path, "--version").stdout == f"endpoint-sizer {version}\n"
    packages = next((command.parents[1] / "lib").glob("python*/site-packages"))
    examples = packages / "endpoint_sizer" / "project" / "examples"
    done = run(command, tmp_path, "validate", str(examples / "distilbert.json"))
    assert done.stdout == f"{examples}/distilbert.json: a valid request\n"
    assert '"$schema"' in run(command, tmp_path, "schema").stdout


def test_it_sizes_from_any_folder(command: Path, tmp_path: Path) -> None:
    request = (ROOT / "examples" / "distilbert.json").read_text().rstrip().removesuffix("}")
    (tmp_path / "request.json").write_text(request + ', "dry_run": true}')
    done = run(command, tmp_path, "size", "request.json", "--local")
    assert "Dry run: the request is valid" in done.stdout
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".lock",
        "logs",
        "report.html",
        "result.json",
    ]
