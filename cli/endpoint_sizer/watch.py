"""``endpoint-sizer watch`` and ``stop``: a sizing that runs in the stack."""

from __future__ import annotations

import click

from endpoint_sizer.endings import WrongUse, in_good_order
from endpoint_sizer.formats import output_option
from endpoint_sizer.gate import Gate, gated
from endpoint_sizer.stack import Place, in_stack


@click.command(
    epilog="""\b
Examples:
  endpoint-sizer watch 0123456789ab
  endpoint-sizer watch 0123456789ab --fail-on regressed

Ctrl-C ends the watching; the sizing goes on. Exit codes are those of size."""
)
@click.argument("sizing", metavar="ID")
@in_stack()
@gated
@output_option()
def watch(sizing: str, place: Place, gate: Gate, output: str) -> int:
    """Follow a sizing to its end, and say what it came to."""
    stack = place.open()
    gate = gate.prepared(stack)
    from endpoint_sizer import on_aws, running, sizings
    from endpoint_sizer.follow import monotonic_at
    from local.size.progress import AWS, Progress

    arn = sizings.find(stack, sizing)
    execution = sizings.describe(stack, arn)
    request = sizings.request_of(execution)
    started = monotonic_at(execution["startDate"].timestamp())
    progress = None
    if request is not None and execution["status"] == sizings.RUNNING:
        progress = Progress(request.model_dump(mode="json"), started, AWS)
    shown = running.Shown(progress, output)
    with in_good_order(on_aws.goes_on(arn)), shown.display:
        outcome = on_aws.follow(stack, arn, progress=progress, update=shown.display.update)
    running.print_end(outcome, output, sizings.uris(stack, arn, outcome))
    return running.ended(outcome, gate)


@click.command(
    epilog="""\b
Examples:
  endpoint-sizer stop 0123456789ab"""
)
@click.argument("sizing", metavar="ID")
@in_stack()
@output_option()
def stop(sizing: str, place: Place, output: str) -> None:
    """Stop a sizing that runs.

    The stack then removes all that it created. That takes minutes: an endpoint that SageMaker is
    still creating can't be deleted before it is there. A message tells when all is gone.
    """
    stack = place.open()
    from endpoint_sizer import on_aws, running, sizings

    arn = sizings.find(stack, sizing)
    execution = sizings.describe(stack, arn)
    if execution["status"] != sizings.RUNNING:
        raise WrongUse(f"sizing {sizing} does not run: it is {execution['status']}")
    on_aws.stop(stack, arn)
    running.print_execution(output, arn, "ABORTED")
