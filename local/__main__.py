"""``python -m local size REQUEST`` and ``python -m local endpoint``."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from local.environment import isolated

_COMMANDS = ("size", "endpoint")


def main(argv: list[str]) -> int:
    """Run a command; returns its exit code."""
    if not argv or argv[0] not in _COMMANDS:
        print(f"usage: python -m local {{{','.join(_COMMANDS)}}} ...", file=sys.stderr)
        return 1
    # Until the command sees to signals itself, nothing runs that it would have to stop: Ctrl-C in
    # the seconds of importing ends it without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # The domain's words: the request and the result are the functions' own types.
    sys.path.insert(0, str(Path(__file__).parents[1] / "functions"))
    # From here on, as imports already make clients, which read a profile.
    with isolated():
        if argv[0] == "size":
            from local.size.command import main as command
        else:
            from local.endpoint.command import main as command
        return command(argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
