"""Names of AWS's Hugging Face inference images, as the ``sagemaker`` SDK gives them.

The SDK is larger than a Lambda function may be, so its knowledge lies beside this module as a
table, made by ``make hugging-face-images`` and held against the SDK by a test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from sizing.errors import InvalidRequest

_FAMILY = re.compile(r"ml\.([a-z0-9-]+)\.\w+")
#: Graviton families have a g after the generation: m6g, c7gn, im4gn. The images are for x86.
_GRAVITON = re.compile(r"[a-z]+\d+g[a-z]*")


def image_uri(
    *,
    transformers_version: str,
    pytorch_version: str,
    py_version: str,
    region: str,
    instance_type: str,
) -> str:
    """The image that ``sagemaker.core.image_uris.retrieve`` names for the same arguments.

    Versions may be shortened as the SDK allows it: ``4.17`` for ``4.17.0``.

    Args:
        transformers_version: Version of the transformers library, such as ``4.17.0``.
        pytorch_version: Version of PyTorch, such as ``1.10.2``.
        py_version: Version of Python, such as ``py38``.
        region: The region that the endpoint is in.
        instance_type: Decides between the image for CPUs and the one for GPUs.

    Raises:
        InvalidRequest: AWS has no such image; names the field and what is allowed there.
    """
    table = _table()
    transformers = table["transformers_aliases"].get(transformers_version, transformers_version)
    of_transformers = table["versions"].get(transformers)
    if of_transformers is None:
        known = [*table["versions"], *table["transformers_aliases"]]
        raise _unknown("transformers_version", transformers_version, known)

    aliases = of_transformers["pytorch_aliases"]
    of_pytorch = of_transformers["images"].get(aliases.get(pytorch_version, pytorch_version))
    condition = f" with transformers_version {transformers_version}"
    if of_pytorch is None:
        known = [*of_transformers["images"], *aliases]
        raise _unknown("pytorch_version", pytorch_version, known, condition)

    suffix_for = of_pytorch.get(py_version)
    condition += f" and pytorch_version {pytorch_version}"
    if suffix_for is None:
        raise _unknown("py_version", py_version, of_pytorch, condition)

    host = table["hosts"].get(region)
    if host is None:
        known_regions = ", ".join(table["hosts"])
        raise InvalidRequest(
            "model.hugging_face",
            f"there are no Hugging Face images in region {region}; they are in {known_regions}",
        )

    processor = _processor(instance_type)
    # The SDK resolves a shortened version of transformers in the tag, but not one of PyTorch.
    tag = "-".join(
        (
            pytorch_version,
            f"transformers{transformers}",
            processor,
            py_version,
            suffix_for[processor],
        )
    )
    return f"{host}/{table['repository']}:{tag}"


def _processor(instance_type: str) -> str:
    """``cpu`` or ``gpu``, by the first letter of the family as the SDK decides it."""
    match = _FAMILY.fullmatch(instance_type)
    family = match[1] if match else ""
    if not family or _GRAVITON.fullmatch(family) or family.startswith(("inf", "trn")):
        raise InvalidRequest(
            "instance_types",
            f"{instance_type} can't run a Hugging Face image; allowed are types with x86 CPUs "
            "or NVIDIA GPUs, such as ml.m5.xlarge, ml.c6i.xlarge, ml.g5.xlarge",
        )
    return "gpu" if family[0] in "gp" else "cpu"


def _unknown(field: str, given: str, known: Iterable[str], condition: str = "") -> InvalidRequest:
    allowed = ", ".join(sorted(known, key=_version_key))
    return InvalidRequest(
        f"model.hugging_face.{field}", f"must be one of {allowed}{condition}, got {given}"
    )


def _version_key(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


@cache
def _table() -> Any:
    path = Path(__file__).with_suffix(".json")
    return json.loads(path.read_text(encoding="utf-8"))
