"""What a Dockerfile says a container runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.image import Image

ROOT = Path(__file__).parents[3]


def test_takes_the_last_stage(tmp_path: Path) -> None:
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(
        """
        # ENTRYPOINT ["comment"]
        FROM base AS build
        ENV ONE=build
        ENTRYPOINT ["build"]
        FROM base
        ENV ONE=1 \\
            TWO="a b=c" \\
            PATH=/opt/bin:$PATH
        entrypoint ["python", "-m", "package"]
        CMD ["--flag"]
        """
    )
    image = Image.read(dockerfile)
    assert image.command == ("python", "-m", "package", "--flag")
    assert image.environment == {"ONE": "1", "TWO": "a b=c"}
    assert image.folder == tmp_path


@pytest.mark.parametrize("instruction", ["", "ENTRYPOINT python -m package"])
def test_needs_an_entrypoint_in_exec_form(tmp_path: Path, instruction: str) -> None:
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(f"FROM base\n{instruction}\n")
    with pytest.raises(ValueError, match=r".*"):
        Image.read(dockerfile)


def test_reads_the_shipped_dockerfile() -> None:
    image = Image.read(ROOT / "locust_image" / "Dockerfile")
    assert image.command[0] == "python"
