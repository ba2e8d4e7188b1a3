"""The report's page: a pure function from a result and its load tests to one HTML string."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from pydantic import ValidationError

from report import console, figures
from report.figures import Plot
from report.timeline import Timeline
from sizing.load_test.observation import Latency, Observation, Verdict
from sizing.load_test.plan import Purpose
from sizing.production.autoscaling import (
    ENDPOINT_PLACEHOLDER,
    put_concurrency_policy,
    put_scaling_policy,
    register_scalable_target,
)
from sizing.request.request import Request
from sizing.result import message
from sizing.result.counts import Count
from sizing.result.failure import RETRY_IN_WORDS
from sizing.result.result import CandidateResult, LoadTestResult, Result
from sizing.search.answer import CandidateStatus, Status

_FOLDER = Path(__file__).parent
#: Bodies in the request are shown up to this many characters.
_LONGEST_BODY = 400

_STATUS_WORDS = {
    Status.SIZED: "Sized",
    Status.TARGET_NOT_MET: "Target not met",
    Status.FAILED: "Failed",
    Status.DRY_RUN: "Dry run",
}
_CANDIDATE_WORDS = {
    CandidateStatus.VERIFIED: "Verified",
    CandidateStatus.NOT_VERIFIED: "Not verified",
    CandidateStatus.TARGET_NOT_MET: "Target not met",
    CandidateStatus.FAILED: "Failed",
}
_PURPOSE_WORDS = {
    Purpose.BASELINE: "baseline on one instance",
    Purpose.VERIFY: "verification at full traffic",
}
#: What each verdict says, for the reader of the table.
_VERDICTS = {
    Verdict.IN_BAND: "served with utilization in the band",
    Verdict.OVERLOADED: "utilization over the band, or requests refused by busy instances",
    Verdict.UNDERUSED: "served with utilization under the band",
    Verdict.LATENCY_LIMITED: "the limit of the model's p99 is broken, or keeps instances idle",
    Verdict.CONTAINER_LIMITED: "the container can't use the hardware that is there",
    Verdict.CLIENT_LIMITED: "the load generator could not keep its schedule; not used",
    Verdict.INVALID: "the measurement is not to be trusted; not used",
}


#: Points that all load tests together are drawn with over time, and one at the least.
_MOST_POINTS = 9_000
_FEWEST_POINTS = 60


@dataclass(frozen=True, slots=True)
class _LoadTestSection:
    candidate: CandidateResult
    load_test: LoadTestResult
    purpose: str
    plot: Plot | None
    #: Why there is no plot, or what went wrong.
    remark: str | None


@dataclass(frozen=True, slots=True)
class _Part:
    """A part of the time that a request took."""

    kind: str
    ms: float
    #: Of the whole.
    share: float


@dataclass(frozen=True, slots=True)
class _TimeSpent:
    load_test: str
    offered_tps: float
    parts: tuple[_Part, ...]


@dataclass(frozen=True, slots=True)
class _Shortfall:
    """What a target that is not met would take."""

    type: str
    needed: int
    hourly_cost_usd: float | None
    #: The most instances that are allowed.
    allowed: Count | None


def render(document: Mapping[str, Any], timelines: Mapping[str, Timeline]) -> str:
    """The report as one HTML file that needs no network.

    Args:
        document: ``result.json``, decoded.
        timelines: By load test id; load tests without one are not drawn over time.

    Raises:
        pydantic.ValidationError: The document is not a result.
    """
    result = Result.model_validate(document)
    request = _request(result)
    sections = list(_sections(result, timelines))
    plots = [plot for plot in _overview(result, request) if plot is not None]
    drawn = [*plots, *(each.plot for each in sections if each.plot is not None)]
    scripts = [file_of_page("actions.js"), *([file_of_page("draw.js")] if drawn else [])]
    return template("report.html.j2").render(
        result=result,
        request=request,
        request_json=_pretty(_shown(result.sizing.request)),
        plots=plots,
        sections=sections,
        latencies=list(_latencies(sections)),
        has_observations=any(each.load_test.observations for each in sections),
        by_cost=sorted(result.candidates, key=_dearness),
        colours={
            each.instance_type: figures.colour_of(number)
            for number, each in enumerate(result.candidates)
        },
        shortfall=_shortfall(result, request),
        capacity=_capacity(result),
        figures={plot.id: plot.figure for plot in drawn},
        packed_result=_packed(document),
        scripts=scripts,
        style=file_of_page("report.css"),
        script_sources=" ".join(map(source_of, scripts)),
        model=message.model_label(result.sizing.request),
        sentence=message.sentence(result),
        locally=message.locally(result),
        sized_model=message.sized_model(result),
        execution_link=message.execution_link(result),
        log_links=_links(result, console.log_link),
        metrics_links=_links(result, console.metrics_link),
        minutes=message.minutes_taken(result),
        status_word=_STATUS_WORDS[result.status],
        retry_in_words=result.error and RETRY_IN_WORDS[result.error.retry],
        candidate_words=_CANDIDATE_WORDS,
        verdicts=_verdicts_seen(result),
        commands=_commands(result),
        remarked=_remark,
        ENDPOINT_PLACEHOLDER=ENDPOINT_PLACEHOLDER,
    )


@cache
def template(name: str) -> Template:
    """A template of this folder, with the filters for figures."""
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "usd": message.usd,
        "whole_usd": message.whole_usd,
        "rate": message.rate,
        "ms": message.milliseconds,
        "percent": _percent,
        "named_figure": _named_figure,
        "percentiles": _percentiles,
        "duration": message.duration,
    }
    return environment.get_template(name)


def _percent(value: float | None, decimals: int = 1) -> str:
    return "-" if value is None else f"{value:.{decimals}f}\u00a0%"


#: What the last word of a figure's name says of its unit.
_UNITS = {"ms": " ms", "percent": "\u00a0%", "tps": "/s", "seconds": " s", "usd": " USD"}


def _named_figure(figure: tuple[str, float]) -> str:
    """A figure of a diagnosis, with its unit: ``overhead_ms`` 2.4 is "overhead 2.4 ms"."""
    name, value = figure
    name, per, instance = name.partition("_per_instance")
    what, _, unit = name.rpartition("_")
    if unit not in _UNITS:
        what, unit = name, ""
    each = " per instance" if per else ""
    return f"{what.replace('_', ' ')}{each}{instance} {value:,.4g}{_UNITS.get(unit, '')}"


def _percentiles(latency: Latency) -> str:
    """p50, p90 and p99 beside each other, milliseconds."""
    shown = map(message.milliseconds, (latency.p50, latency.p90, latency.p99))
    return " / ".join(each.removesuffix(" ms") for each in shown)


def _request(result: Result) -> Request | None:
    """The request, if it is a valid one whose target is known."""
    try:
        request = Request.model_validate(result.sizing.request)
    except ValidationError:
        return None
    return request if request.target.given_tps is not None else None


def _overview(result: Result, request: Request | None) -> Iterator[Plot | None]:
    limit_ms = request.target.model_latency_p99_ms if request is not None else None
    yield figures.production_plot(result)
    yield figures.utilization_plot(result, request)
    for number, candidate in enumerate(result.candidates):
        yield figures.latency_plot(candidate, limit_ms=limit_ms, number=number)


def _sections(result: Result, timelines: Mapping[str, Timeline]) -> Iterator[_LoadTestSection]:
    """Load tests in the order they ran."""
    every = [(each, test) for each in result.candidates for test in each.load_tests]
    every.sort(key=lambda each: each[1].started_at or "")
    colours = {id(each): figures.colour_of(n) for n, each in enumerate(result.candidates)}
    points = max(_MOST_POINTS // max(len(every), 1), _FEWEST_POINTS)
    for number, (candidate, load_test) in enumerate(every):
        timeline = timelines.get(load_test.load_test_id, Timeline(())).thinned(points)
        colour = colours[id(candidate)]
        plot = figures.timeline_plot(candidate, load_test, timeline, number=number, colour=colour)
        remark = f"{load_test.error}: {load_test.cause or ''}" if load_test.error else None
        if remark is None and timeline.error is not None:
            remark = timeline.error
        if remark is None and plot is None:
            remark = "Its record over time is not there, so it can't be drawn."
        yield _LoadTestSection(
            candidate,
            load_test,
            _PURPOSE_WORDS[load_test.purpose],
            plot,
            remark,
        )


def _latencies(sections: Iterable[_LoadTestSection]) -> Iterator[_TimeSpent]:
    """Where the time of a request went, for each step that tells."""
    for section in sections:
        for seen in section.load_test.observations:
            model, client = seen.model_latency_ms.mean, seen.client_latency_ms.mean
            if seen.invalid is not None or model is None or client is None:
                continue
            overhead = seen.overhead_latency_ms.mean or 0.0
            rest = max(client - model - overhead, 0.0)
            whole = max(model + overhead + rest, sys.float_info.min)
            kinds = (("model", model), ("overhead", overhead), ("network", rest))
            yield _TimeSpent(
                f"{section.load_test.instance_count} x {section.candidate.instance_type}",
                seen.offered_tps,
                tuple(_Part(kind, ms, ms / whole) for kind, ms in kinds),
            )


def _dearness(candidate: CandidateResult) -> float:
    """USD per hour; those without a price come last."""
    cost = candidate.hourly_cost_usd
    return math.inf if cost is None else cost


def _shortfall(result: Result, request: Request | None) -> _Shortfall | None:
    """What the candidate would take that comes closest, where no count that is allowed serves."""
    if result.status is not Status.TARGET_NOT_MET or request is None:
        return None
    for candidate in sorted(result.candidates, key=_dearness):
        needed = candidate.instance_count
        if needed is not None:
            fewer = [each for each in candidate.counts if each.instance_count < needed]
            allowed = [
                each for each in fewer if each.instance_count <= request.limits.max_instances
            ]
            return _Shortfall(
                candidate.instance_type,
                needed,
                candidate.hourly_cost_usd,
                allowed[-1] if allowed and needed > request.limits.max_instances else None,
            )
    return None


def _capacity(result: Result) -> float | None:
    """Requests per second of one recommended instance at the middle of the band."""
    answer = result.recommendation
    for candidate in result.candidates:
        if answer is not None and candidate.instance_type == answer.instance_type:
            return candidate.tps_per_instance_at_band_middle
    return None


def _links(
    result: Result, link_of: Callable[[Result, CandidateResult], str | None]
) -> dict[str, str]:
    """Links to what AWS keeps of each candidate's endpoint, by instance type."""
    links = {each.instance_type: link_of(result, each) for each in result.candidates}
    return {instance_type: link for instance_type, link in links.items() if link is not None}


