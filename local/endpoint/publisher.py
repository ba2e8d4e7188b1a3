"""Hands metric data to CloudWatch from a thread of its own, so that the event loop never waits."""

from __future__ import annotations

import logging
import queue
import threading

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local.endpoint.figures import PeriodFigures
from local.endpoint.metrics import metric_data

_log = logging.getLogger(__name__)

#: Periods that may wait for a CloudWatch that does not answer; older ones are given up.
_BACKLOG = 1000


class Publisher:
    """Publishes periods in the order they end. What can't be delivered is logged."""

    def __init__(self, cloudwatch_url: str, region: str) -> None:
        """Connect to a CloudWatch; credentials are made up, so no real one would take them."""
        self._client = boto3.client(
            "cloudwatch",
            region_name=region,
            endpoint_url=cloudwatch_url,
            aws_access_key_id="local",
            aws_secret_access_key="local",  # noqa: S106 - see above # nosec B106
            config=Config(
                connect_timeout=5,
                read_timeout=10,
                retries={"mode": "standard", "total_max_attempts": 3},
                proxies={},
                # Both take time that the event loop would miss: the data are our own, and small.
                parameter_validation=False,
                disable_request_compression=True,
            ),
        )
        self._periods: queue.Queue[PeriodFigures | None] = queue.Queue(_BACKLOG)
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def publish(self, period: PeriodFigures) -> None:
        """Take a period's figures; returns at once."""
        try:
            self._periods.put_nowait(period)
        except queue.Full:
            _log.error("metrics of %s lost: CloudWatch does not answer", period.endpoint_name)

    def close(self, timeout_seconds: float) -> None:
        """Publish what is waiting, for as long as the time-out allows."""
        try:
            self._periods.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while (period := self._periods.get()) is not None:
            for namespace, data in metric_data(period):
                try:
                    self._client.put_metric_data(Namespace=namespace, MetricData=data)
                except (BotoCoreError, ClientError) as error:
                    _log.error(
                        "metrics of %s at %d lost: %s", period.endpoint_name, period.start, error
                    )
