"""The bundled prices: dated, sane, and never taken for another region's."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from sizing.catalogue import instance_prices

TABLES: dict[str, list[dict[str, Any]]] = json.loads(
    Path(instance_prices.__file__).with_suffix(".json").read_text(encoding="utf-8")
)


def test_every_table_is_dated_and_says_where_it_is_from() -> None:
    for tables in TABLES.values():
        for table in tables:
            assert dt.date.fromisoformat(table["as_of"]) <= dt.datetime.now(dt.UTC).date()
            assert table["source"]


def test_no_type_has_two_prices() -> None:
    for tables in TABLES.values():
        types = [each for table in tables for each in table["usd_per_hour"]]
        assert len(types) == len(set(types))


def test_a_family_costs_in_proportion_to_its_size() -> None:
    """CPU families are priced by size, to the rounding of the price list: a slip would show."""
    sizes = {"large": 0.5, "xlarge": 1, "2xlarge": 2, "4xlarge": 4, "9xlarge": 9}
    sizes |= {"12xlarge": 12, "18xlarge": 18, "24xlarge": 24}
    per_unit: dict[str, list[float]] = {}
    for table in TABLES["us-east-1"]:
        for instance_type, price in table["usd_per_hour"].items():
            _, family, size = instance_type.split(".")
            if family in {"m5", "c5", "c6i"}:
                per_unit.setdefault(family, []).append(price / sizes[size])
    assert len(per_unit["m5"]) > 4
    for prices in per_unit.values():
        assert max(prices) / min(prices) < 1.005


@pytest.mark.parametrize(
    "instance_type, usd",
    [("ml.m5.12xlarge", 2.765), ("ml.c5.xlarge", 0.204), ("ml.g5.xlarge", 1.41)],
)
def test_prices_as_the_price_list_had_them(instance_type: str, usd: float) -> None:
    price = instance_prices.bundled(instance_type, "us-east-1", "the API is away")
    assert price.usd_per_hour == usd
    assert price.source == (
        "bundled table of 2026-09-27 (read from the Price List API; the API is away)"
    )


def test_a_price_that_no_price_list_gave_says_so() -> None:
    price = instance_prices.bundled("ml.m5.4xlarge", "us-east-1", "the API is away")
    assert price.usd_per_hour == 0.922
    assert price.source.startswith(
        "bundled table of 2026-11-22 (from public price tables, not from the Price List API; "
    )


@pytest.mark.parametrize(
    "instance_type, region", [("ml.m5.12xlarge", "eu-west-1"), ("ml.m5.huge", "us-east-1")]
)
def test_what_the_table_does_not_hold_is_unknown(instance_type: str, region: str) -> None:
    price = instance_prices.bundled(instance_type, region, "the API is away")
    assert price.usd_per_hour is None
    assert price.source.startswith("unknown: the API is away")
