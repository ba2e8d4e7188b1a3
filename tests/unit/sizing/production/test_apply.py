"""What of an answer is applied to production: only what is sure, within the bounds given."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sizing.errors import InvalidRequest
from sizing.production import apply, autoscaling
from sizing.production.apply import Answered, Running, Scaling
from sizing.request.request import Apply, parse_request
from sizing.search.answer import Status
from tests.statemachine.stack import a_request

TYPE = "ml.m5.xlarge"
ADVICE = autoscaling.advise(
    instance_type=TYPE, instance_count=8, max_instances=20, tps_per_instance=130.0
)
ANSWER = Answered(Status.SIZED, TYPE, 8, True, ADVICE)
RUNNING = Running("checkout", "main", "InService", TYPE, Scaling(instance_count=5))
METRIC = "SageMakerVariantInvocationsPerInstance"


def asked(**changes: Any) -> Apply:
    return Apply.model_validate({"endpoint": "checkout", "min": 2, "max": 12, **changes})


def tracking(metric: str) -> dict[str, Any]:
    specification = {"PredefinedMetricSpecification": {"PredefinedMetricType": metric}}
    return {"PolicyName": "ours", "TargetTrackingScalingPolicyConfiguration": specification}


def scaled_by(*policies: dict[str, Any]) -> Running:
    scaling = Scaling(instance_count=5, min_instances=1, max_instances=6, policies=policies)
    return replace(RUNNING, scaling=scaling)


@pytest.mark.parametrize(
    "answer, changes, said",
    [
        (Answered(Status.TARGET_NOT_MET), {}, "the sizing is TARGET_NOT_MET"),
        (replace(ANSWER, status=Status.TARGET_NOT_MET), {}, "the sizing is TARGET_NOT_MET"),
        (replace(ANSWER, in_band=False), {}, "the answer's utilization is outside the band"),
        (ANSWER, {"max": 7}, "the answer is 8 instances; apply.min and apply.max allow 2 to 7"),
        (ANSWER, {"min": 9}, "the answer is 8 instances; apply.min and apply.max allow 9 to 12"),
        (
            replace(ANSWER, autoscaling=None),
            {"what": "autoscaling"},
            f"there is no scaling policy for {TYPE}",
        ),
    ],
)
def test_an_answer_that_is_none_to_apply(
    answer: Answered, changes: dict[str, Any], said: str
) -> None:
    assert apply.why_not(asked(**changes), answer) == said


@pytest.mark.parametrize("changes", [{}, {"max": 8}, {"min": 8}, {"what": "autoscaling"}])
def test_an_answer_within_the_bounds_is_applied(changes: dict[str, Any]) -> None:
    assert apply.why_not(asked(**changes), ANSWER) is None
    assert isinstance(apply.update(asked(**changes), ANSWER, RUNNING), apply.Update)


@pytest.mark.parametrize(
    "running, what, said",
    [
        (
            replace(RUNNING, instance_type="ml.c5.xlarge"),
            "count",
            f"checkout runs ml.c5.xlarge, the answer is of {TYPE}: another type needs another "
            "endpoint configuration",
        ),
        (replace(RUNNING, status="Updating"), "count", "checkout is Updating, and takes no change"),
        (scaled_by(), "count", "checkout is scaled by a policy, which would undo a count"),
        (
            scaled_by(tracking("SageMakerVariantConcurrentRequestsPerModelHighResolution")),
            "autoscaling",
            "checkout is scaled by the policy ours, which would take part in the decision",
        ),
        (
            scaled_by({"PolicyName": "steps"}),
            "autoscaling",
            "checkout is scaled by the policy steps, which would take part in the decision",
        ),
    ],
)
def test_what_runs_may_be_none_to_change(running: Running, what: str, said: str) -> None:
    found = apply.update(asked(what=what), ANSWER, running)
    assert isinstance(found, str)
    assert found.startswith(said)


def test_the_count_is_changed_once() -> None:
    found = apply.update(asked(), ANSWER, RUNNING)
    assert isinstance(found, apply.Update)
    assert found == apply.Update("checkout is scaled from 5 to 8 instances", instance_count=8)
    # A call whose answer was lost is made again, while the endpoint is at it.
    busy = replace(RUNNING, status="Updating", scaling=Scaling(instance_count=8))
    assert apply.update(asked(), ANSWER, busy) == apply.Update("checkout has 8 instances")
    assert apply.update(asked(), ANSWER, busy, RUNNING.scaling) == replace(
        found, instance_count=None
    )


def test_a_policy_stays_within_the_bounds_and_takes_the_place_of_its_like() -> None:
    found = apply.update(asked(what="autoscaling"), ANSWER, RUNNING)
    assert isinstance(found, apply.Update)
    assert found.register is not None
    assert found.policy is not None
    target = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/checkout/variant/main",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    assert found.register == {**target, "MinCapacity": 2, "MaxCapacity": 12}
    assert found.policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"] == 7800
    assert found.reason == (
        "checkout follows its traffic at 7800 invocations per instance and minute, with 2 to 12 "
        "instances"
    )
    bounded = apply.update(asked(what="autoscaling", min=5, max=50), ANSWER, RUNNING)
    assert isinstance(bounded, apply.Update)
    assert bounded.register == {**target, "MinCapacity": 5, "MaxCapacity": 16}
    instead = apply.update(asked(what="autoscaling"), ANSWER, scaled_by(tracking(METRIC)))
    assert isinstance(instead, apply.Update)
    assert instead.policy == {**found.policy, "PolicyName": "ours"}


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"min": 0}, "apply.min: must be 1 or more, got 0"),
        ({"max": 1001}, "apply.max: must be 1000 or less, got 1001"),
        ({"min": 4, "max": 3}, "apply: min (4) must be no more than max (3)"),
        ({"what": "type"}, "apply.what: must be one of 'count' or 'autoscaling'"),
        ({"endpoint": "a_b"}, "apply.endpoint: must be letters, digits and hyphens"),
        ({"max": None}, "apply.max"),
    ],
)
def test_bounds_are_asked_for(changes: dict[str, Any], said: str) -> None:
    written = {"endpoint": "checkout", "min": 1, "max": 3, **changes}
    with pytest.raises(InvalidRequest) as raised:
        parse_request(a_request(apply=written))
    assert str(raised.value).startswith(said)
