"""ApplyAnswer: gives an endpoint in production the answer, where the request says so.

The sizing has removed its own endpoints by then, so their instances no longer count in the quota.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aws_lambda_powertools.utilities.parser import event_parser
from aws_lambda_powertools.utilities.typing import LambdaContext
from botocore.exceptions import ClientError

from aws import s3_documents, scaling
from aws.availability import is_transient, naming_errors
from aws.telemetry import Event, logger
from sizing.clean_up import names
from sizing.errors import InvalidRequest
from sizing.production import apply
from sizing.production.apply import Answered, Applied
from sizing.request.request import Apply
from sizing.result import events, message
from sizing.result.result import Result, tidy

_UNDER_WAY = "begun; whether it was done is not known"


class ApplyAnswerEvent(Event):
    """What RecordResult has answered."""

    outcome: dict[str, Any]


@naming_errors
@event_parser(model=ApplyAnswerEvent)
def handler(event: ApplyAnswerEvent, _context: LambdaContext) -> dict[str, Any]:
    """Apply an answer; the result says what was before, and what was done or why nothing was.

    What was before is written down first, and once: a call that is repeated keeps it.

    Returns:
        The outcome, whose message and detail tell of it.

    Raises:
        AwsUnavailable: AWS throttled or failed a call.
        AccessDenied: The result may not be read or written; so for other refusals of that.
    """
    uri, report_uri = event.outcome["result_uri"], event.outcome["report_uri"]
    bucket, key = s3_documents.split_uri(uri)
    document = s3_documents.read_json(bucket, key)
    result = Result.model_validate(document)
    logger.set_correlation_id(result.sizing.id)

    def write(applied: Applied) -> None:
        document["applied"] = tidy(applied.model_dump(mode="json"))
        of_the_model = names.latest_folder(result.model.key) if result.model else None
        for folder in (names.sizing_folder(result.sizing.id), of_the_model):
            if folder is not None:
                s3_documents.write_json(bucket, folder + names.RESULT_FILE, document)

    applied = _apply(result, write)
    write(applied)
    logger.info("answer applied" if applied.done else "answer not applied", extra=dict(applied))
    result = result.model_copy(update={"applied": applied})
    return {
        **event.outcome,
        "message": message.message(result, result_uri=uri, report_uri=report_uri),
        "detail": events.finished(result, result_uri=uri, report_uri=report_uri),
    }


def _apply(result: Result, begin: Callable[[Applied], None]) -> Applied:
    asked = Apply.model_validate(result.sizing.request["apply"])
    answer = _answered(result)
    # Of an earlier call of the same sizing, whose answer was lost on the way.
    before = result.applied.before if result.applied is not None else None

    def ended(reason: str, *, done: bool = False) -> Applied:
        return Applied(
            endpoint=asked.endpoint,
            variant=asked.variant,
            what=asked.what,
            done=done,
            reason=reason,
            before=before,
        )

    why = apply.why_not(asked, answer)
    if why is not None:
        return ended(why)
    try:
        running = scaling.read(asked.endpoint, asked.variant)
        before = before or running.scaling
        update = apply.update(asked, answer, running, before)
        if isinstance(update, str):
            return ended(update)
        begin(ended(_UNDER_WAY))
        scaling.send(running, update)
    except InvalidRequest as error:
        return ended(error.message)
    except ClientError as error:
        if is_transient(error):
            raise
        return ended(f"AWS refused it: {error}")
    return ended(update.reason, done=True)


def _answered(result: Result) -> Answered:
    seen = result.recommendation
    if seen is None:
        return Answered(result.status)
    return Answered(
        result.status, seen.instance_type, seen.instance_count, seen.in_band, seen.autoscaling
    )
