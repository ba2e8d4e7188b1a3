"""A worker's side of a load test: runs the engine as the leader says, and reports every second."""

from __future__ import annotations

import gc
import logging
import os
import resource
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import botocore.credentials
import botocore.session
import certifi
import gevent
from gevent.event import Event
from gevent.lock import BoundedSemaphore
from locust.runners import WorkerRunner

from load_generator import invocation, locust_statistics, messages, result, spec
from load_generator.call_engine import CallEngine
from load_generator.engine import Engine, Role
from load_generator.errors import LoadTestFailed
from load_generator.http_engine import HttpEngine, Target
from load_generator.locust_events import fire_requests, has_request_listeners, listen
from load_generator.schedule import Plateau
from load_generator.storage import Storage, StorageError, read_uri
from load_generator.task import Task
from load_generator.time_source import MACHINE_TIME, TimeSource

if TYPE_CHECKING:
    from locust import User
    from locust.env import Environment
    from locust.rpc import Message

log = logging.getLogger(__name__)

#: After the end of a second, when it is reported.
_REPORT_DELAY = 0.03
#: Between reports while requests run out, seconds.
_DRAIN_REPORT = 0.1
#: Files besides connections that a worker may have open.
_OWN_FILES = 128


class Worker:
    """One worker of a load test."""

    def __init__(
        self,
        task: Task,
        specification: spec.Spec,
        storage: Storage,
        session: botocore.session.Session,
        time: TimeSource = MACHINE_TIME,
    ) -> None:
        """Get ready for the leader: payloads, credentials and the endpoint's URL.

        Raises:
            LoadTestFailed: One of them is missing.
        """
        self._task = task
        self._spec = specification
        self._storage = storage
        self._time = time
        self._started_at = time.epoch()
        self._credentials = session.get_credentials()
        if self._credentials is None:
            raise LoadTestFailed("NoCredentials", "no AWS credentials to sign requests with")
        self._payloads = _payloads(task, specification, session)
        client = session.create_client("sagemaker-runtime")
        endpoint = invocation.Endpoint.from_url(
            client.meta.endpoint_url, session.get_config_variable("region")
        )
        self._endpoint = endpoint
        self._signer = invocation.Signer(
            endpoint,
            invocation.invocation_path(specification),
            invocation.invocation_headers(specification),
        )
        self._tls = _tls_context() if endpoint.tls else None
        self._engine: Engine | None = None
        self._failure: LoadTestFailed | None = None
        self._finished = False
        self._listening = False
        #: Set while requests run out: reports are frequent then.
        self._drain = Event()
        self._ended = Event()
        self._heard_at: float | None = None
        self._sequence = 0
        self._reporting = BoundedSemaphore()

    # --- Locust's events and messages -----------------------------------------------------------

    def attach(self, environment: Environment, runner: WorkerRunner) -> None:
        """Listen to the leader; called when Locust has connected to it."""
        self._environment = environment
        self._runner = runner
        # Whatever ends this worker but the leader's FINISH is a failure.
        environment.process_exit_code = 1
        listen(environment.events.heartbeat_received, self._on_heartbeat)
        listen(environment.events.user_error, self._on_user_error)
        runner.register_message(messages.FOLLOW, self._on_follow)
        runner.register_message(messages.HOLD, self._on_hold)
        runner.register_message(messages.FINISH, self._on_finish)
        listen(environment.events.quitting, self._on_quitting)
        # A method, for its callers: Locust only logs what a user's constructor raises.
        setattr(runner, "spawn_users", self._telling_why(runner.spawn_users))  # noqa: B010
        self._heard_at = self._time.monotonic()
        gevent.spawn(self._watch_leader)

    def _on_heartbeat(self, **_: object) -> None:
        self._heard_at = self._time.monotonic()
        if self._engine is not None:
            self._engine.lease_until = self._heard_at + self._task.lease

    def _on_follow(self, msg: Message, **_: object) -> None:
        if self._engine is not None and not self._engine.stopped:
            self._engine.follow([Plateau(*plateau) for plateau in msg.data["plateaus"]])
            self._set_draining(not msg.data["plateaus"])

    def _on_hold(self, msg: Message, **_: object) -> None:
        if self._engine is not None and not self._engine.stopped:
            share = _share(msg.data["concurrency"], self._task.worker, self._spec.processes)
            self._engine.hold(share, start=msg.data["start"], ramp=msg.data["ramp"])
            self._set_draining(msg.data["concurrency"] == 0)

    def _on_quitting(self, **_: object) -> None:
        """A signal, or the leader, ended Locust: unless the test is over, that is a failure."""
        if not self._finished and self._failure is None:
            self._failure = LoadTestFailed("Interrupted", "the worker was stopped before its time")
            self._tell(self._failure)

    def _on_user_error(self, user_instance: User, exception: BaseException, **_: object) -> None:
        """What a class of the user's own raised where nothing else looks after it: on_start."""
        self._user_failed(type(user_instance).__name__, exception)

    def _telling_why(self, spawn: Callable[..., list[User]]) -> Callable[..., list[User]]:
        """``spawn_users`` that tells the leader what kept a user from being made."""

        def spawn_users(counts: dict[str, int], wait: bool = False) -> list[User]:
            try:
                return spawn(counts, wait)
            except Exception as error:
                self._user_failed(", ".join(counts), error)
                raise

        return spawn_users

    def _user_failed(self, user_class: str, error: BaseException) -> None:
        message = f"{user_class}: {type(error).__name__}: {error}"
        # In a greenlet of its own: ending the worker ends this one.
        gevent.spawn(self.fail, LoadTestFailed("UserFailed", message))

    def _set_draining(self, draining: bool) -> None:
        if draining:
            self._drain.set()
        else:
            self._drain.clear()

    def _on_finish(self, **_: object) -> None:
        self._finished = True
        if self._engine is not None and not self._engine.stopped:
            self._report(final=True)
            self._engine.stop()
        self._environment.process_exit_code = 0
        self._ended.set()

    # --- The user's task ------------------------------------------------------------------------

    def invoke(self, check: Callable[[bytes], str | None] | None) -> None:
        """Invoke the endpoint as the leader says until it says that the test is over.

        Called in a Locust user's greenlet.

        Args:
            check: Looks at the body of each success: None if it is right, else the kind of error.
        """
        target = Target(
            host=self._endpoint.host,
            port=self._endpoint.port,
            tls=self._tls,
            signer=self._signer,
            payloads=self._payloads,
            request_timeout=self._spec.request_timeout_seconds,
            max_connections=self._at_once(),
            streaming=self._spec.streaming,
            check=check,
        )
        self._run(lambda role: HttpEngine(role, target, self._frozen_credentials()))

    def call(self, call: Callable[[bytes], int | None]) -> None:
        """Make a user's own calls as the leader says until it says that the test is over.

        Called in a Locust user's greenlet.

        Args:
            call: Sends a payload and waits for the answer: see ``load_generator.call_engine``.
        """
        self._run(
            lambda role: CallEngine(
                role,
                call,
                self._payloads,
                timeout=self._spec.request_timeout_seconds,
                at_once=self._at_once(),
            )
        )

    def _at_once(self) -> int:
        """How many connections this process may have, its own files aside."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return min(self._task.max_connections, max(1, soft - _OWN_FILES))

    def _run(self, make: Callable[[Role], Engine]) -> None:
        self._listening = has_request_listeners(self._environment)
        try:
            if self._engine is not None:
                raise LoadTestFailed("EngineFailed", "a worker runs one user, not several")
            engine = make(
                Role(
                    worker=self._task.worker,
                    workers=self._spec.processes,
                    on_stop=self._on_engine_stop,
                    listening=self._listening,
                    lease=self._task.lease,
                    seed=self._spec.seed if self._spec.arrivals == "poisson" else None,
                    time=self._time,
                )
            )
            self._engine = engine
            engine.warm()
        except LoadTestFailed as error:
            self.fail(error)
            return
        # What is there by now stays: the collector need not look at it while requests run.
        gc.collect()
        gc.freeze()
        engine.lease_until = self._time.monotonic() + self._task.lease
        refresher = gevent.spawn(self._keep_credentials)
        reporter = gevent.spawn(self._keep_reporting)
        reporter.link_exception(self._on_greenlet_died)
        self._send(
            messages.READY,
            {
                "load_test_id": self._spec.load_test_id,
                "cpu_share": self._cpu_share(),
            },
        )
        try:
            self._ended.wait()
        finally:
            gevent.killall([refresher, reporter], block=False)
            if not engine.stopped:
                engine.stop()

    def _cpu_share(self) -> float:
        """The vCPUs that this process may use: one thread, so one at the most."""
        vcpus = self._task.vcpus or self._spec.worker_vcpus
        return min(1.0, vcpus / self._spec.processes_per_worker)

    def _frozen_credentials(self) -> invocation.Credentials:
        assert self._credentials is not None
        frozen = self._credentials.get_frozen_credentials()
        if frozen.access_key is None or frozen.secret_key is None:
            raise LoadTestFailed("NoCredentials", "the AWS credentials have no key")
        return invocation.Credentials(frozen.access_key, frozen.secret_key, frozen.token)

    def _keep_credentials(self) -> None:
        """Sign with the task role's credentials as they are; botocore refreshes them in time."""
        while True:
            self._time.sleep(1)
            try:
                credentials = self._frozen_credentials()
            except Exception:
                # Those at hand go on serving for as long as they are valid.
                log.exception("The credentials could not be refreshed")
                continue
            if isinstance(self._engine, HttpEngine):
                self._engine.credentials = credentials

    # --- Reports --------------------------------------------------------------------------------

    def _keep_reporting(self) -> None:
        while True:
            now = self._time.epoch()
            pause = int(now) + 1 + _REPORT_DELAY - now
            if self._drain.is_set():
                self._time.sleep(min(pause, _DRAIN_REPORT))
            else:
                self._time.wait(self._drain, pause)
            self._report(final=False)

    def _report(self, *, final: bool) -> None:
        """Tell the leader, and Locust's statistics, what has happened since the last report.

        Requests that fall due meanwhile go first: it is done piece by piece.
        """
        engine = self._engine
        assert engine is not None
        with self._reporting:
            seconds = engine.take_seconds(final=final)
            ended = engine.take_ended()
            outstanding = engine.outstanding
            gevent.sleep(0)
            self._sequence += 1
            self._send(
                messages.REPORT,
                {
                    "sequence": self._sequence,
                    "clock": self._time.epoch(),
                    "seconds": [[epoch, second.to_message()] for epoch, second in seconds],
                    "outstanding": outstanding,
                    "final": final,
                },
            )
            gevent.sleep(0)
            if self._listening:
                fire_requests(self._environment, self._spec.endpoint_name, ended)
                return
            for epoch_second, second in seconds:
                locust_statistics.enter(
                    self._environment.stats, self._spec.endpoint_name, epoch_second, second
                )
                gevent.sleep(0)

    def _send(self, message: str, data: dict[str, Any]) -> None:
        self._runner.send_message(message, data | {"worker": self._task.worker})

    # --- Failures -------------------------------------------------------------------------------

    def _watch_leader(self) -> None:
        """Give up when the leader is not heard from, also before the first request."""
        lease = self._task.lease
        while not self._finished:
            self._time.sleep(0.5)
            now = self._time.monotonic()
            if self._heard_at is not None and now - self._heard_at > lease:
                self.fail(
                    LoadTestFailed(
                        "LeaderLost", f"nothing was heard from the leader for {lease:g} s"
                    )
                )
                return

    def _on_engine_stop(self, error: LoadTestFailed) -> None:
        # On the event loop, which must not wait.
        gevent.spawn(self.fail, error)

    def _on_greenlet_died(self, greenlet: gevent.Greenlet[..., Any]) -> None:
        self.fail(LoadTestFailed("EngineFailed", f"the reporter died: {greenlet.exception!r}"))

    def _tell(self, error: LoadTestFailed) -> None:
        self._send(messages.FAILED, {"name": error.name, "message": str(error)})

    def fail(self, error: LoadTestFailed) -> None:
        """End this worker with the reason, and tell the leader, if there is one."""
        if self._failure is not None or self._finished:
            return
        self._failure = error
        log.error("%s: %s", error.name, error)
        if self._engine is not None and not self._engine.stopped:
            self._engine.stop()
        self._tell(error)
        if error.name == "LeaderLost":
            test = result.LoadTest.of(self._spec, self._started_at)
            failure = result.Failure(error.name, str(error))
            result.write_failure(self._storage, test, failure, self._time.epoch())
        self._ended.set()
        # The leader, told of it, ends the test; if it cannot, this worker ends all the same.
        self._time.sleep(0.5)
        self._runner.quit()


