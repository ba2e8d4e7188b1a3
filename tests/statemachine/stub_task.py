"""A load generator task that generates no load: the leader claims what the endpoint would show.

Run by the embedded AWS in the place of the real image, with the same environment. It behaves as the
file that STUB_BEHAVIOUR names says: JSON, from a pattern of ``<endpoint name>/<load test id>`` to
  "ok"             the leader writes a load test that ran to its end
  "failed"         the leader writes that it failed, and exits with 1
  "killed"         the worker exits with 137 and writes nothing; the leader goes on till stopped
  "leader killed"  the other way round
  "hangs"          nothing ends
  "5xx", "throttled", "slow"    it ran to its end, and this is how the endpoint answered
  "tired"          it ran to its end, but a worker could not keep its schedule
"""

import json
import os
import re
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

HANGS_SECONDS = 120
#: Nobody checks the signature, but without one the bucket is closed.
HEADERS = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=none",
    "Content-Type": "application/json",
}
#: Epoch seconds, before all windows.
LONG_AGO = 1_600_000_000
#: What one instance of the model behind all stubs can serve.
SATURATION_TPS = 200.0


def main() -> int:
    """Run; returns the exit code."""
    bucket_and_prefix = os.environ["LOAD_TEST_URI"].removeprefix("s3://")
    url = f"{os.environ['AWS_ENDPOINT_URL_S3']}/{bucket_and_prefix}"
    role = os.environ["LOAD_TEST_ROLE"]
    with urllib.request.urlopen(
        urllib.request.Request(f"{url}spec.json", headers=HEADERS)
    ) as answer:
        spec = json.load(answer)
    behaviour = behaviour_of(spec, json.loads(Path(os.environ["STUB_BEHAVIOUR"]).read_text()))
    killed = {"killed": "worker", "leader killed": "leader"}.get(behaviour)
    if behaviour == "hangs" or killed not in (None, role):
        time.sleep(HANGS_SECONDS)
    if killed:
        return 137
    if role == "worker":
        return 0
    failed = behaviour == "failed"
    document = load_test(spec, behaviour)
    if failed:
        error = {"name": "WorkerLost", "message": "worker 0 has gone silent"}
        document |= {"status": "FAILED", "error": error, "steps": []}
    body = json.dumps(document).encode()
    target = f"{url}load_test.json"
    urllib.request.urlopen(urllib.request.Request(target, body, HEADERS, method="PUT"))
    return 1 if failed else 0


def behaviour_of(spec: dict[str, Any], behaviours: dict[str, str]) -> str:
    """What the first pattern that matches says."""
    for pattern, behaviour in behaviours.items():
        if re.search(pattern, f"{spec['endpoint_name']}/{spec['load_test_id']}"):
            return behaviour
    return "ok"


def instance_count(load_test_id: str) -> int:
    """From the id, such as ``ml-m5-xlarge-2-verify-1``."""
    match = re.search(r"-(\d+)-[a-z]+-\d+$", load_test_id)
    assert match is not None, load_test_id
    return int(match[1])


def windows(spec: dict[str, Any]) -> list[tuple[int, int]]:
    """The steps' steady windows: long ago, and no two load tests have the same."""
    number = sum(map(ord, spec["load_test_id"] + spec["endpoint_name"]))
    start = LONG_AGO + number % 9973 * 10_000
    length = spec["steady_seconds"]
    return [(start + 100 * step, start + 100 * step + length) for step in range(len(spec["steps"]))]


def offered(spec: dict[str, Any]) -> list[float]:
    """The steps' rates."""
    return [
        step.get("offered_tps") or step["saturation_fraction"] * SATURATION_TPS
        for step in spec["steps"]
    ]


class Answers(NamedTuple):
    """How the endpoint answers."""

    #: Shares of the requests.
    model_errors: float = 0.0
    throttled: float = 0.0
    latency_ms: float = 20.0


ANSWERS = {
    "5xx": Answers(model_errors=0.05),
    "throttled": Answers(throttled=0.2),
    "slow": Answers(latency_ms=2_000.0),
}


def load_test(spec: dict[str, Any], behaviour: str) -> dict[str, Any]:
    """load_test.json of a load test that ran to its end."""
    answers = ANSWERS.get(behaviour, Answers())
    latency, tired = answers.latency_ms, behaviour == "tired"
    now = time.time()
    steps = []
    for rate, (start, end) in zip(offered(spec), windows(spec), strict=True):
        count = round(rate * (end - start))
        model_errors = round(count * answers.model_errors)
        throttled = round(count * answers.throttled)
        errors = {"model_error_500": model_errors, "throttled": throttled}
        served = count - model_errors - throttled
        steps.append(
            {
                "offered_tps": rate,
                "window": {"start": start, "end": end},
                "achieved_tps": served / (end - start),
                "answers": count,
                "invocations": count - throttled,
                "error_percent": 100 * (model_errors + throttled) / count,
                "errors": {kind: number for kind, number in errors.items() if number},
                "client_latency_ms": {
                    "mean": latency + 1,
                    "p50": latency,
                    "p90": latency + 5,
                    "p99": latency + 10,
                    "max": latency + 20,
                },
                "client_limited": "worker 0 is behind its schedule" if tired else None,
                "workers": {"count": spec["workers"], "cpu_percent_max": 20.0, "lag_ms_p99": 0.2},
            }
        )
    return {
        "load_test_id": spec["load_test_id"],
        "endpoint_name": spec["endpoint_name"],
        "status": "COMPLETED",
        "error": None,
        "started_at": now,
        "finished_at": now,
        "workers": spec["workers"],
        "worker_vcpus": spec["worker_vcpus"],
        "saturation": {"tps": SATURATION_TPS, "concurrency": 8, "stages": []}
        if spec.get("burst")
        else None,
        "steps": steps,
        "timeline": [],
    }


if __name__ == "__main__":
    sys.exit(main())
