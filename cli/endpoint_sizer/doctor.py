"""``endpoint-sizer doctor``: what a deployed stack lacks for a first sizing, and what mends it."""

from __future__ import annotations

from pathlib import Path

import click

from endpoint_sizer import project
from endpoint_sizer.documents import check, read_json
from endpoint_sizer.endings import Failed
from endpoint_sizer.stack import Place, in_stack


@click.command(
    epilog="""\b
Examples:
  endpoint-sizer doctor
  endpoint-sizer doctor request.json --region eu-west-1

Exit codes: 0 nothing is missing, 1 something is; each line says the command that mends it."""
)
@click.argument("request", type=click.Path(path_type=Path), required=False)
@in_stack()
def doctor(place: Place, request: Path | None) -> None:
    """Say what a deployed stack lacks for a sizing.

    For any, or for that of a REQUEST: image, subscription, zones, addresses, quotas, and whether
    the model can be pulled.
    """
    project.make_importable()
    wanted = check(request, read_json(request)) if request is not None else None
    from endpoint_sizer import checks

    stack = place.open()
    found = checks.run(stack, wanted)
    for each in found:
        click.echo(f"{each.verdict.value:8} {each.what}")
        if each.mend:
            click.echo("".join(f"{'':9}{line}\n" for line in each.mend.splitlines()), nl=False)
    missing = sum(each.verdict is checks.Verdict.MISSING for each in found)
    if missing:
        raise Failed(f"{missing} of {len(found)} are missing for a sizing")
