"""Clocks that differ are told from messages that are late."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from load_generator.clocks import ClockWatch, ServerClock


def saw(delays: list[float]) -> list[float | None]:
    watch = ClockWatch()
    return [
        watch.saw(1000.0 + number, 1000.0 + number + delay) for number, delay in enumerate(delays)
    ]


@pytest.mark.parametrize(
    "delays",
    [
        [0.001] * 10,
        # Messages that are late, even most of them, say nothing of the clock.
        [3.0, 2.0, 2.5, 0.01, 4.0, 5.0],
        [-0.4] * 10,
        [3.0] * 4,
    ],
)
def test_clocks_that_agree(delays: list[float]) -> None:
    assert saw(delays) == [None] * len(delays)


def test_a_clock_ahead_is_seen_at_once() -> None:
    # No message arrives before it was sent.
    assert saw([-0.6]) == [pytest.approx(-0.6)]


def test_a_clock_behind_is_seen_after_some_messages() -> None:
    assert saw([0.9, 0.8, 0.7, 0.8, 0.9, 0.9]) == [None] * 4 + [pytest.approx(0.7)] * 2


NOW = 1_795_000_000.0


def told(offset: float, calls: list[tuple[float, float, float]]) -> ServerClock:
    """A clock that is ahead by ``offset``, asked at times with delays there and back."""
    clock = ServerClock()
    for at, there, back in calls:
        date = formatdate(int(NOW + at + there + offset), usegmt=True)
        clock.answered(date, NOW + at, NOW + at + there + back)
    return clock


@given(
    st.floats(-1000, 1000),
    st.lists(
        st.tuples(st.floats(0, 3600), st.floats(0, 5), st.floats(0, 5)), min_size=1, max_size=20
    ),
)
def test_the_truth_lies_within_the_uncertainty(
    offset: float, calls: list[tuple[float, float, float]]
) -> None:
    known = told(offset, calls).offset
    assert known is not None
    assert abs(known.offset - offset) <= known.uncertainty + 1e-6
    # Half of the second that a Date leaves open, and half of the way there and back.
    best = min(there + back for _, there, back in calls)
    assert known.uncertainty <= (1 + best) / 2 + 1e-6


def test_answers_at_other_parts_of_a_second_narrow_it_down() -> None:
    known = told(-3.0, [(7.3 * number, 0.002, 0.002) for number in range(10)]).offset
    assert known is not None
    assert known.offset == pytest.approx(-3.0, abs=0.1)
    assert known.uncertainty < 0.1


def test_a_clock_that_was_set_meanwhile_is_not_known_well() -> None:
    clock = told(0.0, [(0, 0, 0), (0.5, 0, 0)])
    clock.answered(formatdate(int(NOW + 60), usegmt=True), NOW + 1, NOW + 1)
    known = clock.offset
    assert known is not None
    assert known.uncertainty > 25


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_no_date_tells_nothing(date: str | None) -> None:
    clock = ServerClock()
    clock.answered(date, NOW, NOW)
    assert clock.offset is None
