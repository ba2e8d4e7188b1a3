"""The command and its verbs. What they run is imported when they run: help comes at once."""

from __future__ import annotations

from typing import Final

import click

from endpoint_sizer.audit import audit
from endpoint_sizer.compare import compare
from endpoint_sizer.completion import completion
from endpoint_sizer.costs import costs
from endpoint_sizer.doctor import doctor
from endpoint_sizer.image import image
from endpoint_sizer.local_aws import local_aws
from endpoint_sizer.profile import profile
from endpoint_sizer.register import register
from endpoint_sizer.serve import serve
from endpoint_sizer.show import list_sizings, report, show_sizing
from endpoint_sizer.size import demo, size
from endpoint_sizer.validate import schema, validate
from endpoint_sizer.watch import stop, watch

NAME: Final = "endpoint-sizer"


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  endpoint-sizer demo
  endpoint-sizer size request.json --local
  endpoint-sizer size request.json --stack-name endpoint-sizer
  endpoint-sizer list
  endpoint-sizer validate request.json profile.json

Exit codes: 0 done (a sizing: SIZED or DRY_RUN), 2 TARGET_NOT_MET, 3 what --fail-on names, 1 failed,
64 wrong use or an invalid request, 130 interrupted.""",
)
@click.version_option(None, "-V", "--version", package_name=NAME, message="%(prog)s %(version)s")
@click.pass_context
def endpoint_sizer(context: click.Context) -> None:
    """Find the instances that a SageMaker real-time endpoint needs, by load testing it."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
        raise click.UsageError("a command is missing", context)


for _command in (
    demo,
    size,
    watch,
    stop,
    list_sizings,
    show_sizing,
    report,
    compare,
    profile,
    register,
    costs,
    audit,
    doctor,
    image,
    local_aws,
    serve,
    validate,
    schema,
    completion,
):
    endpoint_sizer.add_command(_command)
