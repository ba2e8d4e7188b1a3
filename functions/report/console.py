"""Links into CloudWatch's console: an endpoint's metrics over its load tests' time, and its log.

The console documents no addresses; these are in the form that it puts into the browser's own.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from sizing.clean_up import names
from sizing.load_test.measurement import INSTANCE_NAMESPACE, INVOCATION_NAMESPACE
from sizing.result.message import console
from sizing.result.result import CandidateResult, Result

#: Shown before and after the load tests.
_MARGIN = timedelta(minutes=2)
#: Of what is shown, the statistic of each.
_METRICS = (
    (INVOCATION_NAMESPACE, "Invocations", "Sum"),
    (INVOCATION_NAMESPACE, "ModelLatency", "p99"),
    (INSTANCE_NAMESPACE, "CPUUtilization", "Average"),
)
_PERIOD_SECONDS = 60


def metrics_link(result: Result, candidate: CandidateResult) -> str | None:
    """An endpoint's metrics over its load tests; None where there are none to be seen."""
    place, endpoint = console(result), _endpoint(result, candidate.instance_type)
    started = [each.started_at for each in candidate.load_tests if each.started_at]
    finished = [each.finished_at for each in candidate.load_tests if each.finished_at]
    if place is None or endpoint is None or not started or not finished:
        return None
    host, region = place
    lines = "".join(
        f"~(~{_text(namespace)}~{_text(metric)}~'EndpointName~{_text(endpoint)}"
        f"~'VariantName~{_text(names.VARIANT_NAME)}~(stat~{_text(statistic)}))"
        for namespace, metric, statistic in _METRICS
    )
    start = _moment(min(map(datetime.fromisoformat, started)) - _MARGIN)
    end = _moment(max(map(datetime.fromisoformat, finished)) + _MARGIN)
    graph = (
        f"~(metrics~({lines})~view~'timeSeries~stacked~false~region~{_text(region)}"
        f"~period~{_PERIOD_SECONDS}~start~{_text(start)}~end~{_text(end)})"
    )
    return f"{host}/cloudwatch/home?region={region}#metricsV2:graph={graph}"


def log_link(result: Result, candidate: CandidateResult) -> str | None:
    """The log group of an endpoint's containers; None where there is none to be seen."""
    place, endpoint = console(result), _endpoint(result, candidate.instance_type)
    if place is None or endpoint is None or not candidate.load_tests:
        return None
    host, region = place
    # The page takes it apart twice, and has a dollar for a percent sign.
    group = quote(quote(names.endpoint_log_group(endpoint), safe=""), safe="").replace("%", "$")
    return f"{host}/cloudwatch/home?region={region}#logsV2:log-groups/log-group/{group}"


def _endpoint(result: Result, instance_type: str) -> str | None:
    """The endpoint's name, which begins as the state machine's does."""
    *_, machine, _ = ["", *(result.sizing.execution_arn or "").split(":")]
    try:
        return names.resource_name(names.name_prefix(machine), result.sizing.id, instance_type)
    except ValueError:  # no name that SageMaker would have taken
        return None


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.000Z}"


def _text(value: str) -> str:
    """A text in the notation of the page: an asterisk is what a percent sign is in others."""
    head, *coded = quote(value, safe="").replace("~", "%7E").split("%")
    return f"'{head}" + "".join(f"*{each[:2].lower()}{each[2:]}" for each in coded)
