"""What all instances share is no matter of their number: it is seen early, and said."""

from __future__ import annotations

import pytest

from load_generator import answers
from sizing.load_test.observation import Latency, LoadTestRecord, Observation
from sizing.load_test.verdict import TIMEOUT, late_answers, tally
from sizing.search.answer import CandidateOutcome, Status
from sizing.search.shared import SHARED
from tests.unit.sizing.exact_endpoint import ExactEndpoint, counts, search, sizing_for

#: Requests per second that one instance serves.
CAPACITY = 200.0


def findings(outcome: CandidateOutcome) -> list[str]:
    return [each.finding for each in outcome.diagnosis]


def each_step(change):
    def changed(record: LoadTestRecord) -> LoadTestRecord:
        steps = (change(seen) for seen in record.observations)
        return record.model_copy(update={"observations": tuple(steps)})

    return changed


def refusing_over(most: float):
    """Something shared that refuses at once what is over so many requests per second."""

    def refused(seen: Observation) -> Observation:
        if seen.achieved_tps <= most:
            return seen
        failed = seen.offered_tps - most
        return seen.model_copy(
            update={
                "achieved_tps": most,
                "error_percent": 100 * failed / seen.offered_tps,
                "errors": {"model_error_500": round(60 * failed)},
                "utilization_percent": seen.utilization_percent * most / seen.achieved_tps,
            }
        )

    return each_step(refused)


def slower_over(most: float):
    """Something shared that takes 400 ms more from so many requests per second on."""

    def slowed(seen: Observation) -> Observation:
        if seen.achieved_tps <= most:
            return seen
        p99 = (seen.model_latency_ms.p99 or 0.0) + 400.0
        latency = seen.model_latency_ms.model_copy(update={"p99": p99})
        return seen.model_copy(update={"model_latency_ms": latency})

    return each_step(slowed)


@pytest.mark.parametrize("limits", [{}, {"model_latency_p99_ms": 100.0}])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("tps", [100, 150, 300, 1000, 7000])
class TestAShareOfTheTarget:
    """Something shared can take a part of the target, whatever the number of instances."""

    @staticmethod
    def assert_told(answer, plans):
        (outcome,) = answer.candidates
        assert answer.status is Status.TARGET_NOT_MET
        assert outcome.limiting_resource == SHARED
        assert "more instances do not mend that" in answer.reason
        assert outcome.diagnosis[0].finding.startswith("A fleet of")
        assert "share" in outcome.diagnosis[0].advice
        assert not any("container saturates" in each for each in findings(outcome))
        fleets = [count for count in counts(plans) if count > 1]
        assert len(plans) <= 4
        assert max(fleets) <= 2 * min(fleets)

    def test_that_lets_the_others_wait(self, tps, share, limits):
        endpoint = ExactEndpoint(CAPACITY, shared_tps=share * tps)
        self.assert_told(*search(sizing_for(tps, **limits), endpoint))

    def test_that_refuses_the_others(self, tps, share, limits):
        change = refusing_over(share * tps)
        answer, plans = search(sizing_for(tps, **limits), ExactEndpoint(CAPACITY), change)
        assert answer.status is Status.TARGET_NOT_MET
        assert answer.candidates[0].limiting_resource in (SHARED, "errors")
        assert "more instances do not mend that" in answer.reason
        assert len(plans) <= 6
        assert max(counts(plans)) <= max(2.5 * tps / CAPACITY / 0.6, 6)


@pytest.mark.parametrize("tps", [300, 1000, 7000])
def test_a_latency_that_grows_with_the_load_of_the_whole_fleet(tps):
    sizing = sizing_for(tps, model_latency_p99_ms=100.0)
    answer, plans = search(sizing, ExactEndpoint(CAPACITY), slower_over(0.8 * tps))
    assert answer.status is Status.TARGET_NOT_MET
    assert answer.candidates[0].limiting_resource == SHARED
    assert "where fewer had as much to do each and were in time" in answer.reason
    assert max(counts(plans)) <= 2 * tps / CAPACITY / 0.6


