"""What an execution tells of itself. Apart from what makes it, which takes seconds to import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class HistoryEvent:
    """An event of an execution's history, as GetExecutionHistory returns it."""

    execution_arn: str
    event: Mapping[str, Any]
