"""What ``sam build`` made: whether Lambda can run it, and how large it is.

``python -m tools.artifact .aws-sam/build`` fails on what is for another machine or Python, on a
function that lacks the image's source, and on more than 120 MB unzipped.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

#: Lambda takes 250 MB unzipped; half of it leaves room.
MOST_BYTES = 120 * 10**6
#: Of Runtime and Architectures in template.yaml, as wheels and compiled modules say it.
PYTHON, MACHINE = "313", "aarch64"


def problems(folder: Path) -> Iterator[str]:
    """What keeps Lambda from running an artifact.

    Args:
        folder: One function's, unzipped.
    """
    for wheel in sorted(folder.glob("*.dist-info/WHEEL")):
        tags = re.findall(r"^Tag: (\S+)$", wheel.read_text("utf-8"), re.MULTILINE)
        if not any(_fits(tag) for tag in tags):
            yield f"{wheel.parent.name} is for {', '.join(tags)}"
    for library in sorted(folder.rglob("*.so")):
        named = re.search(r"\.cpython-(\d+)-(\w+?)-", library.name)
        if named and (named[1], named[2]) != (PYTHON, MACHINE):
            yield f"{library.relative_to(folder)} is for another machine or Python"
    for name in ("set_up/app.py", "image/locust_image/Dockerfile", "image/requirements/locust.txt"):
        if not (folder / name).is_file():
            yield f"{name} is missing"
    if (size := size_bytes(folder)) > MOST_BYTES:
        yield f"{size:,} bytes unzipped, at most {MOST_BYTES:,}"


def size_bytes(folder: Path) -> int:
    """Of all files of a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _fits(tag: str) -> bool:
    python, abi, platform = tag.split("-")
    fits_python = python in ("py3", f"cp{PYTHON}") or abi == "abi3" or python.startswith("py2.py3")
    return fits_python and (platform == "any" or platform.endswith(MACHINE))


def main() -> int:
    """Check all functions of a build."""
    folders = [each for each in sorted(Path(sys.argv[1]).iterdir()) if each.is_dir()]
    found = [f"{each.name}: {problem}" for each in folders for problem in problems(each)]
    print("\n".join(found) or f"{size_bytes(folders[0]) / 1e6:.1f} MB unzipped, for {MACHINE}")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
