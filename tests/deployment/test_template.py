"""What template.yaml must keep to: one build, narrow roles, nothing public, logs that end."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from local.cloudformation import load_template

ROOT = Path(__file__).parents[2]
TEMPLATE = load_template(ROOT / "template.yaml")
RESOURCES: dict[str, Any] = TEMPLATE["Resources"]


def resources(kind: str) -> dict[str, dict[str, Any]]:
    """Properties of all resources of a type, by logical id."""
    return {
        name: each.get("Properties", {}) for name, each in RESOURCES.items() if each["Type"] == kind
    }


FUNCTIONS = resources("AWS::Serverless::Function")


def test_there_is_something_to_check() -> None:
    assert len(FUNCTIONS) >= 5


# --- Functions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_s_handler_exists(name: str) -> None:
    module, _, handler = FUNCTIONS[name]["Handler"].rpartition(".")
    path = ROOT / "functions" / (module.replace(".", "/") + ".py")
    assert path.is_file(), f"{path} is missing"
    tree = ast.parse(path.read_text())
    assert handler in {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_all_functions_are_one_artifact(name: str) -> None:
    """What differs from function to function would need a build of its own."""
    assert RESOURCES[name].get("Metadata") == {"BuildMethod": "makefile"}
    assert not {"CodeUri", "Runtime", "Architectures", "Environment"} & set(FUNCTIONS[name])


def test_the_build_is_for_the_functions_runtime() -> None:
    of_all = TEMPLATE["Globals"]["Function"]
    makefile = (ROOT / "functions/Makefile").read_text()
    version = re.search(r"^PYTHON_VERSION\s*:= (\S+)$", makefile, re.MULTILINE)
    platform = re.search(r"^PYTHON_PLATFORM\s*:= (\S+)$", makefile, re.MULTILINE)
    assert version is not None
    assert platform is not None
    assert of_all["CodeUri"] == "functions/"
    assert of_all["Runtime"] == f"python{version[1]}"
    assert of_all["Architectures"] == ["arm64"]
    assert platform[1].startswith("aarch64-manylinux")


def test_functions_log_where_the_log_ends() -> None:
    logs = TEMPLATE["Globals"]["Function"]["LoggingConfig"]["LogGroup"]["Ref"]
    assert logs in resources("AWS::Logs::LogGroup")


def test_every_log_ends() -> None:
    for name, properties in resources("AWS::Logs::LogGroup").items():
        assert "RetentionInDays" in properties, name


# --- Parameters and outputs --------------------------------------------------------------------


def test_parameters_are_described_grouped_and_have_defaults_that_work() -> None:
    grouped = [
        name
        for group in TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
        for name in group["Parameters"]
    ]
    assert grouped == list(TEMPLATE["Parameters"])  # `sam deploy --guided` asks in this order
    assert grouped[0] == "NotificationEmail"
    for name, parameter in TEMPLATE["Parameters"].items():
        assert parameter["Description"].endswith("."), name
        default = str(parameter["Default"])
        assert re.fullmatch(parameter.get("AllowedPattern", ".*"), default), name
        assert default in map(str, parameter.get("AllowedValues", [default])), name


def test_no_output_bears_a_parameter_s_name() -> None:
    """The SAM CLI would write the parameter's value in the place of the output's name."""
    assert not TEMPLATE["Outputs"].keys() & TEMPLATE["Parameters"].keys()


def test_an_upgrade_keeps_bucket_and_table() -> None:
    """A new logical id, name or key would be a new resource, and the old one's content lost."""
    bucket, table = RESOURCES["ResultsBucket"], RESOURCES["SizingTable"]
    assert bucket["DeletionPolicy"] == bucket["UpdateReplacePolicy"] == "Retain"
    assert "BucketName" not in bucket["Properties"]
    assert table["Properties"]["TableName"] == {"Ref": "NamePrefix"}
    assert [each["AttributeName"] for each in table["Properties"]["KeySchema"]] == ["pk", "sk"]


