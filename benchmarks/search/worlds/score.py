"""Whether an answer is right by the truth, and the figures of a world."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING

from benchmarks.search import world
from benchmarks.search.worlds.bench import MOST_INSTANCES, Outcome, instance_type
from benchmarks.search.worlds.drawing import Candidate, Case
from benchmarks.search.worlds.truth import Truth
from sizing.load_test.observation import LoadTestRecord
from sizing.search.answer import CandidateOutcome, CandidateStatus

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

#: How far a limit may be broken by the truth, as a factor.
SLACK = 1.01
#: Instances over the smallest count that serves, out of the band: one, or this share.
_MORE_SHARE = 0.08
_SECONDS_PER_MINUTE = 60


@dataclass(frozen=True)
class Judgement:
    """What an answer comes to by the truth.

    Args:
        wrong: Why it is wrong; None if it is right.
        regret: USD over the cheapest right answer, relative; 0 without an answer.
        over_edge: More than a point over the band's upper edge.
        covers: ``count_interval`` holds the count that is needed; None where there is none.
        not_met: No count is recommended, though one within the limits serves.
        autoscaling_over: The advised target is more than an instance serves within its limits.
        badness: How wrong it is, to sort by.
    """

    wrong: str | None
    regret: float = 0.0
    over_edge: bool = False
    covers: bool | None = None
    not_met: bool = False
    autoscaling_over: bool = False
    badness: float = 0.0


def judgement(case: Case, outcome: Outcome) -> Judgement:
    """Judge an answer."""
    if outcome.crash is not None:
        return Judgement(f"crash: {outcome.crash.split(':')[0]}", not_met=True, badness=1e6)
    won = _winner(case, outcome)
    if won is None:
        served = any(each.needed <= MOST_INSTANCES for each in case.candidates)
        status = outcome.answer.status if outcome.answer is not None else "no answer"
        return Judgement(f"no count: {status}", not_met=served, badness=1e5)
    candidate, answer = won
    truth, needed = candidate.truth, candidate.needed
    found = answer.instance_count or 0
    utilization = 100 * truth.busy(truth.tps / found, found)
    cost = candidate.price * found
    wrong, badness = _wrong(truth, needed, found)
    if wrong is None and cost > _most_right_cost(case):
        wrong, badness = "a cheaper type does", cost / case.cheapest
    interval = answer.count_interval
    return Judgement(
        wrong=wrong,
        regret=max(cost / case.cheapest - 1, 0.0),
        over_edge=utilization > world.UPPER_EDGE + 1,
        covers=None if interval is None else interval[0] <= needed <= interval[1],
        autoscaling_over=autoscaling_over(truth, found, outcome),
        badness=badness,
    )


def _winner(case: Case, outcome: Outcome) -> tuple[Candidate, CandidateOutcome] | None:
    if outcome.answer is None or outcome.recommendation is None:
        return None
    for index, answer in enumerate(outcome.answer.candidates):
        if (
            answer.instance_type == outcome.answer.instance_type == instance_type(index)
            and answer.status is CandidateStatus.VERIFIED
        ):
            return case.candidates[index], answer
    return None


def _wrong(truth: Truth, needed: int, found: int) -> tuple[str | None, float]:
    """Why a count is wrong, None if it is right; and how wrong."""
    rate = truth.tps / found
    if not truth.feasible(found, slack=SLACK):
        if 100 * truth.busy(rate, found) > world.UPPER_EDGE * SLACK:
            cause = "utilization"
        elif truth.fails(rate / SLACK, found):
            cause = "errors"
        else:
            cause = "p99"
        return f"too few: {cause}", 1000.0 * needed / found
    in_band = 100 * truth.busy(rate, found) >= world.LOWER_EDGE
    if in_band or found - needed <= max(1, math.floor(_MORE_SHARE * needed)):
        return None, 0.0
    return f"too many: {limiting(truth, needed)} limits", found / needed


def limiting(truth: Truth, needed: int) -> str:
    """What keeps one instance fewer from serving, by the truth."""
    fewer = max(needed - 1, 1)
    rate = truth.tps / fewer
    if 100 * truth.busy(rate, fewer) > world.UPPER_EDGE:
        return "utilization"
    return "capacity" if truth.fails(rate, fewer) else "p99"


def _most_right_cost(case: Case) -> float:
    """What the cheapest type costs at the largest count that is right for it, USD an hour."""
    most = 0.0
    for each in case.candidates:
        if each.price * each.needed > case.cheapest * (1 + 1e-9):
            continue
        count = each.needed
        while _wrong(each.truth, each.needed, count + 1)[0] is None:
            count += 1
        most = max(most, each.price * count)
    return most * (1 + 1e-9)


def autoscaling_over(truth: Truth, count: int, outcome: Outcome) -> bool:
    """Whether the advised targets are more than an instance truly serves within its limits."""
    advice = (outcome.recommendation or {}).get("autoscaling")
    if advice is None:
        return False
    most = truth.most_within_limits(count) * SLACK
    if advice["target_value"] / _SECONDS_PER_MINUTE > most:
        return True
    other = advice.get("alternative")
    if other is None:
        return False
    in_flight = most * truth.mean_latency_ms(min(most, truth.capacity(count) * 0.98), count) / 1000
    return bool(other["target_value"] > in_flight * SLACK)


@dataclass
class Score:
    """Figures of a world, over its endpoints."""

    endpoints: int = 0
    right: int = 0
    over: int = 0
    regret: float = 0.0
    answered: int = 0
    load_tests: int = 0
    candidates: int = 0
    worst: int = 0
    intervals: int = 0
    covering: int = 0
    not_met: int = 0
    autoscaling_over: int = 0
    misses: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome, judged: Judgement) -> None:
        """Count one endpoint."""
        self.endpoints += 1
        self.right += judged.wrong is None
        self.over += judged.over_edge
        self.regret += judged.regret
        self.answered += outcome.recommendation is not None
        self.load_tests += len(outcome.history)
        self.candidates += len(outcome.sizing.candidates)
        self.worst = max(self.worst, _most_of_a_type(outcome.history))
        self.intervals += judged.covers is not None
        self.covering += judged.covers is True
        self.not_met += judged.not_met
        self.autoscaling_over += judged.autoscaling_over
        if judged.wrong is not None:
            self.misses[judged.wrong] += 1

    def join(self, other: Score) -> None:
        """Take another part's endpoints in."""
        for each in fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            setattr(self, each.name, max(mine, theirs) if each.name == "worst" else mine + theirs)

    def line(self, name: str) -> dict[str, float | int | str]:
        """The figures of a world by name; load tests are those of one candidate."""
        return {
            "world": name,
            "endpoints": self.endpoints,
            "right": _share(self.right, self.endpoints),
            "over_upper_edge": _share(self.over, self.endpoints),
            "cost_regret": _share(self.regret, self.answered),
            "mean_load_tests": _share(self.load_tests, self.candidates),
            "worst_load_tests": self.worst,
            "interval_covers": _share(self.covering, self.intervals),
            "not_met_though_served": self.not_met,
            "autoscaling_over": self.autoscaling_over,
        }


