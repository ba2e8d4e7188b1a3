"""EventBridge Scheduler, which moto keeps no clock for: when a schedule is due, and that it is.

https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from typing import Any, Final
from zoneinfo import ZoneInfo

from local.cloudformation import TemplateError

_MONTHS: Final = [
    "JAN",
    "FEB",
    "MAR",
    "APR",
    "MAY",
    "JUN",
    "JUL",
    "AUG",
    "SEP",
    "OCT",
    "NOV",
    "DEC",
]
_DAYS: Final = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
#: A date that a schedule names in vain, such as a 31st of February, is looked for so long.
_HORIZON: Final = timedelta(days=366 * 5)


@dataclass(frozen=True)
class Schedule:
    """A schedule of the template.

    Args:
        name: Its name in the template.
        expression: ``cron(...)``, ``rate(...)`` or ``at(...)``.
        zone: In which the expression is meant.
        target_arn: A state machine's.
        target_input: What it is started with.
    """

    name: str
    expression: str
    zone: ZoneInfo
    target_arn: str
    target_input: str

    def next_after(self, moment: datetime) -> datetime | None:
        """When it is due next, in UTC; None if never.

        A time that the change to daylight-saving time leaves out is skipped that day, one that
        comes twice in autumn is due once, the first time.

        Args:
            moment: With a time zone; of a rate, when it was due last.

        Raises:
            TemplateError: The expression is none, or has what is not understood here.
        """
        kind, _, given = self.expression.rstrip(")").partition("(")
        if kind == "rate":
            number, unit = given.split()
            return moment.astimezone(UTC) + timedelta(**{unit.rstrip("s") + "s": int(number)})
        if kind == "at":
            due = datetime.fromisoformat(given).replace(tzinfo=self.zone).astimezone(UTC)
            return due if due > moment else None
        if kind != "cron" or len(given.split()) != len(_FIELDS):
            raise TemplateError(f"{self.name}: {self.expression} is no schedule")
        return next((due for due in self._dues(given, moment) if due > moment), None)

    def _dues(self, given: str, moment: datetime) -> Iterator[datetime]:
        fields = [_values(text, *field) for text, field in zip(given.split(), _FIELDS, strict=True)]
        minutes, hours, days, months, weekdays, years = fields
        first = moment.astimezone(self.zone).date()
        for day in (first + timedelta(days=ahead) for ahead in range(_HORIZON.days)):
            if day.month not in months or day.year not in years:
                continue
            if day.day not in days or _weekday(day) not in weekdays:
                continue
            for hour in sorted(hours):
                for minute in sorted(minutes):
                    local = datetime.combine(day, time_of_day(hour, minute), self.zone)
                    due = local.astimezone(UTC)
                    if due.astimezone(self.zone).replace(fold=0) == local:  # else there is none
                        yield due


#: Of a cron expression: least and most value, and names of the first ones.
_FIELDS: Final[tuple[tuple[int, int, list[str]], ...]] = (
    (0, 59, []),
    (0, 23, []),
    (1, 31, []),
    (1, 12, _MONTHS),
    (1, 7, _DAYS),
    (1970, 2199, []),
)


def _values(text: str, least: int, most: int, names: list[str]) -> frozenset[int]:
    found: set[int] = set()
    for part in text.upper().split(","):
        bounds, _, step = part.partition("/")
        first, _, last = bounds.partition("-")
        if first in ("*", "?"):
            first, last = str(least), str(most)
        elif not last:
            last = str(most) if step else first
        numbers = [
            str(least + names.index(each)) if each in names else each for each in (first, last)
        ]
        if not all(re.fullmatch(r"\d+", each) for each in (*numbers, step or "1")):
            raise TemplateError(f"{part} is not understood in a schedule on this machine")
        found.update(range(int(numbers[0]), int(numbers[1]) + 1, int(step or 1)))
    return frozenset(found)


def _weekday(day: date) -> int:
    """From 1, a Sunday, to 7."""
    return day.isoweekday() % 7 + 1


def schedules(resources: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Schedule]:
    """The schedules of a template that are enabled.

    Args:
        resources: Its resources of that type, by name.
    """
    return [
        Schedule(
            name=name,
            expression=properties["ScheduleExpression"],
            zone=ZoneInfo(properties.get("ScheduleExpressionTimezone", "UTC")),
            target_arn=properties["Target"]["Arn"],
            target_input=properties["Target"]["Input"],
        )
        for name, properties in resources
        if properties.get("State", "ENABLED") == "ENABLED"
    ]


class Scheduler:
    """Starts what schedules name, when it is due.

    Args:
        these: The schedules.
        start: Starts an execution of a state machine, by its ARN, with an input.
        now: When they were created.
    """

    def __init__(
        self, these: Iterable[Schedule], start: Callable[[str, str], None], now: datetime
    ) -> None:
        self._start = start
        self._due = {each: each.next_after(now) for each in these}

    def next_due(self) -> datetime | None:
        """When the next of them is due; None if none is."""
        return min((due for due in self._due.values() if due is not None), default=None)

    def run_due(self, now: datetime) -> list[str]:
        """Start what is due by now; returns the schedules' names."""
        ran = []
        for schedule, due in self._due.items():
            if due is not None and due <= now:
                self._start(schedule.target_arn, schedule.target_input)
                self._due[schedule] = schedule.next_after(due)
                ran.append(schedule.name)
        return ran
