"""The source of the load generator's image: what its Dockerfile copies, and the tag it gets."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

DOCKERFILE = "locust_image/Dockerfile"
#: Besides the folder of the Dockerfile.
_REQUIREMENTS = "requirements/locust.txt"
#: ``CpuArchitecture`` of the template, as Docker names platforms.
PLATFORMS = {"X86_64": "linux/amd64", "ARM64": "linux/arm64"}

Files = Mapping[str, bytes]


def read(root: Path) -> Files:
    """All files of the image's source by their paths under ``root``, in order.

    Raises:
        FileNotFoundError: There is no such source.
    """
    folder = (root / DOCKERFILE).parent
    paths = [root / DOCKERFILE, root / _REQUIREMENTS]
    paths += [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(set(paths))}


def tag(files: Files, architecture: str) -> str:
    """The image's tag: the same for the same content and architecture, and for no other."""
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    return f"{digest.hexdigest()[:16]}-{architecture.lower().replace('_', '-')}"


def zipped(files: Files) -> bytes:
    """The source as a zip file, which is the same for the same content."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
