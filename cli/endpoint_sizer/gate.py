"""What an answer must meet besides the request: ``--fail-on``, ``--max-count``, ``--max-cost``."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from endpoint_sizer.endings import WrongUse

if TYPE_CHECKING:
    from endpoint_sizer.stack import Stack
    from sizing.result.result import Result

#: As a result has them, but for ``first`` and ``unchanged``, which nobody fails on.
KINDS: Final = ("regressed", "changed", "improved")


@dataclass(frozen=True)
class Gate:
    """The conditions that an answer must meet.

    Args:
        fail_on: Kinds of change that fail.
        max_count: Most instances.
        max_cost: Most USD per hour.
        against: A result to compare with: a file, a folder with one or, on AWS, a sizing's id.
        before: The same, read; a result's own ``change`` counts if None.
    """

    fail_on: frozenset[str] = frozenset()
    max_count: int | None = None
    max_cost: float | None = None
    against: str | None = None
    before: Result | None = None

    @property
    def is_closed(self) -> bool:
        """Whether there is any condition."""
        return bool(self.fail_on) or self.max_count is not None or self.max_cost is not None

    def prepared(self, stack: Stack | None) -> Gate:
        """The gate with what is compared with, read before anything costs money.

        Args:
            stack: None on this machine, which remembers nothing.

        Raises:
            WrongUse: There is no such result, or none is named where one is needed.
        """
        if self.against is None:
            if self.fail_on and stack is None:
                raise WrongUse("--fail-on needs --against RESULT on this machine")
            return self
        from endpoint_sizer.compare import read_result

        return dataclasses.replace(self, before=read_result(self.against, lambda: stack))

    def refusal(self, result: Result) -> str:
        """Why an answer does not pass; nothing if it does."""
        return "; ".join(self._refusals(result))

    def _refusals(self, result: Result) -> Iterator[str]:
        from endpoint_sizer.compare import changed
        from sizing.result.change import sentence
        from sizing.result.message import usd

        change = result.change if self.before is None else changed(self.before, result)
        if change is not None and change.kind in self.fail_on:
            yield sentence(change)
        seen = result.recommendation
        if seen is None:
            return
        if self.max_count is not None and seen.instance_count > self.max_count:
            yield f"{seen.instance_count} instances are needed, --max-count is {self.max_count}"
        if self.max_cost is not None:
            if seen.hourly_cost_usd is None:
                yield f"the cost is not known, --max-cost is {usd(self.max_cost)} per hour"
            elif seen.hourly_cost_usd > self.max_cost:
                yield (
                    f"the cost is {usd(seen.hourly_cost_usd)} per hour, --max-cost is "
                    f"{usd(self.max_cost)}"
                )


def _kinds(_context: click.Context, _parameter: click.Parameter, given: str) -> frozenset[str]:
    kinds = frozenset(each.strip() for each in given.split(",") if each.strip())
    if unknown := sorted(kinds.difference(KINDS)):
        raise click.BadParameter(f"{unknown[0]!r} is not one of {', '.join(KINDS)}.")
    return kinds


NO_GATE: Final = Gate()

FAIL_ON: Final = click.option(
    "--fail-on",
    default="",
    metavar="KINDS",
    callback=_kinds,
    help="Exit code 3 for these kinds of change: regressed, changed, improved; with commas.",
)
_OPTIONS: Final = (
    FAIL_ON,
    click.option(
        "--against",
        metavar="RESULT",
        help="What --fail-on compares with: a result.json, or a sizing's id.  "
        "[default: the last comparable sizing]",
    ),
    click.option(
        "--max-count",
        type=click.IntRange(1),
        metavar="N",
        help="Exit code 3 if more instances are needed.",
    ),
    click.option(
        "--max-cost",
        type=click.FloatRange(0, min_open=True),
        metavar="USD",
        help="Exit code 3 if the answer costs more per hour.",
    ),
)


def gated(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of a gate, as one argument ``gate``."""

    @functools.wraps(command)
    def with_gate(
        fail_on: frozenset[str],
        against: str | None,
        max_count: int | None,
        max_cost: float | None,
        **others: Any,
    ) -> Any:
        return command(gate=Gate(fail_on, max_count, max_cost, against), **others)

    for option in reversed(_OPTIONS):
        with_gate = option(with_gate)
    return with_gate
