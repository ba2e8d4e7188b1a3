"""The drawings of the state machines: what they show, and that pages show the machines of today."""

from __future__ import annotations

from typing import Any

import pytest

from tools import draw_machines
from tools.draw_machines import flowchart, with_drawings

TASK = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke"}
FAILED = {"ErrorEquals": ["States.ALL"], "Next": "Failed"}


def lines(states: dict[str, Any], *, failures: bool = True) -> list[str]:
    """The lines of a drawing, the first state being the one it starts at."""
    definition = {"StartAt": next(iter(states)), "States": states}
    return [line.strip() for line in flowchart(definition, failures=failures).splitlines()]


def test_each_kind_of_state_has_its_shape() -> None:
    nested = {"Type": "Task", "Resource": "arn:aws:states:::states:startExecution.sync:2"}
    drawn = lines(
        {
            "Begin": {"Type": "Pass", "Next": "Ask"},
            "Ask": {**TASK, "Next": "Nested"},
            "Nested": {**nested, "Next": "Rest"},
            "Rest": {"Type": "Wait", "Next": "Which"},
            "Which": {
                "Type": "Choice",
                "Choices": [{"Comment": "all well", "Next": "Done"}],
                "Default": "Failed",
            },
            "Done": {"Type": "Succeed"},
            "Failed": {"Type": "Fail"},
        }
    )
    assert drawn == [
        "flowchart TD",
        'start((" ")) --> Begin',
        "Begin(Begin)",
        "Ask[Ask]",
        "Nested[[Nested]]",
        "Rest{{Rest}}",
        "Which{Which}",
        "Done([Done])",
        "Failed([Failed]):::fail",
        "Begin --> Ask",
        "Ask --> Nested",
        "Nested --> Rest",
        "Rest --> Which",
        'Which -->|"all well"| Done',
        "Which --> Failed",
        "classDef fail stroke-dasharray: 4",
    ]


def test_a_catch_is_dotted_and_names_its_errors_unless_it_is_for_all() -> None:
    locked = {"ErrorEquals": ["Locked"], "Next": "Wait"}
    drawn = lines(
        {
            "Ask": {**TASK, "Retry": [{"ErrorEquals": ["Busy"]}], "Catch": [locked, FAILED]},
            "Wait": {"Type": "Wait", "Next": "Ask"},
            "Failed": {"Type": "Fail"},
        }
    )
    assert 'Ask -.->|"Locked"| Wait' in drawn
    assert "Ask -.-> Failed" in drawn
    assert not any("Busy" in line for line in drawn)


def test_the_main_way_has_no_catch_and_nothing_that_only_a_catch_leads_to() -> None:
    states = {
        "Ask": {**TASK, "Catch": [FAILED], "Next": "Done"},
        "Failed": {"Type": "Pass", "Next": "Done"},
        "Done": {"Type": "Succeed"},
    }
    assert lines(states, failures=False) == [
        "flowchart TD",
        'start((" ")) --> Ask',
        "Ask[Ask]",
        "Done([Done])",
        "Ask --> Done",
    ]


def test_what_runs_inside_a_state_stands_inside_it_under_an_id_of_its_own() -> None:
    inside = {"StartAt": "Ask", "States": {"Ask": {**TASK, "End": True}}}
    both = {"Type": "Parallel", "Branches": [inside, inside], "End": True}
    drawn = lines(
        {
            "Ask": {**TASK, "Next": "Each"},
            "Each": {
                "Type": "Map",
                "ItemProcessor": {"StartAt": "Both", "States": {"Both": both}},
                "End": True,
            },
        }
    )
    assert drawn[2:] == [
        "Ask[Ask]",
        'subgraph Each ["Each, for each"]',
        "direction TB",
        'subgraph Each_Both ["Both, all at once"]',
        "direction TB",
        "Each_Both_1_Ask[Ask]",
        "Each_Both_2_Ask[Ask]",
        "end",
        "end",
        "Ask --> Each",
    ]


def test_ways_to_the_same_state_are_one_with_both_labels() -> None:
    rules = [
        {"Comment": "out of time", "Next": "Failed"},
        {"Comment": 'no "end" in sight', "Next": "Failed"},
        {"Comment": "new", "Next": "Ask"},
    ]
    drawn = lines(
        {
            "Which": {"Type": "Choice", "Choices": rules, "Default": "Ask"},
            "Ask": {**TASK, "Next": "Which"},
            "Failed": {"Type": "Fail"},
        }
    )
    assert "Which -->|\"out of time, or no 'end'<br>in sight\"| Failed" in drawn
    # A label would be a lie where the rest goes the same way.
    assert "Which --> Ask" in drawn


PAGE = """before
<!-- one: drawn by tools/draw_machines.py -->
an old drawing
<!-- end of one -->
after
"""
ONE = {"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}}


def test_a_page_is_drawn_between_its_marks_alone_and_only_once() -> None:
    drawn = with_drawings(PAGE, {"one": ONE})
    assert drawn == PAGE.replace("an old drawing\n", f"\n```mermaid\n{flowchart(ONE)}\n```\n\n")
    assert with_drawings(drawn, {"one": ONE}) == drawn


def test_a_mark_of_no_machine_is_refused() -> None:
    with pytest.raises(ValueError, match="no state machine is called one; there are two"):
        with_drawings(PAGE, {"two": ONE})


@pytest.mark.parametrize("page", draw_machines.PAGES, ids=lambda page: page.name)
def test_pages_show_the_machines_of_today(page: Any) -> None:
    text = page.read_text(encoding="utf-8")
    assert text == with_drawings(text, draw_machines.definitions()), (
        "python -m tools.draw_machines draws them anew"
    )


def test_the_architecture_shows_every_machine_whole() -> None:
    page, _ = draw_machines.PAGES
    shown = draw_machines.drawn_in(page.read_text(encoding="utf-8"))
    assert shown == set(draw_machines.definitions())
