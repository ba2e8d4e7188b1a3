"""``endpoint-sizer image``: build and push the load generator's image by one's own means."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from endpoint_sizer import project
from endpoint_sizer.endings import Failed, WrongUse
from endpoint_sizer.stack import Place, in_stack

if TYPE_CHECKING:
    from collections.abc import Sequence

#: In the order in which they are looked for: how each builds.
BUILDERS: Final = {
    "docker": ("docker", "build"),
    "podman": ("podman", "build"),
    "buildah": ("buildah", "build", "--format", "docker"),
}


@click.command(
    epilog="""\b
Examples:
  endpoint-sizer image
  endpoint-sizer image --builder buildah
  endpoint-sizer image --architecture ARM64 \\
      --repository 123456789012.dkr.ecr.eu-west-1.amazonaws.com/load-generator

The stack builds the image itself when it is deployed. This is for those who want to do it: before
the stack is there into a --repository, to deploy the stack with the parameter ImageUri."""
)
@click.option("--repository", metavar="URI", help="Where to push to.  [default: the stack's]")
@click.option(
    "--architecture",
    type=click.Choice(["X86_64", "ARM64"]),
    help="What to build for.  [default: the stack's, or X86_64]",
)
@click.option(
    "--builder",
    type=click.Choice(list(BUILDERS)),
    help="What to build with.  [default: the first of these that is there]",
)
@in_stack()
def image(
    place: Place, repository: str | None, architecture: str | None, builder: str | None
) -> None:
    """Build and push the load generator's image.

    With docker, podman or buildah, where the stack is not to do it.
    """
    project.make_importable()
    import boto3

    from set_up import source

    chosen = _builder(builder)
    if repository is None:
        stack = place.open()
        repository = stack.output("RepositoryUri")
        architecture = architecture or stack.output("LoadGeneratorArchitecture")
    architecture = architecture or "X86_64"
    registry, _, name = repository.partition("/")
    if not name or ".dkr.ecr." not in registry:
        raise WrongUse(f"--repository: must be the URI of an ECR repository, got {repository}")
    os.environ["AWS_REGION"] = registry.split(".")[3]
    boto3.setup_default_session(profile_name=place.profile)
    files = source.read(project.ROOT)
    uri = f"{repository}:{source.tag(files, architecture)}"
    if _is_there(uri):
        click.echo(f"{uri}\nis there already: nothing has changed since it was built")
        return
    with tempfile.TemporaryDirectory() as folder:
        for path, content in files.items():
            written = Path(folder, path)
            written.parent.mkdir(parents=True, exist_ok=True)
            written.write_bytes(content)
        platform = source.PLATFORMS[architecture]
        dockerfile = str(Path(folder, source.DOCKERFILE))
        _run(
            [*BUILDERS[chosen], "--platform", platform, "--file", dockerfile, "--tag", uri, folder]
        )
    _log_in(chosen, registry)
    _run([chosen, "push", uri])
    click.echo(f"{uri}\nis pushed; a stack of its own repository uses it by the parameter ImageUri")


def _builder(wanted: str | None) -> str:
    found = [each for each in BUILDERS if shutil.which(each)]
    if wanted is not None and wanted not in found:
        raise WrongUse(f"--builder: {wanted} is not on the PATH")
    if not found:
        raise WrongUse(
            f"none of {', '.join(BUILDERS)} is on the PATH. None is needed: the stack builds the "
            "image itself when it is deployed"
        )
    return wanted or found[0]


def _is_there(uri: str) -> bool:
    from botocore.exceptions import ClientError

    from aws import images

    try:
        return images.is_pushed(uri)
    except ClientError as error:
        if error.response["Error"]["Code"] != "RepositoryNotFoundException":
            raise
        name = uri.partition("/")[2].rpartition(":")[0]
        raise WrongUse(f"there is no repository {name}; make it, or deploy the stack") from None


def _log_in(builder: str, registry: str) -> None:
    from aws.clients import client

    [given] = client("ecr").get_authorization_token()["authorizationData"]
    user, _, password = base64.b64decode(given["authorizationToken"]).decode().partition(":")
    _run([builder, "login", "--username", user, "--password-stdin", registry], password)


def _run(command: Sequence[str], given: str | None = None) -> None:
    """Run a command, whose output is the user's to see.

    Raises:
        Failed: It did not succeed.
    """
    done = subprocess.run(command, input=given, text=True, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(command[:2])} ended with {done.returncode}")
