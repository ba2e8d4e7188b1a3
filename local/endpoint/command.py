"""``make endpoint``: one local endpoint and nothing else, for trying any client against it."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from local.endpoint.behaviour import (
    DEFAULT_MODELS_FILE,
    LocalModel,
    ModelBehaviour,
    ModelsFileError,
    UnknownModelError,
    load_models,
)
from local.endpoint.client import EndpointServer, EndpointServerError
from local.endpoint.endpoint import EndpointStatus
from local.endpoint.figures import LiveFigures
from local.endpoint.instance_types import Processors, UnknownInstanceTypeError, processors
from local.environment import isolated

VARIANT_NAME = "AllTraffic"
MAX_INSTANCES = 1000

_REGION = "us-east-1"
_METRIC_PERIOD_SECONDS = 60
_REPORT_SECONDS = 2.0
_STATUS_POLL_SECONDS = 0.05
_LONGEST_NAME = 63
_EXAMPLE_BODY = '{"inputs": "I am super happy right now."}'
_REPORTS_WITH_LIVE_INSTANCES = 12


class UsageError(ValueError):
    """An argument is in error; the message names it and what is allowed."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


@dataclass(frozen=True)
class _Options:
    behaviour: LocalModel
    model: str
    instance_type: str
    processors: Processors
    count: int
    port: int


def main(argv: Sequence[str]) -> int:
    """Run a local endpoint until Ctrl-C.

    Args:
        argv: ``--model ID --type ml.x --count N [--models FILE] [--port P]``.

    Returns:
        Exit code: 0 after Ctrl-C, 1 for an argument in error or an endpoint that can't start.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    # SIGINT too: started in the background by a shell, a process would be left to ignore it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        with isolated():
            return _run(_options(argv))
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        # Whoever read the output has gone; there is nobody to tell, nor at Python's own last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (
        EndpointServerError,
        ModelsFileError,
        UnknownInstanceTypeError,
        UnknownModelError,
        UsageError,
    ) as error:
        print(f"endpoint: {error}", file=sys.stderr)
        return 1


def _options(argv: Sequence[str]) -> _Options:
    parser = _Parser(prog="python -m local endpoint", description=__doc__)
    parser.add_argument("--model", required=True, help="a key of the models file")
    parser.add_argument("--type", required=True, help="instance type, such as ml.m5.12xlarge")
    parser.add_argument("--count", required=True, help="number of instances")
    parser.add_argument("--models", default=str(DEFAULT_MODELS_FILE), help="models file")
    parser.add_argument("--port", default="0", help="port on 127.0.0.1; any that is free")
    given = parser.parse_args(list(argv))
    catalogue = load_models(given.models)
    if not given.model:
        raise UsageError(f"MODEL (--model) is missing; known: {', '.join(catalogue.models)}")
    if not given.type:
        raise UsageError("TYPE (--type) is missing; it is an instance type such as ml.m5.12xlarge")
    behaviour = catalogue.behaviour(given.model, given.type)
    catalogue.check_runs_here(given.model, given.type)
    count = _whole_number("COUNT (--count)", given.count, 1, MAX_INSTANCES)
    port = _whole_number("--port", given.port, 0, 65535)
    return _Options(behaviour, given.model, given.type, processors(given.type), count, port)


def _whole_number(name: str, value: str, least: int, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value) or not least <= int(value) <= most:
        raise UsageError(f"{name} must be a whole number from {least} to {most}, got {value!r}")
    return int(value)


def _endpoint_name(model: str) -> str:
    """The model's id in the characters that an endpoint name may have."""
    return re.sub(r"[^a-zA-Z0-9]+", "-", model)[:_LONGEST_NAME].strip("-") or "local"


def _run(options: _Options) -> int:
    name = _endpoint_name(options.model)
    with EndpointServer.start(cloudwatch_url=None, region=_REGION, port=options.port) as server:
        server.create(
            name,
            variant_name=VARIANT_NAME,
            instance_type=options.instance_type,
            vcpus=options.processors.vcpus,
            gpus=options.processors.gpus,
            memory_mib=options.processors.memory_mib,
            instance_count=options.count,
            behaviour=options.behaviour,
            routing="LEAST_OUTSTANDING_REQUESTS",
            metric_period_seconds=_METRIC_PERIOD_SECONDS,
        )
        print(_introduction(options, name, server.url), flush=True)
        while True:
            state = server.status(name)
            if state is None or state.status is EndpointStatus.FAILED:
                raise EndpointServerError(f"{name} is Failed: {state and state.failure_reason}")
            if state.status is EndpointStatus.IN_SERVICE:
                break
            time.sleep(_STATUS_POLL_SECONDS)
        _report(server, name, options)


def _introduction(options: _Options, name: str, url: str) -> str:
    of_each = f"{options.processors.vcpus} vCPUs"
    if options.processors.gpus:
        of_each += f", {options.processors.gpus} GPUs"
    body = shlex.quote(_EXAMPLE_BODY)
    return f"""\
Endpoint {name}: {options.count} x {options.instance_type} ({of_each} each)

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

Ctrl-C ends it."""


def _report(server: EndpointServer, name: str, options: _Options) -> NoReturn:
    """Print what the endpoint does: in place on a terminal, else a line for each report."""
    in_place = sys.stdout.isatty()
    with contextlib.ExitStack() as at_end:
        if in_place:
            at_end.callback(print)
        while True:
            line = _figures(server.live(name), options)
            if in_place:
                width = os.get_terminal_size().columns - 1
                print(f"\r\x1b[K{line[:width]}", end="", flush=True)
            else:
                print(line, flush=True)
            time.sleep(_REPORT_SECONDS)


def _figures(live: LiveFigures, options: _Options) -> str:
    mean = sum(live.cpu_percent) / max(1, len(live.cpu_percent))
    line = (
        f"{time.strftime('%H:%M:%S')}  CPUUtilization {mean:.0f} %"
        f" of {100 * options.processors.vcpus} %"
    )
    behaviour = options.behaviour
    if options.processors.gpus and isinstance(behaviour, ModelBehaviour) and behaviour.gpu_ms:
        line += f"  GPUs {live.utilization_percent:.1f} %"
    else:
        line += f" ({live.utilization_percent:.1f} %)"
    line += f"  TPS {live.answers_per_second:.1f}  errors {live.errors_per_second:.1f}/s"
    if 1 < len(live.cpu_percent) <= _REPORTS_WITH_LIVE_INSTANCES:
        line += f"  each instance {' '.join(f'{percent:.0f}' for percent in live.cpu_percent)} %"
    return line