#: Properties that name a resource for the whole account and region.
NAMES = {
    *("AlarmName", "ClusterName", "Family", "FunctionName", "LogGroupName", "Name", "QueueName"),
    *("RepositoryName", "TableName", "TopicName"),
}


def test_two_stacks_do_not_collide() -> None:
    """Every name begins with the prefix; roles and the bucket have none, so that AWS makes one."""
    named = {
        logical_id: str(value)
        for logical_id, resource in RESOURCES.items()
        for name, value in resource.get("Properties", {}).items()
        if name in NAMES and resource["Type"] != "AWS::Lambda::Permission"  # of another's name
    }
    assert len(named) > 20
    without = [each for each, value in named.items() if "NamePrefix" not in value]
    assert without == []
    assert not [
        logical_id
        for logical_id, resource in RESOURCES.items()
        if {"RoleName", "BucketName", "GroupName", "PolicyArn"}
        & resource.get("Properties", {}).keys()
    ]


def test_only_what_the_parameter_says_stays_when_the_stack_is_deleted() -> None:
    kept = {name for name, each in RESOURCES.items() if each.get("DeletionPolicy") == "Retain"}
    assert kept == {"ResultsBucket"}  # which ResultsRemoval removes, unless it is to be kept
    assert RESOURCES["ResultsRemoval"]["Properties"]["Keep"] == {"Ref": "KeepResults"}
    assert RESOURCES["ResultsBucketPolicy"]["DependsOn"] == "ResultsRemoval"
    assert RESOURCES["Repository"]["Properties"]["EmptyOnDelete"] is True


def test_answers_of_a_deployment_are_written_where_git_ignores_them(tmp_path: Path) -> None:
    answers = re.search(r"^ANSWERS := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert answers is not None
    # What was downloaded as an archive is no repository.
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    for name, ignored in ((answers[1], True), ("samconfig.toml", False)):
        asked = ["git", "check-ignore", "--quiet", name]
        assert subprocess.run(asked, cwd=tmp_path, check=False).returncode == int(not ignored), name


def test_what_is_traced_may_say_so() -> None:
    traced = {"Fn::If": ["IsTraced", True, False]}
    functions = resources("AWS::Serverless::Function").values()
    machines = resources("AWS::Serverless::StateMachine").values()
    assert TEMPLATE["Globals"]["Function"]["Tracing"] == {
        "Fn::If": ["IsTraced", "Active", "PassThrough"]
    }
    assert all(machine["Tracing"] == {"Enabled": traced} for machine in machines)
    roles = {each["Role"]["Fn::GetAtt"].removesuffix(".Arn") for each in (*functions, *machines)}
    assert RESOURCES["Tracing"]["Condition"] == "IsTraced"
    allowed = RESOURCES["Tracing"]["Properties"]["Roles"]
    assert sorted(each["Ref"] for each in allowed) == sorted(roles)


def test_the_dashboard_shows_metrics_that_are_published() -> None:
    assert RESOURCES["Dashboard"]["Condition"] == "HasDashboard"
    [dashboard] = resources("AWS::CloudWatch::Dashboard").values()
    widgets = json.loads(dashboard["DashboardBody"]["Fn::Sub"])["widgets"]
    shown = set()
    for widget in widgets:
        for metric in widget["properties"]["metrics"]:
            if metric[0] == "EndpointSizer":
                shown.add(metric[1])
            elif isinstance(metric[0], dict):
                shown.add(re.findall(r'MetricName="(\w+)"', metric[0]["expression"])[0])
    assert {"InstanceCount", "SizingCost", "SizingsFailed", "Leftovers"} <= shown
    code = "".join(path.read_text() for path in (ROOT / "functions").glob("*/app.py"))
    assert [each for each in shown if f'"{each}"' not in code] == []
    places = {(each["x"], each["y"]) for each in widgets}
    assert len(places) == len(widgets)
