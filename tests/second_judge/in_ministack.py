"""Starts MiniStack, in its own environment, with what it can't put in; see ``shims.py``.

Each change says what AWS does. All else that a state machine meets is MiniStack's own.
"""

import json
import os
import re
import time

import botocore.session
from botocore.exceptions import ClientError
from ministack.app import main
from ministack.services import ecs, lambda_svc, stepfunctions


def client(service):
    """Where tasks run, or MiniStack itself, as for the functions."""
    url = os.environ.get(f"AWS_ENDPOINT_URL_{service.upper()}", os.environ["AWS_ENDPOINT_URL"])
    return botocore.session.get_session().create_client(service, endpoint_url=url)


def handed_on(operation, pause_seconds=0.0):
    """Tasks run on the embedded AWS, without a Docker engine."""

    def answer(data):
        time.sleep(pause_seconds)  # MiniStack looks 600 times, however short its waits are
        try:
            found = getattr(client("ecs"), operation)(**data)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            return 400, {}, json.dumps({"__type": code, "message": str(error)})
        return 200, {}, json.dumps(found, default=str)

    return answer


def with_the_name_of_its_error(run):
    """A function's exception keeps its class's name: the last one in the traceback is raised."""

    def ran(*arguments):
        result = run(*arguments)
        body = result.get("body")
        if result.get("error") and body.get("errorType") == "Runtime.HandlerError":
            last = result.get("log", "").rpartition("Traceback (most recent call last):")[2]
            if name := re.search(r"^(?:\w+\.)*(\w+)", last.lstrip("\n"), re.MULTILINE):
                body["errorType"] = name[1]
        return result

    return ran


def failure_of_a_nested_execution(described):
    """States.TaskFailed, with the description of the execution, in PascalCase, for a cause."""
    told = {key[0].upper() + key[1:]: value for key, value in described.items()}
    failure = json.loads(described.get("output") or "{}")
    return "States.TaskFailed", json.dumps({**told, **failure})


def with_put_object(invoke):
    """PutObject by SDK integration: an object in Body is written as JSON."""

    def invoked(resource, given):
        if not resource.endswith("aws-sdk:s3:putObject"):
            return invoke(resource, given)
        return client("s3").put_object(**{**given, "Body": json.dumps(given["Body"]).encode()})

    return invoked


ecs._run_task = handed_on("run_task")
ecs._describe_tasks = handed_on("describe_tasks", pause_seconds=0.1)
lambda_svc._execute_function_with_config_scope = with_the_name_of_its_error(
    lambda_svc._execute_function_with_config_scope
)
stepfunctions._nested_execution_failure = failure_of_a_nested_execution
stepfunctions._invoke_aws_sdk_integration = with_put_object(
    stepfunctions._invoke_aws_sdk_integration
)
main()
