"""What a load test sends: requests to the endpoint that the load test's spec.json names.

When, how many and with which payloads is in spec.json; the leader turns it into a schedule that all
workers follow. Put a file of your own in the place of this one to look at answers, or to listen to
Locust's events:

    class Invoke(EndpointUser):
        def check(self, body: bytes) -> str | None:
            return None if b"POSITIVE" in body else "wrong_answer"
"""

from __future__ import annotations

from load_generator.user import EndpointUser, OneUserPerWorker


class Invoke(EndpointUser):
    """Invokes the endpoint: an open loop for the steps, a closed one for the burst."""


class Shape(OneUserPerWorker):
    """One user on each worker; how much they send is the schedule's."""
