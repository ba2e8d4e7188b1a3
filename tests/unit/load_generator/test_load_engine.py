"""The engine's schedule, closed loop and pool, in made-up time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import mean, median, stdev, variance

import gevent
import pytest

from load_generator import invocation, ledger, spec
from load_generator.engine import Role
from load_generator.errors import LoadTestFailed
from load_generator.http_engine import HttpEngine, Target
from load_generator.schedule import Plateau
from load_generator.task import LEASE_SECONDS
from tests.unit.load_generator.made_up_time import (
    Answer,
    Arrival,
    MadeUpEndpoint,
    MadeUpTime,
    Rule,
    TimeOfProcess,
    always,
)


@dataclass
class Bench:
    """An engine, its endpoint, and what its seconds add up to."""

    time: MadeUpTime
    process: TimeOfProcess
    endpoint: MadeUpEndpoint
    engine: HttpEngine
    stopped: list[LoadTestFailed]
    seconds: list[tuple[int, ledger.Second]] = field(default_factory=list)

    def offer(self, rate: float, seconds: float) -> ledger.Second:
        """Offer a constant rate, and wait until all has ended."""
        start = self.time.epoch()
        self.engine.follow([Plateau(start, start + seconds, rate)])
        self.time.pass_by(seconds)
        return self.total()

    def stand_still(self, seconds: float) -> None:
        """Give the engine's process no CPU for so long."""
        self.process.still_until = self.time.monotonic() + seconds

    def total(self) -> ledger.Second:
        """What has happened so far, once nothing is outstanding."""
        self.time.run(lambda: not self.engine.outstanding)
        self.seconds += self.engine.take_seconds(final=True)
        return ledger.total(second for _, second in self.seconds)


MakeBench = Callable[..., Bench]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> MakeBench:
    def make(
        rule: Rule,
        *,
        timeout: float = 5.0,
        max_connections: int = 200,
        warm: int = 2,
        seed: int | None = None,
    ) -> Bench:
        time = MadeUpTime()
        process = TimeOfProcess(time)
        endpoint = MadeUpEndpoint(time, rule)
        endpoint.stand_in(monkeypatch)
        here = invocation.Endpoint.from_url("http://127.0.0.1:80", "eu-west-1")
        target = Target(
            host=here.host,
            port=here.port,
            tls=None,
            signer=invocation.Signer(here, "/endpoints/e/invocations", {}),
            payloads=invocation.PayloadSet([spec.Payload(b"{}")], seed=1),
            request_timeout=timeout,
            max_connections=max_connections,
        )
        stopped: list[LoadTestFailed] = []
        role = Role(worker=0, workers=1, on_stop=stopped.append, seed=seed, time=process)
        engine = HttpEngine(role, target, invocation.Credentials("AKID", "secret", None))
        warming = gevent.spawn(engine.warm, warm)
        time.run(warming.ready)
        return Bench(time, process, endpoint, engine, stopped)

    return make


def test_latency_counts_from_the_intended_start(bench: MakeBench) -> None:
    """An endpoint that stands still for half a second shows it to all that was due meanwhile."""
    made = bench(always(0.001))
    still_until = made.time.epoch() + 0.602

    def stall(arrival: Arrival) -> Answer:
        stands_still = still_until - 0.5 <= arrival.at < still_until
        return Answer(0.001 + stands_still * (still_until - arrival.at))

    made.endpoint.rule = stall
    seen = made.offer(200, 1)
    assert seen.succeeded == 200
    # Due each 5 ms: 100 requests that wait 497, 492, 487 ... ms.
    assert sum(count for bucket, count in seen.latency.counts.items() if bucket > 1000) == 100
    assert seen.latency.max_ms == pytest.approx(498)
    assert seen.latency.percentile_ms(75) == pytest.approx(248, abs=1)


def test_a_process_that_stood_still_shows_it_as_latency_and_as_lag(bench: MakeBench) -> None:
    made = bench(always(0.001))
    made.time.call_at(made.time.monotonic() + 0.102, lambda: made.stand_still(0.5))
    seen = made.offer(200, 1)
    assert seen.succeeded == 200
    assert seen.lag.max_ms == pytest.approx(497)
    assert seen.latency.max_ms == pytest.approx(498)
    assert (seen.service.max_ms or 0) < 2


