"""What CloudFormation asks of a custom resource, and how it is answered.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref.html
"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator

#: Bytes of a reason, from its end: written as JSON, with all else, it stays under the 4,096 bytes
#: that CloudFormation takes.
_LONGEST_REASON = 1_700
_SECONDS = 20


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    request_type: Literal["Create", "Update", "Delete"] = Field(alias="RequestType")
    #: A presigned URL: whoever has it answers in this function's place. Never logged.
    response_url: str = Field(alias="ResponseURL")
    stack_id: str = Field(alias="StackId")
    request_id: str = Field(alias="RequestId")
    logical_resource_id: str = Field(alias="LogicalResourceId")

    @field_validator("response_url")
    @classmethod
    def _is_of_the_web(cls, url: str) -> str:
        if not url.startswith(("https://", "http://")):  # AWS's are https, an emulator's are not
            raise ValueError("must be a URL of the web")
        return url


class ImageProperties(BaseModel):
    """Properties of ``Custom::LoadGeneratorImage``."""

    architecture: Literal["X86_64", "ARM64"] = Field(alias="Architecture")
    repository_uri: str = Field(alias="RepositoryUri")
    project: str = Field(alias="Project")

    @property
    def identity(self) -> str:
        """The physical resource: another one is another resource to CloudFormation."""
        return self.repository_uri


class ResultsProperties(BaseModel):
    """Properties of ``Custom::ResultsRemoval``."""

    bucket: str = Field(alias="Bucket")
    keep: bool = Field(alias="Keep")

    @property
    def identity(self) -> str:
        """The physical resource: another one is another resource to CloudFormation."""
        return self.bucket


class ImageRequest(_Request):
    """The load generator's image is to be there."""

    resource_type: Literal["Custom::LoadGeneratorImage"] = Field(alias="ResourceType")
    properties: ImageProperties = Field(alias="ResourceProperties")


class ResultsRequest(_Request):
    """The results are to be removed with the stack, or not."""

    resource_type: Literal["Custom::ResultsRemoval"] = Field(alias="ResourceType")
    properties: ResultsProperties = Field(alias="ResourceProperties")


StackRequest = Annotated[ImageRequest | ResultsRequest, Field(discriminator="resource_type")]
_REQUESTS: TypeAdapter[ImageRequest | ResultsRequest] = TypeAdapter(StackRequest)


def parse(event: Any) -> ImageRequest | ResultsRequest:
    """CloudFormation's request.

    Raises:
        pydantic.ValidationError: It is none of this stack's.
    """
    return _REQUESTS.validate_python(event)


def answer(
    request: ImageRequest | ResultsRequest,
    *,
    data: Mapping[str, str] | None = None,
    failure: str | None = None,
) -> None:
    """Answer CloudFormation, which waits for it.

    Args:
        request: What was asked.
        data: What ``Fn::GetAtt`` gives.
        failure: Why it could not be done; its end is kept, where it is too long.

    Raises:
        OSError: The answer was not taken.
    """
    body = {
        "Status": "SUCCESS" if failure is None else "FAILED",
        "Reason": "done" if failure is None else _end_of(failure),
        "PhysicalResourceId": request.properties.identity,
        "StackId": request.stack_id,
        "RequestId": request.request_id,
        "LogicalResourceId": request.logical_resource_id,
        "Data": dict(data or {}),
    }
    # No Content-Type: it is no part of what the URL was signed for.
    put = urllib.request.Request(  # noqa: S310 # checked above
        request.response_url,
        json.dumps(body, ensure_ascii=False).encode(),
        {"Content-Type": ""},
        method="PUT",
    )
    with urllib.request.urlopen(put, timeout=_SECONDS):  # noqa: S310 # nosec B310
        pass


def _end_of(text: str) -> str:
    """What fits, without the colours and the like that a build's log holds."""
    plain = "".join(each for each in text if each.isprintable() or each == "\n").encode()
    cut = plain[-_LONGEST_REASON:].decode(errors="ignore")
    return cut if len(plain) <= _LONGEST_REASON else f"...{cut}"
