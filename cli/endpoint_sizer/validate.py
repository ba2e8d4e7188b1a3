"""``endpoint-sizer validate`` and ``schema``: what a request may hold, without running anything."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from endpoint_sizer import project
from endpoint_sizer.documents import check, read_json
from endpoint_sizer.endings import Exit, WrongUse


@click.command(
    epilog="""\b
Examples:
  endpoint-sizer validate request.json
  endpoint-sizer validate profiles/*.json"""
)
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
def validate(files: tuple[Path, ...]) -> int:
    """Check requests and profiles, offline.

    A profile is a request without its model. What only the AWS account knows, such as whether a
    model package exists, is not looked at.
    """
    project.make_importable()
    ended = Exit.DONE
    for path in files:
        try:
            click.echo(f"{path}: a valid {_checked(path)}")
        except WrongUse as error:
            click.echo(f"error: {error}", err=True)
            ended = Exit.WRONG_USE
    return ended


def _checked(path: Path) -> str:
    """Check a file; returns what it is."""
    document = read_json(path)
    if isinstance(document, dict) and "model" not in document:
        check_profile(path, document)
        return "profile (a request without a model)"
    check(path, document)
    return "request"


def check_profile(path: Path, document: Any, group: str = "any") -> None:
    """Validate a profile.

    Args:
        path: Its file.
        document: The profile.
        group: The model package group that it is kept for.

    Raises:
        WrongUse: Names the file, the field and what is allowed there.
    """
    from sizing.errors import InvalidRequest
    from sizing.request.profile import parse_profile

    try:
        profile = parse_profile(json.dumps(document), group)
    except InvalidRequest as error:
        raise WrongUse(f"{path}: {error}") from None
    check(path, {**profile.written, "model": {"model_package_group": group}})


@click.command(
    epilog="""\b
Examples:
  endpoint-sizer schema > request.schema.json
  endpoint-sizer schema output > command.schema.json"""
)
@click.argument("what", type=click.Choice(["request", "output"]), default="request")
def schema(what: str) -> None:
    """Print the JSON Schema of a request, or of the output.

    WHAT is request, or output: what --output json prints, defined for each command by its name.
    """
    project.make_importable()
    if what == "output":
        from endpoint_sizer import printed

        click.echo(json.dumps(printed.schema(), indent=2))
    else:
        click.echo(json.dumps(request_schema(), indent=2))


def request_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a request.

    Whatever the sizing takes, it takes; conditions between fields are the sizing's alone.
    """
    from sizing.request.request import METRIC_PERIODS_SECONDS, Request

    written = Request.model_json_schema()
    parts = written["$defs"]
    parts["Measurement"]["properties"]["metric_period_seconds"]["enum"] = METRIC_PERIODS_SECONDS
    parts["Model"]["oneOf"] = _exactly_one(parts["Model"]["properties"])
    payloads = parts["Payloads"]["properties"]
    parts["Payloads"]["oneOf"] = _exactly_one(("inline", "s3_uri"))
    # These two may stand beside payloads as well as inside.
    written["properties"] |= {name: payloads[name] for name in ("content_type", "accept")}
    written["title"] = "Request of a sizing by endpoint-sizer"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_portable(written)}


def _portable(node: Any) -> Any:
    """Without expressions such as ``\\p{L}``, which half of the validators can't read."""
    if isinstance(node, dict):
        return {
            key: _portable(value)
            for key, value in node.items()
            if r"\p{" not in key and not (isinstance(value, str) and r"\p{" in value)
        }
    return [_portable(each) for each in node] if isinstance(node, list) else node


def _exactly_one(fields: Iterable[str]) -> list[dict[str, Any]]:
    """For ``oneOf``: a field that is null counts as absent."""
    return [
        {"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in fields
    ]
