"""The folder that a sizing writes to: one sizing at a time, and no result lost."""

from __future__ import annotations

import contextlib
import errno
import fcntl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TextIO

from endpoint_sizer.documents import reason
from endpoint_sizer.endings import WrongUse
from local.size import logs
from sizing.clean_up import names

#: Locked while a sizing runs. The system releases the lock, however the process ends.
_LOCK: Final = ".lock"
#: Behind the name of a file that is not whole yet.
_UNFINISHED: Final = ".new"


@contextlib.contextmanager
def held(folder: Path) -> Iterator[Path]:
    """Make a folder and keep other sizings out of it.

    Yields:
        The folder in it for logs, without those of a former sizing.

    Raises:
        WrongUse: It can't be written to, or another sizing is running there.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((folder / _LOCK).open("a"))
            if not _locked(lock):
                raise WrongUse(
                    f"--out {folder}: another sizing is running there; wait for its end, or name "
                    "another folder"
                )
            for name in (names.RESULT_FILE, names.REPORT_FILE):
                if (folder / name).is_dir():
                    raise WrongUse(f"--out {folder}: {name} there is a directory")
            made = logs.fresh_folder(folder)
        except OSError as error:
            raise WrongUse(f"--out {folder}: {reason(error)}") from None
        yield made


def _locked(lock: TextIO) -> bool:
    """Whether the lock could be taken."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # A file system without locks: nobody is kept out.
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
            raise
    return True


def replace(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write a sizing's files over those of a former one, which stay until all are written.

    Returns:
        Their paths.
    """
    for name, content in files.items():
        (folder / (name + _UNFINISHED)).write_bytes(content)
    if files and names.REPORT_FILE not in files:
        (folder / names.REPORT_FILE).unlink(missing_ok=True)  # not beside another's result
    return [(folder / (name + _UNFINISHED)).replace(folder / name) for name in files]
