"""The audit of an account's endpoints as one HTML file: what needs somebody first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from report.page import file_of_page, template
from sizing.production.audit import Audited, Verdict, by_urgency
from sizing.result.message import whole_usd

_TONES = {
    Verdict.TOO_SMALL: "bad",
    Verdict.LATENCY_GROWING: "warn",
    Verdict.TOO_LARGE: "warn",
    Verdict.IDLE: "warn",
    Verdict.RIGHT: "good",
    Verdict.UNKNOWN: "",
}


def render(audited: Sequence[Audited], region: str, days: int, now: float) -> str:
    """The page, which needs no network.

    Args:
        audited: The variants.
        region: Where they are.
        days: How far was looked back.
        now: Epoch seconds.
    """
    counted = {verdict: _count(audited, verdict) for verdict in Verdict}
    return template("audit.html.j2").render(
        audited=by_urgency(audited),
        region=region,
        days=days,
        made_at=datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        sentence=_sentence(audited, counted),
        counted=counted,
        costs=_sum([each.monthly_cost_usd for each in audited]),
        saves=_sum([each.saving_usd_a_month for each in audited]),
        tones={verdict.value: tone for verdict, tone in _TONES.items()},
        figures={},
        scripts=[],
        script_sources="'none'",
        style=file_of_page("report.css"),
    )


def _count(audited: Sequence[Audited], verdict: Verdict) -> int:
    return sum(each.verdict == verdict for each in audited)


def _sum(amounts: Sequence[float | None]) -> float:
    return math.fsum(each for each in amounts if each is not None)


def _sentence(audited: Sequence[Audited], counted: dict[Verdict, int]) -> str:
    if not audited:
        return "There is no endpoint"
    off = [
        f"{counted[verdict]} {words}"
        for verdict, words in (
            (Verdict.TOO_SMALL, "too small"),
            (Verdict.LATENCY_GROWING, "getting slower"),
            (Verdict.TOO_LARGE, "too large"),
            (Verdict.IDLE, "idle"),
        )
        if counted[verdict]
    ]
    of_all = f"{len(audited)} endpoint{'s' if len(audited) > 1 else ''}"
    saves = _sum([each.saving_usd_a_month for each in audited])
    if not off:
        return f"{of_all}: {counted[Verdict.RIGHT]} fit, and none is known not to"
    saving = f"; {whole_usd(saves)} a month could be saved" if saves else ""
    return f"{of_all}: {', '.join(off)}{saving}"
