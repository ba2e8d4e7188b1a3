"""Check the state machines of a template, or write them out for other validators.

``python -m tools.state_machines [TEMPLATE]`` prints what is wrong and exits with 1, or prints what
was checked. ``--json FOLDER`` also writes each machine, its substitutions filled in, as JSON, and
once more under ``statelint/`` with numbers where statelint does not know that expressions may be.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.state_machines import errors, flow, integrations
from tools.state_machines.definition import Problem, load
from tools.state_machines.expressions import is_expression

#: Whole numbers that may be expressions in JSONata states; statelint 3.1 takes numbers alone.
NUMBERS = ("TimeoutSeconds", "HeartbeatSeconds", "Seconds", "MaxConcurrency")


def with_numbers(value: Any) -> Any:
    """A definition with 1 for each expression that stands for a whole number."""
    if isinstance(value, Mapping):
        return {
            key: 1 if key in NUMBERS and is_expression(str(each)) else with_numbers(each)
            for key, each in value.items()
        }
    return [with_numbers(each) for each in value] if isinstance(value, list) else value


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.state_machines")
    parser.add_argument("template", type=Path, nargs="?", default=Path("template.yaml"))
    parser.add_argument("--json", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()

    if not arguments.template.is_file():
        parser.error(f"{arguments.template} is no file")
    machines, problems = load(arguments.template)
    counts = {"states": 0, "expressions": 0, "API calls": 0}
    run_time_only: list[str] = []
    for machine in machines:
        calls, found = integrations.calls(machine)
        problems += [*flow.check(machine), *found]
        problems += errors.check(machine, arguments.template.parent / "functions")
        for call in calls:
            problems += integrations.check(call)
            if integrations.is_known_at_run_time_only(call):
                run_time_only.append(f"{call.file}: {call.where}: {call.operation.name}")
        counts["states"] += len(list(flow.all_states(machine)))
        counts["expressions"] += len(list(flow.expressions(machine)))
        counts["API calls"] += len(calls)
        if arguments.json:
            name = Path(machine.file).name.removesuffix(".yaml") + ".json"
            write_json(arguments.json / name, machine.definition)
            write_json(arguments.json / "statelint" / name, with_numbers(machine.definition))
    if not machines and not problems:
        problems.append(Problem(arguments.template.name, "Resources", "holds no state machine"))
    for problem in sorted(problems):
        print(problem, file=sys.stderr)
    if problems:
        return 1
    checked = ", ".join(f"{count} {what}" for what, count in counts.items())
    print(f"{len(machines)} state machines: {checked}")
    if run_time_only:
        print("Arguments known at run time only (tests validate the functions that make them):")
        print(*(f"  {each}" for each in run_time_only), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
