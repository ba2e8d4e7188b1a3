"""The version stands in one place; what can't read it there is held against it."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

from local.cloudformation import load_template
from sizing import __version__

ROOT = Path(__file__).parents[2]


def test_package_stack_and_changelog_say_the_same() -> None:
    assert version("endpoint-sizer") == __version__
    template = load_template(ROOT / "template.yaml")
    assert template["Outputs"]["Version"]["Value"] == __version__
    released = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[0] == __version__
