"""How long the command takes to say its help: ``python -m benchmarks.start``.

The help of the command and of each verb, several times; exit code 1 if the median of one is over
the limit. Anything else that runs on the machine shows in the figures.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

_COMMAND = Path(sys.executable).parent / "endpoint-sizer"
_VERBS = ("", "size", "list", "profile", "compare", "demo", "serve", "validate", "completion")
_RUNS = 20
_LIMIT_MS = 300.0


def main() -> int:
    slow = False
    for verb in _VERBS:
        taken = sorted(_help_ms(verb) for _ in range(_RUNS))
        middle = median(taken)
        slow |= middle > _LIMIT_MS
        print(
            f"endpoint-sizer {verb:<10} --help   median {middle:4.0f} ms   "
            f"{taken[0]:.0f} to {taken[-1]:.0f} ms   limit {_LIMIT_MS:.0f} ms"
        )
    return int(slow)


def _help_ms(verb: str) -> float:
    started = time.perf_counter()
    subprocess.run(
        [_COMMAND, *([verb] if verb else []), "--help"], stdout=subprocess.DEVNULL, check=True
    )
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    sys.exit(main())
