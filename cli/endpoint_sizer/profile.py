"""``endpoint-sizer profile``: what is sized every night, and when a package is approved."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from endpoint_sizer import project
from endpoint_sizer.documents import read_json
from endpoint_sizer.endings import Failed, WrongUse
from endpoint_sizer.formats import Column, output_option, show, show_json
from endpoint_sizer.stack import Place, Stack, in_stack

if TYPE_CHECKING:
    from endpoint_sizer.printed import Profile

#: Of a parameter's value in the advanced tier, which Parameter Store chooses where it must.
_LARGEST: Final = 8192
_GROUP: Final = click.argument("group", metavar="GROUP")

_COLUMNS: Final = (
    Column("model package group", "model_package_group"),
    Column("enabled", "enabled", lambda enabled: "yes" if enabled else "paused"),
    Column("TPS", "target_tps", "{:,g}".format, right=True),
    Column("types", "instance_types", ", ".join),
    Column("notify", "notify"),
    Column("modified", "modified_at"),
    Column("error", "error"),
)
_DONE_COLUMNS: Final = (Column("model package group", "model_package_group"), Column("", "done"))


@click.group(
    epilog="""\b
Examples:
  endpoint-sizer profile list
  endpoint-sizer profile put sentiment profile.json
  endpoint-sizer profile pause sentiment"""
)
def profile() -> None:
    """Keep the profiles, which say what is sized by itself.

    A profile is a request without its model. Its model package group is sized every night, and when
    one of its packages is approved.
    """


@profile.command("list", epilog="\b\nExamples:\n  endpoint-sizer profile list --output json")
@in_stack()
@output_option()
def list_profiles(place: Place, output: str) -> None:
    """List the profiles, and what is wrong with them."""
    stack = place.open()
    from endpoint_sizer.printed import Profiles

    pages = stack.client("ssm").get_paginator("get_parameters_by_path")
    path = stack.output("ProfilesPath")
    found = tuple(
        _row(parameter) for page in pages.paginate(Path=path) for parameter in page["Parameters"]
    )
    document = Profiles(profiles=found)
    none = f"There is no profile; endpoint-sizer profile put GROUP FILE makes one under {path}."
    show(output, document, _COLUMNS, [each.model_dump() for each in found], none=none)


@profile.command(epilog="\b\nExamples:\n  endpoint-sizer profile get sentiment > profile.json")
@_GROUP
@in_stack()
@click.option("--output", type=click.Choice(["json"]), expose_value=False, help="Always JSON.")
def get(group: str, place: Place) -> None:
    """Print the profile of a GROUP, as put takes it."""
    show_json(_read(place.open(), group))


@profile.command(epilog="\b\nExamples:\n  endpoint-sizer profile put sentiment profile.json")
@_GROUP
@click.argument("file", type=click.Path(path_type=Path))
@in_stack()
@output_option()
def put(group: str, file: Path, place: Place, output: str) -> None:
    """Check a FILE and store it as the profile of a GROUP.

    GROUP is a model package group. A profile that it has is replaced.
    """
    project.make_importable()
    from endpoint_sizer.validate import check_profile

    document = read_json(file)
    check_profile(file, document, group)
    _write(place.open(), group, document)
    _say(output, group, "stored")


@profile.command(epilog="\b\nExamples:\n  endpoint-sizer profile pause sentiment")
@_GROUP
@in_stack()
@output_option()
def pause(group: str, place: Place, output: str) -> None:
    """Let nothing start a sizing of a GROUP; its profile stays."""
    _enable(place.open(), group, enabled=False)
    _say(output, group, "paused")


@profile.command(epilog="\b\nExamples:\n  endpoint-sizer profile resume sentiment")
@_GROUP
@in_stack()
@output_option()
def resume(group: str, place: Place, output: str) -> None:
    """Let sizings of a GROUP start again."""
    _enable(place.open(), group, enabled=True)
    _say(output, group, "resumed")


@profile.command(
    epilog="""\b
