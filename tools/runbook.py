"""Write the part of docs/operations.md that explains the errors, from the catalogue of them.

A test holds the page against it. Run it after a change of the catalogue::

    PYTHONPATH=functions python -m tools.runbook
"""

from __future__ import annotations

from pathlib import Path

from sizing.result.failure import CATALOGUE, RETRY_IN_WORDS

PAGE = Path(__file__).parents[1] / "docs" / "operations.md"
BEGIN = "<!-- errors: written by tools/runbook.py from functions/sizing/result/failure.py -->"
END = "<!-- end of errors -->"


def sections() -> str:
    """A section for each error, in the catalogue's order."""
    return "\n\n".join(
        f"### {name}\n\n{known.meaning}\n\n"
        f"**What to do:** {known.advice}\n\n"
        f"**Start again:** {RETRY_IN_WORDS[known.retry]} (`{known.retry}`)."
        for name, known in CATALOGUE.items()
    )


def with_errors(page: str) -> str:
    """The page with its errors as the catalogue has them.

    Raises:
        ValueError: The page lacks one of the two marks.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN!r} or {END!r}")
    return f"{before}{BEGIN}\n\n{sections()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_errors(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
