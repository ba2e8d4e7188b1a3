"""boto3 clients of the embedded AWS, made once: making one takes longer than most calls."""

from __future__ import annotations

import os
import threading
from functools import cache
from typing import Any, Final

import boto3
from botocore.config import Config

REGION: Final = "us-east-1"

_making = threading.Lock()


def client(service: str, *, region: str = REGION, retries: bool = True) -> Any:
    """The client of a service.

    Endpoint and credentials come from the environment, as for all clients of the embedded AWS.

    Args:
        service: As boto3 calls it.
        region: Region of the client.
        retries: Whether it repeats failed calls; the state machines' must not.
    """
    with _making:
        return _client(os.environ["AWS_ENDPOINT_URL"], service, region, retries)


def forget() -> None:
    """Drop the clients of an embedded AWS that has ended."""
    with _making:
        _client.cache_clear()
        _session.cache_clear()


@cache
def _client(_endpoint_url: str, service: str, region: str, retries: bool) -> Any:
    # A function may run for 15 minutes before its invocation is answered.
    config = Config(
        retries={"total_max_attempts": 5 if retries else 1},
        read_timeout=900,
        max_pool_connections=50,
    )
    return _session().client(service, region_name=region, config=config)


@cache
def _session() -> Any:
    return boto3.session.Session()
