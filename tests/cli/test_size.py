"""``endpoint-sizer size`` and ``demo``: what is refused, what is written, and how it ends."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from endpoint_sizer import files
from endpoint_sizer.__main__ import run
from endpoint_sizer.endings import Interrupted, WrongUse
from local.size.outcome import Outcome
from local.size.progress import Progress
from sizing.result.failure import failure
from sizing.result.result import Result, SizingFacts
from sizing.search.answer import Status
from tests.unit.local.sizing_events import live, started

ROOT = Path(__file__).parents[2]
REQUEST: dict[str, Any] = json.loads((ROOT / "examples" / "distilbert.json").read_text())


def with_request(folder: Path, **changes: Any) -> list[str]:
    path = folder / "request.json"
    path.write_text(json.dumps({**REQUEST, **changes}))
    return ["size", str(path), "--local", "--out", str(folder / "out")]


# --- Refused before anything is started -----------------------------------------------------------


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"colour": "red"}, "colour: unknown field; allowed here: "),
        ({"target": {"tps": -5}}, "target.tps: must be greater than 0, got -5"),
        ({"instance_types": ["m5.large"]}, "instance_types.0: must be a SageMaker instance type"),
        (
            {"target": {"tps": 5, "utilization_percent": {"min": 70, "max": 60}}},
            "target.utilization_percent: min (70) must be less than max (60)",
        ),
        ({"model": {"model_name": "unheard-of"}}, "model.model_name: model 'unheard-of' is not in"),
        ({"model": {"model_package_group": "group"}}, "model.model_package_group: "),
    ],
)
def test_a_request_in_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], named: str
) -> None:
    assert run(with_request(tmp_path, **changes)) == 64
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: {tmp_path}/request.json: {named}")
    assert said.err.count("\n") == 1
    assert not (tmp_path / "out" / "logs").exists()


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["{tmp}/missing.json"], "missing.json: no such file"),
        (["{tmp}"], "is a directory"),
        (["{tmp}/text.json"], "text.json: not JSON"),
        (["{tmp}/binary.json"], "binary.json: not JSON"),
        (["{request}", "--models", "{tmp}/missing.yaml"], "missing.yaml"),
        (["{request}", "--models", "{tmp}/text.json"], "text.json"),
        (["{request}", "--models", "{tmp}/month.yaml"], "month.yaml: not YAML: month must be in"),
        (["{request}", "--models", "{tmp}/deep.yaml"], "deep.yaml: not YAML: it is nested too"),
        (["{request}", "--models", "/dev/zero"], "/dev/zero: has more than 1,048,576 bytes"),
        (["{request}", "--models", "{tmp}"], "Is a directory"),
        (["{request}", "--out", "{tmp}/text.json"], "--out"),
        (["{request}", "--out", "{tmp}/text.json/out"], "--out"),
        (["{request}", "--out", "/proc/none"], "--out"),
        (["{request}", "--out", "{tmp}/taken"], "taken: result.json there is a directory"),
    ],
)
def test_files_in_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    (tmp_path / "text.json").write_text("{not json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "month.yaml").write_text("a: 2026-13-01")
    (tmp_path / "deep.yaml").write_text("- " * 10_000)
    (tmp_path / "taken" / "result.json").mkdir(parents=True)
    places = {"tmp": str(tmp_path), "request": with_request(tmp_path)[1]}
    assert run(["size", "--local", *(each.format(**places) for each in arguments)]) == 64
    errors = capsys.readouterr().err
    assert said in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    "content, said",
    [
        (b" " * 262_145, "has more than 262,144 bytes"),
        (b'{"model": "\xff"}', "not JSON: byte 11 is not UTF-8"),
        (b"\xef\xbb\xbf{}", "not JSON: it begins with a byte order mark"),
        (b"\xff\xfe{\x00", "not JSON: byte 0 is not UTF-8"),
        ("{}".encode("utf-16-le"), "not JSON: "),
        (b"", "not JSON: Expecting value in line 1, column 1"),
        (b'{"a": 1\n}}', "in line 2, column 2"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 50_000, "nested too deeply"),
        (b'{"model": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "nested too deeply"),
        (b'{"target": {"tps": 1, "tps": 1000}}', "tps is written twice in one object"),
        (b'{"x\\ny": 1, "x\\ny": 2}', r"x\ny is written twice"),
        (b'{"target": {"tps": NaN}}', "NaN is no number"),
        (b'{"target": {"tps": -Infinity}}', "-Infinity is no number"),
        (b'{"target": {"tps": ' + b"9" * 5000 + b"}}", "thousands of digits"),
        (b"[]", "request: must be a JSON object, got list"),
        (b"null", "request: must be a JSON object"),
        (b'"text"', "request: must be a JSON object"),
    ],
    ids=range(18),
)
@pytest.mark.parametrize("command", [["validate"], ["size", "--local"]], ids=["validate", "size"])
def test_files_that_mean_harm(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    content: bytes,
    said: str,
) -> None:
    path = tmp_path / "request.json"
    path.write_bytes(content)
    assert run([*command, str(path)]) == 64
    output = capsys.readouterr()
    assert output.out == ""
    assert said in output.err
    assert output.err.count("\n") == 1


def test_no_more_of_a_file_is_read_than_can_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "request.json"
    with path.open("wb") as file:
        file.truncate(100 * 1024**3)  # sparse: takes no room
    assert run(["size", str(path), "--local"]) == 64
    assert "has more than 262,144 bytes" in capsys.readouterr().err


# --- What runs --------------------------------------------------------------------------------

Run = Callable[..., Outcome]


def result_of(status: Status, **fields: Any) -> Result:
    facts = SizingFacts(
        id="0" * 12, started_at=None, finished_at="2026-01-01T00:00:00Z", cost_usd=0.5, load_tests=2
    )
    return Result(status=status, reason="because", sizing=facts, **fields)


@pytest.fixture
def sizing(monkeypatch: pytest.MonkeyPatch) -> Callable[[Run], None]:
    """Put another function in the place of the sizing itself."""
    return lambda run: monkeypatch.setattr("local.size.run.run", run)


def ends(outcome: Outcome) -> Run:
    return lambda *_args, **_named: outcome


@pytest.mark.parametrize(
    "result, error, code, said",
    [
        (result_of(Status.SIZED), None, 0, ""),
        (result_of(Status.DRY_RUN), None, 0, ""),
        (result_of(Status.TARGET_NOT_MET), None, 2, "Target not met: because\n"),
        (
            result_of(Status.FAILED, error=failure("EndpointFailed", "no ping")),
            "EndpointFailed: no ping",
            1,
            "error: EndpointFailed: no ping\n",
        ),
        (
            result_of(Status.SIZED),
            "CleanUpFailed: endpoint/x is left",
            1,
            "error: CleanUpFailed: endpoint/x is left\n",
        ),
        (result_of(Status.FAILED), None, 1, "error: because\n"),
        (
            result_of(Status.FAILED, error=failure("CostLimit", "limits.max_cost_usd: is low")),
            "CostLimit: limits.max_cost_usd: is low",
            64,
            "error: CostLimit: limits.max_cost_usd: is low\n",
        ),
        (
            result_of(Status.FAILED, error=failure("QuotaTooLow", "no")),
            "QuotaTooLow: no",
            1,
            "error: QuotaTooLow: no\n",
        ),
        (None, "States.Runtime: broken", 1, "error: States.Runtime: broken\n"),
        (None, None, 1, "error: the sizing has no result\n"),
    ],
)
def test_exit_codes(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    sizing: Callable[[Run], None],
    result: Result | None,
    error: str | None,
    code: int,
    said: str,
) -> None:
    sizing(ends(Outcome(result, {"result.json": b"{}"} if result else {}, error)))
    assert run(with_request(tmp_path)) == code
    assert capsys.readouterr().err == said
    assert (tmp_path / "out" / "result.json").exists() == (result is not None)


def test_a_fault_of_its_own_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sizing: Callable[[Run], None]
) -> None:
    def broken(*_args: Any, **_named: Any) -> Outcome:
        raise RuntimeError("no port\nis free")

    sizing(broken)
    assert run(with_request(tmp_path)) == 1
    said = capsys.readouterr().err
    assert said == f"error: no port is free (see {tmp_path}/out/logs/error.log)\n"
    assert "Traceback" in (tmp_path / "out" / "logs" / "error.log").read_text()


def test_what_disturbed_it_is_told_whatever_it_ends_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sizing: Callable[[Run], None]
) -> None:
    def disturbed(*_args: Any, **named: Any) -> Outcome:
        progress: Progress = named["progress"]
        progress.handle(started(), now=0.0)
        [view] = progress.load_tests.values()
        progress.leader_said(view, ["Step 1: 1000.0/s"], now=0.0)
        progress.seen(view, live(1000.0, others=seen.pop()))
        return Outcome(result_of(Status.TARGET_NOT_MET), {}, None)

    sizing(disturbed)
    seen = [40.0, 9.0]
    for told in (False, True):
        assert run(with_request(tmp_path)) == 2
        assert ("other programs used 40 % of" in capsys.readouterr().out) is told


def test_the_request_reaches_the_sizing_as_it_was_written(
    tmp_path: Path, sizing: Callable[[Run], None]
) -> None:
    given: list[Any] = []

    def noting(_request: Any, document: Any, **named: Any) -> Outcome:
        given.extend([document, named["models"].models])
        return Outcome(result_of(Status.SIZED), {}, None)

    sizing(noting)
    models = tmp_path / "models.yaml"
    models.write_text("distilbert-base-uncased: {cpu_ms: 1}")
    assert run([*with_request(tmp_path), "--models", str(models)]) == 0
    assert given == [REQUEST, ("distilbert-base-uncased",)]


def test_the_demo_is_the_example(tmp_path: Path, sizing: Callable[[Run], None]) -> None:
    given: list[Any] = []

    def noting(_request: Any, document: Any, **_named: Any) -> Outcome:
        given.append(document)
        return Outcome(result_of(Status.SIZED), {"result.json": b"{}"}, None)

    sizing(noting)
    assert run(["demo", "--out", str(tmp_path / "deep" / "down")]) == 0
    assert given == [REQUEST]
    assert (tmp_path / "deep" / "down" / "result.json").exists()


def test_nothing_of_an_account_s_environment_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizing: Callable[[Run], None]
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    seen: list[str] = []

    def looking(*_args: Any, **_named: Any) -> Outcome:
        seen.extend(name for name in ("AWS_PROFILE", "HTTPS_PROXY") if name in os.environ)
        return Outcome(result_of(Status.SIZED), {}, None)

    sizing(looking)
    assert run(with_request(tmp_path)) == 0
    assert seen == []
    assert os.environ["AWS_PROFILE"] == "production"


# --- The folder it writes to ---------------------------------------------------------------------


@pytest.fixture
def former(tmp_path: Path) -> Path:
    """The folder of a sizing that has ended, with its files."""
    out = tmp_path / "out"
    (out / "logs").mkdir(parents=True)
    for name in ("result.json", "report.html", "notes.txt", "logs/task-00.log"):
        (out / name).write_text("former")
    return out


@pytest.mark.parametrize("end", [Interrupted(), RuntimeError("broken")], ids=["Ctrl-C", "fault"])
def test_what_ends_without_a_result_loses_no_former_one(
    former: Path, sizing: Callable[[Run], None], end: BaseException
) -> None:
    def ending(*_args: Any, **_named: Any) -> Outcome:
        raise end

    sizing(ending)
    assert run(with_request(former.parent)) in (1, 130)
    assert (former / "result.json").read_text() == "former"
    assert (former / "report.html").read_text() == "former"


def test_a_result_takes_the_former_one_s_place(former: Path, sizing: Callable[[Run], None]) -> None:
    files = {"result.json": b"new", "report.html": b"new"}
    sizing(ends(Outcome(result_of(Status.SIZED), files, None)))
    assert run(with_request(former.parent)) == 0
    assert (former / "result.json").read_text() == "new"
    assert (former / "report.html").read_text() == "new"
    assert (former / "notes.txt").read_text() == "former"
    assert not (former / "logs" / "task-00.log").exists()
    assert {each.name for each in former.iterdir()} == {
        "result.json",
        "report.html",
        "notes.txt",
        "logs",
        ".lock",
    }


def test_a_result_without_report_has_no_other_s_beside_it(former: Path) -> None:
    files.replace(former, {"result.json": b"new"})
    assert not (former / "report.html").exists()


def test_a_result_that_can_t_be_written_leaves_the_former_one(
    former: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if "report" in path.name:
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        files.replace(former, {"result.json": b"new", "report.html": b"new"})
    assert (former / "result.json").read_text() == "former"
    assert (former / "report.html").read_text() == "former"


@contextmanager
def holder(out: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that sizes into the same folder, for as long as this lasts."""
    program = (
        "import sys; from pathlib import Path; from endpoint_sizer import files\n"
        "with files.held(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    paths = [str(ROOT), str(ROOT / "cli"), str(ROOT / "functions")]
    with subprocess.Popen(
        [sys.executable, "-c", program, str(out)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_two_sizings_do_not_share_a_folder(
    former: Path, capsys: pytest.CaptureFixture[str], sizing: Callable[[Run], None]
) -> None:
    sizing(ends(Outcome(result_of(Status.SIZED), {"result.json": b"new"}, None)))
    arguments = with_request(former.parent)
    with holder(former) as other:
        (former / "logs" / "task-00.log").write_text("the other's")
        assert run(arguments) == 64
        assert capsys.readouterr().err == (
            f"error: --out {former}: another sizing is running there; wait for its end, or name "
            "another folder\n"
        )
        assert (former / "logs" / "task-00.log").read_text() == "the other's"
        assert run([*arguments[:-1], str(former.parent / "elsewhere")]) == 0
        other.kill()  # without a chance to tidy up
        other.wait()
        assert run(arguments) == 0


def test_a_file_system_without_locks_keeps_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: Any) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with files.held(tmp_path / "out") as logs:
        assert logs == tmp_path / "out" / "logs"


def test_a_folder_that_can_t_be_written_to_is_wrong_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_args: Any, **_named: Any) -> io.TextIOWrapper:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)  # the superuser may write anywhere
    with pytest.raises(WrongUse, match=r"^--out .*: permission denied$"), files.held(tmp_path):
        pass
