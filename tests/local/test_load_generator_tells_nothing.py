"""The load generator's log and results hold no payload and no answer."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import traceback
from pathlib import Path
from typing import Any

import pytest

from benchmarks.load.scripted_server import Request, ScriptedServer, answer
from load_generator.spec import (
    InlinePayload,
    SpecError,
    decode_inline,
    parse_json_lines,
    parse_spec,
)
from tests.local.load_tests import completed, run, specification

MARK = "mark7c1f"
MARKED = f"{MARK} ist streng vertraulich"
ENCODED = base64.b64encode(MARKED.encode()).decode()


def test_of_payloads_and_answers_of_every_kind(tmp_path: Path) -> None:
    model_error = {"Message": MARKED, "OriginalStatusCode": 500, "OriginalMessage": MARKED}
    answers = itertools.cycle(
        [
            answer(MARKED.encode(), headers={"X-Amzn-SageMaker-Custom-Attributes": MARKED}),
            answer(json.dumps(model_error).encode(), status="424 Failed Dependency"),
            answer(json.dumps({"message": MARKED}).encode(), status="400 Bad Request"),
            answer(MARKED.encode(), status="500 Internal Server Error"),
            f"HTTP/1.1 200 OK\r\n{MARKED}\r\n\r\n".encode(),
            answer(MARKED.encode())[:-5],
        ]
    )

    async def give(_request: Request, writer: asyncio.StreamWriter) -> None:
        content = next(answers)
        writer.write(content)
        if not content.endswith(MARKED.encode()):
            writer.close()

    inline = [{"body": MARKED}, {"body": ENCODED, "base64": True}]
    with ScriptedServer(give) as server:
        outcome = run(
            specification(
                payloads={"inline": inline},
                steps=[{"offered_tps": 50}],
                settle_seconds=0,
                request_timeout_seconds=1,
            ),
            url=server.url,
            directory=tmp_path,
        )
        assert any(MARKED.encode() == request.body for request in server.requests)
    document = completed(outcome)
    assert len(document["steps"][0]["errors"]) >= 3
    told = json.dumps(outcome.document) + str(outcome.logs)
    assert "load_generator" in told  # else this looks in the wrong place
    assert MARK not in told
    assert ENCODED[:16] not in told


def nothing_is_told_by(error: BaseException) -> None:
    said = "".join(traceback.format_exception(error))
    assert MARK not in said
    assert ENCODED[:16] not in said


@pytest.mark.parametrize(
    "payloads",
    [
        MARKED,
        {"inline": MARKED},
        {"inline": [MARKED]},
        {"inline": [{"body": [MARKED]}]},
        {"inline": [{"body": MARKED, "weight": MARKED}]},
        {"s3_uri": MARKED},
    ],
    ids=range(6),
)
def test_of_a_specification_that_is_refused(payloads: Any) -> None:
    with pytest.raises(SpecError) as caught:
        parse_spec(json.dumps(specification(payloads=payloads)).encode())
    nothing_is_told_by(caught.value)


def test_of_a_body_that_is_not_base64() -> None:
    with pytest.raises(SpecError) as caught:
        decode_inline([InlinePayload(body=MARKED, base64=True)])
    nothing_is_told_by(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        f'{{"body": "{MARKED}',
        json.dumps({"body": {"inputs": MARKED}}),
        json.dumps({"body": MARKED, "base64": True}),
        json.dumps({"inputs": MARKED}),
        json.dumps([MARKED]),
        MARKED,
    ],
    ids=range(6),
)
def test_of_a_file_that_is_refused(line: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_json_lines(line.encode(), source="s3://bucket/key")
    nothing_is_told_by(caught.value)
