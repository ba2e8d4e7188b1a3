"""An account for the command's verbs, and what they print with ``--output json`` judged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import jsonschema
import pytest
from moto import mock_aws

from endpoint_sizer.__main__ import run
from tests.cli import made_up_aws
from tests.cli.made_up_aws import Account

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "command.schema.json").read_text())


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    """An account with the stack, its bucket and its table; nothing has been sized yet."""
    for name, value in (("ACCESS_KEY_ID", "made-up"), ("SECRET_ACCESS_KEY", "made-up")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_REGION", made_up_aws.REGION)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    made = Account()
    with mock_aws():
        monkeypatch.setattr("aws.clients._client", made.client)
        made_up_aws.create()
        yield made
    boto3.DEFAULT_SESSION = None


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run a verb with ``--output json``; returns what it printed, which its schema allows."""

    def printed(*arguments: str, code: int = 0, schema: str = "") -> Any:
        assert run([*arguments, "--output", "json"]) == code
        said = json.loads(capsys.readouterr().out)
        verb = schema or next(
            name for name in (" ".join(arguments[:2]), arguments[0]) if name in SCHEMA["$defs"]
        )
        wanted = {**SCHEMA, "$ref": f"#/$defs/{verb.replace(' ', '%20')}"}
        jsonschema.Draft202012Validator(wanted).validate(said)
        return said

    return printed
