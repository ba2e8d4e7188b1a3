"""``endpoint-sizer local-aws``: the embedded AWS by itself, for as long as it is wanted."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn

import click

from endpoint_sizer import project
from endpoint_sizer.documents import reason
from endpoint_sizer.endings import WrongUse, in_good_order
from endpoint_sizer.size import MODELS_OPTION, OUT_OPTION
from endpoint_sizer.stack import LOCAL_PORT, local_environment

#: Between two looks at the clock, seconds; as precise as schedules are.
_LOOK_SECONDS: Final = 30.0


@click.command(
    epilog="""\b
Examples:
  endpoint-sizer local-aws
  endpoint-sizer local-aws --models models.yaml --port 5000"""
)
@MODELS_OPTION
@OUT_OPTION
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=LOCAL_PORT,
    show_default=True,
    metavar="PORT",
    help="Port on 127.0.0.1; --local of the other commands means the default.",
)
def local_aws(models: Path, out: Path, port: int) -> None:
    """Run the whole stack on this machine until Ctrl-C.

    All other commands work with it by --local, and every client of AWS by the variables that are
    printed. Its schedules run as on AWS. It forgets everything when it ends.
    """
    project.make_importable()
    from local.environment import isolated

    with isolated():  # imports already make clients, which read a profile
        _run(models, out, port)


def _run(models: Path, out: Path, port: int) -> NoReturn:
    import socket

    from endpoint_sizer import files
    from endpoint_sizer.layout import console_of_stdout
    from local.embedded import EmbeddedAws
    from local.endpoint.behaviour import ModelsFileError, load_models
    from local.size.logs import collected_in

    try:
        catalogue = load_models(models)
        with socket.socket() as free:  # the server would wait for ever
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", port))
    except ModelsFileError as error:
        raise WrongUse(str(error)) from None
    except OSError as error:
        raise WrongUse(f"--port {port}: {reason(error)}") from None
    console = console_of_stdout()
    variables = " ".join(f"{name}={value}" for name, value in local_environment(port).items())
    with (
        files.held(out) as logs,
        in_good_order(),
        collected_in(logs),
        EmbeddedAws(models=catalogue, logs=logs, port=port) as aws,
    ):
        console.print("The stack endpoint-sizer runs on this machine. Ctrl-C ends it.", end="\n\n")
        console.print(f"  export {variables}", soft_wrap=True)
        scheduler = aws.scheduler(datetime.now(UTC))
        while True:
            scheduler.run_due(datetime.now(UTC))
            time.sleep(_LOOK_SECONDS)
