"""Prices of what a sizing uses besides its endpoints, in one place.

On-Demand prices of us-east-1: Fargate's and Step Functions' are of the date below, CloudWatch's
were not looked up again then. An endpoint's own price per hour comes with the instance's facts
(Price List API). Other regions differ by some percent; these items are a small part of a sizing's
cost.
"""

from __future__ import annotations

#: The region whose prices these are.
REGION = "us-east-1"
#: When Fargate's and Step Functions' prices were looked up.
PRICES_READ_ON = "2026-09-27"
#: https://aws.amazon.com/fargate/pricing/ (Linux/x86; ARM is a fifth cheaper).
FARGATE_VCPU_HOUR_USD = 0.04048
FARGATE_GIB_HOUR_USD = 0.004445
#: https://aws.amazon.com/cloudwatch/pricing/: a metric for a month, prorated by the hour.
CLOUDWATCH_METRIC_MONTH_USD = 0.30
#: The same page: a thousand metrics asked for by GetMetricData.
CLOUDWATCH_THOUSAND_QUERIES_USD = 0.01
#: https://aws.amazon.com/step-functions/pricing/: a thousand state transitions, Standard.
THOUSAND_TRANSITIONS_USD = 0.025
#: As AWS's own examples count a month.
HOURS_A_MONTH = 730


def note(region: str) -> str | None:
    """What to know of the sizing's own cost in a region; None where there is nothing to say."""
    if region == REGION:
        return None
    return (
        f"sizing.cost_usd counts the load generators, CloudWatch and Step Functions at the prices "
        f"of {REGION}; in {region} they differ by some percent."
    )
