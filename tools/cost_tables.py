"""The tables of docs/cost.md, worked out by the code that plans and counts a sizing.

``python -m tools.cost_tables`` writes them anew; with ``--check`` it fails where they differ.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from local.cloudformation import load_template
from sizing.catalogue import instance_prices, prices
from sizing.catalogue.instance import InstanceFacts
from sizing.catalogue.prices import HOURS_A_MONTH
from sizing.load_test import cost
from sizing.load_test.fleet import LEADER_VCPUS, plan_fleet
from sizing.load_test.plan import LoadTestPlan, Purpose, Step
from sizing.request.request import Load, parse_request
from sizing.request.sizing import Sizing
from sizing.search.search import baseline

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "cost.md"
METHOD = ROOT / "examples" / "distilbert.json"

#: The method's answer, and the rate beside its target that its verification offers.
ANSWER, BESIDE_TPS = 8, 1000 * 8 / 7
DAYS_A_MONTH = 30
#: States that a sweep enters which finds nothing, and the start; a nightly run without profiles.
SWEEP_TRANSITIONS, NIGHTLY_TRANSITIONS = 5, 4
#: On-Demand prices of us-east-1, as of 2026-11-25, without the free tier.
#: https://aws.amazon.com/cloudwatch/pricing/ - a standard alarm for a month; a GB of logs.
ALARM_USD, LOG_GB_USD = 0.10, 0.50
#: https://aws.amazon.com/lambda/pricing/ - a GB-second on arm64; a million calls.
LAMBDA_GB_SECOND_USD, MILLION_CALLS_USD = 0.0000133334, 0.20
#: https://aws.amazon.com/ecr/pricing/ and https://aws.amazon.com/s3/pricing/ - a GB for a month.
ECR_GB_USD, S3_GB_USD = 0.10, 0.023
#: https://aws.amazon.com/kms/pricing/ - a key for a month, of the deployer's own.
KEY_USD = 1.00
#: What a stack keeps: one image (compressed, GB), and a call of a function (seconds at 0.5 GB).
IMAGE_GB, SWEEP_SECONDS, LOG_GB_A_CALL = 0.1, 2.0, 2e-6
RATES = (100, 1_000, 5_000, 10_000, 25_000, 50_000, 100_000)


def method_case() -> list[tuple[str, float]]:
    """What the method's sizing costs if all goes as it usually does: positions in USD."""
    sizing = _sizing(json.loads(METHOD.read_text("utf-8")))
    (facts,) = sizing.candidates
    first = baseline(sizing, facts)
    fleet = plan_fleet(sizing.request.load, sizing.body_bytes, sizing.request.target.tps)
    steps = (Step(offered_tps=1000), Step(offered_tps=BESIDE_TPS))
    second = LoadTestPlan(
        instance_type=facts.instance_type,
        instance_count=ANSWER,
        purpose=Purpose.VERIFY,
        steps=steps,
        workers=fleet.workers,
        worker_vcpus=fleet.worker_vcpus,
        reason="",
    )
    waits = cost.FLEET_START_SECONDS + cost.METRICS_SECONDS
    alone = cost.load_test_seconds(sizing, first) + waits
    scaled = cost.load_test_seconds(sizing, second) + waits
    price = facts.hourly_price_usd or 0.0
    tasks = [(first, alone), (second, scaled)]
    metrics = cost.utilization_metrics_cost(alone + cost.SCALE_SECONDS + scaled)
    return [
        (f"1 instance while it is load-tested, {_minutes(alone)}", price * alone / 3600),
        (
            f"{ANSWER} instances while they are scaled, {_minutes(cost.SCALE_SECONDS)}",
            ANSWER * price * cost.SCALE_SECONDS / 3600,
        ),
        (
            f"{ANSWER} instances while they are load-tested, {_minutes(scaled)}",
            ANSWER * price * scaled / 3600,
        ),
        (
            "load generators on Fargate",
            sum(cost.fargate_cost(plan.workers, plan.worker_vcpus, each) for plan, each in tasks),
        ),
        ("CloudWatch metrics of the endpoint", metrics),
        (
            "Step Functions and metrics that are read",
            cost.TRANSITIONS * prices.THOUSAND_TRANSITIONS_USD / 1000
            + 2 * cost.load_test_services_cost(),
        ),
    ]


