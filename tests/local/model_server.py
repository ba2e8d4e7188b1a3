"""A model server for tests, of the standard library alone: what a body asks for, it does.

Run as ``python -IS model_server.py [PORT]``; without a port it listens where SageMaker would have
it listen. Its environment may ask for more: ``PINGS=never`` has it answer none, ``CHILD=1`` has it
start a child that hears no SIGTERM, ``EXIT=3`` has it end at once.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_CHILD = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(503 if os.environ.get("PINGS") == "never" else 200, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = json.loads(body)
        if asked.get("die"):
            os._exit(7)
        if "burn_cpu_seconds" in asked:
            while time.process_time() < asked["burn_cpu_seconds"]:
                pass
        if "wait_for" in asked:  # until somebody writes such a file
            while not os.path.exists(asked["wait_for"]):  # noqa: PTH110 - imports little
                time.sleep(0.01)
        told = {
            "pid": os.getpid(),
            "child": CHILD and CHILD.pid,
            "cores": sorted(os.sched_getaffinity(0)),
            "folder": os.getcwd(),  # noqa: PTH109 - imports little
            "environment": dict(os.environ),
            "headers": dict(self.headers),
            "path": self.path,
            "cpu_seconds": time.process_time(),
        }
        self._answer(asked.get("status", 200), json.dumps(told).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.told+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


if "EXIT" in os.environ:
    sys.exit(f"no model to be found, ends with {os.environ['EXIT']}")
CHILD = None
if "CHILD" in os.environ:
    CHILD = subprocess.Popen([sys.executable, "-c", _CHILD])
signal.signal(signal.SIGINT, signal.SIG_IGN)
port = int(sys.argv[1] if len(sys.argv) > 1 else os.environ["SAGEMAKER_BIND_TO_PORT"])
ThreadingHTTPServer(("127.0.0.1", port), _Handler).serve_forever()
