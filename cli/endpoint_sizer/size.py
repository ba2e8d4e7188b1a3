"""``endpoint-sizer size`` and ``demo``: run one sizing and write its result."""

from __future__ import annotations

import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from endpoint_sizer import project
from endpoint_sizer.documents import check, read_json
from endpoint_sizer.endings import Exit, Failed, WrongUse, in_good_order
from endpoint_sizer.formats import output_option
from endpoint_sizer.gate import NO_GATE, Gate, gated
from endpoint_sizer.stack import Place, in_stack

if TYPE_CHECKING:
    from local.endpoint.behaviour import ModelCatalogue
    from sizing.request.request import Request

MODELS_OPTION: Final = click.option(
    "--models",
    type=click.Path(path_type=Path),
    default=project.EXAMPLES / "models.yaml",
    metavar="FILE",
    help="How models behave on local endpoints.  [default: examples/models.yaml]",
)
#: Locust's own.
_UI_HOST: Final = "http://127.0.0.1"
_UI_PORT: Final = 8089
OUT_OPTION: Final = click.option(
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
  endpoint-sizer size request.json
  endpoint-sizer size request.json --detach
  endpoint-sizer size request.json --fail-on regressed
  endpoint-sizer size request.json --local \\
      --models models.yaml --out results
  endpoint-sizer size request.json --local --ui

Ctrl-C stops the sizing, on AWS as well. Closing the terminal does not: it goes on there.

Exit codes: 0 SIZED or DRY_RUN, 2 TARGET_NOT_MET, 3 what --fail-on, --max-count or --max-cost
name, 1 failed, 64 wrong use or an invalid request, 130 interrupted."""
)
@click.argument("request", type=click.Path(path_type=Path))
@in_stack(local="On this machine, with an embedded AWS of its own.")
@click.option("--detach", is_flag=True, help="Start it and print its id; don't wait for its end.")
@click.option(
    "--ui",
    is_flag=True,
    help=f"With --local: show each load test in Locust's own web UI, at {_UI_HOST}:{_UI_PORT}.",
)
@gated
@MODELS_OPTION
@OUT_OPTION
@output_option()
def size(
    request: Path,
    place: Place,
    detach: bool,
    ui: bool,
    gate: Gate,
    models: Path,
    out: Path,
    output: str,
) -> int:
    """Size the endpoint that a REQUEST, a JSON file, asks for."""
    if not place.local:
        if ui:
            raise WrongUse("--ui needs --local: a leader on AWS answers nobody but its workers")
        return _size_on_aws(request, place, out, gate, output, detach=detach)
    if detach or place.is_named:
        raise WrongUse("--local sizes on this machine: it takes neither --detach nor a stack")
    return _size_here(request, models, out, gate, output, _UI_PORT if ui else None)


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
@OUT_OPTION
def demo(real: bool, out: Path) -> int:
    """Size the example of AWS's post on this machine.

    Takes three minutes and no AWS account: `size examples/distilbert.json --local`.
    """
    if real:
        from endpoint_sizer import real_server

        real_server.provide()
        return _size_here(real_server.REQUEST, real_server.MODELS, out)
    return _size_here(project.EXAMPLES / "distilbert.json", project.EXAMPLES / "models.yaml", out)


def _size_here(
    path: Path,
    models: Path,
    out: Path,
    gate: Gate = NO_GATE,
    output: str = "table",
    web_port: int | None = None,
) -> int:
    project.make_importable()
    from endpoint_sizer import files
    from local.environment import isolated

    document = read_json(path)
    request = check(path, document)
    gate = gate.prepared(None)
    # From here on, as imports already make clients, which read a profile.
    with isolated():
        behaviour = _models(models, path, request)
        with files.held(out) as logs:
            return _run_here(request, document, behaviour, out, logs, gate, output, web_port)


def _run_here(
    request: Request,
    document: Any,
    models: ModelCatalogue,
    out: Path,
    logs: Path,
    gate: Gate,
    output: str,
    web_port: int | None,
) -> int:
    # Slow to import: only now, when all that the user gave is known to be right.
    from endpoint_sizer import files, running, summary
    from local.size.logs import ERROR, collected_in
    from local.size.progress import DISTURBED_PERCENT, Progress
    from local.size.run import run

    progress = Progress(request.model_dump(mode="json"), time.monotonic())
    shown = running.Shown(progress, output)
    if web_port is not None:
        summary.show_web_ui(shown.console, f"{_UI_HOST}:{web_port}")
    try:
        with in_good_order(), collected_in(logs), shown.display:
            outcome = run(
                request,
                document,
                models=models,
                logs=logs,
                progress=progress,
                update=shown.display.update,
                web_port=web_port,
            )
        written = files.replace(out, outcome.files)
    except BrokenPipeError:
        raise
    except Exception as error:
        # A fault of this program or of the machine: where it arose matters.
        (logs / ERROR).write_text(traceback.format_exc())
        reason = str(error) or type(error).__name__
        raise Failed(f"{reason} (see {logs / ERROR})") from error
    running.print_end(outcome, output, written)
    if output == "table":
        if progress.others_percent > DISTURBED_PERCENT:
            summary.show_disturbed(shown.console, progress.others_percent)
        summary.show_logs(shown.console, outcome.logs)
    return running.ended(outcome, gate)


def _size_on_aws(
    path: Path, place: Place, out: Path, gate: Gate, output: str, *, detach: bool
) -> int:
    project.make_importable()
    document = read_json(path)
    request = check(path, document)
    stack = place.open()
    gate = gate.prepared(stack)
    from endpoint_sizer import files, on_aws, running
    from local.size.progress import AWS, Progress

    arn = on_aws.new_arn(stack)
    if detach:
        if gate.is_closed:
            raise WrongUse("--detach does not wait for what --fail-on and --max-... look at")
        on_aws.start(stack, arn, document)
        running.print_execution(output, arn)
        return Exit.DONE
    progress = Progress(request.model_dump(mode="json"), time.monotonic(), AWS)
    shown = running.Shown(progress, output)
    with files.held(out):
        with in_good_order(on_aws.may_go_on(arn)), shown.display:
            outcome = on_aws.run(
                stack, arn, document, progress=progress, update=shown.display.update
            )
        running.print_end(outcome, output, files.replace(out, outcome.files))
    return running.ended(outcome, gate)


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
