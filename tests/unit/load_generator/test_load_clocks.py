"""Clocks that differ are told from messages that are late."""

from __future__ import annotations

import pytest

from load_generator.clocks import ClockWatch


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
