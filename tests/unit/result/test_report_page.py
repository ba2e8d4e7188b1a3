"""The report is one file that needs no network, shows all figures and escapes all it is given."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import hashlib
import itertools
import json
import re
from functools import cache
from html.parser import HTMLParser
from typing import Any

import pytest

from report import figures
from report.page import render
from report.timeline import MOST_POINTS, Timeline, read_timeline
from sizing.load_test.observation import LoadTestRecord
from sizing.result.result import Result
from tests.unit.result import sample_sizings
from tests.unit.result.sample_sizings import Made

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{ 7*7 }}"
VOID = {"meta", "br", "img", "link", "input"}


class Page(HTMLParser):
    """Tags, attributes, text and scripts of a page; fails where tags are not balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"{tag} at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.scripts.append((self.tags[-1][1], data))
        elif self._open and self._open[-1] != "style":
            self.text.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.text))


@cache
def html_of(name: str) -> str:
    made = sample_sizings.ALL[name]()
    return render(made.document(), made.timelines())


@cache
def page_of(name: str) -> Page:
    return Page(html_of(name))


def rendered(made: Made) -> Page:
    return Page(render(made.document(), made.timelines()))


@pytest.fixture(params=sample_sizings.ALL)
def page(request: pytest.FixtureRequest) -> Page:
    return page_of(request.param)


def test_nothing_is_loaded_from_elsewhere(page: Page) -> None:
    for _tag, attributes in page.tags:
        assert not {"src", "srcset", "action"} & attributes.keys()
    style = re.findall(r"url\(|@import", html_of("sized").split("</style>")[0])
    assert style == []


def test_links_lead_to_the_console_alone(page: Page) -> None:
    for tag, attributes in page.tags:
        if "href" in attributes:
            assert tag == "a"
            assert re.match(
                r"https://us-east-1\.console\.aws\.amazon\.com/", attributes["href"] or ""
            )
    words = html_of("sized")
    assert words.count(f"#/v2/executions/details/{sample_sizings.EXECUTION}") == 1


@pytest.mark.parametrize("arn", ["javascript:alert(1)", "arn:aws:states:x:1:execution:a", None])
def test_what_is_no_execution_is_no_link(arn: str | None) -> None:
    document = sample_sizings.sized().document()
    document["sizing"]["execution_arn"] = arn
    assert not Page(render(document, {})).of("a")


def test_what_production_has_stands_beside_the_answer() -> None:
    page = Page(render(sample_sizings.in_production(), {}))
    html = render(sample_sizings.in_production(), {})
    assert "In production: too large" in html
    assert "the recommendation saves $12,110.70 a month" in html
    assert "put-scheduled-action" in html
    assert [each["id"] for each in page.of("div") if each.get("id", "").startswith("production")]


def test_a_target_that_was_never_looked_up_is_no_trouble() -> None:
    document = sample_sizings.failed_early().document()
    document["sizing"]["request"] = {
        **sample_sizings.sized().document()["sizing"]["request"],
        "target": {"from_endpoint": {"name": "checkout"}},
    }
    assert "The sizing failed" in render(document, {})


def test_only_the_pages_own_scripts_may_run(page: Page) -> None:
    [policy] = [
        each["content"] or ""
        for each in page.of("meta")
        if each.get("http-equiv") == "Content-Security-Policy"
    ]
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    [sources] = re.findall(r"script-src ([^;]*)", policy)
    hashes = {
        "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"
        for attributes, text in page.scripts
        if "type" not in attributes
    }
    assert set(sources.split()) == hashes


