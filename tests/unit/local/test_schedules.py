"""A schedule is due in its own time zone, also when that changes."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from local.cloudformation import TemplateError
from local.schedules import Schedule, Scheduler, schedules


def schedule(expression: str, zone: str = "Europe/Berlin") -> Schedule:
    return Schedule("nightly", expression, ZoneInfo(zone), "arn", "{}")


def dues(expression: str, since: str, count: int, zone: str = "Europe/Berlin") -> list[str]:
    """The next times, as clocks there show them."""
    moment, found = datetime.fromisoformat(since).replace(tzinfo=UTC), []
    for _ in range(count):
        due = schedule(expression, zone).next_after(moment)
        assert due is not None
        moment = due
        found.append(f"{due.astimezone(ZoneInfo(zone)):%m-%d %H:%M %Z}")
    return found


@pytest.mark.parametrize(
    "expression, since, expected",
    [
        # In spring the hour from 2 to 3 is left out, and so is that night.
        (
            "cron(30 2 * * ? *)",
            "2026-03-27T12:00",
            ["03-28 02:30 CET", "03-30 02:30 CEST", "03-31 02:30 CEST"],
        ),
        # In autumn it comes twice.
        (
            "cron(30 2 * * ? *)",
            "2026-10-23T12:00",
            ["10-24 02:30 CEST", "10-25 02:30 CEST", "10-26 02:30 CET"],
        ),
        ("cron(0 3 * * ? *)", "2026-03-28T12:00", ["03-29 03:00 CEST", "03-30 03:00 CEST"]),
        ("cron(0 1 ? * MON-FRI *)", "2026-10-22T22:00", ["10-23 01:00 CEST", "10-26 01:00 CET"]),
        ("cron(0/30 22-23 1 JAN,7 ? *)", "2026-06-30T00:00", ["07-01 22:00 CEST"]),
        ("rate(24 hours)", "2026-10-24T12:00", ["10-25 13:00 CET", "10-26 13:00 CET"]),
        ("at(2026-12-24T20:00:00)", "2026-06-30T00:00", ["12-24 20:00 CET"]),
    ],
)
def test_when_it_is_due(expression: str, since: str, expected: list[str]) -> None:
    assert dues(expression, since, len(expected)) == expected


def test_what_is_never_due() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert schedule("at(2020-01-01T00:00:00)").next_after(now) is None
    assert schedule("cron(0 0 31 2 ? *)").next_after(now) is None
    assert Scheduler([schedule("at(2020-01-01T00:00:00)")], print, now).next_due() is None


@pytest.mark.parametrize("expression", ["cron(0 0 L * ? *)", "cron(0 0 * *)", "daily"])
def test_what_is_not_understood_is_an_error(expression: str) -> None:
    with pytest.raises(TemplateError):
        schedule(expression).next_after(datetime(2026, 1, 1, tzinfo=UTC))


def test_only_what_is_enabled_runs() -> None:
    target = {"Arn": "arn", "Input": "{}"}
    on, off = (
        {"ScheduleExpression": "rate(1 hour)", "State": state, "Target": target}
        for state in ("ENABLED", "DISABLED")
    )
    assert [each.name for each in schedules([("On", on), ("Off", off)])] == ["On"]
