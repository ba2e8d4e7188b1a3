"""What may be removed: only a sizing's own, only when SageMaker takes it, in a safe order."""

from __future__ import annotations

import dataclasses

import pytest

from sizing.clean_up.leftovers import (
    Found,
    Resource,
    costs,
    described,
    execution_arns,
    of_ended_executions,
    of_sizing,
    removal,
)
from sizing.clean_up.names import EXECUTION_TAG, INSTANCE_TYPE_TAG, SIZING_TAG, sizing_id

ARN = "arn:aws:states:us-east-1:123456789012:execution:machine:one"
OTHER_ARN = "arn:aws:states:us-east-1:123456789012:execution:machine:two"
ID, OTHER_ID = sizing_id(ARN), sizing_id(OTHER_ARN)
CLUSTER = "arn:aws:ecs:us-east-1:123456789012:cluster/c"


def resource(name: str, arn: str = ARN, status: str = "") -> Resource:
    return Resource(name, {SIZING_TAG: sizing_id(arn), EXECUTION_TAG: arn}, status)


def all_of(arn: str, status: str = "InService") -> Found:
    name = f"p-{sizing_id(arn)}-ml-m5-large"
    return Found(
        endpoints=(resource(name, arn, status),),
        endpoint_configs=(resource(name, arn),),
        models=(resource(name, arn),),
        executions=(resource(f"execution-of-{name}", arn),),
        tasks=(resource(f"task-of-{name}", arn),),
        locks=(resource(f"model-of-{name}", arn),),
    )


def both(one: Found, other: Found) -> Found:
    kinds = zip(one.all.values(), other.all.values(), strict=True)
    return Found(*(first + second for first, second in kinds))


def test_everything_of_a_sizing_goes() -> None:
    name = f"p-{ID}-ml-m5-large"
    assert removal(of_sizing(all_of(ARN), ID), CLUSTER) == {
        "anything": True,
        "stop_executions": [f"execution-of-{name}"],
        "stop_tasks": [{"cluster": CLUSTER, "task": f"task-of-{name}"}],
        "delete_endpoints": [name],
        "delete_endpoint_configs": [name],
        "delete_models": [name],
        "release_locks": [],  # the last thing
        "waiting": [],
        "names": [
            f"endpoint/{name}",
            f"endpoint-config/{name}",
            f"model/{name}",
            f"execution/execution-of-{name}",
            f"task/task-of-{name}",
            f"lock/model-of-{name}",
        ],
    }


def test_a_lock_is_released_when_nothing_else_of_its_sizing_is_left() -> None:
    both_locks = both(all_of(ARN, "Deleting"), Found(locks=all_of(OTHER_ARN).locks))
    expected = {
        "partition": "lock",
        "model_key": f"model-of-p-{OTHER_ID}-ml-m5-large",
        "owner": OTHER_ARN,
    }
    assert removal(both_locks, CLUSTER)["release_locks"] == [expected]


def test_nothing_left_is_nothing_to_do() -> None:
    answer = removal(Found(), CLUSTER)
    assert answer.pop("anything") is False
    assert set(map(len, answer.values())) == {0}


@pytest.mark.parametrize("status", ["InService", "Failed", "OutOfService", "UpdateRollbackFailed"])
def test_statuses_in_which_an_endpoint_can_be_deleted(status: str) -> None:
    answer = removal(all_of(ARN, status), CLUSTER)
    assert len(answer["delete_endpoints"]) == len(answer["delete_models"]) == 1
    assert answer["waiting"] == []


@pytest.mark.parametrize("status", ["Creating", "Updating", "SystemUpdating", "RollingBack"])
def test_an_endpoint_in_progress_is_waited_for_and_keeps_what_it_needs(status: str) -> None:
    answer = removal(all_of(ARN, status), CLUSTER)
    assert answer["waiting"] == [{"name": f"p-{ID}-ml-m5-large", "status": status}]
    assert answer["delete_endpoints"] == answer["delete_models"] == []
    assert answer["delete_endpoint_configs"] == []
    assert answer["anything"] is True


def test_an_endpoint_being_deleted_needs_nothing_any_more() -> None:
    answer = removal(all_of(ARN, "Deleting"), CLUSTER)
    assert answer["delete_endpoints"] == []
    assert len(answer["waiting"]) == len(answer["delete_models"]) == 1


def test_another_sizings_resources_are_not_touched() -> None:
    found = of_sizing(both(all_of(ARN), all_of(OTHER_ARN)), ID)
    assert found == all_of(ARN)


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED", None])
def test_a_sweep_takes_what_ended_and_leaves_what_runs(status: str | None) -> None:
    found = both(all_of(ARN), all_of(OTHER_ARN))
    assert execution_arns(found) == {ARN, OTHER_ARN}
    assert of_ended_executions(found, {ARN: status, OTHER_ARN: "RUNNING"}) == all_of(ARN)


@pytest.mark.parametrize("status", ["RUNNING", "PENDING_REDRIVE"])
def test_a_sweep_never_touches_a_live_sizing(status: str) -> None:
    assert of_ended_executions(all_of(ARN), {ARN: status}) == Found()


def test_a_sweep_leaves_alone_what_names_no_execution_of_its_own() -> None:
    untagged = Resource("p-x", {SIZING_TAG: ID})
    # Someone else's execution: the sizing's id is a hash of its own.
    forged = Resource("p-y", {SIZING_TAG: ID, EXECUTION_TAG: OTHER_ARN})
    found = Found(endpoints=(untagged, forged))
    assert execution_arns(found) == frozenset()
    assert of_ended_executions(found, {OTHER_ARN: "FAILED"}) == Found()


def test_what_became_known_after_the_statuses_were_read_is_left_alone() -> None:
    assert of_ended_executions(all_of(ARN), {}) == Found()


def an_endpoint(status: str, **tags: str) -> Found:
    found = all_of(ARN, status)
    [endpoint] = found.endpoints
    return dataclasses.replace(
        found, endpoints=(dataclasses.replace(endpoint, tags={**endpoint.tags, **tags}),)
    )


def test_what_is_left_is_described_with_its_price() -> None:
    found = an_endpoint("InService", **{INSTANCE_TYPE_TAG: "ml.m5.xlarge"})
    [endpoint] = found.endpoints
    counts = {endpoint.name: 3}
    lines = described(found, counts, "us-east-1")
    assert len(lines) == len(removal(found, CLUSTER)["names"])
    assert (
        lines[0] == f"endpoint/{endpoint.name}: 3 x ml.m5.xlarge, InService, about $0.69 per hour"
    )
    assert f"model/{endpoint.name}" in lines
    assert costs(found, counts, "us-east-1") == "about $0.69 per hour"


def test_a_price_that_is_not_known_is_not_made_up() -> None:
    found = an_endpoint("Creating", **{INSTANCE_TYPE_TAG: "ml.none.large"})
    [endpoint] = found.endpoints
    expected = f"endpoint/{endpoint.name}: 1 x ml.none.large, Creating, price unknown"
    assert described(found, {endpoint.name: 1}, "us-east-1")[0] == expected
    assert costs(found, {endpoint.name: 1}, "us-east-1") == "price unknown"
    unknown = an_endpoint("Creating")
    expected = f"endpoint/{endpoint.name}: ? x ?, Creating, price unknown"
    assert described(unknown, {}, "us-east-1")[0] == expected
    assert costs(unknown, {}, "us-east-1") == "price unknown"
    assert costs(Found(models=found.models), {}, "us-east-1") == ""
