"""What a task is told: its environment and the ECS task metadata."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from load_generator.task import Role, Task, TaskError

ENVIRONMENT = {"LOAD_TEST_URI": "s3://bucket/prefix", "LOAD_TEST_ROLE": "worker"}


@pytest.fixture
def metadata() -> Iterator[str]:
    documents = {
        "/v4/task-1": {"Networks": [{"IPv4Addresses": ["127.0.7.9"]}]},
        "/v4/task-1/task": {"Limits": {"CPU": 0.5, "Memory": 1024}},
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = json.dumps(documents[self.path]).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v4/task-1"
        server.shutdown()
        thread.join()


def test_without_ecs_a_task_is_on_this_machine() -> None:
    task = Task.from_environment(ENVIRONMENT)
    assert task.uri == "s3://bucket/prefix/"
    assert task.role is Role.WORKER
    assert (task.worker, task.process) == (0, None)
    assert (task.host, task.port, task.vcpus) == ("127.0.0.1", 0, None)
    assert task.locustfile.exists()


def test_on_ecs_address_and_vcpus_are_the_tasks_own(metadata: str) -> None:
    task = Task.from_environment(
        ENVIRONMENT
        | {
            "LOAD_TEST_ROLE": "leader",
            "WORKER_INDEX": "3",
            "ECS_CONTAINER_METADATA_URI_V4": metadata,
        }
    )
    assert task.role is Role.LEADER
    assert (task.worker, task.host, task.port, task.vcpus) == (3, "127.0.7.9", 5557, 0.5)


@pytest.mark.parametrize(
    "change, name",
    [
        ({"LOAD_TEST_URI": ""}, "LOAD_TEST_URI"),
        ({"LOAD_TEST_URI": "https://bucket/prefix"}, "LOAD_TEST_URI"),
        ({"LOAD_TEST_ROLE": "master"}, "LOAD_TEST_ROLE"),
        ({"LOAD_TEST_ROLE": ""}, "LOAD_TEST_ROLE"),
        ({"WORKER_INDEX": "-1"}, "WORKER_INDEX"),
        ({"WORKER_INDEX": "one"}, "WORKER_INDEX"),
        ({"START_TIMEOUT_SECONDS": "0"}, "START_TIMEOUT_SECONDS"),
        ({"LEASE_SECONDS": "0"}, "LEASE_SECONDS"),
        ({"MAX_CONNECTIONS": "nan"}, "MAX_CONNECTIONS"),
    ],
)
def test_errors_name_the_variable(change: dict[str, str], name: str) -> None:
    with pytest.raises(TaskError, match=name):
        Task.from_environment(ENVIRONMENT | change)
