"""Hosting prices from the Price List API."""

from __future__ import annotations

from botocore.exceptions import BotoCoreError, ClientError

from aws.clients import client
from aws.telemetry import logger
from sizing import instance_prices
from sizing.instance import InstanceFacts
from sizing.instance_prices import PRICE_LIST_API, Price


def priced(facts: InstanceFacts, region: str) -> InstanceFacts:
    """The same facts with the hourly price, or with the reason why none is known."""
    price = _price(facts.instance_type, region)
    if price.source != PRICE_LIST_API:
        logger.warning("price not from the Price List API", extra={"price_source": price.source})
    return facts.model_copy(
        update={"hourly_price_usd": price.usd_per_hour, "price_source": price.source}
    )


def _price(instance_type: str, region: str) -> Price:
    try:
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
        price = instance_prices.from_price_list(answer["PriceList"])
    except ClientError as error:
        return _bundled(instance_type, region, f"answered {error.response['Error']['Code']}")
    except BotoCoreError as error:
        return _bundled(instance_type, region, f"can't be reached: {type(error).__name__}")
    except (AttributeError, KeyError, TypeError, ValueError):
        return _bundled(instance_type, region, "gave an answer of an unknown shape")
    return price or _bundled(instance_type, region, "names no single price")


def _bundled(instance_type: str, region: str, reason: str) -> Price:
    return instance_prices.bundled(instance_type, region, f"the {PRICE_LIST_API} {reason}")
