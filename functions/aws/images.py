"""Images in Amazon ECR."""

from __future__ import annotations

from botocore.exceptions import ClientError

from aws.clients import client
from aws.refusals import code_of


def is_pushed(uri: str) -> bool:
    """Whether an image is there.

    Args:
        uri: Its registry, repository and tag.

    Raises:
        botocore.exceptions.ClientError: ECR can't say, or there is no such repository.
    """
    repository, _, tag = uri.partition("/")[2].rpartition(":")
    try:
        client("ecr").describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])
    except ClientError as error:
        if code_of(error) == "ImageNotFoundException":
            return False
        raise
    return True
