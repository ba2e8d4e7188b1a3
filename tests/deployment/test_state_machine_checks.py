"""Each kind of mistake in a state machine is found, and the sound one around it is not."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.state_machines import errors, flow, integrations
from tools.state_machines.definition import StateMachine, load
from tools.state_machines.expressions import parse, references

SOUND: dict[str, Any] = {
    "QueryLanguage": "JSONata",
    "TimeoutSeconds": 600,
    "StartAt": "Create",
    "States": {
        "Create": {
            "Type": "Task",
            "Resource": "arn:aws:states:::aws-sdk:sagemaker:createEndpoint",
            "Arguments": {
                "EndpointName": "{% $states.input.name %}",
                "EndpointConfigName": "config",
            },
            "TimeoutSeconds": 60,
            "Assign": {"arn": "{% $states.result.EndpointArn %}"},
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": "Failed"}],
            "Next": "Each",
        },
        "Each": {
            "Type": "Map",
            "Items": "{% [1, 2] %}",
            "ItemProcessor": {
                "StartAt": "Run",
                "States": {
                    "Run": {
                        "Type": "Task",
                        "Resource": "arn:aws:states:::ecs:runTask.sync",
                        "Arguments": {
                            "TaskDefinition": "load-generator",
                            "Count": 1,
                            "LaunchType": "FARGATE",
                            "Tags": [{"Key": "arn", "Value": "{% $arn %}"}],
                        },
                        "TimeoutSeconds": 600,
                        "End": True,
                    }
                },
            },
            "Next": "Done",
        },
        "Done": {"Type": "Succeed", "Output": "{% $arn %}"},
        "Failed": {"Type": "Fail", "Error": "LoadTestFailed"},
    },
}


def machine(change: str = "", value: Any = None, **more: Any) -> StateMachine:
    """The sound machine with one place changed, such as ``Create.Arguments.EndpointName``."""
    definition = json.loads(json.dumps(SOUND))
    for path, new in {change: value, **more}.items():
        if not path:
            continue
        first, *rest = path.split(".")
        node = definition if first in definition else definition["States"]
        keys = [first, *rest]
        for key in keys[:-1]:
            node = node[int(key)] if isinstance(node, list) else node[key]
        if new is None:
            del node[keys[-1]]
        else:
            node[keys[-1]] = new
    return StateMachine("test.asl.yaml", definition)


def problems_of(changed: StateMachine) -> list[str]:
    calls, found = integrations.calls(changed)
    found += flow.check(changed)
    for call in calls:
        found += integrations.check(call)
    return [str(each) for each in found]


def test_a_way_out_of_a_choice_is_named_for_the_drawings() -> None:
    choice = {"Type": "Choice", "Choices": [{"Condition": "{% true %}", "Next": "Done"}]}
    [problem] = problems_of(machine("Each", {**choice, "Default": "Done"}))
    assert "Each: Choices[0].Comment is missing" in problem


def test_a_sound_machine_has_no_problem() -> None:
    assert problems_of(machine()) == []
    assert errors.check(machine(), Path("functions")) == []


RUN = "Each.ItemProcessor.States.Run"
CREATE_ARGUMENTS = SOUND["States"]["Create"]["Arguments"]


@pytest.mark.parametrize(
    "change, value, where, message",
    [
        # Where states lead
        ("StartAt", "Begin", "StartAt", "Begin is no state here"),
        ("Create.Next", "Ech", "Create", "Next: Ech is no state here"),
        ("Create.Catch.0.Next", "Nowhere", "Create", "Catch[0].Next: Nowhere is no state"),
        ("Create.Next", "Done", "Each", "can't be reached"),
        (f"{RUN}.End", None, "Each.Run", "has neither Next nor End"),
        # Time-outs
        ("TimeoutSeconds", None, "TimeoutSeconds", "is missing"),
        (f"{RUN}.TimeoutSeconds", None, "Each.Run", "TimeoutSeconds is missing"),
        ("QueryLanguage", "JSONPath", "QueryLanguage", "must be JSONata"),
        # Expressions
        ("Done.Output", "{% $arn & %}", "Done", "Output: JSONata: "),
        ("Done.Output", "{% $arn", "Done", "must be the first and last characters"),
        ("Done.Output", "the {% $arn %}", "Done", "must be the first and last characters"),
        ("Done.Output", "{% $eval('1') %}", "Done", "$eval is neither assigned anywhere"),
        ("Done.Output", "{% $summ([1]) %}", "Done", "$summ is neither assigned anywhere"),
        ("Done.Output", "{% states.input.name %}", "Done", "states.input.name refers to nothing"),
        ("Done.Output", "{% $$.name %}", "Done", "refers to nothing"),
        ("Done.Output", "{% $states.result %}", "Done", "$states.result does not exist here"),
        (
            "Create.Arguments.EndpointName",
            "{% $states.result.x %}",
            "Create",
            "does not exist here",
        ),
        ("Create.Output", "{% $states.errorOutput %}", "Create", "does not exist here"),
        # Variables
        ("Done.Output", "{% $arns %}", "Done", "$arns is neither assigned anywhere nor a function"),
        ("Done.Output", "{% $exists($arns) ? 1 : 2 %}", "Done", "$arns is assigned nowhere"),
        ("Failed.Cause", "{% $arn %}", "Failed", "$arn has no value yet on some way here"),
        ("Create.Output", "{% $arn %}", "Create", "$arn has no value yet on some way here"),
        (
            f"{RUN}.Assign",
            {"arn": "1"},
            "Each.States",
            "assigns $arn, a variable of the state machine",
        ),
        (
            "Create.Assign",
            {"arn": "a", "count": 1},
            "States",
            "assigns $count, the name of a function",
        ),
        # Integrations
        (
            "Create.Resource",
            "arn:aws:states:::aws-sdk:sagemaker:createEndpont",
            "Create",
            "createEndpoint?",
        ),
        (
            "Create.Resource",
            "arn:aws:states:::aws-sdk:sagemaker:CreateEndpoint",
            "Create",
            "no action",
        ),
        (
            "Create.Resource",
            "arn:aws:states:::aws-sdk:stepfunctions:startExecution",
            "Create",
            "no service",
        ),
        (
            "Create.Resource",
            "arn:aws:states:::aws-sdk:sagemaker:createEndpoint.sync",
            "Create",
            ".sync is not",
        ),
        (
            "Create.Resource",
            "arn:aws:states:::s3:putObject",
            "Create",
            "is no optimized integration",
        ),
        (
            "Create.Resource",
            "arn:aws:sns:us-east-1:111122223333:topic",
            "Create",
            "is no integration",
        ),
        # Arguments
        ("Create.Arguments.EndpontName", "x", "Create", "is unknown; did you mean EndpointName?"),
        ("Create.Arguments.endpointName", "x", "Create", "endpointName: is unknown"),
        (
            "Create",
            {
                **SOUND["States"]["Create"],
                "Resource": "arn:aws:states:::aws-sdk:sagemaker:createEndpointConfig",
                "Arguments": {
                    "EndpointConfigName": "config",
                    "ProductionVariants": "{% $states.input.variants %}",
                    "MetricsConfig": {"EnableEnhancedMetrics": True},
                },
            },
            "Create",
            'The field "MetricsConfig" is not supported by Step Functions',
        ),
        (
            "Create",
            {
                **SOUND["States"]["Create"],
                "Resource": "arn:aws:states:::aws-sdk:sagemaker:deleteEndpoint",
                "Arguments": {"EndpointName": "endpoint"},
            },
            "Create",
            "sagemaker:deleteEndpoint is not in sdk_fields.json",
        ),
        ("Create.Arguments.EndpointConfigName", None, "Create", "EndpointConfigName: is missing"),
        ("Create.Arguments.Tags", {"Key": "k"}, "Create", "Tags: must be a list"),
        ("Create.Arguments.Tags", [{"Key": "k"}], "Create", "Tags[0].Value: is missing"),
        ("Create.Arguments.EndpointName", 3, "Create", "must be a string, not 3"),
        (f"{RUN}.Arguments.TaskDefinition", None, "Each.Run", "TaskDefinition: is missing"),
        (f"{RUN}.Arguments.Count", "1", "Each.Run", "Count: must be a integer"),
        (f"{RUN}.Arguments.LaunchType", "FARGATTE", "Each.Run", "must be one of EC2, FARGATE"),
        (
            f"{RUN}.Arguments.Overrides",
            {"ContainerOverrides": [{"Name": "a", "Enviroment": []}]},
            "Each.Run",
            "Overrides.ContainerOverrides[0].Enviroment: is unknown; did you mean Environment?",
        ),
        (
            "Create.Arguments",
            "{% {'EndpointNam': $states.input.name, 'EndpointConfigName': 'c'} %}",
            "Create",
            "EndpointNam: is unknown",
        ),
        (
            "Create.Arguments",
            "{% $merge([{'EndpointName': 'a'}, $states.input.b ? {'ConfigNam': 'c'} : {}]) %}",
            "Create",
            "ConfigNam: is unknown",
        ),
        (
            "Create.Arguments",
            "{% $merge([{'EndpointName': 'a'}, {'Tags': []}]) %}",
            "Create",
            "EndpointConfigName: is missing",
        ),
    ],
)
def test_a_mistake_is_found(change: str, value: Any, where: str, message: str) -> None:
    found = problems_of(machine(change, value))
    matching = [each for each in found if each.startswith(f"test.asl.yaml: {where}: ")]
    assert any(message in each for each in matching), found


def test_every_path_must_assign_a_variable() -> None:
    """A loop that assigns on its way back does not make the first pass safe."""
    loop = {
        "QueryLanguage": "JSONata",
        "TimeoutSeconds": 60,
        "StartAt": "Check",
        "States": {
            "Check": {
                "Type": "Choice",
                "Choices": [{"Comment": "all", "Condition": "{% $done > 3 %}", "Next": "Done"}],
                "Default": "Count",
            },
            "Count": {"Type": "Pass", "Assign": {"done": 1}, "Next": "Check"},
            "Done": {"Type": "Succeed"},
        },
    }
    found = problems_of(StateMachine("test.asl.yaml", loop))
    assert found == [
        "test.asl.yaml: Check: Choices[0].Condition: $done has no value yet on some way here"
    ]
    loop["StartAt"] = "Count"
    assert problems_of(StateMachine("test.asl.yaml", loop)) == []


@pytest.mark.parametrize(
    "input_",
    [
        {"name": "{% $states.input %}"},
        "{% {'name': $states.input} %}",
        "{% $merge([$states.input, {'name': 'n'}]) %}",
        "{% $states.input %}",
        "text",
    ],
)
def test_an_integration_writes_an_object_out_as_json(input_: Any) -> None:
    start: dict[str, Any] = {
        "Create.Resource": "arn:aws:states:::states:startExecution.sync:2",
        "Create.Arguments": {"StateMachineArn": "arn", "Input": input_},
    }
    assert problems_of(machine(**start)) == []


def test_what_an_expression_may_add_is_not_missing() -> None:
    for maybe in ("$states.input.rest", "$states.input.b ? {'EndpointConfigName': 'c'} : {}"):
        arguments = "{% $merge([{'EndpointName': 'a'}, " + maybe + "]) %}"
        assert problems_of(machine("Create.Arguments", arguments)) == []


def test_an_error_that_nothing_raises_is_found() -> None:
    caught = [{"ErrorEquals": ["LoadTestFaild", "States.Timout"], "Next": "Failed"}]
    found = errors.check(machine("Create.Catch", caught), Path("functions"))
    assert [each.message for each in found] == [
        "Catch[0]: nothing raises LoadTestFaild; did you mean LoadTestFailed?",
        "Catch[0]: nothing raises States.Timout; did you mean States.Timeout?",
    ]


def test_arguments_made_at_run_time_are_told_apart() -> None:
    calls, _ = integrations.calls(machine("Create.Arguments", "{% $states.input.request %}"))
    assert [integrations.is_known_at_run_time_only(call) for call in calls] == [True, False]


@pytest.mark.parametrize(
    "expression, variables",
    [
        ("$a + $b", {"a", "b"}),
        ("($x := $a; $x + $y)", {"a", "y"}),
        ("($f := function($n){ $n = 0 ? $k : $f($n - 1) }; $f(3))", {"k"}),
        ("$map($list, function($v, $i){ $v * $i * $scale })", {"list", "scale"}),
        ("$states.input.items[price > $limit].name", {"limit"}),
        ("$states.input.items@$item.{'a': $item.x, 'b': $other}", {"other"}),
        ("($found := $a; $exists($found) ? $found : 1)", {"a"}),
        ("$uuid() & $hash($a, 'SHA-256')", {"a"}),
        ("{'a': $b, $c: 1}", {"b", "c"}),
    ],
)
def test_what_an_expression_refers_to(expression: str, variables: set[str]) -> None:
    found = references(parse("{% " + expression + " %}"))
    assert found.variables == variables
    assert found.context == set()


@pytest.mark.parametrize(
    "member, name",
    [
        ("taskDefinition", "TaskDefinition"),
        ("EndpointName", "EndpointName"),
        ("SSEKMSKeyId", "SsekmsKeyId"),
        ("S3Uri", "S3Uri"),
        ("VPCId", "VpcId"),
    ],
)
def test_integrations_name_members_in_pascal_case(member: str, name: str) -> None:
    assert integrations.integration_name(member) == name


def write_project(folder: Path, substitutions: dict[str, Any], text: str) -> Path:
    (folder / "statemachine").mkdir()
    (folder / "statemachine" / "one.asl.yaml").write_text(text)
    template = {
        "Parameters": {"Minutes": {"Type": "Number", "Default": 5}},
        "Resources": {
            "One": {
                "Type": "AWS::Serverless::StateMachine",
                "Properties": {
                    "DefinitionUri": "statemachine/one.asl.yaml",
                    "DefinitionSubstitutions": substitutions,
                },
            }
        },
    }
    path = folder / "template.yaml"
    path.write_text(yaml.safe_dump(template))
    return path


def test_substitutions_are_filled_in_and_missing_or_unused_ones_found(tmp_path: Path) -> None:
    text = yaml.safe_dump(SOUND).replace("arn:aws:", "arn:${Partition}:")
    text = text.replace("TimeoutSeconds: 60\n", "TimeoutSeconds: ${Minutes}\n")
    template = write_project(
        tmp_path,
        {"Partition": {"Ref": "AWS::Partition"}, "TopicArn": {"Ref": "Topic"}},
        text,
    )
    machines, problems = load(template)
    assert [str(each) for each in problems] == [
        "template.yaml: One.DefinitionSubstitutions: TopicArn is used nowhere in"
        " statemachine/one.asl.yaml",
        "statemachine/one.asl.yaml: ${Minutes}: One.DefinitionSubstitutions in template.yaml"
        " has no such name",
    ]
    assert problems_of(machines[0]) == []


def test_a_state_that_stands_twice_is_found(tmp_path: Path) -> None:
    text = yaml.safe_dump(SOUND) + "TimeoutSeconds: 60\n"
    _, problems = load(write_project(tmp_path, {}, text))
    assert [each.where for each in problems] == ["YAML"]
    assert "'TimeoutSeconds' is listed more than once" in problems[0].message


def test_a_missing_definition_and_a_forgotten_one_are_found(tmp_path: Path) -> None:
    template = write_project(tmp_path, {}, yaml.safe_dump(SOUND))
    (tmp_path / "statemachine" / "one.asl.yaml").rename(tmp_path / "statemachine/two.asl.yaml")
    _, problems = load(template)
    assert [str(each) for each in problems] == [
        "template.yaml: One.DefinitionUri: statemachine/one.asl.yaml is no file",
        "statemachine/two.asl.yaml: -: no state machine of template.yaml uses it",
    ]
