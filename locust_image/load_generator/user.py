"""The user class that sends requests to the endpoint, and the shape that runs one a worker."""

from __future__ import annotations

from locust import LoadTestShape, User, task

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
        worker.current().run(self.check if defined else None)


class OneUserPerWorker(LoadTestShape):
    """As many users as workers, for as long as the leader runs the test."""

    def tick(self) -> tuple[int, float]:
        """The number of users, and how many a second to start."""
        assert self.runner is not None
        options = self.runner.environment.parsed_options
        assert options is not None
        workers = int(options.expect_workers)
        return workers, float(workers)