def test_a_schedule_is_followed_to_the_request(bench: MakeBench) -> None:
    made = bench(always(0.01))
    start = made.time.epoch() + 0.1
    made.engine.follow(
        [
            Plateau(start, start + 1, 50),
            Plateau(start + 1, start + 2, 200),
            Plateau(start + 2.5, start + 3, 100),
        ]
    )
    made.time.pass_by(3.2)
    seen = made.total()
    due = [
        *(number / 50 for number in range(50)),
        *(1 + number / 200 for number in range(200)),
        *(2.5 + number / 100 for number in range(50)),
    ]
    assert [arrival.at - start for arrival in made.endpoint.arrivals] == pytest.approx(due)
    assert seen.succeeded == seen.offered == 300
    assert seen.lag.max_ms == pytest.approx(0, abs=0.01)


def test_requests_belong_to_the_second_they_were_due_in(bench: MakeBench) -> None:
    """A process that stands still while a second ends sends late what was due, and books it so."""
    made = bench(always(0.001))
    start = int(made.time.epoch()) + 1.5
    made.engine.follow([Plateau(start, start + 2, 200)])
    made.time.pass_by(start + 0.4 - made.time.epoch())
    made.stand_still(0.2)
    made.time.pass_by(1.7)
    seen = made.total()
    offered: dict[int, int] = {}
    for epoch_second, second in made.seconds:
        offered[epoch_second] = offered.get(epoch_second, 0) + second.offered
    first = int(start)
    assert [offered[first + number] for number in range(3)] == [100, 200, 100]
    assert (seen.sent, seen.unsent) == (400, 0)
    assert seen.lag.max_ms == pytest.approx(200, abs=5)


def test_the_end_of_a_plateau_can_be_moved_while_it_runs(bench: MakeBench) -> None:
    made = bench(always(0.001))
    start = made.time.epoch() + 0.1
    made.engine.follow([Plateau(start, start + 30, 100)])
    made.time.pass_by(0.6)
    made.engine.follow([Plateau(start, start + 1, 100), Plateau(start + 1, start + 1.5, 20)])
    made.time.pass_by(1.2)
    assert made.total().succeeded == 100 + 10


def test_a_plateau_that_has_had_its_requests_already_ends_at_once(bench: MakeBench) -> None:
    made = bench(always(0.001))
    start = made.time.epoch()
    made.engine.follow([Plateau(start, start + 30, 100)])
    made.time.pass_by(0.6)
    made.engine.follow([Plateau(start, start + 0.601, 100)])
    made.time.pass_by(5)
    assert made.total().succeeded == 61


def test_a_closed_loop_holds_its_concurrency(bench: MakeBench) -> None:
    made = bench(always(0.05))
    hold = made.engine.hold
    hold(8, start=made.time.epoch(), ramp=0.1)
    made.time.pass_by(1)
    assert made.endpoint.most_at_once == made.engine.outstanding == 8
    hold(16, start=made.time.epoch(), ramp=0.1)
    made.time.pass_by(1)
    assert made.endpoint.most_at_once == made.engine.outstanding == 16
    hold(4, start=made.time.epoch(), ramp=0)
    made.time.pass_by(1)
    assert made.engine.outstanding == 4
    hold(0, start=made.time.epoch(), ramp=0)
    seen = made.total()
    assert seen.succeeded == seen.offered == seen.sent == len(made.endpoint.arrivals)
    # A second each of 8, 16 and 4 at once, 50 ms each, less what the ramps take.
    assert seen.succeeded == pytest.approx(20 * (8 + 16 + 4), abs=40)


def test_a_pool_that_is_too_small_makes_requests_wait_and_loses_none(bench: MakeBench) -> None:
    made = bench(always(0.05), max_connections=2)
    seen = made.offer(100, 0.5)
    assert made.endpoint.connections == 2
    assert seen.succeeded == 50
    assert seen.connection_wait.count == 48
    # Fifty requests of 50 ms over two connections last 1.25 s, of which they were due in 0.5 s.
    assert seen.latency.max_ms == pytest.approx(1250 - 480, abs=5)
    assert seen.service.max_ms == pytest.approx(50, abs=1)
    assert seen.lag.max_ms == pytest.approx(0, abs=0.01)


