"""Burstable instance types: above a baseline their CPU runs on credits, which run out.

A load test of minutes mostly runs on credits, so what it shows does not last.
"""

from __future__ import annotations

import re

_BURSTABLE = re.compile(r"ml\.t\d")

#: What a type holds without credits, percent of all its vCPUs: "baseline utilization per vCPU" of
#: "Key concepts for burstable performance instances" in the Amazon EC2 User Guide.
_BASELINE_PERCENT = {
    "ml.t2.medium": 20.0,
    "ml.t2.large": 30.0,
    "ml.t2.xlarge": 22.5,
    "ml.t2.2xlarge": 17.0,
    "ml.t3.medium": 20.0,
    "ml.t3.large": 30.0,
    "ml.t3.xlarge": 40.0,
    "ml.t3.2xlarge": 40.0,
}


def is_burstable(instance_type: str) -> bool:
    """Whether a type's CPU runs on credits above a baseline."""
    return _BURSTABLE.match(instance_type) is not None


def baseline_percent(instance_type: str) -> float | None:
    """The utilization that a burstable type holds for good, percent; None where unknown."""
    return _BASELINE_PERCENT.get(instance_type)
