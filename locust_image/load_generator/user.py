"""The user classes that a locustfile derives from, and the shape that runs one on each worker."""

from __future__ import annotations

from locust import LoadTestShape, User, task
from locust.exception import StopUser

from load_generator import worker


class EndpointUser(User):
    """Invokes the endpoint on the leader's schedule: one user sends all requests of its worker.

    A class of your own may look at answers, by defining ``check``.
    """

    abstract = True

    def check(self, body: bytes) -> str | None:
        """Look at the body of a successful answer.

        Called on the event loop for every answer: it must be quick and must not wait. Answers are
        not looked at as long as no class defines it.

        Returns:
            None if it is right, else the kind of error to count it as.
        """
        raise NotImplementedError

    @task
    def invoke(self) -> None:
        """Send requests until the test is over."""
        defined = type(self).check is not EndpointUser.check
        worker.current().invoke(self.check if defined else None)
        raise StopUser


class CallUser(User):
    """Makes calls of its own on the leader's schedule, with any client library.

    Give it a ``call``, and an ``on_start`` that makes the client. Calls run in greenlets, many at
    once. They cost more CPU than an ``EndpointUser``'s requests, so more workers are needed.
    """

    abstract = True

    def call(self, payload: bytes) -> int | None:
        """Send a payload and wait for the answer.

        Returns:
            The size of the answer, bytes, or None.

        Raises:
            CallFailed: The endpoint answered with an error; names its kind.
            Exception: Anything else, which is counted by its class's name. An answer that is
                neither an integer nor None fails the test.
        """
        raise NotImplementedError

    @task
    def make_calls(self) -> None:
        """Make calls until the test is over."""
        worker.current().call(self.call)
        raise StopUser


class OneUserPerWorker(LoadTestShape):
    """As many users as workers, for as long as the leader runs the test."""

    def tick(self) -> tuple[int, float]:
        """The number of users, and how many a second to start."""
        assert self.runner is not None
        options = self.runner.environment.parsed_options
        assert options is not None
        workers = int(options.expect_workers)
        return workers, float(workers)
