"""Make the table of Hugging Face inference images from the sagemaker SDK.

``make hugging-face-images`` runs it, in an environment that holds ``sagemaker`` itself. Every host
and tag in the table is taken from what ``image_uris.retrieve`` answers; the SDK's own files only
tell which versions and regions to ask for.

Usage: make_hugging_face_images.py OUTPUT
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sagemaker.core import image_uris

#: An instance type that the SDK takes for each kind of processor.
TYPE_OF = {"cpu": "ml.m5.xlarge", "gpu": "ml.g5.xlarge"}
FRAMEWORK = "huggingface"
PYTORCH = "pytorch"


def retrieve(
    transformers: str, pytorch: str, python: str, processor: str, region: str
) -> tuple[str, str, str]:
    """Host, repository and tag of the image that the SDK names."""
    uri: str = image_uris.retrieve(
        FRAMEWORK,
        region,
        version=transformers,
        base_framework_version=PYTORCH + pytorch,
        py_version=python,
        instance_type=TYPE_OF[processor],
        image_scope="inference",
    )
    host, _, image = uri.partition("/")
    repository, _, tag = image.partition(":")
    return host, repository, tag


def table() -> dict[str, Any]:
    """The table, as it is written.

    Raises:
        SystemExit: The images no longer have the form that the table can say.
    """
    config = image_uris.config_for_framework(FRAMEWORK)["inference"]
    versions: dict[str, Any] = {}
    repositories: set[str] = set()
    regions: set[frozenset[tuple[str, str]]] = set()
    for transformers, of_transformers in config["versions"].items():
        images: dict[str, Any] = {}
        for base, image in of_transformers.items():
            if not base.startswith(PYTORCH):
                continue
            pytorch = base.removeprefix(PYTORCH)
            suffixes: dict[str, dict[str, str]] = {}
            for python in image["py_versions"]:
                suffixes[python] = {}
                for processor in TYPE_OF:
                    _, repository, tag = retrieve(
                        transformers, pytorch, python, processor, "us-east-1"
                    )
                    repositories.add(repository)
                    start = f"{pytorch}-transformers{transformers}-{processor}-{python}-"
                    if not tag.startswith(start):
                        sys.exit(f"the tag {tag} does not start with {start}")
                    suffixes[python][processor] = tag.removeprefix(start)
                regions.add(frozenset(image["registries"].items()))
                any_image = (transformers, pytorch, python, "cpu")
            images[pytorch] = suffixes
        aliases = {
            alias.removeprefix(PYTORCH): base.removeprefix(PYTORCH)
            for alias, base in of_transformers.get("version_aliases", {}).items()
            if alias.startswith(PYTORCH)
        }
        versions[transformers] = {"pytorch_aliases": aliases, "images": images}
    if len(repositories) != 1 or len(regions) != 1:
        sys.exit(f"one repository and one set of hosts were expected: {repositories}, {regions}")
    return {
        "source": f"sagemaker-core {version('sagemaker-core')}, image_uris, huggingface, inference",
        "repository": repositories.pop(),
        "hosts": {region: retrieve(*any_image, region)[0] for region, _ in sorted(regions.pop())},
        "transformers_aliases": config["version_aliases"],
        "versions": versions,
    }


def main() -> None:
    Path(sys.argv[1]).write_text(json.dumps(table(), indent=1) + "\n")


if __name__ == "__main__":
    main()
