"""What the verbs print with ``--output json``, as types: their JSON Schema is in docs/."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, RootModel, TypeAdapter

from sizing.production.audit import Audited
from sizing.result.change import Difference
from sizing.result.result import Result


class _Printed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Execution(_Printed):
    """A sizing, or a nightly run, by what finds it again."""

    #: Null for a nightly run.
    sizing_id: str | None
    execution_arn: str
    #: Of the execution: RUNNING once it is started, ABORTED once it is stopped.
    status: str


class SizingRow(_Printed):
    """A sizing in a list."""

    sizing_id: str
    execution_arn: str
    #: Of the result where there is one, else of the execution: RUNNING, FAILED, ABORTED, TIMED_OUT.
    status: str
    #: As the request names it.
    model: str
    target_tps: float | None
    instance_type: str | None
    instance_count: int | None
    hourly_cost_usd: float | None
    #: Beside the last comparable sizing: first, unchanged, improved, regressed or changed.
    change: str | None
    #: ISO 8601.
    started_at: str
    finished_at: str | None
    #: Name of the error of one that failed.
    error: str | None


class Sizings(_Printed):
    """Of ``list``: the latest first."""

    sizings: tuple[SizingRow, ...]


class Report(_Printed):
    """Of ``report``."""

    sizing_id: str
    #: The file that it was saved to.
    path: str
    opened: bool


class Profile(_Printed):
    """A profile in a list."""

    model_package_group: str
    enabled: bool
    instance_types: tuple[str, ...]
    target_tps: float | None
    notify: str | None
    modified_at: str
    #: What is wrong with it; null if it is valid.
    error: str | None


class Profiles(_Printed):
    """Of ``profile list``."""

    profiles: tuple[Profile, ...]


class ProfileDone(_Printed):
    """Of ``profile put``, ``pause``, ``resume`` and ``delete``."""

    model_package_group: str
    #: stored, paused, resumed or deleted.
    done: str


class ModelCosts(_Printed):
    """What the sizings of a model have cost."""

    model_key: str
    sizings: int
    load_tests: int
    cost_usd: float


class Costs(_Printed):
    """Of ``costs``."""

    #: ISO 8601; those that started then or later.
    since: str
    sizings: int
    load_tests: int
    cost_usd: float
    #: Sizings whose cost is not known.
    unknown: int
    models: tuple[ModelCosts, ...]


class Figure(_Printed):
    """One figure of two sizings."""

    name: str
    a: float | str | None
    b: float | str | None
    #: From a to b, percent of a; null where that makes no sense.
    delta_percent: float | None


class Comparison(_Printed):
    """Of ``compare``."""

    a: str
    b: str
    #: unchanged, improved, regressed or changed.
    kind: str
    #: What differs beyond noise and tolerance.
    what: tuple[Difference, ...]
    figures: tuple[Figure, ...]


class Registered(_Printed):
    """Of ``register``."""

    model_package_arn: str
    model_package_group: str
    approval_status: str
    image_uri: str


class Audit(RootModel[tuple[Audited, ...]]):
    """Of ``audit``."""


#: What each verb prints. A profile is a request without its model; see request.schema.json.
BY_VERB: Final[dict[str, type[BaseModel]]] = {
    "size": Result,
    "size --detach": Execution,
    "watch": Result,
    "stop": Execution,
    "list": Sizings,
    "show": Result,
    "report": Report,
    "compare": Comparison,
    "profile list": Profiles,
    "profile put": ProfileDone,
    "profile pause": ProfileDone,
    "profile resume": ProfileDone,
    "profile delete": ProfileDone,
    "profile run": Execution,
    "costs": Costs,
    "register": Registered,
    "audit": Audit,
}


def schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of what the verbs print, one definition for each verb."""
    schemas, parts = TypeAdapter.json_schemas(
        [(verb, "validation", TypeAdapter(model)) for verb, model in BY_VERB.items()],
        ref_template="#/$defs/{model}",
    )
    verbs = {verb: written for (verb, _), written in schemas.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What endpoint-sizer prints with --output json, by its commands",
        "$defs": {**parts["$defs"], **verbs},
    }
