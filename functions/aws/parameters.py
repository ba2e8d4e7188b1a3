"""Parameters in Systems Manager."""

from __future__ import annotations

from aws.clients import client


def write(name: str, value: str, description: str) -> None:
    """Write a parameter, in the place of one that is there.

    Raises:
        botocore.exceptions.ClientError: It could not be written.
    """
    client("ssm").put_parameter(
        Name=name, Value=value, Description=description, Type="String", Overwrite=True
    )


def below(path: str) -> dict[str, str]:
    """All parameters right below a path: their values by name.

    Raises:
        botocore.exceptions.ClientError: They could not be read.
    """
    pages = client("ssm").get_paginator("get_parameters_by_path").paginate(Path=path)
    return {each["Name"]: each["Value"] for page in pages for each in page["Parameters"]}
