"""What moto's executions do late changes nothing of how they ended."""

from __future__ import annotations

from types import SimpleNamespace

from moto.stepfunctions.parser.asl.eval.program_state import ProgramError, ProgramRunning

from local.stepfunctions.executions import _go_on


def test_a_branch_that_begins_after_its_execution_has_ended_goes_nowhere() -> None:
    ended = ProgramError(error={})
    env = SimpleNamespace(_program_state=ended, is_running=lambda: False)
    _go_on(env, "First")
    assert env._program_state is ended


def test_one_that_runs_goes_on() -> None:
    running = ProgramRunning()
    env = SimpleNamespace(_program_state=running, is_running=lambda: True)
    _go_on(env, "First")
    assert running.next_state_name == "First"
