"""AWS clients, made once per container, with the time-outs and retries each service deserves."""

from __future__ import annotations

import os
import threading
from functools import cache
from typing import Any

import boto3
from botocore.config import Config

_STANDARD = Config(
    retries={"mode": "standard", "total_max_attempts": 5}, connect_timeout=5, read_timeout=20
)
_CONFIGS = {
    # SageMaker gives the model a minute, and its own answer that it took longer must not be missed;
    # the state machine tries again.
    "sagemaker-runtime": Config(
        retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=5, read_timeout=70
    ),
    # A result stands without its parameter.
    "ssm": Config(
        retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=3, read_timeout=5
    ),
    # Read page by page for a bounded time, and then gone without.
    "service-quotas": Config(
        retries={"mode": "standard", "total_max_attempts": 3}, connect_timeout=3, read_timeout=5
    ),
    # A bundled table answers when it doesn't: not worth a wait.
    "pricing": Config(
        retries={"mode": "standard", "total_max_attempts": 2}, connect_timeout=3, read_timeout=5
    ),
}
#: The Price List API exists in few regions; each of them knows the prices of all.
_REGIONS = {"pricing": "us-east-1"}

_making = threading.Lock()


def client(service: str) -> Any:
    """The client of a service, in the function's region."""
    with _making:  # boto3's default session is not safe to share while clients are made
        return _client(service, os.environ.get("AWS_ENDPOINT_URL"))


@cache
def _client(service: str, _endpoint_url: str | None) -> Any:
    """Keyed by endpoint too: a process may serve several embedded AWSs, one after the other."""
    region = _REGIONS.get(service) or os.environ["AWS_REGION"]
    make: Any = boto3.client  # whose stubs take services by their literal names only
    return make(service, region_name=region, config=_CONFIGS.get(service, _STANDARD))
