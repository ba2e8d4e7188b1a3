"""The runbook names what there is: commands of AWS's CLI, alarms, state machines and functions."""

from __future__ import annotations

import re
import shlex

import botocore.session
import pytest
from botocore import xform_name

from local.template import Stack
from tools import runbook

PAGE = runbook.PAGE.read_text(encoding="utf-8")
COMMANDS = re.findall(r"^aws (.+)$", PAGE, re.MULTILINE)
#: Options of the CLI itself.
GLOBAL_OPTIONS = {"query"}


@pytest.fixture(scope="module")
def stack() -> Stack:
    template = runbook.PAGE.parents[1] / "template.yaml"
    return Stack(template, region="REGION", account="ACCOUNT")


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 10


@pytest.mark.parametrize("command", COMMANDS, ids=lambda each: " ".join(each.split()[:2]))
def test_a_command_is_one_of_the_cli_and_complete(command: str) -> None:
    service, operation, *arguments = shlex.split(command)
    model = botocore.session.get_session().get_service_model(service)
    operations = {xform_name(name, "-"): name for name in model.operation_names}
    shape = model.operation_model(operations[operation]).input_shape
    assert shape is not None
    given = {each.removeprefix("--") for each in arguments if each.startswith("--")}
    members = {xform_name(name, "-") for name in shape.members}
    assert given - GLOBAL_OPTIONS <= members
    assert {xform_name(name, "-") for name in shape.required_members} <= given


def test_state_machines_cluster_and_table_are_the_stacks(stack: Stack) -> None:
    machines = {each.arn for each in stack.state_machines()}
    named = set(re.findall(r"arn:aws:states:REGION:ACCOUNT:stateMachine:[\w-]+", PAGE))
    assert named
    assert named <= machines
    for kind, option in (("AWS::ECS::Cluster", "cluster"), ("AWS::DynamoDB::Table", "table-name")):
        [(logical_id, _)] = stack.resources(kind)
        assert f"--{option} {stack.ref(logical_id)}" in PAGE


def test_every_alarm_is_explained_and_no_other(stack: Stack) -> None:
    section = PAGE.partition("\n## Alarms\n")[2].partition("\n## ")[0]
    explained = re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE)
    alarms = [each["AlarmName"] for _, each in stack.resources("AWS::CloudWatch::Alarm")]
    topic = stack.only("AWS::SNS::Topic")[0]
    rules = [
        rule.name for rule in stack.rules() if stack.ref(topic) in {t["Arn"] for t in rule.targets}
    ]
    assert sorted(explained) == sorted([*alarms, *rules])


def test_links_lead_to_what_is_there() -> None:
    headings = {
        re.sub(r"[^\w -]", "", each).lower().replace(" ", "-")
        for each in re.findall(r"^#+ (.*)$", PAGE, re.MULTILINE)
    }
    for link in re.findall(r"\]\((?!http)([^)]+)\)", PAGE):
        file, _, anchor = link.partition("#")
        assert not file or (runbook.PAGE.parent / file).is_file(), link
        assert file or anchor in headings, link
