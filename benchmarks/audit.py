"""How long the audit of a large account takes: ``python -m benchmarks.audit``.

The command itself, on a made-up account of 200 endpoints with 14 days of traffic behind them.
CloudWatch's answers go through botocore's parser, every call takes a while, and SageMaker
throttles. Prints one JSON line: endpoints, days, seconds, memory that it took in MB, calls and
throttled ones, how many counts were suggested, and how many of these are within one of the right
one.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
sys.path.insert(0, str(Path(__file__).parents[1] / "functions"))

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError
from moto import mock_aws

from endpoint_sizer.__main__ import run
from sizing.production.audit import PERIOD_SECONDS
from tests.cli import made_up_aws
from tests.cli.made_up_production import Production
from tests.unit.sizing.production.made_up_production import DAY, START, fleet

#: Time that a call takes, seconds: of SageMaker, and of CloudWatch for a full page.
_DESCRIBE_SECONDS, _PAGE_SECONDS = 0.1, 2.0
#: Describe calls per second over which SageMaker throttles here, and how many it lets by at once.
_DESCRIBES_A_SECOND, _AT_ONCE = 10.0, 20.0
_MOST_POINTS = 100_800


class SlowProduction(Production):
    """The account, at the speed of a real one."""

    def __init__(self, days: int) -> None:
        super().__init__()
        self.throttled_calls = 0
        self.encoded = functools.cache(self._encode)
        self._times = functools.cache(self._encode_times)
        self._lock = threading.Lock()
        self._allowance, self._since = _AT_ONCE, time.monotonic()
        end = int(time.time()) // PERIOD_SECONDS * PERIOD_SECONDS
        self._moved = end - (START + days * DAY)

    def client(self, service: str, endpoint_url: str | None = None) -> Any:
        known = service in self._clients
        client = super().client(service, endpoint_url)
        if service == "cloudwatch" and not known:
            client.meta.events.unregister("before-call", self._answer)
            client.meta.events.register_first("before-send.cloudwatch", self._send)
        return client

    def _answer(self, model: Any, **given: Any) -> Any:
        if model.name.startswith("Describe"):
            time.sleep(_DESCRIBE_SECONDS)
            if not self._is_allowed():
                self.throttled_calls += 1
                raise ClientError({"Error": {"Code": "ThrottlingException"}}, model.name)
        return super()._answer(model, **given)

    def _is_allowed(self) -> bool:
        with self._lock:
            now = time.monotonic()
            grown = self._allowance + (now - self._since) * _DESCRIBES_A_SECOND
            self._allowance, self._since = min(grown, _AT_ONCE), now
            if self._allowance < 1:
                return False
            self._allowance -= 1
            return True

    def _send(self, request: Any, **_: Any) -> AWSResponse:
        results, points = [], 0
        for query in self._asked.given["MetricDataQueries"]:
            count, series = self.encoded(*_metric_of(query))
            points += count
            results.append(f'{{"Id":"{query["Id"]}","StatusCode":"Complete",{series}}}')
        assert points <= _MOST_POINTS
        time.sleep(_PAGE_SECONDS * points / _MOST_POINTS)
        body = f'{{"Messages":[],"MetricDataResults":[{",".join(results)}]}}'
        headers = {"Content-Type": "application/x-amz-json-1.0"}
        return AWSResponse(request.url, 200, headers, _Raw(body.encode()))

    def _encode(self, endpoint: str, metric: str) -> tuple[int, str]:
        """A metric's number of points, and they themselves as CloudWatch writes them."""
        series = self.series_of(endpoint).get(metric, {})
        times = self._times(tuple(series))
        return len(series), f'"Timestamps":{times},"Values":{json.dumps([*series.values()])}'

    def _encode_times(self, seconds: tuple[int, ...]) -> str:
        return json.dumps([float(each + self._moved) for each in seconds])


class _Raw(io.BytesIO):
    """What urllib3 hands over."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        while part := self.read(1 << 16):
            yield part


def _metric_of(query: Mapping[str, Any]) -> tuple[str, str]:
    stat = query["MetricStat"]
    dimensions = {each["Name"]: each["Value"] for each in stat["Metric"]["Dimensions"]}
    return dimensions["EndpointName"], f"{stat['Metric']['MetricName']} {stat['Stat']}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit", description=__doc__)
    parser.add_argument("--endpoints", type=int, default=200)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "made-up",
        "AWS_SECRET_ACCESS_KEY": "made-up",
        "AWS_REGION": made_up_aws.REGION,
    }
    made = SlowProduction(arguments.days)
    made.endpoints = fleet(arguments.endpoints, arguments.days, arguments.seed)
    for name in made.endpoints:  # before the clock runs
        for metric in made.series_of(name):
            made.encoded(name, metric)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with mock_aws(), patch("aws.clients._client", made.client):
        printed = io.StringIO()
        began = time.perf_counter()
        with contextlib.redirect_stdout(printed):
            code = run(["audit", "--days", str(arguments.days), "--output", "json"])
        seconds = time.perf_counter() - began
    rows = {each["endpoint"]: each["suggested_count"] for each in json.loads(printed.getvalue())}
    dared = {name: count for name, count in rows.items() if count is not None}
    right = {name: made.endpoints[name].right_count() for name in dared}
    figures = {
        "endpoints": len(rows),
        "days": arguments.days,
        "exit_code": code,
        "seconds": round(seconds, 1),
        "memory_mb": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024),
        "calls": len(made.calls),
        "throttled": made.throttled_calls,
        "suggested": len(dared),
        "within_one": sum(abs(count - right[name]) <= 1 for name, count in dared.items()),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
