"""The figures of docs/cost.md are those of the code that plans and counts a sizing."""

from __future__ import annotations

import pytest

from tools import cost_tables


def test_the_document_holds_what_is_worked_out() -> None:
    text = cost_tables.DOCUMENT.read_text()
    assert cost_tables.written(text) == text


def test_a_figure_that_differs_is_noticed() -> None:
    text = cost_tables.DOCUMENT.read_text()
    assert cost_tables.written(text.replace("| keys | $0.000 |", "| keys | $1.000 |")) == text


def test_a_stack_that_sizes_nothing_costs_less_than_a_dollar() -> None:
    positions = dict(cost_tables.idle_month())
    assert 0 < sum(positions.values()) < 1
    readme = (cost_tables.ROOT / "README.md").read_text()
    assert f"[${sum(positions.values()):.2f} in a month](docs/cost.md)" in readme
    sweep = next(usd for name, usd in positions.items() if name.startswith("Step Functions"))
    assert sweep == pytest.approx((730 * 5 + 30 * 4) * 0.025 / 1000)


def test_the_method_s_case_is_nearly_all_instances() -> None:
    positions = cost_tables.method_case()
    instances = sum(usd for name, usd in positions if "instance" in name)
    assert instances / sum(usd for _, usd in positions) > 0.95
    scaled = next(usd for name, usd in positions if "while they are scaled" in name)
    assert scaled == pytest.approx(8 * 2.765 * 420 / 3600)


def test_every_rate_to_100_000_fits_into_the_stack_s_own_subnets() -> None:
    rows = cost_tables.load_generators()
    assert rows[-1][0] == 100_000
    assert rows[-1][1:5] == (20, 1, 21, 21)
    assert max(tasks for _, _, _, tasks, _, _ in rows) < 2 * (2**11 - 5)
