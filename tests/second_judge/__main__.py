"""``make second-judge``: what emulators that nobody here wrote make of the stack.

The built template is deployed by the real ``sam deploy`` to MiniStack. The same stories happen
there, on the embedded AWS, and on one whose functions run as Lambda runs them; they must come to
the same: executions, states entered, messages. And every JSONata expression gives the same in ours
and in the reference implementation.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from statistics import median
from typing import Any, Final

sys.path[:0] = [str(Path(__file__).parents[2] / root) for root in ("functions", "locust_image")]

import boto3  # noqa: E402

from local import models  # noqa: E402
from local.clients import REGION  # noqa: E402

# They import the functions and the load generator, whose folders are not on the path before.
from tests.second_judge import expressions, readme  # noqa: E402
from tests.second_judge.lambda_runtime import Functions  # noqa: E402
from tests.second_judge.ministack import (  # noqa: E402
    ACCOUNT,
    SecondJudgeError,
    build,
    deploy,
    ministack,
)
from tests.second_judge.shims import LENT, NOT_COMPARED, PATCHED, SHIMS, TEST_SOURCE  # noqa: E402
from tests.second_judge.stories import (  # noqa: E402
    STORIES,
    Side,
    play,
    set_up_and_taken_down,
    subscribe,
)
from tests.statemachine.stack import (  # noqa: E402
    WAIT_SCALE,
    StackUnderTest,
    a_request,
    an_applied_request,
    stack_under_test,
)

Endings = list[dict[str, list[str]]]
_INTERRUPTED: Final = 130


def main() -> int:
    """Run; returns 0 if both sides agree, 1 if not, 130 if interrupted."""
    parser = argparse.ArgumentParser(prog="make second-judge", description=__doc__)
    parser.add_argument("--sam", type=Path, required=True, help="the SAM CLI")
    parser.add_argument("--python", type=Path, required=True, help="of MiniStack's environment")
    parser.add_argument(
        "--lambda-python", type=Path, required=True, help="of an environment as Lambda's"
    )
    parser.add_argument("--node", type=Path, required=True)
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell may start it with the first ignored
        signal.signal(number, signal.default_int_handler)
    logging.disable(logging.ERROR)  # of servers; what goes wrong is in the table
    try:
        with tempfile.TemporaryDirectory() as made:
            return _judge(Path(made), arguments)
    except SecondJudgeError as error:
        print(f"second judge: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: nothing is left running", file=sys.stderr)
        return _INTERRUPTED


def _judge(folder: Path, arguments: argparse.Namespace) -> int:
    clock = _Clock()
    recorded = expressions.Recorded()
    # What functions print on the embedded AWS belongs to nobody here.
    with (
        (folder / "functions.log").open("w") as log,
        redirect_stdout(log),
        stack_under_test(folder) as stack,
    ):
        with recorded.recording():
            package = models.register_package(stack.aws.client("sagemaker"), "model")
            ours = _on_the_embedded_aws(stack, package)
            clock.says("stories on the embedded AWS")
            expressions.let_things_go_wrong(stack)
            clock.says("sizings that go wrong")
        unequal = expressions.compared(stack, recorded, arguments.node)
        number = len(list(expressions.all_expressions(stack)))
        clock.says("expressions in the reference implementation")
        built = build(arguments.sam, folder)
        clock.says("sam build")
        with ministack(arguments.python, folder, **_lent_by(stack)) as url:
            deploy(arguments.sam, built, url)
            clock.says("sam deploy to MiniStack")
            side = _ministack(stack, package, url)
            queue = subscribe(side)
            theirs = [play(story, side, queue) for story in STORIES]
            clock.says("stories on MiniStack")
            followed = readme.follow(side, url, _lent_by(stack), folder)
            clock.says("the README's commands")
        clock.says("end of MiniStack")
    clock.says("end")
    functions = Functions(arguments.sam, arguments.lambda_python, built, folder)
    started = _with_functions_as_on_lambda(functions, folder)
    clock.says("stories with functions as on Lambda")
    differences = _table(ours, {"MiniStack": theirs, "as on Lambda": started})
    differences += _starts(functions)
    differences += _readme(followed)
    inputs = sum(map(len, recorded.inputs.values()))
    print(f"\n{number} expressions on {inputs} inputs: {len(unequal)} differ")
    print(*unequal, sep="\n")
    count = len(SHIMS) + len(PATCHED) + len(LENT)
    print(f"with {count} known gaps of MiniStack filled, and {len(NOT_COMPARED)} not compared")
    return 1 if differences or unequal else 0


def _on_the_embedded_aws(stack: StackUnderTest, package: str) -> Endings:
    schedules = dict(stack.aws.stack.resources("AWS::Scheduler::Schedule"))
    side = Side(
        stack.aws.client, stack, package, "aws.sagemaker", lambda: schedules["NightlySchedule"]
    )
    queue = subscribe(side)
    return [play(story, side, queue) for story in STORIES]


def _ministack(stack: StackUnderTest, package: str, url: str) -> Side:
    session = boto3.session.Session(ACCOUNT, "local", region_name=REGION)

    def client(service: str) -> Any:
        return session.client(service, endpoint_url=url)

    def schedule() -> Mapping[str, Any]:
        found: Mapping[str, Any] = client("scheduler").get_schedule(Name="endpoint-sizer-nightly")
        return found

    stack.aws.tasks.environment["AWS_ENDPOINT_URL_S3"] = url  # where their spec.json is now
    return Side(client, stack, package, TEST_SOURCE, schedule)


def _lent_by(stack: StackUnderTest) -> dict[str, str]:
    """The environment by which MiniStack's functions find what the embedded AWS lends them."""
    urls = {f"AWS_ENDPOINT_URL_{service}": stack.aws.url for service in LENT}
    own = ("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", "AWS_ENDPOINT_URL_PRICING", "EMBEDDED_AWS")
    return {**urls, **{name: os.environ[name] for name in own}, "SFN_WAIT_SCALE": str(WAIT_SCALE)}


