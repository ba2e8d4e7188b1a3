"""``endpoint-sizer audit``: what production endpoints get, and whether they fit. Loads nothing."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from endpoint_sizer.endings import WrongUse
from endpoint_sizer.formats import Column, output_option, show
from endpoint_sizer.stack import Place, in_account

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aws.production import Variant
    from sizing.catalogue.instance import InstanceFacts
    from sizing.production.audit import Audited, Judgement

_DAY_SECONDS: Final = 86_400
_MOST_DAYS: Final = 15  # CloudWatch keeps minutes for so long


def _usd(amount: float) -> str:
    from sizing.result.message import whole_usd

    return whole_usd(amount)


_COLUMNS: Final = (
    Column("endpoint", "endpoint"),
    Column("type", "instance_type"),
    Column("count", "instance_count", right=True),
    Column("peak TPS", "peak_tps", "{:.3g}".format, right=True),
    Column("at peak", "peak_utilization_percent", "{:.0f} %".format, right=True),
    Column("a month", "monthly_cost_usd", _usd, right=True),
    Column("verdict", "verdict"),
    Column("fits", "suggested_count", right=True),
    Column("saves", "saving_usd_a_month", _usd, right=True),
)
_WHY: Final = Column("why", "why")


@click.command(
    epilog="""\b
