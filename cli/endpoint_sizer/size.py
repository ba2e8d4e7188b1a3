"""``endpoint-sizer size`` and ``demo``: run one sizing and write its result."""

from __future__ import annotations

import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from endpoint_sizer import project, real_server
from endpoint_sizer.documents import check, read_json
from endpoint_sizer.endings import Exit, Failed, WrongUse, in_good_order

if TYPE_CHECKING:
    from local.endpoint.behaviour import ModelCatalogue
    from local.size.run import Outcome
    from sizing.request.request import Request

MODELS_OPTION: Final = click.option(
    "--models",
    type=click.Path(path_type=Path),
    default=project.EXAMPLES / "models.yaml",
    metavar="FILE",
    help="How models behave on local endpoints.  [default: examples/models.yaml]",
)
_OUT_OPTION: Final = click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="out",
    show_default=True,
    metavar="DIR",
    help="Folder for result.json, report.html and logs.",
)


@click.command(
    epilog="""\b
Examples:
  endpoint-sizer size request.json --local
  endpoint-sizer size request.json --local \\
      --models models.yaml --out results

Exit codes: 0 SIZED or DRY_RUN, 2 TARGET_NOT_MET, 1 failed, 64 wrong use or an invalid
request, 130 interrupted."""
)
@click.argument("request", type=click.Path(path_type=Path))
@click.option("--local", is_flag=True, help="On this machine, with an embedded AWS.")
@MODELS_OPTION
@_OUT_OPTION
def size(request: Path, local: bool, models: Path, out: Path) -> int:
    """Size the endpoint that a REQUEST (a JSON file) asks for."""
    if not local:
        raise WrongUse(
            "a sizing on AWS is started by StartExecution of the deployed state machine (see "
            "README.md); to size on this machine, without AWS, add --local"
        )
    return _size(request, models, out)


@click.command(
    epilog="""\b
Examples:
  endpoint-sizer demo
  endpoint-sizer demo --real
  endpoint-sizer demo --out results"""
)
@click.option(
    "--real",
    is_flag=True,
    help="With a real model server, which is installed, in the place of a simulated one.",
)
@_OUT_OPTION
def demo(real: bool, out: Path) -> int:
    """Size the example of AWS's post on this machine.

    Takes three minutes and no AWS account: `size examples/distilbert.json --local`.
    """
    if real:
        real_server.provide()
        return _size(real_server.REQUEST, real_server.MODELS, out)
    return _size(project.EXAMPLES / "distilbert.json", project.EXAMPLES / "models.yaml", out)


def _size(path: Path, models: Path, out: Path) -> int:
    project.make_importable()
    from endpoint_sizer import output
    from local.environment import isolated

    document = read_json(path)
    request = check(path, document)
    # From here on, as imports already make clients, which read a profile.
    with isolated():
        behaviour = _models(models, path, request)
        with output.held(out) as logs:
            return _run(request, document, behaviour, out, logs)


def _models(models: Path, path: Path, request: Request) -> ModelCatalogue:
    from local.endpoint.behaviour import ModelsFileError, UnknownModelError, load_models
    from local.models import keys_of

    try:
        catalogue = load_models(models)
        keys = keys_of(request.model)
        known = [key for key in keys if key in catalogue.models]
        for instance_type in request.instance_types:
            catalogue.check_runs_here((known or keys)[0], instance_type)
    except ModelsFileError as error:
        raise WrongUse(str(error)) from None
    except UnknownModelError as error:
        raise WrongUse(f"{path}: model.{request.model.kind}: {error}") from None
    return catalogue


def _run(request: Request, document: Any, models: ModelCatalogue, out: Path, logs: Path) -> int:
    # Slow to import: only now, when all that the user gave is known to be right.
    from endpoint_sizer import output, summary
    from endpoint_sizer.display import display_for
    from endpoint_sizer.layout import console_of_stdout
    from local.size.logs import ERROR, collected_in
    from local.size.progress import DISTURBED_PERCENT, Progress
    from local.size.run import run

    console = console_of_stdout()
    progress = Progress(request.model_dump(mode="json"), time.monotonic())
    display = display_for(console, progress, time.monotonic)
    try:
        with in_good_order(), collected_in(logs), display:
            outcome = run(
                request,
                document,
                models=models,
                logs=logs,
                progress=progress,
                update=display.update,
            )
        files = output.replace(out, outcome.files)
    except BrokenPipeError:
        raise
    except Exception as error:
        # A fault of this program or of the machine: where it arose matters.
        (logs / ERROR).write_text(traceback.format_exc())
        reason = str(error) or type(error).__name__
        raise Failed(f"{reason} (see {logs / ERROR})") from error
    if outcome.result is not None:
        summary.show(console, outcome.result, files=files)
    if progress.others_percent > DISTURBED_PERCENT:
        summary.show_disturbed(console, progress.others_percent)
    summary.show_logs(console, outcome.logs)
    return _ended(outcome)


def _ended(outcome: Outcome) -> Exit:
    """The exit code; says why on standard error unless there is an answer."""
    from sizing import errors
    from sizing.result.message import sentence
    from sizing.search.answer import Status

    result, error = outcome.result, outcome.error
    if error is None and result is not None:
        if result.status in (Status.SIZED, Status.DRY_RUN):
            return Exit.DONE
        if result.status is Status.TARGET_NOT_MET:
            click.echo(" ".join(sentence(result).split()), err=True)
            return Exit.TARGET_NOT_MET
        error = sentence(result)
    name = result.error.name if result is not None and result.error is not None else ""
    if issubclass(getattr(errors, name, object), errors.InvalidRequest):
        raise WrongUse(error or "the request is invalid")
    raise Failed(error or "the sizing has no result")
