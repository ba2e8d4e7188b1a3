"""The deployed stack that a verb is about: which one, where, and what it is made of."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import click

from endpoint_sizer import project
from endpoint_sizer.endings import Failed, WrongUse

DEFAULT_NAME: Final = "endpoint-sizer"
#: Where ``endpoint-sizer local-aws`` answers, unless it is told otherwise.
LOCAL_PORT: Final = 4580


def local_environment(port: int) -> dict[str, str]:
    """What makes any client of AWS use the embedded one."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",  # opens nothing # nosec B105
    }


@dataclass(frozen=True)
class Stack:
    """A stack that is there, and the clients to use it with."""

    name: str
    region: str
    outputs: Mapping[str, str]

    def client(self, service: str) -> Any:
        """A boto3 client in the stack's region, with the user's credentials."""
        from aws.clients import client

        return client(service)

    def output(self, name: str) -> str:
        """One of the stack's outputs.

        Raises:
            Failed: The stack has none of that name: another one, or another version's.
        """
        if name not in self.outputs:
            raise Failed(f"stack {self.name} has no output {name}: deploy this version of it")
        return self.outputs[name]

    @property
    def sizing_machine(self) -> str:
        """ARN of the state machine that sizes."""
        return self.output("SizingStateMachineArn")

    @property
    def bucket(self) -> str:
        """Where results are."""
        return self.output("ResultsBucketName")

    @property
    def table(self) -> str:
        """The table of sizings."""
        return self.output("SizingTableName")

    @property
    def name_prefix(self) -> str:
        """What the names of all that the stack made begin with."""
        from sizing.clean_up import names

        return names.name_prefix(self.sizing_machine.rpartition(":")[2])


@dataclass(frozen=True)
class Place:
    """Where the user says that the stack is."""

    stack_name: str
    region: str | None
    profile: str | None
    local: bool

    @property
    def is_named(self) -> bool:
        """Whether the user has named any stack."""
        return self.stack_name != DEFAULT_NAME or bool(self.region or self.profile)

    def enter(self) -> str:
        """Let clients be made for it; returns the region.

        Raises:
            WrongUse: There is no such profile or region.
        """
        project.make_importable()
        # What the functions log to standard output is no part of what a command prints.
        os.environ.setdefault("POWERTOOLS_LOG_LEVEL", "CRITICAL")
        import boto3
        from botocore import exceptions

        if self.local:
            if self.region or self.profile:
                raise WrongUse("--region and --profile mean AWS, --local this machine")
            os.environ.update(local_environment(LOCAL_PORT))
        try:
            # Clients are made for the environment's region, as in the functions. AWS_REGION, which
            # boto3 does not read, comes before the profile's, as for the AWS CLI.
            boto3.setup_default_session(profile_name=self.profile, region_name=self.region)
            session = boto3.DEFAULT_SESSION
            configured = session.region_name if session else None
            region = self.region or os.environ.get("AWS_REGION") or configured
            if not region:
                raise WrongUse(
                    "no region: give --region, or set AWS_REGION or the profile's region"
                )
        except exceptions.ProfileNotFound as error:
            raise WrongUse(f"--profile: {error}") from None
        os.environ["AWS_REGION"] = region
        return region

    def open(self) -> Stack:
        """Find the stack.

        Raises:
            WrongUse: There is no such stack, profile or region.
            Failed: AWS can't be asked.
        """
        region = self.enter()
        with self.reached():
            return Stack(self.stack_name, region, self._outputs(region))

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """Say how AWS is reached, where it can't be.

        Raises:
            Failed: AWS can't be asked.
        """
        from botocore import exceptions

        try:
            yield
        except exceptions.NoCredentialsError:
            raise Failed(
                "no AWS credentials: give --profile, or sign in as for the AWS CLI"
            ) from None
        except exceptions.EndpointConnectionError as error:
            hint = "; start it by endpoint-sizer local-aws" if self.local else ""
            raise Failed(f"{error}{hint}") from None

    def _outputs(self, region: str) -> dict[str, str]:
        from botocore.exceptions import ClientError

        from aws.clients import client

        try:
            answer = client("cloudformation").describe_stacks(StackName=self.stack_name)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationError":
                raise
            raise WrongUse(
                f"--stack-name {self.stack_name}: there is no such stack in {region}: deploy it as "
                "README.md says, or name another stack or --region"
            ) from None
        outputs = answer["Stacks"][0].get("Outputs", [])
        return {each["OutputKey"]: each["OutputValue"] for each in outputs}


def in_stack(
    local: str = "On this machine, where `endpoint-sizer local-aws` runs.",
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options that say which stack it is about, as one argument ``place``.

    Args:
        local: What ``--local`` means to it.
    """
    stack_name = click.option(
        "--stack-name",
        default=DEFAULT_NAME,
        show_default=True,
        metavar="NAME",
        help="The stack that is deployed.",
    )

    def decorated(command: Callable[..., Any]) -> Callable[..., Any]:
        return stack_name(in_account(local)(command))

    return decorated


def in_account(
    local: str = "On this machine, where `endpoint-sizer local-aws` runs.",
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The same for a command that is about the account, whether a stack is in it or not."""
    options = (
        click.option("--region", metavar="REGION", help="[default: as for the AWS CLI]"),
        click.option("--profile", metavar="NAME", help="A profile of the AWS CLI."),
        click.option("--local", is_flag=True, help=local),
    )

    def decorated(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_place(
            region: str | None,
            profile: str | None,
            local: bool,
            stack_name: str = DEFAULT_NAME,
            **others: Any,
        ) -> Any:
            return command(place=Place(stack_name, region, profile, local), **others)

        for option in reversed(options):
            with_place = option(with_place)
        return with_place

    return decorated
