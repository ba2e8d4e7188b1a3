"""ResolveRequest: checks a request and looks up all its sizing needs, before money is spent."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import AwareDatetime, BaseModel, ValidationError

from aws import (
    captures,
    instance_types,
    models,
    prices,
    production,
    quotas,
    s3_documents,
    sizing_table,
    subnets,
)
from aws.availability import is_transient, naming_errors
from aws.environment import Environment
from aws.telemetry import Event, logger
from sizing.catalogue.instance import InstanceFacts
from sizing.clean_up import lock, names
from sizing.endpoint import deployment
from sizing.errors import InvalidRequest
from sizing.load_test import cost, quota
from sizing.load_test.plan import LoadTestPlan
from sizing.load_test.run import (
    LONGEST_SECONDS,
    LONGEST_WARM_UP,
    load_test_input,
    measured_by,
    payload_source,
    record_beforehand,
    timeout_seconds,
)
from sizing.production import apply, target
from sizing.request import payloads
from sizing.request.model_key import model_key
from sizing.request.request import Payload, Payloads, Request, parse_request
from sizing.request.sizing import ProductionTraffic, SizedModel, Sizing
from sizing.result import events, history
from sizing.search import search

#: The state machine hands on 256 KiB at a time; a round's records and the answer come beside it.
_LARGEST_ANSWER_BYTES = 160 * 1024


class Execution(BaseModel):
    """The sizing's execution, from the state machine's context."""

    arn: str
    started_at: AwareDatetime

    @property
    def account(self) -> str:
        """The account it runs in."""
        return self.arn.split(":")[4]


class ResolveRequestEvent(Event):
    """The execution, and the request as the user wrote it."""

    execution: Execution
    request: Any


@naming_errors
@event_parser(model=ResolveRequestEvent)
def handler(event: ResolveRequestEvent, _context: LambdaContext) -> dict[str, Any]:
    """Resolve a request.

    Returns:
        The sizing, its estimate, the terms on which it takes its model's lock, and each candidate
        with what its first probe is given; no candidates in a dry run, which deploys nothing.

    Raises:
        InvalidRequest: The request can't be carried out as written; nothing was created.
        QuotaTooLow: A quota of the account does not allow what the request asks for.
    """
    execution, environment = event.execution, Environment.read()
    sizing_id = names.sizing_id(execution.arn)
    logger.set_correlation_id(sizing_id)

    request, traffic = _with_target(parse_request(event.request), environment)
    _check_apply(request, environment)
    candidates = prices.priced(instance_types.describe(request.instance_types), environment.region)
    _check_cost_limit(request, candidates)
    sources = {
        candidate.instance_type: models.resolve(
            request.model, candidate.instance_type, environment.region
        )
        for candidate in candidates
    }
    bodies = _checked_payloads(request.payloads, execution.account)
    key = model_key(request.model, account=execution.account, region=environment.region)
    sizing = Sizing(
        sizing_id=sizing_id,
        execution_arn=execution.arn,
        started_at=execution.started_at.timestamp(),
        region=environment.region,
        request=request,
        candidates=candidates,
        model=_sized_model(sources),
        model_key=key,
        payload_fingerprint=bodies.fingerprint,
        body_bytes=bodies.mean_bytes,
        production=traffic,
        captured=bodies.captured.summary if bodies.captured else None,
        data_capture=request.payloads.data_capture,
    )
    known = quotas.read(quota.needed(request.instance_types))
    sizing = quota.keep_to_endpoint_quotas(sizing, known)
    search.check_limits(sizing)
    sizing = _with_priors(sizing, environment)
    plans = [search.baseline(sizing, candidate) for candidate in sizing.candidates]
    _check_length(request, plans)
    free = subnets.free_addresses(environment.subnet_ids)
    sizing = quota.check_fargate(sizing, plans, known, free)
    estimate = cost.estimate(sizing, plans)
    if not request.dry_run:
        sizing = _with_payloads_in_s3(sizing, bodies.captured, environment)
    logger.info(
        "request resolved",
        extra={
            "instance_types": request.instance_types,
            "target_tps": request.target.tps,
            "estimated_cost_usd": estimate.cost_usd,
            "dry_run": request.dry_run,
        },
    )
    answer = {
        "sizing": sizing.model_dump(mode="json"),
        "dry_run": request.dry_run,
        "lock": lock.terms(request, key).model_dump(mode="json"),
        "started": events.started(sizing, cost_usd=estimate.cost_usd, minutes=estimate.minutes),
        "estimate": {
            "cost_usd": estimate.cost_usd,
            "minutes": estimate.minutes,
            "load_tests": estimate.load_tests,
        },
        "candidates": []
        if request.dry_run
        else [
            _candidate(sizing, plan, sources[plan.instance_type], bodies.first, environment)
            for plan in plans
        ],
    }
    _check_size(answer)
    return answer


def _with_target(
    request: Request, environment: Environment
) -> tuple[Request, ProductionTraffic | None]:
    """The request with the rate that it takes from an endpoint in production, if it does."""
    asked = request.target.from_endpoint
    if asked is None:
        return request, None
    variant, facts, traffic, utilization = production.traffic_of(asked, time.time())
    found = target.peak(asked, traffic)
    [priced] = prices.priced([facts], environment.region)
    resolved = parse_request(
        {
            **request.model_dump(mode="json", exclude_none=True),
            "target": {
                **request.target.model_dump(mode="json", exclude_none=True),
                "tps": found.target_tps,
            },
        }
    )
    least, most = variant.scales or (None, None)
    return resolved, ProductionTraffic(
        endpoint=variant.endpoint,
        variant=variant.name,
        instance_type=facts.instance_type,
        instance_count=variant.instance_count,
        min_instances=least,
        max_instances=most,
        hourly_price_usd=priced.hourly_price_usd,
        peak_utilization_percent=utilization,
        days=found.days,
        peak_tps=found.tps,
        target_tps=found.target_tps,
        tps_by_hour=found.by_hour,
        tps_by_weekday=found.by_weekday,
        burst_factor=found.burst_factor,
        notes=found.notes,
    )


def _candidate(
    sizing: Sizing,
    plan: LoadTestPlan,
    source: deployment.ModelSource,
    first_payload: Payload,
    environment: Environment,
) -> dict[str, Any]:
    deployed = deployment.deployment(
        sizing,
        sizing.facts(plan.instance_type),
        plan.instance_count,
        source,
        name_prefix=environment.name_prefix,
        execution_role_arn=environment.model_execution_role_arn,
    )
    endpoint_name = deployed.create_endpoint["EndpointName"]
    requested = sizing.request.payloads
    smoke = requested.model_copy(update={"inline": [first_payload]} if requested.inline else {})
    load_test = load_test_input(
        sizing,
        plan,
        attempt=1,
        name_prefix=environment.name_prefix,
        bucket=environment.results_bucket,
    )
    return {
        "endpoint": {
            "endpoint_name": endpoint_name,
            "create_model": deployed.create_model,
            "create_endpoint_config": deployed.create_endpoint_config,
            "create_endpoint": deployed.create_endpoint,
        },
        "smoke_test": {
            "endpoint_name": endpoint_name,
            "payloads": {
                **payload_source(smoke),
                "content_type": smoke.content_type,
                "accept": smoke.accept,
            },
        },
        "former": None,
        "plan": plan.model_dump(mode="json"),
        "load_test": load_test,
        "record": record_beforehand(plan, load_test),
    }


def _sized_model(sources: Mapping[str, deployment.ModelSource]) -> SizedModel:
    return SizedModel(
        package_arn=next((each.package_arn for each in sources.values()), None),
        images={name: each.image for name, each in sources.items() if each.image},
        image_digests={
            name: each.image_digest for name, each in sources.items() if each.image_digest
        },
    )


def _check_size(answer: dict[str, Any]) -> None:
    """Else the state machine would break off with a DataLimitExceeded that nothing can catch."""
    size = len(json.dumps(answer).encode())
    if size > _LARGEST_ANSWER_BYTES:
        raise InvalidRequest(
            "request",
            f"takes {size:,} bytes to carry out, at most {_LARGEST_ANSWER_BYTES:,} fit into the "
            "state machine; give it fewer instance_types, tags or environment variables",
        )


def _check_length(request: Request, plans: Sequence[LoadTestPlan]) -> None:
    for plan in plans:
        seconds = timeout_seconds(plan, measured_by(plan, request.measurement))
        if seconds > LONGEST_SECONDS:
            raise InvalidRequest(
                "measurement.settle_seconds",
                f"a load test of {len(plan.steps)} steps, each warmed up for at most "
                f"{LONGEST_WARM_UP} times settle_seconds and held for steady_seconds, may take "
                f"{seconds / 3600:.1f} hours; at most {LONGEST_SECONDS / 3600:g} are allowed",
            )


def _check_cost_limit(request: Request, candidates: tuple[InstanceFacts, ...]) -> None:
    for facts in candidates:
        if request.limits.max_cost_usd is not None and facts.hourly_price_usd is None:
            raise InvalidRequest(
                "limits.max_cost_usd",
                f"can't be kept, since the price of {facts.instance_type} is "
                f"{facts.price_source}; leave the limit out, or the instance type",
            )


def _check_apply(request: Request, environment: Environment) -> None:
    """Else a night would find out after its load tests that nobody gets their answer."""
    asked = request.apply
    if asked is None:
        return
    if not apply.may_change(asked.endpoint, environment.apply_endpoints):
        raise InvalidRequest(
            "apply.endpoint",
            f"{asked.endpoint} is none that the stack's parameter ApplyEndpoints names",
        )
    found = production.variant_of("apply.endpoint", asked.endpoint, asked.variant)
    if found.instance_type not in request.instance_types:
        raise InvalidRequest(
            "apply.endpoint",
            f"{asked.endpoint} runs {found.instance_type}, which instance_types does not name: "
            "no answer could be applied",
        )


@dataclass(frozen=True, slots=True)
class _Bodies:
    """What is sent: its first body, and what tells all of them."""

    first: Payload
    mean_bytes: float
    fingerprint: str
    captured: captures.Captured | None = None


def _checked_payloads(requested: Payloads, account: str) -> _Bodies:
    """Check all payloads."""
    captured = None
    if requested.data_capture is not None:
        captured = captures.read(requested.data_capture, account, time.time())
        given = captured.payloads
    elif requested.inline is not None:
        given = requested.inline
        payloads.check_inline(given)
    else:
        return _checked_file(requested, account)
    mean = payloads.mean_body_bytes(given)
    return _Bodies(given[0], mean, payloads.fingerprint(requested, ""), captured)


def _checked_file(requested: Payloads, account: str) -> _Bodies:
    uri = str(requested.s3_uri)
    try:
        file = s3_documents.describe(uri, account)
        if file.size_bytes > payloads.MAX_FILE_BYTES:
            raise InvalidRequest(
                "payloads.s3_uri",
                f"{uri} has {file.size_bytes:,} bytes; "
                f"at most {payloads.MAX_FILE_BYTES:,} are allowed",
            )
        every = payloads.read_file(uri, s3_documents.lines(uri, account))
        first = next(every)
        mean = payloads.mean_body_bytes(chain([first], every))
        return _Bodies(first, mean, payloads.fingerprint(requested, file.entity_tag))
    except ClientError as error:
        if is_transient(error):
            raise
        code = error.response["Error"]["Code"]
        raise InvalidRequest(
            "payloads.s3_uri",
            f"{uri} can't be read ({code}); it must be an object in a bucket of account {account}",
        ) from None


def _with_priors(sizing: Sizing, environment: Environment) -> Sizing:
    """The same sizing, starting where an earlier one ended.

    Without an earlier one, or where the limits don't allow to start there, it starts on one
    instance.
    """
    if not sizing.request.use_history:
        return sizing
    earlier = sizing_table.items(
        environment.table_name, history.partition(sizing.model_key), newest_first=True
    )
    try:
        found = history.priors(sizing, earlier)
    except (BotoCoreError, ClientError, ValidationError):
        logger.exception("history not used")
        return sizing
    update = {"prior_counts": found.counts, "prior_workers": found.workers}
    informed = sizing.model_copy(update=update)
    try:
        search.check_limits(informed)
    except InvalidRequest as error:
        logger.info("history not used", extra={"why": str(error)})
        return sizing
    return informed


def _with_payloads_in_s3(
    sizing: Sizing, captured: captures.Captured | None, environment: Environment
) -> Sizing:
    """The same sizing, with captured payloads, and those too large to go along, put in S3."""
    requested = sizing.request.payloads
    bodies = captured.payloads if captured else requested.inline
    if bodies is None or (
        captured is None and payloads.fits_inline(bodies, len(sizing.candidates))
    ):
        return sizing
    uri = s3_documents.write(
        environment.results_bucket,
        names.sizing_folder(sizing.sizing_id)
        + (names.CAPTURED_FILE if captured else names.PAYLOADS_FILE),
        payloads.json_lines(bodies),
        content_type="application/jsonl",
    )
    request = sizing.request.model_copy(update={"payloads": payloads.in_s3(requested, uri)})
    return sizing.model_copy(update={"request": request})
