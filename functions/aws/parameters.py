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
