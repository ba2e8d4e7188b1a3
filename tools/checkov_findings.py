"""What checkov finds, held against the exceptions of .checkov.yaml.

By itself checkov ends well where it could not read a file, and says nothing of an exception that
has nothing left to except. Here both fail. It is run without any of its platform, offline.

Usage: python -m tools.checkov_findings <checkov> <file> ...
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

CONFIGURATION = Path(".checkov.yaml")


def findings(
    reports: Sequence[Mapping[str, Any]], frameworks: Sequence[str], exceptions: Sequence[str]
) -> Iterator[str]:
    """What is wrong, a line each.

    Args:
        reports: Checkov's answer, one report for each framework that it ran.
        frameworks: Those that it had to run.
        exceptions: Ids of the checks that may fail.
    """
    failed = set()
    passed = dict.fromkeys(frameworks, 0)
    for report in reports:
        passed[report["check_type"]] = report["summary"]["passed"]
        if report["summary"]["parsing_errors"]:
            yield f"{report['check_type']}: {report['summary']['parsing_errors']} unreadable"
        for each in report["results"]["failed_checks"]:
            failed.add(each["check_id"])
            if each["check_id"] not in exceptions:
                place = f"{Path(each['file_path']).name}:{each['file_line_range'][0]}"
                resource = Path(each["resource"]).name
                yield f"{place}: {each['check_id']} {resource}: {each['check_name']}"
    yield from (f"{each}: checked nothing" for each, count in passed.items() if not count)
    yield from (
        f"{CONFIGURATION}: {each} is an exception from nothing; remove it"
        for each in exceptions
        if each not in failed
    )


def run(checkov: str, files: Sequence[str], frameworks: Sequence[str]) -> list[dict[str, Any]]:
    """Checkov's reports of the files.

    Raises:
        subprocess.CalledProcessError: It did not run to its end.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BC_", "CKV_", "CHECKOV_", "PRISMA_"))
    }
    command = [str(Path(checkov).absolute()), "--skip-download", "--soft-fail", "--output", "json"]
    command += [argument for each in frameworks for argument in ("--framework", each)]
    command += [argument for each in files for argument in ("--file", str(Path(each).resolve()))]
    with tempfile.TemporaryDirectory() as elsewhere:  # not here: it would read the exceptions
        done = subprocess.run(
            command,
            cwd=elsewhere,
            env={**inherited, "PYTHONWARNINGS": "ignore"},
            stdout=subprocess.PIPE,
            check=True,
        )
    reports = json.loads(done.stdout)
    return reports if isinstance(reports, list) else [reports]


def main(arguments: Sequence[str]) -> int:
    """Print the findings; 1 if there are any."""
    checkov, *files = arguments
    configuration = yaml.safe_load(CONFIGURATION.read_text(encoding="utf-8"))
    frameworks, exceptions = configuration["framework"], configuration["skip-check"]
    found = list(findings(run(checkov, files, frameworks), frameworks, exceptions))
    print(*found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
