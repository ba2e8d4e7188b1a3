"""The report as people meet it: in a browser, on a phone, in the dark, printed, by keyboard."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from report import audit, history
from report.page import render
from tests.unit.result import sample_sizings
from tests.unit.result.test_audit_page import fleet
from tests.unit.result.test_history_page import nights
from tests.unit.result.test_report_page import HOSTILE, hostile

pytestmark = pytest.mark.browser

playwright = pytest.importorskip("playwright.sync_api", reason="make browser installs it")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
#: Without them the browser asks its maker for updates, which is a request and not the page's.
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SIZES = {
    "laptop": {"width": 1280, "height": 800},
    "tablet": {"width": 1024, "height": 768},
    "phone": {"width": 390, "height": 844},
}


def regressed() -> dict[str, Any]:
    """A result with less capacity than the one before it."""
    document = sample_sizings.sized().document()
    previous = {
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
    document["change"] = {"kind": "regressed", "previous": previous, "what": [capacity]}
    return document


def html_of(name: str) -> str:
    if name == "regressed":
        return render(regressed(), sample_sizings.sized().timelines())
    if name == "production":
        return render(sample_sizings.in_production(), sample_sizings.sized().timelines())
    if name == "audit":
        return audit.render(fleet(), "eu-central-1", 14, 1_796_000_000.0)
    if name == "history":
        return history.render("model_package_group/sentiment", nights())
    made = hostile() if name == "hostile" else sample_sizings.ALL[name]()
    return render(made.document(), made.timelines())


OUTCOMES = (*sample_sizings.ALL, "regressed", "hostile", "production", "history", "audit")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is on PATH")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=QUIET)
        yield opened
        opened.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens a report, and fails if it complained or asked for anything."""
    with contextmanager(_opened)(browser, tmp_path) as opener:
        yield opener


def _opened(browser: Any, folder: Path) -> Iterator[Callable[..., Any]]:
    complaints: list[str] = []
    contexts = []

    def opener(name: str, size: str = "laptop", scheme: str = "light") -> Any:
        context = browser.new_context(
            viewport=SIZES[size], color_scheme=scheme, accept_downloads=True
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda each: complaints.append(each.text))
        page.on("pageerror", lambda each: complaints.append(str(each)))
        page.on("dialog", lambda each: complaints.append(f"dialog {each.message}"))
        page.on("request", lambda each: complaints.append(each.url) if not _own(each.url) else None)
        file = folder / f"{name}.html"
        file.write_text(html_of(name), encoding="utf-8")
        page.goto(file.as_uri())
        return page

    yield opener
    for context in contexts:
        context.close()
    assert complaints == []


