"""The log files of a run: functions, tasks, state machines, and the embedded AWS itself."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

#: Inside the folder of the results.
FOLDER: Final = "logs"
FUNCTIONS: Final = "functions.log"
EMBEDDED_AWS: Final = "embedded-aws.log"
#: Trace of a fault of the command itself.
ERROR: Final = "error.log"

#: Loggers that would write a line for each request.
_QUIET: Final = ("werkzeug", "botocore", "moto.stepfunctions")


def fresh_folder(out: Path) -> Path:
    """The folder for logs, without those of a former run."""
    folder = out / FOLDER
    folder.mkdir(exist_ok=True)
    for path in (*folder.glob("*.log"), *folder.glob("*.jsonl")):
        path.unlink()
    return folder


@contextlib.contextmanager
def collected_in(folder: Path) -> Iterator[None]:
    """Functions print their log, and threads their warnings: into files, not over the progress."""
    handler = logging.FileHandler(folder / EMBEDDED_AWS)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root, former = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        with (
            (folder / FUNCTIONS).open("a", buffering=1) as functions,
            contextlib.redirect_stdout(functions),
            contextlib.redirect_stderr(functions),
        ):
            yield
    finally:
        root.removeHandler(handler)
        root.setLevel(former)
        handler.close()
