"""What a finished sizing tells people and machines: a sentence, a short message, an event."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from urllib.parse import quote

from sizing.load_test.verdict import SERVED_SHARE
from sizing.result import change
from sizing.result.failure import RETRY_IN_WORDS
from sizing.result.result import CandidateResult, Recommendation, Result
from sizing.search.answer import CandidateStatus, Status

#: SNS takes subjects of less than 100 ASCII characters, without line breaks.
_LONGEST_SUBJECT = 99
#: People need no more than this of a sentence.
_LONGEST_SENTENCE = 1000
_LABEL_WIDTH = 13
_EXECUTION = re.compile(r"arn:(aws[a-z-]*):states:([a-z0-9-]+):\d{12}:execution:[\w:-]+")
#: AWS's console by partition.
_CONSOLES = {
    "aws": "console.aws.amazon.com",
    "aws-us-gov": "console.amazonaws-us-gov.com",
    "aws-cn": "console.amazonaws.cn",
}


def model_label(request: object) -> str:
    """What the request names as the model, short; works on a request of any shape."""
    model = request.get("model") if isinstance(request, Mapping) else None
    if not isinstance(model, Mapping):
        return "unknown model"
    for kind, value in model.items():
        if isinstance(value, str) and value:
            name = value.rpartition(":model-package/")[2] if kind.endswith("_arn") else value
            return one_line(name, 200)
        if isinstance(value, Mapping):
            named = value.get("model_id") or value.get("image_uri")
            if isinstance(named, str):
                return one_line(named, 200)
    return "unknown model"


def sentence(result: Result) -> str:
    """The answer in a sentence."""
    if result.recommendation is not None:
        return _recommended(result.recommendation, target_tps(result.sizing.request))
    if result.status is Status.DRY_RUN:
        return _estimated(result)
    if result.status is Status.TARGET_NOT_MET:
        limit = f" ({result.limit})" if result.limit else ""
        return f"Target not met{limit}: {result.reason}"
    return f"Failed ({result.error.name}): {result.error.cause}" if result.error else result.reason


def locally(result: Result) -> str | None:
    """What its figures are, of a sizing that measured none of AWS's; None of any other."""
    if not result.local or result.status is Status.DRY_RUN:
        return None
    text = "on this machine, with local endpoints"
    estimate = result.estimate or {}
    cost, minutes = (estimate.get(key) for key in ("cost_usd", "minutes"))
    if isinstance(cost, int | float) and isinstance(minutes, int | float):
        text += f"; on AWS it would take up to {minutes:,.0f} min and {usd(cost)}"
    return text


def subject(result: Result) -> str:
    """Subject of the notification: ASCII, under 100 characters, one line."""
    model, head = model_label(result.sizing.request), str(result.status)
    if result.change is not None and result.change.what:
        head += f", {result.change.kind}"
    if result.recommendation is not None:
        head += f": {result.recommendation.instance_count} x {result.recommendation.instance_type}"
    elif result.error is not None:
        head += f": {result.error.name}"
    return as_subject(f"{head} for {model}")


def as_subject(text: str) -> str:
    """A text as SNS takes it for a subject: ASCII, under 100 characters, one line."""
    return one_line(text.encode("ascii", "replace").decode(), _LONGEST_SUBJECT)


def is_wanted(result: Result) -> bool:
    """Whether the request wants a message of such an ending; of one that is no request, always."""
    request = result.sizing.request
    notify = request.get("notify") if isinstance(request, Mapping) else None
    if notify == "change":
        unchanged = result.change is not None and result.change.kind is change.Kind.UNCHANGED
        return not unchanged and result.status is not Status.DRY_RUN
    if notify == "failure":
        return result.status is Status.FAILED
    return notify != "never"


