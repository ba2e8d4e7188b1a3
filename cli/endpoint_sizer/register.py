"""``endpoint-sizer register``: a model into the Model Registry, where profiles find it."""

from __future__ import annotations

from pathlib import Path

import click

from endpoint_sizer import project
from endpoint_sizer.documents import check, read_json
from endpoint_sizer.endings import WrongUse
from endpoint_sizer.formats import Column, output_option, show
from endpoint_sizer.stack import Place, in_stack

_COLUMNS = (
    Column("model package", "model_package_arn"),
    Column("approval", "approval_status"),
    Column("image", "image_uri"),
)


@click.command(
    epilog="""\b
Examples:
  endpoint-sizer register sentiment request.json
  endpoint-sizer register sentiment request.json --approve"""
)
@click.argument("group", metavar="GROUP")
@click.argument("request", type=click.Path(path_type=Path))
@click.option("--approve", is_flag=True, help="As Approved, which starts the group's profile.")
@in_stack()
@output_option()
def register(group: str, request: Path, approve: bool, place: Place, output: str) -> None:
    """Register the model of a REQUEST in the Model Registry.

    It becomes the next version of GROUP, a model package group, which is made if it is missing. It
    is one of the Hugging Face hub, in the image that AWS has for its versions and the first
    instance type, or a container of your own.
    """
    project.make_importable()
    wanted = check(request, read_json(request))
    if wanted.model.kind not in ("hugging_face", "container"):
        raise WrongUse(
            f"{request}: model: must be hugging_face or container, got {wanted.model.kind}"
        )
    stack = place.open()
    from botocore.exceptions import ClientError

    from aws.models import resolve
    from aws.refusals import is_there_already
    from endpoint_sizer.printed import Registered
    from sizing.errors import InvalidRequest

    try:
        source = resolve(wanted.model, wanted.instance_types[0], stack.region)
    except InvalidRequest as error:
        raise WrongUse(f"{request}: {error}") from None
    container = dict(source.container or {})
    sagemaker = stack.client("sagemaker")
    try:
        sagemaker.create_model_package_group(ModelPackageGroupName=group)
    except ClientError as error:
        if not is_there_already(error):
            raise
    status = "Approved" if approve else "PendingManualApproval"
    package = sagemaker.create_model_package(
        ModelPackageGroupName=group,
        ModelApprovalStatus=status,
        InferenceSpecification={
            "Containers": [container],
            "SupportedContentTypes": [wanted.payloads.content_type],
            "SupportedResponseMIMETypes": [wanted.payloads.accept],
            "SupportedRealtimeInferenceInstanceTypes": list(wanted.instance_types),
        },
    )
    done = Registered(
        model_package_arn=package["ModelPackageArn"],
        model_package_group=group,
        approval_status=status,
        image_uri=container["Image"],
    )
    show(output, done, _COLUMNS, [done.model_dump()])
