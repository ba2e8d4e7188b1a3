"""Check the state machines of a template, or write them out for other validators.

``python -m tools.state_machines [TEMPLATE]`` prints what is wrong and exits with 1, or prints what
was checked. ``--json FOLDER`` also writes each machine, its substitutions filled in, as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from tools.state_machines import errors, flow, integrations
from tools.state_machines.definition import Problem, load


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
            arguments.json.mkdir(parents=True, exist_ok=True)
            name = Path(machine.file).name.removesuffix(".yaml") + ".json"
            (arguments.json / name).write_text(json.dumps(machine.definition, indent=2))
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
