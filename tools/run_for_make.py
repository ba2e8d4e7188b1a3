"""Run a module for a make recipe, leaving its exit status in a file.

make turns every failure into its own exit status 2, and so would hide what a sizing's status
means. A recipe that runs this program always succeeds; the Makefile then reads the file.

Usage: run_for_make.py STATUS_FILE MODULE [ARGUMENT ...]

The module runs in this very process, so that a signal reaches it directly and once.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path


def run(module: str, arguments: list[str]) -> int:
    """Run a module as ``python -m`` does.

    Returns:
        The exit status that the process would have ended with; 130 for Ctrl-C.
    """
    sys.argv = [module, *arguments]
    sys.path.insert(0, str(Path.cwd()))
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        print(ended.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def main() -> None:
    status_file, module, *arguments = sys.argv[1:]
    Path(status_file).unlink(missing_ok=True)
    try:
        status = run(module, arguments)
    except Exception:
        Path(status_file).write_text("1\n")
        raise
    Path(status_file).write_text(f"{status}\n")


if __name__ == "__main__":
    main()
