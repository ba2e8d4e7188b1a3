"""Hosting prices from the Price List API."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from botocore.exceptions import BotoCoreError, ClientError

from aws.clients import client
from aws.telemetry import logger
from sizing.catalogue import instance_prices
from sizing.catalogue.instance import InstanceFacts
from sizing.catalogue.instance_prices import PRICE_LIST_API, Price


def priced(candidates: Sequence[InstanceFacts], region: str) -> tuple[InstanceFacts, ...]:
    """The same facts with the hourly price, or with the reason why none is known."""
    prices = list(_prices([each.instance_type for each in candidates], region))
    for price in prices:
        if price.source != PRICE_LIST_API:
            logger.warning("price not from its API", extra={"price_source": price.source})
    return tuple(
        facts.model_copy(
            update={"hourly_price_usd": price.usd_per_hour, "price_source": price.source}
        )
        for facts, price in zip(candidates, prices, strict=True)
    )


def _prices(instance_types: Sequence[str], region: str) -> Iterator[Price]:
    away: str | None = None  # what can't be reached once is not waited for again
    for instance_type in instance_types:
        try:
            price = None if away else _listed(instance_type, region)
            reason = away or "names no single price"
        except ClientError as error:
            price, reason = None, f"answered {error.response['Error']['Code']}"
        except BotoCoreError as error:
            price, reason = None, f"can't be reached: {type(error).__name__}"
            away = reason
        except (AttributeError, KeyError, TypeError, ValueError):
            price, reason = None, "gave an answer of an unknown shape"
        yield price or instance_prices.bundled(
            instance_type, region, f"the {PRICE_LIST_API} {reason}"
        )


def _listed(instance_type: str, region: str) -> Price | None:
    """The price in the Price List; None unless there is exactly one."""
    answer = client("pricing").get_products(
        ServiceCode="AmazonSageMaker",
        Filters=[
            {"Type": "TERM_MATCH", "Field": field, "Value": value}
            for field, value in (
                ("productFamily", "ML Instance"),
                ("regionCode", region),
                ("instanceName", instance_type),
                ("platoinstancetype", "Hosting"),
            )
        ],
    )
    return instance_prices.from_price_list(answer["PriceList"])
