"""The nightly schedule over the end of daylight-saving time, a night in a moment."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from local import models
from tests.statemachine.stack import a_request, stack_under_test

BERLIN = ZoneInfo("Europe/Berlin")
NIGHTS = ["10-24 02:30 CEST", "10-25 02:30 CEST", "10-26 02:30 CET"]


def test_each_night_is_sized_once_at_its_own_time(tmp_path: Path) -> None:
    parameters = {
        "ScheduleExpression": "cron(30 2 * * ? *)",
        "ScheduleTimeZone": "Europe/Berlin",
        "ScheduleEnabled": "true",
    }
    profile = {name: value for name, value in a_request(dry_run=True).items() if name != "model"}
    with stack_under_test(tmp_path, parameters=parameters) as stack:
        models.register_package(stack.aws.client("sagemaker"), "model")
        stack.aws.client("ssm").put_parameter(
            Name="/endpoint-sizer/profiles/model", Type="String", Value=json.dumps(profile)
        )
        now = datetime(2026, 10, 23, 12, tzinfo=UTC)
        scheduler = stack.aws.scheduler(now)
        nights, sweeps = [], 0
        while now < datetime(2026, 10, 26, 12, tzinfo=UTC):
            ran = scheduler.run_due(now)
            sweeps += "SweepSchedule" in ran
            if "NightlySchedule" in ran:
                nights.append(f"{now.astimezone(BERLIN):%m-%d %H:%M %Z}")
                stack.wait_for_all("NightlyStateMachine")
            due = scheduler.next_due()
            assert due is not None
            now = max(due, now + timedelta(minutes=1))
        assert nights == NIGHTS
        assert sweeps > 24
        assert len(stack.executions("NightlyStateMachine")) == len(NIGHTS)
        assert len(stack.executions("SizingStateMachine")) == len(NIGHTS)
        assert stack.settle() == []
