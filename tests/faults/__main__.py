"""``make faults``: runs the matrix, prints a table and, last, one line of JSON."""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2] / root) for root in ("functions", "locust_image")]

# They import the functions and the load generator, whose folders are not on the path before.
from tests.faults.cases import all_cases  # noqa: E402
from tests.faults.check import Report  # noqa: E402
from tests.faults.run import AT_ONCE, calls_of_functions, run_cases  # noqa: E402


def main() -> int:
    """Run; returns 0 if nothing is wrong."""
    parser = argparse.ArgumentParser(prog="make faults ARGS=...", description=__doc__)
    parser.add_argument("--only", default="", help="cases whose name matches this pattern")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="cases side by side")
    arguments = parser.parse_args()
    started = time.monotonic()
    reports = []
    console = sys.stdout  # what functions print goes to the logs meanwhile
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        calls = calls_of_functions(folder)
        cases = [case for case in all_cases(calls) if re.search(arguments.only, case.name)]
        for report in run_cases(cases, folder, arguments.at_once):
            reports.append(report)
            print(line(report), file=console, flush=True)
    wrong = [report for report in reports if report.faults]
    print(f"\n{len(reports)} cases in {time.monotonic() - started:.0f} s, {len(wrong)} with faults")
    print(json.dumps(figures(reports)))
    return 1 if wrong else 0


def line(report: Report) -> str:
    """A line of the table, and one for each thing that is wrong."""
    mark = "FAULT" if report.faults else "ok"
    head = f"{mark:5} {report.case.name:55} {report.ended:45} {report.seconds:6.1f} s"
    return "\n".join([head, *(f"      {fault}" for fault in report.faults)])


def figures(reports: list[Report]) -> dict[str, int]:
    """What the matrix comes to."""
    return {
        "cases": len(reports),
        "leaks": sum(bool(report.leaks) for report in reports),
        "wrong_status": sum(bool(report.wrong_status) for report in reports),
        "wrong_numbers": sum(bool(report.wrong_numbers) for report in reports),
    }


if __name__ == "__main__":
    sys.exit(main())
