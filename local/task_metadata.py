"""The endpoint that tells a task about itself, as on Fargate.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-fargate.html
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TaskLookup = Callable[[str], Any]


class MetadataServer:
    """Serves the tasks' metadata, version 4, and the task role's credentials.

    Args:
        tasks: Finds a task by the last part of its ARN; None if there is none.
    """

    def __init__(self, tasks: TaskLookup) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = _metadata(tasks, self.path)
                body = json.dumps(answer).encode()
                self.send_response(200 if answer is not None else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Nothing: there is one line for each start of a task."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def start(self) -> None:
        """Start serving, on a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and close the port."""
        self._server.shutdown()
        self._server.server_close()

    def environment(self, task_id: str) -> dict[str, str]:
        """What Fargate tells a container about itself."""
        base = f"http://127.0.0.1:{self._server.server_address[1]}"
        return {
            "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
            "ECS_CONTAINER_METADATA_URI_V4": f"{base}/v4/{task_id}",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{base}/credentials",
        }


def _metadata(tasks: TaskLookup, path: str) -> Mapping[str, Any] | None:
    match path.strip("/").split("/"):
        case ["credentials"]:
            expiry = datetime.now(UTC) + timedelta(hours=6)
            return {
                "AccessKeyId": "local",
                "SecretAccessKey": "local",  # opens nothing # nosec B105
                "Token": "local",
                "Expiration": expiry.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        case ["v4", task_id, *rest] if (task := tasks(task_id)) and rest in ([], ["task"]):
            limits = {"CPU": int(task.cpu) / 1024, "Memory": int(task.memory)}
            container = {
                "Name": task.containers[0].name,
                "ContainerARN": task.containers[0].container_arn,
                "KnownStatus": task.containers[0].last_status,
                "Networks": [{"NetworkMode": "awsvpc", "IPv4Addresses": [task.address]}],
            }
            if not rest:
                return container
            return {
                "Cluster": task.cluster_arn,
                "TaskARN": task.task_arn,
                "KnownStatus": task.last_status,
                "Limits": limits,
                "Containers": [container],
                "LaunchType": task.launch_type,
            }
    return None
