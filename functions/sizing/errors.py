"""Named errors of a sizing.

A Lambda function's error reaches the state machine under its class name, so the names below are
what ``Catch`` and ``Retry`` match, what a failed execution shows and what the runbook lists.
"""

from __future__ import annotations


class SizingError(Exception):
    """Base class of the errors an operator meets by name."""


class InvalidRequest(SizingError):
    """The request can't be carried out as written; nothing was created.

    Args:
        field: Path of the field, such as ``target.tps``.
        message: What is wrong and what is allowed.
    """

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        self.message = message
        super().__init__(f"{field}: {message}")


class CostLimit(InvalidRequest):
    """``limits.max_cost_usd`` does not allow even the first load tests; nothing was created."""


class TimeLimit(InvalidRequest):
    """``limits.max_minutes`` does not allow even the first load tests; nothing was created."""


class QuotaTooLow(SizingError):
    """A quota of the account does not allow what the request asks for; nothing was created."""


class AwsUnavailable(SizingError):
    """An AWS service throttled or failed a call, for longer than the function repeats it."""


class MetricsIncomplete(SizingError):
    """CloudWatch does not hold all data points of the window yet; asking again later may help."""


class LoadTestFailed(SizingError):
    """The load test did not run to its end; its result must not be used."""


class SmokeTestFailed(SizingError):
    """The endpoint did not answer a single well-formed invocation."""