def test_ids_are_unique_and_references_lead_somewhere(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in ids


def test_headings_descend_without_gaps(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_tables_have_headers_with_a_scope(page: Page) -> None:
    assert page.of("table")
    assert all(each.get("scope") in ("col", "row", "rowgroup") for each in page.of("th"))


def test_every_plot_is_told_in_words(page: Page) -> None:
    plots = [each for each in page.of("div") if each.get("class") == "plot"]
    assert all(each["role"] == "img" and len(each["aria-label"] or "") > 40 for each in plots)


def test_figures_and_places_for_them_match(page: Page) -> None:
    places = {each["id"] for each in page.of("div") if each.get("class") == "plot"}
    data = [
        text for attributes, text in page.scripts if attributes.get("type") == "application/json"
    ]
    assert (set(json.loads(data[0])) if data else set()) == places


def test_the_answer_is_the_heading() -> None:
    html = html_of("sized")
    [heading] = re.findall(r"<h1>(.*?)</h1>", html)
    assert heading.startswith("8 ml.m5.12xlarge instances serve 1,000 requests per second")
    words = page_of("sized").words
    for shown in ("$22.12", "$6.14", "per million requests", "in the band of 60-70", "7,782"):
        assert shown in words


def test_every_observation_is_in_the_table() -> None:
    html = html_of("several_candidates")
    made = sample_sizings.several_candidates()
    table = html[html.index('class="dense"') :]
    table = table[: table.index("</table>")]
    observations = [seen for record in made.history for seen in record.observations]
    assert len(observations) == 9
    for seen in observations:
        assert f"{seen.utilization_percent:.1f}\u00a0%" in table
    assert "CloudWatch counted 3.1 % fewer" in table
    assert "errors: timeout 3, model_error_500 12" in table
    reasons = [record.reason for record in made.history if record.reason]
    assert len(reasons) > 1
    assert all(f"Why: {reason}." in html for reason in reasons)


def test_statuses_look_different() -> None:
    assert "Target not met" in page_of("target_not_met").words
    assert "limits.max_instances" in page_of("target_not_met").words
    assert "The sizing failed: LoadTestFailed" in page_of("failed").words
    assert "What to do:" in page_of("failed").words
    assert "41 minutes" in page_of("dry_run").words


def test_a_page_is_small() -> None:
    assert len(html_of("failed_early")) < 30_000
    assert len(html_of("several_candidates")) < 150_000


def test_200_steps_are_no_burden() -> None:
    made = sample_sizings.sized()
    baseline, verify = made.history
    file = made.load_tests[verify.load_test_id]
    more = [verify.model_copy(update={"load_test_id": f"{n}"}) for n in range(66)]
    files = {each.load_test_id: file for each in more}
    made = dataclasses.replace(
        made, history=(baseline, verify, *more), load_tests={**made.load_tests, **files}
    )
    html = render(made.document(), made.timelines())
    assert html.count('id="timeline-') == 68
    assert len(html) < 600_000


def test_the_whole_result_lies_in_the_page() -> None:
    document = sample_sizings.several_candidates().document()
    [packed] = [
        text
        for attributes, text in Page(render(document, {})).scripts
        if attributes.get("id") == "result"
    ]
    assert json.loads(gzip.decompress(base64.b64decode(packed))) == document


def test_counts_around_the_answer_are_a_table_and_the_answer_is_marked() -> None:
    html = html_of("sized")
    table = html[html.index("By instance count") :]
    rows = re.findall(r"<tr(.*?)>\s*<th scope=\"row\" class=\"number\">(\d+)", table)
    assert [count for _, count in rows] == ["6", "7", "8", "9", "10"]
    assert [count for marked, count in rows if "chosen" in marked] == ["8"]
    assert "yes, measured" in table
    assert "$16,147.60" in table


def test_a_target_that_is_not_met_says_what_it_would_take() -> None:
    words = page_of("target_not_met").words
    assert "3 ml.m5.12xlarge, the most that is allowed, carry 412/s" in words
    assert "Needed 8 instances" in words
    assert "They would cost $22.12" in words


def test_a_failures_cause_is_said_once() -> None:
    assert page_of("failed").words.count("worker 1 of 2 went silent") == 1


def test_what_was_measured_here_says_so() -> None:
    document = sample_sizings.sized().document()
    document["local"] = True
    words = Page(render(document, {})).words
    assert "Not AWS." in words
    assert "endpoint-sizer size request.json --local" in words
    assert "Not AWS." not in page_of("sized").words


def test_a_change_is_shown_beside_what_was() -> None:
    document = sample_sizings.sized().document()
    before = {
        "sizing_id": "0a1b2c3d4e5f",
        "status": "SIZED",
        "finished_at": "2026-09-20T14:25:33Z",
        "package_version": 3,
        "result_uri": None,
        "instance_type": "ml.m5.12xlarge",
        "instance_count": 7,
        "hourly_cost_usd": 19.36,
        "model_latency_p99_ms": 405.0,
        "tps_per_instance_at_band_middle": 146.0,
    }
    capacity = {
        "field": "tps_per_instance_at_band_middle",
        "effect": "worse",
        "before": 146.0,
        "after": 129.7,
        "percent": -11.2,
        "standard_error": 0.4,
    }
    document["change"] = {"kind": "regressed", "previous": before, "what": [capacity]}
    page = Page(render(document, {}))
    assert {"class": "worse"} in page.of("tr")
    for said in ("Change: regressed", "worse, -11.2 %", "146", "130", "version 3", "$19.36"):
        assert said in page.words
    assert "Change" not in page_of("sized").words


def test_the_time_of_a_request_is_shown_by_its_parts() -> None:
    html = html_of("sized")
    table = html[html.index("Where the time goes") : html.index("All observations")]
    shares = [float(each) for each in re.findall(r"width: ([\d.]+)%", table)]
    assert len(shares) == 3 * 6
    for at in range(0, len(shares), 3):
        assert sum(shares[at : at + 3]) == pytest.approx(100, abs=0.1)


def test_a_burst_does_not_set_the_axis_and_a_failure_has_its_own() -> None:
    made = sample_sizings.sized()
    baseline = made.history[0]
    file = made.load_tests[baseline.load_test_id]
    for number, second in enumerate(file["timeline"]):
        second["achieved_tps"] *= 5 if second["t"] <= file["timeline"][0]["t"] + 24 else 1
        second["error_tps"] = 3.0 if number == 100 else 0.0
    result = Result.model_validate(made.document())
    [candidate] = result.candidates
    plot = figures.timeline_plot(
        candidate, candidate.load_tests[0], read_timeline(file), number=0, colour="type-0"
    )
    assert plot is not None
    rates, latency, failed = plot.figure["panels"]
    assert 160 < rates["max"] < 185  # the highest step is 160 per second, the burst near 1000
    assert latency["max"] > 100
    assert failed["series"][0]["colour"] == "errors"
    assert failed["max"] >= 3
    assert {"window", "burst"} == {each["kind"] for each in plot.figure["spans"]}


def test_one_colour_means_one_thing() -> None:
    made = sample_sizings.several_candidates()
    result = Result.model_validate(made.document())
    assert made.sizing is not None
    overview = figures.utilization_plot(result, made.sizing.request)
    assert overview is not None
    named = {each["name"]: each["colour"] for each in overview.figure["panels"][0]["series"]}
    assert len(set(named.values())) == len(named)
    for number, candidate in enumerate(result.candidates):
        plot = figures.latency_plot(candidate, limit_ms=None, number=number)
        colours = {s["colour"] for s in plot.figure["panels"][0]["series"]} if plot else set()
        assert colours <= {named.get(candidate.instance_type), "client"}


def test_what_to_point_at_has_words() -> None:
    [data] = [text for each, text in page_of("sized").scripts if each.get("id") == "figures"]
    for figure in json.loads(data).values():
        for panel in figure["panels"]:
            for series in panel["series"]:
                drawn = {"marks": [], **figure["shared"], **series}
                assert len(drawn["x"]) == len(drawn["y"])
                assert not drawn["marks"] or len(drawn["marks"]) == len(drawn["text"])


def hostile() -> Made:
    """Hostile text wherever text can come from outside."""
    made = sample_sizings.several_candidates()
    assert made.answer is not None
    assert made.sizing is not None

    def poisoned(record: LoadTestRecord) -> LoadTestRecord:
        return record.model_copy(
            update={
                "instance_type": HOSTILE,
                "cause": HOSTILE,
                "reason": HOSTILE,
                "observations": tuple(
                    each.model_copy(update={"invalid": HOSTILE, "errors": {HOSTILE: 1}})
                    for each in record.observations
                ),
            }
        )

    outcomes = tuple(
        each.model_copy(
            update={
                "instance_type": HOSTILE,
                "reason": HOSTILE,
                "limiting_resource": HOSTILE,
                "diagnosis": tuple(
                    finding.model_copy(
                        update={"finding": HOSTILE, "advice": HOSTILE, "figures": {HOSTILE: 1.0}}
                    )
                    for finding in each.diagnosis
                ),
            }
        )
        for each in made.answer.candidates
    )
    return dataclasses.replace(
        made,
        sizing=None,
        history=tuple(map(poisoned, made.history)),
        answer=made.answer.model_copy(
            update={"instance_type": HOSTILE, "reason": HOSTILE, "candidates": outcomes}
        ),
        request={"model": {"model_name": HOSTILE}, HOSTILE: [HOSTILE]},
    )


def test_hostile_text_is_only_text() -> None:
    made = hostile()
    html = render(made.document(), made.timelines())
    page = Page(html)
    assert "<script>alert" not in html
    assert not page.of("img")
    assert not any(key.startswith("on") for _, each in page.tags for key in each)
    assert "<script>alert(1)</script>" in page.words
    assert "49" not in re.findall(r"onerror=alert\(1\)&gt;.{0,20}", html)[0]
    # What draws the figures makes text nodes of them; no HTML is made of a string anywhere.
    for _, script in page.scripts:
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(", script)


def test_missing_timelines_are_said() -> None:
    made = dataclasses.replace(sample_sizings.sized(), load_tests={})
    page = rendered(made)
    assert page.words.count("can't be drawn") == 2
    assert not [each for each in page.of("div") if (each.get("id") or "").startswith("timeline")]


def test_bodies_in_the_request_are_cut_short() -> None:
    request = sample_sizings.request(payloads={"inline": [{"body": "x" * 100_000}]})
    made = dataclasses.replace(sample_sizings.dry_run(), sizing=sample_sizings.sizing_of(request))
    html = render(made.document(), {})
    assert len(html) < 30_000
    assert "100,000 characters" in html


def test_the_utilization_plot_shows_all_and_the_fit_goes_through_them() -> None:
    made = sample_sizings.sized()
    result = Result.model_validate(made.document())
    assert made.sizing is not None
    plot = figures.utilization_plot(result, made.sizing.request)
    assert plot is not None
    [panel] = plot.figure["panels"]
    line, points = panel["series"]
    assert len(points["x"]) == 6
    for x, y in zip(points["x"], points["y"], strict=True):
        nearest = min(range(len(line["x"])), key=lambda i: abs(line["x"][i] - x))
        assert line["y"][nearest] == pytest.approx(y, abs=2.5)
    [band] = panel["bands"]
    assert (band["from"], band["to"]) == (60, 70)
    [note] = panel["notes"]
    assert note["text"].startswith("8 instances: 62.")


@pytest.mark.parametrize(
    "load_test",
    [
        None,
        [],
        {},
        {"timeline": None},
        {"timeline": [1, None, {"t": "x"}, {"t": float("nan")}, {"t": True}]},
        {"timeline": {}, "saturation": [], "error": "x"},
        {"saturation": {"stages": [None, {"window": None}, {"window": {"start": "a"}}]}},
        {"timeline": [{"t": 10**400}]},
    ],
)
def test_odd_load_test_files_have_no_timeline(load_test: Any) -> None:
    assert read_timeline(load_test) == Timeline(())


def test_a_broken_load_tests_file_says_why() -> None:
    broken = read_timeline({"error": {"name": "WorkerLost", "message": "worker 1"}, "timeline": []})
    assert broken.error == "WorkerLost: worker 1"


def test_long_timelines_are_thinned_and_keep_their_peaks() -> None:
    seconds = [
        {"t": t, "offered_tps": 10, "achieved_tps": 10, "error_tps": 0, "p50_ms": 5, "p99_ms": 9}
        for t in range(10_000)
    ]
    seconds[4321]["p99_ms"] = 777
    timeline = read_timeline({"timeline": seconds})
    assert len(timeline.seconds) <= MOST_POINTS
    assert max(each.p99_ms or 0 for each in timeline.seconds) == 777
    assert {each.offered_tps for each in timeline.seconds} == {10}
