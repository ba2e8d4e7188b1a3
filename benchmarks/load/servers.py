"""The servers that the load generator is measured against."""

from __future__ import annotations

import asyncio
import math
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import cast

from benchmarks.load.certificate import write_certificate

BODY = b'[{"label":"POSITIVE","score":0.9998}]'
#: The server that stalls: so long in every so many seconds, with this time of service else.
STALL_SECONDS = 1.0
STALL_EVERY_SECONDS = 10.0
SERVICE_SECONDS = 0.005

_NGINX = """
worker_processes 1; daemon off; pid {directory}/pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600;
  client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
  fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi;
  scgi_temp_path {directory}/scgi;
  server {{
    listen 127.0.0.1:{http} backlog=4096; listen 127.0.0.1:{https} ssl backlog=4096;
    ssl_certificate {directory}/certificate.pem; ssl_certificate_key {directory}/key.pem;
    location / {{
      default_type application/json;
      add_header x-amzn-RequestId $request_id;
      add_header x-Amzn-Invoked-Production-Variant AllTraffic;
      return 200 '{body}';
    }}
  }}
}}
"""


def truth_of_stall_p99_ms() -> float:
    """The 99th percentile of latency that evenly spaced requests find at the stalling server.

    A request that comes u seconds before the end of a stall waits u, all others do not, so a share
    (s - x) / e of all requests waits longer than x, with stalls of s in every e seconds. One in a
    hundred waits longer than s - e / 100.
    """
    return (STALL_SECONDS - STALL_EVERY_SECONDS / 100 + SERVICE_SECONDS) * 1e3


class BenchmarkServer:
    """A fast server on a core of its own, HTTP and HTTPS; a context manager."""

    def __init__(self, *, core: int | None, stalling: bool = False) -> None:
        self._directory = tempfile.TemporaryDirectory()
        directory = Path(self._directory.name)
        self.certificate = directory / "certificate.pem"
        write_certificate(self.certificate, directory / "key.pem")
        http, https = _free_ports(2)
        self.http = f"http://localhost:{http}"
        self.https = f"https://localhost:{https}"
        nginx = (
            None if stalling else shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        )
        pin = ["taskset", "-c", str(core)] if core is not None else []
        if nginx is not None:
            self.name = "nginx"
            (directory / "nginx.conf").write_text(
                _NGINX.format(directory=directory, http=http, https=https, body=BODY.decode())
            )
            command = [nginx, "-p", str(directory), "-c", str(directory / "nginx.conf")]
        else:
            self.name = "a server of our own (uvloop)"
            command = [
                *(sys.executable, "-m", "benchmarks.load.servers", str(directory)),
                *(str(http), str(https), "stalling" if stalling else "steady"),
            ]
        self._process = subprocess.Popen([*pin, *command], stdin=subprocess.DEVNULL)
        for port in (http, https):
            _await_port(port)

    def __enter__(self) -> BenchmarkServer:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _tb: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait()
        self._directory.cleanup()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _await_port(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


class _Protocol(asyncio.Protocol):
    """Answers each request with the same bytes: at once, or as the stalling server would."""

    _ANSWER = (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        b"x-Amzn-Invoked-Production-Variant: AllTraffic\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
    )

    def __init__(self, *, stalling: bool) -> None:
        self._stalling = stalling
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are of no asyncio class.
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        if len(body) < length:
            return
        self._received = body[length:]
        if not self._stalling:
            self._transport.write(self._ANSWER)
            return
        into = time.time() % STALL_EVERY_SECONDS
        delay = SERVICE_SECONDS + max(0.0, STALL_SECONDS - into)
        asyncio.get_running_loop().call_later(delay, self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(self._ANSWER)


async def _serve(directory: Path, http: int, https: int, *, stalling: bool) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(directory / "certificate.pem", directory / "key.pem")
    loop = asyncio.get_running_loop()
    for port, context in ((http, None), (https, tls)):
        await loop.create_server(
            lambda: _Protocol(stalling=stalling), "127.0.0.1", port, ssl=context, backlog=4096
        )
    await asyncio.sleep(math.inf)


if __name__ == "__main__":
    import uvloop

    uvloop.run(
        _serve(
            Path(sys.argv[1]),
            int(sys.argv[2]),
            int(sys.argv[3]),
            stalling=sys.argv[4] == "stalling",
        )
    )