def message(result: Result, *, result_uri: str, report_uri: str | None) -> str:
    """The notification's text: the answer first, then its cost, then where to read on."""
    facts = [
        ("Model", sized_model(result)),
        ("Change", change.sentence(result.change) if result.change else None),
        *_facts(result),
        ("Applied", _applied(result)),
        ("Sizing", f"{result.sizing.id}, {_load_tests(result)}{_took(result)}{_own_cost(result)}"),
        ("Measured", locally(result)),
        ("Report", report_uri or "could not be written; the result holds all figures"),
        ("Result", result_uri),
        ("Execution", result.sizing.execution_arn),
        *_links(result, report_uri or result_uri),
    ]
    lines = [sentence(result), ""]
    lines += [f"{label + ':':<{_LABEL_WIDTH}}{text}" for label, text in facts if text]
    if result.notes:
        lines += ["", *(f"Note: {note}" for note in result.notes)]
    return "\n".join(lines) + "\n"


def _applied(result: Result) -> str | None:
    if result.applied is None:
        return None
    return ("" if result.applied.done else "no: ") + result.applied.reason


def _links(result: Result, uri: str) -> Iterator[tuple[str, str | None]]:
    """Pages of AWS's console: a link that is signed here would end with the function's session."""
    place = console(result)
    if place is not None:
        host, region = place
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        yield "Open", f"{host}/s3/object/{bucket}?region={region}&prefix={quote(key)}"
        yield "Follow", execution_link(result)


def execution_link(result: Result) -> str | None:
    """The execution in AWS's console; None where there is none."""
    place = console(result)
    if place is None:
        return None
    host, region = place
    return (
        f"{host}/states/home?region={region}#/v2/executions/details/{result.sizing.execution_arn}"
    )


def console(result: Result) -> tuple[str, str] | None:
    """AWS's console, of the partition that the execution is in, and the execution's region."""
    named = _EXECUTION.fullmatch(result.sizing.execution_arn or "")
    if named is None or result.local or named[1] not in _CONSOLES:
        return None
    host, region = _CONSOLES[named[1]], named[2]
    # Of the other partitions no region has a host of its own.
    return f"https://{region}.{host}" if named[1] == "aws" else f"https://{host}", region


def sized_model(result: Result) -> str:
    """What was asked for, and what that was."""
    text, model = model_label(result.sizing.request), result.model
    if model is not None and model.package_arn is not None:
        text += f", version {model.package_version}" if model.package_version else ""
        text += f" ({model.package_arn})"
    image = (model.image_digest or model.image) if model is not None else None
    return text if image is None else f"{text}, image {image}"


def usd(amount: float | None) -> str:
    """An amount of money as it is read: cents, and more digits where cents would show nothing."""
    if amount is None:
        return "unknown"
    return f"${amount:,.2f}" if amount >= 1 or amount == 0 else f"${amount:.3g}"


def whole_usd(amount: float) -> str:
    """US dollars of a month, to be read beside others of hundreds of instances."""
    return f"${amount:,.0f}"


def rate(tps: float) -> str:
    """A rate without digits that mean nothing: 999.873 is 1,000, 3.456 is 3.46."""
    return f"{tps:,.0f}" if tps >= 100 else f"{tps:.3g}"


def milliseconds(latency_ms: float | None) -> str:
    """A latency with three significant digits."""
    if latency_ms is None:
        return "-"
    return f"{latency_ms:,.0f} ms" if latency_ms >= 100 else f"{latency_ms:.3g} ms"


def duration(minutes: float) -> str:
    """A length of time as it is said: 12 s, 8 min, 1 h 20 min."""
    if minutes < 1:
        return f"{minutes * 60:.0f} s"
    hours, rest = divmod(round(minutes), 60)
    return f"{hours} h {rest} min" if hours else f"{rest} min"


def target_tps(request: object) -> float | None:
    """The rate that a request of any shape asks for."""
    target = request.get("target") if isinstance(request, Mapping) else None
    tps = target.get("tps") if isinstance(target, Mapping) else None
    return tps if isinstance(tps, int | float) else None


