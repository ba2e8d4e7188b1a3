"""Which requests are about the same model."""

from __future__ import annotations

import hashlib
import json
import re

from sizing.request.request import Container, Model

#: Longest key, bytes of UTF-8; DynamoDB takes 1,024 in a sort key.
_LONGEST = 512
_DIGITS = 16

_PACKAGE_OF_GROUP = re.compile(
    r"arn:[^:]+:sagemaker:(?P<region>[^:]+):(?P<account>\d+):model-package"
    r"/(?P<group>[^/]+)/(?P<version>\d+)"
)
_GROUP = re.compile(
    r"arn:[^:]+:sagemaker:(?P<region>[^:]+):(?P<account>\d+):model-package-group/(?P<group>.+)"
)


def model_key(model: Model, *, account: str, region: str) -> str:
    """The model's key: the same for requests that must not be sized at the same time.

    A model package group and all packages of it are one model, so is a model of the Hugging Face
    hub in whichever container, and an image with the same data and environment.

    Args:
        model: What is deployed.
        account: The account that the sizing runs in; with the region, what a group's name is
            unique in.
        region: Its region.
    """
    return _bounded(_kind_and_name(model, account, region))


def group_and_version(package_arn: str) -> tuple[str | None, int | None]:
    """The group of a model package and its version in it; None for one without."""
    package = _PACKAGE_OF_GROUP.fullmatch(package_arn)
    return (package["group"], int(package["version"])) if package else (None, None)


def _kind_and_name(model: Model, account: str, region: str) -> str:
    found = _PACKAGE_OF_GROUP.fullmatch(model.model_package_arn or "") or _GROUP.fullmatch(
        model.model_package_group or ""
    )
    if found is not None:
        group = found["group"]
        if (found["account"], found["region"]) != (account, region):
            group = f"{found['account']}:{found['region']}:{group}"
        return f"model_package_group/{group}"
    if model.model_package_arn is not None:  # one without a group and versions
        return f"model_package/{model.model_package_arn}"
    if model.hugging_face is not None:
        return f"hugging_face/{model.hugging_face.model_id}"
    if model.container is not None:
        return f"container/{model.container.image_uri}/{_digest_of(model.container)}"
    return f"{model.kind}/{getattr(model, model.kind)}"


def _digest_of(container: Container) -> str:
    """The environment may choose the model, and hold what belongs in no key."""
    identity = [container.image_uri, container.model_data_url, container.environment]
    return _digest(json.dumps(identity, sort_keys=True))


def _bounded(key: str) -> str:
    encoded = key.encode()
    if len(encoded) <= _LONGEST:
        return key
    return encoded[: _LONGEST - _DIGITS - 1].decode(errors="ignore") + "-" + _digest(key)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
