"""Calls of boto3 clients in this process, answered by moto in the caller's own thread.

Other processes call moto's server; between two threads of one process a connection, a thread and
two more readings of each header for every call are most of what it takes.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit

from botocore.awsrequest import AWSResponse
from botocore.httpsession import URLLib3Session
from moto.core import responses, utils
from moto.core.botocore_stubber import MockRawResponse
from moto.moto_server.werkzeug_app import DomainDispatcherApplication

from local.patches import Patch

_logger = logging.getLogger(__name__)
_send_over_http = vars(URLLib3Session)["send"]


def patches(application: DomainDispatcherApplication, url: str) -> Iterator[Patch]:
    """What to replace in botocore and moto.

    Args:
        application: The WSGI application of moto's server.
        url: Where that server answers.
    """

    def send(session: Any, request: Any) -> Any:
        if not request.url.startswith(f"{url}/"):
            return _send_over_http(session, request)
        status, headers, body = _answer(application, request)
        return AWSResponse(request.url, status, headers, MockRawResponse(body))

    yield Patch(URLLib3Session, "send", send)
    # For each call moto lists its folder, tries the patterns of all its services, and looks through
    # the members of the class that answers.
    backend = cache(application.get_backend_for_host)
    yield Patch(DomainDispatcherApplication, "get_backend_for_host", lambda _, host: backend(host))
    yield Patch(responses, "method_names_from_class", cache(utils.method_names_from_class))


def _answer(application: Callable[..., Any], request: Any) -> tuple[int, Any, bytes]:
    """Status, headers by name, and body."""
    started: list[Any] = []
    try:
        parts = application(_environ(request), lambda *start: started.extend(start))
        body = b"".join(parts)
        parts.close()
    except Exception:  # whatever is raised there, the server answers with that status
        _logger.exception("%s %s", request.method, request.url)
        return 500, {}, b""
    return int(started[0].partition(" ")[0]), dict(started[1]), body


def _environ(request: Any) -> dict[str, Any]:
    """A request as the server hands it to its application."""
    url = urlsplit(request.url)
    body = request.body or b""
    target = f"{url.path}?{url.query}" if url.query else url.path
    environ: dict[str, Any] = {
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": url.scheme,
        "wsgi.input": body if hasattr(body, "read") else io.BytesIO(_bytes(body)),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote(url.path).encode().decode("latin-1"),
        "QUERY_STRING": url.query,
        "RAW_URI": target,
        "REMOTE_ADDR": url.hostname,
        "SERVER_NAME": url.hostname,
        "SERVER_PORT": str(url.port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": url.netloc,
    }
    for name, value in request.headers.items():
        key = name.upper().replace("-", "_")
        prefix = "" if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_"
        environ[prefix + key] = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    # Chunks are for the wire.
    environ["wsgi.input_terminated"] = environ.pop("HTTP_TRANSFER_ENCODING", None) is not None
    return environ


def _bytes(body: str | bytes | bytearray) -> bytes:
    return body.encode() if isinstance(body, str) else bytes(body)
