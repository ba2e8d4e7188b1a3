"""``endpoint-sizer serve``: one local endpoint and nothing else, for any client to try."""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import click

from endpoint_sizer import project
from endpoint_sizer.endings import Failed, WrongUse, in_good_order
from endpoint_sizer.size import MODELS_OPTION

if TYPE_CHECKING:
    from rich.console import Console

    from local.endpoint.behaviour import LocalModel
    from local.endpoint.client import EndpointServer
    from local.endpoint.figures import LiveFigures
    from local.endpoint.instance_types import Processors

_MOST_INSTANCES: Final = 1000
_REGION: Final = "us-east-1"
_METRIC_PERIOD_SECONDS: Final = 60
_REPORT_SECONDS: Final = 2.0
_STATUS_POLL_SECONDS: Final = 0.05
_LONGEST_NAME: Final = 63
_EXAMPLE_BODY: Final = '{"inputs": "I am super happy right now."}'
_REPORTS_WITH_LIVE_INSTANCES: Final = 12


@click.command(
    epilog="""\b
Examples:
  endpoint-sizer serve --model distilbert-base-uncased \\
      --type ml.m5.12xlarge --count 1
  endpoint-sizer serve --models models.yaml --model mine \\
      --type ml.m5.large --count 2"""
)
@click.option("--model", required=True, metavar="ID", help="A key of the models file.")
@click.option(
    "--type", "instance_type", required=True, metavar="TYPE", help="Such as ml.m5.12xlarge."
)
@click.option(
    "--count",
    required=True,
    type=click.IntRange(1, _MOST_INSTANCES),
    metavar="N",
    help=f"Number of instances, 1 to {_MOST_INSTANCES}.",
)
@MODELS_OPTION
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    metavar="PORT",
    help="Port on 127.0.0.1.  [default: any that is free]",
)
def serve(model: str, instance_type: str, count: int, models: Path, port: int) -> None:
    """Serve a local endpoint until Ctrl-C.

    Prints the endpoint's name and the URL for AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME, then what the
    endpoint does. Any client of SageMaker Runtime works against it.
    """
    project.make_importable()
    from local.environment import isolated

    with isolated():  # imports already make clients, which read a profile
        _serve(model, instance_type, count, models, port)


def _serve(model: str, instance_type: str, count: int, models: Path, port: int) -> NoReturn:
    from endpoint_sizer.layout import console_of_stdout
    from local.endpoint.behaviour import ModelsFileError, UnknownModelError, load_models
    from local.endpoint.client import VARIANT_NAME, EndpointServer
    from local.endpoint.instance_types import UnknownInstanceTypeError, processors

    try:
        catalogue = load_models(models)
        behaviour = catalogue.behaviour(model, instance_type)
        catalogue.check_runs_here(model, instance_type)
        each = processors(instance_type)
    except (ModelsFileError, UnknownModelError, UnknownInstanceTypeError) as error:
        raise WrongUse(str(error)) from None
    name = _endpoint_name(model)
    console = console_of_stdout()
    with (
        in_good_order(),
        EndpointServer.start(cloudwatch_url=None, region=_REGION, port=port) as server,
    ):
        server.create(
            name,
            variant_name=VARIANT_NAME,
            instance_type=instance_type,
            vcpus=each.vcpus,
            gpus=each.gpus,
            memory_mib=each.memory_mib,
            instance_count=count,
            behaviour=behaviour,
            routing="LEAST_OUTSTANDING_REQUESTS",
            metric_period_seconds=_METRIC_PERIOD_SECONDS,
        )
        of_each = f"{each.vcpus} vCPUs" + (f", {each.gpus} GPUs" if each.gpus else "")
        console.print(f"Endpoint {name}: {count} x {instance_type} ({of_each} each)")
        _wait_until_in_service(server, name)
        click.echo(_how_to_call(name, server.url))
        _report(console, lambda: _figures(server.live(name), each, behaviour))


def _endpoint_name(model: str) -> str:
    """The model's id in the characters that an endpoint name may have."""
    return re.sub(r"[^a-zA-Z0-9]+", "-", model)[:_LONGEST_NAME].strip("-") or "local"


def _wait_until_in_service(server: EndpointServer, name: str) -> None:
    from local.endpoint.endpoint import EndpointStatus

    while (state := server.status(name)) is None or state.status is not EndpointStatus.IN_SERVICE:
        if state is None or state.status is EndpointStatus.FAILED:
            raise Failed(f"{name} is Failed: {state and state.failure_reason}")
        time.sleep(_STATUS_POLL_SECONDS)


def _how_to_call(name: str, url: str) -> str:
    body = shlex.quote(_EXAMPLE_BODY)
    return f"""
  export AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME={url}
  export AWS_DEFAULT_REGION={_REGION} AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local

  aws sagemaker-runtime invoke-endpoint --endpoint-name {name} \\
      --content-type application/json --cli-binary-format raw-in-base64-out \\
      --body {body} /dev/stdout
  curl {url}/endpoints/{name}/invocations \\
      -H 'Content-Type: application/json' -d {body}
  python3 -c 'import boto3; print(boto3.client("sagemaker-runtime").invoke_endpoint(
      EndpointName="{name}",
      ContentType="application/json", Body=b"{{}}")["Body"].read())'

Ctrl-C ends it.
"""


def _report(console: Console, figures: Callable[[], list[str]]) -> NoReturn:
    """Print what the endpoint does: in place on a terminal, else a line for each report."""
    from rich.live import Live

    from endpoint_sizer.layout import Packed

    in_place = console.is_terminal and not console.is_dumb_terminal
    with Live(console=console, auto_refresh=False) if in_place else nullcontext() as live:
        while True:
            if live is None:
                console.print("  ".join(figures()))
            else:
                live.update(Packed(figures()), refresh=True)
            time.sleep(_REPORT_SECONDS)


def _figures(live: LiveFigures, each: Processors, behaviour: LocalModel) -> list[str]:
    from local.endpoint.behaviour import ModelBehaviour

    mean = sum(live.cpu_percent) / max(1, len(live.cpu_percent))
    cpu = f"CPUUtilization {mean:.0f} % of {100 * each.vcpus} %"
    on_gpus = bool(each.gpus and isinstance(behaviour, ModelBehaviour) and behaviour.gpu_ms)
    figures = [
        time.strftime("%H:%M:%S"),
        cpu if on_gpus else f"{cpu} ({live.utilization_percent:.1f} %)",
        f"TPS {live.answers_per_second:.1f}",
        f"errors {live.errors_per_second:.1f}/s",
    ]
    if on_gpus:
        figures.insert(2, f"GPUs {live.utilization_percent:.1f} %")
    if 1 < len(live.cpu_percent) <= _REPORTS_WITH_LIVE_INSTANCES:
        figures.append(
            f"each instance {' '.join(f'{percent:.0f}' for percent in live.cpu_percent)} %"
        )
    return figures