def test_a_request_that_waits_too_long_for_a_connection_times_out(bench: MakeBench) -> None:
    made = bench(always(0.45), max_connections=1, timeout=1, warm=1)
    seen = made.offer(10, 1)
    # Due at 0 to 900 ms; answered at 450 and 900; the third, of 200, would be at 1350.
    assert (seen.succeeded, seen.errors) == (2, {"timeout": 8})
    assert seen.offered == 10
    assert seen.sent == len(made.endpoint.arrivals) == 10 - seen.unsent
    assert seen.latency.max_ms == pytest.approx(800)


def test_a_request_without_an_answer_times_out_and_its_connection_is_closed(
    bench: MakeBench,
) -> None:
    made = bench(lambda arrival: Answer(60.0 if arrival.number < 5 else 0.01), timeout=0.5)
    seen = made.offer(40, 0.25)
    assert (seen.succeeded, seen.errors) == (5, {"timeout": 5})
    made.time.pass_by(61)
    assert made.total().succeeded == 5


def test_the_pool_grows_with_need_and_no_further(bench: MakeBench) -> None:
    made = bench(always(0.1))
    made.offer(200, 1)
    # 200/s of 100 ms each need 20 connections, and one more where a start meets an answer.
    assert 20 <= made.endpoint.connections <= 22


def test_nothing_is_sent_once_the_leader_is_silent(bench: MakeBench) -> None:
    made = bench(always(0.001))
    made.engine.lease_until = made.time.monotonic() + 0.5
    start = made.time.epoch()
    made.engine.follow([Plateau(start, start + 30, 100)])
    made.time.pass_by(30)
    assert len(made.endpoint.arrivals) == 51
    assert made.engine.stopped
    assert [error.name for error in made.stopped] == ["LeaderLost"]


def test_an_engine_that_stood_still_does_not_catch_up(bench: MakeBench) -> None:
    made = bench(always(0.001))
    start = made.time.epoch()
    made.engine.follow([Plateau(start, start + 30, 100)])
    made.time.pass_by(0.3)
    sent = len(made.endpoint.arrivals)
    made.stand_still(LEASE_SECONDS + 0.2)
    made.time.pass_by(30)
    assert len(made.endpoint.arrivals) == sent
    assert [error.name for error in made.stopped] == ["WorkerLost"]


def test_what_is_late_is_sent_in_turns_with_the_answers(bench: MakeBench) -> None:
    """Requests that are overdue do not keep the engine from the answers that come in."""
    made = bench(always(0.001), max_connections=500)
    start = made.time.epoch()
    made.engine.follow([Plateau(start, start + 2, 1000)])
    made.time.pass_by(0.5)
    made.stand_still(1.0)
    made.time.pass_by(2)
    seen = made.total()
    assert seen.succeeded == 2000
    # A thousand at once, but for the answers in between, would need so many connections.
    assert made.endpoint.connections < 100


def test_a_fault_of_a_callback_stops_the_engine(bench: MakeBench) -> None:
    made = bench(always(0.001))

    def broken(_intended: float, _now: float) -> None:
        raise ZeroDivisionError("no connection")

    made.engine._start = broken  # type: ignore[method-assign]
    start = made.time.epoch()
    made.engine.follow([Plateau(start, start + 1, 10)])
    made.time.pass_by(1)
    assert made.engine.stopped
    assert [str(error) for error in made.stopped] == ["ZeroDivisionError: no connection"]


# --- Connections that rest ----------------------------------------------------------------------


def test_one_connection_carries_a_low_rate_and_the_others_are_closed_in_time(
    bench: MakeBench,
) -> None:
    """The endpoint closes what nothing is sent on for a minute, as AWS does."""
    made = bench(always(0.1), warm=4)
    made.endpoint.closes_after = 60.0
    seen = made.offer(1 / 40, 400)
    assert (seen.succeeded, seen.errors, seen.resent) == (10, {}, 0)
    # Four to begin with; the one that is used is replaced every three minutes.
    assert made.endpoint.connections <= 6
    assert len(made.engine._connections) == 1


def test_a_pool_shrinks_to_what_is_needed(bench: MakeBench) -> None:
    made = bench(always(0.1))
    made.endpoint.closes_after = 60.0
    made.engine.hold(50, start=made.time.epoch(), ramp=0)
    made.time.pass_by(2)
    made.engine.hold(0, start=made.time.epoch(), ramp=0)
    made.total()
    assert len(made.engine._connections) == 50
    seen = made.offer(20, 120)
    assert not seen.errors
    assert len(made.engine._connections) <= 3