Examples:
  endpoint-sizer audit
  endpoint-sizer audit checkout-ranking --days 7
  endpoint-sizer audit --page audit.html --write-profiles profiles/
  endpoint-sizer audit --output json | jq '.[] | select(.verdict == "too_large")'"""
)
@click.argument("endpoints", metavar="[NAMES]", nargs=-1)
@in_account()
@click.option("--all", "every", is_flag=True, help="All of account and region; also without NAME.")
@click.option(
    "--days",
    type=click.IntRange(1, _MOST_DAYS),
    default=14,
    show_default=True,
    metavar="N",
    help="How far to look back.",
)
@click.option(
    "--write-profiles",
    "profiles",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write a profile for each endpoint that is worth a sizing.",
)
@click.option(
    "--page",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a page of it too, which needs no network.",
)
@output_option()
def audit(
    endpoints: tuple[str, ...],
    place: Place,
    every: bool,
    days: int,
    profiles: Path | None,
    page: Path | None,
    output: str,
) -> None:
    """Judge production endpoints by their own metrics.

    Nothing is changed and nothing loaded. A count is suggested only where an endpoint's own history
    tells it. Reading 14 days of 200 endpoints costs about $0.01.
    """
    if every and endpoints:
        raise WrongUse("name endpoints or say --all, not both")
    if page is not None and not page.parent.is_dir():
        raise WrongUse(
            f"--page {page}: there is no folder {page.parent}"
        )  # before minutes of reading
    from endpoint_sizer.printed import Audit

    region = place.enter()
    with place.reached():
        judged = list(_audited(list(dict.fromkeys(endpoints)), days, region))
    found = Audit(tuple(row for _, row in judged))
    rows = [each.model_dump() | {"monthly_cost_usd": each.monthly_cost_usd} for each in found.root]
    columns = _COLUMNS if output == "table" else (*_COLUMNS, Column("variant", "variant"), _WHY)
    show(output, found, columns, rows, none="There is no endpoint in this account and region.")
    if output == "table":
        for each in found.root:
            click.echo(f"\n{each.endpoint}, {each.variant}: {each.why}.")
    if page is not None:
        _write_page(page, found.root, region, days)
        click.echo(f"{page} shows all of it", err=output != "table")
    if profiles is not None:
        from sizing.production.audit import Verdict

        for variant, row in judged:
            if Verdict(row.verdict).is_worth_a_sizing and row.peak_tps:
                click.echo(_written(variant, profiles), err=output != "table")


def _write_page(path: Path, audited: Sequence[Audited], region: str, days: int) -> None:
    from endpoint_sizer.documents import reason
    from report.audit import render

    try:
        path.write_text(render(audited, region, days, time.time()), encoding="utf-8")
    except OSError as error:
        raise WrongUse(f"--page {path}: {reason(error)}") from None


def _written(variant: Variant, folder: Path) -> str:
    """Write the profile of an endpoint; returns what to tell of it."""
    named = {"name": variant.endpoint, "variant": variant.name}
    profile: dict[str, Any] = {
        "instance_types": [variant.instance_type],
        "target": {"from_endpoint": named},
    }
    missing = "" if variant.captures else ", once it has payloads: the endpoint captures none"
    if variant.captures:
        captured = {"endpoint": variant.endpoint, "variant": variant.name}
        profile["payloads"] = {"data_capture": captured}
    path = folder / f"{variant.endpoint}.{variant.name}.json"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x") as file:
            file.write(json.dumps(profile, indent=2) + "\n")
    except FileExistsError:
        return f"{path} is there already, and is left as it is"
    return f"{path} is for `endpoint-sizer profile put GROUP {path}`{missing}"


def _audited(names: Sequence[str], days: int, region: str) -> Iterator[tuple[Variant, Audited]]:
    from aws import prices, production
    from sizing.load_test.observation import Window
    from sizing.production import audit as judge
    from sizing.production.audit import PERIOD_SECONDS

    variants, missing = production.variants(names or production.endpoint_names())
    if missing and names:
        raise WrongUse(f"there is no endpoint {', '.join(missing)}")
    known, whys = _types({each.instance_type for each in variants if each.instance_type})
    priced = {each.instance_type: each for each in prices.priced(known, region)}
    end = int(time.time()) // PERIOD_SECONDS * PERIOD_SECONDS
    window = Window(start=end - days * _DAY_SECONDS, end=end)
    judged = [each for each in variants if each.unlike is None and each.instance_type in priced]
    histories = production.histories([(e, priced[str(e.instance_type)]) for e in judged], window)
    found = {
        (variant.endpoint, variant.name): judge.judge(
            traffic, periods, variant.scales or (variant.instance_count, variant.instance_count)
        )
        for variant, (traffic, periods) in zip(judged, histories, strict=True)
    }
    for each in variants:
        judgement = found.get((each.endpoint, each.name)) or judge.Judgement(
            judge.Verdict.UNKNOWN, each.unlike or whys.get(str(each.instance_type), "")
        )
        yield each, _row(each, judgement, priced.get(str(each.instance_type)))


def _types(names: set[str]) -> tuple[list[InstanceFacts], dict[str, str]]:
    """Facts of instance types, and why there are none of others."""
    from aws import instance_types
    from sizing.errors import InvalidRequest

    known: list[InstanceFacts] = []
    whys = {}
    for name in sorted(names):
        try:
            known += instance_types.describe([name])
        except InvalidRequest as error:
            whys[name] = error.message
    return known, whys


def _row(variant: Variant, judgement: Judgement, facts: InstanceFacts | None) -> Audited:
    from sizing.production.audit import Audited, saving_usd_a_month

    price = facts.hourly_price_usd if facts is not None else None
    why, least = judgement.why, variant.instance_count
    if variant.scales is not None:
        least = min(variant.scales[0], least)
        why = f"{why}; a policy scales it from {variant.scales[0]} to {variant.scales[1]}"
    return Audited(
        endpoint=variant.endpoint,
        variant=variant.name,
        instance_type=variant.instance_type,
        instance_count=variant.instance_count,
        peak_tps=judgement.peak_tps,
        peak_utilization_percent=judgement.peak_utilization_percent,
        hourly_cost_usd=None if price is None else price * variant.instance_count,
        verdict=judgement.verdict.value,
        suggested_count=judgement.suggested_count,
        saving_usd_a_month=saving_usd_a_month(judgement, least, price),
        why=why,
    )
