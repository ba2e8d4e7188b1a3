"""Runs a command, and takes it down when whoever started it goes away, however it goes.

Started with ``start_new_session=True`` and a pipe as standard input, whose other end nobody writes
to: it closes when the starter ends, even by SIGKILL. Then the whole process group is killed. Works
without anything of the operating system's own, and a thread may start it (PR_SET_PDEATHSIG would
end the command with that thread).

Run as a script, without site-packages: it costs some 20 ms and no other module.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

CORES = "--cores="


def main(command: list[str]) -> int:
    """Run the command; returns its exit code, as a shell would for one that a signal ended.

    Args:
        command: Program and arguments; before them, ``--cores=0,3`` keeps it to some cores.
    """
    if command[0].startswith(CORES):
        os.sched_setaffinity(0, map(int, command[0].removeprefix(CORES).split(",")))
        command = command[1:]
    for each in (signal.SIGTERM, signal.SIGINT):
        # Meant for the command, which gets it too. A handler, since it would inherit SIG_IGN.
        signal.signal(each, lambda *_: None)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
        threading.Thread(target=_kill_group_at_eof, daemon=True).start()
        code = process.wait()
    os.killpg(0, signal.SIGTERM)  # what the command started and left behind
    return code if code >= 0 else 128 - code


def _kill_group_at_eof() -> None:
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
