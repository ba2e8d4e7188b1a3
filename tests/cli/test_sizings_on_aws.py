"""The verbs about sizings of a stack: list, show, report, costs, watch, stop, and size itself."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from endpoint_sizer.__main__ import run
from sizing.clean_up.names import sizing_id
from tests.cli.made_up_aws import REGION, Account, arn, summary
from tests.unit.result import sample_sizings

ROOT = Path(__file__).parents[2]
REQUEST: dict[str, Any] = json.loads((ROOT / "examples" / "distilbert.json").read_text())
SIZED = sample_sizings.sized().document()
Printed = Callable[..., Any]


def copy(document: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {**json.loads(json.dumps(document)), **changes}


@pytest.fixture
def request_file(tmp_path: Path) -> str:
    path = tmp_path / "request.json"
    path.write_text(json.dumps(REQUEST))
    return str(path)


# --- list ----------------------------------------------------------------------------------------


def test_an_empty_stack_lists_nothing(account: Account, printed: Printed) -> None:
    assert printed("list") == {"sizings": []}


def test_it_lists_what_runs_what_ended_and_what_failed(account: Account, printed: Printed) -> None:
    account.execution("running", "RUNNING", request=REQUEST)
    account.execution("ended", request=REQUEST, output={"status": "TARGET_NOT_MET"})
    account.execution("broken", "FAILED", request={"model": 3}, error="InvalidRequest")
    account.execution("none", "ABORTED", request=REQUEST)
    rows = printed("list")["sizings"]
    assert [(each["sizing_id"], each["status"], each["error"]) for each in rows] == [
        (sizing_id(arn("running")), "RUNNING", None),
        (sizing_id(arn("ended")), "TARGET_NOT_MET", None),
        (sizing_id(arn("broken")), "FAILED", "InvalidRequest"),
        (sizing_id(arn("none")), "ABORTED", None),
    ]
    assert rows[0]["finished_at"] is None
    assert rows[0]["target_tps"] == REQUEST["target"]["tps"]
    assert rows[0]["model"] == "distilbert-base-uncased"
    assert len(printed("list", "--limit", "2")["sizings"]) == 2
    [failed] = printed("list", "--status", "FAILED")["sizings"]
    assert failed["error"] == "InvalidRequest"


@pytest.mark.parametrize("name", ["sentiment", "model_package_group/sentiment"])
def test_it_lists_a_model_s_history_by_key_or_name(
    account: Account, printed: Printed, name: str
) -> None:
    key = "model_package_group/sentiment"
    account.remembered(summary("old", key, started_at="2026-11-25T02:00:00Z"))
    account.remembered(summary("new", key, instance_count=4))
    account.remembered(summary("other", "model_package_group/other"))
    rows = printed("list", "--model", name)["sizings"]
    assert [each["instance_count"] for each in rows] == [4, 3]


def test_as_text_a_sizing_is_a_line_with_tabs(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    account.remembered(summary("one", "model_name/mine"))
    assert run(["list", "--model", "mine", "--output", "text"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert line.split("\t")[:3] == [sizing_id(arn("one")), "2026-11-26T02:00:00Z", "SIZED"]


# --- show and report -----------------------------------------------------------------------------


def test_a_result_is_shown_by_id_name_arn_model_and_as_the_latest(
    account: Account, printed: Printed
) -> None:
    this = account.result("one", copy(SIZED))
    account.execution("failing", "RUNNING")
    account.execution("one", request=REQUEST)
    account.remembered(summary("one", "model_name/mine"))
    for named in ([this], ["one"], [arn("one")], ["--latest"], ["--model", "mine"]):
        shown = printed("show", *named)
        assert shown["sizing"]["id"] == this
        assert shown["recommendation"] == SIZED["recommendation"]


def test_for_people_it_says_the_answer_and_where_it_is(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    this = account.result("one", copy(SIZED))
    assert run(["show", this]) == 0
    said = capsys.readouterr().out
    assert f"s3://results/sizings/{this}/result.json" in said
    assert "requests per second" in said
    assert run(["show", this, "--output", "text"]) == 0
    assert capsys.readouterr().out.startswith(f"{this}\tSIZED\t")


@pytest.mark.parametrize("verb", ["show", "report"])
@pytest.mark.parametrize(
    "named, said",
    [
        (["0123456789ab"], "sizing 0123456789ab has no re"),
        (["--latest"], "stack endpoint-sizer has no sizing with a result yet"),
        (["--model", "unheard-of"], "--model unheard-of: no sizing of it has ended"),
        ([], "name one of ID, --model and --latest"),
        (["0123456789ab", "--latest"], "name one of ID, --model and --latest"),
    ],
)
def test_what_is_not_there_is_wrong_use(
    account: Account, capsys: pytest.CaptureFixture[str], verb: str, named: list[str], said: str
) -> None:
    assert run([verb, *named]) == 64
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.count("\n") == 1


def test_a_report_is_saved_where_nobody_watches(
    account: Account, printed: Printed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    this = account.result("one", copy(SIZED))
    said = printed("report", this)
    assert said == {"sizing_id": this, "path": f"report-{this}.html", "opened": False}
    assert (tmp_path / said["path"]).read_text() == "<html>"
    assert printed("report", this, "--out", "mine.html")["path"] == "mine.html"
    assert (tmp_path / "mine.html").exists()


def test_a_report_is_opened_in_a_terminal(
    account: Account, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    opened: list[str] = []
    monkeypatch.setattr("click.launch", lambda url: opened.append(url) or 0)
    this = account.result("one", copy(SIZED))
    assert run(["report", this]) == 0
    assert opened == [(tmp_path / f"report-{this}.html").as_uri()]


def test_a_model_s_history_is_one_page(
    account: Account, printed: Printed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    key = "model_package_group/sentiment"
    account.remembered(summary("old", key, started_at="2026-11-25T02:00:00Z", instance_count=9))
    account.remembered(summary("new", key))
    said = printed("report", "--model", "sentiment", "--history")
    this = sizing_id(arn("new"))
    assert said == {"sizing_id": this, "path": f"history-{this}.html", "opened": False}
    page = (tmp_path / said["path"]).read_text()
    assert "9 x ml.m5.xlarge" in page
    assert "3 x ml.m5.xlarge for 1,000 requests per second" in page


def test_a_history_is_a_model_s(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "--latest", "--history"]) == 64
    assert capsys.readouterr().err.strip().endswith("--history: needs --model")


# --- costs ---------------------------------------------------------------------------------------


def test_costs_are_summed_by_model_since_a_date(account: Account, printed: Printed) -> None:
    account.remembered(summary("a", "model_name/a"))
    account.remembered(summary("b", "model_name/a", started_at="2026-11-25T02:00:00Z"))
    account.remembered(summary("c", "model_name/b", status="FAILED", sizing_cost_usd=0.25))
    account.remembered(summary("d", "model_name/b", sizing_cost_usd=None))
    account.remembered(summary("e", "model_name/b", started_at="2026-10-01T02:00:00Z"))
    said = printed("costs", "--since", "2026-11-01")
    assert (said["cost_usd"], said["sizings"], said["unknown"]) == (3.25, 3, 1)
    assert [(each["model_key"], each["cost_usd"]) for each in said["models"]] == [
        ("model_name/a", 3.0),
        ("model_name/b", 0.25),
    ]


@pytest.mark.parametrize("given", ["yesterday", "0d", "-1d", "2026-13-01", "d"])
def test_a_time_that_is_none_is_wrong_use(
    account: Account, capsys: pytest.CaptureFixture[str], given: str
) -> None:
    assert run(["costs", "--since", given]) == 64
    assert "is neither a date (2026-11-30) nor days (7d)" in capsys.readouterr().err


# --- size ----------------------------------------------------------------------------------------


def ends(account: Account, document: dict[str, Any] | None, status: str = "SUCCEEDED") -> None:
    """Let the sizing that is started end when it is looked at."""

    def end(this: str) -> None:
        if document is not None:
            account.result(this.rpartition(":")[2], copy(document))
        account.executions[this] |= {"status": status}

    account.on_look = end


def test_a_sizing_is_started_followed_and_saved(
    account: Account, printed: Printed, request_file: str, tmp_path: Path
) -> None:
    ends(account, SIZED)
    said = printed("size", request_file, "--out", str(tmp_path / "out"))
    [started] = account.called("StartExecution")
    assert json.loads(started["input"]) == REQUEST
    assert said["sizing"]["id"] == sizing_id(arn(started["name"]))
    assert json.loads((tmp_path / "out" / "result.json").read_text()) == said
    assert (tmp_path / "out" / "report.html").read_text() == "<html>"


def test_detached_it_only_says_which(account: Account, printed: Printed, request_file: str) -> None:
    said = printed("size", request_file, "--detach", schema="size --detach")
    assert said["execution_arn"] in account.executions
    assert said["status"] == "RUNNING"


@pytest.mark.parametrize(
    "document, status, code, said",
    [
        (sample_sizings.target_not_met().document(), "SUCCEEDED", 2, "Target not met"),
        (sample_sizings.failed().document(), "FAILED", 1, "error: "),
        (None, "ABORTED", 1, "error: ABORTED"),
        (None, "TIMED_OUT", 1, "error: TIMED_OUT"),
    ],
)
def test_exit_codes_are_those_of_the_local_run(
    account: Account,
    capsys: pytest.CaptureFixture[str],
    request_file: str,
    tmp_path: Path,
    document: dict[str, Any] | None,
    status: str,
    code: int,
    said: str,
) -> None:
    ends(account, document, status)
    assert run(["size", request_file, "--out", str(tmp_path / "out")]) == code
    errors = capsys.readouterr().err
    assert errors.startswith(said)
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    "options, said",
    [
        (["--max-count", "1"], "instances are needed, --max-count is 1"),
        (["--max-cost", "0.01"], "--max-cost is $0.01"),
        (["--fail-on", "regressed"], "regressed since 0123456789ab"),
    ],
)
def test_a_gate_that_an_answer_does_not_pass_is_3(
    account: Account,
    capsys: pytest.CaptureFixture[str],
    request_file: str,
    tmp_path: Path,
    options: list[str],
    said: str,
) -> None:
    previous = {
        **dict.fromkeys(("package_version", "result_uri", "instance_type", "instance_count")),
        **dict.fromkeys(("hourly_cost_usd", "model_latency_p99_ms")),
        "sizing_id": "0123456789ab",
        "status": "SIZED",
        "finished_at": "2026-11-25T02:00:00Z",
        "tps_per_instance_at_band_middle": 100.0,
    }
    change = {"kind": "regressed", "previous": previous, "what": []}
    ends(account, copy(SIZED, change=change))
    arguments = ["size", request_file, "--out", str(tmp_path / "out")]
    assert run([*arguments, *options]) == 3
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.count("\n") == 1
    assert run([*arguments, "--max-count", "100", "--max-cost", "1000"]) == 0
    assert run([*arguments, "--fail-on", "improved,changed"]) == 0


@pytest.mark.parametrize(
    "options, said",
    [
        (["--fail-on", "worse"], "'worse' is not one of regressed, changed, improved."),
        (["--max-count", "0"], "--max-count"),
        (["--detach", "--max-count", "3"], "--detach does not wait"),
        (["--local", "--detach"], "--local sizes on this machine"),
        (["--local", "--region", "eu-west-1"], "--local sizes on this machine"),
        (["--local", "--fail-on", "regressed"], "--fail-on needs --against RESULT"),
        (["--against", "nowhere.json", "--fail-on", "regressed"], "nowhere.json: no such file"),
        (["--stack-name", "other"], "--stack-name other: there is no such stack in eu-central-1"),
        (["--profile", "nobody"], "--profile: The config profile (nobody) could not be found"),
    ],
)
def test_what_can_t_be_is_told_before_anything_starts(
    account: Account,
    capsys: pytest.CaptureFixture[str],
    request_file: str,
    options: list[str],
    said: str,
) -> None:
    assert run(["size", request_file, *options]) == 64
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.count("\n") == 1
    assert not account.called("StartExecution")


def interrupt(account: Account, number: signal.Signals) -> None:
    """Let a signal come while the sizing is looked at."""

    def look(_arn: str) -> None:
        account.on_look = lambda _arn: None
        os.kill(os.getpid(), number)

    account.on_look = look


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_the_sizing_and_says_so(
    account: Account,
    capsys: pytest.CaptureFixture[str],
    request_file: str,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    interrupt(account, number)
    assert run(["size", request_file, "--out", str(tmp_path / "out")]) == 130
    [(this, execution)] = account.executions.items()
    assert execution["status"] == "ABORTED"
    assert capsys.readouterr().err == (
        f"interrupted: sizing {sizing_id(this)} is stopped; the stack removes what it created, and "
        "sends a message when that is done\n"
    )


def test_a_terminal_that_goes_away_lets_it_go_on(
    account: Account, capsys: pytest.CaptureFixture[str], request_file: str, tmp_path: Path
) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may ignore it
    try:
        interrupt(account, signal.SIGHUP)
        assert run(["size", request_file, "--out", str(tmp_path / "out")]) == 130
    finally:
        signal.signal(signal.SIGHUP, before)
    [execution] = account.executions.values()
    assert execution["status"] == "RUNNING"
    assert "goes on; endpoint-sizer watch" in capsys.readouterr().err


def test_one_that_can_t_be_stopped_is_said_to_go_on(
    account: Account, capsys: pytest.CaptureFixture[str], request_file: str, tmp_path: Path
) -> None:
    account.refusals["StopExecution"] = "AccessDeniedException"
    interrupt(account, signal.SIGINT)
    assert run(["size", request_file, "--out", str(tmp_path / "out")]) == 130
    errors = capsys.readouterr().err
    assert "it could not be stopped" in errors
    assert "goes on; endpoint-sizer watch" in errors


def test_one_that_can_t_be_followed_any_longer_is_said_to_go_on(
    account: Account, capsys: pytest.CaptureFixture[str], request_file: str, tmp_path: Path
) -> None:
    account.refusals["DescribeExecution"] = "ExpiredTokenException"
    assert run(["size", request_file, "--out", str(tmp_path / "out")]) == 1
    errors = capsys.readouterr().err
    assert "ExpiredTokenException" in errors
    assert "goes on; endpoint-sizer watch" in errors


# --- watch and stop ------------------------------------------------------------------------------


def test_watching_ends_as_the_sizing_does(account: Account, printed: Printed) -> None:
    account.execution("one", "RUNNING", request=REQUEST)
    this = sizing_id(arn("one"))
    account.on_look = lambda seen: (
        len(account.called("DescribeExecution")) > 2 and ends(account, SIZED)
    )
    assert printed("watch", this)["sizing"]["id"] == this
    assert printed("watch", "one")["sizing"]["id"] == this  # it has ended long ago


def test_ctrl_c_only_ends_the_watching(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    this = account.execution("one", "RUNNING", request=REQUEST)
    looks: list[str] = []

    def look(_arn: str) -> None:
        looks.append(_arn)
        if len(looks) == 2:  # the first is before the watching
            os.kill(os.getpid(), signal.SIGINT)

    account.on_look = look
    assert run(["watch", "one"]) == 130
    assert account.executions[this]["status"] == "RUNNING"
    assert capsys.readouterr().err.startswith(
        f"interrupted: sizing {sizing_id(this)} goes on; endpoint-sizer watch"
    )


def test_what_runs_can_be_stopped_once(
    account: Account, printed: Printed, capsys: pytest.CaptureFixture[str]
) -> None:
    this = account.execution("one", "RUNNING", request=REQUEST)
    assert printed("stop", "one") == {
        "sizing_id": sizing_id(this),
        "execution_arn": this,
        "status": "ABORTED",
    }
    assert account.executions[this]["status"] == "ABORTED"
    assert run(["stop", sizing_id(this)]) == 64
    assert "does not run: it is ABORTED" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["watch", "stop"])
def test_what_is_unheard_of_is_neither_watched_nor_stopped(
    account: Account, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    for named in ("0123456789ab", "nothing", arn("nothing")):
        assert run([verb, named]) == 64
        assert capsys.readouterr().err.count("\n") == 1


# --- The stack -----------------------------------------------------------------------------------


def test_what_aws_refuses_is_told_in_one_line(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    account.refusals["ListExecutions"] = "AccessDeniedException"
    assert run(["list"]) == 1
    assert capsys.readouterr().err == (
        "error: An error occurred (AccessDeniedException) when calling the ListExecutions "
        "operation: AccessDeniedException!\n"
    )


def test_a_stack_of_another_version_is_told_of(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    del account.outputs["SizingTableName"]
    assert run(["costs"]) == 1
    assert "has no output SizingTableName" in capsys.readouterr().err


def test_without_a_region_nothing_is_asked(
    account: Account, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_REGION")
    assert run(["list"]) == 64
    assert capsys.readouterr().err == (
        "error: no region: give --region, or set AWS_REGION or the profile's region\n"
    )
    assert run(["list", "--region", REGION]) == 0


def test_the_region_is_the_one_that_the_aws_cli_would_take(
    account: Account, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(*arguments: str) -> str:
        assert run(["list", "--stack-name", "other", *arguments]) == 64
        return capsys.readouterr().err

    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    assert "no such stack in eu-central-1" in said()  # AWS_REGION
    assert "no such stack in eu-west-3" in said("--region", "eu-west-3")
    monkeypatch.delenv("AWS_REGION")
    assert "no such stack in us-west-2" in said()