Examples:
  endpoint-sizer profile run sentiment
  endpoint-sizer profile run --all --max-cost 200"""
)
@click.argument("groups", metavar="[GROUP]...", nargs=-1)
@click.option("--all", "of_all", is_flag=True, help="Of all groups that have a profile.")
@click.option(
    "--max-cost",
    type=click.FloatRange(0, min_open=True),
    metavar="USD",
    help="What all sizings may cost together; the rest is skipped.",
)
@in_stack()
@output_option()
def run(
    groups: tuple[str, ...], of_all: bool, max_cost: float | None, place: Place, output: str
) -> None:
    """Start now what the night starts, for these GROUPs alone."""
    if bool(groups) is of_all:
        raise WrongUse("name the groups, or --all")
    stack = place.open()
    for group in groups:
        _read(stack, group)
    orders: dict[str, Any] = {"profiles": list(groups)} if groups else {}
    if max_cost is not None:
        orders["max_cost_usd"] = max_cost
    started = stack.client("stepfunctions").start_execution(
        stateMachineArn=stack.output("NightlyStateMachineArn"), input=json.dumps(orders)
    )
    from endpoint_sizer.printed import Execution

    row = Execution(sizing_id=None, execution_arn=started["executionArn"], status="RUNNING")
    columns = (Column("status", "status"), Column("nightly run", "execution_arn"))
    show(output, row, columns, [row.model_dump()])


@profile.command(epilog="\b\nExamples:\n  endpoint-sizer profile delete sentiment --yes")
@_GROUP
@in_stack()
@click.option("--yes", is_flag=True, help="Don't ask.")
@output_option()
def delete(group: str, place: Place, yes: bool, output: str) -> None:
    """Delete the profile of a GROUP; its results stay."""
    stack = place.open()
    _read(stack, group)
    if not yes:
        if not sys.stdin.isatty():
            raise WrongUse("--yes is needed where nobody can be asked")
        click.confirm(f"Delete the profile of {group}?", abort=True, err=True)
    stack.client("ssm").delete_parameter(Name=_name(stack, group))
    _say(output, group, "deleted")


def _name(stack: Stack, group: str) -> str:
    return f"{stack.output('ProfilesPath')}/{group}"


def _read(stack: Stack, group: str) -> Any:
    """The profile of a group.

    Raises:
        WrongUse: There is none.
        Failed: It is not JSON.
    """
    from botocore.exceptions import ClientError

    try:
        answer = stack.client("ssm").get_parameter(Name=_name(stack, group))
        return json.loads(answer["Parameter"]["Value"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "ParameterNotFound":
            raise
        raise WrongUse(
            f"{group} has no profile in stack {stack.name} (see endpoint-sizer profile list)"
        ) from None
    except ValueError as error:
        raise Failed(f"the profile of {group} is not JSON: {error}") from None


def _write(stack: Stack, group: str, document: Any) -> None:
    value = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    if len(value.encode()) > _LARGEST:
        raise WrongUse(
            f"the profile has more than {_LARGEST:,} bytes, which is all that Parameter Store "
            "takes; put the payloads into a file and name it in payloads.s3_uri"
        )
    stack.client("ssm").put_parameter(
        Name=_name(stack, group),
        Value=value,
        Type="String",
        Tier="Intelligent-Tiering",
        Overwrite=True,
    )


def _enable(stack: Stack, group: str, *, enabled: bool) -> None:
    document = _read(stack, group)
    if not isinstance(document, dict):
        raise Failed(f"the profile of {group} is not a JSON object")
    _write(stack, group, {**document, "enabled": enabled})


def _say(output: str, group: str, done: str) -> None:
    from endpoint_sizer.printed import ProfileDone

    row = ProfileDone(model_package_group=group, done=done)
    show(output, row, _DONE_COLUMNS, [row.model_dump()])


def _row(parameter: dict[str, Any]) -> Profile:
    from endpoint_sizer.printed import Profile
    from endpoint_sizer.validate import check_profile

    group = parameter["Name"].rpartition("/")[2]
    document, wrong = None, None
    try:
        document = json.loads(parameter["Value"])
        check_profile(Path(group), document, group)
    except (WrongUse, ValueError) as error:
        wrong = str(error).removeprefix(f"{group}: ")
    fields = document if isinstance(document, dict) else {}
    target = fields.get("target")
    return Profile(
        model_package_group=group,
        enabled=fields.get("enabled") is not False,
        instance_types=tuple(map(str, fields.get("instance_types") or ())),
        target_tps=target.get("tps") if isinstance(target, dict) else None,
        notify=fields.get("notify"),
        modified_at=parameter["LastModifiedDate"].isoformat(timespec="seconds"),
        error=wrong,
    )