def idle_month() -> list[tuple[str, float]]:
    """What the stack costs in a month in which nothing is sized, with the defaults: in USD."""
    template = load_template(ROOT / "template.yaml")
    count = [each["Type"] for each in template["Resources"].values()].count
    sweeps = HOURS_A_MONTH
    transitions = sweeps * SWEEP_TRANSITIONS + DAYS_A_MONTH * NIGHTLY_TRANSITIONS
    calls = sweeps * SWEEP_SECONDS * 0.5 * LAMBDA_GB_SECOND_USD + sweeps * MILLION_CALLS_USD / 1e6
    alarms = count("AWS::CloudWatch::Alarm")
    return [
        (f"{alarms} alarms, of a metric each", alarms * ALARM_USD),
        ("the metric Leftovers, which every sweep writes", prices.CLOUDWATCH_METRIC_MONTH_USD),
        (
            f"Step Functions: a sweep every hour, a nightly run, {transitions:,} transitions",
            transitions * prices.THOUSAND_TRANSITIONS_USD / 1000,
        ),
        ("the image, 0.1 GB", IMAGE_GB * ECR_GB_USD),
        (f"Lambda: {sweeps} calls of two seconds", calls),
        ("logs of these calls", sweeps * LOG_GB_A_CALL * LOG_GB_USD),
        ("results, 0.01 GB, and the table", 0.01 * S3_GB_USD),
        ("keys", count("AWS::KMS::Key") * KEY_USD),
        ("VPC, two public subnets, S3 endpoint, cluster, topic, queue, rules, schedules", 0.0),
    ]


def load_generators() -> list[tuple[int, int, int, int, int, float]]:
    """Rate, workers, vCPUs of each, tasks, all vCPUs, USD an hour, for payloads of a kilobyte."""
    rows = []
    for tps in RATES:
        fleet = plan_fleet(Load(), 1_024, tps)
        vcpus = fleet.workers * fleet.worker_vcpus + LEADER_VCPUS
        hourly = cost.fargate_cost(fleet.workers, fleet.worker_vcpus, 3600)
        rows.append((tps, fleet.workers, fleet.worker_vcpus, fleet.workers + 1, vcpus, hourly))
    return rows


def tables() -> Mapping[str, str]:
    """The tables of the document by the name of their place in it."""
    return {
        "method": _positions(method_case()),
        "idle": _positions(idle_month()),
        "load generators": "\n".join(
            [
                "| requests per second | workers | vCPUs of each | leader | tasks, and addresses "
                "| Fargate vCPUs in all | an hour of load |",
                "|---|---|---|---|---|---|---|",
                *(
                    f"| {tps:,} | {workers} | {each} | 1 vCPU, 2 GiB | {tasks} | {vcpus} "
                    f"| ${hourly:.2f} |"
                    for tps, workers, each, tasks, vcpus, hourly in load_generators()
                ),
            ]
        ),
    }


def written(text: str) -> str:
    """The document with its tables replaced."""
    for name, table in tables().items():
        begin, end = f"<!-- {name}: written by tools/cost_tables.py -->", f"<!-- end of {name} -->"
        head, found, rest = text.partition(begin)
        _, closed, tail = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"{DOCUMENT.name} has no place for {name}")
        text = f"{head}{begin}\n\n{table}\n\n{end}{tail}"
    return text


def _sizing(document: Any) -> Sizing:
    request = parse_request(document)
    (name,) = request.instance_types
    price = instance_prices.bundled(name, prices.REGION, "").usd_per_hour
    facts = InstanceFacts(instance_type=name, vcpus=48, memory_gib=192, hourly_price_usd=price)
    return Sizing(
        sizing_id="0" * 12,
        execution_arn="any",
        started_at=0.0,
        region=prices.REGION,
        request=request,
        candidates=(facts,),
        model_key="any",
        payload_fingerprint="any",
    )


def _positions(positions: Iterable[tuple[str, float]]) -> str:
    positions = list(positions)
    rows = [f"| {name} | ${usd:.3f} |" for name, usd in positions]
    total = sum(usd for _, usd in positions)
    return "\n".join(["| what | USD |", "|---|---|", *rows, f"| **together** | **${total:.2f}** |"])


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} minutes"


def main() -> int:
    """Run the command."""
    text = DOCUMENT.read_text("utf-8")
    new = written(text)
    if "--check" not in sys.argv:
        DOCUMENT.write_text(new, "utf-8")
    elif new != text:
        print(f"{DOCUMENT.name} is not what `python -m tools.cost_tables` writes")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