def _packed(document: Mapping[str, Any]) -> str:
    """``result.json`` for the page's buttons: gzip, as base64."""
    return base64.b64encode(gzip.compress(_pretty(document).encode(), mtime=0)).decode()


def file_of_page(name: str) -> str:
    """A script or the style, as it stands in this folder."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def _remark(seen: Observation) -> str:
    """What a row of figures does not say: why it is not used, and what the errors were."""
    errors = ", ".join(f"{kind} {count:,}" for kind, count in seen.errors.items() if count)
    parts = (seen.invalid, seen.client_limited, f"errors: {errors}" if errors else None)
    return "; ".join(part for part in parts if part)


def _verdicts_seen(result: Result) -> dict[str, str]:
    seen = {
        observation.verdict
        for candidate in result.candidates
        for load_test in candidate.load_tests
        for observation in load_test.observations
    }
    return {str(verdict): text for verdict, text in _VERDICTS.items() if verdict in seen}


def _commands(result: Result) -> list[tuple[str, str, str]]:
    """AWS CLI commands of the autoscaling advice: title, command, and its input for a shell."""
    advice = result.recommendation.autoscaling if result.recommendation is not None else None
    if advice is None:
        return []
    alternative = put_concurrency_policy(advice, ENDPOINT_PLACEHOLDER)
    requests = [
        (
            "Let Application Auto Scaling set the instance count",
            "register-scalable-target",
            register_scalable_target(advice, ENDPOINT_PLACEHOLDER),
        ),
        (
            "Track invocations per instance",
            "put-scaling-policy",
            put_scaling_policy(advice, ENDPOINT_PLACEHOLDER),
        ),
    ]
    if alternative is not None:
        requests.append(
            ("Or: track requests in flight per instance", "put-scaling-policy", alternative)
        )
    return [(title, command, shlex.quote(_pretty(body))) for title, command, body in requests]


def _shown(value: object) -> object:
    """The request for reading: long bodies cut short."""
    if isinstance(value, Mapping):
        return {str(key): _shown(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_shown(each) for each in value]
    if isinstance(value, str) and len(value) > _LONGEST_BODY:
        return f"{value[:_LONGEST_BODY]}... ({len(value):,} characters)"
    return value


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def source_of(script: str) -> str:
    """A Content-Security-Policy source that lets this one script run, and no other."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