def test_a_request_that_met_a_closed_connection_is_sent_once_more(bench: MakeBench) -> None:
    made = bench(always(0.01), warm=1)
    made.endpoint.closing = 1
    seen = made.offer(10, 1)
    assert (seen.succeeded, seen.sent, seen.resent, seen.errors) == (10, 10, 1, {})


def test_but_not_twice(bench: MakeBench) -> None:
    made = bench(always(0.01), warm=2)
    made.endpoint.closing = 2
    seen = made.offer(10, 1)
    assert (seen.succeeded, seen.sent, seen.resent) == (9, 10, 1)
    assert seen.errors == {"connection": 1}


def test_nor_on_a_connection_that_was_opened_for_it(bench: MakeBench) -> None:
    """An endpoint that takes a request and gives none of an answer is none that was at rest."""
    made = bench(always(0.1), warm=1)
    start = made.time.epoch()
    made.engine.follow([Plateau(start, start + 0.02, 100)])
    made.time.pass_by(0.0005)
    made.endpoint.closing = 1
    made.time.pass_by(1)
    seen = made.total()
    assert (seen.succeeded, seen.resent, seen.errors) == (1, 0, {"connection": 1})


# --- Arrivals as a Poisson process ----------------------------------------------------------------


def gaps_of(made: Bench) -> list[float]:
    """Seconds between the arrivals."""
    return [after.at - before.at for before, after in pairwise(made.endpoint.arrivals)]


def test_arrivals_of_a_poisson_process_come_as_chance_will_have_it(bench: MakeBench) -> None:
    made = bench(always(0.001), seed=7)
    seen = made.offer(200, 20)
    # As many as the rate says, by no more than chance (3 standard deviations of 63).
    assert seen.offered == seen.succeeded == len(made.endpoint.arrivals)
    assert seen.offered == pytest.approx(4_000, abs=190)
    gaps = gaps_of(made)
    assert mean(gaps) == pytest.approx(1 / 200, rel=0.05)
    # Exponential gaps: as wide a spread as their mean, and the median of their distribution.
    assert stdev(gaps) / mean(gaps) == pytest.approx(1, abs=0.05)
    assert median(gaps) * 200 == pytest.approx(math.log(2), rel=0.05)
    # Counts of a second spread as their mean does; evenly spaced ones would not at all.
    counts = Counter(int(each.at - made.endpoint.arrivals[0].at) for each in made.endpoint.arrivals)
    assert variance([counts[second] for second in range(20)]) == pytest.approx(200, rel=0.6)


def test_a_seed_gives_the_same_arrivals_again(bench: MakeBench) -> None:
    first, again, other = (bench(always(0.001), seed=seed) for seed in (1, 1, 2))
    for made in (first, again, other):
        made.offer(50, 4)
    assert gaps_of(again) == pytest.approx(gaps_of(first))
    assert gaps_of(other) != pytest.approx(gaps_of(first))


def test_no_request_of_a_poisson_process_is_due_after_its_end(bench: MakeBench) -> None:
    made = bench(always(0.001), seed=3)
    start = made.time.epoch()
    made.engine.follow([Plateau(start, start + 5, 3), Plateau(start + 5, start + 10, 300)])
    made.time.pass_by(10)
    seen = made.total()
    first = [each for each in made.endpoint.arrivals if each.at < start + 5]
    assert 4 <= len(first) <= 30
    assert seen.offered - len(first) == pytest.approx(1_500, abs=120)
    assert max(each.at for each in made.endpoint.arrivals) < start + 10.01


def test_a_longer_poisson_process_repeats_nothing(bench: MakeBench) -> None:
    """The leader moves a plateau's end while its next request would come after the old one."""
    made, straight = bench(always(0.001), seed=5), bench(always(0.001), seed=5)
    start = made.time.epoch()
    for end in range(1, 61):
        made.engine.follow([Plateau(start, start + end, 0.5)])
        made.time.pass_by(0.99)
    made.time.pass_by(1)
    straight.offer(0.5, 60)
    assert 15 <= len(straight.endpoint.arrivals) <= 45
    assert gaps_of(made) == pytest.approx(gaps_of(straight), abs=0.01)