def _recommended(seen: Recommendation, target: float | None) -> str:
    # A rate that counts as served is named by the target: its last percent is chance.
    met = target is not None and seen.tps >= SERVED_SHARE * target
    tps = target if target is not None and met else seen.tps
    serve = "instance serves" if seen.instance_count == 1 else "instances serve"
    cost = ""
    if seen.hourly_cost_usd is not None:
        cost = f", for {usd(seen.hourly_cost_usd)} per hour"
    return (
        f"{seen.instance_count} {seen.instance_type} {serve} {rate(tps)} requests per second "
        f"at {seen.utilization_percent:.1f} % utilization{cost}."
    )


def _estimated(result: Result) -> str:
    estimate = result.estimate or {}
    parts = []
    cost, minutes, tests = (estimate.get(key) for key in ("cost_usd", "minutes", "load_tests"))
    if isinstance(tests, int | float):
        parts.append(f"about {tests:g} load test{'' if tests == 1 else 's'}")
    if isinstance(minutes, int | float):
        parts.append(f"{minutes:,.0f} minutes")
    if isinstance(cost, int | float):
        parts.append(usd(cost))
    if not parts:
        return result.reason
    return f"Dry run: the request is valid; sizing it would take {_joined(parts)}."


def _facts(result: Result) -> Iterator[tuple[str, str | None]]:
    seen = result.recommendation
    if seen is not None:
        yield (
            "Cost",
            f"{usd(seen.hourly_cost_usd)} per hour"
            + (
                f", {usd(seen.cost_per_million_usd)} per million requests"
                if seen.cost_per_million_usd is not None
                else ""
            ),
        )
        yield (
            "Latency",
            f"p99 {milliseconds(seen.model_latency_ms.p99)} in the model, "
            f"{milliseconds(seen.client_latency_ms.p99)} at the client; "
            f"errors {seen.error_percent:.3g} %",
        )
        if not seen.in_band:
            yield "Band", f"outside the band asked for. {result.reason}"
        if seen.autoscaling is not None:
            advice = seen.autoscaling
            yield (
                "Autoscaling",
                f"{advice.metric} {advice.target_value:g}, "
                f"{advice.min_capacity} to {advice.max_capacity} instances",
            )
    if result.error is not None:
        yield "What to do", result.error.advice
        yield "Start again", RETRY_IN_WORDS[result.error.retry]
    if seen is None:
        for candidate in result.candidates:
            if candidate.reason in result.reason:
                continue
            yield "Candidate", f"{candidate.instance_type}: {_candidate(candidate)}"


def _candidate(candidate: CandidateResult) -> str:
    text = f"{candidate.status}. {candidate.reason}"
    if candidate.status is CandidateStatus.NOT_VERIFIED and candidate.instance_count is not None:
        text += f" Predicted: {candidate.instance_count} instances"
        if candidate.hourly_cost_usd is not None:
            text += f", {usd(candidate.hourly_cost_usd)} per hour"
        text += "."
    return one_line(text, _LONGEST_SENTENCE)


def _load_tests(result: Result) -> str:
    count = result.sizing.load_tests
    return f"{count or 'no'} load test{'' if count == 1 else 's'}"


def minutes_taken(result: Result) -> float | None:
    """From the execution's start to the recording of its result, minutes; None if unknown."""
    if result.sizing.started_at is None:
        return None
    start, end = map(datetime.fromisoformat, (result.sizing.started_at, result.sizing.finished_at))
    return max(0.0, (end - start).total_seconds() / 60)


def _took(result: Result) -> str:
    minutes = minutes_taken(result)
    return "" if minutes is None else f" in {minutes:.3g} min"


def _own_cost(result: Result) -> str:
    cost = result.sizing.cost_usd
    return "" if cost is None or result.local else f", which cost about {usd(cost)}"


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def one_line(text: str, longest: int) -> str:
    """A text without line breaks and control characters, cut where it is longer."""
    text = re.sub(r"[\s\x00-\x1f\x7f]+", " ", text).strip()
    return text if len(text) <= longest else text[: longest - 3] + "..."
