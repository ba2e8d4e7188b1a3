"""The ledger: seconds of workers, summed without loss."""

from __future__ import annotations

import msgpack

from load_generator.ledger import Ledger, Second, total


def second(**fields: object) -> Second:
    made = Second()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def full() -> Second:
    made = second(
        offered=9, sent=8, succeeded=5, answered=7, invoked=6, cpu=0.25, bytes_received=500
    )
    made.errors = {"throttled": 1, "model_error_500": 1}
    for histogram in (made.latency, made.service, made.first_byte, made.lag, made.connection_wait):
        histogram.add([0.001, 0.5])
    return made


def test_a_second_survives_the_journey_to_the_leader() -> None:
    # As Locust packs and unpacks its messages.
    packed = msgpack.dumps(full().to_message())
    assert Second.from_message(msgpack.loads(packed, strict_map_key=False)) == full()


def test_an_idle_second_is_an_empty_message() -> None:
    assert Second().to_message() == {}
    assert Second.from_message({}) == Second()


def test_every_figure_is_summed() -> None:
    summed = total([full(), full(), Second()])
    assert (summed.offered, summed.sent, summed.succeeded) == (18, 16, 10)
    assert (summed.answered, summed.invoked, summed.bytes_received) == (14, 12, 1000)
    assert summed.cpu == 0.5
    assert summed.errors == {"throttled": 2, "model_error_500": 2}
    for name in ("latency", "service", "first_byte", "lag", "connection_wait"):
        assert getattr(summed, name).count == 4
    # The summands are as they were.
    assert full().errors == {"throttled": 1, "model_error_500": 1}


def test_errors_as_a_share_of_what_ended() -> None:
    assert Second().error_percent == 0
    some = second(succeeded=97, sent=500)
    some.count_error("timeout", 3)
    assert some.error_percent == 3


def test_the_book_of_several_workers() -> None:
    ledger = Ledger()
    assert list(ledger.span()) == []
    ledger.enter(0, 100, second(succeeded=1, cpu=0.25))
    ledger.enter(1, 100, second(succeeded=2, cpu=0.5))
    ledger.enter(0, 102, second(succeeded=4))
    # A second that comes in two parts is one.
    ledger.enter(0, 102, second(succeeded=8, cpu=1.0))
    assert list(ledger.span()) == [100, 101, 102]
    assert ledger.between(100, 101).succeeded == 3
    assert ledger.between(100, 103).succeeded == 15
    assert ledger.between(101, 102).succeeded == 0
    assert ledger.of_worker(0, 100, 103).cpu == 1.25
    assert ledger.of_worker(1, 100, 103).cpu == 0.5
    assert ledger.of_worker(1, 101, 103).cpu == 0
    assert [ledger.workers_in(each) for each in (100, 101, 102)] == [2, 0, 1]
    # Summing does not change what is in the book.
    assert ledger.between(100, 103).succeeded == 15
