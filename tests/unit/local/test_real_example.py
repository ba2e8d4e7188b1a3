"""examples/real: its server speaks the container contract, whatever its model finds."""

from __future__ import annotations

import asyncio
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from local.endpoint.behaviour import ServedModel, load_models
from local.models import keys_of
from sizing.request.request import parse_request

REAL = Path(__file__).parents[3] / "examples" / "real"

Call = Callable[..., tuple[int, dict[str, str], dict[str, Any]]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Call:
    """Calls the server's app, with a model that finds Python where there is a colon."""

    class Magika:
        def __init__(self) -> None:
            options = onnxruntime.InferenceSession("a model")
            assert options.intra_op_num_threads == 1  # or idle threads would use CPU

        def identify_bytes(self, content: bytes) -> Any:
            label = "python" if b":" in content else "unknown"
            return SimpleNamespace(output=SimpleNamespace(label=label), score=0.123456)

    onnxruntime: Any = ModuleType("onnxruntime")
    onnxruntime.SessionOptions = SimpleNamespace
    onnxruntime.InferenceSession = lambda _path, sess_options: sess_options
    monkeypatch.setitem(sys.modules, "onnxruntime", onnxruntime)
    magika: Any = ModuleType("magika")
    magika.Magika = Magika
    monkeypatch.setitem(sys.modules, "magika", magika)
    app = runpy.run_path(str(REAL / "server.py"))["app"]

    def call(method: str, path: str, *parts: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
        sent: list[dict[str, Any]] = []
        received = [
            {"type": "http.request", "body": part, "more_body": part is not parts[-1]}
            for part in parts
        ]

        async def receive() -> dict[str, Any]:
            return received.pop(0)

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        asyncio.run(app({"type": "http", "method": method, "path": path}, receive, send))
        start, body = sent
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        assert headers["content-length"] == str(len(body["body"]))
        return start["status"], headers, json.loads(body["body"])

    return call


def test_the_server_speaks_the_container_contract(call: Call) -> None:
    assert call("GET", "/ping") == (200, {**_HEADERS, "content-length": "2"}, {})
    status, headers, found = call("POST", "/invocations", b"def f()", b":", b" pass")
    assert (status, found) == (200, {"label": "python", "score": 0.1235})
    assert headers["content-type"] == "application/json"
    assert call("POST", "/invocations", b"")[2]["label"] == "unknown"
    assert call("GET", "/invocations")[0] == 404


_HEADERS = {"content-type": "application/json"}


def test_the_request_asks_for_the_model_that_is_served_there() -> None:
    request = parse_request(json.loads((REAL / "request.json").read_text()))
    models = load_models(REAL / "models.yaml")
    [key] = set(keys_of(request.model)) & set(models.models)
    [instance_type] = request.instance_types
    model = models.behaviour(key, instance_type)
    assert isinstance(model, ServedModel)
    assert Path(model.folder) == REAL
    assert model.serve.command[:2] == ["uvicorn", "server:app"]
    # As many cores as the type has vCPUs: its CPUUtilization is that of the cores.
    assert model.serve.vcpus == 1
    assert instance_type.endswith(".medium")
