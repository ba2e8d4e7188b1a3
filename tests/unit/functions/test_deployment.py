"""Deployment requests are complete for SageMaker's API, named and tagged so that they are found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sizing.endpoint.deployment import (
    Deployment,
    ModelSource,
    deployment,
    resource_tags,
    update_capacity,
)
from sizing.load_test.plan import LoadTestPlan
from sizing.request.sizing import Sizing
from tests.unit.functions.made_up import EXECUTION_ARN, SIZING_ID, a_plan, a_sizing

Invalid = Callable[[str, str, Any], str]
ROLE = "arn:aws:iam::123456789012:role/endpoint-sizer-model"
CONTAINER = {"Image": "repository:tag", "Environment": {"HF_TASK": "text-classification"}}


def deployed(
    sizing: Sizing | None = None,
    plan: LoadTestPlan | None = None,
    source: ModelSource | None = None,
) -> Deployment:
    sizing, plan = sizing or a_sizing(), plan or a_plan()
    return deployment(
        sizing,
        sizing.facts(plan.instance_type),
        plan.instance_count,
        source or ModelSource(CONTAINER),
        name_prefix="endpoint-sizer",
        execution_role_arn=ROLE,
    )


def test_requests_hold_against_the_service_model(invalid: Invalid) -> None:
    requests = deployed(a_sizing(tags={"team": "ml platform"}))
    assert not invalid("sagemaker", "CreateModel", requests.create_model)
    assert not invalid("sagemaker", "CreateEndpointConfig", requests.create_endpoint_config)
    assert not invalid("sagemaker", "CreateEndpoint", requests.create_endpoint)
    capacity = update_capacity("endpoint", 8)
    assert not invalid("sagemaker", "UpdateEndpointWeightsAndCapacities", capacity)


def test_the_check_against_the_service_model_can_fail(invalid: Invalid) -> None:
    misplaced = {**deployed().create_endpoint, "MetricsConfig": {}}
    assert "Unknown parameter" in invalid("sagemaker", "CreateEndpoint", misplaced)


def test_everything_carries_the_sizing_and_its_execution_as_tags() -> None:
    requests = deployed(a_sizing(tags={"team": "ml"}))
    expected = {
        "team": "ml",
        "endpoint-sizer:purpose": "sizing",
        "endpoint-sizer:sizing": SIZING_ID,
        "endpoint-sizer:execution": EXECUTION_ARN,
    }
    assert resource_tags(a_sizing(tags={"team": "ml"})) == expected
    assert requests.create_model is not None
    expected["endpoint-sizer:instance-type"] = "ml.m5.12xlarge"
    for request in (
        requests.create_model,
        requests.create_endpoint_config,
        requests.create_endpoint,
    ):
        assert {each["Key"]: each["Value"] for each in request["Tags"]} == expected


def test_names_begin_with_prefix_and_sizing() -> None:
    requests = deployed()
    name = f"endpoint-sizer-{SIZING_ID}-ml-m5-12xlarge"
    assert requests.create_endpoint == {
        "EndpointName": name,
        "EndpointConfigName": name,
        "Tags": requests.create_endpoint["Tags"],
    }
    variant = requests.create_endpoint_config["ProductionVariants"][0]
    assert requests.create_model is not None
    assert variant["ModelName"] == requests.create_model["ModelName"] == name


def test_the_endpoint_is_measured_as_the_request_says() -> None:
    sizing = a_sizing(routing="RANDOM", measurement={"metric_period_seconds": 30})
    config = deployed(sizing).create_endpoint_config
    assert config["MetricsConfig"] == {
        "EnableEnhancedMetrics": True,
        "EnableDetailedObservability": False,
        "MetricPublishFrequencyInSeconds": 30,
    }
    variant = config["ProductionVariants"][0]
    assert variant["RoutingConfig"] == {"RoutingStrategy": "RANDOM"}
    assert (variant["InstanceType"], variant["InitialInstanceCount"]) == ("ml.m5.12xlarge", 1)


def test_a_first_load_test_on_several_instances_starts_with_them() -> None:
    config = deployed(plan=a_plan(instance_count=8)).create_endpoint_config
    assert config["ProductionVariants"][0]["InitialInstanceCount"] == 8


def test_a_model_that_exists_is_used_and_none_is_made() -> None:
    requests = deployed(source=ModelSource(model_name="sentiment-v3"))
    assert requests.create_model is None
    variant = requests.create_endpoint_config["ProductionVariants"][0]
    assert variant["ModelName"] == "sentiment-v3"
