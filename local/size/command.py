"""``make size``: runs one sizing on the embedded AWS and writes its result.

Exit codes: 0 SIZED or DRY_RUN, 2 TARGET_NOT_MET, 1 anything else, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from rich.console import Console

from local.endpoint.behaviour import (
    DEFAULT_MODELS_FILE,
    ModelCatalogue,
    ModelsFileError,
    UnknownModelError,
    load_models,
)
from local.size import logs
from sizing.clean_up import names
from sizing.errors import InvalidRequest
from sizing.request.refusal import field_path
from sizing.request.request import Request, parse_request
from sizing.search.answer import Status

_EXIT_CODES: Final = {Status.SIZED: 0, Status.DRY_RUN: 0, Status.TARGET_NOT_MET: 2}
#: What a sizing writes; those of a former one are removed before it starts.
_RESULTS: Final = (names.RESULT_FILE, names.REPORT_FILE)
#: Of a state machine's input, as StartExecution takes it.
_LARGEST_REQUEST_BYTES: Final = 262_144
#: Width of the tables where the output is not a terminal.
_WIDTH: Final = 120


class UsageError(ValueError):
    """The command can't be carried out as given; the message says why, in a line."""


class Interrupted(BaseException):
    """The user, or the system, wants the command to end now."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


@dataclass(frozen=True)
class Options:
    """What the command was given, checked."""

    request: Request
    document: Any
    models: ModelCatalogue
    out: Path


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)  # not argparse's exit code 2, which means TARGET_NOT_MET here


def main(argv: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    try:
        options = read_options(argv)
    except (UsageError, InvalidRequest) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDTH)
    with _signals():
        try:
            return _size(options, console)
        except Interrupted as interrupted:
            print("interrupted: nothing is left running", file=sys.stderr)
            return interrupted.exit_code
        except Exception as error:  # noqa: BLE001 - whatever it is, one line tells it
            # A fault of this program or of the machine: where it arose matters.
            trace = options.out / logs.FOLDER / logs.ERROR
            trace.parent.mkdir(parents=True, exist_ok=True)
            trace.write_text(traceback.format_exc())
            reason = " ".join(str(error).split()) or type(error).__name__
            print(f"error: {reason} (see {trace})", file=sys.stderr)
            return 1


def read_options(argv: Sequence[str]) -> Options:
    """Read and check the arguments and all files they name.

    Raises:
        UsageError: A file can't be read or written, or the models file does not fit.
        InvalidRequest: The request is in error.
    """
    parser = _Parser(prog="size", description="Size an endpoint on this machine, without AWS.")
    parser.add_argument("request", metavar="REQUEST", help="file with the request, JSON")
    parser.add_argument(
        "--models",
        default=str(DEFAULT_MODELS_FILE),
        help="how local models behave (default: examples/models.yaml)",
    )
    parser.add_argument("--out", default="out", help="folder for result and report (default: out)")
    given = parser.parse_args(argv)
    document = _read_json(Path(given.request))
    request = parse_request(document)
    models = _models(given.models, request)
    return Options(request, document, models, _writable(Path(given.out)))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_REQUEST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    if len(content) > _LARGEST_REQUEST_BYTES:
        raise UsageError(
            f"{path}: has more than {_LARGEST_REQUEST_BYTES:,} bytes, which is all that a "
            "state machine takes; put the payloads into a file and name it in payloads.s3_uri"
        )
    return content


def _read_json(path: Path) -> Any:
    content = _read(path)
    try:
        return json.loads(content, object_pairs_hook=_object, parse_constant=_no_number)
    except UnicodeDecodeError as error:
        reason = f"byte {error.start:,} is not {error.encoding.upper()}"
        raise UsageError(f"{path}: not JSON: {reason}") from None
    except json.JSONDecodeError as error:
        reason = f"{error.msg} in line {error.lineno}, column {error.colno}"
        raise UsageError(f"{path}: not JSON: {reason}") from None
    except RecursionError:
        raise UsageError(f"{path}: not a request: it is nested too deeply") from None
    except _NotStrictJson as error:
        raise UsageError(f"{path}: not JSON: {error}") from None
    except ValueError:  # Python's limit on the digits of whole numbers
        raise UsageError(f"{path}: not a request: a number has thousands of digits") from None


class _NotStrictJson(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; a field written twice would silently count once."""
    decoded = dict(pairs)
    if len(decoded) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _NotStrictJson(f"{field_path([twice])} is written twice in one object")
    return decoded


def _no_number(text: str) -> NoReturn:
    raise _NotStrictJson(f"{text} is no number of JSON's")


def _models(path: str, request: Request) -> ModelCatalogue:
    from local.models import keys_of

    try:
        models = load_models(path)
    except ModelsFileError as error:
        raise UsageError(str(error)) from None
    keys = keys_of(request.model)
    known = [key for key in keys if key in models.models]
    try:
        for instance_type in request.instance_types:
            models.check_runs_here((known or keys)[0], instance_type)
    except UnknownModelError as error:
        raise UsageError(f"model.{request.model.kind}: {error}") from None
    except ModelsFileError as error:
        raise UsageError(str(error)) from None
    return models


def _writable(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"--out {out}: {(error.strerror or str(error)).lower()}") from None
    return out


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """The first signal ends the command in good order, the second at once.

    Children don't outlive this process: they end when their pipes to it close.
    """
    ending = False

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal ending
        if ending:
            os._exit(128 + number)
        ending = True
        raise Interrupted(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _size(options: Options, console: Console) -> int:
    # Slow to import: only now, when all that the user gave is known to be right.
    from local.size import summary
    from local.size.display import display_for
    from local.size.progress import Progress
    from local.size.run import run

    progress = Progress(options.request.model_dump(mode="json"), time.monotonic())
    display = display_for(console, progress, time.monotonic)
    folder = _fresh(options.out)
    with logs.collected_in(folder), display:
        outcome = run(
            options.request,
            options.document,
            models=options.models,
            logs=folder,
            progress=progress,
            update=display.update,
        )
    files = [options.out / name for name in outcome.files]
    for path in files:
        path.write_bytes(outcome.files[path.name])
    if outcome.result is not None:
        summary.show(console, outcome.result, files=files)
    if outcome.error is None and outcome.result is not None:
        return _EXIT_CODES.get(outcome.result.status, 1)
    summary.show_logs(console, outcome.logs)
    print(f"error: {outcome.error or 'the sizing has no result'}", file=sys.stderr)
    return 1


def _fresh(out: Path) -> Path:
    """The folder for logs; results of a former run must not pass for this one's."""
    for name in _RESULTS:
        (out / name).unlink(missing_ok=True)
    return logs.fresh_folder(out)
