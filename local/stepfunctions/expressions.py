"""JSONata expressions, and the variables that they see and states assign."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moto.stepfunctions.parser.api import EvaluationFailedEventDetails, HistoryEventType
from moto.stepfunctions.parser.asl.component.common.assign.assign_decl import AssignDecl
from moto.stepfunctions.parser.asl.component.common.error_name.failure_event import (
    FailureEvent,
    FailureEventException,
)
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name import (
    StatesErrorName,
)
from moto.stepfunctions.parser.asl.component.common.error_name.states_error_name_type import (
    StatesErrorNameType,
)
from moto.stepfunctions.parser.asl.component.common.string.string_expression import StringJSONata
from moto.stepfunctions.parser.asl.component.state.state import CommonStateField

from local.casing import timestamp
from local.jsonata import QueryError, evaluate
from local.patches import Patch
from local.stepfunctions.limits import check_input, check_variables


def patches() -> Iterator[Patch]:
    """What to replace in moto."""
    yield Patch(StringJSONata, "_eval_body", _eval_jsonata)
    yield Patch(AssignDecl, "_eval_body", _assign_when_state_ends)
    yield Patch(CommonStateField, "_eval_body", _eval_state_then_assign)


def _eval_jsonata(self: Any, env: Any) -> None:
    """An expression that fails or gives nothing is States.QueryEvaluationError."""
    store = env.variable_store
    variables = {**store._outer_scope, **store._inner_scope, "states": _states(env)}
    try:
        env.stack.append(evaluate(self.expression, variables))
    except QueryError as error:
        name = StatesErrorName(typ=StatesErrorNameType.StatesQueryEvaluationError)
        details = EvaluationFailedEventDetails(error=name.error_name, cause=str(error))
        event_details: Any = {"evaluationFailedEventDetails": details}
        failure = FailureEvent(
            env=env,
            error_name=name,
            event_type=HistoryEventType.EvaluationFailed,
            event_details=event_details,
        )
        raise FailureEventException(failure_event=failure) from None


def _states(env: Any) -> dict[str, Any]:
    """``$states``: input and context always, result and errorOutput where there is one."""
    data = env.states._states_data
    context = {name: dict(part) for name, part in data["context"].items() if part is not None}
    context["Execution"]["StartTime"] = timestamp(context["Execution"]["StartTime"])
    context["Execution"]["RedriveCount"] = 0  # moto knows no redrive
    if "EnteredTime" in context.get("State", {}):
        context["State"]["EnteredTime"] = timestamp(context["State"]["EnteredTime"])
    optional = {name: data.get(name) for name in ("result", "errorOutput")}
    return {
        "input": data["input"],
        "context": context,
        **{name: value for name, value in optional.items() if value is not None},
    }


def _assign_when_state_ends(self: Any, env: Any) -> None:
    """Assign sees the old values, so does Output after it; new ones hold from the next state."""
    assigned: dict[str, Any] = {}
    for binding in self.declaration_bindings:
        binding.eval(env=env)
        assigned.update(env.stack.pop())
    store = env.variable_store
    check_variables(assigned, {**store._outer_scope, **store._inner_scope}, env)
    store.assigned_by_state = assigned


_eval_state = vars(CommonStateField)["_eval_body"]


def _eval_state_then_assign(self: Any, env: Any) -> None:
    check_input(env.states.get_input(), env)
    env.variable_store.assigned_by_state = {}
    _eval_state(self, env)
    for name, value in env.variable_store.assigned_by_state.items():
        env.variable_store.set(variable_identifier=name, variable_value=value)