def _share(part: float, of: int) -> float:
    return round(part / of, 4) if of else 0.0


def _most_of_a_type(history: Sequence[LoadTestRecord]) -> int:
    return max(Counter(each.instance_type for each in history).values(), default=0)


def told(index: int, case: Case, outcome: Outcome, judged: Judgement) -> str:
    """A case in a few lines: its truth, what was tried, and what was answered."""
    lines = [f"#{index} {judged.wrong}, target {case.tps:.6g}, prior {case.prior_count}"]
    for number, each in enumerate(case.candidates):
        truth, name = each.truth, instance_type(number)
        rate = truth.tps / each.needed
        p50, p99 = truth.latency_ms(rate, each.needed)
        limit = truth.p99_limit_ms
        lines.append(
            f"  {name} needs {each.needed} ({limiting(truth, each.needed)} limits): "
            f"{100 * truth.busy(rate, each.needed):.1f} %, p50 {p50:.4g} ms, p99 {p99:.4g} ms"
            f"{'' if limit is None else f' of {limit:.4g}'}; "
            f"serves {truth.capacity(each.needed):.4g}/s, "
            f"{truth.most_within_limits(each.needed):.4g}/s within limits, {each.price} USD"
        )
        lines.append(f"    {_unusual(truth)} {_unusual(each.conditions)}")
    lines += [f"  {_load_test(record)}" for record in outcome.history]
    if outcome.crash is not None:
        lines.append(f"  {outcome.crash}")
    elif outcome.answer is not None:
        for answer in outcome.answer.candidates:
            lines.append(
                f"  {answer.instance_type} {answer.status} {answer.instance_count} "
                f"{answer.count_interval}: {answer.reason} [{answer.limiting_resource}]"
            )
        scaling = (outcome.recommendation or {}).get("autoscaling")
        if scaling is not None:
            lines.append(f"  scaling at {scaling['target_value'] / 60:.5g}/s an instance")
    return "\n".join(lines)


def _unusual(facts: DataclassInstance) -> str:
    """The fields of a dataclass that are not at their defaults."""
    shown = []
    for each in fields(facts):
        value = getattr(facts, each.name)
        if value != each.default:
            shown.append(
                f"{each.name}={value:.4g}" if isinstance(value, float) else f"{each.name}={value}"
            )
    return ", ".join(shown)


def _load_test(record: LoadTestRecord) -> str:
    steps = []
    for seen in record.observations:
        p99 = seen.model_latency_ms.p99
        short = 100 * (1 - seen.achieved_tps / seen.offered_tps)
        steps.append(
            f"{seen.offered_tps:.5g}/s {seen.utilization_percent:.1f} % "
            f"p99 {'-' if p99 is None else f'{p99:.4g}'} short {short:.2f} % "
            f"err {seen.error_percent:.3f} % {seen.verdict}"
            f"{f' ({seen.invalid})' if seen.invalid else ''}"
        )
    most = record.saturation_tps
    burst = "" if most is None else f" burst {most:.5g}/s"
    broke = f" {record.error}: {record.cause}" if record.error else ""
    return f"{record.instance_type} x {record.instance_count}{burst}{broke}: " + " | ".join(steps)
