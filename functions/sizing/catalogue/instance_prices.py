"""Hosting prices of instance types: reading the Price List API's answer, and a table for when
it gives none.

The table holds one region and few types. It never stands in for another region, whose prices
differ: an unknown price is said to be unknown.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

PRICE_LIST_API = "Price List API"


@dataclass(frozen=True)
class Price:
    """On-Demand hosting price of one instance."""

    #: None where no source knows it.
    usd_per_hour: float | None
    #: Where it is from, or why it is unknown.
    source: str


def from_price_list(products: Sequence[str]) -> Price | None:
    """The price in an answer of ``pricing:GetProducts``.

    Args:
        products: ``PriceList`` of the answer: JSON documents, one a product.

    Returns:
        The price; None unless the products name exactly one. Free-tier products count for nothing.
    """
    prices = {
        float(dimension["pricePerUnit"]["USD"])
        for product in map(json.loads, products)
        for term in product["terms"].get("OnDemand", {}).values()
        for dimension in term["priceDimensions"].values()
        if dimension["unit"].lower() in {"hrs", "hours", "hour"}
        and "USD" in dimension["pricePerUnit"]
    } - {0.0}
    return Price(prices.pop(), PRICE_LIST_API) if len(prices) == 1 else None


def bundled(instance_type: str, region: str, reason: str) -> Price:
    """The price in the bundled table, with the table's date and where the table is from.

    Args:
        instance_type: The type, with its ``ml.``.
        region: The endpoint's region.
        reason: Why the Price List API does not answer; goes into the price's source.
    """
    for table in _tables().get(region, ()):
        if instance_type in table["usd_per_hour"]:
            source = f"bundled table of {table['as_of']} ({table['source']}; {reason})"
            return Price(float(table["usd_per_hour"][instance_type]), source)
    return Price(None, f"unknown: {reason}, and no bundled price of {instance_type} in {region}")


@cache
def _tables() -> Any:
    path = Path(__file__).with_suffix(".json")
    return json.loads(path.read_text(encoding="utf-8"))
