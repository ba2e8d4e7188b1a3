"""The leader's side of a load test: says when and how much, books it all, and writes the result."""

from __future__ import annotations

import contextlib
import gc
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import gevent
from locust.runners import MasterRunner

from load_generator import messages, result, saturation, warm_up
from load_generator.clocks import ClockWatch
from load_generator.errors import LoadTestFailed
from load_generator.ledger import Second
from load_generator.limits import ON_TIME, client_limited
from load_generator.locust_events import listen
from load_generator.schedule import StepWindow, step_window
from load_generator.spec import Spec
from load_generator.storage import Storage, StorageError
from load_generator.task import Task
from load_generator.time_source import MACHINE_TIME, TimeSource
from load_generator.user import OneUserPerWorker

if TYPE_CHECKING:
    from locust.env import Environment
    from locust.rpc import Message

log = logging.getLogger(__name__)

#: How far ahead of its start a schedule is sent, seconds.
_AHEAD = 0.3
#: A step is hopeless if more than this fails, percent, or half of its requests take so much of the
#: time-out.
_HOPELESS_ERROR_PERCENT = 20.0
_HOPELESS_LATENCY = 0.9
_POLL = 0.05
#: How often the leader looks whether a worker could not start, seconds.
_LOOK = 1.0
#: How often it looks at AWS's clock, seconds: not a whole number, as that clock shows no fractions.
_CLOCK_LOOK = 7.3


@dataclass(slots=True)
class WorkerState:
    """What the leader knows of a worker."""

    #: Locust's name of it.
    client_id: str
    #: When it was last heard from, as ``TimeSource.monotonic``.
    heard_at: float
    #: Number of its last report.
    sequence: int = 0
    clock: ClockWatch = field(default_factory=ClockWatch)
    #: Requests that it has going; None until it has said so since a drain began.
    outstanding: int | None = None
    #: All seconds before this one have been reported, epoch seconds.
    reported_to: int = 0
    #: It has reported for the last time.
    final: bool = False


