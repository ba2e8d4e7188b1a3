"""Locust's users that the load generator is measured against.

The client of the method that this project grew out of is boto3 inside a Locust user.
Written anew from its description: a client for each user, retries off, a monotonic clock, an event
for each request, and the next request as soon as an answer is there. Not logging the bodies is all
it is spared.
"""

from __future__ import annotations

# Before boto3: gevent, which Locust brings, must put its ssl in place first.
from locust import FastHttpUser, User, events, task  # isort: skip

import json
import os
import time
from pathlib import Path
from typing import Any

import boto3
import gevent
from botocore.config import Config

BODY = json.dumps({"inputs": "I am super happy right now."}).encode()


class Boto3User(User):
    """Invokes the endpoint again and again."""

    def on_start(self) -> None:
        """Make a client of its own."""
        config = Config(retries={"total_max_attempts": 1})
        self._client = boto3.client("sagemaker-runtime", config=config)

    @task
    def invoke(self) -> None:
        """Send one request and wait for its answer."""
        started = time.perf_counter()
        failure: Exception | None = None
        content = b""
        try:
            answer = self._client.invoke_endpoint(
                EndpointName="my-endpoint", Body=BODY, ContentType="application/json"
            )
            content = answer["Body"].read()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is counted
            failure = error
        self.environment.events.request.fire(
            request_type="boto3",
            name="InvokeEndpoint",
            response_time=(time.perf_counter() - started) * 1e3,
            response_length=len(content),
            exception=failure,
            context={},
        )


class FastUser(FastHttpUser):
    """Locust's own quick client, at the same task without a signature."""

    @task
    def invoke(self) -> None:
        """Send one request and wait for its answer."""
        self.client.post(
            "/endpoints/my-endpoint/invocations",
            data=BODY.decode(),
            headers={"Content-Type": "application/json"},
        )


def keep_books(environment: Any, **_: Any) -> None:
    """Write the number of requests of each second to a file."""
    moments: list[dict[str, float]] = []

    def write() -> None:
        while True:
            gevent.sleep(1 - time.time() % 1)
            total = environment.stats.total
            moments.append(
                {"t": time.time(), "requests": total.num_requests, "failures": total.num_failures}
            )
            Path(os.environ["SEED_BOOKS"]).write_text(json.dumps(moments))

    gevent.spawn(write)


events.init.add_listener(keep_books)  # type: ignore[no-untyped-call] # Locust leaves it untyped
