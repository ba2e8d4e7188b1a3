"""How a sizing ended, asked of Step Functions and S3: the embedded ones, or those of AWS."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sizing.clean_up import names
from sizing.result.result import Result


@dataclass(frozen=True)
class Outcome:
    """How the sizing ended."""

    #: None if it came to none.
    result: Result | None
    #: Content of the files it wrote, by name.
    files: dict[str, bytes]
    #: Name and cause if the execution failed, in a line.
    error: str | None
    #: Logs that may tell why, if it failed.
    logs: list[Path] = field(default_factory=list)


def outcome(s3: Any, bucket: str, execution: Mapping[str, Any]) -> Outcome:
    """What an execution that has ended came to.

    Args:
        s3: A client of S3.
        bucket: Where results are.
        execution: The execution, as DescribeExecution has it.

    Raises:
        botocore.exceptions.ClientError: A file can't be read, though it is there.
    """
    folder = names.sizing_folder(names.sizing_id(execution["executionArn"]))
    files = {}
    for name in (names.RESULT_FILE, names.REPORT_FILE):
        with contextlib.suppress(s3.exceptions.NoSuchKey):
            files[name] = s3.get_object(Bucket=bucket, Key=folder + name)["Body"].read()
    written = files.get(names.RESULT_FILE)
    error = None
    if execution["status"] != "SUCCEEDED":
        parts = (execution.get("error") or execution["status"], execution.get("cause"))
        error = " ".join(": ".join(part for part in parts if part).split())
    return Outcome(None if written is None else Result.model_validate_json(written), files, error)
