"""Where the rest of the project lies: around this package in a checkout, inside it in a wheel."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

_IN_WHEEL: Final = Path(__file__).parent / "project"

IS_CHECKOUT: Final = not _IN_WHEEL.is_dir()
ROOT: Final = Path(__file__).parents[2] if IS_CHECKOUT else _IN_WHEEL
EXAMPLES: Final = ROOT / "examples"


def make_importable() -> None:
    """Let ``local`` and the functions' code be imported, before anything else of these names."""
    for folder in (str(ROOT / "functions"), str(ROOT)):
        if folder not in sys.path:
            sys.path.insert(0, folder)
