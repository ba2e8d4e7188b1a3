"""Lambda: the functions' own handlers, called in this process.

moto runs a function's zip in a container; here its handler is imported from the folder that the
template names and called with the event. All functions share one environment, so none is swapped.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partialmethod
from typing import Any

from moto.awslambda.models import LambdaFunction

from local.cloudformation import TemplateError
from local.patches import Patch
from local.template import Function

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Context:
    """The context object that Lambda gives a handler."""

    function_name: str
    invoked_function_arn: str
    memory_limit_in_mb: int
    deadline: float
    function_version: str = "$LATEST"
    aws_request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    log_group_name: str = ""
    log_stream_name: str = ""

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the function's time-out."""
        return max(0, round((self.deadline - time.monotonic()) * 1000))


def shared_environment(functions: Iterable[Function]) -> dict[str, str]:
    """The environment of all functions.

    Raises:
        TemplateError: They don't have the same.
    """
    environments = [dict(function.environment) for function in functions]
    for environment in environments[1:]:
        if environment != environments[0]:
            raise TemplateError("all functions must have the same environment, given in Globals")
    return environments[0] if environments else {}


@contextmanager
def importable(functions: Iterable[Function]) -> Iterator[None]:
    """Lets the functions' code be imported, as from the root of their artifact."""
    roots = {str(function.code.resolve()) for function in functions} - set(sys.path)
    sys.path[:0] = sorted(roots)
    try:
        yield
    finally:
        for root in roots:
            sys.path.remove(root)


def patches() -> Iterator[Patch]:
    """What to replace in moto."""
    yield Patch(LambdaFunction, "_invoke_lambda", partialmethod(_invoke, {}))


def _invoke(
    function: Any, handlers: dict[str, Callable[..., Any]], event: Any = None
) -> tuple[str, bool, str]:
    """Call the handler. An error is answered as Lambda does: its class, message and trace."""
    context = Context(
        function_name=function.function_name,
        invoked_function_arn=function.function_arn,
        memory_limit_in_mb=int(function.memory_size),
        deadline=time.monotonic() + int(function.timeout),
    )
    try:
        if function.handler not in handlers:
            handlers[function.handler] = _imported(function.handler)
        # Through JSON, as between services: no object is shared, and nothing but JSON passes.
        answer = json.dumps(handlers[function.handler](json.loads(json.dumps(event)), context))
    except Exception as error:  # whatever a handler raises is its answer
        _logger.info("%s raised", function.function_name, exc_info=True)
        return json.dumps(_error(error)), True, ""
    return answer, False, ""


def _imported(handler: str) -> Callable[..., Any]:
    module, _, name = handler.rpartition(".")
    imported: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return imported


def _error(error: Exception) -> Mapping[str, Any]:
    return {
        "errorMessage": str(error),
        "errorType": type(error).__name__,
        "stackTrace": traceback.format_tb(error.__traceback__),
    }
