"""A model server that speaks SageMaker's container contract: Magika behind bare ASGI.

Magika (https://github.com/google/magika) is a small neural network that tells what kind of file
some bytes are. Its 3 MB ONNX model ships in its package and runs on onnxruntime. The body of a
request is a file, the answer is its kind:

    uvicorn server:app
    curl --data-binary @server.py http://127.0.0.1:8000/invocations
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import onnxruntime
from magika import Magika

_Receive = Callable[[], Awaitable[dict[str, Any]]]
_Send = Callable[[dict[str, Any]], Awaitable[None]]

# By itself onnxruntime takes a thread for each core of the machine, even if this process may use
# only one, and threads without work wait by spinning: 45 % of a core at 10 requests a second, where
# the work itself is 8 %. CPUUtilization then says nothing about the load.
_options = onnxruntime.SessionOptions()
_options.intra_op_num_threads = 1
onnxruntime.InferenceSession = partial(onnxruntime.InferenceSession, sess_options=_options)

_magika = Magika()


async def app(scope: dict[str, Any], receive: _Receive, send: _Send) -> None:
    """Answer a request: GET /ping or POST /invocations."""
    asked = (scope.get("method"), scope["path"])
    if asked == ("GET", "/ping"):
        await _answer(send, 200, {})
    elif asked == ("POST", "/invocations"):
        found = _magika.identify_bytes(await _body(receive))
        await _answer(send, 200, {"label": found.output.label, "score": round(found.score, 4)})
    else:
        await _answer(send, 404, {"message": f"no such operation: {scope['path']}"})


async def _body(receive: _Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def _answer(send: _Send, status: int, document: dict[str, Any]) -> None:
    body = json.dumps(document).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