def _with_functions_as_on_lambda(functions: Functions, folder: Path) -> Endings:
    inside = folder / "as-on-lambda"
    inside.mkdir()
    with stack_under_test(inside) as stack, functions.in_place_of_handlers():
        package = models.register_package(stack.aws.client("sagemaker"), "model")
        endings = _on_the_embedded_aws(stack, package)
        # What no story comes to.
        stack.run("SizingStateMachine", an_applied_request(stack))
        stack.load_tests(**{".*": "failed"})
        stack.run("SizingStateMachine", a_request(use_history=False))
        set_up_and_taken_down(stack)
    return endings


def _table(ours: Endings, others: Mapping[str, Endings]) -> int:
    """Print what came of each story on all sides; returns how much differs."""
    differences = 0
    for number, (story, here) in enumerate(zip(STORIES, ours, strict=True)):
        print(f"\n{story.title}")
        for what, found in here.items():
            there = {name: endings[number][what] for name, endings in others.items()}
            if all(each == found for each in there.values()):
                told = [each.partition("\n")[0] for each in found]
                print(
                    *(f"  same    {what:9} {each}" for each in told),
                    sep="\n",
                    end="\n" * bool(told),
                )
                continue
            differences += 1
            print(f"  DIFFERS {what}")
            for name, each_found in {"embedded AWS": found, **there}.items():
                for each in each_found or ["nothing"]:
                    print(f"    {name:12} {each}")
    return differences


def _readme(followed: Mapping[str, tuple[int, str]]) -> int:
    """Print how the README's commands ended; returns how many did not well."""
    print("\nthe README's commands, after the deployment")
    for command, (code, said) in followed.items():
        print(f"  {code}  endpoint-sizer {command}")
        if code:
            print(said)
    return sum(code != 0 for code, _ in followed.values())


def _starts(functions: Functions) -> int:
    """Print how soon each function answers; returns how many were never asked."""
    print("\nfunctions as Lambda starts them, on this machine: milliseconds of")
    print(f"  {'':18} {'first calls':>11} {'others':>8} {'calls':>6}")
    for name in sorted(each.partition(".")[0] for each in functions.handlers):
        calls = [each for each in functions.invocations if each.function == name]
        cold, warm = (
            [1000 * each.seconds for each in calls if each.cold is is_cold]
            for is_cold in (True, False)
        )
        shown = [f"{median(each):.0f}" if each else "-" for each in (cold, warm)]
        print(f"  {name:18} {shown[0]:>11} {shown[1]:>8} {len(calls):>6}")
    asked = {each.function for each in functions.invocations}
    missing = {each.partition(".")[0] for each in functions.handlers} - asked
    for name in sorted(missing):
        print(f"  {name} was never asked")
    return len(missing)


class _Clock:
    """Says how long each part took, on standard error."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def says(self, part: str) -> None:
        now = time.monotonic()
        print(f"{now - self._since:6.1f} s  {part}", file=sys.stderr, flush=True)
        self._since = now


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # threads of moto's interpreter still wait, minutes, for what was aborted
