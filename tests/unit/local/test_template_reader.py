"""The reader of template.yaml: references, conditions, names, substitutions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from local.cloudformation import TemplateError, load_template
from local.template import Stack

ROOT = Path(__file__).parents[3]

TEMPLATE = """
Parameters:
  Prefix: {Type: String, Default: made}
  Subnets: {Type: CommaDelimitedList, Default: ""}
Conditions:
  HasSubnets: !Not [!Equals [!Join ["", !Ref Subnets], ""]]
  Never: !Equals [a, b]
Mappings:
  Sizes: {small: {cpu: "256"}}
Globals:
  Function:
    CodeUri: functions/
    Timeout: 60
    Environment: {Variables: {PREFIX: !Ref Prefix, KEPT: globals}}
Resources:
  Bucket: {Type: AWS::S3::Bucket}
  Topic: {Type: AWS::SNS::Topic, Properties: {TopicName: !Sub "${Prefix}-topic"}}
  Group: {Type: AWS::EC2::SecurityGroup}
  Absent: {Type: AWS::S3::Bucket, Condition: Never}
  Role: {Type: AWS::IAM::Role}
  Plan:
    Type: AWS::Serverless::Function
    Properties:
      Handler: plan.app.handler
      Role: !GetAtt Role.Arn
      Environment: {Variables: {KEPT: own, BUCKET: !Ref Bucket}}
  Machine:
    Type: AWS::Serverless::StateMachine
    Properties:
      Name: !Sub "${Prefix}-machine"
      DefinitionUri: machine.asl.yaml
      DefinitionSubstitutions: {Function: !GetAtt Plan.Arn, Subnets: !Join [",", !Ref Subnets]}
      Role: !GetAtt Role.Arn
      Events:
        Ended:
          Type: EventBridgeRule
          Properties: {Pattern: {source: [aws.states]}}
  Rule:
    Type: AWS::Events::Rule
    Properties:
      EventPattern: {source: [mine]}
      Targets: [{Id: one, Arn: !Ref Machine}]
  Disabled:
    Type: AWS::Events::Rule
    Properties: {State: DISABLED, EventPattern: {source: [mine]}, Targets: []}
"""
DEFINITION = """
StartAt: One
States:
  One: {Type: Task, Resource: "${Function}", Comment: "${Subnets}", End: true}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    (tmp_path / "machine.asl.yaml").write_text(DEFINITION)
    return tmp_path


def stack(folder: Path, **parameters: str) -> Stack:
    return Stack(
        folder / "template.yaml", region="us-east-1", account="1" * 12, parameters=parameters
    )


@pytest.mark.parametrize(
    "value, resolved",
    [
        ({"Ref": "AWS::Region"}, "us-east-1"),
        ({"Ref": "Prefix"}, "made"),
        ({"Ref": "Bucket"}, "endpoint-sizer-bucket-111111111111"),
        ({"Fn::GetAtt": ["Bucket", "Arn"]}, "arn:aws:s3:::endpoint-sizer-bucket-111111111111"),
        ({"Ref": "Topic"}, "arn:aws:sns:us-east-1:111111111111:made-topic"),
        ({"Fn::GetAtt": "Topic.TopicName"}, "made-topic"),
        ({"Fn::Sub": "${Prefix}/${!Literal}/${Bucket.Arn}"}, "made/${Literal}/arn:aws:s3:::"),
        ({"Fn::Sub": ["${x}-${Prefix}", {"x": {"Ref": "Prefix"}}]}, "made-made"),
        ({"Fn::If": ["HasSubnets", 1, {"Ref": "AWS::NoValue"}]}, None),
        ({"a": {"Ref": "AWS::NoValue"}, "b": [{"Ref": "AWS::NoValue"}, 2]}, {"b": [2]}),
        ({"Fn::FindInMap": ["Sizes", "small", "cpu"]}, "256"),
        ({"Fn::Select": [1, {"Fn::Split": ["-", "a-b"]}]}, "b"),
    ],
)
def test_resolves_references(folder: Path, value: Any, resolved: Any) -> None:
    result = stack(folder).resolve(value)
    if isinstance(resolved, str) and resolved.endswith(":::"):
        assert result.startswith(resolved)
    elif resolved is not None:
        assert result == resolved
    else:
        assert not isinstance(result, (str, int))


def test_parameters_replace_their_defaults_and_decide_conditions(folder: Path) -> None:
    given = stack(folder, Prefix="other", Subnets="subnet-1, subnet-2")
    assert given.resolve({"Fn::If": ["HasSubnets", {"Ref": "Subnets"}, []]}) == [
        "subnet-1",
        "subnet-2",
    ]
    [machine] = given.state_machines()
    assert machine.name == "other-machine"
    assert machine.definition["States"]["One"]["Comment"] == "subnet-1,subnet-2"


def test_functions_get_the_globals_under_their_own_properties(folder: Path) -> None:
    [function] = stack(folder).functions()
    assert function.handler == "plan.app.handler"
    assert function.timeout_seconds == 60
    assert function.code == folder / "functions"
    assert function.environment == {
        "PREFIX": "made",
        "KEPT": "own",
        "BUCKET": "endpoint-sizer-bucket-111111111111",
    }


def test_rules_are_those_that_are_enabled_and_those_of_state_machines(folder: Path) -> None:
    machine = "arn:aws:states:us-east-1:111111111111:stateMachine:made-machine"
    rules = {rule.name: rule for rule in stack(folder).rules()}
    assert set(rules) == {"endpoint-sizer-Rule", "MachineEnded"}
    assert all(target["Arn"] == machine for rule in rules.values() for target in rule.targets)


def test_resources_with_a_false_condition_are_not_there(folder: Path) -> None:
    assert [name for name, _ in stack(folder).resources("AWS::S3::Bucket")] == ["Bucket"]


@pytest.mark.parametrize(
    "value",
    [
        {"Ref": "Missing"},
        {"Fn::GetAtt": ["Bucket", "Colour"]},
        {"Fn::ImportValue": "x"},
        {"Fn::If": ["NoSuch", 1, 2]},
    ],
)
def test_refuses_what_it_does_not_know(folder: Path, value: Any) -> None:
    with pytest.raises(TemplateError):
        stack(folder).resolve(value)


def test_refuses_a_substitution_that_is_missing(folder: Path) -> None:
    (folder / "machine.asl.yaml").write_text(DEFINITION + "Comment: ${Forgotten}\n")
    with pytest.raises(TemplateError, match="Forgotten"):
        stack(folder).state_machines()


def test_reads_the_shipped_template() -> None:
    shipped = Stack(ROOT / "template.yaml", region="us-east-1", account="1" * 12)
    machines = {machine.logical_id: machine for machine in shipped.state_machines()}
    assert set(machines) == {
        "SizingStateMachine",
        "ProbeStateMachine",
        "LoadTestStateMachine",
        "CleanUpStateMachine",
        "NightlyStateMachine",
    }
    assert len({str(function.environment) for function in shipped.functions()}) == 1
    for function in shipped.functions():
        module = function.handler.rpartition(".")[0].replace(".", "/")
        assert (function.code / f"{module}.py").is_file(), function.handler


def test_a_file_that_holds_no_template(tmp_path: Path) -> None:
    (tmp_path / "template.yaml").write_text("- a list\n")
    with pytest.raises(TemplateError, match=r"template\.yaml is no template"):
        load_template(tmp_path / "template.yaml")