def test_a_latency_over_its_limit_on_one_instance_too_is_not_shared():
    sizing = sizing_for(1000, model_latency_p99_ms=40.0)
    answer, _ = search(sizing, ExactEndpoint(CAPACITY, latency_ms=50.0))
    assert answer.candidates[0].limiting_resource == "latency"


@pytest.mark.parametrize("limits", [{}, {"model_latency_p99_ms": 100.0}])
@pytest.mark.parametrize("tps, count", [(100, 1), (300, 3), (1000, 8)])
def test_more_than_the_target_is_no_limit(tps, count, limits):
    endpoint = ExactEndpoint(CAPACITY, shared_tps=1.2 * tps)
    answer, _ = search(sizing_for(tps, **limits), endpoint)
    assert answer.status is Status.SIZED
    assert answer.candidates[0].instance_count == count


def test_hardly_more_than_the_target_is_told():
    """The room over the target is not there, and one more instance does not make it."""
    answer, plans = search(sizing_for(100), ExactEndpoint(CAPACITY, shared_tps=102))
    (outcome,) = answer.candidates
    assert answer.status is Status.SIZED
    assert outcome.instance_count == 1
    assert counts(plans) == [1, 2]
    assert outcome.diagnosis[0].finding.startswith("A fleet of 1 answered 102.0 of")


def test_a_fleet_that_is_less_than_its_instances_is_followed_up():
    """One alone serves 200 TPS, in a fleet each fails over 120: nothing that is shared."""

    def less(record: LoadTestRecord) -> LoadTestRecord:
        n = record.instance_count
        if n == 1:
            return record
        return each_step(
            lambda seen: seen.model_copy(update={"achieved_tps": min(seen.offered_tps, 120.0 * n)})
        )(record)

    answer, plans = search(sizing_for(1200), ExactEndpoint(CAPACITY), less)
    assert answer.status is Status.SIZED
    assert answer.candidates[0].instance_count in (11, 12)
    assert len(plans) <= 4


def test_a_timeout_is_called_as_the_load_generator_calls_it():
    assert TIMEOUT == answers.TIMEOUT


class TestLateAnswers:
    """Answers of a queue that grows are missing, not late."""

    @staticmethod
    def a_step(**changes) -> Observation:
        plan = search(sizing_for(100), ExactEndpoint(CAPACITY))[1][0]
        seen = ExactEndpoint(CAPACITY).run(plan).observations[0]
        return seen.model_copy(
            update={
                "offered_tps": 300.0,
                "achieved_tps": 180.0,
                "client_latency_ms": Latency(mean=24_000.0),
                **changes,
            }
        )

    def test_of_a_step_alone_none_are_late(self):
        seen = self.a_step()
        assert late_answers([seen]) == [0.0]
        assert tally(seen, *late_answers([seen])).falls_short

    def test_what_warmed_up_says_for_how_long(self):
        # 24 s * exp(-30 / 24) of 300 a second: fewer than the 7,200 that are missing.
        seen = self.a_step(warm_up_seconds=30.0)
        assert late_answers([seen])[0] == pytest.approx(2063, rel=0.01)
        assert tally(seen, *late_answers([seen])).falls_short

    def test_none_are_later_than_answers_usually_are(self):
        seen = self.a_step(warm_up_seconds=5.0)
        assert late_answers([seen])[0] == pytest.approx(300 * 24 * 0.81, rel=0.01)
        assert late_answers([seen], usual_seconds=0.05) == [pytest.approx(0.0)]

    def test_a_queue_that_grows_does_not_fluctuate(self):
        # 5 % of 5 TPS are missing, and the others wait 3 s instead of 50 ms.
        seen = self.a_step(
            offered_tps=5.0, achieved_tps=4.75, client_latency_ms=Latency(mean=3_000.0)
        )
        assert not tally(seen).falls_short
        assert tally(seen, usual_seconds=0.05).falls_short
        assert not tally(seen, usual_seconds=2.0).falls_short
