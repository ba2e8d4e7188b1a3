"""The bytes of a request: rendered and signed once for each payload and second.

Signature Version 4 covers the body and ``x-amz-date``, which has a resolution of one second, so all
requests of a payload within a second are byte for byte what signing each of them would give.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from urllib.parse import urlsplit

from load_generator.spec import Payload, Spec

_SERVICE = "sagemaker"
_CONTENT_TYPE = "content-type"
_CUSTOM_ATTRIBUTES = "x-amzn-sagemaker-custom-attributes"
_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Credentials:
    """AWS credentials as they are now; a task role's change during a load test."""

    access_key: str
    secret_key: str
    token: str | None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the requests go. ``host`` and ``port`` are connected to; TLS verifies ``host``."""

    scheme: str
    host: str
    port: int
    path_prefix: str
    region: str

    @classmethod
    def from_url(cls, url: str, region: str) -> Endpoint:
        """The endpoint of a URL such as ``https://runtime.sagemaker.eu-west-1.amazonaws.com``.

        Raises:
            ValueError: Neither http nor https, or without a host.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"the endpoint's URL must be http:// or https:// with a host: {url!r}")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        return cls(parts.scheme, parts.hostname, port, parts.path.rstrip("/"), region)

    @property
    def tls(self) -> bool:
        """Whether requests are encrypted."""
        return self.scheme == "https"

    @property
    def host_header(self) -> str:
        """The ``Host`` header: with the port unless it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


def invocation_headers(spec: Spec) -> dict[str, str]:
    """The headers of ``InvokeEndpoint`` that do not change between requests, by lower-case name."""
    # The stream's own Accept is a header of its own: there, Accept is the event stream's.
    accept = "x-amzn-sagemaker-accept" if spec.streaming else "accept"
    optional = {
        _CUSTOM_ATTRIBUTES: spec.custom_attributes,
        "x-amzn-sagemaker-target-model": spec.target_model,
        "x-amzn-sagemaker-target-variant": spec.target_variant,
    }
    headers = {_CONTENT_TYPE: spec.content_type, accept: spec.accept}
    return headers | {name: value for name, value in optional.items() if value is not None}


def invocation_path(spec: Spec) -> str:
    """The path of ``InvokeEndpoint`` or ``InvokeEndpointWithResponseStream``."""
    operation = "invocations-response-stream" if spec.streaming else "invocations"
    return f"/endpoints/{spec.endpoint_name}/{operation}"


class Signer:
    """Renders signed requests; the signing key is derived once a day and credentials."""

    def __init__(self, endpoint: Endpoint, path: str, headers: dict[str, str]) -> None:
        self._endpoint = endpoint
        self._path = endpoint.path_prefix + path
        self._headers = headers
        self._key: bytes = b""
        self._key_of: tuple[str, Credentials] | None = None

    def render(
        self, payload: PreparedPayload, epoch_second: int, credentials: Credentials
    ) -> bytes:
        """The request's bytes, signed for one second.

        Args:
            payload: What to send.
            epoch_second: The time of signing.
            credentials: What to sign with.
        """
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(epoch_second))
        day = stamp[:8]
        own = {"host": self._endpoint.host_header, "x-amz-date": stamp}
        headers = self._headers | payload.headers | own
        if credentials.token:
            headers["x-amz-security-token"] = credentials.token
        names = sorted(headers)
        signed = ";".join(names)
        canonical_headers = "".join(f"{name}:{' '.join(headers[name].split())}\n" for name in names)
        canonical = f"POST\n{self._path}\n\n{canonical_headers}\n{signed}\n{payload.sha256}"
        scope = f"{day}/{self._endpoint.region}/{_SERVICE}/aws4_request"
        to_sign = (
            f"{_ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        )
        key = self._signing_key(day, credentials)
        signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
        lines = [f"POST {self._path} HTTP/1.1"]
        lines += [f"{name}: {headers[name]}" for name in names]
        lines += [
            f"authorization: {_ALGORITHM} Credential={credentials.access_key}/{scope}, "
            f"SignedHeaders={signed}, Signature={signature}",
            f"content-length: {len(payload.body)}",
            "\r\n",
        ]
        return "\r\n".join(lines).encode() + payload.body

    def _signing_key(self, day: str, credentials: Credentials) -> bytes:
        if self._key_of != (day, credentials):
            key = f"AWS4{credentials.secret_key}".encode()
            for part in (day, self._endpoint.region, _SERVICE, "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key, self._key_of = key, (day, credentials)
        return self._key


class PreparedPayload:
    """A payload and the request it is sent as, for the second it was last sent in."""

    __slots__ = ("body", "headers", "request", "second", "sha256")

    def __init__(self, payload: Payload) -> None:
        self.body = payload.body
        own = {_CONTENT_TYPE: payload.content_type, _CUSTOM_ATTRIBUTES: payload.custom_attributes}
        #: Its own, in the place of the load test's.
        self.headers = {name: value for name, value in own.items() if value is not None}
        self.sha256 = hashlib.sha256(payload.body).hexdigest()
        self.second = -1
        self.request = b""


class PayloadSet:
    """The payloads in the proportion of their weights, in an order of each worker's own."""

    #: Payloads drawn at once: drawing is a hundred times cheaper in bulk.
    _BATCH = 4096

    def __init__(self, payloads: Sequence[Payload], *, seed: int) -> None:
        if not payloads:
            raise ValueError("a payload set needs at least one payload")
        self._payloads = [PreparedPayload(payload) for payload in payloads]
        self._weights = [payload.weight for payload in payloads]
        self._random = Random(seed)
        self._drawn: list[PreparedPayload] = []
        #: The only payload, if there is one alone.
        self.single = self._payloads[0] if len(self._payloads) == 1 else None

    def draw(self) -> PreparedPayload:
        """The next payload to send."""
        if self.single is not None:
            return self.single
        if not self._drawn:
            self._drawn = self._random.choices(self._payloads, self._weights, k=self._BATCH)
        return self._drawn.pop()
