"""The environment of whatever runs here: never a real account's, however this machine is set up."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

#: Keeps a client from the files and the metadata service that would tell of a real account.
OF_NO_ACCOUNT: Final = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
}

#: Without it moto makes hundreds of machine images, which nobody asks for, with each EC2 it makes.
OF_MOTO: Final = {"MOTO_EC2_LOAD_DEFAULT_AMIS": "false"}

_NEEDED: Final = ("HOME", "LANG", "LC_ALL", "PATH", "TMPDIR", "TZ")


def needed_by_programs() -> dict[str, str]:
    """The environment of a program that stands for a container: no more than it needs."""
    return {name: os.environ[name] for name in _NEEDED if name in os.environ}


def without_aws(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that are neither AWS's nor a proxy's."""
    return {
        name: value
        for name, value in environment.items()
        if not name.startswith("AWS_") and not name.lower().endswith("_proxy")
    }


@contextmanager
def isolated(**variables: str) -> Iterator[None]:
    """This process's environment without anything of AWS's or of proxies, plus some variables."""
    before = dict(os.environ)
    _become({**without_aws(before), **OF_NO_ACCOUNT, **variables})
    try:
        yield
    finally:
        _become(before)


def _become(environment: Mapping[str, str]) -> None:
    # What stays the same is never missing, not even for a moment: other threads may read it.
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
