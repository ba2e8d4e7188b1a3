"""What the demo with a real model server runs, installed when it is first asked for."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import venv
from pathlib import Path
from typing import Final

import click

from endpoint_sizer import project
from endpoint_sizer.endings import Failed, WrongUse, in_good_order

_EXAMPLE: Final = project.EXAMPLES / "real"
REQUEST: Final = _EXAMPLE / "request.json"
MODELS: Final = _EXAMPLE / "models.yaml"
_REQUIREMENTS: Final = project.ROOT / "requirements" / "real.txt"

_WHAT: Final = """\
A real model on a real server: Magika, a network of 3 MB that tells what kind of file some bytes
are, on onnxruntime behind uvicorn. It has a core of this machine for itself, and what is measured
is that core; the instance type is only its name."""
_INSTALLING: Final = "installing magika, onnxruntime and uvicorn (170 MB) into {}"
#: Settings by which pip and Python would look, or install, elsewhere than in the environment.
_INSTALL_ELSEWHERE: Final = {"PIP_PREFIX", "PIP_TARGET", "PYTHONHOME", "PYTHONPATH"}


def provide() -> None:
    """Say what it is, install it unless it is there, and put its programs first on the PATH.

    Raises:
        WrongUse: This machine can't run it.
        Failed: It could not be installed.
    """
    project.make_importable()
    from local.endpoint.behaviour import ModelsFileError, load_models

    try:
        for model in (catalogue := load_models(MODELS)).models:
            catalogue.check_cores(model)
    except ModelsFileError as error:
        raise WrongUse(str(error)) from None
    click.echo(_WHAT)
    folder = _folder()
    installed = folder / "installed"
    digest = hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()
    if not installed.is_file() or installed.read_text() != digest:
        click.echo(_INSTALLING.format(folder))
        with in_good_order():
            _install(folder)
        installed.write_text(digest)
    os.environ["PATH"] = os.pathsep.join([str(folder / "bin"), os.environ.get("PATH", os.defpath)])


def _folder() -> Path:
    """An environment of its own: beside the others of a checkout, else where caches go."""
    if project.IS_CHECKOUT:
        return project.ROOT / ".venv-real"
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "endpoint-sizer" / "real"


def _install(folder: Path) -> None:
    try:
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failed(f"{folder} could not be made: {error}") from None
    kept = {name: value for name, value in os.environ.items() if name not in _INSTALL_ELSEWHERE}
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install"]
    done = subprocess.run(
        [*pip, "--quiet", "--require-hashes", "--only-binary", ":all:", "-r", str(_REQUIREMENTS)],
        env={**kept, "PIP_USER": "0"},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise Failed(f"{_REQUIREMENTS} could not be installed: {lines[-1]}")
