"""The account's quotas, from Service Quotas."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from aws.clients import client
from aws.telemetry import logger
from sizing.load_test.quota import Quota, QuotaKey, Quotas, UnknownQuota

#: After so long no further page is asked for, and a sizing goes on without those not found yet: no
#: call filters by name, and SageMaker has thousands of quotas, a hundred on a page.
LONGEST_SECONDS = 30

#: The first knows the quotas that were raised, the second also those that never were.
_OPERATIONS = ("list_service_quotas", "list_aws_default_service_quotas")


def read(keys: Iterable[QuotaKey], clock: Callable[[], float] = time.monotonic) -> Quotas:
    """Quotas by their keys; one that can't be read says why, and is never an error.

    Args:
        keys: The quotas; those of one service after the other's.
        clock: Seconds, of any beginning.
    """
    keys, deadline = list(keys), clock() + LONGEST_SECONDS
    found: dict[QuotaKey, Quota | UnknownQuota] = {}
    for service in dict.fromkeys(key.service for key in keys):
        of_service = [key for key in keys if key.service == service]
        found |= _of_service(service, of_service, lambda: clock() > deadline)
    return found


def _of_service(
    service: str, keys: list[QuotaKey], is_late: Callable[[], bool]
) -> dict[QuotaKey, Quota | UnknownQuota]:
    found: dict[QuotaKey, Quota | UnknownQuota] = {}
    why = "Service Quotas does not name it"
    for operation in _OPERATIONS:
        try:
            for quota in _listed(operation, service, is_late):
                for name_or_code in (quota.name, quota.code):
                    key = QuotaKey(service, name_or_code)
                    if key in keys:
                        found.setdefault(key, quota)
                if len(found) == len(keys):
                    return found
        except _TooLate:
            why = f"Service Quotas took longer than {LONGEST_SECONDS} s to list them"
            break
        except ClientError as error:
            why = error.response["Error"]["Code"]
        except BotoCoreError as error:
            why = type(error).__name__
    for key in keys:
        if key not in found:
            logger.warning("quota not known", extra={"quota": key.name_or_code, "why": why})
            found[key] = UnknownQuota(why)
    return found


class _TooLate(Exception):
    pass


def _listed(operation: str, service: str, is_late: Callable[[], bool]) -> Iterator[Quota]:
    """All quotas of a service, page by page as they are asked for: SageMaker has thousands."""
    paginator = client("service-quotas").get_paginator(operation)
    for page in paginator.paginate(ServiceCode=service, PaginationConfig={"PageSize": 100}):
        each: Any
        for each in page["Quotas"]:
            if "Value" in each:  # absent where the quota could not be looked up
                yield Quota(each["QuotaName"], each["QuotaCode"], each["Value"])
        if is_late():
            raise _TooLate
