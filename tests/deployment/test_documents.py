"""Documents: requests in them are valid, and the list for machines names them all."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sizing.request.request import parse_request

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def requests_in(text: str) -> list[str]:
    """The JSON blocks that are requests."""
    blocks = re.findall(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [each for each in blocks if '"instance_types"' in each and '"payloads"' in each]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda each: each.name)
def test_requests_in_documents_are_valid(document: Path) -> None:
    for each in requests_in(document.read_text(encoding="utf-8")):
        written = json.loads(each)
        if "model" not in written:  # a profile: the model comes from the event
            written["model"] = {"model_name": "from-the-event"}
        parse_request(written)


def test_there_are_requests_in_documents() -> None:
    assert sum(len(requests_in(each.read_text(encoding="utf-8"))) for each in DOCUMENTS) >= 1


def test_the_list_for_machines_names_every_document() -> None:
    listed = (ROOT / "docs" / "llms.txt").read_text(encoding="utf-8")
    named = set(re.findall(r"\]\(([^)]+)\)", listed))
    there = {each.name for each in (ROOT / "docs").iterdir() if each.suffix in (".md", ".json")}
    assert sorted(named) == sorted(there), "docs/llms.txt"
