"""The functions' environment: one set of variables for all of them, written in template.yaml."""

from __future__ import annotations

import os
from dataclasses import dataclass

_DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Environment:
    """What a stack tells its functions."""

    #: Before all names of resources that sizings create; the roles' policies are bound to it.
    name_prefix: str
    results_bucket: str
    #: After which results and logs are deleted.
    result_retention_seconds: float
    log_retention_seconds: float
    #: The table of locks and history.
    table_name: str
    cluster_arn: str
    topic_arn: str
    #: Where the load generators run.
    subnet_ids: tuple[str, ...]
    #: Role that the models' containers run with.
    model_execution_role_arn: str
    #: Whether results are also written into the metadata of the model packages they are of.
    writes_package_metadata: bool
    #: ARNs, or patterns of them, of the endpoints that may be given an answer.
    apply_endpoints: tuple[str, ...]
    #: What the sizings of a nightly run may cost together; None for no limit.
    nightly_max_cost_usd: float | None
    region: str
    #: Whether all of AWS is embedded, on somebody's machine.
    local: bool

    @classmethod
    def read(cls) -> Environment:
        """The environment as it is now.

        Raises:
            KeyError: A variable is missing: the function was not deployed by template.yaml.
        """
        return cls(
            name_prefix=os.environ["NAME_PREFIX"],
            results_bucket=os.environ["RESULTS_BUCKET"],
            result_retention_seconds=float(os.environ["RESULT_RETENTION_DAYS"]) * _DAY_SECONDS,
            log_retention_seconds=float(os.environ["LOG_RETENTION_DAYS"]) * _DAY_SECONDS,
            table_name=os.environ["TABLE_NAME"],
            topic_arn=os.environ["TOPIC_ARN"],
            cluster_arn=os.environ["CLUSTER_ARN"],
            subnet_ids=tuple(os.environ["SUBNET_IDS"].split(",")),
            model_execution_role_arn=os.environ["MODEL_EXECUTION_ROLE_ARN"],
            writes_package_metadata=os.environ["WRITE_PACKAGE_METADATA"] == "true",
            apply_endpoints=tuple(filter(None, os.environ["APPLY_ENDPOINTS"].split(","))),
            nightly_max_cost_usd=float(os.environ["NIGHTLY_MAX_COST_USD"]) or None,
            region=os.environ["AWS_REGION"],
            local="EMBEDDED_AWS" in os.environ,
        )
