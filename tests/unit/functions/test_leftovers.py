"""What may be removed: only a sizing's own, only when SageMaker takes it, in a safe order."""

from __future__ import annotations

import dataclasses

import pytest

from sizing.clean_up.leftovers import (
    Found,
    Removal,
    Resource,
    costs,
    described,
    execution_arns,
    of_ended_executions,
    of_sizing,
    removal,
)
from sizing.clean_up.names import EXECUTION_TAG, INSTANCE_TYPE_TAG, SIZING_TAG, sizing_id
from sizing.clean_up.rounds import Rounds

ARN = "arn:aws:states:us-east-1:123456789012:execution:machine:one"
OTHER_ARN = "arn:aws:states:us-east-1:123456789012:execution:machine:two"
ID, OTHER_ID = sizing_id(ARN), sizing_id(OTHER_ARN)


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
    found = of_sizing(all_of(ARN), ID)
    assert removal(found) == Removal(
        executions=found.executions,
        tasks=found.tasks,
        endpoints=found.endpoints,
        endpoint_configs=found.endpoint_configs,
        models=found.models,
        locks=(),  # the last thing
    )
    name = f"p-{ID}-ml-m5-large"
    assert found.names == [
        f"endpoint/{name}",
        f"endpoint-config/{name}",
        f"model/{name}",
        f"execution/execution-of-{name}",
        f"task/task-of-{name}",
        f"lock/model-of-{name}",
    ]


def test_a_lock_is_released_when_nothing_else_of_its_sizing_is_left() -> None:
    others = all_of(OTHER_ARN).locks
    assert removal(both(all_of(ARN, "Deleting"), Found(locks=others))).locks == others


def test_nothing_left_is_nothing_to_do() -> None:
    assert removal(Found()) == Removal((), (), (), (), (), ())
    assert Found().names == []


@pytest.mark.parametrize("status", ["InService", "Failed", "OutOfService", "UpdateRollbackFailed"])
def test_statuses_in_which_an_endpoint_can_be_deleted(status: str) -> None:
    now = removal(all_of(ARN, status))
    assert len(now.endpoints) == len(now.models) == 1


@pytest.mark.parametrize("status", ["Creating", "Updating", "SystemUpdating", "RollingBack"])
def test_an_endpoint_in_progress_is_waited_for_and_keeps_what_it_needs(status: str) -> None:
    now = removal(all_of(ARN, status))
    assert now.endpoints == now.models == now.endpoint_configs == ()


def test_an_endpoint_being_deleted_needs_nothing_any_more() -> None:
    now = removal(all_of(ARN, "Deleting"))
    assert now.endpoints == ()
    assert len(now.models) == 1


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
    assert len(lines) == len(found.names)
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


def test_rounds_with_problems_count_in_a_row_only() -> None:
    twice = Rounds().after(("a",)).after(("b",))
    assert (twice.rounds, twice.rounds_with_problems, twice.problems) == (2, 2, ("b",))
    assert twice.after(()).rounds_with_problems == 0


@pytest.mark.parametrize(
    "in_a_row, age_seconds, enough", [(9, 60, False), (10, 60, True), (0, 60, False), (0, 61, True)]
)
def test_a_clean_up_is_given_up(in_a_row: int, age_seconds: float, enough: bool) -> None:
    rounds = Rounds(rounds=20, rounds_with_problems=in_a_row)
    assert rounds.are_enough(age_seconds, timeout_seconds=60) is enough


@pytest.mark.parametrize("rounds, seconds", [(1, 2), (2, 5), (6, 5), (7, 30), (99, 30)])
def test_rounds_become_rare(rounds: int, seconds: int) -> None:
    so_far = Rounds(rounds=rounds)
    assert so_far.seconds_to_next(released_locks=False) == seconds
    assert so_far.seconds_to_next(released_locks=True) == 1
