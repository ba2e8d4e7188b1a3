"""Locust's events, typed: Locust itself says of none of them what it takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import gevent

from load_generator.engine import Ended

if TYPE_CHECKING:
    from locust.env import Environment
    from locust.event import EventHook

METHOD = "POST"
#: Events fired before the event loop sees to requests again.
_AT_ONCE = 16


def listen(event: EventHook, listener: Callable[..., None]) -> None:
    """Call ``listener`` whenever ``event`` is fired, with the event's keyword arguments."""
    event.add_listener(listener)  # type: ignore[no-untyped-call] # Locust leaves it untyped


def has_request_listeners(environment: Environment) -> bool:
    """Whether anybody besides Locust's own statistics listens to the ``request`` event."""
    return len(environment.events.request._handlers) > 1  # noqa: SLF001 - it has no other way


def fire_requests(environment: Environment, name: str, ended: Sequence[Ended]) -> None:
    """Fire Locust's ``request`` event for each request that ended.

    Listeners take their time: requests that fall due meanwhile go first.
    """
    for number, request in enumerate(ended):
        if number % _AT_ONCE == 0:
            gevent.sleep(0)
        environment.events.request.fire(  # type: ignore[no-untyped-call] # as add_listener
            request_type=METHOD,
            name=name,
            response_time=request.duration * 1e3,
            response_length=request.size,
            exception=request.error,
            context={},
            start_time=request.started_at,
            url=name,
        )
