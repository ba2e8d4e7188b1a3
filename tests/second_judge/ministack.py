"""MiniStack for as long as a context lasts, and the stack deployed to it by ``sam deploy``."""

from __future__ import annotations

import os
import platform
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from local.clients import REGION
from local.environment import OF_NO_ACCOUNT, without_aws
from tests.second_judge.shims import deployable

ROOT: Final = Path(__file__).parents[2]
#: Twelve digits of an access key id are the account, in MiniStack; moto's is the same.
ACCOUNT: Final = "123456789012"
_START_SECONDS: Final = 60


class SecondJudgeError(Exception):
    """The second judge could not be started, or not deployed to."""


@contextmanager
def ministack(python: Path, folder: Path, **variables: str) -> Iterator[str]:
    """MiniStack with all it starts, in a process group that ends with the context.

    Args:
        python: Interpreter of MiniStack's environment.
        folder: For its files and its log.
        variables: Environment of it, and so of the functions.

    Yields:
        Its URL.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    environment = {
        **environment_of(url),
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "TMPDIR": str(folder),
        "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        **variables,
    }
    log = folder / "ministack.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, "-P", Path(__file__).with_name("in_ministack.py")],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_it_answers(process, url, log)
        yield url
    finally:
        _stop(process)


def environment_of(url: str) -> dict[str, str]:
    """Environment of a program that takes MiniStack for AWS."""
    return {
        **without_aws(os.environ),
        **OF_NO_ACCOUNT,
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": "local",
        "SAM_CLI_TELEMETRY": "0",
    }


def build(sam: Path, folder: Path) -> Path:
    """``sam build`` for this machine's Python and processor; returns the built template."""
    architecture = "aarch64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for_here = f"PYTHON_VERSION={version} PYTHON_PLATFORM={architecture}-manylinux_2_28"
    _run(
        [str(sam), "build", "--build-dir", str(folder / "build")],
        {**without_aws(os.environ), "MAKEFLAGS": f" -- {for_here}", "SAM_CLI_TELEMETRY": "0"},
    )
    return folder / "build" / "template.yaml"


def deploy(sam: Path, built: Path, url: str) -> None:
    """``sam deploy`` of the built template, with the defaults of samconfig.toml and the shims.

    The nightly schedule is off: at two o'clock it would start a night among the stories.
    """
    template = ["--template-file", str(deployable(built))]
    config = ["--config-file", str(ROOT / "samconfig.toml"), "--no-confirm-changeset"]
    config += ["--parameter-overrides", "ScheduleEnabled=false"]
    _run([str(sam), "deploy", *template, *config], environment_of(url))


def _run(command: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        command, env=environment, cwd=ROOT, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise SecondJudgeError(f"{' '.join(command[:2])}:\n{done.stdout}{done.stderr}")


def _wait_until_it_answers(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(f"{url}/_ministack/health", timeout=5):
            return
        time.sleep(0.1)
    raise SecondJudgeError(f"MiniStack does not answer:\n{log.read_text()[-2000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the whole group: functions are processes of it. Nothing is worth an orderly end."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
