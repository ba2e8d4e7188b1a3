"""What production has, beside what a sizing recommends for the same traffic."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from sizing.catalogue.prices import HOURS_A_MONTH
from sizing.request.request import Band
from sizing.request.sizing import ProductionTraffic

#: A plan over the day is worth its trouble from this share of the cost on.
_WORTH_A_PLAN = 0.1
#: Two instances survive the loss of one, and of a zone.
_LEAST_INSTANCES = 2


class DayPlan(BaseModel):
    """Counts by the hour, which follow the traffic of the day."""

    model_config = ConfigDict(frozen=True)

    #: Of each hour of the day, UTC.
    counts: tuple[int, ...]
    #: A month of them, and of the recommended count all day.
    monthly_cost_usd: float | None
    fixed_monthly_cost_usd: float | None
    #: Requests of Application Auto Scaling's PutScheduledAction, in their order.
    scheduled_actions: tuple[dict[str, Any], ...]


class Production(BaseModel):
    """What an endpoint in production has, and whether it fits."""

    model_config = ConfigDict(frozen=True)

    endpoint: str
    variant: str
    instance_type: str
    instance_count: int
    #: Between which counts a policy scales it; the same count where none does.
    min: int
    max: int
    #: Of all its instances.
    hourly_cost_usd: float | None
    peak_utilization_percent: float | None
    #: Its peak, the percentile asked for of all minutes; and by the hour of the day, UTC.
    peak_tps: float
    tps_by_hour: tuple[float, ...]
    #: The same by the day of the week, from Monday on; empty where it was not looked at.
    tps_by_weekday: tuple[float, ...] = ()
    #: How many times busier the busiest seconds of the last hours were than their minutes.
    burst_factor: float = 1.0
    #: Days that were looked at.
    days: float
    #: None where the sizing has no answer to compare it with.
    verdict: Literal["right", "too_large", "too_small"] | None = None
    #: With the recommendation; negative where that costs more.
    saving_usd_a_month: float | None = None
    #: What may go wrong with it as it is; None if nothing is seen.
    risk: str | None = None
    #: None where it would save too little, or there is no answer.
    plan: DayPlan | None = None


def compare(
    traffic: ProductionTraffic,
    band: Band,
    recommended: tuple[str, int, float | None] | None,
    tps_per_instance: float | None,
) -> Production:
    """Set production beside the recommendation.

    Args:
        traffic: What production gets and has.
        band: The utilization that was asked for.
        recommended: Type, count and cost per hour of all its instances; None without an answer.
        tps_per_instance: What one of them serves at the middle of the band, per second.
    """
    count, price = traffic.instance_count, traffic.hourly_price_usd
    cost = None if price is None else count * price
    facts = Production(
        endpoint=traffic.endpoint,
        variant=traffic.variant,
        instance_type=traffic.instance_type,
        instance_count=count,
        min=traffic.min_instances if traffic.min_instances is not None else count,
        max=traffic.max_instances if traffic.max_instances is not None else count,
        hourly_cost_usd=cost,
        peak_utilization_percent=traffic.peak_utilization_percent,
        peak_tps=traffic.peak_tps,
        tps_by_hour=traffic.tps_by_hour,
        tps_by_weekday=traffic.tps_by_weekday,
        burst_factor=traffic.burst_factor,
        days=traffic.days,
    )
    if recommended is None:
        return facts
    instance_type, needed, new_cost = recommended
    busy = traffic.peak_utilization_percent
    risk = None
    if busy is not None and busy > band.max:
        risk = f"{busy:.3g} % utilization at its peak, over the band of {band.min:g}-{band.max:g} %"
    elif instance_type == traffic.instance_type and facts.max < needed:
        risk = f"{needed} instances serve its peak with headroom, and it has {facts.max} at most"
    saving = None if cost is None or new_cost is None else (cost - new_cost) * HOURS_A_MONTH
    return facts.model_copy(
        update={
            "verdict": _verdict(facts, risk, recommended, saving),
            "saving_usd_a_month": None if saving is None else round(saving, 2),
            "risk": risk,
            "plan": _plan(traffic, recommended, tps_per_instance),
        }
    )


def _verdict(
    facts: Production,
    risk: str | None,
    recommended: tuple[str, int, float | None],
    saving: float | None,
) -> str:
    if risk is not None:
        return "too_small"
    instance_type, needed, _ = recommended
    if instance_type == facts.instance_type:
        return "too_large" if facts.min > needed else "right"
    return "too_large" if saving is not None and saving > 0 else "right"


def _plan(
    traffic: ProductionTraffic,
    recommended: tuple[str, int, float | None],
    tps_per_instance: float | None,
) -> DayPlan | None:
    _, needed, cost = recommended
    if not tps_per_instance or not traffic.peak_tps:
        return None
    room = traffic.target_tps / traffic.peak_tps
    least = min(_LEAST_INSTANCES, needed)
    hours = [
        min(max(math.ceil(tps * room / tps_per_instance), least), needed)
        for tps in traffic.tps_by_hour
    ]
    # An hour ahead, as instances take minutes to start.
    counts = tuple(max(each, hours[(hour + 1) % len(hours)]) for hour, each in enumerate(hours))
    mean = sum(counts) / len(counts)
    if mean > needed * (1 - _WORTH_A_PLAN):
        return None
    fixed = None if cost is None else cost * HOURS_A_MONTH
    return DayPlan(
        counts=counts,
        monthly_cost_usd=None if fixed is None else round(fixed * mean / needed, 2),
        fixed_monthly_cost_usd=None if fixed is None else round(fixed, 2),
        scheduled_actions=tuple(
            _action(traffic, hour, count, needed)
            for hour, count in enumerate(counts)
            if count != counts[hour - 1]
        ),
    )


def _action(traffic: ProductionTraffic, hour: int, count: int, needed: int) -> dict[str, Any]:
    """The count from that hour on."""
    return {
        "ServiceNamespace": "sagemaker",
        "ScheduledActionName": f"{traffic.endpoint}-{hour:02d}",
        "ResourceId": f"endpoint/{traffic.endpoint}/variant/{traffic.variant}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
        "Schedule": f"cron(0 {hour} * * ? *)",
        "Timezone": "UTC",
        "ScalableTargetAction": {"MinCapacity": count, "MaxCapacity": needed},
    }