def _share(concurrency: int, worker: int, workers: int) -> int:
    """A worker's part of a concurrency; the parts of all workers add up to it."""
    return (concurrency - worker + workers - 1) // workers


def _payloads(
    task: Task, specification: spec.Spec, session: botocore.session.Session
) -> invocation.PayloadSet:
    source = specification.payloads
    try:
        if source.inline is not None:
            payloads = spec.decode_inline(source.inline)
        else:
            assert source.s3_uri is not None
            content = read_uri(source.s3_uri, session)
            payloads = spec.parse_json_lines(content, source=source.s3_uri)
    except (spec.SpecError, StorageError) as error:
        raise LoadTestFailed("InvalidPayloads", str(error)) from error
    return invocation.PayloadSet(payloads, seed=task.worker)


def _tls_context() -> ssl.SSLContext:
    """Verifies certificates and names, with the authorities botocore would use."""
    return ssl.create_default_context(cafile=os.environ.get("AWS_CA_BUNDLE") or certifi.where())


_current: list[Worker] = []


def current() -> Worker:
    """The worker that this process is.

    Raises:
        RuntimeError: The process was not started as a worker of a load test.
    """
    if not _current:
        raise RuntimeError("start the load test with python -m load_generator")
    return _current[0]


def become(worker: Worker) -> None:
    """Make this process's worker known to its users."""
    _current[:] = [worker]
