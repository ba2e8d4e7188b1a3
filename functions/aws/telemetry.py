"""Logs and metrics of the functions. Payload bodies go into neither."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from aws_lambda_powertools import Logger, single_metric
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.metrics.functions import is_metrics_disabled
from pydantic import BaseModel, ConfigDict

__all__ = ["Event", "MetricUnit", "logger", "publish"]

#: Its correlation id is the sizing's id.
logger = Logger()


class Event(BaseModel):
    """Base of the functions' events; an event in error is named without quoting its content."""

    model_config = ConfigDict(hide_input_in_errors=True, frozen=True)


def publish(
    name: str,
    value: float,
    unit: MetricUnit = MetricUnit.Count,
    *,
    dimensions: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Publish one metric, in CloudWatch's embedded metric format.

    Args:
        name: The metric's name.
        value: Its value.
        unit: Its unit.
        dimensions: Their values by name, besides ``service``.
    """
    if is_metrics_disabled():
        return
    # Not Metrics: it collects in one set for the whole process, where local functions run together.
    with single_metric(name=name, unit=unit, value=value) as metric:
        for dimension, its_value in dimensions.items():
            metric.add_dimension(name=dimension, value=its_value)
        metric.add_metadata(key="correlation_id", value=str(logger.get_correlation_id()))
