"""The command as a whole: help, wrong use, completion, signals before anything runs."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

import sizing
from endpoint_sizer.__main__ import run
from endpoint_sizer.commands import endpoint_sizer
from endpoint_sizer.endings import Interrupted, in_good_order

ROOT = Path(__file__).parents[2]
VERBS = sorted(endpoint_sizer.commands)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "cli")}


def process(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """The command, or a program about it, in a process of its own."""
    program = ["-c", code] if code else ["-m", "endpoint_sizer"]
    return subprocess.run(
        [sys.executable, *program, *arguments],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_it_has_the_verbs_it_promises() -> None:
    assert VERBS == [
        "audit",
        "compare",
        "completion",
        "costs",
        "demo",
        "doctor",
        "image",
        "list",
        "local-aws",
        "profile",
        "register",
        "report",
        "schema",
        "serve",
        "show",
        "size",
        "stop",
        "validate",
        "watch",
    ]


@pytest.mark.parametrize("option", ["--help", "-h"])
@pytest.mark.parametrize("verb", [None, *VERBS])
def test_help_has_examples(
    verb: str | None, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([option] if verb is None else [verb, option]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    assert "Examples:\n" in output.out
    assert f"endpoint-sizer {verb or 'demo'}" in output.out
    assert "..." not in output.out.replace("FILE...", "").replace("[ARGS]...", "")


@pytest.mark.parametrize("verb", [None, *VERBS])
def test_help_waits_for_no_library(verb: str | None) -> None:
    done = process(
        code="import sys\n"
        "from endpoint_sizer.__main__ import run\n"
        f"run({[*([verb] if verb else []), '--help']})\n"
        "slow = {'boto3', 'botocore', 'locust', 'gevent', 'moto', 'pydantic', 'rich'}\n"
        "print('slow:', *sorted(slow & set(sys.modules)))\n"
    )
    assert done.stdout.splitlines()[-1] == "slow:"


def test_its_version_is_the_project_s() -> None:
    installed = process("--version").stdout
    assert installed == f"endpoint-sizer {sizing.__version__}\n", "run make install"


def test_without_a_verb_it_shows_its_help_and_is_wrong_use(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run([]) == 64
    output = capsys.readouterr()
    assert "Commands:" in output.out
    assert output.err == "error: a command is missing (see endpoint-sizer --help)\n"


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["--frobnicate"], "No such option '--frobnicate'"),
        (["size"], "Missing argument 'REQUEST'"),
        (["size", "a", "b", "--local"], "unexpected extra argument (b)"),
        (["size", "a", "--out"], "'--out' requires an argument"),
        (["validate"], "Missing argument 'FILE...'"),
        (["completion", "tcsh"], "'tcsh' is not one of 'bash', 'zsh', 'fish'"),
    ],
)
def test_wrong_use_is_one_line_and_64(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 64
    output = capsys.readouterr()
    assert output.out == ""
    assert re.fullmatch(rf"error: .*{re.escape(said)}.*\n", output.err)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_ask_the_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    assert f"_ENDPOINT_SIZER_COMPLETE={shell}_complete" in capsys.readouterr().out


def test_it_completes_verbs_and_options() -> None:
    def completed(words: str) -> list[str]:
        asked = {
            "_ENDPOINT_SIZER_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split(" ")) - 1),
        }
        done = subprocess.run(
            [sys.executable, "-m", "endpoint_sizer"],
            env={**ENVIRONMENT, **asked},
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
        return done.stdout.split()

    assert completed("endpoint-sizer s") == [
        f"plain,{verb}" for verb in ("schema", "serve", "show", "size", "stop")
    ]
    assert "plain,--models" in completed("endpoint-sizer size --")


def test_a_reader_that_goes_away_is_told_of_in_one_line() -> None:
    command = subprocess.Popen(
        [sys.executable, "-m", "endpoint_sizer", "schema"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with command:
        assert command.stdout is not None
        command.stdout.close()
        assert command.stderr is not None
        assert command.stderr.read() == "error: whoever read the output has gone\n"
    assert command.returncode == 1


def test_without_any_output_it_still_works() -> None:
    done = subprocess.run(
        ["sh", "-c", f"{shlex.quote(sys.executable)} -m endpoint_sizer schema >&-"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_a_terminal_can_t_write_is_no_error(encoding: str) -> None:
    code = "import endpoint_sizer.__main__ as it; it.run = lambda _: print('\\u2713', flush=True)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code} or 0; it.main()"],
        env={**ENVIRONMENT, "PYTHONIOENCODING": encoding},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "?"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_anything_runs_ends_it_in_one_line(number: signal.Signals) -> None:
    done = process(
        # Whoever runs the tests by nohup has SIGHUP ignored, and so has what they start.
        code="import os, signal, endpoint_sizer.__main__ as command\n"
        f"signal.signal({int(number)}, signal.SIG_DFL)\n"
        f"command.run = lambda _: os.kill(os.getpid(), {int(number)})\n"
        "command.main()\n"
    )
    assert (done.returncode, done.stderr) == (130, "interrupted: nothing is left running\n")


def test_the_first_signal_ends_it_in_good_order_and_the_second_at_once() -> None:
    done = process(
        code="import os, signal\n"
        "from endpoint_sizer.endings import Interrupted, in_good_order\n"
        "with in_good_order():\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    except Interrupted:\n"
        "        print('cleaning up', flush=True)\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        print('never reached', flush=True)\n"
    )
    assert done.returncode == 130
    assert done.stdout == "cleaning up\n"
    assert done.stderr == "interrupted: nothing is left running\n"


def test_what_breaks_on_the_way_out_is_not_what_is_told() -> None:
    def ends(stack: ExitStack) -> None:
        stack.callback(stop)
        os.kill(os.getpid(), signal.SIGTERM)

    def stop() -> None:
        raise RuntimeError("a child that the signal met too")

    with pytest.raises(Interrupted), in_good_order(), ExitStack() as stack:
        ends(stack)


def test_what_breaks_without_a_signal_is_told() -> None:
    with pytest.raises(RuntimeError, match="of its own"), in_good_order():
        raise RuntimeError("of its own")


def test_who_asked_for_no_hang_up_gets_none() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with in_good_order():
            os.kill(os.getpid(), signal.SIGHUP)
            with pytest.raises(Interrupted):
                os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