class Leader:
    """Conducts one load test."""

    def __init__(
        self, task: Task, spec: Spec, storage: Storage, time: TimeSource = MACHINE_TIME
    ) -> None:
        self._task = task
        self._spec = spec
        self._storage = storage
        self._time = time
        self._test = result.LoadTest.of(spec, time.epoch())
        self._failure: LoadTestFailed | None = None
        self._written = False
        #: Those that are ready.
        self._workers: dict[int, WorkerState] = {}
        self._connected: set[str] = set()
        self._ending = False

    # --- Locust's events and messages -----------------------------------------------------------

    def attach(self, environment: Environment, runner: MasterRunner) -> None:
        """Say where the leader is and wait for the workers; called when Locust listens.

        Raises:
            SystemExit: Not all workers came in time.
        """
        self._environment = environment
        self._runner = runner
        # Whatever ends the leader but a complete test is a failure.
        environment.process_exit_code = 1
        listen(environment.events.worker_connect, self._on_connect)
        listen(environment.events.quitting, self._on_quitting)
        runner.register_message(messages.READY, self._on_ready)
        runner.register_message(messages.REPORT, self._on_report)
        runner.register_message(messages.FAILED, self._on_failed)
        if environment.shape_class is None:
            # Locust leaves LoadTestShape's constructor without types.
            environment.shape_class = OneUserPerWorker()  # type: ignore[no-untyped-call]
            environment.shape_class.runner = runner
        # Locust's shutdown calls it three times, and each takes half a second.
        setattr(runner, "quit", _Once(runner.quit))  # noqa: B010 - a method, for its callers
        self._storage.write(
            "leader.json", result.encode({"host": self._task.host, "port": runner.server.port})
        )
        self._await_connections()
        gevent.spawn(self._run)

    def _await_connections(self) -> None:
        deadline = self._time.monotonic() + self._task.start_timeout
        look = self._time.monotonic()
        while len(self._connected) < self._spec.processes:
            if self._time.monotonic() > look:
                look += _LOOK
                if result.written_since(self._storage, self._test.started_at):
                    self._fail("WorkersMissing", "a worker could not start: see its error")
            if self._time.monotonic() > deadline:
                self._fail(
                    "WorkersMissing",
                    f"{len(self._connected)} of {self._spec.processes} workers connected within "
                    f"{self._task.start_timeout:g} s",
                )
            if self._failure is not None:
                self._end()
                raise SystemExit(1)
            self._time.sleep(_POLL)

    def _on_connect(self, client_id: str, **_: object) -> None:
        if client_id in self._connected or self._ending:
            return
        self._connected.add(client_id)
        if len(self._connected) > self._spec.processes:
            self._fail(
                "WorkersChanged",
                f"a worker joined although all {self._spec.processes} were there: {client_id}",
            )

    def _on_ready(self, msg: Message, **_: object) -> None:
        worker = msg.data["worker"]
        if msg.data["load_test_id"] != self._spec.load_test_id:
            self._fail("WorkersChanged", f"worker {worker} belongs to {msg.data['load_test_id']}")
        elif not 0 <= worker < self._spec.processes or worker in self._workers:
            self._fail("WorkersChanged", f"there is no need for another worker {worker}")
        self._workers[worker] = WorkerState(msg.node_id, self._time.monotonic())
        self._test.cpu_shares[worker] = msg.data["cpu_share"]

    def _on_report(self, msg: Message, **_: object) -> None:
        worker = msg.data["worker"]
        state = self._workers.get(worker)
        if state is None or state.client_id != msg.node_id:
            return
        state.heard_at = self._time.monotonic()
        off = state.clock.saw(msg.data["clock"], self._time.epoch())
        if off is not None:
            self._fail("ClockSkew", f"the clock of worker {worker} is off by {off:+.1f} s")
        state.sequence += 1
        if msg.data["sequence"] != state.sequence:
            self._fail("ReportLost", f"a report of worker {worker} was lost")
        for epoch_second, second in msg.data["seconds"]:
            self._test.ledger.enter(worker, epoch_second, Second.from_message(second))
            state.reported_to = max(state.reported_to, epoch_second + 1)
        state.outstanding = msg.data["outstanding"]
        state.final = state.final or msg.data["final"]

    def _on_failed(self, msg: Message, **_: object) -> None:
        self._fail(msg.data["name"], f"worker {msg.data['worker']}: {msg.data['message']}")

    def _on_quitting(self, **_: object) -> None:
        if not self._written:
            self._fail("Interrupted", "the leader was stopped before the test was over")
            self._write()

    def _fail(self, name: str, message: str) -> None:
        """Note the first failure; the conductor ends the test at its next look."""
        if self._failure is None and not self._written:
            log.error("%s: %s", name, message)
            self._failure = LoadTestFailed(name, message)

    # --- The test -------------------------------------------------------------------------------

    def _run(self) -> None:
        keepers = [gevent.spawn(self._keep_cpu), gevent.spawn(self._keep_clock)]
        try:
            self._await_ready()
            # What is there by now stays: the collector need not look at it during the test.
            gc.collect()
            gc.freeze()
            if self._spec.burst is not None:
                self._warm_up(self._spec.burst.start_concurrency)
                self._burst()
            self._steps()
            self._finish()
        except LoadTestFailed as failure:
            self._failure = self._failure or failure
        except Exception as error:
            log.exception("The leader failed")
            self._fail("LeaderFailed", f"{type(error).__name__}: {error}")
        finally:
            gevent.killall(keepers, block=False)
            self._end()

    def _await_ready(self) -> None:
        deadline = self._time.monotonic() + self._task.start_timeout
        while len(self._workers) < self._spec.processes:
            if self._time.monotonic() > deadline:
                missing = set(range(self._spec.processes)) - self._workers.keys()
                raise LoadTestFailed(
                    "WorkersMissing", f"workers {sorted(missing)} did not get ready"
                )
            self._pause(_POLL)

    def _warm_up(self, concurrency: int) -> None:
        """Keep a few requests going until the endpoint is as quick as it is going to be."""
        settle = self._spec.settle_seconds
        if not settle:
            return
        start = self._time.epoch() + _POLL
        log.info("Warm-up: %d at once", concurrency)
        self._send(messages.HOLD, {"concurrency": concurrency, "start": start, "ramp": 0.5})
        end = math.ceil(start + settle)
        while True:
            self._await_reports(end)
            judgement = warm_up.judge(self._test.ledger.each(math.ceil(start), end))
            if not judgement.wait or end + 1 > start + warm_up.MOST * settle:
                break
            end += 1
        self._test.warm_up = warm_up.WarmUp(end - start, judgement.steady)

    def _burst(self) -> None:
        burst = self._spec.burst
        assert burst is not None
        stages = self._test.stages
        latency: float | None = None
        while (concurrency := saturation.next_concurrency(burst, stages)) is not None:
            start = self._time.epoch() + _POLL
            self._send(messages.HOLD, {"concurrency": concurrency, "start": start, "ramp": 0.5})
            stage = self._stage(concurrency, start, latency)
            latency = stage.figures.latency.percentile_ms(50)
            stages.append(stage)
            log.info(
                "Burst: %d at once, %.1f/s, %.2f %% errors",
                concurrency,
                stage.achieved_tps,
                stage.figures.error_percent,
            )
        self._send(messages.HOLD, {"concurrency": 0, "start": self._time.epoch(), "ramp": 0.0})
        self._drain()

    def _stage(self, concurrency: int, start: float, latency: float | None) -> saturation.Stage:
        """Measure one stage, for longer if its latency turns out to be longer."""
        burst = self._spec.burst
        assert burst is not None
        give_up = start + 2 * self._spec.request_timeout_seconds + burst.stage_seconds
        while True:
            measured_from, end = saturation.measured_seconds(burst, start, latency)
            self._await_reports(end)
            figures = self._test.ledger.between(measured_from, end)
            seen = figures.latency.percentile_ms(50)
            ended = figures.succeeded + figures.failed
            longer = saturation.measured_seconds(burst, start, seen)[1]
            if self._time.epoch() < give_up and ended and longer > end:
                latency = seen
            elif self._time.epoch() < give_up and not ended:
                # Nothing has ended: wait for it twice as long as so far.
                latency = max(1e3, 2 * (latency or 0.0))
            else:
                break
        client = result.client_figures(self._test, measured_from, end, 0.0)
        # A closed loop has no schedule to be late for.
        limited = client_limited(replace(client, lag=ON_TIME, connection_wait=ON_TIME))
        return saturation.Stage(concurrency, measured_from, end, figures, limited)

    def _steps(self) -> None:
        spec = self._spec
        if not spec.steps:
            return
        best = saturation.saturation(self._test.stages)
        if best is None and any(step.saturation_fraction is not None for step in spec.steps):
            errors = [stage.figures.errors for stage in self._test.stages]
            raise LoadTestFailed("NothingSucceeded", f"no request of the burst succeeded: {errors}")
        start = self._time.epoch() + _AHEAD
        for step in spec.steps:
            rate = step.offered_tps
            if step.saturation_fraction is not None:
                assert best is not None
                most = best.achieved_tps * step.saturation_fraction
                if rate is not None and rate > most:
                    continue  # more than is known to be served
                rate = rate or most
            assert rate is not None
            planned = result.Step(rate, step.saturation_fraction, self._window(start))
            self._test.steps.append(planned)
            start = planned.window.steady_end
        if not self._test.steps:
            return
        self._follow(self._test.steps)
        for index in range(len(self._test.steps)):
            # The local run's progress display reads this line.
            log.info("Step %d: %.1f/s", index + 1, self._test.steps[index].offered_tps)
            self._settle_step(index)
            self._watch_step(index)
        self._await_reports(self._test.steps[-1].window.steady_end)
        self._send(messages.FOLLOW, {"plateaus": []})
        self._drain()

    def _window(self, start: float) -> StepWindow:
        return step_window(
            start,
            settle=self._spec.settle_seconds,
            steady=self._spec.steady_seconds,
            period=self._spec.metric_period_seconds,
        )

    def _follow(self, steps: Sequence[result.Step]) -> None:
        plateaus = [[each.start, each.end, each.rate] for each in result.plateaus(steps)]
        self._send(messages.FOLLOW, {"plateaus": plateaus})

    def _settle_step(self, index: int) -> None:
        """Wait for a step's window, and put it off while the endpoint still gets quicker."""
        step = self._test.steps[index]
        settle, period = self._spec.settle_seconds, self._spec.metric_period_seconds
        while True:
            start, end = step.window.start, step.window.steady_start
            self._await_reports(end)
            judgement = warm_up.judge(self._test.ledger.each(math.ceil(start), end))
            if not judgement.wait or end + period > start + warm_up.MOST * settle:
                break
            step.window = replace(
                step.window, steady_start=end + period, steady_end=step.window.steady_end + period
            )
            self._plan(index + 1, step.window.steady_end)
            self._follow(self._test.steps[index:])
        step.warm_up = warm_up.WarmUp(end - start, judgement.steady)

    def _watch_step(self, index: int) -> None:
        """Wait for a step's end; end a hopeless one after a full metric period."""
        step = self._test.steps[index]
        period = self._spec.metric_period_seconds
        looked = step.window.steady_start + period
        while looked < step.window.steady_end:
            self._await_reports(looked)
            figures = self._test.ledger.between(looked - period, looked)
            if self._hopeless(figures):
                log.info("Step %d is ended early: it is hopeless", index + 1)
                step.window = replace(step.window, steady_end=looked)
                # What has queued up would spoil the next step.
                self._send(messages.FOLLOW, {"plateaus": []})
                self._drain()
                self._plan(index + 1, self._time.epoch() + _AHEAD)
                if rest := self._test.steps[index + 1 :]:
                    self._follow(rest)
                return
            looked += period
        self._sleep_until(step.window.steady_end)

    def _plan(self, index: int, start: float) -> None:
        """Plan the steps from ``index`` on, one right after the other."""
        for step in self._test.steps[index:]:
            step.window = self._window(start)
            start = step.window.steady_end

    def _hopeless(self, figures: Second) -> bool:
        ended = figures.succeeded + figures.failed
        if not ended:
            return figures.sent > 0
        median = figures.latency.percentile_ms(50) or 0.0
        return (
            figures.error_percent > _HOPELESS_ERROR_PERCENT
            or median > _HOPELESS_LATENCY * self._spec.request_timeout_seconds * 1e3
        )

    def _drain(self) -> None:
        """Wait until every request has ended."""
        workers = self._workers.values()
        for worker in workers:
            worker.outstanding = None
        deadline = self._time.monotonic() + self._spec.request_timeout_seconds + self._task.lease
        while any(worker.outstanding != 0 for worker in workers):
            if self._time.monotonic() > deadline:
                left = sum(worker.outstanding or 0 for worker in workers)
                raise LoadTestFailed("NotDrained", f"{left} requests did not end")
            self._pause(_POLL)

    def _finish(self) -> None:
        self._ending = True
        self._send(messages.FINISH, {})
        deadline = self._time.monotonic() + self._task.lease
        while silent := self._those(lambda worker: not worker.final):
            if self._time.monotonic() > deadline:
                raise LoadTestFailed("WorkerLost", f"workers {silent} gave no last report")
            self._pause(_POLL)

    # --- Waiting, with an eye on the workers ------------------------------------------------------

    def _await_reports(self, end: int) -> None:
        """Wait until every worker has reported all that happened before ``end``."""
        self._sleep_until(end)
        deadline = self._time.monotonic() + self._task.lease
        while self._those(lambda worker: worker.reported_to < end):
            if self._time.monotonic() > deadline:
                raise LoadTestFailed("ReportLost", f"not every worker reported up to {end}")
            self._pause(_POLL)

    def _sleep_until(self, epoch: float) -> None:
        while (left := epoch - self._time.epoch()) > 0:
            self._pause(min(left, 0.25))

    def _pause(self, seconds: float) -> None:
        before = self._time.monotonic()
        self._time.sleep(seconds)
        if self._failure is not None:
            raise self._failure
        now = self._time.monotonic()
        if now - before > seconds + self._task.lease:
            # The workers have given up on the leader by now.
            raise LoadTestFailed("LeaderLost", f"the leader stood still for {now - before:.1f} s")
        silent = self._those(lambda worker: now - worker.heard_at > self._task.lease)
        if silent:
            raise LoadTestFailed(
                "WorkerLost", f"nothing was heard from workers {silent} for {self._task.lease:g} s"
            )

    def _those(self, which: Callable[[WorkerState], bool]) -> list[int]:
        """The numbers of the workers of which ``which`` holds, in order."""
        return sorted(number for number, worker in self._workers.items() if which(worker))

    def _send(self, message: str, data: dict[str, object]) -> None:
        for worker in self._workers.values():
            self._runner.send_message(message, data, worker.client_id)

    def _keep_cpu(self) -> None:
        before = self._time.cpu()
        while True:
            now = self._time.epoch()
            self._time.sleep(int(now) + 1 - now)
            cpu = self._time.cpu()
            self._test.leader_cpu[int(self._time.epoch()) - 1] = cpu - before
            before = cpu

    def _keep_clock(self) -> None:
        while True:
            self._time.sleep(_CLOCK_LOOK)
            with contextlib.suppress(StorageError):
                self._storage.read("leader.json")

    # --- The end --------------------------------------------------------------------------------

    def _end(self) -> None:
        self._ending = True
        self._write()
        self._runner.quit()

    def ended(self, error: BaseException) -> None:
        """Take note that Locust has ended; nothing is said of it if the test was over."""
        if not self._written:
            self._fail("LeaderFailed", f"Locust ended before the test: {error!r}")
            self._write()

    def interrupt(self) -> None:
        """End the test as failed, from a signal's handler in a greenlet."""
        self._fail("Interrupted", "the leader was told to stop")

    def _write(self) -> None:
        if self._written:
            return
        self._written = True
        failure = None
        if self._failure is not None:
            failure = result.Failure(self._failure.name, str(self._failure))
        self._test.clock = self._storage.clock.offset
        document = result.document(self._test, failure, self._time.epoch())
        try:
            consequence = failure is not None and failure.name in {"Interrupted", "WorkersMissing"}
            if consequence and result.written_since(self._storage, self._test.started_at):
                # A worker that could not start has said why.
                return
            self._storage.write("load_test.json", result.encode(document))
        except StorageError:
            log.exception("load_test.json could not be written")
            return
        if failure is None:
            self._environment.process_exit_code = 0
        saturation_tps = saturation.saturation(self._test.stages)
        log.info(
            "%s; saturation %s; %d steps",
            document["status"],
            f"{saturation_tps.achieved_tps:.1f}/s" if saturation_tps else "not asked for",
            len(self._test.steps),
        )


class _Once:
    """A call that is made once, however often it is asked for."""

    def __init__(self, call: object) -> None:
        self._call = call
        self._called = False

    def __call__(self) -> None:
        if not self._called:
            self._called = True
            assert callable(self._call)
            self._call()
