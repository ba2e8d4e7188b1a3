"""Runs cases side by side and says of each what it came to."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from local.size import logs
from tests.faults.cases import (
    ALL_WAYS,
    CLEAN_UP,
    Answer,
    Case,
    Fault,
    FunctionCall,
    Scenario,
)
from tests.faults.check import Report, report, seen_of
from tests.faults.injection import PATIENCE_SECONDS, FaultyStack, Run
from tests.statemachine.stack import Execution

#: Cases at once: half of each is waiting.
AT_ONCE = 6


def calls_of_functions(folder: Path) -> dict[FunctionCall, Scenario]:
    """What functions call in sizings in which nothing goes wrong, each with the first such sizing.

    Args:
        folder: For logs.

    Raises:
        RuntimeError: Something went wrong.
    """
    cases = [Case(f"all ways {each}", way.answer, way) for each, way in enumerate(ALL_WAYS)]
    inside = folder / "nothing-goes-wrong"
    inside.mkdir()
    faulty = FaultyStack(inside, cases)
    for each in _on_one_stack(faulty, inside, AT_ONCE):
        if each.faults:
            raise RuntimeError(f"{each.case}: {each.faults}")
    found: dict[FunctionCall, Scenario] = {}
    for run in faulty.runs:
        for call in run.calls:
            # What a clean-up calls depends on what is still there: it is sure where something is.
            if (call.function == "remove-leftovers") is run.case.scenario.orphaned_load_test:
                found.setdefault(call, run.case.scenario)
    return found


def run_cases(cases: Sequence[Case], folder: Path, at_once: int = AT_ONCE) -> Iterator[Report]:
    """Run cases, each kind on an embedded AWS of its own.

    Args:
        cases: The cases.
        folder: For logs.
        at_once: How many run side by side.

    Yields:
        What they came to; of each kind those with a sweep last, one after the other, and a last
        sweep.
    """
    for real_load in (False, True):
        these = [case for case in cases if case.scenario.real_load is real_load]
        if these:
            inside = folder / ("real-load" if real_load else "no-load")
            inside.mkdir()
            yield from _on_one_stack(
                FaultyStack(inside, these, real_load=real_load), inside, at_once
            )


def _on_one_stack(faulty: FaultyStack, folder: Path, at_once: int) -> Iterator[Report]:
    with logs.collected_in(folder), faulty.running() as stack, ThreadPoolExecutor(at_once) as pool:
        # A sweep removes the locks of the dead, which others of these cases are about.
        sweeping = [run for run in stack.runs if _sweeps(run.case)]
        others = [run for run in stack.runs if run not in sweeping]
        for runs, together in ((others, pool.map), (sweeping, map)):
            yield from together(lambda run: _run(stack, run), runs)
        yield _swept_at_last(stack)


def _sweeps(case: Case) -> bool:
    return case.fault is Fault.SWEPT or case.by_sweep


def _swept_at_last(stack: FaultyStack) -> Report:
    """The sweep, when all is over: of anything that is left of anyone, nothing stays."""
    started = time.monotonic()
    swept = stack.stack.run(CLEAN_UP, {"sweep": True})
    return Report(
        case=Case("the sweep at last", Answer("SUCCEEDED", "")),
        seconds=time.monotonic() - started,
        ended=swept.status,
        leaks=tuple(f"left: {name}" for name in stack.stack.settle()),
        wrong_status=() if swept.status == "SUCCEEDED" else (swept.cause,),
    )


def _run(stack: FaultyStack, run: Run) -> Report:
    started = time.monotonic()
    stack.start(run)
    if run.case.scenario.loss:
        stack.lose(run, run.case.scenario.loss)
    try:
        execution = stack.stack.wait(run.arn, run.patience_seconds)
        _wait_for_clean_ups(stack, run, execution)
    except AssertionError as error:  # it hangs
        stack.stop(run.arn)
        run.problems.append(str(error))
        execution = stack.stack.wait(run.arn, PATIENCE_SECONDS)
    if (run.case.state or run.case.call) and not run.met:
        where = run.case.call or run.case.state
        run.problems.append(f"never came to {where}: {execution.states[-6:]}")
    if run.first:
        first = stack.stack.wait(run.first, PATIENCE_SECONDS)
        if first.status != "SUCCEEDED" or first.output["status"] != "SIZED":
            run.problems.append(f"the first sizing of the model {first.status}: {first.cause}")
    if run.case.cleaned_up_later:
        if len(stack.left(run)) < 3 and run.case.by_sweep:
            run.problems.append("there is nothing left to be swept")
        run.faulty = False
        whose = {"sweep": True} if run.case.by_sweep else {"execution_arn": run.arn}
        stack.stack.run(CLEAN_UP, whose)
    return report(
        run.case,
        seen_of(stack, run, execution),
        problems=run.problems,
        seconds=time.monotonic() - started,
    )


def _wait_for_clean_ups(stack: FaultyStack, run: Run, execution: Execution) -> None:
    """Wait until every clean-up of it has ended; a rule starts one where a sizing did not succeed.

    Raises:
        AssertionError: One does not end.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    by_rule = 0 if execution.status == "SUCCEEDED" else 1
    while stack.clean_ups_by_rule(run) < by_rule:
        if time.monotonic() > deadline:
            run.problems.append("no rule started a clean-up")
            return
        time.sleep(0.05)
    for arn in list(run.clean_ups):
        stack.stack.wait(arn, PATIENCE_SECONDS)