def _own(url: str) -> bool:
    return url.startswith(("file:", "blob:"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", OUTCOMES)
def test_the_answer_is_seen_at_once_by_everybody(
    opened: Callable[..., Any], name: str, size: str, scheme: str
) -> None:
    page = opened(name, size, scheme)
    heading = page.locator("h1").bounding_box()
    assert heading["y"] + heading["height"] < SIZES[size]["height"]
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["width"]
    found = axe.Axe().run(page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == []


@pytest.mark.parametrize("size", ["laptop", "tablet"])
@pytest.mark.parametrize("name", [each for each in OUTCOMES if each != "hostile"])
def test_tables_are_read_without_scrolling(
    opened: Callable[..., Any], name: str, size: str
) -> None:
    tables = opened(name, size).locator(".scroll").all()
    wide = "each => each.scrollWidth > each.clientWidth"
    assert [each.get_attribute("aria-label") for each in tables if each.evaluate(wide)] == []


def test_every_observation_is_a_mark(opened: Callable[..., Any]) -> None:
    page = opened("several_candidates")
    made = sample_sizings.several_candidates()
    observations = [seen for record in made.history for seen in record.observations]
    assert page.locator("#utilization .mark").count() == len(observations)
    assert page.locator("#utilization .mark.cross").count() == 1
    for each in page.locator(".plot").all():
        assert each.locator("path.line, .mark").count() > 0


def test_what_is_pointed_at_is_told(opened: Callable[..., Any]) -> None:
    page = opened("sized")
    page.locator("#utilization .mark.full").first.hover()
    said = page.locator("#utilization .tip").inner_text()
    assert "8 x ml.m5.12xlarge, verify" in said
    assert "p99 410 ms model" in said
    page.locator("#timeline-0 svg").hover()
    assert re.search(
        r"\d+ s\noffered .*\nachieved .*\nclient p50", page.locator("#timeline-0 .tip").inner_text()
    )


def test_arrow_keys_go_from_mark_to_mark(opened: Callable[..., Any]) -> None:
    page = opened("sized")
    page.locator("#utilization").focus()
    said = []
    for _ in range(6):
        page.keyboard.press("ArrowRight")
        said.append(page.locator("#utilization .tip").inner_text())
    rates = [float(re.findall(r"([\d.]+) per instance", each)[0]) for each in said]
    assert rates == sorted(rates)
    assert len(set(said)) == 6


def test_dragging_zooms_and_the_whole_comes_back(opened: Callable[..., Any]) -> None:
    page = opened("sized")
    plot = page.locator("#timeline-0")
    plot.scroll_into_view_if_needed()
    labels = plot.locator("svg > text").all_inner_texts()
    box = plot.bounding_box()
    middle = box["y"] + box["height"] / 3
    page.mouse.move(box["x"] + box["width"] * 0.4, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, middle, steps=5)
    page.mouse.up()
    assert plot.locator("svg > text").all_inner_texts() != labels
    page.get_by_role("button", name="Show all").click()
    assert plot.locator("svg > text").all_inner_texts() == labels
    plot.focus()
    page.keyboard.press("+")
    assert plot.locator("svg > text").all_inner_texts() != labels
    page.keyboard.press("Escape")
    assert plot.locator("svg > text").all_inner_texts() == labels


def test_the_legend_hides_and_shows(opened: Callable[..., Any]) -> None:
    page = opened("several_candidates")
    marks = page.locator("#utilization .mark")
    button = page.get_by_role("button", name="ml.c6i.4xlarge")
    before = marks.count()
    button.click()
    assert marks.count() == before - 3
    assert button.get_attribute("aria-pressed") == "false"
    button.click()
    assert marks.count() == before


def saved(page: Any, name: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=f"Save {name}").click()
    assert download.value.suggested_filename == name
    return Path(download.value.path()).read_text(encoding="utf-8")


def test_result_request_and_observations_can_be_saved(opened: Callable[..., Any]) -> None:
    page = opened("several_candidates")
    document = sample_sizings.several_candidates().document()
    assert json.loads(saved(page, "result.json")) == document
    assert json.loads(saved(page, "request.json")) == document["sizing"]["request"]
    rows = list(csv.DictReader(io.StringIO(saved(page, "observations.csv"))))
    assert len(rows) == 9
    assert {row["instance_type"] for row in rows} == {"ml.m5.12xlarge", "ml.c6i.4xlarge"}
    assert [row["errors"] for row in rows if row["errors"]] == ["timeout 3; model_error_500 12"]
    assert float(rows[0]["model_latency_ms.p99"]) > 300


def test_commands_are_copied_with_the_endpoints_name(opened: Callable[..., Any]) -> None:
    page = opened("sized")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_label("Endpoint's name").fill("prod-sentiment")
    page.get_by_text("Track invocations per instance").click()
    page.locator('button[data-copy="command-2"]').click()
    page.locator('button[data-copy="command-2"]', has_text="Copied").wait_for()
    command = page.evaluate("navigator.clipboard.readText()")
    assert command.startswith("aws application-autoscaling put-scaling-policy --cli-input-json '{")
    assert "endpoint/prod-sentiment/variant/AllTraffic" in command
    assert "YOUR-ENDPOINT" not in command


@pytest.mark.parametrize("name", OUTCOMES)
def test_it_prints_on_few_pages(opened: Callable[..., Any], name: str, tmp_path: Path) -> None:
    page = opened(name)
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    pages = len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "report.pdf").read_bytes()))
    plots = page.locator(".plot").count()
    assert pages <= 3 + plots


def test_hostile_text_stays_text(opened: Callable[..., Any]) -> None:
    page = opened("hostile")
    assert page.locator("img").count() == 0
    assert page.locator("script:not([type])").count() == 2  # the page's own
    assert HOSTILE in page.locator(".context").inner_text()
    page.locator("#utilization").focus()
    page.keyboard.press("ArrowRight")
    assert "<script>" in page.locator("#utilization .tip").inner_text()


def test_without_timelines_or_script_the_figures_are_there(browser: Any, tmp_path: Path) -> None:
    made = dataclasses.replace(sample_sizings.sized(), load_tests={})
    file = tmp_path / "plain.html"
    file.write_text(render(made.document(), {}), encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    assert page.locator("#utilization noscript").is_visible()
    assert page.get_by_role("button").count() == 0
    assert page.get_by_text("By instance count").is_visible()
    context.close()


@pytest.mark.parametrize("size, first", [("laptop", False), ("phone", True)])
def test_the_answers_row_comes_first_on_a_phone(opened: Any, size: str, first: bool) -> None:
    page = opened("sized", size)
    chosen = page.locator("section[aria-labelledby^=counts] tbody tr")
    classes = [chosen.nth(index).get_attribute("class") for index in range(chosen.count())]
    assert classes.count("chosen") == 1
    assert (classes[0] == "chosen") is first
    page.set_viewport_size(SIZES["laptop"])
    playwright.expect(chosen.first).not_to_have_class("chosen")  # waits until it is so
