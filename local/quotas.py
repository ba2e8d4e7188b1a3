"""Service Quotas: the quotas that a sizing asks for, which moto does not have.

All are generous by default, and can be set: a sizing then meets an account that is short of them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Final

from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.servicequotas.responses import ServiceQuotasResponse

from local.patches import Patch

_FARGATE: Final = ("fargate", "Fargate On-Demand vCPU resource count", "L-3032A538")
_INSTANCES: Final = 1000.0
_VCPUS: Final = 4000.0
_PAGE: Final = 100


class ServiceQuotas:
    """The account's quotas."""

    def __init__(self) -> None:
        self._set: dict[str, float | None] = {}
        self._lock = threading.Lock()

    def set(self, name: str, value: float | None) -> None:
        """Give a quota, by its name, another value; with None there is no such quota."""
        with self._lock:
            self._set[name] = value

    def reset(self) -> None:
        """Make all quotas generous again."""
        with self._lock:
            self._set.clear()

    def of(self, service: str) -> list[dict[str, Any]]:
        """A service's quotas, as ListServiceQuotas has them."""
        with self._lock:
            values = {name: (code, value) for name, code, value in _generous(service)}
            return [
                {"ServiceCode": service, "QuotaName": name, "QuotaCode": code, "Value": value}
                for name, (code, generous) in values.items()
                if (value := self._set.get(name, generous)) is not None
            ]


@cache
def _generous(service: str) -> tuple[tuple[str, str, float], ...]:
    """Name, code and value of each quota of a service."""
    if service == "sagemaker":
        return tuple(
            (f"ml.{each} for endpoint usage", f"L-{number:08X}", _INSTANCES)
            for number, each in enumerate(sorted(INSTANCE_TYPES))
        )
    return ((_FARGATE[1], _FARGATE[2], _VCPUS),) if service == _FARGATE[0] else ()


def patches(quotas: ServiceQuotas) -> Iterator[Patch]:
    """What to replace in, and add to, moto."""
    answer = _answer(quotas)
    yield Patch(ServiceQuotasResponse, "list_aws_default_service_quotas", answer)
    yield Patch(ServiceQuotasResponse, "list_service_quotas", answer, added=True)


def _answer(quotas: ServiceQuotas) -> Callable[[Any], str]:
    def answer(response: Any) -> str:
        asked = json.loads(response.body)
        start = int(asked.get("NextToken", 0))
        found = quotas.of(asked["ServiceCode"])
        end = start + min(int(asked.get("MaxResults", _PAGE)), _PAGE)
        more = {"NextToken": str(end)} if end < len(found) else {}
        return json.dumps({"Quotas": found[start:end], **more})

    return answer
